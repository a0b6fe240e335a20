/* What the files particles*.c share; nobody else includes this. */
#pragma once

#include "solvers/agents.h"
#include "solvers/exchange.h"
#include "solvers/particles.h"
#include "solvers/recording.h"
#include "solvers/residents.h"

/* The steps of a chunk, and what they send. */
typedef struct {
  MFGRecording steps;
  MFGExchangeBytes bytes;
} RecordedChunk;

struct MFGParticles_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGParticlesSpec spec;     /* initial_density is not kept */
  MFGBlock domain;           /* the whole grid */
  MFGExchange exchange;      /* owned; of arrays in the backend's memory */
  MFGExchange fields;        /* owned, or the same; of fields, which are the host's */
  MFGResidents residents;    /* owned; domain decomposition, else NULL */
  MFGAgents now, initial;    /* replicated: where they are, and were at t = 0 */
  int64_t *cumulative;       /* owned; [cells], on the host */
  int64_t *cumulative_there; /* owned; a copy, where the backend's memory is another */
  double imbalance;
  MFGSortScratch scratch;
  MFGAgentDrift drift;
  /* Owned, in the backend's memory, kept between sweeps like the drift's buffers: moments of a
   * chunk of levels, the sums over their axes [levels][dim] with the marginals behind them, and
   * densities (unused on the host); sums: those in the host's memory where that is another. */
  int64_t *moments, *marginals, *sums;
  double *density;
  int64_t moments_size, marginals_size, density_size, sums_size;
  RecordedChunk *chunk; /* owned; [chunks]; domain decomposition on a device */
  int chunks;
  /* Of a sweep under way: steps done (0: none is), and whether it goes on with agents that a state
   * has placed. */
  int done;
  PetscBool placed;
  MFGPauseFunction pause; /* NULL or asked between chunks */
  void *pause_context;
  int64_t peak;    /* in a state: most agents on one rank so far */
  MFGAgents shown; /* on a device: the agents of a state, on the host */
  double *arrived; /* owned: records that were put so far, [arrivals][dim + 1] */
  int64_t arrivals, arrived_room, faults; /* faults: records that are no agents of this grid */
};

/* a b / c without overflow of the product. */
static inline int64_t MFGProportion(int64_t a, int64_t b, int64_t c) {
  return (int64_t)((MFGUint128)a * (MFGUint128)b / (MFGUint128)c);
}

/* The agents that this rank has now. */
MFGAgentRange MFGParticlesHere(MFGParticles p);

/* One sweep: what its chunks share. */
typedef struct {
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGDriftFunction drift;
  void *context;
  MFGScan scan;
  int sort_every;                  /* steps; 0: never */
  int chunk;                       /* steps */
  int halo[MFG_MAX_DIM];           /* cells that the moments of a box reach beyond it; domain */
  MFGExtent extent;                /* of the moments of a level */
  int64_t field;                   /* integers of one level's moments */
  double *M;                       /* borrowed */
  MFGSampleStatistics *statistics; /* borrowed */
} MFGAgentSweep;

/* Room for recordings of so many chunks; those there were are forgotten where the number changes.
 */
PetscErrorCode MFGParticlesReserveChunks(MFGParticles p, int chunks);
/* All agents to where they start. */
PetscErrorCode MFGParticlesRewind(MFGParticles p);

/* Collective. Statistics of `count` levels whose local moments lie one after the other, from the
 * marginals of all boxes. */
PetscErrorCode MFGParticlesStatistics(MFGParticles p, const MFGMomentShape *shape,
                                      const MFGExtent *extent, int count, const int64_t *moments,
                                      MFGSampleStatistics *statistics);
/* Collective. Densities and statistics of levels first .. first + count - 1, whose local moments
 * lie one after the other. */
PetscErrorCode MFGParticlesEvaluate(MFGAgentSweep *s, int first, int count, int64_t *moments);
