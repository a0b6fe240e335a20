/* The stream of this process's GPU, on which all work of the backend is done. PETSc works on the
 * default stream, whatever its current context says (PetscDeviceContextGetNullContext_Internal),
 * and that waits for streams like this one and they for it. So kernels of both are done in the
 * order in which they were asked for, and nobody has to wait in between. */
#pragma once

#include <petscvec.h>

#include <cuda_runtime.h>

typedef struct {
  cudaStream_t stream;                /* owned; not the default one, which cannot be captured */
  VecType vectors;                    /* PETSc's on this device; NULL: it has none */
  PetscDeviceContext context, before; /* owned, borrowed; that of the device, PETSc's first */
} MFGStream;

/* Makes the device the current one. */
PetscErrorCode MFGStreamCreate(int device, MFGStream *stream);
PetscErrorCode MFGStreamDestroy(MFGStream *stream);
