/* What is reported of a solution: time series of integrals over the box. */
#pragma once

#include "solvers/equilibrium.h"

/* All arrays [steps + 1], owned; the same numbers on every rank of grid->comm. */
typedef struct {
  double *mass;      /* int m */
  double *cost;      /* int m (L(alpha) + F) at t_n, the crowd's running cost per unit of time */
  double *exit_flux; /* mass that leaves per unit of time; 0 while there are no exits */
  double *mean, *variance; /* [steps + 1][dim] of the agents, from their integer moments */
  double expected_cost;    /* int_0^T cost dt (trapezium rule) + int G m(T): J of the whole crowd */
  double expected_value;   /* int u(0) m(0): the same cost by the value function, but for
                              discretisation */
} MFGSeries;

/* Collective on grid->comm. M, U flows of a solution; `equilibrium` gives their control, of which
 * one level at a time is held. */
PetscErrorCode MFGSeriesCreate(const MFGGrid *grid, const MFGBackend *backend,
                               const MFGEquilibriumSpec *spec, MFGEquilibrium equilibrium,
                               const double *M, const double *U,
                               const MFGSampleStatistics *statistics, MFGSeries *series);
PetscErrorCode MFGSeriesDestroy(MFGSeries *series);
