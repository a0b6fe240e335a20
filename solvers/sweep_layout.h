/* What a sweep of the agents moves and holds, known before it. */
#pragma once

#include "solvers/backend.h"
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

/* Steps from one sort of the agents by cell to the next, before the first of them; 0: none. On a
 * CPU agents in the order of their cells deposit up to three times faster where the moments of a
 * level are larger than the caches. Where sorts do not pay again (MFGAgentsOps) all steps: agents
 * are sorted where they start, once for all sweeps. layout->sort_every goes first. The same on all
 * ranks. */
int MFGSweepSortEvery(const MFGSweepLayout *layout, const MFGBackend *backend);

/* Bytes that rank `rank` holds in a sweep: moments and drifts of a chunk of levels, with messages,
 * weights and what a convolution needs. Pages that are reserved but never written do not count,
 * here and below. */
int64_t MFGSweepChunkBytes(const MFGSweepLayout *layout, int rank);

/* Bytes of the agents of a rank that has `here` of them at t = 0: in a sweep on the CPU, and while
 * agents drawn by number are sent to their boxes before the first one. */
int64_t MFGSweepAgentBytes(const MFGSweepLayout *layout, int64_t here);
int64_t MFGSweepStartBytes(const MFGSweepLayout *layout, int64_t here);

/* Bytes that rank `rank` with `here` agents at t = 0 holds in a sweep in the memory of a backend
 * that is not the host's: there what is reserved counts, with what its operations work with. */
int64_t MFGSweepDeviceBytes(const MFGSweepLayout *layout, const MFGBackend *backend, int rank,
                            int64_t here);

/* Bytes that paths of some agents take besides: every rank has them, and a level of the whole
 * drift. */
int64_t MFGSweepPathBytes(const MFGSweepLayout *layout, int rank, int64_t samples);

/* Agents of every rank at t = 0, [ranks]. m0 on all cells of `sampled`: the whole grid, or a
 * coarser one in its place. */
void MFGSweepShares(const MFGSweepLayout *layout, const MFGBlock *sampled, const double *m0,
                    double agents[]);

/* An axis whose boxes are narrower than the kernel's reach, so that agents cannot live with their
 * boxes; -1: none. */
int MFGSweepNarrowAxis(const MFGSweepLayout *layout);
