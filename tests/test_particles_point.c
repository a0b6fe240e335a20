/* Cell, interval, wall and wrap at one point, against answers worked out by hand. */
#include "solvers/particle_point.h"
#include "solvers/kde_point.h"
#include "tests/mfg_test.h"

static MFGAxis Axis(int cells, double lower, double upper, MFGBoundary boundary) {
  MFGBlock b = {.dim = 1,
                .cells = {cells, 1, 1},
                .lower = {lower},
                .upper = {upper},
                .spacing = {(upper - lower) / cells}};
  b.boundary[0][0] = b.boundary[0][1] = boundary;
  return MFGAxisOf(&b, 0);
}

static void CellsAndIntervals(void **state) {
  (void)state;
  const MFGAxis a = Axis(4, -1, 1, MFG_BOUNDARY_NOFLUX);
  static const struct {
    double x, t, w;
    int cell, interval;
  } c[] = {{-1, -1, 0.5, 0, 0},         {-0.75, 0, 0, 0, 1}, {-0.5, -1, 0.5, 1, 1},
           {-0.375, -0.5, 0.75, 1, 1},  {0.25, 0, 0, 2, 3},  {0.5, -1, 0.5, 3, 3},
           {0.875, 0.5, 0.25, 3, 4},    {1, 1, 0.5, 3, 4},   {1 + 1e-15, 1, 0.5, 3, 4},
           {-1 - 1e-15, -1, 0.5, 0, 0}, {NAN, -1, 0.5, 0, 0}};
  for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
    double t, w;
    assert_int_equal(MFGCellOf(&a, c[i].x, &t), c[i].cell);
    assert_true(t == c[i].t);
    assert_int_equal(MFGIntervalOf(&a, c[i].x, &w), c[i].interval);
    assert_true(w == c[i].w);
  }
}

/* Multilinear interpolation is exact for a linear drift; at a wall the normal drift vanishes. */
static void DriftGhosts(void **state) {
  (void)state;
  const MFGAxis wall = Axis(5, 0, 1, MFG_BOUNDARY_NOFLUX),
                ring = Axis(5, 0, 1, MFG_BOUNDARY_PERIODIC);
  double sign;
  assert_int_equal(MFGDriftGhost(&wall, 0, 0, -1, &sign), 0);
  assert_true(sign == -1);
  assert_int_equal(MFGDriftGhost(&wall, 0, 0, 5, &sign), 4);
  assert_true(sign == -1);
  assert_int_equal(MFGDriftGhost(&wall, 1, 0, 5, &sign), 4);
  assert_true(sign == 1);
  assert_int_equal(MFGDriftGhost(&ring, 0, 0, -1, &sign), 4);
  assert_true(sign == 1);
  assert_int_equal(MFGDriftGhost(&ring, 0, 0, 5, &sign), 0);
  assert_true(MFGInterpolate(2, 6, 0.25) == 3);
  assert_true(MFGInterpolate(-3, 3, 0.5) == 0);
}

static void Wrap(void **state) {
  (void)state;
  const MFGAxis a = Axis(7, -1, 3, MFG_BOUNDARY_PERIODIC);
  static const double c[][2] = {{-1, -1},      {3, -1},        {0.5, 0.5},   {3.25, -0.75},
                                {-1.25, 2.75}, {7, -1},        {-5, -1},     {-9.5, 2.5},
                                {15.5, -0.5},  {-4.75, -0.75}, {6.75, 2.75}, {403.25, -0.75}};
  for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
    MFG_ASSERT_NEAR(MFGWrap(&a, c[i][0]), c[i][1], 1e-13);
  const double below = nextafter(3, 0);
  assert_true(MFGWrap(&a, below) == below);
  for (double x = -1e-300; x > -1e3; x *= 10) {
    const double y = MFGWrap(&a, -1 + x);
    assert_true(y >= -1 && y < 3);
  }
  assert_true(MFGWrap(&a, 1e300) >= -1 && MFGWrap(&a, 1e300) < 3);
}

static void Reflect(void **state) {
  (void)state;
  const MFGAxis a = Axis(7, -1, 3, MFG_BOUNDARY_NOFLUX);
  static const double c[][2] = {{-1, -1},       {3, 3},       {0.5, 0.5},  {3.25, 2.75},
                                {-1.25, -0.75}, {7, -1},      {7.5, -0.5}, {-5, 3},
                                {-5.5, 2.5},    {-9.5, -0.5}, {11, 3},     {11.5, 2.5}};
  for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
    MFG_ASSERT_NEAR(MFGReflect(&a, c[i][0]), c[i][1], 1e-13);
  /* Mirror by mirror, for agents that cross many times. */
  for (double x = -60.1; x < 60; x += 0.37) {
    double y = x;
    while (y < -1 || y > 3) y = y < -1 ? -2 - y : 6 - y;
    MFG_ASSERT_NEAR(MFGReflect(&a, x), y, 1e-12);
  }
  assert_true(MFGReflect(&a, 1e300) >= -1 && MFGReflect(&a, 1e300) <= 3);
}

static void Images(void **state) {
  (void)state;
  static const int c[][4] = {{4, 1, -1, 3}, {4, 1, 4, 0}, {4, 1, -9, 3}, {4, 1, 11, 3}};
  int mirrored;
  for (int i = 0; i < 4; i++) {
    assert_int_equal(MFGImageCell(c[i][0], c[i][1], c[i][2], &mirrored), c[i][3]);
    assert_false(mirrored);
  }
  static const int m[][3] = {{-1, 0, 1}, {4, 3, 1},  {7, 0, 1},  {8, 0, 0},
                             {-4, 3, 1}, {-5, 3, 0}, {12, 3, 1}, {2, 2, 0}};
  for (int i = 0; i < 8; i++) {
    assert_int_equal(MFGImageCell(4, 0, m[i][0], &mirrored), m[i][1]);
    assert_int_equal(mirrored, m[i][2]);
  }
}

static void IndicesAndPlanes(void **state) {
  (void)state;
  static const int c[][3] = {{-1, 4, 0}, {0, 4, 0}, {3, 4, 3}, {4, 4, 3}, {-9, 1, 0}, {9, 1, 0}};
  for (int i = 0; i < 6; i++) assert_int_equal(MFGNearestIndex(c[i][0], c[i][1]), c[i][2]);
  for (int p = 1; p <= MFG_ORDER_MAX; p++)
    for (int m = 0, terms = 0; m <= p; terms += MFGMomentRow(p - m, p - m), m++)
      assert_int_equal(MFGMomentPlane(p, m), terms);
  assert_int_equal(MFGMomentPlane(8, 8), 120);
}

/* round(t^k 2^S) for both signs, ties to even, and the exact count in term 0. */
/* Parts of cells: exact on their faces, and always parts of the cell that MFGCellOf finds. */
static void BoxesArePartsOfCells(void **state) {
  (void)state;
  const MFGBlock b = {.dim = 1,
                      .cells = {12, 1, 1},
                      .lower = {-1},
                      .upper = {2},
                      .spacing = {0.25},
                      .boundary = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}}};
  const MFGAxis axis = MFGAxisOf(&b, 0);
  for (int h = 0; h <= MFG_HALVINGS_MAX; h++) {
    const int boxes = 12 << h;
    double t, u;
    for (int i = 0; i < boxes; i++) {
      assert_int_equal(MFGBoxOf(&axis, h, -1 + 3. * i / boxes, &t), i);
      MFG_ASSERT_NEAR(t, -1, 0);
      assert_int_equal(MFGBoxOf(&axis, h, -1 + 3 * (i + 0.75) / boxes, &t), i);
      MFG_ASSERT_NEAR(t, 0.5, 1e-13);
    }
    assert_int_equal(MFGBoxOf(&axis, h, 2, &t), boxes - 1);
    MFG_ASSERT_NEAR(t, 1, 0);
    for (int i = -50; i < 1050; i++) {
      const double x = nextafter(-1 + 3e-3 * i, i % 2 ? -9 : 9);
      assert_int_equal(MFGBoxOf(&axis, h, x, &t) >> h, MFGCellOf(&axis, x, &u));
    }
  }
}

static void MomentBits(void **state) {
  (void)state;
  assert_true((int64_t)MFGMomentBits(1, 0x1p51) == INT64_C(1) << 51);
  assert_true((int64_t)MFGMomentBits(-1, 0x1p51) == -(INT64_C(1) << 51));
  assert_true((int64_t)MFGMomentBits(0.375, 8) == 3);
  assert_true((int64_t)MFGMomentBits(-0.3125, 8) == -2);
  assert_true((int64_t)MFGMomentBits(0.1875, 8) == 2);
  for (int k = 0; k < MFG_ORDER_MAX; k++)
    MFG_ASSERT_NEAR(MFGMomentPower(-0.9, k) / pow(-0.9, k), 1, 4e-15);
  assert_int_equal(MFGMomentScale(50000), 46);
  assert_int_equal(MFGMomentScale(65536), 46);
  assert_int_equal(MFGMomentScale(65537), 45);
  assert_int_equal(MFGMomentScale(1), 51);
  assert_int_equal(MFGMomentScale(2049), 50);
}

static void Exponential(void **state) {
  (void)state;
  double error = 0;
  for (double q = 0; q < 699; q += 0.0137)
    error = PetscMax(error, fabs((double)(MFGExpNegative(q) / expl(-(long double)q)) - 1));
  MFG_ASSERT_NEAR(error, 0, 3e-16);
  assert_true(MFGExpNegative(0) == 1 && MFGExpNegative(700) == 0 && MFGExpNegative(1e300) == 0);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(CellsAndIntervals),
                                          cmocka_unit_test(DriftGhosts),
                                          cmocka_unit_test(Wrap),
                                          cmocka_unit_test(Reflect),
                                          cmocka_unit_test(Images),
                                          cmocka_unit_test(IndicesAndPlanes),
                                          cmocka_unit_test(BoxesArePartsOfCells),
                                          cmocka_unit_test(MomentBits),
                                          cmocka_unit_test(Exponential)};
MFG_TEST_MAIN(tests)
