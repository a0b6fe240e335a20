/* Sweeps of agents on a device: that replayed steps and grown buffers change no bit, and what is
 * said of a broken drift and of too little memory; and as the host stand-in counts, what they copy
 * and what they leave behind. (That they give the bits of the CPU: particles.domain.) */
#include "tests/agents_fixture.h"
#include "tests/counted.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

#define DT 0.1

enum { FEW = 700, MANY = 3001, CROWD = 12000, STEPS_MOST = 9, CELLS_MOST = 48 * 44 };

static const Box line = {1, {77, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W}},
                 tube = {2, {19, 22, 1}, {0, -1, 0}, {1, 2, 1}, {P, W, P}},
                 room = {2, {22, 19, 1}, {0, -1, 0}, {1, 2, 1}, {W, W}},
                 field = {2, {48, 44, 1}, {0, -1, 0}, {1, 2, 1}, {P, W}};

typedef struct {
  MFGGrid grid;
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGDecomposition decomposition;
  int steps;
  double push;   /* added to the drift: cells in a step */
  double broken; /* added everywhere, so that every rank meets it */
  double *M;
  MFGSampleStatistics statistics[STEPS_MOST + 1];
} Case;

static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  const Case *c = context;
  const MFGBlock *b = &c->grid.block;
  const int64_t owned = MFGBlockOwned(b), n = (end - begin) * b->dim * owned;
  for (int64_t i = 0; i < n; i++)
    drift[i] = c->broken + (0.6 * (double)(i % owned % 5) - 1.2 + c->push) *
                               b->spacing[i / owned % b->dim] / DT;
  return PETSC_SUCCESS;
}

static PetscErrorCode Open(Case *c, const Box *box, int agents, MFGDecomposition decomposition,
                           int sort_every, int steps) {
  const MFGBackend *backend = MFGTestMemory();
  double m0[CELLS_MOST], h[2 * (STEPS_MOST + 1)];

  PetscFunctionBeginUser;
  memset(c, 0, sizeof *c);
  c->decomposition = decomposition;
  c->steps = steps;
  CreateGrid(PETSC_COMM_WORLD, box, &c->grid);
  for (int i = 0; i < CELLS_MOST; i++) m0[i] = 1 + i % 7;
  for (int i = 0; i < 2 * (STEPS_MOST + 1); i++) h[i] = 1.5 * c->grid.block.spacing[i % box->dim];
  c->M = malloc((steps + 1) * MFGBlockOwned(&c->grid.block) * sizeof *c->M);
  PetscCall(MFGDensityPlanCreate(&c->grid, backend, MFG_DENSITY_MOMENTS, agents, 1e-3, steps + 1, h,
                                 &c->plan));
  const MFGParticlesSpec spec = {.count = agents,
                                 .initial_density = m0,
                                 .nu = 1e-4,
                                 .dt = DT,
                                 .steps = steps,
                                 .decomposition = decomposition,
                                 .sort_every = sort_every};
  PetscCall(MFGParticlesCreate(&c->grid, backend, &spec, &c->particles));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sweep(Case *c) {
  return MFGParticlesSweep(c->particles, c->plan, 0, Drift, c, c->M, c->statistics);
}

static void Close(Case *c) {
  MFG_OK(MFGParticlesDestroy(&c->particles));
  MFG_OK(MFGDensityPlanDestroy(&c->plan));
  MFG_OK(MFGGridDestroy(&c->grid));
  free(c->M);
}

/* What a sweep may move between host and device: the drift of a chunk there, its densities and
 * sums back, with marginals where an axis is periodic, and where agents change ranks how many there
 * are, there at the start and after each chunk, back after each. These sweeps are one chunk. */
static void AllowedBytes(const Case *c, int64_t *there, int64_t *back) {
  const PetscBool domain = (PetscBool)(c->decomposition == MFG_DECOMPOSITION_DOMAIN);
  const MFGBlock whole = WholeBlock(&c->grid), *b = domain ? &c->grid.box : &c->grid.block;
  const MFGExtent rim = MFGBlockWidened(b, (int[3]){1, 1, 1});
  const MFGMomentShape shape = MFGDensityPlanShape(c->plan);
  const int64_t traffic = domain ? sizeof(MFGTraffic) : 0;
  const int64_t cells = domain ? MFGExtentCells(&rim) : MFGBlockCells(&whole);
  *there = c->steps * whole.dim * cells * 8 + 2 * traffic;
  int64_t marginals = 0;
  for (int k = 0; k < whole.dim; k++)
    if (whole.boundary[k][0] == P) marginals = MFGMarginalCount(&whole, &shape);
  *back = (c->steps + 1) *
              ((MFGBlockOwned(b) + marginals) * 8 + whole.dim * (int64_t)sizeof(MFGAxisSums)) +
          traffic;
}

/* Nothing else is copied, nor in a sweep that was done before allocated; copies and waits are as
 * many for few steps as for more. From the second sweep on the steps of divided agents are one
 * launch of a graph, of the kernels that were launched one by one in the first, with the same bits.
 * The steps of the others are one kernel between two sorts, and so many levels are one batch in
 * each pass of the density: kernels are as many for few levels as for more. */
static void OnlyTheEndsOfAChunkAreCopied(void **state) {
  (void)state;
  MFGStandinCounts few[8];
  for (int i = 0; i < 16; i++) {
    const MFGDecomposition way = i & 1 ? MFG_DECOMPOSITION_DOMAIN : MFG_DECOMPOSITION_REPLICATED;
    const int sort_every = i & 2 ? 2 : MFG_SORT_NEVER, steps[2] = {4, STEPS_MOST};
    const int sorts = sort_every > 0;
    MFGStandinCounts counts[4];
    int64_t there, back;
    Case c;
    MFG_OK(Open(&c, i & 4 ? &tube : &line, FEW, way, sort_every, steps[i >> 3]));
    const size_t bytes = (c.steps + 1) * MFGBlockOwned(&c.grid.block) * sizeof(double);
    double *first = malloc(bytes);
    for (int again = 0; again < 4; again++) {
      memset(c.M, 0xff, bytes);
      (void)Counted();
      MFG_OK(Sweep(&c));
      counts[again] = Counted();
      if (!again) memcpy(first, c.M, bytes);
      assert_memory_equal(c.M, first, bytes);
      if (!OnStandin()) continue;
      assert_int_equal(counts[again].graph_launches, way && again > 0);
      assert_int_equal(counts[again].kernels, counts[0].kernels);
      AllowedBytes(&c, &there, &back);
      if (again || way || !sorts) assert_int_equal(counts[again].bytes[0][1], there);
      assert_int_equal(counts[again].bytes[1][0], back);
    }
    assert_int_equal(counts[3].allocations, 0);
    assert_int_equal(counts[3].frees, 0);
    if (i < 8) {
      few[i] = counts[3];
    } else if (OnStandin()) {
      for (int from = 0; from < 2; from++)
        assert_int_equal(counts[3].copies[from][1 - from], few[i - 8].copies[from][1 - from]);
      assert_int_equal(counts[3].synchronizations, few[i - 8].synchronizations);
      if (!way && !sorts) assert_int_equal(counts[3].kernels, few[i - 8].kernels);
    }
    free(first);
    Close(&c);
  }
}

/* All agents run into the corner where one rank has its box: messages and that rank's arrays are
 * too small, steps are done again with larger ones, and the densities are those of agents that stay
 * with their ranks. Then they are large enough, and all ranks replay graphs, also those whose
 * own arrays had grown earlier or later than others'. */
static void BuffersGrow(void **state) {
  (void)state;
  const Box *boxes[] = {&line, &room};
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int i = 0; i < 4; i++) {
    const Box *box = boxes[i % 2];
    const int sorts = i / 2;
    Case still, moving;
    MFG_OK(Open(&still, box, MANY, MFG_DECOMPOSITION_REPLICATED, sorts ? 1 : MFG_SORT_NEVER, 5));
    MFG_OK(Open(&moving, box, MANY, MFG_DECOMPOSITION_DOMAIN, sorts ? 1 : MFG_SORT_NEVER, 5));
    still.push = moving.push = -12;
    MFG_OK(Sweep(&still));
    const size_t bytes = (still.steps + 1) * MFGBlockOwned(&still.grid.block) * sizeof(double);
    for (int again = 0; again < 3; again++) {
      memset(moving.M, 0xff, bytes);
      (void)Counted();
      MFG_OK(Sweep(&moving));
      const MFGStandinCounts counts = Counted();
      assert_memory_equal(moving.M, still.M, bytes);
      if (!OnStandin()) continue;
      assert_int_equal(counts.frees > 0, !again && size > 1);
      assert_int_equal(counts.graph_launches, again > 0);
    }
    Close(&moving);
    Close(&still);
  }
}

/* What is predicted of a rank's share of a device is there and no more than a fifth too much, with
 * the work memory of the backend, which stays. (The first test: others may need more of it.) */
static void MemoryIsAsPredicted(void **state) {
  (void)state;
  const MFGBackend *backend = MFGTestMemory();
  double m0[CELLS_MOST], shares[8];
  PetscMPIInt rank, size;
  if (!OnStandin()) skip();
  for (int i = 0; i < CELLS_MOST; i++) m0[i] = 1 + i % 7;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int way = 0; way < 2; way++) {
    Case c;
    MFG_OK(Open(&c, &field, CROWD, way ? MFG_DECOMPOSITION_DOMAIN : MFG_DECOMPOSITION_REPLICATED, 2,
                5));
    for (int again = 0; again < 2; again++) MFG_OK(Sweep(&c));
    MFGSweepLayout l = {.whole = WholeBlock(&c.grid),
                        .decomposition = c.decomposition,
                        .agents = CROWD,
                        .sort_every = 2,
                        .steps = c.steps,
                        .shape = MFGDensityPlanShape(c.plan),
                        .deviation = sqrt(2 * 1e-4 * DT)};
    for (int k = 0; k < MFG_MAX_DIM; k++) l.divisions[k] = c.grid.divisions[k];
    MFGDensityPlanRadius(c.plan, l.radius);
    MFGSweepShares(&l, &l.whole, m0, shares);
    const int64_t here = way ? (int64_t)ceil(shares[rank]) : (CROWD - 1) / size + 1;
    const int64_t predicted = MFGSweepDeviceBytes(&l, backend, rank, here);
    const int64_t used = MFGStandinMemoryUsed();
    print_message("%lld bytes predicted, %lld used\n", (long long)predicted, (long long)used);
    assert_in_range(predicted, used, used + used / 5);
    Close(&c);
  }
}

static void AllMemoryIsGivenBack(void **state) {
  (void)state;
  Case c;
  if (!OnStandin()) skip();
  MFG_OK(
      Open(&c, &tube, FEW, MFG_DECOMPOSITION_DOMAIN, 2, 4)); /* work memory of the backend stays */
  for (int again = 0; again < 3; again++) MFG_OK(Sweep(&c));
  Close(&c);
  const int64_t before = MFGStandinMemoryUsed();
  for (int way = 0; way < 2; way++) {
    MFG_OK(
        Open(&c, &tube, FEW, way ? MFG_DECOMPOSITION_DOMAIN : MFG_DECOMPOSITION_REPLICATED, 2, 4));
    MFG_OK(Sweep(&c));
    assert_true(MFGStandinMemoryUsed() > before);
    Close(&c);
    assert_int_equal(MFGStandinMemoryUsed(), before);
  }
}

/* Where messages of divided agents go through the host, ranks leave before and after some of them:
 * the program would end, nothing is exchanged again. */
static void ABrokenDriftIsTold(void **state) {
  (void)state;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const int ways = size == 1 || MFGTestMemory()->carrier->transport->recordable ? 2 : 1;
  for (int way = 0; way < ways; way++) {
    const double broken[] = {NAN, INFINITY, -INFINITY};
    Case c;
    MFG_OK(
        Open(&c, &tube, FEW, way ? MFG_DECOMPOSITION_DOMAIN : MFG_DECOMPOSITION_REPLICATED, 0, 4));
    for (int i = 0; i < 3; i++) {
      c.broken = broken[i];
      MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
      const PetscErrorCode error = Sweep(&c);
      MFG_OK(PetscPopErrorHandler());
      assert_int_equal(error, PETSC_ERR_FP);
    }
    c.broken = 0;
    MFG_OK(Sweep(&c)); /* it is told once */
    Close(&c);
  }
}

static PetscErrorCode KeepMessage(MPI_Comm comm, int line, const char *function, const char *file,
                                  PetscErrorCode error, PetscErrorType type, const char *message,
                                  void *context) {
  (void)comm, (void)line, (void)function, (void)file;
  if (type == PETSC_ERROR_INITIAL) strncpy(context, message, 299);
  return error;
}

/* More than any device has. */
static void TooLittleMemoryIsTold(void **state) {
  (void)state;
  const MFGMemoryOps *memory = MFGTestMemory()->memory;
  char message[300] = "";
  void *array = NULL;
  if (OnStandin()) MFGStandinSetMemory(8 << 20);
  MFG_OK(PetscPushErrorHandler(KeepMessage, message));
  const PetscErrorCode error = MFGMemoryAllocate(memory, (int64_t)1 << 50, 1, &array);
  MFG_OK(PetscPopErrorHandler());
  assert_int_equal(error, PETSC_ERR_MEM);
  assert_non_null(strstr(message, "1073741824.0 MiB wanted on the GPU"));
  if (OnStandin()) assert_non_null(strstr(message, "of 8.0 MiB are free"));
  MFG_OK(MFGMemoryAllocate(memory, 1 << 20, 1, &array)); /* and life goes on */
  MFG_OK(MFGMemoryFree(memory, &array));
  if (OnStandin()) MFGStandinSetMemory((int64_t)2 << 30);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(MemoryIsAsPredicted), cmocka_unit_test(OnlyTheEndsOfAChunkAreCopied),
    cmocka_unit_test(BuffersGrow),         cmocka_unit_test(AllMemoryIsGivenBack),
    cmocka_unit_test(ABrokenDriftIsTold),  cmocka_unit_test(TooLittleMemoryIsTold)};
MFG_TEST_MAIN(tests)
