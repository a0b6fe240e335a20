/* A multigrid cycle in the memory of the device: the bits of the CPU, and that a replayed recording
 * does the same. As the host stand-in counts, how many kernels it takes, and that nothing is copied
 * to or from the host. */
#include "tests/counted.h"
#include "tests/star_fixture.h"

#include "solvers/multigrid_parts.h"

typedef struct {
  MFGGrid grid;
  Mat A;
  MFGMultigrid *m;
} Setup;

static void Open(Setup *s, const MFGBackend *backend, int dim, const int cells[],
                 const double upper[], const int walls[], int pairs) {
  const double *diffusion;
  Grid(PETSC_COMM_WORLD, dim, cells, upper, walls, &s->grid);
  MFG_OK(MFGStarMatrixCreate(&s->grid, backend, "c_", &s->A));
  MFG_OK(MFGStarMatrixSetDiffusion(s->A, .01));
  MFG_OK(PetscNew(&s->m));
  s->m->backend = backend;
  s->m->pairs = pairs;
  s->m->weights[0] = 1.46;
  s->m->weights[1] = .6;
  MFG_OK(MFGStarMatrixGetGrid(s->A, &s->m->grid, &diffusion));
}

static void Close(Setup *s) {
  MFG_OK(MFGMultigridDestroyLevels(s->m));
  MFG_OK(PetscFree(s->m));
  MFG_OK(MatDestroy(&s->A));
  MFG_OK(MFGGridDestroy(&s->grid));
}

/* The matrix and the coarse coefficients; other ones for each `speed`. */
static void SetUp(Setup *s, double speed) {
  const MFGStarLevel *scaled;
  const double *diffusion;
  double *values = NewField((2 * s->grid.block.dim + 1) * MFGBlockOwned(&s->grid.block));
  Values(&s->grid, .3, .01, speed, 0, values);
  SetValues(&s->grid, s->m->backend, s->A, values);
  MFG_OK(MFGStarMatrixGetScaled(s->A, &scaled));
  MFG_OK(MFGStarMatrixGetGrid(s->A, &s->m->grid, &diffusion));
  if (!s->m->count) MFG_OK(MFGMultigridCreateLevels(s->m, scaled, diffusion));
  MFG_OK(MFGMultigridDo(s->m, MFG_MULTIGRID_COARSEN));
  MFG_OK(PetscFree(values));
}

/* One cycle on noise; solution[owned] on the host. Returns what the cycle itself did. */
static MFGStandinCounts Solve(Setup *s, int transposed, int what, double *solution) {
  const MFGMemoryOps *memory = s->m->backend->memory;
  const MFGStarStage *finest = &s->m->level[0].stage[0];
  const MFGBlock *b = &s->grid.block;
  const int64_t owned = MFGBlockOwned(b);
  double *vector;
  for (int64_t i = 0; i < owned; i++)
    solution[i] = Noise(b, (int)(i % b->count[0]), (int)(i / b->count[0] % b->count[1]),
                        (int)(i / b->count[0] / b->count[1]), what) -
                  .5;
  MFG_OK(MFGMemoryAllocate(memory, owned, sizeof *vector, &vector));
  MFG_OK(MFGMemoryCopy(memory, owned, sizeof *vector, MFG_COPY_FROM_HOST, solution, vector));
  if (transposed) {
    MFG_OK(MFGMultigridReserveTransposed(s->m));
    MFG_OK(MFGMultigridDo(s->m, MFG_MULTIGRID_TRANSPOSE));
  }
  MFG_OK(s->m->backend->star->convert(&finest->level, vector, finest->b, 0));
  (void)Counted();
  MFG_OK(MFGMultigridDo(s->m, transposed ? MFG_MULTIGRID_TRANSPOSED_CYCLE : MFG_MULTIGRID_CYCLE));
  const MFGStandinCounts counts = Counted();
  MFG_OK(s->m->backend->star->convert(&finest->level, vector, finest->x, 1));
  MFG_OK(MFGMemoryCopy(memory, owned, sizeof *vector, MFG_COPY_TO_HOST, vector, solution));
  MFG_OK(MFGMemoryFree(memory, &vector));
  return counts;
}

static const struct {
  int dim, cells[3];
  double upper[3];
  int walls[3], pairs;
} cases[] = {
    {1, {70, 1, 1}, {1, 1, 1}, {0}, 1},           {2, {96, 64, 1}, {1, 1, 1}, {0, 0, 0}, 1},
    {2, {77, 58, 1}, {1, .8, 1}, {0, 1, 0}, 2},   {2, {128, 24, 1}, {1, 2, 1}, {1, 0, 0}, 1},
    {3, {19, 18, 20}, {1, .8, .9}, {0, 1, 0}, 1}, {3, {32, 16, 16}, {1, 1, 4}, {0, 0, 0}, 1},
};

/* Directly, recorded, replayed, with new coefficients, transposed or not. */
static void TestBitsOfTheCPU(void **state) {
  const MFGBackend *cuda, *cpu;
  (void)state;
  MFG_OK(PetscOptionsSetValue(NULL, "-c_mat_type", "star"));
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cuda", &cuda));
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &cpu));
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    Setup device, host;
    MFGStandinCounts first[2];
    Open(&device, cuda, cases[k].dim, cases[k].cells, cases[k].upper, cases[k].walls,
         cases[k].pairs);
    Open(&host, cpu, cases[k].dim, cases[k].cells, cases[k].upper, cases[k].walls, cases[k].pairs);
    const int64_t owned = MFGBlockOwned(&host.grid.block);
    double *x = NewField(owned), *expected = NewField(owned);
    for (int i = 0; i < 8; i++) {
      const int transposed = i % 2;
      SetUp(&device, i);
      SetUp(&host, i);
      const MFGStandinCounts counts = Solve(&device, transposed, i, x);
      (void)Solve(&host, transposed, i, expected);
      assert_memory_equal(x, expected, owned * sizeof *x);
      if (!OnStandin()) continue;
      if (i < 2) first[transposed] = counts;
      assert_int_equal(counts.kernels, first[transposed].kernels);
      assert_int_equal(counts.graph_launches, i >= 3);
      assert_int_equal(counts.copies[0][1] + counts.copies[1][0], 0);
      if (i >= 4) assert_int_equal(counts.synchronizations + counts.allocations, 0);
    }
    MFG_OK(PetscFree(x));
    MFG_OK(PetscFree(expected));
    Close(&device);
    Close(&host);
  }
}

/* Six passes of each level above 4096 cells, and one kernel for all others: of 192 x 128 those of
 * 192 x 128 and 96 x 64, on one rank. On more, a level of more than 2048 cells stays divided and
 * has five exchanges of rims besides, each with one kernel before and one behind the messages of an
 * axis, for both its sides; the others are gathered by a copy, a sum and a copy back. Ranks in a
 * row send and receive on two sides of one axis. */
static void TestLaunches(void **state) {
  static const struct {
    int dim, cells[3], kernels, divided;
  } grids[] = {{2, {64, 64, 1}, 1, 1},
               {2, {128, 128, 1}, 7, 2},
               {2, {192, 128, 1}, 13, 3},
               {3, {32, 32, 32}, 7, 2}};
  const int walls[] = {0, 0, 0};
  const MFGBackend *cuda;
  PetscMPIInt size;
  (void)state;
  if (!OnStandin()) skip();
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cuda", &cuda));
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(grids); k++) {
    Setup s;
    Open(&s, cuda, grids[k].dim, grids[k].cells, unit, walls, 1);
    SetUp(&s, 0);
    double *x = NewField(MFGBlockOwned(&s.grid.block));
    const MFGStandinCounts counts = Solve(&s, 0, 1, x);
    print_message("%d x %d x %d: %d kernels, %d collectives, %d copies within the device\n",
                  grids[k].cells[0], grids[k].cells[1], grids[k].cells[2], (int)counts.kernels,
                  (int)counts.collectives, (int)counts.copies[1][1]);
    const int divided = grids[k].divided, rims = 5 * divided;
    if (size == 1) assert_int_equal(counts.kernels, grids[k].kernels);
    if (size == 2 || size == 3) {
      assert_int_equal(counts.kernels, 6 * divided + 3 + 2 * grids[k].dim * rims);
      assert_int_equal(counts.collectives, 4 * rims + 1);
    }
    MFG_OK(PetscFree(x));
    Close(&s);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(TestBitsOfTheCPU),
                                          cmocka_unit_test(TestLaunches)};
MFG_TEST_MAIN(tests)
