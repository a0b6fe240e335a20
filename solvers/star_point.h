/* Matrices of the star stencil and the passes of a multigrid cycle: plain data, and what is done at
 * one cell. Loops of the CPU and threads of a device add in this order. x is ghosted, `place` the
 * cell there, `stride` the neighbours' distances. */
#pragma once

#include "solvers/stencil.h"

/* A matrix of the star stencil, scaled by its diagonal d and in single precision, on one box:
 *   (A x)_i = d_i (x_i - sum_s c_s,i x_s)       s: the low and the high neighbour per axis
 * Fields are [owned]; those called ghosted have one cell more on each side of the used axes. */
typedef struct {
  MFGBlock block;            /* cells and box of the level; its cells need not be equal */
  float *c[2 * MFG_MAX_DIM]; /* low, high per axis; 0 across a wall */
  float *d;
  const float *diffusion[2 * MFG_MAX_DIM]; /* [count] of the axis: that part of d c */
  const float *width[MFG_MAX_DIM];         /* [count]: of the cells, 1 on the finest level */
} MFGStarLevel;

/* How the cells of a box are grouped to coarse cells. Along an axis with factor 2 the groups are
 * pairs, the last one a single cell where the count is odd; with factor 1 single cells. */
typedef struct {
  int factor[MFG_MAX_DIM];
  /* [3][count]: the cell's share of its group's volume; the same for the first cell of each group
   * and 0 else; for the last one */
  const float *share[MFG_MAX_DIM];
  /* [2][count]: weight of the coarse neighbour below and above the cell's group when a coarse field
   * is interpolated linearly to the cell's centre; the rest is the group's own */
  const float *slope[MFG_MAX_DIM];
  float *row; /* work, [count[0] + 2] */
} MFGStarTransfer;

/* A level of a cycle. */
typedef struct {
  MFGStarLevel level;
  MFGStarTransfer transfer; /* to the next level */
  float *b;                 /* right side over d, [owned] */
  float *x, *y;             /* iterates, ghosted; beyond walls 0 */
} MFGStarStage;

/* The last level has at most so many cells; so many levels at most are done in one go. */
#define MFG_STAR_DIRECT_CELLS 32
#define MFG_STAR_FINISH_LEVELS 16

/* The last levels of a cycle, each whole in one box. */
typedef struct {
  const MFGStarStage *stage; /* [count]; the array too lies in the backend's memory */
  int count, pairs, dim;
  float weight[2];       /* of the sweeps of a pair */
  const double *inverse; /* of the last level's matrix, [cells][cells] */
} MFGStarFinish;

/* The neighbour of cell i of an axis on one side in a box that has the whole axis: wrapped; -1 for
 * none. */
MFG_HD int MFGStarNeighbourCell(const MFGBlock *b, int axis, int i, int side) {
  const int n = b->cells[axis], j = side ? i + 1 : i - 1;
  if (n == 1) return -1;
  if (j >= 0 && j < n) return j;
  return b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC ? (j + n) % n : -1;
}

/* gcc leaves calls of these in the loops of 3D, which then do not vectorise. */
#define MFG_STAR_INLINE MFG_HD __attribute__((always_inline))

/* sum_s c_s x_s at a cell; c[s][at]: its coefficients. */
MFG_STAR_INLINE float MFGStarNeighbours(int dim, const float *const c[], ptrdiff_t at,
                                        const float *x, ptrdiff_t place, const ptrdiff_t stride[]) {
  float sum = c[0][at] * x[place - 1] + c[1][at] * x[place + 1];
  if (dim > 1) sum += c[2][at] * x[place - stride[1]] + c[3][at] * x[place + stride[1]];
  if (dim > 2) sum += c[4][at] * x[place - stride[2]] + c[5][at] * x[place + stride[2]];
  return sum;
}

/* b - D^{-1} A x at a cell, b over d: what Jacobi adds to x. */
MFG_STAR_INLINE float MFGStarDefect(int dim, const float *const c[], ptrdiff_t at, float b,
                                    const float *x, ptrdiff_t place, const ptrdiff_t stride[]) {
  return b - x[place] + MFGStarNeighbours(dim, c, at, x, place, stride);
}

/* Row sum over d. */
MFG_HD float MFGStarRest(int dim, const float *const c[], ptrdiff_t at) {
  float rest = 1 - (c[0][at] + c[1][at]);
  if (dim > 1) rest -= c[2][at] + c[3][at];
  if (dim > 2) rest -= c[4][at] + c[5][at];
  return rest;
}

/* Linear interpolation from the cell's group, of value own, towards its neighbour. */
MFG_HD float MFGStarInterpolate(float own, float neighbour, float slope) {
  return own + slope * (neighbour - own);
}

/* Across the wall at `face` the neighbour is the cell itself: what coefficient c[face] says moves
 * to the diagonal d, and the row is scaled anew. */
MFG_HD void MFGStarFold(int dim, int face, float c[], float *d) {
  const float rest = 1 - c[face];
  c[face] = 0;
  for (int s = 0; s < 2 * dim; s++) c[s] /= rest;
  *d *= rest;
}

/* Row i of the matrix of a level that is whole in the box, row[cells]. */
MFG_HD void MFGStarDenseRow(const MFGStarLevel *level, int i, double *row) {
  const MFGBlock *b = &level->block;
  const int n = (int)MFGBlockCells(b);
  int left = i, stride = 1;
  for (int j = 0; j < n; j++) row[j] = 0;
  for (int k = 0; k < b->dim; stride *= b->cells[k++]) {
    const int at = left % b->cells[k];
    left /= b->cells[k];
    for (int side = 0; side < 2; side++) {
      const int j = MFGStarNeighbourCell(b, k, at, side);
      if (j >= 0) row[i + (j - at) * stride] -= (double)level->d[i] * level->c[2 * k + side][i];
    }
  }
  row[i] += level->d[i];
}
