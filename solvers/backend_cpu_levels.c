#include "solvers/backend_cpu.h"

#include "solvers/star_point.h"

static int HasWholeCircle(const MFGBlock *b, int axis) {
  return b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC && b->count[axis] == b->cells[axis];
}

void MFGStarWrap_CPU(const MFGBlock *b, float *x) {
  const size_t row = b->count[0] + 2, rows = b->dim > 1 ? b->count[1] + 2 : 1;
  const size_t planes = b->dim > 2 ? b->count[2] + 2 : 1, plane = row * rows;

  for (size_t j = 0; j < rows * planes && HasWholeCircle(b, 0); j++) {
    x[j * row] = x[j * row + b->count[0]];
    x[j * row + row - 1] = x[j * row + 1];
  }
  for (size_t k = 0; k < planes && b->dim > 1 && HasWholeCircle(b, 1); k++) {
    float *p = x + k * plane;
    memcpy(p, p + b->count[1] * row, row * sizeof *p);
    memcpy(p + (rows - 1) * row, p + row, row * sizeof *p);
  }
  if (b->dim < 3 || !HasWholeCircle(b, 2)) return;
  memcpy(x, x + b->count[2] * plane, plane * sizeof *x);
  memcpy(x + (planes - 1) * plane, x + plane, plane * sizeof *x);
}

/* Where line (j, k) of a ghosted array starts, from its first cell. */
static ptrdiff_t Line(const MFGBlock *b, int j, int k, ptrdiff_t stride[MFG_MAX_DIM]) {
  const ptrdiff_t first = MFGGhostedStrides(b, stride);
  return first + j * stride[1] + k * stride[2];
}

/* The width of the cells of a line's neighbours along `axis`, the same as its own along others. */
static double WidthAt(const MFGStarLevel *level, int axis, int i, int j, int k) {
  const int at[] = {i, j, k};
  return level->width[axis][at[axis]];
}

static void WeighLine(const MFGStarLevel *level, int s, int j, int k, float *work,
                      const MFGStarLevel *transposed) {
  const MFGBlock *b = &level->block;
  ptrdiff_t stride[MFG_MAX_DIM];
  const ptrdiff_t line = Line(b, j, k, stride), way = s % 2 ? stride[s / 2] : -stride[s / 2];
  const ptrdiff_t at = ((ptrdiff_t)k * b->count[1] + j) * b->count[0];

  for (int i = 0; i < b->count[0]; i++) {
    const double wd = WidthAt(level, s / 2, i, j, k) * level->d[at + i];
    if (transposed)
      transposed->c[s][at + i] = (float)(work[line + way + i] / wd);
    else
      work[line + i] = (float)(wd * level->c[s ^ 1][at + i]);
  }
}

PetscErrorCode MFGStarTranspose_CPU(const MFGStarLevel *level, float *work,
                                    const MFGStarLevel *transposed) {
  const MFGBlock *b = &level->block;

  PetscFunctionBeginUser;
  for (int s = 0; s < 2 * b->dim; s++, work += MFGGhostedCells(b)) {
    for (int k = 0; k < b->count[2]; k++)
      for (int j = 0; j < b->count[1]; j++) WeighLine(level, s, j, k, work, transposed);
    if (!transposed) MFGStarWrap_CPU(b, work);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStarInvert_CPU(const MFGStarLevel *level, double *inverse) {
  const int n = (int)MFGBlockCells(&level->block);
  double matrix[MFG_STAR_DIRECT_CELLS * MFG_STAR_DIRECT_CELLS];

  PetscFunctionBeginUser;
  for (int i = 0; i < n; i++) {
    MFGStarDenseRow(level, i, matrix + i * n);
    for (int j = 0; j < n; j++) inverse[i * n + j] = i == j;
  }
  for (int p = 0; p < n; p++) {
    const double pivot = 1 / matrix[p * n + p];
    for (int j = 0; j < n; j++) matrix[p * n + j] *= pivot;
    for (int j = 0; j < n; j++) inverse[p * n + j] *= pivot;
    for (int i = 0; i < n; i++) {
      const double factor = matrix[i * n + p];
      if (i == p || factor == 0) continue;
      for (int j = p; j < n; j++) matrix[i * n + j] -= factor * matrix[p * n + j];
      for (int j = 0; j < n; j++) inverse[i * n + j] -= factor * inverse[p * n + j];
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The solution x = A^{-1} d b: finish_cells is 0, so that there is one level only. */
PetscErrorCode MFGStarFinish_CPU(const MFGStarFinish *job) {
  const MFGStarStage *last = &job->stage[0];
  const MFGBlock *b = &last->level.block;
  const int n = (int)MFGBlockCells(b);
  ptrdiff_t stride[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  PetscCheck(job->count == 1, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "%d levels in one go: the CPU takes one", job->count);
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int j = 0; j < n; j++)
      sum += job->inverse[i * n + j] * ((double)last->level.d[j] * last->b[j]);
    const int x = i % b->count[0], y = i / b->count[0] % b->count[1];
    const ptrdiff_t line = Line(b, y, i / b->count[0] / b->count[1], stride);
    last->x[line + x] = (float)sum;
  }
  MFGStarWrap_CPU(b, last->x);
  PetscFunctionReturn(PETSC_SUCCESS);
}
