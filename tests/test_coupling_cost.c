/* F(t,x,m) = V + f(m) + (strength/2)|x - factor mu|^2 against stated values, on any rank count. */
#include "tests/hjb_fixture.h"

static const double lower[] = {-1, 0, 2}, upper[] = {1, 3, 3};
static const int cells1[] = {20}, cells3[] = {8, 6, 5};
static const MFGBoundary walls[][2] = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                       {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                       {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};

/* Not symmetric, mass 1 over [-1,1] x [0,3] (x [2,3]) by the midpoint rule on 8 x 6 (x 5) cells
 * (linear in each coordinate; z = 0 in 2D). */
static double Density(const double x[]) {
  return (1 + .5 * x[0]) * (1 + .2 * (x[1] - 1.5)) * (x[2] > 0 ? 1 + .6 * (x[2] - 2.5) : 1) / 6;
}
static double Potential(const double x[]) {
  return 3 * x[0] + x[1] - 2 * x[2];
}

static void TestLocal(void **state) {
  const double m[] = {2, .25, 0, -1}, expected_power[] = {12, .1875, 3e-24, 3e-24};
  const MFGCoupling power = {MFG_COUPLING_POWER, 3, 2}, logarithm = {MFG_COUPLING_LOG, 2, 0};
  const MFGCoupling linear = {MFG_COUPLING_POWER, 3, 1}, none = {MFG_COUPLING_NONE, 5, 1};
  double value[4];
  (void)state;
  MFG_OK(MFGBackendCoupling(Backend(), &power, 4, m, value));
  for (int i = 0; i < 4; i++)
    MFG_ASSERT_NEAR(value[i], expected_power[i], 1e-14 * expected_power[i]);
  MFG_OK(MFGBackendCoupling(Backend(), &linear, 4, m, value));
  MFG_ASSERT_NEAR(value[0], 6, 0);
  MFG_ASSERT_NEAR(value[3], 3e-12, 1e-26); /* the floor */
  MFG_OK(MFGBackendCoupling(Backend(), &logarithm, 4, m, value));
  MFG_ASSERT_NEAR(value[0], 2 * .69314718055994531, 1e-15);
  MFG_ASSERT_NEAR(value[2], -2 * 27.631021115928547, 1e-13);
  MFG_OK(MFGBackendCoupling(Backend(), &none, 4, m, value));
  for (int i = 0; i < 4; i++) assert_true(value[i] == 0);
}

/* mu of the midpoint rule: sum over cells of x (1 + x/2) = .5 sum x^2, so mu_x = .5 mean(x^2)
 * = .5 (1/3 - hx^2/12), mu_y = 1.5 + .2 mean((y - 1.5)^2) = 1.5 + .2 (9/12 - hy^2/12), and mu_z =
 * 2.5 + .6 (1/12 - hz^2/12). */
static void TestMean(void **state) {
  const double h[] = {.25, .5, .2}, strength = 4, factor = .5;
  const double mu[] = {.5 * (1. / 3 - h[0] * h[0] / 12), 1.5 + .2 * (.75 - h[1] * h[1] / 12),
                       2.5 + .6 * (1. / 12 - h[2] * h[2] / 12)};
  (void)state;
  for (int dim = 2; dim <= 3; dim++) {
    MFGGrid grid;
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells3, lower, upper, walls, &grid));
    const MFGBlock *b = &grid.block;
    const int64_t owned = MFGBlockOwned(b);
    double *m = NewField(owned), *value = NewField(owned), *v = NewField(owned), *at = value;
    Fill(b, Density, m);
    Fill(b, Potential, v);
    const MFGCost cost = {.potential_levels = 1,
                          .potential = v,
                          .coupling = {MFG_COUPLING_POWER, 2, 1},
                          .mean_strength = strength,
                          .mean_factor = factor};
    MFG_OK(MFGCostEvaluate(&grid, Backend(), &cost, 7, m, value));
    for (int k = 0; k < b->count[2]; k++)
      for (int j = 0; j < b->count[1]; j++)
        for (int i = 0; i < b->count[0]; i++) {
          const int cell[] = {i, j, k};
          double x[3] = {0, 0, 0}, square = 0;
          for (int axis = 0; axis < dim; axis++) {
            x[axis] = lower[axis] + (b->start[axis] + cell[axis] + .5) * h[axis];
            square += pow(x[axis] - factor * mu[axis], 2);
          }
          MFG_ASSERT_NEAR(*at++, Potential(x) + 2 * Density(x) + .5 * strength * square, 1e-13);
        }
    MFG_OK(PetscFree(m));
    MFG_OK(PetscFree(v));
    MFG_OK(PetscFree(value));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* A potential on all levels is taken at the level asked for; a level beyond is refused. */
static void TestLevels(void **state) {
  MFGGrid grid;
  double m[20] = {0}, value[20], v[3 * 20];
  (void)state;
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, 1, cells1, lower, upper, walls, &grid));
  for (int i = 0; i < 60; i++) v[i] = i;
  MFGCost cost = {.potential_levels = 3, .potential = v};
  for (int level = 0; level < 3; level++) {
    MFG_OK(MFGCostEvaluate(&grid, Backend(), &cost, level, m, value));
    for (int i = 0; i < 20; i++) assert_true(value[i] == 20 * level + i);
  }
  MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_equal(MFGCostEvaluate(&grid, Backend(), &cost, 3, m, value), PETSC_ERR_ARG_OUTOFRANGE);
  MFG_OK(PetscPopErrorHandler());
  cost.potential_levels = 0;
  MFG_OK(MFGCostEvaluate(&grid, Backend(), &cost, 9, m, value));
  for (int i = 0; i < 20; i++) assert_true(value[i] == 0);
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(TestLocal), cmocka_unit_test(TestMean),
                                          cmocka_unit_test(TestLevels)};

MFG_TEST_MAIN(tests)
