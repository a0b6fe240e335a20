/* A matrix of the star stencil (MFGStarLevel) at one cell. Loops of the CPU and threads of a device
 * add in this order. x is ghosted, `place` the cell there, `stride` the neighbours' distances. */
#pragma once

#include "solvers/stencil.h"

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
