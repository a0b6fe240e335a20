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

static __global__ void AcceptKernel(int64_t count, const double *u, double *level, double *shift,
                                    MFGLevelRange *ranges) {
  MFGLevelRange range = MFG_LEVEL_RANGE_NONE;
  MFG_FOR_EACH(i, count) {
    const double value = u[i], change = value - level[i];
    shift[i] = change;
    level[i] = value;
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

cudaError_t MFGLaunchLevelAccept(int64_t count, const double *u, double *level, double *shift,
                                 const MFGDevice *device) {
  const unsigned blocks = MFGBlocksFor(device, count, MFG_THREADS);
  MFGLevelRange *ranges = (MFGLevelRange *)device->work;
  const cudaError_t error = MFGLaunch(AcceptKernel, blocks, MFG_THREADS, 0, device->stream, count,
                                      u, level, shift, ranges);
  if (error) return error;
  return MFGLaunch(RangeKernel, 1, MFG_THREADS, 0, device->stream, (int)blocks, ranges,
                   device->range);
}
