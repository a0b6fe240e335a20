/* The tridiagonal elimination: the product with the solution gives back the right-hand side. */
#include "tests/mfg_test.h"

#include "solvers/tridiagonal.h"

enum { MOST = 200 };

static void Fill(int n, int cyclic, double *rows) {
  for (int i = 0; i < n; i++) {
    rows[3 * i + 1] = cyclic || i > 0 ? -1 - .5 * sin(i) : 0;
    rows[3 * i + 2] = cyclic || i < n - 1 ? -2 + cos(3 * i) : 0;
    rows[3 * i] = .1 - rows[3 * i + 1] - rows[3 * i + 2];
  }
}

static void TestProduct(void **state) {
  const int sizes[] = {3, 4, 17, MOST};
  double rows[3 * MOST], factor[5 * MOST], right[MOST], x[MOST];
  (void)state;
  for (int k = 0; k < 8; k++) {
    const int n = sizes[k / 2];
    Fill(n, k % 2, rows);
    for (int i = 0; i < n; i++) right[i] = cos(2 * i) + .3;
    MFGTridiagonalFactor(n, rows, factor);
    MFGTridiagonalSolve(n, factor, right, x);
    for (int i = 0; i < n; i++)
      MFG_ASSERT_NEAR(rows[3 * i] * x[i] + rows[3 * i + 1] * x[(i + n - 1) % n] +
                          rows[3 * i + 2] * x[(i + 1) % n],
                      right[i], 1e-12);
    MFGTridiagonalSolve(n, factor, right, right); /* in place */
    assert_memory_equal(right, x, n * sizeof *x);
  }
}

/* The same factor solves the transposed system. */
static void TestTranspose(void **state) {
  const int sizes[] = {3, 4, 17, MOST};
  double rows[3 * MOST], factor[5 * MOST], right[MOST], x[MOST];
  (void)state;
  for (int k = 0; k < 8; k++) {
    const int n = sizes[k / 2];
    Fill(n, k % 2, rows);
    for (int i = 0; i < n; i++) right[i] = cos(2 * i) + .3;
    MFGTridiagonalFactor(n, rows, factor);
    MFGTridiagonalSolveTranspose(n, factor, right, x);
    for (int i = 0; i < n; i++) {
      const int before = (i + n - 1) % n, after = (i + 1) % n;
      MFG_ASSERT_NEAR(rows[3 * i] * x[i] + rows[3 * before + 2] * x[before] +
                          rows[3 * after + 1] * x[after],
                      right[i], 1e-12);
    }
    MFGTridiagonalSolveTranspose(n, factor, right, right); /* in place */
    assert_memory_equal(right, x, n * sizeof *x);
  }
}

/* A matrix that is not tridiagonal is refused, not solved wrongly. */
static void TestRefused(void **state) {
  Mat A;
  PC pc;
  (void)state;
  MFG_OK(MFGTridiagonalRegister());
  MFG_OK(MatCreateSeqAIJ(PETSC_COMM_SELF, 5, 5, 3, NULL, &A));
  for (int i = 0; i < 5; i++) MFG_OK(MatSetValue(A, i, i, 2, INSERT_VALUES));
  MFG_OK(MatSetValue(A, 0, 2, 1, INSERT_VALUES));
  MFG_OK(MatAssemblyBegin(A, MAT_FINAL_ASSEMBLY));
  MFG_OK(MatAssemblyEnd(A, MAT_FINAL_ASSEMBLY));
  MFG_OK(PCCreate(PETSC_COMM_SELF, &pc));
  MFG_OK(PCSetType(pc, "tridiagonal"));
  MFG_OK(PCSetOperators(pc, A, A));
  MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_equal(PCSetUp(pc), PETSC_ERR_SUP);
  MFG_OK(PetscPopErrorHandler());
  MFG_OK(PCDestroy(&pc));
  MFG_OK(MatDestroy(&A));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestProduct), cmocka_unit_test(TestTranspose), cmocka_unit_test(TestRefused)};

MFG_TEST_MAIN(tests)
