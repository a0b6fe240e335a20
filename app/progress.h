/* What a run says while it works: a row per outer iteration; on a terminal a bar within the sweeps.
 */
#pragma once

#include "solvers/continuation.h"

#include "app/output.h"

typedef struct {
  PetscBool speak, terminal;                /* this rank prints; standard output is a terminal */
  double started, iteration_started, drawn; /* wall clock; drawn: when the bar was last drawn */
  double iteration_seconds;                 /* of the last whole iteration, for the ETA */
  double tolerance;
  int count, capacity;
  int stage_start;              /* entries before the stage under way */
  PetscBool headed;             /* the table has its header */
  MFGConvergenceEntry *history; /* owned; one entry an iteration */
  double *table, before; /* owned: the history as state; seconds of the run's earlier parts */
  int64_t newton, krylov;
  PetscBool exploitability; /* has a column */
  PetscBool grid;           /* the density moves on the grid: no agents to tell of */
  int64_t fp_krylov;        /* then: linear iterations of the forward sweeps */
  int64_t products;         /* and linearised pairs of sweeps of Newton's method */
  int agent_maps;           /* maps with agents, and the seconds of their sweeps */
  double agent_seconds;
  double fp_defect;         /* and how far a level was from its mass, at the most */
  double seconds[4];        /* hjb, agents or Fokker-Planck, density, other */
  MFGExchangeBytes traffic; /* of the last sweep, this rank's */
  double imbalance;         /* of the last sweep */
} MFGProgress;

/* printf on rank 0 of comm. Unlike PetscPrintf it does not mind a standard output that is gone: a
 * run must not lose its result because its reader left. */
PetscErrorCode MFGSay(MPI_Comm comm, const char *format, ...) PETSC_ATTRIBUTE_FORMAT(2, 3);

PetscErrorCode MFGProgressCreate(MPI_Comm comm, const MFGEquilibriumSpec *spec,
                                 MFGProgress *progress);
PetscErrorCode MFGProgressDestroy(MFGProgress *progress);

/* MFGStageCallbacks; context is the MFGProgress. */
PetscErrorCode MFGProgressIteration(void *context, const MFGIteration *iteration);
PetscErrorCode MFGProgressWithin(void *context, MFGPhase phase, double fraction);
PetscErrorCode MFGProgressStage(void *context, const MFGStage *stage, const MFGOutcome *outcome);

/* Collective. What a later part of the run needs to tell of the whole: numbers, then arrays of
 * `count` entries. After a restore the history is that of the state. */
PetscErrorCode MFGProgressState(MFGProgress *progress, MFGState *state);
PetscErrorCode MFGProgressRestore(MFGProgress *progress, int most, MFGRestoreFunction restore,
                                  void *context);

/* The table at the end: seconds per phase, agent-steps/s (of agent_steps in a map), counts, bytes.
 */
PetscErrorCode MFGProgressSummary(const MFGProgress *progress, int64_t agent_steps,
                                  double seconds_output, int64_t bytes);
