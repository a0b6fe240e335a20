/* Running sums over arrays in device memory. */
#pragma once

#include "gpu/threads.h"

/* Sum of `value` over the threads before this one, of blocks of MFG_THREADS; in *total that over
 * all of them. Every thread of the block must call it. */
static inline __device__ uint32_t MFGBlockPrefix(uint32_t value, uint32_t *total) {
  __shared__ uint32_t sum[MFG_THREADS];
  sum[threadIdx.x] = value;
  __syncthreads();
  for (int distance = 1; distance < MFG_THREADS; distance *= 2) {
    const uint32_t below = (int)threadIdx.x >= distance ? sum[threadIdx.x - distance] : 0;
    __syncthreads();
    sum[threadIdx.x] += below;
    __syncthreads();
  }
  const uint32_t before = sum[threadIdx.x] - value;
  *total = sum[MFG_THREADS - 1];
  __syncthreads();
  return before;
}

#ifdef __cplusplus
extern "C" {
#endif

/* values[i] becomes the sum of values[0 .. i-1]; values[n] that of all. Sums stay below 2^32. */
cudaError_t MFGLaunchPrefixSum(int64_t n, uint32_t *values, uint32_t *work,
                               const MFGDevice *device);
/* Integers of `work`. */
int64_t MFGPrefixSumWork(int64_t n);

#ifdef __cplusplus
}
#endif
