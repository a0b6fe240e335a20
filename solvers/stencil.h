/* Plain data of one rank's block of the cell-centred grid, shared by host and device.
 *
 * Axis k has cells[k] cells of width spacing[k] from lower[k] to upper[k]; cell i has its centre at
 * lower + (i + 1/2) spacing. Unused axes have one cell. Fields are arrays of double in the order
 * x fastest, then y, then z:
 *   owned field    count[0] count[1] count[2] values, the cells start[k] .. start[k] + count[k] - 1
 *   whole field    cells[0] cells[1] cells[2] values, the same array on every rank
 *   flow           owned fields level after level, [steps + 1][owned cells]
 * Vector fields hold one field per axis: [dim][cells]. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define MFG_HD static inline __host__ __device__
#else
#define MFG_HD static inline
#endif

#define MFG_MAX_DIM 3

typedef enum { MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_NOFLUX } MFGBoundary;

typedef struct {
  int dim;
  int cells[MFG_MAX_DIM];
  int start[MFG_MAX_DIM], count[MFG_MAX_DIM];
  double lower[MFG_MAX_DIM], upper[MFG_MAX_DIM], spacing[MFG_MAX_DIM];
  MFGBoundary boundary[MFG_MAX_DIM][2]; /* low and high face; periodic faces come in pairs */
} MFGBlock;

MFG_HD double MFGCellCenter(const MFGBlock *b, int axis, int i) {
  return b->lower[axis] + (i + 0.5) * b->spacing[axis];
}

MFG_HD int64_t MFGBlockCells(const MFGBlock *b) {
  return (int64_t)b->cells[0] * b->cells[1] * b->cells[2];
}

MFG_HD int64_t MFGBlockOwned(const MFGBlock *b) {
  return (int64_t)b->count[0] * b->count[1] * b->count[2];
}

MFG_HD double MFGCellVolume(const MFGBlock *b) {
  double v = 1;
  for (int k = 0; k < b->dim; k++) v *= b->spacing[k];
  return v;
}
