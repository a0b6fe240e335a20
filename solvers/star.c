#include "solvers/star.h"

struct MFGStarGhosts_ {
  const MFGGrid *grid; /* borrowed */
  Vec local;           /* owned; 2D, 3D */
  double *line;        /* owned; 1D */
};

/* Strides of a box with one ghost cell around its `dim` axes. */
static void GhostStrides(const MFGBlock *b, ptrdiff_t stride[MFG_MAX_DIM]) {
  stride[0] = 1;
  for (int k = 1; k < MFG_MAX_DIM; k++) stride[k] = stride[k - 1] * (b->count[k - 1] + 2);
}

/* Walls: the ghost is a copy of the cell beside it. `g` is the box with one ghost cell around. The
 * star stencil reads no ghost beside two walls: only the faces of the owned cells are set. */
static void MirrorWalls(const MFGBlock *b, double *g) {
  ptrdiff_t stride[MFG_MAX_DIM];

  GhostStrides(b, stride);
  for (int k = 0; k < b->dim; k++) g += stride[k];
  for (int axis = 0; axis < b->dim; axis++)
    for (int side = 0; side < 2; side++) {
      const int wall = side ? b->cells[axis] - 1 : 0, at = wall - b->start[axis];
      const int p = axis == 0, q = axis == 2 ? 1 : 2; /* the axes along the wall */
      if (b->boundary[axis][side] != MFG_BOUNDARY_NOFLUX || at < 0 || at >= b->count[axis])
        continue;
      const ptrdiff_t out = side ? stride[axis] : -stride[axis];
      for (int j = 0; j < b->count[q]; j++) {
        double *cell = g + at * stride[axis] + j * stride[q];
        for (int i = 0; i < b->count[p]; i++, cell += stride[p]) cell[out] = *cell;
      }
    }
}

PetscErrorCode MFGStarGhostsCreate(const MFGGrid *grid, MFGStarGhosts *out) {
  MFGStarGhosts ghosts;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&ghosts));
  ghosts->grid = grid;
  if (grid->block.dim == 1)
    PetscCall(PetscMalloc1(grid->block.count[0] + 2, &ghosts->line));
  else
    PetscCall(DMCreateLocalVector(grid->da, &ghosts->local));
  *out = ghosts;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsDestroy(MFGStarGhosts *ghosts) {
  PetscFunctionBeginUser;
  if (!ghosts || !*ghosts) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(VecDestroy(&(*ghosts)->local));
  PetscCall(PetscFree((*ghosts)->line));
  PetscCall(PetscFree(*ghosts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* In 1D the whole grid is here and PETSc's scatter would cost more than the kernel. */
PetscErrorCode MFGStarGhostsFill(MFGStarGhosts ghosts, Vec u, const double **ghosted) {
  const MFGBlock *b = &ghosts->grid->block;
  double *g = ghosts->line;

  PetscFunctionBeginUser;
  if (b->dim == 1) {
    const double *owned;
    PetscCall(VecGetArrayRead(u, &owned));
    memcpy(g + 1, owned, b->count[0] * sizeof *g);
    g[0] = owned[b->count[0] - 1];
    g[b->count[0] + 1] = owned[0];
    PetscCall(VecRestoreArrayRead(u, &owned));
  } else {
    PetscCall(DMGlobalToLocalBegin(ghosts->grid->da, u, INSERT_VALUES, ghosts->local));
    PetscCall(DMGlobalToLocalEnd(ghosts->grid->da, u, INSERT_VALUES, ghosts->local));
    PetscCall(VecGetArray(ghosts->local, &g));
  }
  MirrorWalls(b, g);
  *ghosted = g;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarGhostsRestore(MFGStarGhosts ghosts, const double **ghosted) {
  PetscFunctionBeginUser;
  if (ghosts->grid->block.dim > 1) {
    double *g = (double *)*ghosted;
    PetscCall(VecRestoreArray(ghosts->local, &g));
  }
  *ghosted = NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The pattern: rows of owned cells in the order of the kernel's values. A neighbour beyond a wall
 * has no column: the mapping gives -1 and PETSc drops the entry. */
PetscErrorCode MFGStarMatrixCreate(const MFGGrid *grid, const char *prefix, Mat *matrix) {
  const MFGBlock *b = &grid->block;
  const PetscInt owned = (PetscInt)MFGBlockOwned(b), width = 2 * b->dim + 1;
  ptrdiff_t stride[MFG_MAX_DIM];
  ISLocalToGlobalMapping mapping;
  const PetscInt *global;
  PetscInt *i, *j, at = 0;

  PetscFunctionBeginUser;
  PetscCall(DMGetLocalToGlobalMapping(grid->da, &mapping));
  PetscCall(ISLocalToGlobalMappingGetIndices(mapping, &global));
  PetscCall(PetscMalloc2(owned * width, &i, owned * width, &j));
  GhostStrides(b, stride);
  for (int z = 0; z < b->count[2]; z++)
    for (int y = 0; y < b->count[1]; y++)
      for (int x = 0; x < b->count[0]; x++) {
        const int cell[] = {x, y, z};
        ptrdiff_t center = 0;
        for (int k = 0; k < b->dim; k++) center += (cell[k] + 1) * stride[k];
        for (PetscInt k = 0; k < width; k++, at++) {
          const ptrdiff_t step = k ? stride[(k - 1) / 2] : 0;
          i[at] = global[center];
          j[at] = global[k % 2 ? center - step : center + step];
        }
      }
  PetscCall(ISLocalToGlobalMappingRestoreIndices(mapping, &global));
  PetscCall(MatCreate(grid->comm, matrix));
  PetscCall(MatSetSizes(*matrix, owned, owned, PETSC_DETERMINE, PETSC_DETERMINE));
  PetscCall(MatSetOptionsPrefix(*matrix, prefix));
  PetscCall(MatSetType(*matrix, MATAIJ));
  PetscCall(MatSetFromOptions(*matrix));
  PetscCall(MatSetPreallocationCOO(*matrix, at, i, j));
  PetscCall(PetscFree2(i, j));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarMatrixSetValues(Mat matrix, const double *values) {
  PetscFunctionBeginUser;
  PetscCall(MatSetValuesCOO(matrix, values, INSERT_VALUES));
  PetscFunctionReturn(PETSC_SUCCESS);
}
