/* PETSc's vectors in the memory of a backend, that of the device where there is one: numbers that
 * are written there are the vector's, and the other way round, also with a room that was too small
 * before. */
#include "solvers/vectors.h"
#include "tests/backends.h"
#include "tests/mfg_test.h"

static const MFGBoundary walls[][2] = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                       {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};

static void Numbers(const MFGGrid *grid, int sign, double *numbers) {
  const int64_t owned = MFGBlockOwned(&grid->block);
  for (int64_t i = 0; i < owned; i++)
    numbers[i] = sign * (1 + grid->block.start[1] + (double)i / (double)owned);
}

static void Expect(Vec v, const double *numbers) {
  const double *array;
  PetscInt n;
  MFG_OK(VecGetLocalSize(v, &n));
  MFG_OK(VecGetArrayRead(v, &array));
  for (PetscInt i = 0; i < n; i++) assert_true(array[i] == numbers[i]);
  MFG_OK(VecRestoreArrayRead(v, &array));
}

static void RoundTrip(const MFGGrid *grid, const MFGBackend *b, MFGVectorRoom *room) {
  const int64_t owned = MFGBlockOwned(&grid->block);
  const double *read;
  double *numbers, *back, *write;
  PetscReal largest;
  PetscInt size;
  Vec v;

  MFG_OK(PetscMalloc2(owned, &numbers, owned, &back));
  MFG_OK(MFGVectorCreate(grid, b, &v));
  MFG_OK(VecGetSize(v, &size));
  assert_int_equal(size, MFGBlockCells(&grid->block));

  Numbers(grid, 1, numbers);
  MFG_OK(MFGVectorWrite(v, b, room, &write));
  MFG_OK(MFGMemoryCopy(b->memory, owned, sizeof *write, MFG_COPY_FROM_HOST, numbers, write));
  MFG_OK(MFGVectorRestoreWrite(v, b, room, &write));
  assert_null(write);
  Expect(v, numbers);

  MFG_OK(VecScale(v, -1));
  MFG_OK(VecNorm(v, NORM_INFINITY, &largest));
  assert_true(largest >= 1 && largest < 1 + grid->block.cells[1]);
  MFG_OK(MFGVectorRead(v, b, room, &read));
  MFG_OK(MFGMemoryCopy(b->memory, owned, sizeof *back, MFG_COPY_TO_HOST, read, back));
  MFG_OK(MFGVectorRestoreRead(v, b, room, &read));
  assert_null(read);
  Numbers(grid, -1, numbers);
  for (int64_t i = 0; i < owned; i++) assert_true(back[i] == numbers[i]);
  MFG_OK(VecDestroy(&v));
  MFG_OK(PetscFree2(numbers, back));
}

static void NumbersArePassedOn(void **state) {
  const double lower[] = {0, 0}, upper[] = {1, 1};
  const MFGBackend *b;
  MFGVectorRoom room = {0};

  (void)state;
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, MFGTestOnDevice() ? "cuda" : "cpu", &b));
  for (int n = 5; n < 20; n += 7) {
    const int cells[] = {n, n + 1};
    MFGGrid grid;
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, 2, cells, lower, upper, walls, &grid));
    RoundTrip(&grid, b, &room);
    MFG_OK(MFGGridDestroy(&grid));
  }
  MFG_OK(MFGVectorRoomDestroy(b, &room));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(NumbersArePassedOn)};
MFG_TEST_MAIN(tests)
