/* Levels of a sweep in time: one thread for each cell, the formulas of solvers/level_point.h. */
#include "gpu/kernels.h"
#include "gpu/launch.h"
#include "gpu/threads.h"

static __global__ void GuessKernel(const MFGLevelGuess job, double *u) {
  MFG_FOR_EACH(i, job.count)
  u[i] = job.shift ? job.base[i] + job.shift[i]
                   : MFGLevelExtrapolate(job.base[i], job.second[i], job.third[i], job.curvature);
}

cudaError_t MFGLaunchLevelGuess(const MFGLevelGuess *job, double *u, const MFGDevice *device) {
  if (job->count <= 0) return cudaSuccess;
  return MFGLaunch(GuessKernel, MFGBlocksFor(device, job->count, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, *job, u);
}

/* The range of all threads of a block, in its first one. */
static __device__ MFGLevelRange RangeOfBlock(MFGLevelRange mine) {
  __shared__ MFGLevelRange part[MFG_THREADS];
  part[threadIdx.x] = mine;
  for (int width = MFG_THREADS / 2; width > 0; width /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < width) {
      const MFGLevelRange &other = part[threadIdx.x + width];
      MFGLevelRangeAdd(&part[threadIdx.x], other.minimum, other.maximum, other.change);
    }
  }
  return part[threadIdx.x];
}

static __global__ void AcceptKernel(const MFGLevelAccept job, MFGLevelRange *ranges) {
  MFGLevelRange range = MFG_LEVEL_RANGE_NONE;
  MFG_FOR_EACH(i, job.count) {
    const double value = job.factor * job.u[i], change = value - job.level[i];
    job.shift[i] = change;
    job.level[i] = value;
    MFGLevelRangeAdd(&range, value, value, fabs(change));
  }
  range = RangeOfBlock(range);
  if (threadIdx.x == 0) ranges[blockIdx.x] = range;
}

/* One block. */
static __global__ void RangeKernel(int count, const MFGLevelRange *ranges, MFGLevelRange *all) {
  MFGLevelRange range = MFG_LEVEL_RANGE_NONE;
  for (int i = threadIdx.x; i < count; i += MFG_THREADS)
    MFGLevelRangeAdd(&range, ranges[i].minimum, ranges[i].maximum, ranges[i].change);
  range = RangeOfBlock(range);
  if (threadIdx.x == 0) *all = range;
}

int64_t MFGLevelAcceptWork(int64_t count) {
  return ((count + MFG_THREADS - 1) / MFG_THREADS + 1) * (int64_t)sizeof(MFGLevelRange);
}

cudaError_t MFGLaunchLevelAccept(const MFGLevelAccept *job, const MFGDevice *device) {
  const unsigned blocks = MFGBlocksFor(device, job->count, MFG_THREADS);
  MFGLevelRange *ranges = (MFGLevelRange *)device->work;
  const cudaError_t error =
      MFGLaunch(AcceptKernel, blocks, MFG_THREADS, 0, device->stream, *job, ranges);
  if (error) return error;
  return MFGLaunch(RangeKernel, 1, MFG_THREADS, 0, device->stream, (int)blocks, ranges,
                   device->range);
}

static __global__ void RightSideKernel(const MFGLevelRight job, double *right) {
  MFG_FOR_EACH(i, job.count)
  right[i] =
      job.source ? job.level[i] / job.dt + job.weight * job.source[i] : job.level[i] / job.dt;
}

cudaError_t MFGLaunchLevelRight(const MFGLevelRight *job, double *right, const MFGDevice *device) {
  if (job->count <= 0) return cudaSuccess;
  return MFGLaunch(RightSideKernel, MFGBlocksFor(device, job->count, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, *job, right);
}

static __global__ void AddKernel(int64_t count, const double *x, double weight, const double *y,
                                 double *sum) {
  MFG_FOR_EACH(i, count) sum[i] = x[i] + weight * y[i];
}

cudaError_t MFGLaunchLevelAdd(int64_t count, const double *x, double weight, const double *y,
                              double *sum, const MFGDevice *device) {
  if (count <= 0) return cudaSuccess;
  return MFGLaunch(AddKernel, MFGBlocksFor(device, count, MFG_THREADS), MFG_THREADS, 0,
                   device->stream, count, x, weight, y, sum);
}

/* The sum of the lanes, which are the threads of a block, in its first one. */
static __device__ double SumOfLanes(double mine) {
  __shared__ double lane[MFG_SUM_LANES];
  lane[threadIdx.x] = mine;
  for (int half = MFG_SUM_LANES / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) lane[threadIdx.x] += lane[half + threadIdx.x];
  }
  return lane[threadIdx.x];
}

/* A block for each part, and for all in turn. */
static __global__ void SumPartsKernel(int64_t count, int64_t parts, const double *x,
                                      const double *weight, double *sums) {
  for (int64_t part = blockIdx.x; part < parts; part += gridDim.x) {
    const int64_t begin = part * MFG_SUM_PART, left = count - begin,
                  end = begin + (left < MFG_SUM_PART ? left : MFG_SUM_PART);
    double mine = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += MFG_SUM_LANES)
      mine += weight ? x[i] * weight[i] : x[i];
    mine = SumOfLanes(mine);
    if (threadIdx.x == 0) sums[part] = mine;
    __syncthreads();
  }
}

/* One block. */
static __global__ void SumKernel(int64_t parts, const double *sums, double *sum) {
  double mine = 0;
  for (int64_t part = threadIdx.x; part < parts; part += MFG_SUM_LANES) mine += sums[part];
  mine = SumOfLanes(mine);
  if (threadIdx.x == 0) *sum = mine;
}

static int64_t Parts(int64_t count) {
  return (count + MFG_SUM_PART - 1) / MFG_SUM_PART;
}

int64_t MFGLevelSumWork(int64_t count) {
  return (Parts(count) + 1) * (int64_t)sizeof(double);
}

cudaError_t MFGLaunchLevelSum(int64_t count, const double *x, const double *weight,
                              const MFGDevice *device) {
  double *sums = (double *)device->work;
  const int64_t parts = Parts(count);
  const cudaError_t error = MFGLaunch(SumPartsKernel, MFGBlocksFor(device, parts, 1), MFG_SUM_LANES,
                                      0, device->stream, count, parts, x, weight, sums);
  if (error) return error;
  return MFGLaunch(SumKernel, 1, MFG_SUM_LANES, 0, device->stream, parts, sums, device->sum);
}
