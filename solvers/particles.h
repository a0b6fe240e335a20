/* Agents: sampling from m0 and the forward sweep
 *
 *   X^{n+1} = X^n + v^n(X^n) dt + sqrt(2 nu dt) xi      v^n multilinear in the drift at cell
 * centres,
 *
 * with wrap on periodic axes and symmetric reflection at walls.
 *
 * replicated: every rank has a range of ids and the drift of all cells; the moments of a chunk of
 * levels are summed over the ranks. domain: every rank has the agents in its box; after each step
 * they migrate, after a chunk the moments exchange a rim as wide as the kernel. The same bits. */
#pragma once

#include "solvers/agent_drift.h"
#include "solvers/kde.h"
#include "solvers/state.h"
#include "solvers/sweep_layout.h"

typedef enum { MFG_SAMPLING_STRATIFIED, MFG_SAMPLING_RANDOM } MFGSampling;

typedef struct {
  int64_t count;
  uint64_t seed;
  MFGSampling sampling;
  const double
      *initial_density; /* borrowed; whole field, >= 0, any positive scale; only during Create */
  double nu, dt;
  int steps;
  MFGDecomposition decomposition;
  PetscBool single;      /* positions in single precision, see MFGOffsetOf */
  int sort_every;        /* as in MFGSweepLayout; no bit depends on it */
  MFGGoOnFunction go_on; /* NULL or asked while they are sampled */
  void *go_on_context;
  /* The drift function of a sweep writes to the backend's memory, where that is not the host's; not
   * in 1D. That of paths always writes to the host's. */
  MFGDriftFunction drift_there; /* instead of the one given, with its context; NULL: none */
} MFGParticlesSpec;

typedef struct MFGParticles_ *MFGParticles;

/* Collective on grid->world. The grid and backend are borrowed for the life of the object. Errors:
 * no agents, a density that is negative or not finite. */
PetscErrorCode MFGParticlesCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGParticlesSpec *spec, MFGParticles *particles);
PetscErrorCode MFGParticlesDestroy(MFGParticles *particles);

/* Collective on grid->world. One forward sweep of all agents from t = 0: the flow of densities
 * M[steps + 1][owned] and statistics[steps + 1]. In chunks of levels whose moments fit a memory
 * budget. `iteration` is 0 for common random numbers, else the
 * outer iteration. Bits of M and statistics depend only on drift, seed, plan - not on ranks, chunks
 * or backend. */
PetscErrorCode MFGParticlesSweep(MFGParticles particles, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics);

/* Not collective. Asked (NULL: not) between two chunks of a sweep, which ends there if it is told
 * to; M and statistics then have the levels up to the last of the chunk. */
void MFGParticlesSetPause(MFGParticles particles, MFGPauseFunction pause, void *context);

/* Collective on grid->world. Adds to `state` where a sweep is between two chunks: steps done and
 * all agents. When it is filled, of particles of the same spec on any number of ranks and by any
 * decomposition, the next sweep begins there, with M and statistics that have the levels before. */
PetscErrorCode MFGParticlesState(MFGParticles particles, MFGState *state);

/* Collective on grid->world. Paths of `samples` agents, ids evenly spaced, at all levels:
 * path[steps + 1][samples][dim] and id[samples] on every rank; the same bits as in the sweep. */
PetscErrorCode MFGParticlesPaths(MFGParticles particles, uint32_t iteration, MFGDriftFunction drift,
                                 void *context, int64_t samples, double *path, int64_t *id);

/* Largest over mean number of agents per rank in the last sweep; 1 where they are replicated. */
double MFGParticlesImbalance(MFGParticles particles);

/* Bytes this rank has sent since Create. */
MFGExchangeBytes MFGParticlesBytesMoved(MFGParticles particles);

/* Statistics of the agents at t = 0, for the first bandwidths. Collective on grid->world. */
PetscErrorCode MFGParticlesInitialStatistics(MFGParticles particles,
                                             MFGSampleStatistics *statistics);
