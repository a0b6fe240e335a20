#include "solvers/linearised.h"

struct MFGLinearised_ {
  MFGLinearStep step;        /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGCost running, terminal;
  const double *M, *U, *P; /* borrowed */
  double *dU;              /* owned; [steps + 1][owned] */
  double *right, *work;    /* owned; [owned] */
  MFGPauseFunction pause;  /* or NULL */
  void *pause_context;
};

PetscErrorCode MFGLinearisedCreate(MFGLinearStep step, const MFGBackend *backend,
                                   const MFGCost *running, const MFGCost *terminal,
                                   MFGLinearised *linearised) {
  const int64_t owned = MFGBlockOwned(&MFGLinearStepGrid(step)->block);
  MFGLinearised l;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&l));
  l->step = step;
  l->backend = backend;
  l->running = *running;
  l->terminal = *terminal;
  PetscCall(PetscMalloc3((MFGLinearStepSpec(step)->steps + 1) * owned, &l->dU, owned, &l->right,
                         owned, &l->work));
  *linearised = l;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearisedDestroy(MFGLinearised *linearised) {
  PetscFunctionBeginUser;
  if (!linearised || !*linearised) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree3((*linearised)->dU, (*linearised)->right, (*linearised)->work));
  PetscCall(PetscFree(*linearised));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGLinearisedSet(MFGLinearised l, const double *M, const double *U, const double *P) {
  l->M = M;
  l->U = U;
  l->P = P;
}

void MFGLinearisedSetPause(MFGLinearised l, MFGPauseFunction pause, void *context) {
  l->pause = pause;
  l->pause_context = context;
}

static PetscErrorCode Pause(MFGLinearised l, PetscBool *stop) {
  PetscFunctionBeginUser;
  if (l->pause) PetscCall(l->pause(l->pause_context, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Backward(MFGLinearised l, double tolerance, const double *dM,
                               MFGLinearStats *stats, PetscBool *stop) {
  const MFGGrid *grid = MFGLinearStepGrid(l->step);
  const MFGHJBSpec *spec = MFGLinearStepSpec(l->step);
  const int64_t owned = MFGBlockOwned(&grid->block), last = (spec->steps - 1) * owned;

  PetscFunctionBeginUser;
  PetscCall(MFGCostDerivative(grid, &l->terminal, l->M + last, dM + last, l->dU + last + owned));
  for (int n = spec->steps - 1; n >= 0 && stats->reason >= 0 && !*stop; n--) {
    const double *next = l->dU + (n + 1) * owned;
    double *dU = l->dU + n * owned;
    PetscCall(MFGCostDerivative(grid, &l->running, l->M + n * owned, dM + n * owned, l->right));
    for (int64_t i = 0; i < owned; i++) {
      l->right[i] += next[i] / spec->dt;
      dU[i] = next[i];
    }
    PetscCall(MFGLinearStepSet(l->step, n, l->U + n * owned));
    PetscCall(MFGLinearStepSolve(l->step, PETSC_FALSE, tolerance, l->right, dU, stats));
    PetscCall(Pause(l, stop));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Forward(MFGLinearised l, double tolerance, double *dP, MFGLinearStats *stats,
                              PetscBool *stop) {
  const MFGHJBSpec *spec = MFGLinearStepSpec(l->step);
  const int64_t owned = MFGBlockOwned(&MFGLinearStepGrid(l->step)->block);

  PetscFunctionBeginUser;
  for (int n = 0; n < spec->steps && stats->reason >= 0 && !*stop; n++) {
    const double *U = l->U + n * owned, *before = n ? dP + (n - 1) * owned : NULL;
    double *after = dP + n * owned;
    PetscCall(MFGLinearStepChange(l->step, n, U, l->dU + n * owned, l->P + n * owned, l->work));
    for (int64_t i = 0; i < owned; i++) {
      after[i] = before ? before[i] : 0;
      l->right[i] = after[i] / spec->dt - l->work[i];
    }
    PetscCall(MFGLinearStepSet(l->step, n, U));
    PetscCall(MFGLinearStepSolve(l->step, PETSC_TRUE, tolerance, l->right, after, stats));
    PetscCall(Pause(l, stop));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearisedApply(MFGLinearised l, double tolerance, const double *dM, double *dP,
                                  MFGLinearStats *stats) {
  PetscBool stop = PETSC_FALSE;

  PetscFunctionBeginUser;
  PetscCall(Backward(l, tolerance, dM, stats, &stop));
  PetscCall(Forward(l, tolerance, dP, stats, &stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}
