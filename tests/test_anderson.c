/* Anderson acceleration on problems whose answer is known. On x -> A x + b with a symmetric A of k
 * distinct eigenvalues it is GMRES in disguise: the residual is zero after k + 1 maps, whatever
 * Picard does. */
#include "tests/mfg_test.h"

#include <petscsnes.h>

#include "solvers/anderson.h"

#define SIZE 24

static const double eigenvalues[] = {0.95, -0.9, 0.5, -3.0}; /* Picard diverges: |-3| > 1 */

/* F(x) = x - (diag(lambda) x + 1), lambda taking `distinct` values in turn. */
typedef struct {
  int distinct, maps;
} Map;

static PetscErrorCode Residual(SNES snes, Vec X, Vec F, void *context) {
  Map *map = (Map *)context;
  const PetscScalar *x;
  PetscScalar *f;
  PetscInt begin, end;

  PetscFunctionBeginUser;
  (void)snes;
  map->maps++;
  PetscCall(VecGetOwnershipRange(X, &begin, &end));
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(VecGetArrayWrite(F, &f));
  for (PetscInt i = begin; i < end; i++)
    f[i - begin] = x[i - begin] - (eigenvalues[i % map->distinct] * x[i - begin] + 1);
  PetscCall(VecRestoreArrayRead(X, &x));
  PetscCall(VecRestoreArrayWrite(F, &f));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Maps until the residual is below 1e-9, and the largest error of the solution 1/(1 - lambda). */
static void SolveLinear(int distinct, int memory, double damping, int limit, int *maps,
                        double *error) {
  Map map = {.distinct = distinct};
  SNES snes;
  Vec X;
  const PetscScalar *x;
  PetscInt begin, end;

  MFG_OK(SNESCreate(PETSC_COMM_WORLD, &snes));
  MFG_OK(SNESSetType(snes, MFGANDERSON));
  MFG_OK(MFGAndersonSetParameters(snes, memory, damping));
  MFG_OK(SNESSetFunction(snes, NULL, Residual, &map));
  MFG_OK(SNESSetTolerances(snes, 1e-9, 0, 0, limit, PETSC_INT_MAX - 1));
  MFG_OK(VecCreateMPI(PETSC_COMM_WORLD, PETSC_DECIDE, SIZE, &X));
  MFG_OK(VecSet(X, 0.25));
  MFG_OK(SNESSolve(snes, NULL, X));
  *maps = map.maps;
  *error = 0;
  MFG_OK(VecGetOwnershipRange(X, &begin, &end));
  MFG_OK(VecGetArrayRead(X, &x));
  for (PetscInt i = begin; i < end; i++)
    *error = PetscMax(*error, fabs(x[i - begin] - 1 / (1 - eigenvalues[i % distinct])));
  MFG_OK(VecRestoreArrayRead(X, &x));
  MFG_OK(VecDestroy(&X));
  MFG_OK(SNESDestroy(&snes));
}

static void test_linear_map_ends_after_as_many_maps_as_eigenvalues(void **state) {
  int maps;
  double error;
  (void)state;
  for (int distinct = 1; distinct <= 4; distinct++) {
    SolveLinear(distinct, 5, 1, 50, &maps, &error);
    /* one more than in exact arithmetic for the float history */
    assert_true(maps >= distinct + 1 && maps <= distinct + 4);
    MFG_ASSERT_NEAR(error, 0, 1e-7);
  }
}

static void test_damping_changes_the_path_not_the_answer(void **state) {
  int maps;
  double error;
  (void)state;
  SolveLinear(3, 5, 0.3, 50, &maps, &error);
  assert_true(maps <= 9);
  MFG_ASSERT_NEAR(error, 0, 1e-7);
}

static void test_without_memory_it_is_damped_picard(void **state) {
  int maps;
  double error;
  (void)state;
  SolveLinear(1, 0, 1, 40, &maps, &error);
  assert_int_equal(maps, 41);
  /* e_k = 0.95^k e_0 with e_0 = 20 - 0.25; the last map is not followed by a step */
  MFG_ASSERT_NEAR(error, pow(0.95, 40) * 19.75, 1e-10);
  /* a step of half the length: 1 - 0.5 (1 - 0.95) */
  SolveLinear(1, 0, 0.5, 40, &maps, &error);
  MFG_ASSERT_NEAR(error, pow(0.975, 40) * 19.75, 1e-10);
}

static void test_short_memory_is_slower_than_long(void **state) {
  int one, four;
  double error;
  (void)state;
  SolveLinear(3, 1, 1, 500, &one, &error);
  SolveLinear(3, 4, 1, 500, &four, &error);
  assert_true(one > four);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_linear_map_ends_after_as_many_maps_as_eigenvalues),
      cmocka_unit_test(test_damping_changes_the_path_not_the_answer),
      cmocka_unit_test(test_without_memory_it_is_damped_picard),
      cmocka_unit_test(test_short_memory_is_slower_than_long),
  };
  if (PetscInitialize(&argc, &argv, NULL, NULL) || MFGAndersonRegister()) return 1;
  if (cmocka_run_group_tests(tests, NULL, NULL)) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
