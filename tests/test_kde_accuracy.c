/* The density by moments against the exact sum, and the exact sum against its formula written out
 * with all images. Error bounds are the tolerance asked for, relative to the largest density. */
#include "tests/kde_fixture.h"

typedef struct {
  Box box;
  double h[3]; /* in cells */
  double tolerance;
  int halvings[3];
} Case;

/* Both densities of the agents, the exact one by the CPU; returns the error relative to the largest
 * value. */
static double Compare(const Case *c, const MFGAgentRange *agents, int *order, double *mass) {
  MFGGrid grid;
  const MFGBackend *backend, *oracle;
  MFGDensityPlan plan, direct;
  double h[3], *m, *d, largest;
  int64_t *moments;

  CreateGrid(PETSC_COMM_SELF, &c->box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &oracle));
  for (int k = 0; k < 3; k++) h[k] = c->h[k] * grid.block.spacing[k];
  MFG_OK(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, agents->count,
                                    c->tolerance, 1, h, c->halvings, &plan));
  MFG_OK(MFGDensityPlanCreate(&grid, oracle, MFG_DENSITY_DIRECT, agents->count, c->tolerance, 1, h,
                              &direct));
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  const int64_t cells = MFGBlockCells(&grid.block), numbers = MFGMomentNumbers(c->box.dim, &shape);
  *order = shape.order;
  moments = calloc(cells * numbers, sizeof *moments);
  m = malloc(cells * sizeof *m);
  d = malloc(cells * sizeof *d);
  Deposit(&grid.block, agents, &shape, moments);
  MFG_OK(MFGDensityEvaluate(plan, 0, 1, NULL, NULL, moments, m));
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

static const Box boxes[] = {
    {1, {37, 1}, {-1, 0}, {2, 1}, {W, P}},  {1, {37, 1}, {-1, 0}, {2, 1}, {P, P}},
    {1, {5, 1}, {0, 0}, {1, 1}, {W, P}},    {1, {5, 1}, {0, 0}, {1, 1}, {P, P}},
    {2, {19, 26}, {0, -1}, {1, 2}, {W, W}}, {2, {19, 26}, {0, -1}, {1, 2}, {P, W}},
    {2, {26, 11}, {0, -1}, {3, 0}, {W, P}}, {2, {4, 21}, {0, 0}, {1, 1}, {P, P}}};
#define BOXES (sizeof boxes / sizeof boxes[0])

/* Cells whole (s = 0) and halved up to three times, another number of times on each axis. */
static void MomentsMeetTolerance(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 1.2, 1.5, 2, 3.7, 8},
                      tolerances[] = {1e-13, 1e-10, 1e-6, 1e-3};
  double worst[4] = {0};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 7; i += MFGTestBrief() ? 3 : 1)
      for (int e = boxes[b].dim > 1 ? 4 : 0; e < 16; e += MFGTestBrief() ? 5 : 1) {
        const int t = e / 4, s = e % 4, y = boxes[b].dim > 1 && s ? (s + i) % 4 : 0;
        Case c = {boxes[b], {widths[i], widths[(i + 2) % 7]}, tolerances[t], {s, y}};
        int order;
        double mass;
        MFGGrid grid;
        CreateGrid(PETSC_COMM_SELF, &c.box, &grid);
        MFGAgentRange crowd = Crowd(&grid.block, AGENTS, b * 100 + i);
        MFG_OK(MFGGridDestroy(&grid));
        const double error = Compare(&c, &crowd, &order, &mass);
        Release(&crowd);
        if (error > tolerances[t])
          fail_msg("box %zu, h = %g and %g cells, halved %d and %d times, p = %d: error %.3g above "
                   "the tolerance %g",
                   b, c.h[0], c.h[1], s, y, order, error, tolerances[t]);
        worst[t] = PetscMax(worst[t], error / tolerances[t]);
        /* The lattice sum of the narrowest kernel is 1 to 6e-5, from 1.2 cells on to 1e-12. */
        const double least = c.box.dim == 1 ? c.h[0] : PetscMin(c.h[0], c.h[1]);
        MFG_ASSERT_NEAR(mass, 1, least < 1 ? 2e-4 : least < 1.2 ? 1e-8 : 1e-12);
      }
  print_message("largest error / tolerance at 1e-13, 1e-10, 1e-6, 1e-3: %.2g %.2g %.2g %.2g\n",
                worst[0], worst[1], worst[2], worst[3]);
}

static const Box rooms[] = {{3, {9, 13, 11}, {0, -1, 2}, {1, 2, 4}, {W, P, W}},
                            {3, {12, 3, 7}, {0, -1, 2}, {1, 2, 4}, {P, W, P}},
                            {3, {5, 8, 14}, {-3, 0, 0}, {1, 1, 5}, {W, W, W}},
                            {3, {10, 6, 4}, {0, 0, 0}, {1, 2, 3}, {P, P, P}}};
#define ROOMS (sizeof rooms / sizeof rooms[0])

/* Three dimensions: a kernel of another width on each axis, narrower and wider than the box. */
static void MomentsMeetToleranceInThreeDimensions(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1.2, 1.5, 2, 4}, tolerances[] = {1e-10, 1e-6, 1e-3};
  double worst[3] = {0};
  for (size_t b = 0; b < ROOMS; b++)
    for (int i = 0; i < 5; i += MFGTestBrief() ? 4 : 1)
      for (int e = MFGTestBrief() ? b % 2 : 0; e < 6; e += MFGTestOnDevice() ? 2 : 1) {
        const int t = e % 3, s = e / 3;
        const Case c = {rooms[b],
                        {widths[i], widths[(i + 2) % 5], widths[(i + 4) % 5]},
                        tolerances[t],
                        {s * (1 + i % 2), s * ((i + t) % 3), s * (2 - i % 2)}};
        int order;
        double mass;
        MFGGrid grid;
        CreateGrid(PETSC_COMM_SELF, &c.box, &grid);
        MFGAgentRange crowd = Crowd(&grid.block, AGENTS, b * 100 + i);
        MFG_OK(MFGGridDestroy(&grid));
        const double error = Compare(&c, &crowd, &order, &mass);
        Release(&crowd);
        if (error > tolerances[t])
          fail_msg("room %zu, h = %g, %g and %g cells, halved %d, %d and %d times, p = %d: error "
                   "%.3g above %g",
                   b, c.h[0], c.h[1], c.h[2], c.halvings[0], c.halvings[1], c.halvings[2], order,
                   error, tolerances[t]);
        worst[t] = PetscMax(worst[t], error / tolerances[t]);
        const double least = PetscMin(c.h[0], PetscMin(c.h[1], c.h[2]));
        MFG_ASSERT_NEAR(mass, 1, least < 1 ? 2e-4 : 1e-12);
      }
  print_message("3D, largest error / tolerance at 1e-10, 1e-6, 1e-3: %.2g %.2g %.2g\n", worst[0],
                worst[1], worst[2]);
}

/* numerics.md, section 5: in 3D p = 5 (35 terms) at h = 2 cells errs by 7e-7 of the largest
 * density, of a crowd of a million; the error falls like the square root of their number. The
 * kernel is cut nowhere, its weights are written out here a second time; the crowd's middle is
 * compared. */
static void PublishedErrorOfOrderFive(void **state) {
  (void)state;
  if (MFGTestOnDevice()) skip(); /* a million agents */
  enum { SIDE = 24, ORDER = 5, RADIUS = 16, WIDTH = 2 * RADIUS + 1, N = 1000000 };
  const Box box = {3, {SIDE, SIDE, SIDE}, {0, 0, 0}, {SIDE, SIDE, SIDE}, {P, P, P}};
  const double h[3] = {2, 2, 2};
  static double x[3][N], weights[ORDER][WIDTH];
  static double m[SIDE * 36], d[SIDE * 36];
  const MFGBackend *backend;
  MFGGrid grid;
  uint64_t seed = 17;
  double largest;

  for (int i = 0; i < N; i++)
    for (int k = 0; k < 3; k++) {
      const double s = 0.5 + 0.2 * TestNormal(&seed);
      x[k][i] = SIDE * (s - floor(s));
    }
  const MFGAgentRange crowd = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}};
  for (int j = -RADIUS; j <= RADIUS; j++) {
    const double z = j / 2.0, g = exp(-z * z / 2) / (2 * sqrt(2 * PETSC_PI));
    const double hermite[ORDER] = {1, z, z * z - 1, z * z * z - 3 * z,
                                   z * z * z * z - 6 * z * z + 3};
    for (int k = 0; k < ORDER; k++)
      weights[k][RADIUS + j] = g * hermite[k] * pow(0.25, k) / tgamma(k + 1);
  }
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  assert_int_equal(MFGMomentTerms(3, ORDER), 35);
  int64_t *moments = calloc(SIDE * SIDE * SIDE * 35, sizeof *moments);
  MFGBlock middle = grid.block;
  for (int k = 1; k < 3; k++) {
    middle.start[k] = SIDE / 2 - 3;
    middle.count[k] = 6;
  }
  const MFGDensityKernel kernel = {.radius = {RADIUS, RADIUS, RADIUS},
                                   .weights = {weights[0], weights[0], weights[0]}};
  const MFGConvolution job = {.block = middle,
                              .shape = {.order = ORDER, .scale = MFGMomentScale(N)},
                              .agents = N,
                              .levels = 1,
                              .kernel = &kernel,
                              .radius = {RADIUS, RADIUS, RADIUS}};
  DepositByDefinition(&grid.block, &crowd, &job.shape, moments);
  MFG_OK(MFGBackendConvolve(backend, &job, moments, m));
  MFG_OK(MFGBackendDirect(backend, &middle, N, (const double *const *)crowd.position, h, d));
  const double error = LargestError(SIDE * 36, m, d, &largest) / largest;
  print_message("3D, p = 5, h = 2 cells: error %.2g\n", error);
  MFG_ASSERT_NEAR(error, 0, 1e-6);
  free(moments);
  MFG_OK(MFGGridDestroy(&grid));
}

/* The hardest case: one agent in the corner of a box, up to d^(p/2) times the tolerance. The corner
 * of a cell is one of a box however often cells are halved. */
static void LoneAgent(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 2, 5}, tolerances[] = {1e-10, 1e-6};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 4; i++)
      for (int e = 0; e < 8; e++) {
        const int t = e % 2, s = e / 2;
        const Case c = {
            boxes[b], {widths[i], widths[i]}, tolerances[t], {s, boxes[b].dim > 1 ? s : 0}};
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
  for (size_t b = 0; b < BOXES + ROOMS; b++) {
    MFGGrid grid;
    const MFGBackend *backend;
    CreateGrid(PETSC_COMM_SELF, b < BOXES ? &boxes[b] : &rooms[b - BOXES], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock *g = &grid.block;
    MFGAgentRange crowd = Crowd(g, 20, 5);
    const int64_t cells = MFGBlockCells(g);
    const double h[3] = {1.7 * g->spacing[0], 2.9 * g->spacing[1], 1.1 * g->spacing[2]};
    double *value = malloc(cells * sizeof *value);
    MFG_OK(
        MFGBackendDirect(backend, g, crowd.count, (const double *const *)crowd.position, h, value));
    for (int64_t c = 0; c < cells; c++) {
      double rho = 0;
      for (int64_t a = 0; a < crowd.count; a++) {
        double product = 1;
        for (int k = 0; k < g->dim; k++) {
          const int64_t stride = k == 0 ? 1 : k == 1 ? g->cells[0] : g->cells[0] * g->cells[1];
          const double x = MFGCellCenter(g, k, (int)(c / stride % g->cells[k]));
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

/* What the kernel deposits is the definition, but for the rounding of t. */
static void KernelDepositsTheDefinition(void **state) {
  (void)state;
  for (size_t b = 0; b < DIVIDED; b++)
    for (int order = 3; order < 9; order++) {
      MFGGrid grid;
      const MFGBackend *backend;
      CreateGrid(PETSC_COMM_SELF, &divided[b], &grid);
      MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
      const MFGBlock *g = &grid.block;
      /* From order 6 on cells are halved, on each axis another number of times. */
      MFGMomentShape shape = {order, MFGMomentScale(AGENTS), {0}};
      for (int k = 0; k < g->dim && order > 5; k++) shape.halvings[k] = (order + k) % 4;
      const int64_t count = MFGBlockCells(g) * MFGMomentNumbers(g->dim, &shape);
      MFGAgentRange crowd = Crowd(g, AGENTS, 9);
      int64_t *kernel = calloc(count, sizeof *kernel), *definition = calloc(count, sizeof *kernel);
      MFG_OK(MFGBackendDeposit(backend, g, &crowd, &shape, NULL, kernel));
      DepositByDefinition(g, &crowd, &shape, definition);
      for (int64_t i = 0; i < count; i++)
        MFG_ASSERT_NEAR(ldexp((double)(kernel[i] - definition[i]), -shape.scale), 0, 1e-11);
      free(kernel);
      free(definition);
      Release(&crowd);
      MFG_OK(MFGGridDestroy(&grid));
    }
}

/* Kernels that the grid cannot show, and those whose reach in cells is no int, of an input and of a
 * checkpoint. */
static void BandwidthsOutOfRangeAreRefused(void **state) {
  (void)state;
  static const double bad[] = {0.1, 1e3, 1e12, 1e300, INFINITY, NAN, -1, 0};
  const MFGMomentShape shape = {.order = 8};
  const int radius[] = {1, 1};
  const MFGBackend *backend;
  MFGDensityPlan plan;
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, &boxes[0], &grid);
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const double h[] = {bad[i] * grid.block.spacing[0], bad[i] * grid.block.spacing[0]};
    assert_int_equal(
        MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, 10, 1e-6, 2, h, &plan),
        PETSC_ERR_ARG_OUTOFRANGE);
    assert_int_equal(MFGDensityPlanCreateAs(&grid, backend, MFG_DENSITY_MOMENTS, 10, 1e-6, 2, h,
                                            &shape, radius, &plan),
                     PETSC_ERR_FILE_READ);
  }
  PetscCallVoid(PetscPopErrorHandler());
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(DirectIsTheFormula),
                                          cmocka_unit_test(MomentsMeetTolerance),
                                          cmocka_unit_test(MomentsMeetToleranceInThreeDimensions),
                                          cmocka_unit_test(PublishedErrorOfOrderFive),
                                          cmocka_unit_test(LoneAgent),
                                          cmocka_unit_test(BandwidthsOutOfRangeAreRefused),
                                          cmocka_unit_test(KernelDepositsTheDefinition)};
MFG_TEST_MAIN(tests)
