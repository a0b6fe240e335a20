/* What a sweep of the agents moves and holds, known before it. */
#pragma once

#include "solvers/exchange.h"
#include "solvers/kde.h"

typedef enum { MFG_DECOMPOSITION_REPLICATED, MFG_DECOMPOSITION_DOMAIN } MFGDecomposition;

#define MFG_SORT_AUTO 0
#define MFG_SORT_NEVER (-1)

typedef struct {
  MFGBlock whole;
  int divisions[MFG_MAX_DIM];
  MFGDecomposition decomposition;
  int64_t agents;
  PetscBool single;
  int sort_every; /* steps between sorts of the agents, MFG_SORT_AUTO or MFG_SORT_NEVER */
  int steps;
  MFGMomentShape shape;
  int radius[MFG_MAX_DIM]; /* of the kernel, in cells */
  double deviation;        /* sqrt(2 nu dt) */
} MFGSweepLayout;

/* Bytes that rank `rank` of the divisions of a whole grid moves. */
MFGExchangeBytes MFGSweepBytes(const MFGSweepLayout *layout, int rank);

/* Steps whose moments are held at a time, the same on all ranks. The direct method needs the
 * positions of every level. */
int MFGSweepChunk(const MFGSweepLayout *layout, MFGDensityMethod method);

/* Steps from one sort of the agents by cell to the next, before the first of them; 0: none. Agents
 * in the order of their cells deposit up to three times faster where the moments of a level are
 * larger than the caches. */
int MFGSweepSortEvery(const MFGSweepLayout *layout);

/* Bytes of the moments and drifts of a chunk, and of the agents of one rank with a fair share. */
int64_t MFGSweepChunkBytes(const MFGSweepLayout *layout);
int64_t MFGSweepAgentBytes(const MFGSweepLayout *layout);
