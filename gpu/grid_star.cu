/* The passes of the multigrid cycle: one thread for each cell of the level that is written. Sums
 * over a group of fine cells go in the order of the CPU: along x last. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"
#include "solvers/star_point.h"

/* A level's cells and where they are in arrays with ghosts. */
typedef struct {
  MFGStarLevel level;
  ptrdiff_t stride[MFG_MAX_DIM];
  int64_t cells;
} Level;

static Level LevelOf(const MFGStarLevel *level) {
  Level l = {*level, {1, 0, 0}, MFGBlockOwned(&level->block)};
  for (int k = 1; k < level->block.dim; k++)
    l.stride[k] = l.stride[k - 1] * (level->block.count[k - 1] + 2);
  return l;
}

static __device__ int64_t Owned(const Level &l, const int at[]) {
  return ((int64_t)at[2] * l.level.block.count[1] + at[1]) * l.level.block.count[0] + at[0];
}

template <int dim> static __device__ ptrdiff_t Ghosted(const Level &l, const int at[]) {
  ptrdiff_t place = 0;
#pragma unroll
  for (int k = 0; k < dim; k++) place += (at[k] + 1) * l.stride[k];
  return place;
}

static __device__ void CellOf(const Level &l, int64_t cell, int at[]) {
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    at[k] = (int)(cell % l.level.block.count[k]);
    cell /= l.level.block.count[k];
  }
}

template <int dim>
static __global__ void SmoothKernel(const Level l, float weight, const float *b, const float *x,
                                    float *next) {
  MFG_FOR_EACH(i, l.cells) {
    int at[MFG_MAX_DIM];
    CellOf(l, i, at);
    const ptrdiff_t place = Ghosted<dim>(l, at);
    next[place] = x ? x[place] + weight * MFGStarDefect(dim, l.level.c, i, b[i], x, place, l.stride)
                    : weight * b[i];
  }
}

/* The cells of a group along an axis. */
static __device__ void Group(const Level &l, const MFGStarTransfer &t, const int group[],
                             int begin[], int end[]) {
#pragma unroll
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int n = l.level.block.count[k];
    begin[k] = t.factor[k] * group[k];
    end[k] = begin[k] + t.factor[k] < n ? begin[k] + t.factor[k] : n;
  }
}

/* sum over the group's cells of share_x sum over y, z of weight * value: `share[k]` are the shares
 * along the axes, value(at, cell) is that of a cell times d. Rows with weight 0 may be left out. */
template <typename Value>
static __device__ float Gather(const Level &l, const MFGStarTransfer &t, const int group[],
                               const float *const share[], const Value value) {
  int begin[MFG_MAX_DIM], end[MFG_MAX_DIM], at[MFG_MAX_DIM];
  float sum = 0;
  Group(l, t, group, begin, end);
  for (at[0] = begin[0]; at[0] < end[0]; at[0]++) {
    float across = 0;
    for (at[2] = begin[2]; at[2] < end[2]; at[2]++)
      for (at[1] = begin[1]; at[1] < end[1]; at[1]++) {
        const float weight = share[1][at[1]] * share[2][at[2]];
        across += value(weight, at, Owned(l, at));
      }
    const float part = share[0][at[0]] * across;
    sum = at[0] == begin[0] ? part : sum + part;
  }
  return sum;
}

template <int dim>
static __global__ void RestrictKernel(const Level l, const MFGStarTransfer t, const Level coarse,
                                      const float *b, const float *x, float *coarse_b) {
  MFG_FOR_EACH(i, coarse.cells) {
    int group[MFG_MAX_DIM];
    CellOf(coarse, i, group);
    const float sum = Gather(l, t, group, t.share, [&](float weight, const int at[], int64_t cell) {
      return weight * l.level.d[cell] *
             MFGStarDefect(dim, l.level.c, cell, b[cell], x, Ghosted<dim>(l, at), l.stride);
    });
    coarse_b[i] = sum / coarse.level.d[i];
  }
}

/* Weights of the coarse cells below, at and above a cell's group. */
static __device__ void GroupWeights(const Level &l, const MFGStarTransfer &t, int axis, int at,
                                    float weight[3]) {
  const int used = axis < l.level.block.dim;
  weight[0] = used ? t.slope[axis][at] : 0;
  weight[2] = used ? t.slope[axis][l.level.block.count[axis] + at] : 0;
  weight[1] = 1 - weight[0] - weight[2];
}

/* The coarse field interpolated along y and z only, at group[0] + shift along x. */
template <int dim>
static __device__ float Across(const Level &coarse, const float *coarse_x, const int group[],
                               int shift, const float y[3], const float z[3]) {
  float sum = 0;
  for (int q = 0; q < 3; q++)
    for (int p = 0; p < 3; p++) {
      const float weight = y[p] * z[q];
      const int at[MFG_MAX_DIM] = {group[0] + shift, group[1] + p - 1, group[2] + q - 1};
      if (weight != 0) sum += weight * coarse_x[Ghosted<dim>(coarse, at)];
    }
  return sum;
}

template <int dim>
static __global__ void CorrectKernel(const Level l, const MFGStarTransfer t, const Level coarse,
                                     const float *coarse_x, float *x) {
  MFG_FOR_EACH(i, l.cells) {
    const int n = l.level.block.count[0];
    int at[MFG_MAX_DIM], group[MFG_MAX_DIM];
    float y[3], z[3];
    CellOf(l, i, at);
    for (int k = 0; k < MFG_MAX_DIM; k++) group[k] = at[k] / t.factor[k];
    GroupWeights(l, t, 1, at[1], y);
    GroupWeights(l, t, 2, at[2], z);
    const float own = Across<dim>(coarse, coarse_x, group, 0, y, z);
    float value = own;
    if (t.factor[0] == 2 && at[0] / 2 < n / 2) {
      const int upper = at[0] % 2;
      value = MFGStarInterpolate(own, Across<dim>(coarse, coarse_x, group, upper ? 1 : -1, y, z),
                                 t.slope[0][upper * n + at[0]]);
    }
    x[Ghosted<dim>(l, at)] += value;
  }
}

template <int dim>
static __global__ void CoarsenKernel(const Level l, const MFGStarTransfer t, const Level coarse) {
  MFG_FOR_EACH(i, coarse.cells) {
    int group[MFG_MAX_DIM];
    float c[2 * dim];
    CellOf(coarse, i, group);
    float d = Gather(l, t, group, t.share, [&](float weight, const int[], int64_t cell) {
      return weight == 0 ? 0 : weight * l.level.d[cell] * MFGStarRest(dim, l.level.c, cell);
    });
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) {
      const int axis = face / 2, kind = 1 + face % 2;
      const float *share[MFG_MAX_DIM];
#pragma unroll
      for (int k = 0; k < MFG_MAX_DIM; k++)
        share[k] = t.share[k] + (k == axis ? kind * l.level.block.count[k] : 0);
      c[face] = Gather(l, t, group, share, [&](float weight, const int at[], int64_t cell) {
        return weight == 0 ? 0
                           : weight * (l.level.d[cell] * l.level.c[face][cell] -
                                       l.level.diffusion[face][at[axis]]);
      });
      c[face] += coarse.level.diffusion[face][group[axis]];
      d += c[face];
    }
    coarse.level.d[i] = d;
#pragma unroll
    for (int face = 0; face < 2 * dim; face++) coarse.level.c[face][i] = c[face] / d;
  }
}

/* Starts the kernel of a dimension on so many cells. */
#define LAUNCH(kernel, dim, cells, device, ...)                                                    \
  do {                                                                                             \
    if (!(cells)) return cudaSuccess;                                                              \
    return MFGLaunch(MFG_KERNEL_OF_DIM(kernel, dim), MFGBlocksFor(device, cells, MFG_THREADS),     \
                     MFG_THREADS, 0, (device)->stream, __VA_ARGS__);                               \
  } while (0)

cudaError_t MFGLaunchStarSmooth(const MFGStarLevel *level, float weight, const float *b,
                                const float *x, float *next, const MFGDevice *device) {
  const Level l = LevelOf(level);
  LAUNCH(SmoothKernel, level->block.dim, l.cells, device, l, weight, b, x, next);
}

cudaError_t MFGLaunchStarRestrict(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                  const MFGStarLevel *coarse, const float *b, const float *x,
                                  float *coarse_b, const MFGDevice *device) {
  const Level l = LevelOf(level), c = LevelOf(coarse);
  LAUNCH(RestrictKernel, level->block.dim, c.cells, device, l, *transfer, c, b, x, coarse_b);
}

cudaError_t MFGLaunchStarCorrect(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const float *coarse_x, float *x,
                                 const MFGDevice *device) {
  const Level l = LevelOf(level), c = LevelOf(coarse);
  LAUNCH(CorrectKernel, level->block.dim, l.cells, device, l, *transfer, c, coarse_x, x);
}

cudaError_t MFGLaunchStarCoarsen(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const MFGDevice *device) {
  const Level l = LevelOf(level), c = LevelOf(coarse);
  LAUNCH(CoarsenKernel, level->block.dim, c.cells, device, l, *transfer, c);
}
