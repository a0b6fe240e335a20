#include "solvers/coupling.h"

/* mu = int x m dx. Rows are summed one by one, so that the order does not depend on the compiler.
 */
static PetscErrorCode Mean(const MFGGrid *grid, const double *m, double mu[]) {
  const MFGBlock *b = &grid->block;
  const double volume = MFGCellVolume(b);

  PetscFunctionBeginUser;
  for (int axis = 0; axis < MFG_MAX_DIM; axis++) mu[axis] = 0;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++, m += b->count[0]) {
      double mass = 0, moment = 0;
      for (int i = 0; i < b->count[0]; i++) {
        mass += m[i];
        moment += MFGCellCenter(b, 0, b->start[0] + i) * m[i];
      }
      mu[0] += moment * volume;
      mu[1] += MFGCellCenter(b, 1, b->start[1] + j) * mass * volume;
      mu[2] += MFGCellCenter(b, 2, b->start[2] + k) * mass * volume;
    }
  PetscCall(MFGGridSum(grid, b->dim, mu));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void AddAttraction(const MFGBlock *b, double strength, const double target[],
                          double *value) {
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        const int at[] = {i, j, k};
        double s = 0;
        for (int axis = 0; axis < b->dim; axis++) {
          const double d = MFGCellCenter(b, axis, b->start[axis] + at[axis]) - target[axis];
          s += d * d;
        }
        *value++ += 0.5 * strength * s;
      }
}

PetscErrorCode MFGCostEvaluate(const MFGGrid *grid, const MFGBackend *backend, const MFGCost *cost,
                               int level, const double *m, double *value) {
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b);

  PetscFunctionBeginUser;
  PetscCheck(level >= 0 && (cost->potential_levels <= 1 || level < cost->potential_levels),
             grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "cost of time level %d asked for, but the potential has %d levels", level,
             cost->potential_levels);
  if (cost->coupling.type == MFG_COUPLING_NONE) {
    PetscCall(PetscArrayzero(value, owned));
  } else {
    PetscCall(MFGBackendCoupling(backend, &cost->coupling, owned, m, value));
  }
  if (cost->potential_levels > 0) {
    const double *v = cost->potential + (cost->potential_levels > 1 ? level * owned : 0);
    for (int64_t i = 0; i < owned; i++) value[i] += v[i];
  }
  if (cost->mean_strength != 0) {
    double mu[MFG_MAX_DIM], target[MFG_MAX_DIM];
    PetscCall(Mean(grid, m, mu));
    for (int axis = 0; axis < MFG_MAX_DIM; axis++) target[axis] = cost->mean_factor * mu[axis];
    AddAttraction(b, cost->mean_strength, target, value);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCostDerivative(const MFGGrid *grid, const MFGCost *cost, const double *m,
                                 const double *dm, double *value) {
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b);
  const double factor = cost->mean_factor;
  double mu[MFG_MAX_DIM], dmu[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < owned; i++) value[i] = MFGCouplingSlope(&cost->coupling, m[i]) * dm[i];
  if (cost->mean_strength == 0) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(Mean(grid, m, mu));
  PetscCall(Mean(grid, dm, dmu));
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        const int at[] = {i, j, k};
        double s = 0;
        for (int axis = 0; axis < b->dim; axis++)
          s += (MFGCellCenter(b, axis, b->start[axis] + at[axis]) - factor * mu[axis]) * dmu[axis];
        *value++ -= cost->mean_strength * factor * s;
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}
