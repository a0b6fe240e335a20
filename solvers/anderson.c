#include "solvers/anderson.h"

#include <petsc/private/snesimpl.h>

/* Columns whose part independent of the others is below this share of their length are left out of
 * the fit: float history resolves no more. */
#define INDEPENDENT_SHARE 1e-12

typedef struct {
  PetscInt memory, count, next; /* columns allowed, held, and the one to write next */
  PetscReal damping;
  PetscInt length;  /* local entries */
  PetscBool before; /* the work vectors hold the iterate before the last and its F */
  PetscBool resume; /* history and iterate before are those of the iterate to start from */
  float *dx, *df;   /* owned; [memory][length] */
  double *gram;     /* owned; [memory][memory], <df_i, df_j> */
} Anderson;

/* y += a x for a float column. */
static void AddColumn(PetscInt n, double a, const float *x, double *y) {
  for (PetscInt i = 0; i < n; i++) y[i] += a * x[i];
}

static double DotColumns(PetscInt n, const float *x, const float *y) {
  double sum = 0;
  for (PetscInt i = 0; i < n; i++) sum += (double)x[i] * y[i];
  return sum;
}

static double DotColumn(PetscInt n, const float *x, const double *y) {
  double sum = 0;
  for (PetscInt i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* Least squares by Cholesky with diagonal pivoting on the scaled Gram matrix: gamma[count]. */
static void SolveFit(const Anderson *a, const double *rhs, double *gamma) {
  const PetscInt n = a->count, ld = a->memory;
  double l[n][n], d[n], scale[n], y[n];
  PetscInt order[n], rank = 0;

  for (PetscInt i = 0; i < n; i++) {
    const double g = a->gram[i * ld + i];
    scale[i] = g > 0 ? 1 / sqrt(g) : 0;
    d[i] = g > 0 ? 1 : 0;
    order[i] = i;
    gamma[i] = 0;
  }
  for (; rank < n; rank++) {
    PetscInt p = rank;
    for (PetscInt i = rank + 1; i < n; i++)
      if (d[order[i]] > d[order[p]]) p = i;
    if (!(d[order[p]] > INDEPENDENT_SHARE)) break;
    const PetscInt pivot = order[p];
    order[p] = order[rank];
    order[rank] = pivot;
    const double root = sqrt(d[pivot]);
    l[pivot][rank] = root;
    double value = rhs[pivot] * scale[pivot];
    for (PetscInt k = 0; k < rank; k++) value -= l[pivot][k] * y[k];
    y[rank] = value / root;
    for (PetscInt i = rank + 1; i < n; i++) {
      const PetscInt row = order[i];
      double v = a->gram[row * ld + pivot] * scale[row] * scale[pivot];
      for (PetscInt k = 0; k < rank; k++) v -= l[row][k] * l[pivot][k];
      l[row][rank] = v / root;
      d[row] -= l[row][rank] * l[row][rank];
    }
  }
  for (PetscInt i = rank - 1; i >= 0; i--) {
    double v = y[i];
    for (PetscInt k = i + 1; k < rank; k++) v -= l[order[k]][i] * gamma[order[k]];
    gamma[order[i]] = v / l[order[i]][i];
  }
  for (PetscInt i = 0; i < n; i++) gamma[i] *= scale[i];
}

/* Appends the differences of x and f = -F to the history and renews its row of the Gram matrix. */
static PetscErrorCode Append(SNES snes, Anderson *a, Vec X, Vec F, Vec Xold, Vec Fold) {
  const PetscScalar *x, *f, *xold, *fold;
  const PetscInt column = a->next;
  float *dx = a->dx + column * a->length, *df = a->df + column * a->length;
  double dots[a->memory];

  PetscFunctionBegin;
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(VecGetArrayRead(F, &f));
  PetscCall(VecGetArrayRead(Xold, &xold));
  PetscCall(VecGetArrayRead(Fold, &fold));
  for (PetscInt i = 0; i < a->length; i++) {
    dx[i] = (float)(x[i] - xold[i]);
    df[i] = (float)(fold[i] - f[i]);
  }
  PetscCall(VecRestoreArrayRead(X, &x));
  PetscCall(VecRestoreArrayRead(F, &f));
  PetscCall(VecRestoreArrayRead(Xold, &xold));
  PetscCall(VecRestoreArrayRead(Fold, &fold));
  a->next = (a->next + 1) % a->memory;
  if (a->count < a->memory) a->count++;
  for (PetscInt j = 0; j < a->count; j++)
    dots[j] = DotColumns(a->length, df, a->df + j * a->length);
  PetscCallMPI(MPIU_Allreduce(MPI_IN_PLACE, dots, (PetscMPIInt)a->count, MPI_DOUBLE, MPI_SUM,
                              PetscObjectComm((PetscObject)snes)));
  for (PetscInt j = 0; j < a->count; j++)
    a->gram[column * a->memory + j] = a->gram[j * a->memory + column] = dots[j];
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* X <- the accelerated next iterate. */
static PetscErrorCode Mix(SNES snes, Anderson *a, Vec X, Vec F) {
  const PetscInt n = a->length;
  const PetscScalar *f;
  PetscScalar *x;
  double rhs[a->memory + 1], gamma[a->memory + 1];

  PetscFunctionBegin;
  PetscCall(VecGetArrayRead(F, &f));
  PetscCall(VecGetArray(X, &x));
  for (PetscInt j = 0; j < a->count; j++) rhs[j] = -DotColumn(n, a->df + j * n, f);
  if (a->count) {
    PetscCallMPI(MPIU_Allreduce(MPI_IN_PLACE, rhs, (PetscMPIInt)a->count, MPI_DOUBLE, MPI_SUM,
                                PetscObjectComm((PetscObject)snes)));
    SolveFit(a, rhs, gamma);
  }
  for (PetscInt i = 0; i < n; i++) x[i] -= a->damping * f[i];
  for (PetscInt j = 0; j < a->count; j++) {
    AddColumn(n, -gamma[j], a->dx + j * n, x);
    AddColumn(n, -gamma[j] * a->damping, a->df + j * n, x);
  }
  PetscCall(VecRestoreArrayRead(F, &f));
  PetscCall(VecRestoreArray(X, &x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESSolve_Anderson(SNES snes) {
  Anderson *a = (Anderson *)snes->data;
  Vec X = snes->vec_sol, F = snes->vec_func, Xold = snes->work[0], Fold = snes->work[1];
  PetscReal fnorm;

  PetscFunctionBegin;
  snes->reason = SNES_CONVERGED_ITERATING;
  if (!a->resume) {
    a->count = a->next = 0;
    a->before = PETSC_FALSE;
  }
  a->resume = PETSC_FALSE;
  for (PetscInt k = 0; !snes->reason; k++) {
    snes->iter = k;
    PetscCall(SNESComputeFunction(snes, X, F));
    PetscCall(VecNorm(F, NORM_2, &fnorm));
    SNESCheckFunctionDomainError(snes, fnorm);
    snes->norm = fnorm;
    PetscCall(SNESLogConvergenceHistory(snes, fnorm, 0));
    PetscCall(SNESConverged(snes, k, 0.0, 0.0, fnorm));
    PetscCall(SNESMonitor(snes, k, fnorm));
    if (snes->reason) break;
    if (k >= snes->max_its) {
      snes->reason = SNES_DIVERGED_MAX_IT;
      break;
    }
    if (a->before && a->memory > 0) PetscCall(Append(snes, a, X, F, Xold, Fold));
    PetscCall(VecCopy(X, Xold));
    PetscCall(VecCopy(F, Fold));
    a->before = PETSC_TRUE;
    PetscCall(Mix(snes, a, X, F));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESReset_Anderson(SNES snes) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscCall(PetscFree3(a->dx, a->df, a->gram));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESSetUp_Anderson(SNES snes) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscCall(SNESSetWorkVecs(snes, 2));
  PetscCall(VecGetLocalSize(snes->vec_sol, &a->length));
  PetscCall(PetscMalloc3(a->memory * a->length, &a->dx, a->memory * a->length, &a->df,
                         a->memory * a->memory, &a->gram));
  PetscCall(PetscArrayzero(a->gram, a->memory * a->memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESDestroy_Anderson(SNES snes) {
  PetscFunctionBegin;
  PetscCall(SNESReset_Anderson(snes));
  PetscCall(PetscFree(snes->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESSetFromOptions_Anderson(SNES snes, PetscOptionItems PetscOptionsObject) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscOptionsHeadBegin(PetscOptionsObject, "Anderson acceleration");
  PetscCall(PetscOptionsBoundedInt("-anderson_memory", "Differences kept",
                                   "MFGAndersonSetParameters", a->memory, &a->memory, NULL, 0));
  PetscCall(PetscOptionsReal("-anderson_damping", "Damping", "MFGAndersonSetParameters", a->damping,
                             &a->damping, NULL));
  PetscOptionsHeadEnd();
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SNESCreate_Anderson(SNES snes) {
  Anderson *a;

  PetscFunctionBegin;
  snes->ops->solve = SNESSolve_Anderson;
  snes->ops->setup = SNESSetUp_Anderson;
  snes->ops->reset = SNESReset_Anderson;
  snes->ops->destroy = SNESDestroy_Anderson;
  snes->ops->setfromoptions = SNESSetFromOptions_Anderson;
  snes->usesksp = PETSC_FALSE;
  snes->usesnpc = PETSC_FALSE;
  snes->alwayscomputesfinalresidual = PETSC_TRUE;
  PetscCall(PetscNew(&a));
  a->memory = 5;
  a->damping = 1;
  snes->data = a;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAndersonRegister(void) {
  PetscFunctionBegin;
  PetscCall(SNESRegister(MFGANDERSON, SNESCreate_Anderson));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckType(SNES snes) {
  PetscBool same;

  PetscFunctionBegin;
  PetscCall(PetscObjectTypeCompare((PetscObject)snes, MFGANDERSON, &same));
  PetscCheck(same, PetscObjectComm((PetscObject)snes), PETSC_ERR_ARG_WRONG,
             "the SNES is not of type " MFGANDERSON "; call SNESSetType first");
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAndersonSetParameters(SNES snes, int memory, double damping) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscCall(CheckType(snes));
  a->memory = memory;
  a->damping = damping;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAndersonNumbers(SNES snes, MFGState *state) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscCall(CheckType(snes));
  MFGStateInteger(state, "anderson_columns", a->count, 0, a->memory);
  MFGStateInteger(state, "anderson_next", a->next, 0, PetscMax(a->memory - 1, 0));
  MFGStateInteger(state, "anderson_before", a->before, 0, 1);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void AddColumns(MFGState *state, const char *name, int64_t levels, float *columns) {
  MFGStateAdd(state,
              (MFGStateItem){
                  .name = name, .kind = MFG_STATE_FLOW_SINGLE, .count = levels, .data = columns});
}

PetscErrorCode MFGAndersonArrays(SNES snes, Vec X, int64_t levels, MFGState *state) {
  Anderson *a = (Anderson *)snes->data;
  PetscScalar *x;

  PetscFunctionBegin;
  PetscCall(CheckType(snes));
  if (!snes->setupcalled) {
    PetscCall(SNESSetSolution(snes, X));
    PetscCall(SNESSetUp(snes));
  }
  MFGStateReals(state, "anderson_gram", a->memory * a->memory, a->gram);
  AddColumns(state, "anderson_dx", a->count * levels, a->dx);
  AddColumns(state, "anderson_df", a->count * levels, a->df);
  if (!a->before) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(VecGetArray(snes->work[0], &x));
  MFGStateFlow(state, "anderson_x", levels, x);
  PetscCall(VecRestoreArray(snes->work[0], &x));
  PetscCall(VecGetArray(snes->work[1], &x));
  MFGStateFlow(state, "anderson_f", levels, x);
  PetscCall(VecRestoreArray(snes->work[1], &x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAndersonResume(SNES snes) {
  Anderson *a = (Anderson *)snes->data;

  PetscFunctionBegin;
  PetscCall(CheckType(snes));
  a->resume = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}
