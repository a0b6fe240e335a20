/* Mean, variance, bandwidth rules, plan errors, and the mean integrated squared error of Gaussian
 * samples (verification.md, "Density estimate"). */
#include "solvers/kde_point.h"
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static MFGSampleStatistics Statistics(const Box *box, const MFGAgentRange *agents,
                                      MFGMomentShape shape) {
  MFGGrid grid;
  const MFGBackend *backend;
  MFGSampleStatistics s;
  CreateGrid(PETSC_COMM_SELF, box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  shape.scale = MFGMomentScale(agents->count);
  int64_t *m = calloc(MFGBlockCells(&grid.block) * MFGMomentNumbers(box->dim, &shape), sizeof *m);
  MFG_OK(MFGBackendDeposit(backend, &grid.block, agents, &shape, NULL, m));
  MFG_OK(MFGMomentStatistics(backend, &grid.block, &shape, agents->count, m, &s));
  free(m);
  MFG_OK(MFGGridDestroy(&grid));
  return s;
}

/* Against the two-pass sums over the positions, whatever the boxes; the two axes differ in
 * everything. */
static void MeanAndVariance(void **state) {
  (void)state;
  enum { N = 5000 };
  const Box box = {2, {40, 23}, {-1, 10}, {3, 11}, {W, W}};
  static double x[2][N];
  uint64_t seed = 4;
  for (int i = 0; i < N; i++) {
    x[0][i] = -1 + 4 * TestUniform(&seed) * TestUniform(&seed);
    x[1][i] = 10 + sqrt(TestUniform(&seed));
  }
  const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x[0], x[1]}};
  for (int i = 0; i < 6; i++) {
    const MFGMomentShape shape = {i == 1 ? 6 : 3, 0, {i / 2, i > 2 ? 5 - i : i}};
    const MFGSampleStatistics s = Statistics(&box, &agents, shape);
    for (int k = 0; k < 2; k++) {
      long double mean = 0, variance = 0;
      for (int i = 0; i < N; i++) mean += x[k][i] / (long double)N;
      for (int i = 0; i < N; i++) variance += (x[k][i] - mean) * (x[k][i] - mean) / N;
      MFG_ASSERT_NEAR(s.mean[k], (double)mean, 1e-13);
      MFG_ASSERT_NEAR(s.variance[k] / (double)variance, 1, 1e-12);
    }
  }
}

/* Three dimensions, each axis with a mean, a variance and a length of its own; the marginals of the
 * boxes of a division, from moments of the box alone, of more and of the whole grid, add up to
 * those of the whole. */
static void MarginalsOfBoxesInThreeDimensions(void **state) {
  (void)state;
  enum { N = 4000, TERMS = 20 * 8, MARGINALS = 3 * (28 + 23 + 36) };
  const Box box = {3, {14, 23, 9}, {-1, 10, 5}, {3, 11, 7}, {W, P, W}};
  static double x[3][N];
  static int64_t whole[MARGINALS], sum[MARGINALS];
  const MFGBackend *backend;
  uint64_t seed = 4;
  MFGGrid grid;
  MFGSampleStatistics s;
  for (int i = 0; i < N; i++) {
    x[0][i] = -1 + 4 * TestUniform(&seed) * TestUniform(&seed);
    x[1][i] = 10.4 + 0.3 * TestUniform(&seed);
    x[2][i] = 5 + 2 * sqrt(TestUniform(&seed));
  }
  const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}};
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  const MFGBlock *g = &grid.block;
  const MFGMomentShape shape = {4, MFGMomentScale(N), {1, 0, 2}};
  int64_t *m = calloc(MFGBlockCells(g) * TERMS, sizeof *m);
  DepositByDefinition(g, &agents, &shape, m);
  assert_int_equal(MFGMarginalCount(g, &shape), MARGINALS);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFGMarginals job = {.domain = *g, .shape = shape, .levels = 1, .box = *g};
  MFG_OK(MFGBackendMarginals(backend, &job, m, whole));
  for (int more = -1; more < 2; more++) {
    memset(sum, 0, sizeof sum);
    for (int rank = 0; rank < 12; rank++) {
      const MFGBlock part = MFGBoxOfRank(g, (int[]){2, 3, 2}, rank);
      job.box = part;
      job.extent = (MFGExtent){{0}, {0}};
      if (more < 0) {
        MFG_OK(MFGBackendMarginals(backend, &job, m, sum));
        continue;
      }
      const MFGExtent e = MFGBlockWidened(&part, (int[]){more, 2 * more, 3 * more});
      int64_t *cut = malloc(MFGExtentCells(&e) * TERMS * sizeof *cut), *out = cut;
      for (int c = 0; c < MFGExtentCells(&e); c++, out += TERMS) {
        const int i = e.start[0] + c % e.count[0], j = e.start[1] + c / e.count[0] % e.count[1],
                  k = e.start[2] + c / e.count[0] / e.count[1];
        const int inside = i >= 0 && i < 14 && j >= 0 && j < 23 && k >= 0 && k < 9;
        for (int t = 0; t < TERMS; t++)
          out[t] = inside ? m[((k * 23 + j) * 14 + i) * TERMS + t] : INT64_C(1) << 60;
      }
      job.extent = e;
      MFG_OK(MFGBackendMarginals(backend, &job, cut, sum));
      free(cut);
    }
    assert_memory_equal(sum, whole, sizeof sum);
  }
  MFGAxisSums sums[MFG_MAX_DIM];
  MFG_OK(MFGBackendAxisSums(backend, &job, whole, sums));
  MFG_OK(MFGMarginalStatistics(g, &shape, N, sums, whole, &s));
  for (int k = 0; k < 3; k++) {
    long double mean = 0, variance = 0;
    for (int i = 0; i < N; i++) mean += x[k][i] / (long double)N;
    for (int i = 0; i < N; i++) variance += (x[k][i] - mean) * (x[k][i] - mean) / N;
    MFG_ASSERT_NEAR(s.mean[k], (double)mean, 1e-13);
    MFG_ASSERT_NEAR(s.variance[k] / (double)variance, 1, 1e-12);
  }
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_not_equal(MFGMarginalStatistics(g, &shape, N + 1, sums, whole, &s), 0);
  PetscCallVoid(PetscPopErrorHandler());
  free(m);
  MFG_OK(MFGGridDestroy(&grid));
}

/* A crowd over the seam of a circle of length 4: in one piece it has mean 3.9 (= -.1) and variance
 * .01, cut at the seam it would have nearly 4. */
static void CircleIsCutWhereVarianceIsSmallest(void **state) {
  (void)state;
  enum { N = 2000 };
  const Box box = {1, {50, 1}, {0, 0}, {4, 1}, {P, P}};
  static double x[N];
  uint64_t seed = 8;
  long double mean = 0, variance = 0;
  for (int i = 0; i < N; i++) {
    const double y = 3.9 + 0.1 * TestNormal(&seed);
    x[i] = y >= 4 ? y - 4 : y;
    mean += y / (long double)N;
    variance += y * y / (long double)N;
  }
  const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x}};
  for (int halvings = 0; halvings <= MFG_HALVINGS_MAX; halvings++) {
    const MFGSampleStatistics s = Statistics(&box, &agents, (MFGMomentShape){3, 0, {halvings}});
    MFG_ASSERT_NEAR(s.mean[0], (double)mean, 1e-12);
    MFG_ASSERT_NEAR(s.variance[0], (double)(variance - mean * mean), 1e-12);
  }
}

static void BandwidthRules(void **state) {
  (void)state;
  PetscBool raised;
  /* sd = 2; N = 32: Scott in 1D 2/2 = 1, in 2D 2 32^(-1/6); Silverman in 1D (4/96)^(1/5) 2. */
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SCOTT, 1, 32, 4, 0.1, &raised), 1, 1e-14);
  assert_false(raised);
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SCOTT, 2, 64, 4, 0.1, &raised), 1, 1e-14);
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SILVERMAN, 1, 32, 4, 0.1, &raised), 1.0592238410488122,
                  1e-14);
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SILVERMAN, 2, 64, 4, 0.1, &raised), 1, 1e-14);
  /* In 3D 128^(-1/7) = 1/2; Silverman has another factor (4/5)^(1/7) = 0.96862508. */
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SCOTT, 3, 128, 4, 0.1, &raised), 1, 1e-14);
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SILVERMAN, 3, 128, 4, 0.1, &raised),
                  0.96862508592699736, 1e-14);
  assert_false(raised);
  MFG_ASSERT_NEAR(MFGBandwidth(MFG_BANDWIDTH_SCOTT, 1, 32, 4, 2, &raised), 1.4, 1e-14);
  assert_true(raised);
}

static void OrderAndErrors(void **state) {
  (void)state;
  const Box box = {1, {50, 1}, {0, 0}, {1, 1}, {W, P}};
  const MFGBackend *backend;
  MFGGrid grid;
  MFGDensityPlan plan;
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  /* r = 1/4: r^8 / sqrt(8!) = 7.6e-8, r^12 / sqrt(12!) = 2.7e-12; r = 1/16 with 1e-2: the least, 3.
   * Halved twice, r = 1/16: (1/16)^5 / sqrt(5!) = 8.7e-8, (1/16)^8 / sqrt(8!) = 1.2e-12. */
  static const double c[][4] = {
      {2, 1e-6, 8, 0}, {2, 1e-10, 12, 0}, {8, 1e-2, 3, 0}, {2, 1e-6, 5, 2}, {2, 1e-10, 8, 2}};
  for (int i = 0; i < 5; i++) {
    const double h = c[i][0] / 50;
    MFG_OK(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, 1000, c[i][1], 1, &h,
                                      (int[3]){(int)c[i][3]}, &plan));
    const MFGMomentShape shape = MFGDensityPlanShape(plan);
    assert_int_equal(shape.order, (int)c[i][2]);
    assert_int_equal(shape.scale, 51);
    assert_int_equal(shape.halvings[0], (int)c[i][3]);
    MFG_OK(MFGDensityPlanDestroy(&plan));
  }
  const double narrow = 0.69 / 50, good = 2.0 / 50;
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_not_equal(
      MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, 1000, 1e-6, 1, &narrow, &plan), 0);
  assert_int_not_equal(
      MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, 1000, 0, 1, &good, &plan), 0);
  assert_int_not_equal(
      MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, 0, 1e-6, 1, &good, &plan), 0);
  PetscCallVoid(PetscPopErrorHandler());
  MFG_OK(MFGGridDestroy(&grid));
}

/* What the model of the cost chooses. One line of eight terms in place of two is worth it in 1D
 * where cells are crowded; a kernel narrow on one axis wants parts of that axis alone; a narrow one
 * with many terms wants parts where cells are crowded; else cells stay whole. */
static void PlanChoosesBoxes(void **state) {
  (void)state;
  static const struct {
    Box box;
    int64_t agents;
    double h[3], tolerance;
    int halvings[3], order;
  } c[] = {{{1, {100}, {0}, {1, 1, 1}, {W}}, 50000, {2}, 1e-6, {0}, 8},
           {{1, {100}, {0}, {1, 1, 1}, {W}}, 50000, {2}, 1e-10, {2}, 8},
           {{1, {100}, {0}, {1, 1, 1}, {W}}, 50, {2}, 1e-10, {0}, 12},
           {{2, {256, 256}, {0}, {1, 1, 1}, {W, P}}, 1000000, {2, 2}, 1e-6, {0}, 8},
           {{2, {64, 64}, {0}, {1, 1, 1}, {W, P}}, 300000, {3, 0.8}, 1e-8, {0, 2}, 8},
           {{2, {64, 64}, {0}, {1, 1, 1}, {W, P}}, 1000000, {0.8, 0.8}, 1e-10, {1, 1}, 13},
           {{3, {48, 24, 24}, {0}, {1, 1, 1}, {W, P, W}}, 200000, {2, 2, 2}, 1e-6, {0}, 8},
           {{3, {24, 24, 24}, {0}, {1, 1, 1}, {W, P, W}}, 1000000, {3, 3, 1}, 1e-6, {0, 0, 1}, 8},
           {{3, {8, 8, 8}, {0}, {1, 1, 1}, {W, P, W}}, 1000000, {2, 2, 2}, 1e-10, {1, 1, 1}, 9}};
  for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
    MFGGrid grid;
    CreateGrid(PETSC_COMM_SELF, &c[i].box, &grid);
    const MFGMomentShape s =
        MFGDensityShape(&grid.block, c[i].agents, c[i].tolerance, c[i].h, c[i].h);
    assert_int_equal(s.order, c[i].order);
    for (int k = 0; k < 3; k++) assert_int_equal(s.halvings[k], c[i].halvings[k]);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* Integrated squared errors of independent samples scatter by less than their mean; the mean of 400
 * repetitions meets the formula within 10% when the formula is right (a factor 2 in h^2 or in the
 * 1/N term would be 40% and more). */
static void IntegratedSquaredErrorOfGaussianSamples(void **state) {
  (void)state;
  enum { N = 500, REPEATS = 400 };
  const Box box = {1, {120, 1}, {-6, 0}, {6, 1}, {W, P}};
  const double s = 0.8, h = 0.25;
  const MFGBackend *backend;
  MFGGrid grid;
  MFGDensityPlan plan;
  static double x[N], rho[120];
  uint64_t seed = 12;
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFG_OK(MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, N, 1e-8, 1, &h, &plan));
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  const int numbers = MFGMomentNumbers(1, &shape);
  const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x}};
  int64_t *m = malloc(120 * numbers * sizeof *m);
  double measured = 0;
  for (int r = 0; r < REPEATS; r++) {
    for (int i = 0; i < N; i++) x[i] = s * TestNormal(&seed);
    memset(m, 0, 120 * numbers * sizeof *m);
    MFG_OK(MFGBackendDeposit(backend, &grid.block, &agents, &shape, NULL, m));
    MFG_OK(MFGDensityEvaluate(plan, 0, 1, NULL, NULL, m, rho));
    for (int i = 0; i < 120; i++) {
      const double c = MFGCellCenter(&grid.block, 0, i);
      const double exact = exp(-c * c / (2 * s * s)) / (s * sqrt(2 * PETSC_PI));
      measured += (rho[i] - exact) * (rho[i] - exact) * grid.block.spacing[0] / REPEATS;
    }
  }
  const double pi = PETSC_PI, expected = 1 / sqrt(4 * pi * h * h) / N +
                                         (1 - 1.0 / N) / sqrt(4 * pi * (s * s + h * h)) -
                                         2 / sqrt(2 * pi * (2 * s * s + h * h)) +
                                         1 / sqrt(4 * pi * s * s);
  MFG_ASSERT_NEAR(measured / expected, 1, 0.1);
  free(m);
  MFG_OK(MFGDensityPlanDestroy(&plan));
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(MeanAndVariance),
    cmocka_unit_test(MarginalsOfBoxesInThreeDimensions),
    cmocka_unit_test(CircleIsCutWhereVarianceIsSmallest),
    cmocka_unit_test(BandwidthRules),
    cmocka_unit_test(OrderAndErrors),
    cmocka_unit_test(PlanChoosesBoxes),
    cmocka_unit_test(IntegratedSquaredErrorOfGaussianSamples)};
MFG_TEST_MAIN(tests)
