/* Positions in single precision. An offset f = float(x - lower) in [0, L] is off by at most half a
 * unit in its last place: 2^(e-24) where L lies in (2^e, 2^(e+1)], which is at most 2^-24 L and,
 * where L is a power of two, 2^-25 L. */
#include "tests/agents_fixture.h"

#include <float.h>

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

/* Half a unit in the last place of the largest offset, and what the sums in double add to it. */
static double StepBound(double lower, double upper) {
  const double size = PetscMax(fabs(lower), fabs(upper));
  return ldexp(1, ilogb(nextafter(upper - lower, 0)) - 24) + 2 * DBL_EPSILON * size;
}

static void OffsetsGiveBackPositions(void **state) {
  (void)state;
  static const double ends[][2] = {{0, 1},      {-3, -1.3},       {1000.3, 1000.97}, {0, 0.7},
                                   {-0.3, 0.1}, {-12345.6, 3e4},  {2, 34},           {0, 1e-30},
                                   {-1e30, 0},  {1e6, 1e6 + 0.1}, {-1e-3, 1e3}};
  MFG_ASSERT_NEAR(StepBound(0, 1), 0x1p-25, 1e-15);
  MFG_ASSERT_NEAR(StepBound(0, 1.0625), 0x1p-24, 1e-15);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    const double lower = ends[i][0], upper = ends[i][1], length = upper - lower;
    const MFGBlock b = {
        .dim = 1, .cells = {9, 1, 1}, .lower = {lower}, .upper = {upper}, .spacing = {length / 9}};
    const MFGAxis axis = MFGAxisOf(&b, 0);
    const double bound = StepBound(lower, upper);
    double largest = 0;
    uint64_t seed = i;
    for (int n = 0; n < 50000; n++) {
      const double u = TestUniform(&seed), v = n % 4 == 0   ? ldexp(u, -(n / 4 % 100))
                                               : n % 4 == 1 ? 1 - ldexp(u, -(n / 4 % 60))
                                                            : u;
      const double x = n == 0   ? lower
                       : n == 1 ? upper
                       : n == 2 ? nextafter(upper, lower)
                                : PetscMin(lower + v * length, upper);
      const double y = MFGPositionOf(&axis, MFGOffsetOf(&axis, x));
      assert_true(y >= lower && y <= upper);
      MFG_ASSERT_NEAR(y, x, bound);
      assert_true(MFGPositionOf(&axis, MFGOffsetOf(&axis, y)) == y);
      largest = PetscMax(largest, fabs(y - x));
    }
    assert_true(largest > 0.9 * ldexp(1, ilogb(nextafter(length, 0)) - 24)); /* it is attained */
    assert_true(MFGPositionOf(&axis, MFGOffsetOf(&axis, lower)) == lower);
    assert_true(MFGPositionOf(&axis, MFGOffsetOf(&axis, upper)) >= upper - bound);
  }
}

#define AGENTS 700
#define STEPS 5

static const Box boxes[] = {{1, {31, 1, 1}, {-3, 0, 0}, {-1.3, 1, 1}, {W}},
                            {1, {31, 1, 1}, {1000.3, 0, 0}, {1000.97, 1, 1}, {P}},
                            {2, {19, 26, 1}, {0, 1000.3, 0}, {1, 1001, 1}, {P, W}},
                            {3, {9, 7, 8}, {-3, 0, 1000.3}, {-1.3, 0.7, 1002.3}, {W, P, W}}};

static void FillDrift(const MFGBlock *b, double *drift) {
  for (int n = 0; n < STEPS; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < MFGBlockCells(b); i++)
        *drift++ = (double)((7 * i + 3 * k + n) % 11 - 5) * b->spacing[k] / 3;
}

/* A scan of agents in one of the precisions; all arrays are the caller's. */
typedef struct {
  const MFGAgentsOps *ops;
  MFGBlock block;
  const double *drift;
  int order;
} Scanner;

static void Scan(const Scanner *s, MFGAgentRange agents, int begin, int end, int64_t *moments) {
  const int64_t cells = MFGBlockCells(&s->block);
  const MFGScan job = {.domain = s->block,
                       .key = {.seed = 7},
                       .agents = agents,
                       .dt = 1,
                       .nu = 0.05 * s->block.spacing[0] * s->block.spacing[0],
                       .level_begin = begin,
                       .level_end = end,
                       .drift = s->drift + (int64_t)begin * s->block.dim * cells,
                       .shape = {.order = s->order, .scale = 45},
                       .moments = moments};
  MFG_OK(s->ops->scan(&job));
}

static MFGAgentRange Range(const Scanner *s, double x[3][AGENTS], float f[3][AGENTS]) {
  MFGAgentRange a = {.first_id = 40, .id_stride = 3, .count = AGENTS};
  for (int k = 0; k < s->block.dim; k++) {
    if (f) a.offset[k] = f[k];
    if (!f) a.position[k] = x[k];
  }
  return a;
}

/* Step after step: from the same place an agent goes where it goes in double, up to the rounding of
 * the new place, and deposits there. All steps at once give the same bits. */
static void CheckSteps(const Scanner *s) {
  const MFGBlock *b = &s->block;
  const MFGMomentShape shape = {.order = s->order, .scale = 45};
  const int64_t field = MFGBlockCells(b) * MFGMomentTerms(b->dim, s->order);
  static double x[3][AGENTS];
  static float f[3][AGENTS], together[3][AGENTS];
  int64_t *single = calloc((STEPS + 2) * field, sizeof *single), *twice = single + field,
          *flow = twice + field;
  const MFGAgentRange doubles = Range(s, x, NULL), singles = Range(s, NULL, f);
  uint64_t seed = 3;
  double largest = 0;
  for (int k = 0; k < b->dim; k++) {
    const MFGAxis axis = MFGAxisOf(b, k);
    for (int a = 0; a < AGENTS; a++)
      f[k][a] = MFGOffsetOf(&axis, a < 2 ? b->upper[k] : /* exactly at the upper end */
                                       b->lower[k] + TestUniform(&seed) * axis.length);
  }
  memcpy(together, f, sizeof f);
  Scan(s, Range(s, NULL, together), 0, STEPS, flow);
  for (int n = 0; n < STEPS; n++) {
    memset(single, 0, 2 * field * sizeof *single);
    for (int k = 0; k < b->dim; k++) {
      const MFGAxis axis = MFGAxisOf(b, k);
      for (int a = 0; a < AGENTS; a++) x[k][a] = MFGPositionOf(&axis, f[k][a]);
    }
    Scan(s, doubles, n, n + 1, twice);
    Scan(s, singles, n, n + 1, single);
    for (int k = 0; k < b->dim; k++) {
      const MFGAxis axis = MFGAxisOf(b, k);
      for (int a = 0; a < AGENTS; a++) {
        const double y = MFGPositionOf(&axis, f[k][a]);
        MFG_ASSERT_NEAR(y, x[k][a], StepBound(b->lower[k], b->upper[k]));
        assert_true(y >= b->lower[k] && y <= b->upper[k]);
        largest = PetscMax(largest, fabs(y - x[k][a]) / axis.length);
        x[k][a] = y;
      }
    }
    memset(twice, 0, field * sizeof *twice);
    MFG_OK(s->ops->deposit(b, &doubles, &shape, NULL, twice));
    assert_memory_equal(single, twice, field * sizeof *single);
    assert_memory_equal(single, flow + n * field, field * sizeof *single);
    memset(twice, 0, field * sizeof *twice);
    MFG_OK(s->ops->deposit(b, &singles, &shape, NULL, twice));
    assert_memory_equal(single, twice, field * sizeof *single);
  }
  assert_true(largest > 0x1p-27); /* it is rounded */
  assert_memory_equal(together, f, b->dim * sizeof f[0]);
  free(single);
}

static void StepsAreRoundedOnce(void **state) {
  (void)state;
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int count = MFGTestBackends(backends);
  for (int i = 0; i < 4; i++) {
    MFGGrid grid;
    CreateGrid(PETSC_COMM_SELF, &boxes[i], &grid);
    Scanner s = {.block = grid.block, .order = 5};
    double *drift = malloc(STEPS * s.block.dim * MFGBlockCells(&s.block) * sizeof *drift);
    FillDrift(&s.block, drift);
    s.drift = drift;
    for (int v = 0; v < count; v++) {
      s.ops = backends[v]->agents;
      CheckSteps(&s);
    }
    free(drift);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* A wind that is the same everywhere. */
static PetscErrorCode Wind(void *context, int begin, int end, double *drift) {
  const MFGBlock *b = context;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < MFGBlockOwned(b); i++)
        *drift++ = (0.3 + 0.2 * k) * (b->upper[k] - b->lower[k]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static double *Flow(const MFGGrid *grid, int steps, int64_t agents, double cells,
                    PetscBool single) {
  const MFGBlock *b = &grid->block;
  const MFGBackend *backend;
  MFGParticles particles;
  MFGDensityPlan plan;
  const MFGBlock whole = WholeBlock(grid);
  double *m0 = malloc(MFGBlockCells(&whole) * sizeof *m0), h[3 * 21];
  double *M = malloc((steps + 1) * MFGBlockOwned(b) * sizeof *M);
  MFGSampleStatistics statistics[21];
  for (int64_t i = 0; i < MFGBlockCells(&whole); i++) m0[i] = (double)(1 + i % 7);
  for (int i = 0; i < (steps + 1) * b->dim; i++) h[i] = cells * b->spacing[i % b->dim];
  MFG_OK(MFGTestBackend(PETSC_COMM_WORLD, &backend));
  MFG_OK(
      MFGDensityPlanCreate(grid, backend, MFG_DENSITY_MOMENTS, agents, 1e-13, steps + 1, h, &plan));
  const MFGParticlesSpec spec = {.count = agents,
                                 .seed = 5,
                                 .initial_density = m0,
                                 .nu = 0.1 * b->spacing[0] * b->spacing[0],
                                 .dt = 0.1,
                                 .steps = steps,
                                 .single = single};
  MFG_OK(MFGParticlesCreate(grid, backend, &spec, &particles));
  MFG_OK(MFGParticlesSweep(particles, plan, 0, Wind, (void *)b, M, statistics));
  MFG_OK(MFGParticlesDestroy(&particles));
  MFG_OK(MFGDensityPlanDestroy(&plan));
  free(m0);
  return M;
}

/* In a uniform wind on a torus the roundings of n + 1 positions add up: each agent is within
 * (n + 1) bounds of its place in double, and a kernel that is moved by delta on axis k changes by
 * at most delta / (h_k^2 sqrt(2 pi e)) times the peaks of the other axes. */
static void DensitiesDifferByTheRounding(void **state) {
  (void)state;
  enum { N = 5000 };
  const int levels = MFGTestOnDevice() ? 3 : 20;
  const Box tori[] = {{1, {40, 1, 1}, {1000.3, 0, 0}, {1000.97, 1, 1}, {P}},
                      {2, {20, 24, 1}, {-3, 1000.3, 0}, {-1.3, 1001.3, 1}, {P, P}},
                      {3, {14, 13, 12}, {-3, 0, 1000.3}, {-1.3, 0.7, 1002.3}, {P, P, P}}};
  const double cells = 1.5;
  for (int i = 0; i < 3; i++) {
    MFGGrid grid;
    CreateGrid(PETSC_COMM_WORLD, &tori[i], &grid);
    const MFGBlock *b = &grid.block;
    const int64_t owned = MFGBlockOwned(b);
    double *one = Flow(&grid, levels, N, cells, PETSC_TRUE);
    double *two = Flow(&grid, levels, N, cells, PETSC_FALSE);
    double slope = 0;
    for (int k = 0; k < b->dim; k++) {
      const double h = cells * b->spacing[k];
      double peaks = StepBound(b->lower[k], b->upper[k]) / (h * h * sqrt(2 * PETSC_PI * PETSC_E));
      for (int j = 0; j < b->dim; j++)
        if (j != k) peaks /= cells * b->spacing[j] * sqrt(2 * PETSC_PI);
      slope += peaks;
    }
    for (int n = 0; n <= levels; n++) {
      double error = 0, largest = 0;
      for (int64_t c = n * owned; c < (n + 1) * owned; c++) {
        error = PetscMax(error, fabs(one[c] - two[c]));
        largest = PetscMax(largest, two[c]);
      }
      /* Images of a kernel of 1.5 of 12 cells or more are below 1e-3 of it. */
      MFG_ASSERT_NEAR(error, 0, 1.001 * (n + 1) * slope + 2e-13 * largest);
      assert_true(error > 0 && error < 1e-5 * largest);
    }
    free(one);
    free(two);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* An axis whose offsets a float cannot hold. */
static void LengthsAreChecked(void **state) {
  (void)state;
  const Box huge = {1, {8, 1, 1}, {0, 0, 0}, {1e35, 1, 1}, {W}};
  const MFGBackend *backend;
  const double m0[8] = {1};
  MFGParticlesSpec spec = {.count = 1, .initial_density = m0, .dt = 1, .steps = 1};
  MFGParticles particles;
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, &huge, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFG_OK(MFGParticlesCreate(&grid, backend, &spec, &particles));
  MFG_OK(MFGParticlesDestroy(&particles));
  spec.single = PETSC_TRUE;
  MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_equal(MFGParticlesCreate(&grid, backend, &spec, &particles), PETSC_ERR_ARG_OUTOFRANGE);
  MFG_OK(PetscPopErrorHandler());
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(OffsetsGiveBackPositions), cmocka_unit_test(StepsAreRoundedOnce),
    cmocka_unit_test(DensitiesDifferByTheRounding), cmocka_unit_test(LengthsAreChecked)};
MFG_TEST_MAIN(tests)
