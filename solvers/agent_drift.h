/* The drift as a scan of the agents takes it (MFGScan), from that of the grid's owned cells. */
#pragma once

#include "solvers/backend.h"
#include "solvers/grid.h"

/* The drift of levels begin .. end-1 in the owned cells of the grid, [end - begin][dim][owned].
 * Collective. */
typedef PetscErrorCode (*MFGDriftFunction)(void *context, int begin, int end, double *drift);

/* Zero before the first fetch but for the first two. Buffers are kept: the system would clear the
 * pages of fresh memory in every sweep. */
typedef struct {
  const MFGBackend *backend; /* borrowed; of the scan */
  PetscBool there; /* drift functions write to its memory, that of the exchange; in 2D and 3D */
  const double *values; /* what the last fetch gave, in the backend's memory */
  double *fetched;      /* owned; the same, there or in the host's memory */
  double *staged;       /* owned; a copy of it, where that is another */
  double *owned;        /* owned; drift of the grid's owned cells, like `fetched` */
  int64_t fetched_size, staged_size, owned_size;
} MFGAgentDrift;

/* Collective on grid->world. Of all cells: [end - begin][dim][cells]. */
PetscErrorCode MFGAgentDriftWhole(MFGAgentDrift *d, const MFGGrid *grid, MFGExchange exchange,
                                  int begin, int end, MFGDriftFunction drift, void *context);

/* Collective on grid->world. Of the rank's box with a rim of one cell, [end - begin][dim][rim]. The
 * rim comes from its owners: computed again from ghosts of U it could differ in the last bit. */
PetscErrorCode MFGAgentDriftBox(MFGAgentDrift *d, const MFGGrid *grid, MFGExchange exchange,
                                int begin, int end, MFGDriftFunction drift, void *context);
PetscErrorCode MFGAgentDriftDestroy(MFGAgentDrift *d);
