/* The GPU of this process, for the C files of gpu/. */
#pragma once

#include <petscsys.h>

#include <cuda_runtime.h>

#include "gpu/kernels.h"
#include "solvers/backend.h"

/* The stream on which all work of the backend is done. */
cudaStream_t MFGDeviceStream(void);

/* What launchers take; borrowed. */
const MFGDevice *MFGDeviceHere(void);

/* Called every now and then while the host waits for the stream, with the seconds it has waited: an
 * error ends the wait. One at a time; NULL: none. */
typedef PetscErrorCode (*MFGDeviceWatch)(void *context, double seconds);
void MFGDeviceSetWatch(MFGDeviceWatch watch, void *context);

/* Matrices of the star stencil and multigrid (gpu/backend_cuda_star.c). */
extern const MFGStarOps MFGStarOps_CUDA;

/* Operations on agents and cells on their way (gpu/backend_cuda.c), and memory of the device. */
extern const MFGTransitOps MFGTransitOps_CUDA;
extern const MFGMemoryOps MFGMemoryOps_CUDA;

/* Collective on comm. NCCL between the GPUs of the ranks; where two ranks have the same GPU, which
 * NCCL refuses (before 2.30.3, and without NCCL_MULTI_RANK_GPU_ENABLE=1), MPI through the host's
 * memory. *text says which and why, for the log; "" on one rank. */
PetscErrorCode MFGCarrierChoose_CUDA(MPI_Comm comm, const MFGCarrier **carrier, size_t size,
                                     char text[]);
