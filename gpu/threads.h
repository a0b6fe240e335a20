/* What kernels share: loops of threads over many elements. */
#pragma once

#include "gpu/kernels.h"

#define MFG_THREADS 256

/* Elements `first`, first + threads of the grid, ... below n: any number of blocks does all. */
#define MFG_FOR_EACH(i, n)                                                                         \
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                        \
       i += (int64_t)gridDim.x * blockDim.x)

/* The instance of a kernel template for a number of dimensions that the compiler knows: loops over
 * them leave nothing in local memory. */
#define MFG_KERNEL_OF_DIM(kernel, dim) ((dim) == 1 ? kernel<1> : (dim) == 2 ? kernel<2> : kernel<3>)

/* Blocks of `threads` for n elements: a few for each multiprocessor at most. */
static inline unsigned MFGBlocksFor(const MFGDevice *device, int64_t n, int threads) {
  const int64_t most = (int64_t)device->multiprocessors * 16, blocks = (n + threads - 1) / threads;
  return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

#ifdef __cplusplus
/* The agents of a range that are there. */
static inline __device__ int64_t MFGFirstAgent(const MFGAgentRange &a) {
  return a.live ? a.live[0] : 0;
}

static inline __device__ int64_t MFGEndAgent(const MFGAgentRange &a) {
  return a.live ? a.live[1] : a.count;
}
#endif
