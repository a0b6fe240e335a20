/* Matrices of the star stencil without assembly, and one multigrid cycle on them. */
#include "tests/star_fixture.h"

#include "solvers/multigrid.h"

static double MaxDifference(Vec x, Vec y) {
  PetscReal norm, scale;
  MFG_OK(VecNorm(y, NORM_INFINITY, &scale));
  MFG_OK(VecAXPY(x, -1, y));
  MFG_OK(VecNorm(x, NORM_INFINITY, &norm));
  return norm / scale;
}

/* Products, transposed products and diagonal are those of the assembled matrix. */
static void TestProducts(void **state) {
  const int cells[] = {9, 7, 5}, walls[][3] = {{0, 0, 0}, {1, 1, 1}, {0, 1, 0}, {1, 0, 1}};
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int w = 0; w < 4; w++) {
      MFGGrid grid;
      Mat star, aij;
      Vec x, y, z;
      Grid(PETSC_COMM_WORLD, dim, cells, unit, walls[w], &grid);
      double *values = NewField((2 * dim + 1) * MFGBlockOwned(&grid.block));
      Values(&grid, .1, 0, 0, 3, values);
      MFG_OK(PetscOptionsSetValue(NULL, "-a_mat_type", "star"));
      MFG_OK(PetscOptionsSetValue(NULL, "-b_mat_type", "aij"));
      MFG_OK(MFGStarMatrixCreate(&grid, MFGTestMemory(), "a_", &star));
      MFG_OK(MFGStarMatrixCreate(&grid, MFGTestMemory(), "b_", &aij));
      SetValues(&grid, MFGTestMemory(), star, values);
      SetValues(&grid, MFGTestMemory(), aij, values);
      MFG_OK(MFGVectorCreate(&grid, MFGTestMemory(), &x));
      MFG_OK(VecDuplicate(x, &y));
      MFG_OK(VecDuplicate(x, &z));
      for (int repeat = 0; repeat < 2; repeat++) {
        SetNoise(&grid, repeat, x);
        MFG_OK(MatMult(star, x, y));
        MFG_OK(MatMult(aij, x, z));
        MFG_ASSERT_NEAR(MaxDifference(y, z), 0, 1e-14);
        MFG_OK(MatMultTranspose(star, x, y));
        MFG_OK(MatMultTranspose(aij, x, z));
        MFG_ASSERT_NEAR(MaxDifference(y, z), 0, 1e-14);
      }
      MFG_OK(MatGetDiagonal(star, y));
      MFG_OK(MatGetDiagonal(aij, z));
      MFG_ASSERT_NEAR(MaxDifference(y, z), 0, 0);
      MFG_OK(VecDestroy(&x));
      MFG_OK(VecDestroy(&y));
      MFG_OK(VecDestroy(&z));
      MFG_OK(MatDestroy(&star));
      MFG_OK(MatDestroy(&aij));
      MFG_OK(PetscFree(values));
      MFG_OK(MFGGridDestroy(&grid));
    }
}

typedef struct {
  MFGGrid grid;
  Mat A;
  KSP ksp;
  PC pc;
  Vec x, r, e;
} System;

static void OpenSystem(System *s, int dim, const int cells[], const double upper[],
                       const int walls[], double dt, double nu, double speed) {
  Grid(PETSC_COMM_WORLD, dim, cells, upper, walls, &s->grid);
  double *values = NewField((2 * dim + 1) * MFGBlockOwned(&s->grid.block));
  Values(&s->grid, dt, nu, speed, 0, values);
  MFG_OK(MFGStarMatrixCreate(&s->grid, MFGTestMemory(), "a_", &s->A));
  MFG_OK(MFGStarMatrixSetDiffusion(s->A, nu));
  SetValues(&s->grid, MFGTestMemory(), s->A, values);
  MFG_OK(PetscFree(values));
  MFG_OK(KSPCreate(s->grid.comm, &s->ksp));
  MFG_OK(MFGMultigridDefaults(s->ksp));
  MFG_OK(KSPSetOptionsPrefix(s->ksp, "a_"));
  MFG_OK(KSPSetOperators(s->ksp, s->A, s->A));
  MFG_OK(KSPSetFromOptions(s->ksp));
  MFG_OK(KSPSetUp(s->ksp));
  MFG_OK(KSPGetPC(s->ksp, &s->pc));
  MFG_OK(MFGVectorCreate(&s->grid, MFGTestMemory(), &s->x));
  MFG_OK(VecDuplicate(s->x, &s->r));
  MFG_OK(VecDuplicate(s->x, &s->e));
}

static void CloseSystem(System *s) {
  MFG_OK(VecDestroy(&s->x));
  MFG_OK(VecDestroy(&s->r));
  MFG_OK(VecDestroy(&s->e));
  MFG_OK(KSPDestroy(&s->ksp));
  MFG_OK(MatDestroy(&s->A));
  MFG_OK(MFGGridDestroy(&s->grid));
}

/* Mean factor per cycle by which a random error falls in the cycles 5 to 10. */
static double Contraction(System *s, int transposed) {
  PetscReal norm = 1, start = 1;
  SetNoise(&s->grid, 1, s->x);
  for (int n = 0; n < 10; n++) {
    MFG_OK(transposed ? MatMultTranspose(s->A, s->x, s->r) : MatMult(s->A, s->x, s->r));
    MFG_OK(transposed ? PCApplyTranspose(s->pc, s->r, s->e) : PCApply(s->pc, s->r, s->e));
    MFG_OK(VecAXPY(s->x, -1, s->e));
    MFG_OK(VecNorm(s->x, NORM_2, &norm));
    if (n == 4) start = norm;
    MFG_OK(VecScale(s->x, 1 / norm));
    if (n >= 4) start = n == 4 ? 1 : start * norm;
  }
  return pow(start, 1. / 5);
}

/* Pure diffusion, a time step so long that its term is of no help. Smoothing analysis: a pair of
 * sweeps leaves max |(1 - 1.46 l)(1 - .6 l)| of the modes that coarse grids do not see, l in [1/d,
 * 2]: .384 at l = 2, so .147 for a cycle in 2D; .411 at l = 1/3, so .169 in 3D. With 2^k + 1 cells
 * there is a narrow one on every level, which costs most in 3D; three ranks have boxes of odd
 * counts, with a narrow cell each. */
static void TestContraction(void **state) {
  static const struct {
    int dim, cells[3];
    double upper[3];
    int walls[3];
    double bound;
  } cases[] = {
      {2, {64, 64, 1}, {1, 1, 1}, {0, 0, 0}, .16},
      {2, {256, 256, 1}, {1, 1, 1}, {0, 0, 0}, .16},
      {2, {64, 64, 1}, {1, 1, 1}, {1, 1, 1}, .16},
      {2, {65, 37, 1}, {1, .6, 1}, {1, 0, 0}, .17},
      {2, {63, 63, 1}, {1, 1, 1}, {0, 1, 0}, .17},
      {2, {65, 65, 1}, {1, 1, 1}, {0, 1, 0}, .18},
      {2, {257, 129, 1}, {1, 1, 1}, {0, 1, 0}, .18},
      {3, {17, 33, 17}, {1, 1, 1}, {0, 1, 0}, .28},
      {2, {64, 64, 1}, {1, 10, 1}, {1, 1, 1}, .16},
      {3, {32, 32, 32}, {1, 1, 1}, {0, 0, 0}, .21},
      {3, {19, 31, 23}, {.6, 1, .7}, {1, 0, 1}, .22},
      {3, {16, 16, 64}, {2, .25, 1}, {1, 1, 1}, .21},
  };
  PetscMPIInt size;
  (void)state;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    if (MFGTestBrief() && k != 3 && k != 7) continue;
    const double bound = (size == 3 ? 1.1 : 1) * cases[k].bound;
    System s;
    OpenSystem(&s, cases[k].dim, cases[k].cells, cases[k].upper, cases[k].walls, 10, 1, 0);
    const double forward = Contraction(&s, 0), transposed = Contraction(&s, 1);
    print_message("%d x %d x %d: %.3f, transposed %.3f (%.2f)\n", cases[k].cells[0],
                  cases[k].cells[1], cases[k].cells[2], forward, transposed, bound);
    assert_true(forward <= bound);
    MFG_ASSERT_NEAR(transposed, forward, .02);
    CloseSystem(&s);
  }
}

/* Solves A x = r, or A^T x = r, to 1e-11; returns the iterations. In x the solution, checked. */
static int SolveChecked(System *s, int transposed) {
  PetscInt iterations;
  PetscReal norm, right;
  SetNoise(&s->grid, 1, s->r);
  MFG_OK(VecShift(s->r, 1));
  MFG_OK(KSPSetTolerances(s->ksp, 1e-11, PETSC_CURRENT, PETSC_CURRENT, 200));
  MFG_OK(transposed ? KSPSolveTranspose(s->ksp, s->r, s->x) : KSPSolve(s->ksp, s->r, s->x));
  MFG_OK(KSPGetIterationNumber(s->ksp, &iterations));
  MFG_OK(transposed ? MatMultTranspose(s->A, s->x, s->e) : MatMult(s->A, s->x, s->e));
  MFG_OK(VecAXPY(s->e, -1, s->r));
  MFG_OK(VecNorm(s->e, NORM_2, &norm));
  MFG_OK(VecNorm(s->r, NORM_2, &right));
  MFG_ASSERT_NEAR(norm / right, 0, 2e-11);
  return (int)iterations;
}

/* Linear systems with a drift that turns in closed paths, and the transposed ones, those of the
 * Fokker-Planck equation. The rows sum to 1/dt, so that the transposed solution keeps the mass. A
 * cycle alone may diverge where the drift goes round (contraction above 1); the Krylov method does
 * not. */
static void TestDrift(void **state) {
  static const struct {
    int dim, cells[3], walls[3];
    double dt, nu, speed;
    double contraction;
    int bound;
  } cases[] = {
      {2, {64, 64, 1}, {0, 0, 0}, .01, .05, 1, .12, 9},
      {2, {128, 128, 1}, {0, 0, 0}, .01, .0005, 1, .32, 19},
      {2, {128, 128, 1}, {1, 0, 0}, .01, .0005, 3, .65, 40},
      {2, {128, 128, 1}, {1, 1, 1}, .1, .0005, 1, 1.5, 45},
      {2, {65, 37, 1}, {1, 0, 0}, .1, .0005, 1, .5, 28},
      {3, {24, 20, 17}, {0, 1, 0}, .1, .0005, 1, .4, 25},
  };
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    System s;
    PetscScalar in, out;
    if (MFGTestBrief() && k != 4) continue;
    OpenSystem(&s, cases[k].dim, cases[k].cells, unit, cases[k].walls, cases[k].dt, cases[k].nu,
               cases[k].speed);
    const double forward = Contraction(&s, 0), transposed = Contraction(&s, 1);
    const int iterations = SolveChecked(&s, 0), dual = SolveChecked(&s, 1);
    MFG_OK(VecSum(s.r, &in));
    MFG_OK(VecSum(s.x, &out));
    print_message(
        "drift %d: contraction %.3f, transposed %.3f (%.2f); %d and %d iterations (%d), mass "
        "%.1e\n",
        (int)k, forward, transposed, cases[k].contraction, iterations, dual, cases[k].bound,
        out / (cases[k].dt * in) - 1);
    assert_true(forward <= cases[k].contraction && transposed <= cases[k].contraction);
    assert_true(iterations <= cases[k].bound && dual <= cases[k].bound);
    MFG_ASSERT_NEAR(out / (cases[k].dt * in), 1, 1e-11);
    CloseSystem(&s);
  }
}

/* One cycle has the same bits with any instruction set. */
static void TestSameBits(void **state) {
  const char *variants[] = {"baseline", "v3", "v4"};
  const int cells[] = {37, 26, 11}, walls[] = {0, 1, 0};
  (void)state;
  for (int dim = 2; dim <= 3; dim++) {
    double *first = NULL;
    for (int v = 0; v < 3; v++) {
      System s;
      const double *x;
      setenv("MFG_CPU", variants[v], 1);
      OpenSystem(&s, dim, cells, unit, walls, .1, .01, 1);
      unsetenv("MFG_CPU");
      const size_t n = MFGBlockOwned(&s.grid.block);
      SetNoise(&s.grid, 1, s.r);
      MFG_OK(PCApply(s.pc, s.r, s.x));
      MFG_OK(VecGetArrayRead(s.x, &x));
      if (!first) memcpy(first = NewField(n), x, n * sizeof *x);
      assert_memory_equal(first, x, n * sizeof *x);
      MFG_OK(VecRestoreArrayRead(s.x, &x));
      CloseSystem(&s);
    }
    MFG_OK(PetscFree(first));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestProducts), cmocka_unit_test(TestContraction), cmocka_unit_test(TestDrift),
    cmocka_unit_test(TestSameBits)};
MFG_TEST_MAIN(tests)
