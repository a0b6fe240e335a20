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

/* Box `rank` of a whole grid divided into boxes, x fastest: the first cells mod d boxes of an axis
 * hold one cell more. */
MFG_HD MFGBlock MFGBoxOfRank(const MFGBlock *whole, const int divisions[], int rank) {
  MFGBlock box = *whole;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int at = rank % divisions[k], cells = whole->cells[k];
    const int share = cells / divisions[k], more = cells % divisions[k];
    box.start[k] = at * share + (at < more ? at : more);
    box.count[k] = share + (at < more);
    rank /= divisions[k];
  }
  return box;
}

/* A box of cells that an array covers: axis k from start[k], count[k] cells, x fastest. It may
 * reach beyond the grid; there, and only on periodic axes, cell i stands for i modulo cells. */
typedef struct {
  int start[MFG_MAX_DIM], count[MFG_MAX_DIM];
} MFGExtent;

MFG_HD double MFGCellCenter(const MFGBlock *b, int axis, int i) {
  return b->lower[axis] + (i + 0.5) * b->spacing[axis];
}

/* Which of the `boxes` that divide an axis holds a cell: the first cells mod boxes of them have one
 * cell more. */
MFG_HD int MFGBoxOfCell(int cells, int boxes, int cell) {
  const int q = cells / boxes, longer = cells % boxes * (q + 1);
  return cell < longer ? cell / (q + 1) : cells % boxes + (cell - longer) / q;
}

MFG_HD int64_t MFGBlockCells(const MFGBlock *b) {
  return (int64_t)b->cells[0] * b->cells[1] * b->cells[2];
}

MFG_HD int64_t MFGBlockOwned(const MFGBlock *b) {
  return (int64_t)b->count[0] * b->count[1] * b->count[2];
}

MFG_HD int64_t MFGExtentCells(const MFGExtent *e) {
  return (int64_t)e->count[0] * e->count[1] * e->count[2];
}

/* The cells of a block with `width` more on each side of the axes; unused axes have one cell. */
MFG_HD MFGExtent MFGBlockWidened(const MFGBlock *b, const int width[]) {
  MFGExtent e;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int w = k < b->dim ? width[k] : 0;
    e.start[k] = b->start[k] - w;
    e.count[k] = b->count[k] + 2 * w;
  }
  return e;
}

/* Cells of a ghosted array: a block with one cell more on each side of the used axes. */
MFG_HD int64_t MFGGhostedCells(const MFGBlock *b) {
  int64_t n = 1;
  for (int k = 0; k < b->dim; k++) n *= b->count[k] + 2;
  return n;
}

/* Distances of neighbours in it; returns the place of the block's first cell. */
MFG_HD ptrdiff_t MFGGhostedStrides(const MFGBlock *b, ptrdiff_t stride[MFG_MAX_DIM]) {
  ptrdiff_t first = 1;
  stride[0] = 1;
  for (int k = 1; k < MFG_MAX_DIM; k++) {
    stride[k] = stride[k - 1] * (b->count[k - 1] + 2);
    if (k < b->dim) first += stride[k];
  }
  return first;
}

MFG_HD double MFGCellVolume(const MFGBlock *b) {
  double v = 1;
  for (int k = 0; k < b->dim; k++) v *= b->spacing[k];
  return v;
}
