#include "solvers/linear_step.h"

#include "solvers/multigrid.h"
#include "solvers/star.h"
#include "solvers/tridiagonal.h"

struct MFGLinearStep_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGHJBSpec spec;
  KSP ksp; /* owned, as all below */
  Mat jacobian;
  Vec u, right; /* hold the caller's arrays during a call */
  MFGStarGhosts ghosts;
  Mat change; /* NULL until wanted, like its ghosts */
  MFGStarGhosts direction;
  double *values; /* [2 dim + 1][owned] */
};

static PetscErrorCode CreateSolver(MFGLinearStep s) {
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(KSPCreate(s->grid->comm, &s->ksp));
  PetscCall(KSPSetOptionsPrefix(s->ksp, "fp_"));
  PetscCall(KSPSetOperators(s->ksp, s->jacobian, s->jacobian));
  PetscCall(KSPGetPC(s->ksp, &pc));
  PetscCall(KSPSetDM(s->ksp, s->grid->da));
  PetscCall(KSPSetDMActive(s->ksp, KSP_DMACTIVE_ALL, PETSC_FALSE));
  PetscCall(KSPSetTolerances(s->ksp, PETSC_CURRENT, PETSC_CURRENT, PETSC_CURRENT, 10000));
  if (s->grid->block.dim == 1) {
    PetscCall(MFGTridiagonalRegister());
    PetscCall(KSPSetType(s->ksp, KSPPREONLY));
    PetscCall(PCSetType(pc, "tridiagonal"));
  } else {
    PetscCall(MFGMultigridDefaults(s->ksp));
  }
  PetscCall(KSPSetFromOptions(s->ksp));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const MFGHJBSpec *spec, MFGLinearStep *step) {
  const int64_t owned = MFGBlockOwned(&grid->block);
  MFGLinearStep s;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&s));
  s->grid = grid;
  s->backend = backend;
  s->spec = *spec;
  PetscCall(DMCreateGlobalVector(grid->da, &s->u));
  PetscCall(VecDuplicate(s->u, &s->right));
  PetscCall(MFGStarGhostsCreate(grid, backend, &s->ghosts));
  PetscCall(PetscMalloc1(owned * (2 * grid->block.dim + 1), &s->values));
  PetscCall(MFGStarMatrixCreate(grid, backend, "fp_", &s->jacobian));
  PetscCall(MFGStarMatrixSetDiffusion(s->jacobian, spec->nu));
  PetscCall(CreateSolver(s));
  *step = s;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepDestroy(MFGLinearStep *step) {
  PetscFunctionBeginUser;
  if (!step || !*step) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(KSPDestroy(&(*step)->ksp));
  PetscCall(MatDestroy(&(*step)->jacobian));
  PetscCall(MatDestroy(&(*step)->change));
  PetscCall(MFGStarGhostsDestroy(&(*step)->direction));
  PetscCall(VecDestroy(&(*step)->u));
  PetscCall(VecDestroy(&(*step)->right));
  PetscCall(MFGStarGhostsDestroy(&(*step)->ghosts));
  PetscCall(PetscFree((*step)->values));
  PetscCall(PetscFree(*step));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Flexible GMRES takes 10 to 20 iterations, each keeps two vectors. */
int64_t MFGLinearStepBytes(int dim, int64_t owned) {
  return owned * (dim == 1 ? 12 * 8 + 3 * (8 + 12 + 16) : 46 * 8 + (2 * dim + 1) * 32 + 32);
}

const MFGGrid *MFGLinearStepGrid(MFGLinearStep step) {
  return step->grid;
}

const MFGHJBSpec *MFGLinearStepSpec(MFGLinearStep step) {
  return &step->spec;
}

PetscErrorCode MFGLinearStepSet(MFGLinearStep s, int level, const double *u) {
  const MFGHJBStep step = MFGHJBSpecStep(&s->spec, &s->grid->block, level);
  const double *ghosted;

  PetscFunctionBeginUser;
  PetscCall(MFGStarGhostsFill(s->ghosts, u, &ghosted));
  PetscCall(MFGBackendHJBJacobian(s->backend, &step, ghosted, s->values));
  PetscCall(MFGStarMatrixSetValues(s->jacobian, s->values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepMultiply(MFGLinearStep s, PetscBool transpose, const double *x,
                                     double *product) {
  PetscFunctionBeginUser;
  PetscCall(VecPlaceArray(s->u, x));
  PetscCall(VecPlaceArray(s->right, product));
  if (transpose)
    PetscCall(MatMultTranspose(s->jacobian, s->u, s->right));
  else
    PetscCall(MatMult(s->jacobian, s->u, s->right));
  PetscCall(VecResetArray(s->right));
  PetscCall(VecResetArray(s->u));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepChange(MFGLinearStep s, int level, const double *u, const double *w,
                                   const double *m, double *product) {
  const MFGHJBStep step = MFGHJBSpecStep(&s->spec, &s->grid->block, level);
  const double *ghosted, *direction;

  PetscFunctionBeginUser;
  if (!s->change) {
    PetscCall(MFGStarMatrixCreate(s->grid, s->backend, "fp_", &s->change));
    PetscCall(MFGStarGhostsCreate(s->grid, s->backend, &s->direction));
  }
  PetscCall(MFGStarGhostsFill(s->ghosts, u, &ghosted));
  PetscCall(MFGStarGhostsFill(s->direction, w, &direction));
  PetscCall(MFGBackendHJBJacobianChange(s->backend, &step, ghosted, direction, s->values));
  PetscCall(MFGStarMatrixSetValues(s->change, s->values));
  PetscCall(VecPlaceArray(s->u, m));
  PetscCall(VecPlaceArray(s->right, product));
  PetscCall(MatMultTranspose(s->change, s->u, s->right));
  PetscCall(VecResetArray(s->right));
  PetscCall(VecResetArray(s->u));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Residual(MFGLinearStep s, const MFGHJBStep *step, const double *u,
                               double *residual) {
  const double *ghosted;

  PetscFunctionBeginUser;
  PetscCall(MFGStarGhostsFill(s->ghosts, u, &ghosted));
  PetscCall(MFGBackendHJBResidual(s->backend, step, ghosted, residual));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* R(v) with U^{n+1} = v and R(u) with U^{n+1} = u: the terms in 1/dt, which cancel, leave no
 * rounding errors. */
PetscErrorCode MFGLinearStepExcess(MFGLinearStep s, int level, const double *u, const double *v,
                                   double *excess) {
  const int64_t owned = MFGBlockOwned(&s->grid->block);
  MFGHJBStep step = MFGHJBSpecStep(&s->spec, &s->grid->block, level);
  double *zero, *change, *other;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc2(owned, &change, owned, &other));
  PetscCall(PetscCalloc1(owned, &zero));
  step.source = zero;
  step.next = v;
  PetscCall(Residual(s, &step, v, excess));
  step.next = u;
  PetscCall(Residual(s, &step, u, other));
  for (int64_t i = 0; i < owned; i++) {
    change[i] = v[i] - u[i];
    excess[i] -= other[i];
  }
  PetscCall(MFGLinearStepSet(s, level, u));
  PetscCall(MFGLinearStepMultiply(s, PETSC_FALSE, change, other));
  for (int64_t i = 0; i < owned; i++) excess[i] -= other[i] - change[i] / s->spec.dt;
  PetscCall(PetscFree2(change, other));
  PetscCall(PetscFree(zero));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearStepSolve(MFGLinearStep s, PetscBool transpose, double tolerance,
                                  const double *right, double *x, MFGLinearStats *stats) {
  KSPType type;
  PetscBool direct;
  PetscInt krylov;

  PetscFunctionBeginUser;
  PetscCall(KSPGetType(s->ksp, &type));
  PetscCall(PetscStrcmp(type, KSPPREONLY, &direct));
  PetscCall(KSPSetInitialGuessNonzero(s->ksp, (PetscBool)!direct));
  PetscCall(KSPSetTolerances(s->ksp, tolerance, PETSC_CURRENT, PETSC_CURRENT, PETSC_CURRENT));
  PetscCall(VecPlaceArray(s->u, x));
  PetscCall(VecPlaceArray(s->right, right));
  if (transpose)
    PetscCall(KSPSolveTranspose(s->ksp, s->right, s->u));
  else
    PetscCall(KSPSolve(s->ksp, s->right, s->u));
  PetscCall(VecResetArray(s->right));
  PetscCall(VecResetArray(s->u));
  PetscCall(KSPGetConvergedReason(s->ksp, &stats->reason));
  PetscCall(KSPGetIterationNumber(s->ksp, &krylov));
  stats->krylov += krylov;
  PetscFunctionReturn(PETSC_SUCCESS);
}
