/* The division of the grid: every cell has one owner, gather and restrict are inverse, and too
 * many ranks are refused with the number that works. */
#include "tests/hjb_fixture.h"

static const double lower[] = {-1, 2, 0}, upper[] = {1, 5, 1.5};
static const MFGBoundary faces[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                       {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                       {MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC}};

static double Code(const double x[]) {
  return 100 * x[0] + x[1] + 7000 * x[2];
}

static void TestGather(void **state) {
  const int cells[] = {9, 7, 5}, total[] = {0, 9, 63, 315};
  const double volume[] = {0, 2. / 9, 2. / 9 * 3 / 7, 2. / 9 * 3 / 7 * .3};
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    MFGGrid grid;
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
    const MFGBlock *b = &grid.block;
    const int64_t owned = MFGBlockOwned(b), all = MFGBlockCells(b);
    assert_int_equal(all, total[dim]);
    MFG_ASSERT_NEAR(MFGCellVolume(b), volume[dim], 1e-15);
    double *own = NewField(2 * owned), *back = NewField(2 * owned), *whole = NewField(2 * all);
    Fill(b, Code, own);
    for (int64_t i = 0; i < owned; i++) own[owned + i] = -own[i];
    MFG_OK(MFGGridGather(&grid, 2, own, whole));
    for (int k = 0, at = 0; k < b->cells[2]; k++)
      for (int j = 0; j < b->cells[1]; j++)
        for (int i = 0; i < b->cells[0]; i++, at++) {
          const double x = -1 + (i + .5) * 2 / 9, y = dim > 1 ? 2 + (j + .5) * 3 / 7 : 0;
          const double z = dim > 2 ? (k + .5) * .3 : 0;
          MFG_ASSERT_NEAR(whole[at], 100 * x + y + 7000 * z, 1e-11);
          assert_true(whole[all + at] == -whole[at]);
        }
    MFG_OK(MFGGridRestrict(&grid, 2, whole, back));
    assert_memory_equal(own, back, 2 * owned * sizeof *own);
    MFG_OK(PetscFree(own));
    MFG_OK(PetscFree(back));
    MFG_OK(PetscFree(whole));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* The boxes of all ranks cover each cell once, also where ranks outnumber cells, and are the boxes
 * of the fields where those are divided. */
static void TestBoxes(void **state) {
  const int cells[] = {3, 4, 5};
  PetscMPIInt rank, size;
  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int dim = 1; dim <= 3; dim++) {
    MFGGrid grid;
    int owners[60] = {0};
    if (dim == 2 && size == 5) continue;
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
    assert_memory_equal(&grid.box, &grid.boxes[rank], sizeof grid.box);
    assert_int_equal(grid.divisions[0] * grid.divisions[1] * grid.divisions[2], size);
    for (int r = 0; r < size; r++) {
      const MFGBlock *b = &grid.boxes[r];
      for (int k = 0; k < b->count[2]; k++)
        for (int j = 0; j < b->count[1]; j++)
          for (int i = 0; i < b->count[0]; i++)
            owners[((b->start[2] + k) * b->cells[1] + b->start[1] + j) * 3 + b->start[0] + i]++;
    }
    const MFGBlock whole = MFGGridWhole(&grid);
    for (int i = 0; i < MFGBlockCells(&whole); i++) assert_int_equal(owners[i], 1);
    assert_int_equal(MFGBlockOwned(&whole), MFGBlockCells(&grid.block));
    assert_memory_equal(&grid.block, dim == 1 ? &whole : &grid.box, sizeof whole);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* The smallest surface of any division, by trying all; infinite where there is none. */
static double SmallestSurface(int size, int dim, const int cells[]) {
  double best = INFINITY;
  for (int x = 1; x <= size; x++)
    for (int y = 1; y <= size; y++)
      for (int z = 1; z <= size; z++) {
        if (x * y * z != size || x > cells[0] || y > cells[1] || z > (dim > 2 ? cells[2] : 1))
          continue;
        const double a = (double)cells[0] / x, b = (double)cells[1] / y;
        best = fmin(best, dim > 2 ? a * b + (a + b) * cells[2] / z : a + b);
      }
  return best;
}

static void TestDivide(void **state) {
  const int shapes[][3] = {{64, 64, 64}, {100, 10, 30}, {3, 4, 5}, {5, 40, 200}, {7, 3, 1000}};
  (void)state;
  for (size_t s = 0; s < PETSC_STATIC_ARRAY_LENGTH(shapes); s++)
    for (int dim = 2; dim <= 3; dim++)
      for (int size = 1; size <= 64; size++) {
        const double best = SmallestSurface(size, dim, shapes[s]);
        int d[3];
        assert_true(MFGGridDivide(size, dim, shapes[s], d) == isfinite(best));
        if (!isfinite(best)) continue;
        assert_int_equal(d[0] * d[1] * d[2], size);
        for (int k = 0; k < 3; k++) assert_true(d[k] <= (k < dim ? shapes[s][k] : 1));
        const double a = (double)shapes[s][0] / d[0], b = (double)shapes[s][1] / d[1];
        MFG_ASSERT_NEAR((dim > 2 ? a * b + (a + b) * shapes[s][2] / d[2] : a + b) / best, 1, 1e-12);
      }
}

static void TestDivideStated(void **state) {
  const struct {
    int size, cells[3], divisions[3];
  } stated[] = {{64, {100, 100, 100}, {4, 4, 4}},
                {2, {10, 20, 40}, {1, 1, 2}},
                {8, {10, 20, 40}, {1, 2, 4}},
                {7, {30, 8, 8}, {7, 1, 1}},
                {12, {20, 40, 30}, {2, 3, 2}}};
  (void)state;
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(stated); i++) {
    int d[3];
    assert_true(MFGGridDivide(stated[i].size, 3, stated[i].cells, d));
    for (int k = 0; k < 3; k++)
      if (d[k] != stated[i].divisions[k])
        fail_msg("case %d: divisions %d x %d x %d", (int)i, d[0], d[1], d[2]);
  }
}

/* Along each axis the boxes of 1 to 64 ranks follow one another, longest first, and differ by one
 * cell at most; rank r has the box r mod d0, r / d0 mod d1, r / (d0 d1). */
static void TestBoxShares(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int size = 1; size <= 64; size++) {
      const MFGBlock whole = {.dim = dim, .cells = {23, dim > 1 ? 17 : 1, dim > 2 ? 13 : 1}};
      int d[3];
      if (!MFGGridDivide(size, dim, whole.cells, d)) continue;
      for (int r = 0; r < size; r++) {
        const int at[] = {r % d[0], r / d[0] % d[1], r / (d[0] * d[1])};
        const int next[] = {1, d[0], d[0] * d[1]};
        const MFGBlock box = MFGBoxOfRank(&whole, d, r);
        for (int k = 0; k < 3; k++) {
          const int end = box.start[k] + box.count[k];
          if (at[k] == 0) assert_int_equal(box.start[k], 0);
          if (at[k] == d[k] - 1) {
            assert_int_equal(end, whole.cells[k]);
          } else {
            const MFGBlock after = MFGBoxOfRank(&whole, d, r + next[k]);
            assert_int_equal(after.start[k], end);
            assert_true(after.count[k] == box.count[k] || after.count[k] == box.count[k] - 1);
          }
          assert_true(box.count[k] == whole.cells[k] / d[k] ||
                      box.count[k] == whole.cells[k] / d[k] + 1);
        }
      }
    }
}

static void TestSum(void **state) {
  const int cells[] = {9, 7, 5};
  PetscMPIInt rank, size;
  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int dim = 1; dim <= 3; dim++) {
    MFGGrid grid;
    double sum[] = {1, rank}, max[] = {rank, -rank}, bad[] = {rank ? rank : NAN};
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
    MFG_OK(MFGGridSum(&grid, 2, sum));
    MFG_OK(MFGGridMax(&grid, 2, max));
    assert_true(sum[0] == (dim == 1 ? 1 : size));
    assert_true(sum[1] == (dim == 1 ? rank : size * (size - 1) / 2));
    assert_true(max[0] == (dim == 1 ? rank : size - 1));
    assert_true(max[1] == (dim == 1 ? -rank : 0));
    MFG_OK(MFGGridMax(&grid, 1, bad));
    if (dim > 1) assert_true(isinf(bad[0]));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static PetscErrorCode Remember(MPI_Comm comm, int line, const char *function, const char *file,
                               PetscErrorCode code, PetscErrorType type, const char *message,
                               void *context) {
  (void)comm, (void)line, (void)function, (void)file;
  if (type == PETSC_ERROR_INITIAL) snprintf(context, 400, "%s", message);
  return code;
}

static void Refuse(int dim, const int cells[], const double *high, const MFGBoundary kind[][2],
                   const char *remedy) {
  char message[400] = "";
  MFGGrid grid;
  MFG_OK(PetscPushErrorHandler(Remember, message));
  assert_int_not_equal(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, high, kind, &grid),
                       PETSC_SUCCESS);
  MFG_OK(PetscPopErrorHandler());
  if (!strstr(message, remedy)) fail_msg("'%s' lacks '%s'", message, remedy);
}

static void TestRefused(void **state) {
  const int cells[] = {9, 7, 5}, few[] = {9, 2}, flat[] = {9, 7, 2};
  const double empty[] = {1, 2}, thin[] = {1, 5, 0};
  const MFGBoundary mixed[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};
  const MFGBoundary half[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                 {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                 {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_PERIODIC}};
  (void)state;
  Refuse(4, cells, upper, faces, "4 dimensions");
  Refuse(0, cells, upper, faces, "0 dimensions");
  Refuse(2, few, upper, faces, "at least 3");
  Refuse(3, flat, upper, faces, "2 cells along axis 2");
  Refuse(2, cells, empty, faces, "axis 1");
  Refuse(3, cells, thin, faces, "axis 2");
  Refuse(2, cells, upper, mixed, "one end only");
  Refuse(3, cells, upper, half, "axis 2 is periodic at one end only");
}

/* Five ranks divide 3 x 4 (x 3) cells only along one axis: impossible. Four do. */
static void TestTooManyRanks(void **state) {
  const int cells[] = {3, 4, 3};
  PetscMPIInt size;
  MFGGrid grid;
  (void)state;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int dim = 2; dim <= 3; dim++)
    if (size == 5) {
      Refuse(dim, cells, upper, faces, "at most 4 ranks");
      Refuse(dim, cells, upper, faces,
             dim == 2 ? "grid of 3 x 4 cells" : "grid of 3 x 4 x 3 cells");
    } else {
      MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
      assert_true(MFGBlockOwned(&grid.block) > 0);
      MFG_OK(MFGGridDestroy(&grid));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestGather),    cmocka_unit_test(TestBoxes),
    cmocka_unit_test(TestDivide),    cmocka_unit_test(TestDivideStated),
    cmocka_unit_test(TestBoxShares), cmocka_unit_test(TestSum),
    cmocka_unit_test(TestRefused),   cmocka_unit_test(TestTooManyRanks)};

MFG_TEST_MAIN(tests)
