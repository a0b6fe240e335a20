/* Fields with ghosts: one thread for each cell, which writes the cell and the ghosts that are
 * copies of it. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

typedef struct {
  MFGBlock block;
  ptrdiff_t stride[MFG_MAX_DIM], first;
  int64_t owned, ghosted;
  int mirror;
} Ghosts;

template <int dim>
static __global__ void GhostsKernel(const Ghosts g, int fields, const double *owned,
                                    double *ghosted) {
  MFG_FOR_EACH(i, fields * g.owned) {
    const int64_t field = i / g.owned;
    int64_t cell = i % g.owned, place = field * g.ghosted + g.first;
    int at[dim];
#pragma unroll
    for (int k = 0; k < dim; k++) {
      at[k] = (int)(cell % g.block.count[k]);
      cell /= g.block.count[k];
      place += at[k] * g.stride[k];
    }
    const double value = owned[i];
    ghosted[place] = value;
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) {
      const int k = face / 2, side = face % 2, count = g.block.count[k];
      const int last = side ? count - 1 : 0; /* beside the face */
      if (at[k] != last) continue;
      if (g.block.boundary[k][side] == MFG_BOUNDARY_PERIODIC) {
        if (count == g.block.cells[k])
          ghosted[place + (side ? -count : count) * g.stride[k]] = value;
      } else if (g.mirror && g.block.start[k] + at[k] == (side ? g.block.cells[k] - 1 : 0)) {
        ghosted[place + (side ? 1 : -1) * g.stride[k]] = value;
      }
    }
  }
}

cudaError_t MFGLaunchGhosts(const MFGBlock *block, int fields, int mirror, const double *owned,
                            double *ghosted, const MFGDevice *device) {
  Ghosts g = {*block, {0, 0, 0}, 0, MFGBlockOwned(block), MFGGhostedCells(block), mirror};
  g.first = MFGGhostedStrides(block, g.stride);
  if (!fields || !g.owned) return cudaSuccess;
  return MFGLaunch(MFG_KERNEL_OF_DIM(GhostsKernel, block->dim),
                   MFGBlocksFor(device, fields * g.owned, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, g, fields, owned, ghosted);
}
