/* Whether the sanitizer build sees our leaks and only ours: none, "block" (malloc), "vector"
 * (PETSc). */
#include <petscdmda.h>
#include <petscsnes.h>

#include <stdlib.h>
#include <string.h>

static PetscErrorCode UsePETSc(void) {
  DM da;
  Vec x;
  Mat A;
  KSP ksp;

  PetscFunctionBeginUser;
  PetscCall(DMDACreate2d(PETSC_COMM_WORLD, DM_BOUNDARY_PERIODIC, DM_BOUNDARY_GHOSTED,
                         DMDA_STENCIL_STAR, 8, 8, PETSC_DECIDE, PETSC_DECIDE, 1, 1, NULL, NULL,
                         &da));
  PetscCall(DMSetUp(da));
  PetscCall(DMCreateGlobalVector(da, &x));
  PetscCall(DMCreateMatrix(da, &A));
  PetscCall(MatShift(A, 1));
  PetscCall(KSPCreate(PETSC_COMM_WORLD, &ksp));
  PetscCall(KSPSetOperators(ksp, A, A));
  PetscCall(KSPSolve(ksp, x, x));
  PetscCall(KSPDestroy(&ksp));
  PetscCall(MatDestroy(&A));
  PetscCall(VecDestroy(&x));
  PetscCall(DMDestroy(&da));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void *volatile kept;

static void LeakBlock(void) {
  kept = malloc(1234);
  if (kept) memset(kept, 1, 1234);
  kept = NULL;
}

static PetscErrorCode LeakVector(void) {
  Vec x;

  PetscFunctionBeginUser;
  PetscCall(VecCreateMPI(PETSC_COMM_WORLD, 10, PETSC_DECIDE, &x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int main(int argc, char **argv) {
  const char *leak = argc > 1 ? argv[1] : "none";

  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  if (!strcmp(leak, "block")) LeakBlock();
  if (!strcmp(leak, "vector") && LeakVector()) return 1;
  if (UsePETSc()) return 1;
  return PetscFinalize() ? 1 : 0;
}
