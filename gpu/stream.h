/* The stream of this process's GPU, on which all work of the backend is done: PETSc's own where
 * PETSc is compiled with CUDA. Its kernels and the backend's are then done in the order in which
 * they were asked for and nobody has to wait in between. */
#pragma once

#include <petscvec.h>

#include <cuda_runtime.h>

typedef struct {
  cudaStream_t stream;                /* not the default one, which cannot be captured */
  VecType vectors;                    /* PETSc's on this device; NULL: it has none */
  PetscDeviceContext context, before; /* owned, borrowed; that of the stream, and PETSc's first */
} MFGStream;

/* Makes the device the current one. */
PetscErrorCode MFGStreamCreate(int device, MFGStream *stream);
PetscErrorCode MFGStreamDestroy(MFGStream *stream);
