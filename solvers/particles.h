/* Agents: sampling from m0 and the forward sweep
 *
 *   X^{n+1} = X^n + v^n(X^n) dt + sqrt(2 nu dt) xi      v^n multilinear in the drift at cell
 * centres,
 *
 * with wrap on periodic axes and symmetric reflection at walls. Divided over the ranks by id. */
#pragma once

#include "solvers/kde.h"

typedef enum { MFG_SAMPLING_STRATIFIED, MFG_SAMPLING_RANDOM } MFGSampling;

typedef struct {
  int64_t count;
  uint64_t seed;
  MFGSampling sampling;
  const double
      *initial_density; /* borrowed; whole field, >= 0, any positive scale; only during Create */
  double nu, dt;
  int steps;
} MFGParticlesSpec;

typedef struct MFGParticles_ *MFGParticles;

/* The drift of levels begin .. end-1 as whole fields [end - begin][dim][cells]. Collective. */
typedef PetscErrorCode (*MFGDriftFunction)(void *context, int begin, int end, double *drift);

/* Collective on grid->world. The grid and backend are borrowed for the life of the object. */
PetscErrorCode MFGParticlesCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGParticlesSpec *spec, MFGParticles *particles);
PetscErrorCode MFGParticlesDestroy(MFGParticles *particles);

/* Collective on grid->world. One forward sweep of all agents from t = 0: the flow of densities
 * M[steps + 1][owned] and statistics[steps + 1]. In chunks of levels whose moments fit a memory
 * budget; one integer all-reduce a chunk. `iteration` is 0 for common random numbers, else the
 * outer iteration. Bits of M and statistics depend only on drift, seed, plan - not on ranks, chunks
 * or backend. */
PetscErrorCode MFGParticlesSweep(MFGParticles particles, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics);

/* Collective on grid->world. Paths of `samples` agents, ids evenly spaced, at all levels:
 * path[steps + 1][samples][dim] and id[samples] on every rank; the same bits as in the sweep. */
PetscErrorCode MFGParticlesPaths(MFGParticles particles, uint32_t iteration, MFGDriftFunction drift,
                                 void *context, int64_t samples, double *path, int64_t *id);

/* Statistics of the agents at t = 0, for the first bandwidths. Collective on grid->world. */
PetscErrorCode MFGParticlesInitialStatistics(MFGParticles particles,
                                             MFGSampleStatistics *statistics);

/* Bytes of the moments and drifts of one chunk of a sweep at this tolerance, for h of two cells. */
int64_t MFGParticlesChunkBytes(const MFGBlock *domain, int steps, double tolerance);
