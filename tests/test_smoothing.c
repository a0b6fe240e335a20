/* The kernel on the grid: a cosine of wavelength 2 pi / q is an eigenfunction with the eigenvalue
 * exp(-(q h)^2 / 2), on a circle whatever its phase, between walls where it has no slope. */
#include "tests/hjb_fixture.h"

#include "solvers/smoothing.h"

/* On (0, 1): whole waves with a phase on the circle, half waves between walls. */
static const double number[] = {2, 1, 3}, width[] = {.08, .17, .25};

static double Circle(const double x[]) {
  return cos(2 * PI * number[0] * x[0] + .7) * cos(2 * PI * number[1] * x[1] + .2) *
         cos(2 * PI * number[2] * x[2] - .4);
}
static double Walls(const double x[]) {
  return cos(PI * number[0] * x[0]) * cos(PI * number[1] * x[1]) * cos(PI * number[2] * x[2]);
}

/* The sum over cells in place of an integral: an error of exp(-(2 pi h / dx - q h)^2 / 2), 1e-10
 * here; the kernel's end at 6 h: 2e-9. */
static void TestModes(void **state) {
  const int cells[] = {24, 14, 12};
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int periodic = 0; periodic < 2; periodic++) {
      const double whole = periodic ? 2 : 1;
      double factor = 1;
      MFGGrid grid;
      MakeGrid(dim, cells, 0, 1, periodic ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX, &grid);
      const int64_t owned = MFGBlockOwned(&grid.block);
      double *m = NewField(owned), *smooth = NewField(owned);
      Fill(&grid.block, periodic ? Circle : Walls, m);
      MFG_OK(PetscArraycpy(smooth, m, owned));
      for (int k = 0; k < dim; k++) factor *= exp(-pow(whole * PI * number[k] * width[k], 2) / 2);
      MFG_OK(MFGSmooth(&grid, width, smooth));
      for (int64_t i = 0; i < owned; i++) MFG_ASSERT_NEAR(smooth[i], factor * m[i], 1e-8);
      MFG_OK(PetscFree(m));
      MFG_OK(PetscFree(smooth));
      MFG_OK(MFGGridDestroy(&grid));
    }
}

/* A constant keeps its value: the kernel has mass 1, though it is wider than the domain. */
static void TestMass(void **state) {
  const int cells[] = {16, 9, 1};
  const double wide[] = {1.3, .2};
  (void)state;
  for (int periodic = 0; periodic < 2; periodic++) {
    MFGGrid grid;
    MakeGrid(2, cells, 0, 1, periodic ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX, &grid);
    const int64_t owned = MFGBlockOwned(&grid.block);
    double *m = NewField(owned);
    for (int64_t i = 0; i < owned; i++) m[i] = 3;
    MFG_OK(MFGSmooth(&grid, wide, m));
    for (int64_t i = 0; i < owned; i++) MFG_ASSERT_NEAR(m[i], 3, 3e-8);
    MFG_OK(PetscFree(m));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(TestModes), cmocka_unit_test(TestMass)};

MFG_TEST_MAIN(tests)
