/* From the input to a problem the solvers take: grid, backend, tabulated functions. */
#pragma once

#include "app/config.h"
#include "solvers/decomposition.h"
#include "solvers/diagnostics.h"

typedef struct {
  const MFGConfig *config; /* borrowed */
  MFGGrid grid;            /* owned, like the arrays */
  const MFGBackend *backend;
  MFGEquilibriumSpec spec;
  /* With agents only: */
  MFGSweepLayout layout;       /* of a sweep; the kernel at its widest where a rule chooses it */
  MFGDecompositionModel model; /* what auto goes by */
  double *drift, *running, *terminal, *initial_density;
} MFGProblem;

/* Collective on comm. Errors of formulas and datasets go to `errors` (count > 0: nothing to
 * destroy). */
PetscErrorCode MFGProblemCreate(MPI_Comm comm, const MFGConfig *config, MFGProblem *problem,
                                MFGConfigErrors *errors);
PetscErrorCode MFGProblemDestroy(MFGProblem *problem);

/* True where the density moves by the Fokker-Planck equation on the grid. */
PetscBool MFGProblemOnGrid(const MFGProblem *problem);

/* Predicted bytes: memory of one rank and the result file. */
typedef struct {
  int64_t flows, history, tables, agents, moments, linear, total, disk;
} MFGFootprint;
MFGFootprint MFGProblemFootprint(const MFGProblem *problem);

/* A solved problem; arrays [steps + 1][..], owned. */
typedef struct {
  double *M, *U, *control;
  MFGSampleStatistics *statistics;
  MFGSeries series;
  MFGOutcome outcome;
  char *parent; /* uuid of the result it started from, or NULL */
  int64_t samples;
  double *path;
  int64_t *id;
} MFGSolution;

/* Collective. Room for a solution, with the first guess in M. Errors of equilibrium.initial go to
 * `errors` (count > 0: nothing to destroy). */
PetscErrorCode MFGSolutionCreate(const MFGProblem *problem, MFGSolution *solution,
                                 MFGConfigErrors *errors);
PetscErrorCode MFGSolutionDestroy(MFGSolution *solution);

/* Collective. Solves, with the diagnostics of a result when the iteration ended in one (converged,
 * at the floor, or at the last iteration allowed). */
PetscErrorCode MFGProblemSolve(const MFGProblem *problem, MFGMonitorFunction monitor,
                               MFGProgressFunction progress, void *context, MFGSolution *solution);

/* True for the outcomes that leave a solution: all but divergence and a failed step. */
PetscBool MFGOutcomeUsable(const MFGOutcome *outcome);
