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

/* PETSc's vectors on this device. Asking for PETSc's own context makes it choose a device now, not
 * at the first vector, which would make that one current. */
static PetscErrorCode SetUpPETSc(int number, MFGStream *s) {
  PetscDevice device;

  PetscFunctionBeginUser;
  PetscCall(SendFromHost());
  PetscCall(PetscDeviceContextGetCurrentContext(&s->before));
  PetscCall(PetscDeviceCreate(PETSC_DEVICE_CUDA, number, &device));
  PetscCall(PetscDeviceConfigure(device));
  PetscCall(PetscDeviceContextCreate(&s->context));
  PetscCall(PetscDeviceContextSetStreamType(s->context, PETSC_STREAM_DEFAULT));
  PetscCall(PetscDeviceContextSetDevice(s->context, device));
  PetscCall(PetscDeviceContextSetUp(s->context));
  PetscCall(PetscDeviceDestroy(&device));
  PetscCall(PetscDeviceContextSetCurrentContext(s->context));
  s->vectors = VECCUDA;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode EndPETSc(MFGStream *s) {
  PetscFunctionBeginUser;
  PetscCall(PetscDeviceContextSetCurrentContext(s->before));
  PetscCall(PetscDeviceContextDestroy(&s->context));
  PetscFunctionReturn(PETSC_SUCCESS);
}

#else

static PetscErrorCode SetUpPETSc(int number, MFGStream *s) {
  (void)number;
  (void)s;
  return PETSC_SUCCESS;
}

static PetscErrorCode EndPETSc(MFGStream *s) {
  (void)s;
  return PETSC_SUCCESS;
}

#endif

PetscErrorCode MFGStreamCreate(int number, MFGStream *s) {
  PetscFunctionBeginUser;
  memset(s, 0, sizeof *s);
  PetscCall(SetUpPETSc(number, s));
  MFGCallCUDA(cudaSetDevice(number));
  MFGCallCUDA(cudaStreamCreateWithFlags(&s->stream, cudaStreamDefault));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStreamDestroy(MFGStream *s) {
  PetscFunctionBeginUser;
  MFGCallCUDA(cudaStreamDestroy(s->stream));
  PetscCall(EndPETSc(s));
  memset(s, 0, sizeof *s);
  PetscFunctionReturn(PETSC_SUCCESS);
}
