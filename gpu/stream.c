#include "gpu/stream.h"

#include <petsc/private/petscimpl.h>
#include <petscdevice.h>

#include "gpu/check.h"

#if defined(PETSC_HAVE_CUDA) && !defined(MFG_GPU_ON_HOST)

/* PETSc takes MPI for one that reads device memory and ends the program where it is none; here only
 * the carriers send what is there. */
static PetscErrorCode SendFromHost(void) {
  PetscBool asked;

  PetscFunctionBeginUser;
  PetscCall(PetscOptionsHasName(NULL, NULL, "-use_gpu_aware_mpi", &asked));
  if (!asked) use_gpu_aware_mpi = PETSC_FALSE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* PETSc's first context is on the default stream; asking for it makes PETSc choose a device of its
 * own now, not at the first vector, which would make that one current. */
PetscErrorCode MFGStreamCreate(int number, MFGStream *s) {
  PetscDevice device;
  void *handle;

  PetscFunctionBeginUser;
  PetscCall(SendFromHost());
  PetscCall(PetscDeviceContextGetCurrentContext(&s->before));
  PetscCall(PetscDeviceCreate(PETSC_DEVICE_CUDA, number, &device));
  PetscCall(PetscDeviceConfigure(device));
  PetscCall(PetscDeviceContextCreate(&s->context));
  PetscCall(PetscDeviceContextSetStreamType(s->context, PETSC_STREAM_NONBLOCKING));
  PetscCall(PetscDeviceContextSetDevice(s->context, device));
  PetscCall(PetscDeviceContextSetUp(s->context));
  PetscCall(PetscDeviceDestroy(&device));
  PetscCall(PetscDeviceContextSetCurrentContext(s->context));
  PetscCall(PetscDeviceContextGetStreamHandle(s->context, &handle));
  s->stream = *(cudaStream_t *)handle;
  s->vectors = VECCUDA;
  MFGCallCUDA(cudaSetDevice(number));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStreamDestroy(MFGStream *s) {
  PetscFunctionBeginUser;
  PetscCall(PetscDeviceContextSetCurrentContext(s->before));
  PetscCall(PetscDeviceContextDestroy(&s->context));
  memset(s, 0, sizeof *s);
  PetscFunctionReturn(PETSC_SUCCESS);
}

#else

PetscErrorCode MFGStreamCreate(int number, MFGStream *s) {
  PetscFunctionBeginUser;
  memset(s, 0, sizeof *s);
  MFGCallCUDA(cudaSetDevice(number));
  MFGCallCUDA(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStreamDestroy(MFGStream *s) {
  PetscFunctionBeginUser;
  MFGCallCUDA(cudaStreamDestroy(s->stream));
  memset(s, 0, sizeof *s);
  PetscFunctionReturn(PETSC_SUCCESS);
}

#endif
