/* Matrices of the star stencil: products, their scaled and their transposed form, and vectors on
 * their way into a multigrid cycle and out of it. One thread for each cell. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/star_pass.h"

template <int dim>
static __global__ void ProductKernel(const MFGBlock b, const StarPlaces p, const double *values,
                                     int transpose, const double *x, double *y) {
  MFG_FOR_EACH(i, p.owned) {
    int at[MFG_MAX_DIM];
    StarCell(b, i, at);
    const ptrdiff_t place = StarGhosted<dim>(p, at);
    double sum = values[place] * x[place];
#pragma unroll
    for (int s = 0; s < 2 * dim; s++) {
      const ptrdiff_t there = place + (s % 2 ? p.stride[s / 2] : -p.stride[s / 2]);
      const double *a = values + (1 + (transpose ? s ^ 1 : s)) * p.ghosted;
      sum += a[transpose ? there : place] * x[there];
    }
    y[i] = sum;
  }
}

template <int dim>
static __global__ void ScaleKernel(const MFGStarLevel l, const StarPlaces p, const double *values) {
  MFG_FOR_EACH(i, p.owned) {
    int at[MFG_MAX_DIM];
    StarCell(l.block, i, at);
    const ptrdiff_t place = StarGhosted<dim>(p, at);
    const double diagonal = values[place];
    l.d[i] = (float)diagonal;
#pragma unroll
    for (int s = 0; s < 2 * dim; s++)
      l.c[s][i] = (float)(-values[(1 + s) * p.ghosted + place] / diagonal);
  }
}

/* The first step of a transposition: what the cells have for their neighbours. */
template <int dim>
static __global__ void WeighKernel(const MFGStarLevel l, const StarPlaces p, float *work) {
  MFG_FOR_EACH(i, p.owned) {
    int at[MFG_MAX_DIM];
    StarCell(l.block, i, at);
#pragma unroll
    for (int s = 0; s < 2 * dim; s++) {
      const double wd = (double)l.width[s / 2][at[s / 2]] * l.d[i];
      StarStore<dim>(l.block, p, at, (float)(wd * l.c[s ^ 1][i]), work + s * p.ghosted);
    }
  }
}

/* The second: what they get from them. */
template <int dim>
static __global__ void TransposeKernel(const MFGStarLevel l, const StarPlaces p, const float *work,
                                       const MFGStarLevel transposed) {
  MFG_FOR_EACH(i, p.owned) {
    int at[MFG_MAX_DIM];
    StarCell(l.block, i, at);
    const ptrdiff_t place = StarGhosted<dim>(p, at);
#pragma unroll
    for (int s = 0; s < 2 * dim; s++) {
      const double wd = (double)l.width[s / 2][at[s / 2]] * l.d[i];
      const ptrdiff_t there = place + (s % 2 ? p.stride[s / 2] : -p.stride[s / 2]);
      transposed.c[s][i] = (float)(work[s * p.ghosted + there] / wd);
    }
  }
}

static __global__ void DivideKernel(int64_t n, const float *d, const double *vector, float *b) {
  MFG_FOR_EACH(i, n) b[i] = (float)vector[i] / d[i];
}

template <int dim>
static __global__ void ExtractKernel(const MFGBlock b, const StarPlaces p, const float *x,
                                     double *vector) {
  MFG_FOR_EACH(i, p.owned) {
    int at[MFG_MAX_DIM];
    StarCell(b, i, at);
    vector[i] = x[StarGhosted<dim>(p, at)];
  }
}

/* Starts the kernel of a box's dimension on its cells. */
#define LAUNCH(kernel, box, device, ...)                                                           \
  do {                                                                                             \
    const int64_t cells_ = MFGBlockOwned(box);                                                     \
    if (!cells_) return cudaSuccess;                                                               \
    return MFGLaunch(MFG_KERNEL_OF_DIM(kernel, (box)->dim),                                        \
                     MFGBlocksFor(device, cells_, MFG_THREADS), MFG_THREADS, 0, (device)->stream,  \
                     __VA_ARGS__);                                                                 \
  } while (0)

cudaError_t MFGLaunchStarProduct(const MFGBlock *block, const double *values, int transpose,
                                 const double *x, double *y, const MFGDevice *device) {
  LAUNCH(ProductKernel, block, device, *block, StarPlacesOf(block), values, transpose, x, y);
}

cudaError_t MFGLaunchStarScale(const double *values, const MFGStarLevel *level,
                               const MFGDevice *device) {
  LAUNCH(ScaleKernel, &level->block, device, *level, StarPlacesOf(&level->block), values);
}

cudaError_t MFGLaunchStarTranspose(const MFGStarLevel *level, float *work,
                                   const MFGStarLevel *transposed, const MFGDevice *device) {
  const StarPlaces p = StarPlacesOf(&level->block);
  if (transposed)
    LAUNCH(TransposeKernel, &level->block, device, *level, p, work, *transposed);
  else
    LAUNCH(WeighKernel, &level->block, device, *level, p, work);
}

cudaError_t MFGLaunchStarConvert(const MFGStarLevel *level, double *vector, float *field, int back,
                                 const MFGDevice *device) {
  const StarPlaces p = StarPlacesOf(&level->block);
  if (back) LAUNCH(ExtractKernel, &level->block, device, level->block, p, field, vector);
  if (!p.owned) return cudaSuccess;
  return MFGLaunch(DivideKernel, MFGBlocksFor(device, p.owned, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, p.owned, level->d, vector, field);
}
