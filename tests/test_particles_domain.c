/* Agents divided by boxes give the bits of agents divided by id on one rank, whatever their way:
 * over several boxes and seams in a step, into empty boxes, out of buffers that are too small. The
 * drifts have no libm in them. */
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box line = {1, {77, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W}},
                 ring = {1, {77, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P}},
                 tube = {2, {80, 43, 1}, {0, -1, 0}, {1, 2, 1}, {P, W}},
                 room = {2, {43, 80, 1}, {0, -1, 0}, {1, 2, 1}, {W, W}},
                 torus = {2, {41, 78, 1}, {0, -1, 0}, {1, 2, 1}, {P, P}},
                 hall = {3, {11, 13, 78}, {0, -1, 3}, {1, 2, 5}, {P, W, P}},
                 box = {3, {78, 12, 11}, {0, -1, 3}, {1, 2, 5}, {W, P, W}};

typedef struct {
  const Box *box;
  int64_t agents;
  int steps;
  double nu, speed; /* cells crossed in a step, up to */
  double width;     /* of the kernel, in cells */
  uint64_t seed;
  int corner; /* m0 is one cell: all agents on one rank */
  MFGDensityMethod method;
  struct {
    MFGDecomposition decomposition;
    PetscBool single;
    int sort_every; /* MFG_SORT_AUTO: in 3D, on a CPU */
    int halved;     /* cells, on each axis another number of times */
  } way;
} Problem;

typedef struct {
  MFGGrid grid;
  double *M;
  MFGSampleStatistics *statistics;
  double imbalance;
  MFGExchangeBytes bytes;
} Solution;

typedef struct {
  const Problem *problem;
  MFGBlock block;
} DriftContext;

static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  const DriftContext *c = context;
  const MFGBlock *b = &c->block;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int z = b->start[2]; z < b->start[2] + b->count[2]; z++)
        for (int y = b->start[1]; y < b->start[1] + b->count[1]; y++)
          for (int x = b->start[0]; x < b->start[0] + b->count[0]; x++) {
            const int s = (3 * x + 5 * y + 7 * z + 11 * n + 13 * k) % 17;
            *drift++ = (s - 8 + (n % 3 ? 4 : -3)) / 12. * c->problem->speed * b->spacing[k];
          }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Create(const Problem *p, const MFGBackend *backend, Solution *s,
                             MFGParticles *particles, MFGDensityPlan *plan) {
  const MFGBlock whole = MFGGridWhole(&s->grid);
  double *m0 = calloc(MFGBlockCells(&whole), sizeof *m0);
  double *h = malloc((p->steps + 1) * whole.dim * sizeof *h);

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < MFGBlockCells(&whole) && !p->corner; i++)
    m0[i] = (double)(i % 7) * (1 + (double)(i % 12));
  if (p->corner) m0[0] = 1;
  for (int i = 0; i < (p->steps + 1) * whole.dim; i++)
    h[i] = p->width * whole.spacing[i % whole.dim];
  const int halvings[3] = {p->way.halved, p->way.halved && whole.dim > 1 ? p->way.halved - 1 : 0,
                           p->way.halved && whole.dim > 2};
  PetscCall(MFGDensityPlanCreateHalved(&s->grid, backend, p->method, p->agents, 1e-3, p->steps + 1,
                                       h, halvings, plan));
  const MFGParticlesSpec spec = {.count = p->agents,
                                 .seed = p->seed,
                                 .sampling = MFG_SAMPLING_STRATIFIED,
                                 .initial_density = m0,
                                 .nu = p->nu,
                                 .dt = 1,
                                 .steps = p->steps,
                                 .decomposition = p->way.decomposition,
                                 .single = p->way.single,
                                 .sort_every = p->way.sort_every};
  PetscCall(MFGParticlesCreate(&s->grid, backend, &spec, particles));
  free(m0);
  free(h);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Solve(MPI_Comm comm, const MFGBackend *backend, const Problem *p,
                            Solution *s) {
  MFGParticles particles;
  MFGDensityPlan plan;

  PetscFunctionBeginUser;
  CreateGrid(comm, p->box, &s->grid);
  PetscCall(Create(p, backend, s, &particles, &plan));
  DriftContext context = {p, s->grid.block};
  s->M = malloc((p->steps + 1) * MFGBlockOwned(&s->grid.block) * sizeof *s->M);
  s->statistics = malloc((p->steps + 1) * sizeof *s->statistics);
  PetscErrorCode error = PETSC_SUCCESS; /* of a refusal: all is freed */
  /* With buffers that have grown; recorded by a device; replayed. */
  for (int again = 0; again < (backend->memory->is_host ? 2 : 3) && !error; again++)
    error = MFGParticlesSweep(particles, plan, 0, Drift, &context, s->M, s->statistics);
  s->imbalance = MFGParticlesImbalance(particles);
  s->bytes = MFGParticlesBytesMoved(particles);
  PetscCall(MFGParticlesDestroy(&particles));
  PetscCall(MFGDensityPlanDestroy(&plan));
  PetscFunctionReturn(error);
}

static void Free(Solution *s) {
  free(s->M);
  free(s->statistics);
  MFG_OK(MFGGridDestroy(&s->grid));
}

static void AssertSame(const Problem *p, const Solution *shared, const Solution *alone) {
  AssertSameFlow(&shared->grid, p->steps, shared->M, shared->statistics, alone->M,
                 alone->statistics);
}

/* Domain, or as it is, on all ranks against replicated on one that never sorts, by its CPU. */
static void Compare(Problem p) {
  const MFGBackend *cpu;
  Solution shared, alone;
  if (!p.way.sort_every) p.way.decomposition = MFG_DECOMPOSITION_DOMAIN;
  MFG_OK(Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &shared));
  p.way.decomposition = MFG_DECOMPOSITION_REPLICATED;
  p.way.sort_every = MFG_SORT_NEVER;
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &cpu));
  MFG_OK(Solve(PETSC_COMM_SELF, cpu, &p, &alone));
  AssertSame(&p, &shared, &alone);
  Free(&shared);
  Free(&alone);
}

static void SameBitsAsReplicated(void **state) {
  (void)state;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size); /* more ranks than cores are slow */
  const Box *const boxes[] = {&line, &ring, &tube, &room, &torus, &hall, &box};
  for (int i = 0; i < (MFGTestBrief() ? 3 : 7); i += MFGTestBrief() ? 2 : 1) {
    /* A tenth of a cell of noise and two cells of drift per step; five agents leave boxes empty. */
    Compare((Problem){boxes[i], 1001, 7, 1e-5, 2, 1.5, 3, 0, MFG_DENSITY_MOMENTS, {0}});
    Compare((Problem){boxes[i], 5, 3, 1e-5, 2, 1.5, 3, 0, MFG_DENSITY_MOMENTS, {0}});
    for (int halved = 1; halved < (size > 2 ? 2 : 3); halved++)
      Compare(
          (Problem){boxes[i], 301, 3, 1e-5, 2, 1.5, 3, 0, MFG_DENSITY_MOMENTS, {.halved = halved}});
    /* Across several boxes and seams in one step. */
    Compare((Problem){boxes[i], 300, 4, 1e-3, 90, 1.5, 4, 0, MFG_DENSITY_MOMENTS, {0}});
    /* All on one rank at first, then blown apart. */
    Compare((Problem){boxes[i], 300, 4, 1, 1, 1.5, 5, 1, MFG_DENSITY_MOMENTS, {0}});
  }
  Compare((Problem){&tube, 200, 3, 1e-3, 20, 1.5, 6, 0, MFG_DENSITY_DIRECT, {0}});
}

static void SameBitsInSinglePrecision(void **state) {
  (void)state;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const Box *const boxes[] = {&line, &ring, &tube, &room, &hall, &box};
  for (int i = 0; i < 6; i += MFGTestBrief() ? 5 : size > 2 ? 2 : 1) {
    Compare((Problem){
        boxes[i], 1001, 7, 1e-5, 2, 1.5, 3, 0, MFG_DENSITY_MOMENTS, {.single = PETSC_TRUE}});
    Compare(
        (Problem){boxes[i], 300, 4, 1, 1, 1.5, 5, 1, MFG_DENSITY_MOMENTS, {.single = PETSC_TRUE}});
  }
  Compare(
      (Problem){&tube, 200, 3, 1e-3, 20, 1.5, 6, 0, MFG_DENSITY_DIRECT, {.single = PETSC_TRUE}});
}

/* Ids travel with the agents: with their random numbers they go the same way in any order. */
static void SameBitsSorted(void **state) {
  (void)state;
  const Box *const boxes[] = {&line, &ring, &tube, &room, &hall, &box};
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int i = 0; i < (MFGTestBrief() ? 16 : 24); i += MFGTestBrief() ? 8 : size > 2 ? 5 : 1) {
    const Box *b = boxes[i % 6];
    const MFGDecomposition way =
        i % 12 < 6 ? MFG_DECOMPOSITION_REPLICATED : MFG_DECOMPOSITION_DOMAIN;
    const PetscBool single = (PetscBool)(i >= 12);
    Compare((Problem){
        b, 1001, 7, 1e-5, 2, 1.5, 3, 0, MFG_DENSITY_MOMENTS, {way, single, 1 + i % 3, i % 2}});
    /* Across several boxes in a step, and out of buffers that are too small: redone. */
    Compare((Problem){b, 300, 4, 1e-3, 90, 1.5, 4, 0, MFG_DENSITY_MOMENTS, {way, single, 1, 0}});
    Compare((Problem){b, 300, 4, 1, 1, 1.5, 5, 1, MFG_DENSITY_MOMENTS, {way, single, 2, 0}});
  }
  /* The positions of every level, and those before a chunk of one step. */
  for (int way = 0; way < 2; way++)
    Compare((Problem){&tube, 200, 4, 1e-3, 20, 1.5, 6, 0, MFG_DENSITY_DIRECT, {way, way, 2, 0}});
}

static void AnotherSeedDiffers(void **state) {
  (void)state;
  Problem p = {&tube,
               300,
               4,
               1e-4,
               3,
               1.5,
               3,
               0,
               MFG_DENSITY_MOMENTS,
               {.decomposition = MFG_DECOMPOSITION_DOMAIN}};
  Solution a, b;
  MFG_OK(Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &a));
  p.seed = 4;
  MFG_OK(Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &b));
  const int64_t n = MFGBlockOwned(&a.grid.block);
  assert_memory_not_equal(a.M + p.steps * n, b.M + p.steps * n, n * sizeof *a.M);
  Free(&a);
  Free(&b);
}

/* The number of agents is exact in the moments and checked at every level by the statistics. Mass:
 * a kernel of 1.5 cells keeps it to 1e-12. */
static void AThousandFastStepsLoseNobody(void **state) {
  (void)state;
  const Box *const boxes[] = {&ring, &tube, &hall};
  const Box small = {3, {7, 9, 78}, {0, -1, 3}, {1, 2, 5}, {P, W, P}};
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int i = MFGTestBrief(); i < (MFGTestBrief() ? 2 : 3); i++) {
    const Problem p = {
        i < 2 ? boxes[i] : &small,
        400,
        /* More ranks than cores: 20 ms a step. On one rank they are always at home. */
        MFGTestOnDevice() || (size != 2 && i != 1) ? 60 : 1000,
        1e-4,
        30,
        1.5,
        9,
        0,
        MFG_DENSITY_MOMENTS,
        {.decomposition = MFG_DECOMPOSITION_DOMAIN}};
    Solution s;
    MFG_OK(Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &s));
    const MFGBlock *b = &s.grid.block;
    for (int n = 0; n <= p.steps; n += 20) {
      double mass = 0;
      for (int64_t c = 0; c < MFGBlockOwned(b); c++) mass += s.M[n * MFGBlockOwned(b) + c];
      MFG_OK(MFGGridSum(&s.grid, 1, &mass));
      MFG_ASSERT_NEAR(mass * MFGCellVolume(b), 1, 1e-12);
    }
    Free(&s);
  }
}

/* All agents in one box of `size`: the imbalance is the number of ranks. */
static void ImbalanceIsLargestOverMean(void **state) {
  (void)state;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const Problem p = {&line,
                     64,
                     2,
                     0,
                     0,
                     1.5,
                     3,
                     1,
                     MFG_DENSITY_MOMENTS,
                     {.decomposition = MFG_DECOMPOSITION_DOMAIN}};
  Solution s;
  MFG_OK(Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &s));
  MFG_ASSERT_NEAR(s.imbalance, size, 0);
  Free(&s);
}

/* A kernel of 20 cells reaches farther than boxes of 77 / ranks cells are wide. */
static void NarrowBoxesAreRefused(void **state) {
  (void)state;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const Problem p = {&line,
                     64,
                     2,
                     0,
                     0,
                     20,
                     3,
                     0,
                     MFG_DENSITY_MOMENTS,
                     {.decomposition = MFG_DECOMPOSITION_DOMAIN}};
  Solution s = {0};
  MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  const PetscErrorCode error = Solve(PETSC_COMM_WORLD, MFGTestMemory(), &p, &s);
  MFG_OK(PetscPopErrorHandler());
  assert_int_equal(error, size > 1 ? PETSC_ERR_USER_INPUT : PETSC_SUCCESS);
  Free(&s);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(SameBitsAsReplicated),
                                          cmocka_unit_test(SameBitsInSinglePrecision),
                                          cmocka_unit_test(SameBitsSorted),
                                          cmocka_unit_test(AnotherSeedDiffers),
                                          cmocka_unit_test(AThousandFastStepsLoseNobody),
                                          cmocka_unit_test(ImbalanceIsLargestOverMean),
                                          cmocka_unit_test(NarrowBoxesAreRefused)};
MFG_TEST_MAIN(tests)
