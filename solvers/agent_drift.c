#include "solvers/agent_drift.h"

#include "solvers/particle_point.h"

/* Copies the cells of a box from an array over `from` to one over `to`. */
static void CopyCells(const MFGBlock *box, const MFGExtent *from, const double *source,
                      const MFGExtent *to, double *target) {
  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++) {
      const int at[3] = {box->start[0], box->start[1] + y, box->start[2] + z};
      int64_t i = 0, j = 0;
      for (int k = MFG_MAX_DIM - 1; k >= 0; k--) {
        i = i * from->count[k] + at[k] - from->start[k];
        j = j * to->count[k] + at[k] - to->start[k];
      }
      memcpy(target + j, source + i, box->count[0] * sizeof *target);
    }
}

/* Beyond the walls of one component of a drift on the box with a rim of one cell. Axis after axis,
 * each with the rims of the others, so that edges and corners come right. */
static void MirrorDrift(const MFGBlock *box, const MFGExtent *rim, int component, double *drift) {
  int64_t stride = 1;
  for (int k = 0; k < box->dim; k++) {
    const MFGAxis axis = MFGAxisOf(box, k);
    const int64_t outer = MFGExtentCells(rim) / (stride * rim->count[k]);
    for (int side = 0; side < 2 && !axis.periodic; side++) {
      const int wall = side ? box->cells[k] - 1 : 0, ghost = side ? box->cells[k] : -1;
      double sign;
      const int inside = MFGDriftGhost(&axis, k, component, ghost, &sign) - rim->start[k];
      if (wall < box->start[k] || wall >= box->start[k] + box->count[k]) continue;
      for (int64_t o = 0; o < outer; o++) {
        double *plane = drift + o * stride * rim->count[k];
        for (int64_t i = 0; i < stride; i++)
          plane[(ghost - rim->start[k]) * stride + i] = sign * plane[inside * stride + i];
      }
    }
    stride *= rim->count[k];
  }
}

static PetscErrorCode Reserve(MFGAgentDrift *d, int64_t owned, int64_t fetched) {
  const MFGMemoryOps *host = &MFGMemoryOps_Host;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryReserve(host, owned, sizeof(double), &d->owned_size, &d->owned));
  PetscCall(MFGMemoryReserve(host, fetched, sizeof(double), &d->fetched_size, &d->fetched));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Stage(MFGAgentDrift *d, int64_t count) {
  PetscFunctionBeginUser;
  PetscCall(MFGMemoryStage(d->memory, count, sizeof(double), d->fetched, &d->staged_size,
                           &d->staged, (const void **)&d->values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentDriftWhole(MFGAgentDrift *d, const MFGGrid *grid, MFGExchange exchange,
                                  int begin, int end, MFGDriftFunction drift, void *context) {
  const MFGBlock *b = &grid->block;
  const int fields = (end - begin) * b->dim;

  PetscFunctionBeginUser;
  PetscCall(Reserve(d, fields * MFGBlockOwned(b), fields * MFGBlockCells(b)));
  PetscCall(drift(context, begin, end, d->owned));
  PetscCall(MFGGridGather(grid, fields, d->owned, d->fetched));
  if (b->dim > 1)
    MFGExchangeCountGather(exchange, fields * MFGBlockOwned(b) * (int64_t)sizeof(double));
  PetscCall(Stage(d, fields * MFGBlockCells(b)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentDriftBox(MFGAgentDrift *d, const MFGGrid *grid, MFGExchange exchange,
                                int begin, int end, MFGDriftFunction drift, void *context) {
  const MFGBlock *b = &grid->block, *box = &grid->box;
  const int fields = (end - begin) * b->dim;
  const int64_t owned = MFGBlockOwned(b);
  const MFGExtent rim = MFGBlockWidened(box, (int[3]){1, 1, 1}),
                  from = MFGBlockWidened(b, (int[3]){0});
  const int64_t field = MFGExtentCells(&rim);

  PetscFunctionBeginUser;
  PetscCall(Reserve(d, fields * owned, fields * field));
  PetscCall(drift(context, begin, end, d->owned));
  for (int f = 0; f < fields; f++)
    CopyCells(box, &from, d->owned + f * owned, &rim, d->fetched + f * field);
  const MFGHalo halo = {
      .width = {1, b->dim > 1, b->dim > 2}, .element = sizeof(double), .fields = fields};
  PetscCall(MFGExchangeHalo(exchange, &halo, d->fetched));
  for (int f = 0; f < fields; f++) MirrorDrift(box, &rim, f % b->dim, d->fetched + f * field);
  PetscCall(Stage(d, fields * field));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentDriftDestroy(MFGAgentDrift *d) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(d->fetched));
  PetscCall(PetscFree(d->owned));
  if (d->staged) PetscCall(MFGMemoryFree(d->memory, &d->staged));
  d->fetched_size = d->staged_size = d->owned_size = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}
