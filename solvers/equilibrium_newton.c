#include "solvers/anderson.h"
#include "solvers/equilibrium_parts.h"
#include "solvers/smoothing.h"

/* Of the linear solves within a product with Newton's Jacobian. */
#define PRODUCT_TOLERANCE 1e-8
/* Directions GMRES keeps. */
#define GMRES_RESTART 60
/* With agents the derivative itself is off by more than this. */
#define PRECONDITIONER_TOLERANCE 0.1

/* How tightly the linear system of a step is solved, where -outer_ksp_rtol does not say it:
 * Eisenstat & Walker (SIAM J. Sci. Comput. 17(1), 1996), choice 2 within 0.1. PETSc's own would
 * forget the norm before in a restart. */
static PetscErrorCode SetForcing(MFGEquilibrium e) {
  const double exponent = 0.5 * (1 + sqrt(5));
  PetscBool given;
  PetscReal norm;
  KSP ksp;

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsHasName(NULL, "outer_", "-ksp_rtol", &given));
  if (given) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(SNESGetFunctionNorm(e->snes, &norm));
  PetscCall(SNESGetKSP(e->snes, &ksp));
  const double tolerance = e->norm > 0 ? pow(norm / e->norm, exponent) : 1;
  PetscCall(
      KSPSetTolerances(ksp, PetscMin(tolerance, 0.1), PETSC_CURRENT, PETSC_CURRENT, PETSC_CURRENT));
  e->norm = norm;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Both equations together are far less nonlinear than the map, whose image is a density however far
 * the iterate is: linearised about M in place of Phi(M), and with full steps, the hard torus with
 * coupling 100 takes 13 maps where the derivative of the map and a line search took 24, and a crowd
 * pressed together by an outer force 15 where they found nothing in 200. */
static PetscErrorCode OuterJacobian(SNES snes, Vec X, Mat A, Mat P, void *context) {
  MFGEquilibrium e = (MFGEquilibrium)context;

  PetscFunctionBeginUser;
  (void)snes, (void)X, (void)P;
  PetscCall(SetForcing(e));
  MFGLinearisedSet(e->linearised, e->iterate, e->U, e->iterate);
  PetscCall(MatAssemblyBegin(A, MAT_FINAL_ASSEMBLY));
  PetscCall(MatAssemblyEnd(A, MAT_FINAL_ASSEMBLY));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode OuterProduct(Mat A, Vec X, Vec Y) {
  MFGLinearStats stats = {0};
  MFGEquilibrium e;
  const double *x;
  double *y;

  PetscFunctionBeginUser;
  PetscCall(MatShellGetContext(A, &e));
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(VecGetArrayWrite(Y, &y));
  if (!e->outcome.reason)
    PetscCall(MFGLinearisedApply(e->linearised, PRODUCT_TOLERANCE, x, y, &stats));
  const PetscBool ends = (PetscBool)(e->outcome.reason != MFG_STOP_NONE);
  for (int n = 1; !ends && !e->on_grid && n <= e->spec.steps; n++)
    PetscCall(MFGSmooth(e->grid, e->bandwidth + n * e->grid->block.dim, y + (n - 1) * e->owned));
  /* With infinite numbers GMRES gives up at once. */
  for (int64_t i = 0; i < e->spec.steps * e->owned; i++) y[i] = ends ? PETSC_INFINITY : x[i] - y[i];
  PetscCall(VecRestoreArrayWrite(Y, &y));
  PetscCall(VecRestoreArrayRead(X, &x));
  e->products++;
  e->outcome.products++;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A linear residual whose L1 norm at a level is a tenth of the tolerance, in the norm of GMRES. */
static double LeastResidual(const MFGEquilibrium e) {
  const MFGBlock *b = &e->grid->block;
  double box = 1;
  for (int k = 0; k < b->dim; k++) box *= b->upper[k] - b->lower[k];
  return 0.1 * e->spec.tolerance / sqrt(box * MFGCellVolume(b));
}

static PetscErrorCode SetGMRES(MFGEquilibrium e, KSP ksp, double tolerance) {
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(KSPSetType(ksp, KSPGMRES));
  PetscCall(KSPGMRESSetRestart(ksp, GMRES_RESTART));
  PetscCall(KSPSetTolerances(ksp, tolerance, LeastResidual(e), PETSC_CURRENT, 5 * GMRES_RESTART));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(PCSetType(pc, PCNONE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* newtonls with GMRES. */
static PetscErrorCode CreateFullNewton(MFGEquilibrium e) {
  SNESLineSearch search;
  KSP ksp;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(e->spec.steps * e->owned, &e->iterate));
  PetscCall(SNESSetType(e->snes, SNESNEWTONLS));
  PetscCall(SNESSetJacobian(e->snes, e->derivative, e->derivative, OuterJacobian, e));
  PetscCall(SNESGetLineSearch(e->snes, &search));
  PetscCall(SNESLineSearchSetType(search, SNESLINESEARCHNONE));
  PetscCall(SNESGetKSP(e->snes, &ksp));
  PetscCall(SetGMRES(e, ksp, PETSC_CURRENT));
  PetscCall(SNESSetMaxLinearSolveFailures(e->snes, PETSC_INT_MAX - 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The agents' map has a derivative that differs: steps with this one alone converge linearly,
 * twice as slowly as with the differences of earlier iterates too. */
static PetscErrorCode CreateQuasiNewton(MFGEquilibrium e) {
  PetscFunctionBeginUser;
  PetscCall(KSPCreate(e->grid->comm, &e->precondition));
  PetscCall(KSPSetOptionsPrefix(e->precondition, "outer_"));
  PetscCall(KSPSetOperators(e->precondition, e->derivative, e->derivative));
  PetscCall(SetGMRES(e, e->precondition, PRECONDITIONER_TOLERANCE));
  PetscCall(KSPSetFromOptions(e->precondition));
  PetscCall(SNESSetType(e->snes, MFGANDERSON));
  PetscCall(MFGAndersonSetParameters(e->snes, e->spec.memory, e->spec.damping));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumCreateNewton(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const PetscInt n = (PetscInt)(s->steps * e->owned);

  PetscFunctionBeginUser;
  PetscCall(MFGLinearisedCreate(e->linear, &s->running, &s->terminal, &e->linearised));
  MFGLinearisedSetPause(e->linearised, MFGEquilibriumPauseProduct, e);
  PetscCall(
      MatCreateShell(e->grid->comm, n, n, PETSC_DETERMINE, PETSC_DETERMINE, e, &e->derivative));
  PetscCall(MatShellSetOperation(e->derivative, MATOP_MULT, (PetscErrorCodeFn *)OuterProduct));
  PetscCall(e->on_grid ? CreateFullNewton(e) : CreateQuasiNewton(e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPrecondition(MFGEquilibrium e, double *f) {
  Vec F, Z;

  PetscFunctionBeginUser;
  MFGLinearisedSet(e->linearised, e->x, e->U, e->phi + e->owned);
  PetscCall(VecCreateMPIWithArray(e->grid->comm, 1, (PetscInt)(e->spec.steps * e->owned),
                                  PETSC_DETERMINE, f, &F));
  PetscCall(VecDuplicate(F, &Z));
  PetscCall(KSPSolve(e->precondition, F, Z));
  PetscCall(VecCopy(Z, F));
  PetscCall(VecDestroy(&Z));
  PetscCall(VecDestroy(&F));
  PetscFunctionReturn(PETSC_SUCCESS);
}
