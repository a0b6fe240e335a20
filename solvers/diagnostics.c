#include "solvers/diagnostics.h"

/* int m (L(alpha) + F) over this rank's cells, without the cell volume. */
static double RunningCost(const MFGBlock *b, const MFGHamiltonian *h, const double *m,
                          const double *alpha, const double *F) {
  const int64_t owned = MFGBlockOwned(b);
  double sum = 0;

  for (int64_t i = 0; i < owned; i++) {
    double s = 0;
    for (int k = 0; k < b->dim; k++) s += alpha[k * owned + i] * alpha[k * owned + i];
    sum += m[i] * (MFGControlCost(h, s) + F[i]);
  }
  return sum;
}

static double Dot(int64_t n, const double *x, const double *y) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

PetscErrorCode MFGSeriesCreate(const MFGGrid *grid, const MFGBackend *backend,
                               const MFGEquilibriumSpec *spec, MFGEquilibrium equilibrium,
                               const double *M, const double *U,
                               const MFGSampleStatistics *statistics, MFGSeries *series) {
  const MFGBlock *b = &grid->block;
  const int levels = spec->steps + 1;
  const int64_t owned = MFGBlockOwned(b);
  const double volume = MFGCellVolume(b), dt = spec->horizon / spec->steps;
  double *F, *sums, *control;

  PetscFunctionBeginUser;
  PetscCall(PetscCalloc5(levels, &series->mass, levels, &series->cost, levels, &series->exit_flux,
                         levels * b->dim, &series->mean, levels * b->dim, &series->variance));
  PetscCall(PetscMalloc3(owned, &F, 2 * levels + 2, &sums, b->dim * owned, &control));
  for (int n = 0; n < levels; n++) {
    const double *m = M + n * owned;
    PetscCall(MFGCostEvaluate(grid, backend, &spec->running, n, m, F));
    PetscCall(MFGEquilibriumControl(equilibrium, n, n + 1, U, control));
    sums[n] = 0;
    for (int64_t i = 0; i < owned; i++) sums[n] += m[i];
    sums[levels + n] = RunningCost(b, &spec->hamiltonian, m, control, F);
    for (int k = 0; k < b->dim; k++) {
      series->mean[n * b->dim + k] = statistics[n].mean[k];
      series->variance[n * b->dim + k] = statistics[n].variance[k];
    }
  }
  sums[2 * levels] = Dot(owned, U + spec->steps * owned, M + spec->steps * owned);
  sums[2 * levels + 1] = Dot(owned, U, M);
  PetscCall(MFGGridSum(grid, 2 * levels + 2, sums));
  for (int n = 0; n < levels; n++) {
    series->mass[n] = sums[n] * volume;
    series->cost[n] = sums[levels + n] * volume;
  }
  series->expected_cost = sums[2 * levels] * volume;
  for (int n = 0; n < spec->steps; n++)
    series->expected_cost += dt * (series->cost[n] + series->cost[n + 1]) / 2;
  series->expected_value = sums[2 * levels + 1] * volume;
  PetscCall(PetscFree3(F, sums, control));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGSeriesDestroy(MFGSeries *series) {
  PetscFunctionBeginUser;
  if (!series) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(
      PetscFree5(series->mass, series->cost, series->exit_flux, series->mean, series->variance));
  PetscFunctionReturn(PETSC_SUCCESS);
}
