/* The one way to start a kernel, and what a kernel needs to be compiled for a device and for the
 * host stand-in (tests/gpu_on_host/) alike. Included by .cu files only. */
#pragma once

#include <cuda_runtime.h>

#if defined(MFG_GPU_ON_HOST)

#define MFGLaunch(...) MFG_STANDIN_LAUNCH(__VA_ARGS__)
#define MFG_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(MFGStandinDynamicShared())

#else

/* kernel<<<grid, block, shared, stream>>>(args...); returns what the launch gave. The arguments are
 * converted to the kernel's parameters. `shared` bytes are for MFG_DYNAMIC_SHARED. Static, because
 * types of different .cu files may have the same name. */
template <class... P, class... A>
static cudaError_t MFGLaunch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                             cudaStream_t stream, A... args) {
  kernel<<<grid, block, shared, stream>>>(P(args)...);
  return cudaGetLastError();
}

/* `name` points to the launch's dynamic shared memory, aligned to 16 bytes. */
#define MFG_DYNAMIC_SHARED(type, name)                                                             \
  extern __shared__ __align__(16) unsigned char mfg_dynamic_shared[];                              \
  type *name = reinterpret_cast<type *>(mfg_dynamic_shared)

#endif
