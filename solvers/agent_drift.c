#include "solvers/agent_drift.h"

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

/* Owned fields into whole ones that are 0 elsewhere, in a memory that is not the host's. */
static PetscErrorCode Scatter(const MFGAgentDrift *d, const MFGGrid *grid, int fields) {
  const MFGBlock *b = &grid->block;
  MFGSlab slab = {.element = sizeof(double), .fields = fields};

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    slab.size[k] = b->cells[k];
    slab.begin[k] = b->start[k];
    slab.count[k] = b->count[k];
  }
  PetscCall(
      MFGMemoryZero(d->backend->memory, fields * MFGBlockCells(b), sizeof(double), d->fetched));
  PetscCall(
      d->backend->carrier->transit->copy_slabs(1, &slab, d->fetched, (void *[]){d->owned}, 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Owned fields into those with a rim. */
static PetscErrorCode CopyInside(const MFGAgentDrift *d, const MFGGrid *grid, const MFGExtent *rim,
                                 int fields) {
  const MFGBlock *b = &grid->block, *box = &grid->box;
  const MFGExtent from = MFGBlockWidened(b, (int[3]){0});
  MFGSlab slab = {.element = sizeof(double), .fields = fields};

  PetscFunctionBeginUser;
  if (!d->there) { /* in 1D the box is a part of the owned cells */
    for (int f = 0; f < fields; f++)
      CopyCells(box, &from, d->owned + f * MFGExtentCells(&from), rim,
                d->fetched + f * MFGExtentCells(rim));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    slab.size[k] = rim->count[k];
    slab.begin[k] = box->start[k] - rim->start[k];
    slab.count[k] = box->count[k];
  }
  PetscCall(
      d->backend->carrier->transit->copy_slabs(1, &slab, d->fetched, (void *[]){d->owned}, 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static const MFGBackend *Worker(const MFGAgentDrift *d) {
  return d->there ? d->backend : MFGBackendOnHost(d->backend);
}

static PetscErrorCode Reserve(MFGAgentDrift *d, int64_t owned, int64_t fetched) {
  const MFGMemoryOps *memory = Worker(d)->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryReserve(memory, owned, sizeof(double), &d->owned_size, &d->owned));
  PetscCall(MFGMemoryReserve(memory, fetched, sizeof(double), &d->fetched_size, &d->fetched));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Stage(MFGAgentDrift *d, int64_t count) {
  PetscFunctionBeginUser;
  d->values = d->fetched;
  if (!d->there)
    PetscCall(MFGMemoryStage(d->backend->memory, count, sizeof(double), d->fetched, &d->staged_size,
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
  if (d->there) {
    PetscCall(Scatter(d, grid, fields));
    if (MFGBlockOwned(b) < MFGBlockCells(b))
      PetscCall(MFGExchangeSum(exchange, fields * MFGBlockCells(b), (int64_t *)d->fetched));
  } else {
    PetscCall(MFGGridGather(grid, fields, d->owned, d->fetched));
    if (b->dim > 1)
      MFGExchangeCountGather(exchange, fields * MFGBlockOwned(b) * (int64_t)sizeof(double));
  }
  PetscCall(Stage(d, fields * MFGBlockCells(b)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentDriftBox(MFGAgentDrift *d, const MFGGrid *grid, MFGExchange exchange,
                                int begin, int end, MFGDriftFunction drift, void *context) {
  const MFGBlock *b = &grid->block;
  const int fields = (end - begin) * b->dim;
  const MFGExtent rim = MFGBlockWidened(&grid->box, (int[3]){1, 1, 1});
  const MFGHalo halo = {
      .width = {1, b->dim > 1, b->dim > 2}, .element = sizeof(double), .fields = fields};

  PetscFunctionBeginUser;
  PetscCall(Reserve(d, fields * MFGBlockOwned(b), fields * MFGExtentCells(&rim)));
  PetscCall(drift(context, begin, end, d->owned));
  PetscCall(CopyInside(d, grid, &rim, fields));
  PetscCall(MFGExchangeHalo(exchange, &halo, d->fetched));
  PetscCall(Worker(d)->grid->mirror_drift(&grid->box, end - begin, d->fetched));
  PetscCall(Stage(d, fields * MFGExtentCells(&rim)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentDriftDestroy(MFGAgentDrift *d) {
  const MFGMemoryOps *memory = Worker(d)->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryFree(memory, &d->fetched));
  PetscCall(MFGMemoryFree(memory, &d->owned));
  PetscCall(MFGMemoryFree(d->backend->memory, &d->staged));
  d->fetched_size = d->staged_size = d->owned_size = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}
