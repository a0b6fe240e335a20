/* Sums of moments along the axes of the grid. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

/* Sums that the boxes of one line along x share: agents, and two terms of y and of z. */
#define SHARED_SUMS 5

typedef struct {
  MFGMarginals job;
  MFGExtent extent;
  int dim, terms, numbers;
  int64_t field, count;       /* integers of a level: moments, marginals */
  int64_t lines;              /* of boxes of a level */
  int64_t start[MFG_MAX_DIM]; /* of the axes' marginals */
  int term[MFG_MAX_DIM][2];   /* the terms t and t^2 of the axes */
} Plan;

/* Each block a line of boxes along x of a level: those of row (y box, z box) of a line of cells. */
static __global__ void MarginalsKernel(const Plan p, const int64_t *moments,
                                       unsigned long long *marginals) {
  __shared__ unsigned long long part[SHARED_SUMS][MFG_THREADS];
  const MFGBlock &box = p.job.box;
  const int *halvings = p.job.shape.halvings, boxes = 1 << halvings[0];
  unsigned long long sum[SHARED_SUMS] = {0, 0, 0, 0, 0};
  const int64_t level = blockIdx.x / p.lines;
  int64_t line = blockIdx.x % p.lines;
  const int y_box = (int)(line & ((1 << halvings[1]) - 1));
  line >>= halvings[1];
  const int z_box = (int)(line & ((1 << halvings[2]) - 1));
  line >>= halvings[2];
  const int y = box.start[1] + (int)(line % box.count[1]),
            z = box.start[2] + (int)(line / box.count[1]);
  const int64_t row =
      ((int64_t)(z - p.extent.start[2]) * p.extent.count[1] + y - p.extent.start[1]) *
          p.extent.count[0] +
      box.start[0] - p.extent.start[0];

  moments += level * p.field;
  marginals += level * p.count;
  for (int i = threadIdx.x; i < box.count[0] * boxes; i += MFG_THREADS) {
    const int64_t *m = moments + (row + i / boxes) * p.numbers +
                       (((z_box << halvings[1] | y_box) << halvings[0]) + i % boxes) * p.terms;
    unsigned long long *x = marginals + 3 * (((int64_t)box.start[0] << halvings[0]) + i);
    for (int k = 0; k < 3; k++)
      if (m[k]) atomicAdd(&x[k], (unsigned long long)m[k]);
    sum[0] += m[0];
#pragma unroll
    for (int k = 1; k < MFG_MAX_DIM; k++)
#pragma unroll
      for (int power = 0; power < 2; power++)
        if (k < p.dim) sum[2 * k - 1 + power] += m[p.term[k][power]];
  }
#pragma unroll
  for (int s = 0; s < SHARED_SUMS; s++) part[s][threadIdx.x] = sum[s];
  for (int width = MFG_THREADS / 2; width > 0; width /= 2) {
    __syncthreads();
    for (int s = 0; s < 2 * p.dim - 1 && (int)threadIdx.x < width; s++)
      part[s][threadIdx.x] += part[s][threadIdx.x + width];
  }
  if (threadIdx.x) return;
  for (int k = 1; k < p.dim; k++) {
    const int64_t place =
        k == 1 ? ((int64_t)y << halvings[1]) + y_box : ((int64_t)z << halvings[2]) + z_box;
    unsigned long long *to = marginals + p.start[k] + 3 * place;
    atomicAdd(&to[0], part[0][0]);
    for (int power = 0; power < 2; power++) atomicAdd(&to[1 + power], part[2 * k - 1 + power][0]);
  }
}

cudaError_t MFGLaunchMarginals(const MFGMarginals *job, const int64_t *moments, int64_t *marginals,
                               const MFGDevice *device) {
  const int order = job->shape.order;
  Plan p = {};
  if (!MFGBlockOwned(&job->box) || !job->levels) return cudaSuccess;
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
  p.lines = ((int64_t)job->box.count[1] << job->shape.halvings[1]) *
            ((int64_t)job->box.count[2] << job->shape.halvings[2]);
  return MFGLaunch(MarginalsKernel, (unsigned)(p.lines * job->levels), MFG_THREADS, 0,
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
