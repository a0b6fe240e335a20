/* What is predicted of a level of the value equation, of a backend and a clock that are stated:
 * each first guess, one a level, takes a call and so much for every cell of the rank. */
#include "tests/hjb_fixture.h"

#include "solvers/hints.h"

static struct {
  const MFGLevelOps *real;
  double now;              /* seconds */
  double call, cell, once; /* seconds of a call, of a cell, and more of the very first call */
} machine;

/* In place of MPI's clock. */
double MPI_Wtime(void) {
  return machine.now;
}

static PetscErrorCode Guess(const MFGLevelGuess *job, double *u) {
  PetscFunctionBeginUser;
  machine.now += machine.call + machine.cell * (double)job->count + machine.once;
  machine.once = 0;
  PetscCall(machine.real->guess(job, u));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Seconds per level that are predicted for so many cells. */
static double Predicted(int nx, int ny, double call, double cell) {
  MFGBackend backend = *Backend();
  MFGLevelOps ops = *backend.level;
  const int cells[] = {nx, ny, 1};
  double seconds;
  MFGGrid grid;

  machine.real = backend.level;
  machine.call = call;
  machine.cell = cell;
  machine.once = -.5 * call;
  ops.guess = Guess;
  backend.level = &ops;
  MakeGrid(2, cells, 0, 1, MFG_BOUNDARY_PERIODIC, &grid);
  MFG_OK(MFGHintsValue(&grid, &backend, &seconds));
  MFG_OK(MFGGridDestroy(&grid));
  return seconds;
}

static int Ranks(void) {
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  return size;
}

/* Small grids are measured as they are, and others too up to 65536 cells to a rank; beyond, a
 * straight line through the two that are measured is the law itself. The first sweep does not
 * count, which would be the quickest here. */
static void StraightLinesAreFollowed(void **state) {
  static const int sizes[][2] = {{32, 32}, {64, 64}, {128, 128}, {512, 320}, {1024, 512}};
  (void)state;
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(sizes); i++) {
    const double cells = (double)sizes[i][0] * sizes[i][1] / Ranks();
    const double expected = 1e-4 + 1e-9 * cells;
    MFG_ASSERT_NEAR(Predicted(sizes[i][0], sizes[i][1], 1e-4, 1e-9) / expected, 1, 1e-9);
  }
}

/* No large grid is tried where five levels of the small one, 64 x 64 cells to a rank, take more
 * than a tenth of a second: all of it is taken for work on cells. */
static void SlowBackendsAreNotTriedForLong(void **state) {
  (void)state;
  const double small = .019 + 1e-6 * 64 * 64, cells = 256. * 256 / Ranks();
  MFG_ASSERT_NEAR(Predicted(256, 256, .019, 1e-6) / (small * cells / (64 * 64)), 1, 1e-9);
}

/* All ranks hear of the slowest. */
static void TheSlowestRankCounts(void **state) {
  PetscMPIInt rank;
  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  const double seconds = Predicted(128, 128, 1e-4 * (1 + rank), 0);
  MFG_ASSERT_NEAR(seconds / (1e-4 * Ranks()), 1, 1e-9);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(StraightLinesAreFollowed),
                                          cmocka_unit_test(SlowBackendsAreNotTriedForLong),
                                          cmocka_unit_test(TheSlowestRankCounts)};
MFG_TEST_MAIN(tests)
