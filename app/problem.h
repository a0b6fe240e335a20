/* From the input to a problem the solvers take: grid, backend, tabulated functions. */
#pragma once

#include "app/config.h"
#include "app/watch.h"
#include "solvers/decomposition.h"
#include "solvers/diagnostics.h"

typedef struct {
  const MFGConfig *config; /* borrowed */
  MFGWatch *watch;         /* borrowed, or NULL */
  MFGGrid grid;            /* owned, like the arrays */
  const MFGBackend *backend;
  char choice[320]; /* why this backend, and its memory; "" where the host's was all there is */
  char value_choice[320]; /* the same of the equations on the grid */
  MFGEquilibriumSpec spec;
  /* With agents only: */
  MFGSweepLayout layout;       /* of a sweep; the kernel at its widest where a rule chooses it */
  MFGDecompositionModel model; /* what auto goes by; without seconds where nothing was to choose */
  double *drift, *running, *terminal, *initial_density;
  int64_t memory_before; /* bytes that this rank held before it was created */
} MFGProblem;

/* Collective on comm. Errors of formulas and datasets go to `errors` (count > 0: nothing to
 * destroy). `watch`, or NULL, is asked by all that prepares the problem and its solution:
 * MFGWatchSetup. */
PetscErrorCode MFGProblemCreate(MPI_Comm comm, const MFGConfig *config, MFGWatch *watch,
                                MFGProblem *problem, MFGConfigErrors *errors);
PetscErrorCode MFGProblemDestroy(MFGProblem *problem);

/* True where the density moves by the Fokker-Planck equation on the grid. */
PetscBool MFGProblemOnGrid(const MFGProblem *problem);

/* Not collective. The layout of a sweep of the problem's equations on another grid in the same box,
 * or on other divisions; decomposition replicated. */
MFGSweepLayout MFGProblemLayout(const MFGProblem *problem, const MFGBlock *whole,
                                const int divisions[MFG_MAX_DIM]);

/* Collective. The model of a layout, perhaps of other ranks, with figures measured now. */
PetscErrorCode MFGProblemPredict(const MFGProblem *problem, const MFGSweepLayout *layout,
                                 MFGDecompositionModel *model);

/* Collective; part of MFGProblemCreate, after the layout is known. auto: cuda where every rank has
 * a GPU with room and a step is predicted to be faster than on the cpu, both with figures measured
 * now; elsewhere, and where the density moves on the grid, the cpu. Error: PETSC_ERR_MEM, the
 * backend asked for has too little memory. */
PetscErrorCode MFGProblemChooseBackend(MFGProblem *problem);

/* Collective; part of MFGProblemCreate, after the backend is known: where the value equation is
 * solved and all that is linearised about it, on the grid the Fokker-Planck equation too, and how
 * many of its levels at a time. -hjb_backend cpu or cuda says it, on the grid also `backend: cuda`;
 * auto, the default, takes the cpu where that is the backend asked for, where there is no GPU on
 * which PETSc has vectors, in one dimension and where there is no room, else what is faster by a
 * short measurement of the value equation on both. Errors: PETSC_ERR_MEM, cuda asked for and no
 * room even for one level at a time; PETSC_ERR_SUP, there is none. */
PetscErrorCode MFGProblemChooseValue(MFGProblem *problem);

/* The equations that it decides about, for the log. */
const char *MFGProblemValueName(const MFGProblem *problem);

/* Predicted bytes: the memory of one rank at its peak, beyond what the program itself holds, and
 * the result file. */
typedef struct {
  int64_t flows, history, tables, value, agents, moments, linear, total, disk;
  int rank;
  int64_t here; /* agents of the rank at t = 0 */
} MFGFootprint;

/* Not collective. Of rank `rank` of a layout, in whose box are `in_box` agents at t = 0: the
 * problem's own layout, or another one for its equations. */
MFGFootprint MFGProblemFootprint(const MFGProblem *problem, const MFGSweepLayout *layout, int rank,
                                 double in_box);

/* Not collective. Bytes of the largest checkpoint of the problem. */
int64_t MFGProblemCheckpointBytes(const MFGProblem *problem);

/* Bytes of this process that are resident: now, and most so far. */
int64_t MFGMemoryHeld(void);
int64_t MFGMemoryPeak(void);

/* Not collective. Of the rank of the problem's own layout that holds most. */
PetscErrorCode MFGProblemLargest(const MFGProblem *problem, MFGFootprint *footprint);

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

/* Collective. Room for a solution, with the first guess in M where one is asked for. Errors of
 * equilibrium.initial go to `errors` (count > 0: nothing to destroy). */
PetscErrorCode MFGSolutionCreate(const MFGProblem *problem, PetscBool guess, MFGSolution *solution,
                                 MFGConfigErrors *errors);
PetscErrorCode MFGSolutionDestroy(MFGSolution *solution);

/* Collective. Solves, with the diagnostics of a result when the iteration ended in one (converged,
 * at the floor, or at the last iteration allowed). */
PetscErrorCode MFGProblemSolve(const MFGProblem *problem, const MFGStageCallbacks *callbacks,
                               MFGSolution *solution);

/* The factors of the stages of equilibrium.continuation and continuation_viscosity. */
MFGContinuation MFGProblemContinuation(const MFGProblem *problem);

/* True for the outcomes that leave a solution: all but divergence and a failed step. */
PetscBool MFGOutcomeUsable(const MFGOutcome *outcome);
