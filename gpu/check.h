/* Errors of the CUDA runtime as PETSc errors. For C files: .cu files know no PETSc. */
#pragma once

#include <petscsys.h>

#include <cuda_runtime.h>

/* What to do about an error, for the message; "" where the error says it. */
static inline const char *MFGCUDARemedy(cudaError_t error) {
  switch (error) {
  case cudaErrorMemoryAllocation:
    return "; take more ranks with a GPU each, fewer agents or cells, or backend cpu";
  case cudaErrorInsufficientDriver:
  case cudaErrorNoDevice:
    return "; run nvidia-smi to see whether this machine has a GPU and a driver, or take backend "
           "cpu";
  case cudaErrorNoKernelImageForDevice:
    return "; build with -DMFG_CUDA_ARCHITECTURES=<the compute capability of this GPU>";
  default:
    return "";
  }
}

/* Calls a function of the runtime, or one that returns its error code. */
#define MFGCallCUDA(...)                                                                           \
  do {                                                                                             \
    const cudaError_t mfg_error_ = (cudaError_t)(__VA_ARGS__);                                     \
    PetscCheck(mfg_error_ == cudaSuccess, PETSC_COMM_SELF,                                         \
               mfg_error_ == cudaErrorMemoryAllocation ? PETSC_ERR_MEM : PETSC_ERR_GPU,            \
               "%s gave %s (%d): %s%s", #__VA_ARGS__, cudaGetErrorName(mfg_error_),                \
               (int)mfg_error_, cudaGetErrorString(mfg_error_), MFGCUDARemedy(mfg_error_));        \
  } while (0)
