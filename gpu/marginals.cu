/* Sums of moments along the axes of the grid. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

#define WARP 32
#define ALL_LANES 0xffffffffu
/* Lines that a block adds up along x before it adds them to others', where there are many. */
#define LINES_MOST 32

typedef struct {
  MFGMarginals job;
  MFGExtent extent;
  int dim, terms, numbers;
  int64_t field, count;       /* integers of a level: moments, marginals */
  int lines, tiles;           /* of boxes of a level; of a line */
  int together, groups;       /* lines of a block; blocks with one tile of a level */
  int64_t start[MFG_MAX_DIM]; /* of the axes' marginals */
  int term[MFG_MAX_DIM][2];   /* the terms t and t^2 of the axes */
} Plan;

/* Adds the sum over the lanes of a warp to *to. */
static __device__ void AddWarp(unsigned long long value, unsigned long long *to) {
#pragma unroll
  for (int width = WARP / 2; width > 0; width /= 2)
    value += __shfl_down_sync(ALL_LANES, value, width);
  if (threadIdx.x % WARP == 0 && value) atomicAdd(to, value);
}

/* Each block a tile of `together` lines of boxes along x of a level; a line: the boxes of row (y
 * box, z box) of a line of cells. */
static __global__ void __launch_bounds__(MFG_THREADS)
    MarginalsKernel(const Plan p, const int64_t *moments, unsigned long long *marginals) {
  const MFGBlock &box = p.job.box;
  const int *halvings = p.job.shape.halvings;
  const int i = blockIdx.x % p.tiles * MFG_THREADS + threadIdx.x, cell = i >> halvings[0];
  const int group = blockIdx.x / p.tiles % p.groups, level = blockIdx.x / p.tiles / p.groups;
  const int begin = group * p.together;
  const int end = begin + p.together < p.lines ? begin + p.together : p.lines;
  unsigned long long along[3] = {0, 0, 0};

  moments += level * p.field + p.terms * (i & ((1 << halvings[0]) - 1));
  marginals += level * p.count;
  for (int line = begin; line < end; line++) {
    const int y_box = line & ((1 << halvings[1]) - 1),
              z_box = line >> halvings[1] & ((1 << halvings[2]) - 1);
    const int of_cells = line >> (halvings[1] + halvings[2]);
    const int y = box.start[1] + of_cells % box.count[1],
              z = box.start[2] + of_cells / box.count[1];
    const int64_t row =
        ((int64_t)(z - p.extent.start[2]) * p.extent.count[1] + y - p.extent.start[1]) *
            p.extent.count[0] +
        box.start[0] - p.extent.start[0];
    const int64_t *m = moments + (row + cell) * p.numbers +
                       ((int64_t)(z_box << halvings[1] | y_box) << halvings[0]) * p.terms;
    const int place[MFG_MAX_DIM] = {0, (y << halvings[1]) + y_box, (z << halvings[2]) + z_box};
    const bool there = cell < box.count[0];
    const unsigned long long agents = there ? m[0] : 0;
    along[0] += agents;
#pragma unroll
    for (int k = 1; k < 3; k++) along[k] += there ? m[k] : 0;
#pragma unroll
    for (int k = 1; k < MFG_MAX_DIM; k++) {
      if (k >= p.dim) continue;
      unsigned long long *to = marginals + p.start[k] + 3 * (int64_t)place[k];
      AddWarp(agents, to);
#pragma unroll
      for (int power = 0; power < 2; power++)
        AddWarp(there ? m[p.term[k][power]] : 0, to + 1 + power);
    }
  }
  unsigned long long *x = marginals + 3 * (((int64_t)box.start[0] << halvings[0]) + i);
#pragma unroll
  for (int k = 0; k < 3; k++)
    if (along[k]) atomicAdd(&x[k], along[k]);
}

cudaError_t MFGLaunchMarginals(const MFGMarginals *job, const int64_t *moments, int64_t *marginals,
                               const MFGDevice *device) {
  const int order = job->shape.order, *halvings = job->shape.halvings;
  const MFGBlock *box = &job->box;
  Plan p = {};
  if (!MFGBlockOwned(box) || !job->levels) return cudaSuccess;
  p.job = *job;
  p.extent = MFGExtentOrWhole(&job->domain, &job->extent);
  p.dim = job->domain.dim;
  p.terms = MFGMomentTerms(p.dim, order);
  p.numbers = MFGMomentNumbers(p.dim, &job->shape);
  for (int k = 0; k < MFG_MAX_DIM; k++) p.start[k] = MFGMarginalStart(&job->domain, &job->shape, k);
  for (int power = 0; power < 2; power++) {
    p.term[1][power] = MFGMomentRow(order, 1 + power);
    p.term[2][power] = MFGMomentPlane(order, 1 + power);
  }
  p.field = MFGMomentField(&job->domain, &job->shape, &job->extent);
  p.count = MFGMarginalCount(&job->domain, &job->shape);
  p.lines = (box->count[1] << halvings[1]) * (box->count[2] << halvings[2]);
  p.tiles = ((box->count[0] << halvings[0]) + MFG_THREADS - 1) / MFG_THREADS;
  const int64_t many =
      (int64_t)p.lines * p.tiles * job->levels / (8 * (int64_t)device->multiprocessors);
  p.together = (int)(many < 1 ? 1 : many < LINES_MOST ? many : LINES_MOST);
  p.groups = (p.lines + p.together - 1) / p.together;
  return MFGLaunch(MarginalsKernel, (unsigned)(p.groups * p.tiles * job->levels), MFG_THREADS, 0,
                   device->stream, p, moments, (unsigned long long *)marginals);
}

/* Each block an axis of a level. */
static __global__ void AxisSumsKernel(const MFGMarginals job, const int64_t *marginals,
                                      MFGAxisSums *sums) {
  __shared__ MFGAxisSums part[MFG_THREADS];
  const int dim = job.domain.dim, axis = blockIdx.x % dim;
  const int boxes = job.domain.cells[axis] << job.shape.halvings[axis];
  MFGAxisSums sum = {0, 0, 0};

  marginals += blockIdx.x / dim * MFGMarginalCount(&job.domain, &job.shape) +
               MFGMarginalStart(&job.domain, &job.shape, axis);
  for (int box = threadIdx.x; box < boxes; box += MFG_THREADS)
    sum = MFGAxisSumsAdded(sum, MFGBoxSums(box, marginals + 3 * (int64_t)box));
  part[threadIdx.x] = sum;
  for (int width = MFG_THREADS / 2; width > 0; width /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < width)
      part[threadIdx.x] = MFGAxisSumsAdded(part[threadIdx.x], part[threadIdx.x + width]);
  }
  if (!threadIdx.x) sums[blockIdx.x] = part[0];
}

cudaError_t MFGLaunchAxisSums(const MFGMarginals *job, const int64_t *marginals, MFGAxisSums *sums,
                              const MFGDevice *device) {
  if (!job->levels) return cudaSuccess;
  return MFGLaunch(AxisSumsKernel, (unsigned)(job->levels * job->domain.dim), MFG_THREADS, 0,
                   device->stream, *job, marginals, sums);
}
