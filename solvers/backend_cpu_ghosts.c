#include "solvers/backend_cpu.h"

/* Ghosts of one axis of a field from the cells beside or opposite. The star stencil reads none
 * beyond two faces: only those of the owned cells are set. */
static void FillAxis(const MFGBlock *b, int axis, int mirror, double *g) {
  const int whole = b->count[axis] == b->cells[axis];
  const int p = axis == 0, q = axis == 2 ? 1 : 2; /* the axes along the faces */
  ptrdiff_t stride[MFG_MAX_DIM];

  g += MFGGhostedStrides(b, stride);
  for (int side = 0; side < 2; side++) {
    const int last = b->count[axis] - 1, beside = side ? last : 0;
    const int periodic = b->boundary[axis][side] == MFG_BOUNDARY_PERIODIC;
    const int at_wall = b->start[axis] + beside == (side ? b->cells[axis] - 1 : 0);
    if (periodic ? !whole : !(mirror && at_wall)) continue;
    double *to = g + (beside + (side ? 1 : -1)) * stride[axis];
    const double *from = g + (periodic ? last - beside : beside) * stride[axis];
    for (int j = 0; j < b->count[q]; j++)
      for (int i = 0; i < b->count[p]; i++) {
        const ptrdiff_t at = i * stride[p] + j * stride[q];
        to[at] = from[at];
      }
  }
}

PetscErrorCode MFGGhosts_CPU(const MFGBlock *b, int fields, int mirror, const double *owned,
                             double *ghosted) {
  ptrdiff_t stride[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  const ptrdiff_t first = MFGGhostedStrides(b, stride);
  for (int f = 0; f < fields; f++, ghosted += MFGGhostedCells(b)) {
    for (int k = 0; k < b->count[2]; k++)
      for (int j = 0; j < b->count[1]; j++, owned += b->count[0])
        memcpy(ghosted + first + j * stride[1] + k * stride[2], owned, b->count[0] * sizeof *owned);
    for (int axis = 0; axis < b->dim; axis++) FillAxis(b, axis, mirror, ghosted);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
