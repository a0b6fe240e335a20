/* The division of the grid: every cell has one owner, gather and restrict are inverse, and too
 * many ranks are refused with the number that works. */
#include "tests/hjb_fixture.h"

static const double lower[] = {-1, 2}, upper[] = {1, 5};
static const MFGBoundary faces[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                       {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};

static double Code(double x, double y) {
  return 100 * x + y;
}

static void TestGather(void **state) {
  const int cells[] = {9, 7};
  (void)state;
  for (int dim = 1; dim <= 2; dim++) {
    MFGGrid grid;
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
    const MFGBlock *b = &grid.block;
    const int64_t owned = MFGBlockOwned(b), all = MFGBlockCells(b);
    assert_int_equal(all, dim == 1 ? 9 : 63);
    MFG_ASSERT_NEAR(MFGCellVolume(b), dim == 1 ? 2. / 9 : 2. / 9 * 3 / 7, 1e-15);
    double *own = NewField(2 * owned), *back = NewField(2 * owned), *whole = NewField(2 * all);
    Fill(b, Code, own);
    for (int64_t i = 0; i < owned; i++) own[owned + i] = -own[i];
    MFG_OK(MFGGridGather(&grid, 2, own, whole));
    for (int j = 0; j < b->cells[1]; j++)
      for (int i = 0; i < b->cells[0]; i++) {
        const double x = -1 + (i + .5) * 2 / 9, y = dim > 1 ? 2 + (j + .5) * 3 / 7 : 0;
        MFG_ASSERT_NEAR(whole[j * 9 + i], 100 * x + y, 1e-12);
        assert_true(whole[all + j * 9 + i] == -whole[j * 9 + i]);
      }
    MFG_OK(MFGGridRestrict(&grid, 2, whole, back));
    assert_memory_equal(own, back, 2 * owned * sizeof *own);
    MFG_OK(PetscFree(own));
    MFG_OK(PetscFree(back));
    MFG_OK(PetscFree(whole));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static void TestSum(void **state) {
  const int cells[] = {9, 7};
  PetscMPIInt rank, size;
  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int dim = 1; dim <= 2; dim++) {
    MFGGrid grid;
    double sum[] = {1, rank}, max[] = {rank, -rank};
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &grid));
    MFG_OK(MFGGridSum(&grid, 2, sum));
    MFG_OK(MFGGridMax(&grid, 2, max));
    assert_true(sum[0] == (dim == 1 ? 1 : size));
    assert_true(sum[1] == (dim == 1 ? rank : size * (size - 1) / 2));
    assert_true(max[0] == (dim == 1 ? rank : size - 1));
    assert_true(max[1] == (dim == 1 ? -rank : 0));
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
  const int cells[] = {9, 7}, few[] = {9, 2};
  const double empty[] = {1, 2};
  const MFGBoundary mixed[][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};
  (void)state;
  Refuse(3, cells, upper, faces, "only 1 and 2");
  Refuse(2, few, upper, faces, "at least 3");
  Refuse(2, cells, empty, faces, "axis 1");
  Refuse(2, cells, upper, mixed, "one end only");
}

/* Five ranks divide 3 x 4 cells only as 5 x 1: impossible. Four do. */
static void TestTooManyRanks(void **state) {
  const int cells[] = {3, 4};
  PetscMPIInt size;
  MFGGrid grid;
  (void)state;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  if (size == 5) {
    Refuse(2, cells, upper, faces, "at most 4 ranks");
  } else {
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, 2, cells, lower, upper, faces, &grid));
    assert_true(MFGBlockOwned(&grid.block) > 0);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(TestGather), cmocka_unit_test(TestSum),
                                          cmocka_unit_test(TestRefused),
                                          cmocka_unit_test(TestTooManyRanks)};

MFG_TEST_MAIN(tests)
