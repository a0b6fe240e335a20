#include "solvers/smoothing.h"

#include "solvers/kde_point.h"

/* Where the kernel ends, in bandwidths: exp(-18) = 1.5e-8. */
#define REACH 6

/* out = K in along one axis of a whole field; weight[2 reach + 1]. */
static void SmoothAxis(const MFGBlock *b, int axis, int reach, const double *weight,
                       const double *in, double *out) {
  const int periodic = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC, cells = b->cells[axis];
  const int64_t total = MFGBlockCells(b);
  int64_t stride = 1;
  for (int k = 0; k < axis; k++) stride *= b->cells[k];
  for (int64_t line = 0; line < total; line += stride * cells)
    for (int c = 0; c < cells; c++) {
      double *to = out + line + c * stride;
      for (int64_t i = 0; i < stride; i++) to[i] = 0;
      for (int s = -reach; s <= reach; s++) {
        int mirrored;
        const double *from = in + line + MFGImageCell(cells, periodic, c + s, &mirrored) * stride;
        for (int64_t i = 0; i < stride; i++) to[i] += weight[reach + s] * from[i];
      }
    }
}

PetscErrorCode MFGSmooth(const MFGGrid *grid, const double *bandwidth, double *field) {
  const MFGBlock *b = &grid->block;
  const int64_t total = MFGBlockCells(b);
  double *in, *out;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc2(total, &in, total, &out));
  PetscCall(MFGGridGather(grid, 1, field, in));
  for (int axis = 0; axis < b->dim; axis++) {
    const double step = b->spacing[axis] / bandwidth[axis];
    const int reach = (int)ceil(REACH / step);
    double *weight;
    PetscCall(PetscMalloc1(2 * reach + 1, &weight));
    for (int s = -reach; s <= reach; s++)
      weight[reach + s] = step / sqrt(2 * PETSC_PI) * exp(-(s * step) * (s * step) / 2);
    SmoothAxis(b, axis, reach, weight, in, out);
    PetscCall(PetscFree(weight));
    PetscCall(PetscArraycpy(in, out, total));
  }
  PetscCall(MFGGridRestrict(grid, 1, in, field));
  PetscCall(PetscFree2(in, out));
  PetscFunctionReturn(PETSC_SUCCESS);
}
