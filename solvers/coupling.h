/* Costs that depend on the density:
 *
 *   F(t,x,m) = V(t,x) + f(m(x)) + (strength/2) |x - factor mu|^2,   mu = int x m dx
 *
 * with f of solvers/model.h. Running and terminal cost have the same form. */
#pragma once

#include "solvers/backend.h"
#include "solvers/grid.h"

typedef struct {
  int potential_levels;    /* 0: none; 1: constant in time; steps + 1 (terminal cost: 0 or 1) */
  const double *potential; /* borrowed; V, [potential_levels][owned] */
  MFGCoupling coupling;
  double mean_strength, mean_factor;
} MFGCost;

/* Collective on grid->comm when mean_strength is not 0. F(t_level, x, m) into value[owned]. */
PetscErrorCode MFGCostEvaluate(const MFGGrid *grid, const MFGBackend *backend, const MFGCost *cost,
                               int level, const double *m, double *value);

/* Collective on grid->comm when mean_strength is not 0. The derivative of F(m) in the direction dm:
 * f'(m) dm - strength factor (x - factor mu(m)) . mu(dm), into value[owned]. */
PetscErrorCode MFGCostDerivative(const MFGGrid *grid, const MFGCost *cost, const double *m,
                                 const double *dm, double *value);
