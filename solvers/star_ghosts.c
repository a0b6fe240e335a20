#include "solvers/star_parts.h"

struct MFGStarGhosts_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGExchange exchange;      /* owned; NULL where the box is the whole grid */
  double *ghosted;           /* owned, in the backend's memory */
};

PetscErrorCode MFGStarGhostsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   MFGStarGhosts *out) {
  const MFGBlock *b = &grid->block, whole = MFGGridWhole(grid);
  const int64_t cells = MFGGhostedCells(b);
  MFGStarGhosts ghosts;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&ghosts));
  ghosts->grid = grid;
  ghosts->backend = backend;
  if (MFGBlockOwned(b) < MFGBlockCells(b))
    PetscCall(MFGExchangeCreate(grid->comm, backend->carrier, &whole, grid->divisions,
                                &ghosts->exchange));
  PetscCall(MFGMemoryAllocate(backend->memory, cells, sizeof(double), &ghosts->ghosted));
  PetscCall(MFGMemoryZero(backend->memory, cells, sizeof(double), ghosts->ghosted));
  *out = ghosts;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsDestroy(MFGStarGhosts *ghosts) {
  PetscFunctionBeginUser;
  if (!ghosts || !*ghosts) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGExchangeDestroy(&(*ghosts)->exchange));
  PetscCall(MFGMemoryFree((*ghosts)->backend->memory, &(*ghosts)->ghosted));
  PetscCall(PetscFree(*ghosts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsExchange(MFGStarGhosts ghosts, int fields, double *ghosted) {
  const int dim = ghosts->grid->block.dim;
  const MFGHalo halo = {
      .width = {1, dim > 1, dim > 2}, .element = sizeof *ghosted, .fields = fields};

  PetscFunctionBeginUser;
  if (ghosts->exchange) PetscCall(MFGExchangeHalo(ghosts->exchange, &halo, ghosted));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsFill(MFGStarGhosts ghosts, const double *u, const double **ghosted) {
  const MFGBlock *b = &ghosts->grid->block;

  PetscFunctionBeginUser;
  PetscCall(ghosts->backend->grid->ghosts(b, 1, 1, u, ghosts->ghosted));
  PetscCall(MFGStarGhostsExchange(ghosts, 1, ghosts->ghosted));
  *ghosted = ghosts->ghosted;
  PetscFunctionReturn(PETSC_SUCCESS);
}
