/* The equilibrium: the fixed point M = Phi(M) of
 *
 *   M  --HJB sweep-->  U  --forward sweep-->  Phi(M),        M = (M^1 .. M^Nt)
 *
 * as F(M) = M - Phi(M) = 0 handed to a PETSc SNES (options prefix outer_). Forward go agents, whose
 * density is estimated, or the Fokker-Planck equation on the grid. With common random numbers Phi
 * is a deterministic map once the bandwidths are frozen, so the residual can fall to 1e-10; on the
 * grid it is one from the start. */
#pragma once

#include "solvers/coupling.h"
#include "solvers/fp_grid.h"
#include "solvers/hjb.h"
#include "solvers/kde.h"
#include "solvers/particles.h"
#include "solvers/state.h"

/* newton: each product with the Jacobian is one linearised pair of sweeps of the grid. On the grid
 * this is Newton's method for the value and the density together, with full steps; it converges
 * quadratically. Of the agents' map the pair of sweeps is an approximate derivative: Anderson's
 * method (memory, damping) for the steps it gives, from near the equilibrium
 * (solvers/continuation.h starts on the grid). */
typedef enum {
  MFG_OUTER_PICARD,
  MFG_OUTER_ANDERSON,
  MFG_OUTER_FICTITIOUS_PLAY,
  MFG_OUTER_NEWTON
} MFGOuterMethod;

typedef enum { MFG_FOKKER_PLANCK_PARTICLES, MFG_FOKKER_PLANCK_GRID } MFGFokkerPlanckMethod;

typedef enum {
  MFG_STOP_NONE,
  MFG_STOP_CONVERGED,
  MFG_STOP_FLOOR, /* fresh random numbers: the residual is down to the sampling noise */
  MFG_STOP_MAX_ITERATIONS,
  MFG_STOP_DIVERGED,   /* residual not finite, or far above where it began */
  MFG_STOP_HJB_FAILED, /* a Newton solve failed: message of the sweep */
  MFG_STOP_FP_FAILED,  /* a linear solve of the Fokker-Planck equation failed: likewise */
  MFG_STOP_STALLED,    /* newton with a line search: no step along the direction lowers F */
  MFG_STOP_INTERRUPTED /* as the pause function asked */
} MFGStopReason;

typedef struct {
  double horizon, nu;
  int steps;
  MFGHamiltonian hamiltonian;
  int drift_levels;    /* as in MFGHJBSpec */
  const double *drift; /* borrowed */
  MFGCost running, terminal;
  /* grid: agents, seed, sampling and decomposition serve paths only, the density keys nothing. */
  MFGFokkerPlanckMethod fokker_planck;
  int64_t agents;
  uint64_t seed;
  MFGSampling sampling;
  PetscBool single; /* as in MFGParticlesSpec */
  MFGDecomposition decomposition;
  const double *initial_density; /* borrowed; m0, whole field of mass 1 */
  MFGDensityMethod density_method;
  MFGBandwidthRule bandwidth_rule;
  double bandwidth[MFG_MAX_DIM]; /* h for MFG_BANDWIDTH_FIXED */
  double density_tolerance;
  MFGOuterMethod method;
  double tolerance; /* of both residuals */
  double damping;   /* beta in (0, 1] */
  int max_iterations, memory;
  int exploitability;    /* measured every so many maps, and at the last; 0: never */
  PetscBool fresh;       /* new random numbers in every outer iteration */
  MFGGoOnFunction go_on; /* NULL or asked while the agents are sampled */
  void *go_on_context;
  /* Borrowed; solves the value equation and all that is linearised about it, on the grid the
   * density too; NULL: that of the host. */
  const MFGBackend *value;
  int value_chunk; /* levels at a time there on a device, at most; 0: all */
} MFGEquilibriumSpec;

/* One evaluation of Phi. */
typedef struct {
  int iteration;           /* 1, 2, ... */
  int stage;               /* of a continuation: 1, 2, ...; else 0 */
  PetscBool on_grid;       /* Phi moved the density on the grid, not agents */
  double density_residual; /* max over levels of the L1 norm of M - Phi(M) */
  double value_residual;   /* max |U - U of the sweep before| / range of U */
  double floor; /* expected L1 norm of the sampling noise of Phi(M), largest level; grid: 0 */
  double exploitability;  /* of the control of U in the flow Phi(M); NaN: not measured */
  double mass, minimum;   /* of Phi(M): mass at T, smallest value over all levels */
  double imbalance;       /* largest over mean number of agents per rank */
  MFGExchangeBytes bytes; /* that this rank moved in the sweep of the agents */
  PetscInt newton, krylov;
  PetscInt products;  /* newton: linearised pairs of sweeps since the map before */
  PetscInt fp_krylov; /* grid: linear iterations of the forward sweep, */
  double fp_defect;   /* and largest |1 - factor| that restored the mass of a level */
  double seconds_hjb, seconds_agents, seconds_density, seconds_other;
  PetscBool bandwidth_frozen;
} MFGIteration;

typedef enum { MFG_PHASE_HJB, MFG_PHASE_AGENTS, MFG_PHASE_FOKKER_PLANCK } MFGPhase;

/* What lies between two questions whether to go on: the last part of a map; a level or chunk of
 * levels of its sweeps; within a step of Newton's method, where what can be saved is that before
 * it.
 */
typedef enum {
  MFG_PIECE_MAP,
  MFG_PIECE_VALUE,
  MFG_PIECE_AGENTS,
  MFG_PIECE_DENSITY,
  MFG_PIECE_PRODUCT,
  MFG_PIECES
} MFGPiece;

/* Called after every evaluation of Phi, and (progress) within the sweeps with the fraction done. */
typedef PetscErrorCode (*MFGMonitorFunction)(void *context, const MFGIteration *iteration);
typedef PetscErrorCode (*MFGProgressFunction)(void *context, MFGPhase phase, double fraction);

typedef struct {
  MFGStopReason reason;
  int iterations;        /* evaluations of Phi */
  int failed_level;      /* of MFG_STOP_HJB_FAILED and _FP_FAILED */
  int64_t products;      /* newton: linearised pairs of sweeps, each about as dear as a map */
  PetscBool raised;      /* a rule's bandwidth was below 0.7 cells and was raised */
  MFGMomentShape shape;  /* of the moments of the last sweep */
  int64_t mixture_floor; /* cell values of iterates below zero, floored in the couplings */
  char message[512];     /* for people: what happened and what to try */
} MFGOutcome;

typedef struct MFGEquilibrium_ *MFGEquilibrium;

/* Bytes that spec->value, a device, needs for `owned` cells and chunks of `levels`. */
int64_t MFGEquilibriumDeviceBytes(const MFGEquilibriumSpec *spec, int dim, int64_t owned,
                                  int levels);

/* True where the spec has linear steps beside the value equation: on the grid, and for newton. */
PetscBool MFGEquilibriumIsLinear(const MFGEquilibriumSpec *spec);

/* Collective on grid->world. Grid, backend and arrays of the spec are borrowed. */
PetscErrorCode MFGEquilibriumCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec, MFGEquilibrium *equilibrium);
PetscErrorCode MFGEquilibriumDestroy(MFGEquilibrium *equilibrium);
PetscErrorCode MFGEquilibriumSetMonitor(MFGEquilibrium equilibrium, MFGMonitorFunction monitor,
                                        MFGProgressFunction progress, void *context);

/* Asked after every piece of the work, collective on grid->world: with *stop the solve ends with
 * MFG_STOP_INTERRUPTED. `work`: maps and products of what can be saved, with the map under way.
 * Within the function MFGEquilibriumState tells what is needed to go on. */
typedef PetscErrorCode (*MFGAskFunction)(void *context, MFGPiece piece, int64_t work,
                                         PetscBool *stop);
PetscErrorCode MFGEquilibriumSetAsk(MFGEquilibrium equilibrium, MFGAskFunction ask, void *context);

/* Collective on grid->world; within a solve. Adds to `state` what a solve needs to go on to the
 * bit, where Newton's method takes full steps: PETSc's line searches begin anew. */
PetscErrorCode MFGEquilibriumState(MFGEquilibrium equilibrium, MFGState *state);

/* Not collective; after a solve that failed. Adds the flows as they were last: the iterate (levels
 * 1 .. steps), its value and its density as far as they came, and of a value step that failed the
 * running cost, one level. */
PetscErrorCode MFGEquilibriumFields(MFGEquilibrium equilibrium, MFGState *state);

/* Collective on grid->world. Of a new equilibrium of the same spec (another decomposition too):
 * `restore` is called for the numbers of a state and then for its arrays, those of the flows M and
 * U among them. The next MFGEquilibriumSolve, with M and U, goes on from there. Errors:
 * PETSC_ERR_FILE_READ where the state is none of this solver's. */
PetscErrorCode MFGEquilibriumRestore(MFGEquilibrium equilibrium, MFGRestoreFunction restore,
                                     void *context, double *M, double *U);

/* Collective on grid->world. M[steps + 1][owned]: on entry the first guess, on exit Phi of the last
 * iterate, the density of the agents that follow U (grid: M^0 is m0); U[steps + 1][owned] and
 * statistics[steps + 1] belong to it. Not converging is a reason in the outcome, not an error. */
PetscErrorCode MFGEquilibriumSolve(MFGEquilibrium equilibrium, double *M, double *U,
                                   MFGSampleStatistics *statistics, MFGOutcome *outcome);

/* Collective. Paths of some agents under the U of the last solve, on the grid too; as
 * MFGParticlesPaths. */
PetscErrorCode MFGEquilibriumPaths(MFGEquilibrium equilibrium, const double *U, int64_t samples,
                                   double *path, int64_t *id);

/* Collective on grid->comm. The control alpha = -H_p at central differences of the levels begin ..
 * end - 1, [end - begin][dim][owned]. */
PetscErrorCode MFGEquilibriumControl(MFGEquilibrium equilibrium, int begin, int end,
                                     const double *U, double *control);
