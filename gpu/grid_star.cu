/* The passes of the multigrid cycle on one level: one thread for each cell that is written. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/star_pass.h"

template <int dim>
static __global__ void SmoothKernel(const MFGStarLevel l, const StarPlaces p, float weight,
                                    const float *b, const float *x, float *next) {
  MFG_FOR_EACH(i, p.owned) StarSmooth<dim>(l, p, i, weight, b, x, next);
}

template <int dim>
static __global__ void RestrictKernel(const MFGStarLevel l, const StarPlaces p,
                                      const MFGStarTransfer t, const MFGStarLevel coarse,
                                      const float *b, const float *x, float *coarse_b) {
  MFG_FOR_EACH(i, MFGBlockOwned(&coarse.block))
  StarRestrict<dim>(l, p, t, coarse, i, b, x, coarse_b);
}

template <int dim>
static __global__ void CorrectKernel(const MFGBlock b, const StarPlaces p, const MFGStarTransfer t,
                                     const StarPlaces coarse, const float *coarse_x, float *x) {
  MFG_FOR_EACH(i, p.owned) StarCorrect<dim>(b, p, t, coarse, i, coarse_x, x);
}

template <int dim>
static __global__ void CoarsenKernel(const MFGStarLevel l, const MFGStarTransfer t,
                                     const MFGStarLevel coarse) {
  MFG_FOR_EACH(i, MFGBlockOwned(&coarse.block)) {
    int group[MFG_MAX_DIM];
    float c[2 * dim];
    StarCell(coarse.block, i, group);
    float d = StarGather(l.block, t, group, t.share, [&](float weight, const int[], int64_t cell) {
      return weight == 0 ? 0 : weight * l.d[cell] * MFGStarRest(dim, l.c, cell);
    });
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) {
      const int axis = face / 2, kind = 1 + face % 2;
      const float *share[MFG_MAX_DIM];
#pragma unroll
      for (int k = 0; k < MFG_MAX_DIM; k++)
        share[k] = t.share[k] + (k == axis ? kind * l.block.count[k] : 0);
      c[face] =
          StarGather(l.block, t, group, share, [&](float weight, const int at[], int64_t cell) {
            return weight == 0
                       ? 0
                       : weight * (l.d[cell] * l.c[face][cell] - l.diffusion[face][at[axis]]);
          });
      c[face] += coarse.diffusion[face][group[axis]];
      d += c[face];
    }
    coarse.d[i] = d;
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) coarse.c[face][i] = c[face] / d;
  }
}

/* Starts the kernel of a dimension on so many cells. */
#define LAUNCH(kernel, dim, cells, device, ...)                                                    \
  do {                                                                                             \
    const int64_t cells_ = (cells);                                                                \
    if (!cells_) return cudaSuccess;                                                               \
    return MFGLaunch(MFG_KERNEL_OF_DIM(kernel, dim), MFGBlocksFor(device, cells_, MFG_THREADS),    \
                     MFG_THREADS, 0, (device)->stream, __VA_ARGS__);                               \
  } while (0)

cudaError_t MFGLaunchStarSmooth(const MFGStarLevel *level, float weight, const float *b,
                                const float *x, float *next, const MFGDevice *device) {
  const StarPlaces p = StarPlacesOf(&level->block);
  LAUNCH(SmoothKernel, level->block.dim, p.owned, device, *level, p, weight, b, x, next);
}

cudaError_t MFGLaunchStarRestrict(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                  const MFGStarLevel *coarse, const float *b, const float *x,
                                  float *coarse_b, const MFGDevice *device) {
  LAUNCH(RestrictKernel, level->block.dim, MFGBlockOwned(&coarse->block), device, *level,
         StarPlacesOf(&level->block), *transfer, *coarse, b, x, coarse_b);
}

cudaError_t MFGLaunchStarCorrect(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const float *coarse_x, float *x,
                                 const MFGDevice *device) {
  const StarPlaces p = StarPlacesOf(&level->block);
  LAUNCH(CorrectKernel, level->block.dim, p.owned, device, level->block, p, *transfer,
         StarPlacesOf(&coarse->block), coarse_x, x);
}

cudaError_t MFGLaunchStarCoarsen(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const MFGDevice *device) {
  LAUNCH(CoarsenKernel, level->block.dim, MFGBlockOwned(&coarse->block), device, *level, *transfer,
         *coarse);
}
