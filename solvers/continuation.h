/* Equilibria in stages, each started from the flow of the one before: from a weak coupling to the
 * full one, from much noise to the given, and, for Newton's method with agents, from the grid to
 * the agents. */
#pragma once

#include "solvers/equilibrium.h"

/* Stages before the last end at this residual, or at the tolerance of the last if that is larger.
 */
#define MFG_STAGE_TOLERANCE 1e-3

/* Factors at the most. */
#define MFG_MAX_FACTORS 16

/* Stage k multiplies the strengths of both costs (of the coupling and of the mean) by coupling[k]
 * and nu by viscosity[k]. */
typedef struct {
  int count; /* 1 .. MFG_MAX_FACTORS; the last factors are 1 */
  double coupling[MFG_MAX_FACTORS], viscosity[MFG_MAX_FACTORS];
} MFGContinuation;

typedef struct {
  int number, count; /* 1 .. count */
  PetscBool on_grid; /* the density moves there */
  double coupling, viscosity, tolerance;
} MFGStage;

/* Called before each stage, with outcome NULL, and after each but the last; not for a single one.
 */
typedef PetscErrorCode (*MFGStageFunction)(void *context, const MFGStage *stage,
                                           const MFGOutcome *outcome);

/* Asked after every piece of the work, as MFGAskFunction, of all stages. With *save the next call
 * is of `save`, then the work goes on or, with *stop, ends. */
typedef PetscErrorCode (*MFGDecideFunction)(void *context, MFGPiece piece, int64_t work,
                                            PetscBool *save, PetscBool *stop);
typedef PetscErrorCode (*MFGSaveFunction)(void *context, const MFGState *state);
/* After a failed step or divergence, with the fields of MFGEquilibriumFields. */
typedef PetscErrorCode (*MFGLostFunction)(void *context, const MFGOutcome *outcome,
                                          const MFGState *fields);

/* Each may be NULL. */
typedef struct {
  MFGMonitorFunction monitor; /* as in MFGEquilibriumSetMonitor; counts all maps */
  MFGProgressFunction progress;
  MFGStageFunction stage;
  MFGDecideFunction decide;
  MFGSaveFunction save;
  MFGRestoreFunction restore; /* the solve goes on from what `save` got once */
  MFGLostFunction lost;
  void *context;
} MFGStageCallbacks;

/* Stages of a spec: those of the continuation; newton with agents takes all of them on the grid and
 * one more with the agents. */
int MFGContinuationStages(const MFGEquilibriumSpec *spec, const MFGContinuation *continuation);

/* Collective on grid->world. As MFGEquilibriumSolve, of the last stage; the outcome counts the maps
 * of all stages, which share max_iterations: each has one map at least. A stage that ends above its
 * tolerance is followed by the next; after a failed step or divergence there is no next, and the
 * message says which stage it was. Where it goes on, M and U need no values on entry. *last is the
 * equilibrium of the last stage, for its paths and control, to be destroyed by the caller; NULL
 * where it was not reached. */
PetscErrorCode MFGContinuationSolve(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec,
                                    const MFGContinuation *continuation,
                                    const MFGStageCallbacks *callbacks, double *M, double *U,
                                    MFGSampleStatistics *statistics, MFGEquilibrium *last,
                                    MFGOutcome *outcome);
