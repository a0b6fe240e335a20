/* One sweep gives the same bits whatever divides the work: ranks, boxes, chunks of levels, ranges
 * of agents, instruction sets. Every rank repeats the whole problem alone and compares. The drift
 * has no libm in it, so the checksum of the agents' integers is the same on every machine. */
#include "tests/agents_fixture.h"

#define STEPS 9
#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box line = {1, {31, 1}, {-1, 0}, {2, 1}, {W, P}},
                 ring = {1, {31, 1}, {-1, 0}, {2, 1}, {P, P}},
                 tube = {2, {19, 26}, {0, -1}, {1, 2}, {P, W}},
                 room = {2, {19, 26}, {0, -1}, {1, 2}, {W, W}};

static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  const MFGBlock *b = context;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int c = 0; c < b->dim; c++)
      for (int64_t i = 0; i < MFGBlockCells(b); i++) {
        const double x = MFGCellCenter(b, 0, (int)(i % b->cells[0])),
                     y = (double)(i / b->cells[0]) / 8;
        *drift++ = c ? (x - 0.4) * 3 + n * 0.25 - y : (0.5 - x) * (1 + n) + y * (c + 1) - x * x;
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  const Box *box;
  int64_t agents;
  uint64_t seed;
  uint32_t iteration;
  MFGSampling sampling;
  MFGDensityMethod method;
} Problem;

typedef struct {
  MFGGrid grid;
  double *M;
  MFGSampleStatistics statistics[STEPS + 1];
  MFGParticles particles;
  MFGDensityPlan plan;
} Solution;

static void Solve(MPI_Comm comm, const Problem *p, Solution *s) {
  const MFGBackend *backend;
  double h[2 * (STEPS + 1)];
  CreateGrid(comm, p->box, &s->grid);
  MFGBlock b = WholeBlock(&s->grid);
  MFG_OK(MFGBackendGet(comm, "cpu", &backend));
  double *m0 = malloc(MFGBlockCells(&b) * sizeof *m0);
  for (int64_t i = 0; i < MFGBlockCells(&b); i++) m0[i] = (double)(i % 7) * (1 + (double)(i % 12));
  for (int n = 0; n <= STEPS; n++)
    for (int k = 0; k < b.dim; k++) h[n * b.dim + k] = (1.5 + 0.2 * n + k) * b.spacing[k];
  MFG_OK(
      MFGDensityPlanCreate(&s->grid, backend, p->method, p->agents, 1e-8, STEPS + 1, h, &s->plan));
  const MFGParticlesSpec spec = {.count = p->agents,
                                 .seed = p->seed,
                                 .sampling = p->sampling,
                                 .initial_density = m0,
                                 .nu = 0.4,
                                 .dt = 0.05,
                                 .steps = STEPS};
  MFG_OK(MFGParticlesCreate(&s->grid, backend, &spec, &s->particles));
  free(m0);
  s->M = malloc((STEPS + 1) * MFGBlockOwned(&s->grid.block) * sizeof *s->M);
  MFG_OK(MFGParticlesSweep(s->particles, s->plan, p->iteration, Drift, &b, s->M, s->statistics));
}

static void Free(Solution *s) {
  free(s->M);
  MFG_OK(MFGParticlesDestroy(&s->particles));
  MFG_OK(MFGDensityPlanDestroy(&s->plan));
  MFG_OK(MFGGridDestroy(&s->grid));
}

static void AssertSame(const Solution *shared, const Solution *alone) {
  const MFGBlock *b = &shared->grid.block;
  double *mine = malloc(MFGBlockOwned(b) * sizeof *mine);
  for (int n = 0; n <= STEPS; n++) {
    MFG_OK(MFGGridRestrict(&shared->grid, 1, alone->M + n * MFGBlockCells(b), mine));
    assert_memory_equal(mine, shared->M + n * MFGBlockOwned(b), MFGBlockOwned(b) * sizeof *mine);
    for (int k = 0; k < b->dim; k++) {
      assert_true(shared->statistics[n].mean[k] == alone->statistics[n].mean[k]);
      assert_true(shared->statistics[n].variance[k] == alone->statistics[n].variance[k]);
    }
  }
  free(mine);
}

/* 5 agents: with 7 ranks some have none. */
static void SameBitsForAnyNumberOfRanks(void **state) {
  (void)state;
  const Box *const boxes[] = {&line, &ring, &tube, &room};
  static const int64_t agents[] = {1001, 5};
  for (int i = 0; i < 4; i++)
    for (int a = 0; a < 2; a++)
      for (int method = 0; method <= (i > 1 && a == 0); method++) {
        const Problem p = {boxes[i],
                           agents[a],
                           3,
                           0,
                           (i + a) % 2 ? MFG_SAMPLING_RANDOM : MFG_SAMPLING_STRATIFIED,
                           method ? MFG_DENSITY_DIRECT : MFG_DENSITY_MOMENTS};
        Solution shared, alone;
        Solve(PETSC_COMM_WORLD, &p, &shared);
        Solve(PETSC_COMM_SELF, &p, &alone);
        AssertSame(&shared, &alone);
        Free(&shared);
        Free(&alone);
      }
}

static void SweepsRepeatAndSeedsDiffer(void **state) {
  (void)state;
  Problem p = {&tube, 500, 3, 0, MFG_SAMPLING_STRATIFIED, MFG_DENSITY_MOMENTS};
  Solution first, other;
  Solve(PETSC_COMM_WORLD, &p, &first);
  const size_t bytes = (STEPS + 1) * MFGBlockOwned(&first.grid.block) * sizeof(double);
  const size_t last = STEPS * MFGBlockOwned(&first.grid.block);
  double *again = malloc(bytes);
  MFGBlock b = WholeBlock(&first.grid);
  MFG_OK(MFGParticlesSweep(first.particles, first.plan, 0, Drift, &b, again, first.statistics));
  assert_memory_equal(again, first.M, bytes);
  MFG_OK(MFGParticlesSweep(first.particles, first.plan, 1, Drift, &b, again, first.statistics));
  assert_memory_equal(again, first.M, bytes / (STEPS + 1));
  assert_memory_not_equal(again + last, first.M + last, bytes / (STEPS + 1));
  free(again);
  p.seed = UINT64_C(3) << 32 | 3;
  Solve(PETSC_COMM_WORLD, &p, &other);
  assert_memory_not_equal(other.M + last, first.M + last, bytes / (STEPS + 1));
  Free(&other);
  Free(&first);
}

/* The moments of all levels by one table, the levels in the given pieces, ids in two ranges. */
static uint64_t ScanChecksum(const MFGAgentsOps *ops, const Box *box, const int *cut, int stride) {
  enum { N = 700 };
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, box, &grid);
  const MFGBlock b = grid.block;
  const int order = 6, terms = MFGMomentTerms(b.dim, order);
  const int64_t cells = MFGBlockCells(&b), field = cells * terms;
  int64_t *moments = calloc(STEPS * field, sizeof *moments);
  int64_t *cumulative = malloc(cells * sizeof *cumulative);
  double *drift = malloc(STEPS * b.dim * cells * sizeof *drift), x[2][N];
  MFG_OK(Drift((void *)&b, 0, STEPS, drift));
  for (int64_t i = 0, sum = 0; i < cells; i++) cumulative[i] = sum += i % 5;
  for (int part = 0; part < stride; part++) {
    const MFGAgentRange range = {.first_id = (INT64_C(1) << 32) - 300 + part,
                                 .id_stride = stride,
                                 .count = N / stride,
                                 .position = {x[0], x[1]}};
    const MFGSample sample = {
        .domain = b, .key = {.seed = 11}, .agents = range, .total = N, .cumulative = cumulative};
    MFG_OK(ops->sample(&sample));
    for (; *cut < STEPS; cut++) {
      const MFGScan scan = {.domain = b,
                            .key = {.seed = 11, .iteration = 2},
                            .agents = range,
                            .dt = 0.05,
                            .nu = 0.4,
                            .level_begin = cut[0],
                            .level_end = cut[1],
                            .drift = drift + cut[0] * b.dim * cells,
                            .order = order,
                            .scale = 50,
                            .moments = moments + cut[0] * field};
      MFG_OK(ops->scan(&scan));
    }
    while (*cut) cut--;
  }
  const uint64_t sum = Checksum(moments, STEPS * field * sizeof *moments);
  free(moments);
  free(cumulative);
  free(drift);
  MFG_OK(MFGGridDestroy(&grid));
  return sum;
}

static void SameBitsForAnyPiecesAndVariant(void **state) {
  (void)state;
  static const int cuts[3][STEPS + 2] = {
      {0, STEPS}, {0, 3, 4, STEPS}, {0, 1, 2, 3, 4, 5, 6, 7, 8, STEPS}};
  const Box *const boxes[] = {&line, &ring, &tube, &room};
  static const uint64_t committed[] = {UINT64_C(0x4dbff95782292580), UINT64_C(0x28b9d21e48941766),
                                       UINT64_C(0xe47b8aed51ca4e74), UINT64_C(0x6511a9ba2d39dda6)};
  for (int i = 0; i < 4; i++) {
    for (int c = 0; c < 3; c++)
      for (int stride = 1; stride <= 7; stride += 3 * stride) {
        const uint64_t sum = ScanChecksum(&MFGAgentsOps_CPU_baseline, boxes[i], cuts[c], stride);
        if (sum != committed[i])
          fail_msg("box %d, pieces %d, stride %d: %#llx instead of %#llx", i, c, stride,
                   (unsigned long long)sum, (unsigned long long)committed[i]);
      }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
      assert_true(ScanChecksum(&MFGAgentsOps_CPU_v3, boxes[i], cuts[0], 1) == committed[i]);
    if (__builtin_cpu_supports("avx512dq"))
      assert_true(ScanChecksum(&MFGAgentsOps_CPU_v4, boxes[i], cuts[0], 1) == committed[i]);
#endif
  }
}

/* The paths of all agents, deposited level by level, give the densities of the sweep. */
static void PathsAreThoseOfTheSweep(void **state) {
  (void)state;
  enum { N = 60 };
  const Box *const boxes[] = {&line, &tube};
  for (int i = 0; i < 2; i++) {
    const Problem p = {boxes[i], N, 5, 4, MFG_SAMPLING_STRATIFIED, MFG_DENSITY_MOMENTS};
    Solution s;
    Solve(PETSC_COMM_WORLD, &p, &s);
    MFGBlock b = WholeBlock(&s.grid);
    const MFGBackend *backend;
    const int order = MFGDensityPlanOrder(s.plan), dim = b.dim;
    const int64_t field = MFGBlockCells(&b) * MFGMomentTerms(dim, order),
                  owned = MFGBlockOwned(&s.grid.block);
    double path[(STEPS + 1) * N * 2], x[2][N], *m = malloc(owned * sizeof *m);
    int64_t id[N], *moments = malloc(field * sizeof *moments);
    MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
    MFG_OK(MFGParticlesPaths(s.particles, 4, Drift, &b, N, path, id));
    for (int n = 0; n <= STEPS; n++) {
      for (int a = 0; a < N; a++)
        for (int k = 0; k < dim; k++) x[k][a] = path[(n * N + a) * dim + k];
      const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x[0], x[1]}};
      memset(moments, 0, field * sizeof *moments);
      MFG_OK(MFGBackendDeposit(backend, &b, &agents, order, MFGDensityPlanScale(s.plan), moments));
      MFG_OK(MFGDensityEvaluate(s.plan, n, moments, m));
      assert_memory_equal(m, s.M + n * owned, owned * sizeof *m);
    }
    double few[(STEPS + 1) * 7 * 2];
    MFG_OK(MFGParticlesPaths(s.particles, 4, Drift, &b, 7, few, id));
    for (int a = 0; a < 7; a++) {
      assert_int_equal(id[a], a * (N / 7));
      for (int n = 0; n <= STEPS; n++)
        assert_memory_equal(few + (n * 7 + a) * dim, path + (n * N + id[a]) * dim,
                            dim * sizeof *few);
    }
    free(m);
    free(moments);
    Free(&s);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SameBitsForAnyNumberOfRanks), cmocka_unit_test(SweepsRepeatAndSeedsDiffer),
    cmocka_unit_test(SameBitsForAnyPiecesAndVariant), cmocka_unit_test(PathsAreThoseOfTheSweep)};
MFG_TEST_MAIN(tests)
