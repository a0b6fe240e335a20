/* The density by moments against the exact sum, and the exact sum against its formula written out
 * with all images. Error bounds are the tolerance asked for, relative to the largest density. */
#include "tests/agents_fixture.h"

#define AGENTS 3000

typedef struct {
  Box box;
  double h[2]; /* in cells */
  double tolerance;
} Case;

static MFGAgentRange Crowd(const MFGBlock *b, int64_t count, uint64_t seed) {
  MFGAgentRange a = {.id_stride = 1, .count = count};
  for (int k = 0; k < b->dim; k++) {
    a.position[k] = malloc(count * sizeof(double));
    assert_non_null(a.position[k]);
  }
  for (int64_t i = 0; i < count; i++)
    for (int k = 0; k < b->dim; k++) {
      const double length = b->upper[k] - b->lower[k];
      /* A third of the crowd lies against the lower wall, a third spreads over the box. */
      double s =
          i % 3 == 0 ? TestUniform(&seed) : 0.13 * fabs(TestNormal(&seed)) + (i % 3 == 1 ? 0 : 0.4);
      s -= floor(s);
      a.position[k][i] = b->lower[k] + s * length;
    }
  return a;
}

static void Release(MFGAgentRange *a) {
  for (int k = 0; k < MFG_MAX_DIM; k++) free(a->position[k]);
}

/* Both densities of the agents; returns the error relative to the largest value. */
static double Compare(const Case *c, const MFGAgentRange *agents, int *order, double *mass) {
  MFGGrid grid;
  const MFGBackend *backend;
  MFGDensityPlan plan, direct;
  double h[2], *m, *d, largest;
  int64_t *moments;

  CreateGrid(PETSC_COMM_SELF, &c->box, &grid);
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
  for (int k = 0; k < 2; k++) h[k] = c->h[k] * grid.block.spacing[k];
  MFG_OK(MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, agents->count, c->tolerance, 1,
                              h, &plan));
  MFG_OK(MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_DIRECT, agents->count, c->tolerance, 1, h,
                              &direct));
  *order = MFGDensityPlanOrder(plan);
  const int64_t cells = MFGBlockCells(&grid.block), terms = MFGMomentTerms(c->box.dim, *order);
  moments = calloc(cells * terms, sizeof *moments);
  m = malloc(cells * sizeof *m);
  d = malloc(cells * sizeof *d);
  MFG_OK(
      MFGBackendDeposit(backend, &grid.block, agents, *order, MFGDensityPlanScale(plan), moments));
  MFG_OK(MFGDensityEvaluate(plan, 0, moments, m));
  MFG_OK(MFGDensityDirect(direct, 0, agents, d));
  const double error = LargestError(cells, m, d, &largest);
  *mass = 0;
  for (int64_t i = 0; i < cells; i++) *mass += m[i] * MFGCellVolume(&grid.block);
  free(moments);
  free(m);
  free(d);
  MFG_OK(MFGDensityPlanDestroy(&plan));
  MFG_OK(MFGDensityPlanDestroy(&direct));
  MFG_OK(MFGGridDestroy(&grid));
  return error / largest;
}

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC
static const Box boxes[] = {
    {1, {37, 1}, {-1, 0}, {2, 1}, {W, P}},  {1, {37, 1}, {-1, 0}, {2, 1}, {P, P}},
    {1, {5, 1}, {0, 0}, {1, 1}, {W, P}},    {1, {5, 1}, {0, 0}, {1, 1}, {P, P}},
    {2, {19, 26}, {0, -1}, {1, 2}, {W, W}}, {2, {19, 26}, {0, -1}, {1, 2}, {P, W}},
    {2, {26, 11}, {0, -1}, {3, 0}, {W, P}}, {2, {4, 21}, {0, 0}, {1, 1}, {P, P}}};
#define BOXES (sizeof boxes / sizeof boxes[0])

static void MomentsMeetTolerance(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 1.2, 1.5, 2, 3.7, 8}, tolerances[] = {1e-10, 1e-6, 1e-3};
  double worst[3] = {0};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 7; i++)
      for (int t = 0; t < 3; t++) {
        Case c = {boxes[b], {widths[i], widths[(i + 2) % 7]}, tolerances[t]};
        int order;
        double mass;
        MFGGrid grid;
        CreateGrid(PETSC_COMM_SELF, &c.box, &grid);
        MFGAgentRange crowd = Crowd(&grid.block, AGENTS, b * 100 + i);
        MFG_OK(MFGGridDestroy(&grid));
        const double error = Compare(&c, &crowd, &order, &mass);
        Release(&crowd);
        if (error > tolerances[t])
          fail_msg("box %zu, h = %g and %g cells, p = %d: error %.3g above the tolerance %g", b,
                   c.h[0], c.h[1], order, error, tolerances[t]);
        worst[t] = PetscMax(worst[t], error / tolerances[t]);
        /* The lattice sum of the narrowest kernel is 1 to 6e-5, from 1.2 cells on to 1e-12. */
        const double least = c.box.dim == 1 ? c.h[0] : PetscMin(c.h[0], c.h[1]);
        MFG_ASSERT_NEAR(mass, 1, least < 1 ? 2e-4 : least < 1.2 ? 1e-8 : 1e-12);
      }
  print_message("largest error / tolerance at 1e-10, 1e-6, 1e-3: %.2g %.2g %.2g\n", worst[0],
                worst[1], worst[2]);
}

/* The hardest case: one agent in the corner of a cell, up to d^(p/2) times the tolerance. */
static void LoneAgent(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 2, 5}, tolerances[] = {1e-10, 1e-6};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 4; i++)
      for (int t = 0; t < 2; t++) {
        const Case c = {boxes[b], {widths[i], widths[i]}, tolerances[t]};
        double x = c.box.lower[0] + 2 * (c.box.upper[0] - c.box.lower[0]) / c.box.cells[0];
        double y = c.box.lower[1] + 3 * (c.box.upper[1] - c.box.lower[1]) / c.box.cells[1], mass;
        MFGAgentRange agent = {.id_stride = 1, .count = 1, .position = {&x, &y}};
        int order;
        const double error = Compare(&c, &agent, &order, &mass);
        const double bound = tolerances[t] * (c.box.dim == 1 ? 1 : pow(2, order / 2.0));
        if (error > bound)
          fail_msg("box %zu, h = %g cells, p = %d: error %.3g of a lone agent above %.3g", b,
                   widths[i], order, error, bound);
      }
}

/* The exact sum is the formula: images written out here one by one. */
static void DirectIsTheFormula(void **state) {
  (void)state;
  for (size_t b = 0; b < BOXES; b++) {
    MFGGrid grid;
    const MFGBackend *backend;
    CreateGrid(PETSC_COMM_SELF, &boxes[b], &grid);
    MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
    const MFGBlock *g = &grid.block;
    MFGAgentRange crowd = Crowd(g, 20, 5);
    const int64_t cells = MFGBlockCells(g);
    const double h[2] = {1.7 * g->spacing[0], 2.9 * g->spacing[1]};
    double *value = malloc(cells * sizeof *value);
    MFG_OK(
        MFGBackendDirect(backend, g, crowd.count, (const double *const *)crowd.position, h, value));
    for (int64_t c = 0; c < cells; c++) {
      double rho = 0;
      for (int64_t a = 0; a < crowd.count; a++) {
        double product = 1;
        for (int k = 0; k < g->dim; k++) {
          const double x = MFGCellCenter(g, k, (int)(k ? c / g->cells[0] : c % g->cells[0]));
          const double length = g->upper[k] - g->lower[k], X = crowd.position[k][a];
          double sum = 0;
          for (int m = -20; m <= 20; m++)
            if (g->boundary[k][0] == P)
              sum += exp(-pow(x - X - m * length, 2) / (2 * h[k] * h[k]));
            else
              sum += exp(-pow(x - X - 2 * m * length, 2) / (2 * h[k] * h[k])) +
                     exp(-pow(x - 2 * g->lower[k] + X - 2 * m * length, 2) / (2 * h[k] * h[k]));
          product *= sum / (h[k] * sqrt(2 * PETSC_PI));
        }
        rho += product / (double)crowd.count;
      }
      MFG_ASSERT_NEAR(value[c] / (rho + 1e-30), 1, rho > 1e-8 ? 1e-11 : 1);
    }
    free(value);
    Release(&crowd);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* Any division of the grid and any instruction set: the same bits. */
static void SameBitsForAnyBoxAndVariant(void **state) {
  (void)state;
  const Box *const chosen[] = {&boxes[0], &boxes[5]};
  for (int b = 0; b < 2; b++) {
    MFGGrid grid;
    CreateGrid(PETSC_COMM_SELF, chosen[b], &grid);
    const MFGBlock g = grid.block;
    MFGAgentRange crowd = Crowd(&g, AGENTS, 9);
    const int order = 7, scale = MFGMomentScale(AGENTS), radius = 9;
    const int64_t cells = MFGBlockCells(&g), terms = MFGMomentTerms(g.dim, order);
    double weights[7 * 19], *whole = malloc(cells * sizeof *whole),
                            *part = malloc(cells * sizeof *part);
    int64_t *moments = calloc(cells * terms, sizeof *moments),
            *again = calloc(cells * terms, sizeof *again);
    uint64_t seed = 3;
    for (int i = 0; i < 7 * 19; i++) weights[i] = TestUniform(&seed) - 0.3;
    MFGConvolution job = {.block = g,
                          .order = order,
                          .scale = scale,
                          .agents = AGENTS,
                          .radius = {radius, radius},
                          .weights = {weights, weights}};
    MFG_OK(MFGAgentsOps_CPU_baseline.deposit(&g, &crowd, order, scale, moments));
    MFG_OK(MFGDensityOps_CPU_baseline.convolve(&job, moments, whole));
    for (int split = 1; split < g.cells[0]; split += 5)
      for (int half = 0; half < 2; half++) {
        job.block.start[0] = half ? split : 0;
        job.block.count[0] = half ? g.cells[0] - split : split;
        job.block.start[1] = g.dim > 1 ? 4 : 0;
        job.block.count[1] = g.dim > 1 ? 11 : 1;
        MFG_OK(MFGDensityOps_CPU_baseline.convolve(&job, moments, part));
        for (int j = 0; j < job.block.count[1]; j++)
          assert_memory_equal(part + (int64_t)j * job.block.count[0],
                              whole + (int64_t)(job.block.start[1] + j) * g.cells[0] +
                                  job.block.start[0],
                              job.block.count[0] * sizeof *part);
      }
#if defined(__x86_64__)
    job.block = g;
    const double h[2] = {2 * g.spacing[0], 3 * g.spacing[1]};
    const MFGAgentsOps *agents[] = {&MFGAgentsOps_CPU_v3, &MFGAgentsOps_CPU_v4};
    const MFGDensityOps *density[] = {&MFGDensityOps_CPU_v3, &MFGDensityOps_CPU_v4};
    const int have[] = {__builtin_cpu_supports("avx2"), __builtin_cpu_supports("avx512dq")};
    double *oracle = malloc(cells * sizeof *oracle);
    MFG_OK(MFGDensityOps_CPU_baseline.direct(&g, AGENTS, (const double *const *)crowd.position, h,
                                             oracle));
    for (int v = 0; v < 2; v++) {
      if (!have[v]) continue;
      memset(again, 0, cells * terms * sizeof *again);
      MFG_OK(agents[v]->deposit(&g, &crowd, order, scale, again));
      assert_memory_equal(again, moments, cells * terms * sizeof *again);
      MFG_OK(density[v]->convolve(&job, moments, part));
      assert_memory_equal(part, whole, cells * sizeof *part);
      MFG_OK(density[v]->direct(&g, AGENTS, (const double *const *)crowd.position, h, part));
      assert_memory_equal(part, oracle, cells * sizeof *part);
    }
    free(oracle);
#endif
    free(whole);
    free(part);
    free(moments);
    free(again);
    Release(&crowd);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(DirectIsTheFormula), cmocka_unit_test(MomentsMeetTolerance),
    cmocka_unit_test(LoneAgent), cmocka_unit_test(SameBitsForAnyBoxAndVariant)};
MFG_TEST_MAIN(tests)
