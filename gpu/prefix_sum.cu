#include "gpu/prefix_sum.h"

#include "gpu/launch.h"

/* Values that a block adds up: each thread a few in a row. */
#define EACH 8
#define SECTION (MFG_THREADS * EACH)

static int64_t Sections(int64_t n) {
  return (n + SECTION - 1) / SECTION;
}

int64_t MFGPrefixSumWork(int64_t n) {
  return Sections(n);
}

static __global__ void SumSectionsKernel(int64_t n, const uint32_t *values, uint32_t *sums) {
  const int64_t first = (int64_t)blockIdx.x * SECTION + threadIdx.x * EACH;
  uint32_t mine = 0, total;
  for (int64_t i = first; i < first + EACH && i < n; i++) mine += values[i];
  MFGBlockPrefix(mine, &total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

/* One block: sums[i] becomes the sum of those before it; *all that of all. */
static __global__ void SumOfSumsKernel(int64_t sections, uint32_t *sums, uint32_t *all) {
  uint32_t before = 0, total;
  for (int64_t first = 0; first < sections; first += MFG_THREADS, before += total) {
    const int64_t i = first + threadIdx.x;
    const uint32_t value = i < sections ? sums[i] : 0, below = MFGBlockPrefix(value, &total);
    if (i < sections) sums[i] = before + below;
  }
  if (threadIdx.x == 0) *all = before;
}

/* sums NULL: there is one section, and the sum of all goes to values[n]. */
static __global__ void SumWithinKernel(int64_t n, const uint32_t *sums, uint32_t *values) {
  const int64_t first = (int64_t)blockIdx.x * SECTION + threadIdx.x * EACH;
  uint32_t mine = 0, total;
  for (int64_t i = first; i < first + EACH && i < n; i++) mine += values[i];
  uint32_t before = (sums ? sums[blockIdx.x] : 0) + MFGBlockPrefix(mine, &total);
  for (int64_t i = first; i < first + EACH && i < n; i++) {
    const uint32_t value = values[i];
    values[i] = before;
    before += value;
  }
  if (!sums && threadIdx.x == 0) values[n] = total;
}

cudaError_t MFGLaunchPrefixSum(int64_t n, uint32_t *values, uint32_t *work,
                               const MFGDevice *device) {
  const unsigned sections = (unsigned)Sections(n);
  if (sections == 1)
    return MFGLaunch(SumWithinKernel, 1, MFG_THREADS, 0, device->stream, n, (uint32_t *)NULL,
                     values);
  cudaError_t error =
      MFGLaunch(SumSectionsKernel, sections, MFG_THREADS, 0, device->stream, n, values, work);
  if (!error)
    error =
        MFGLaunch(SumOfSumsKernel, 1, MFG_THREADS, 0, device->stream, sections, work, values + n);
  if (!error)
    error = MFGLaunch(SumWithinKernel, sections, MFG_THREADS, 0, device->stream, n, work, values);
  return error;
}
