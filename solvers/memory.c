#include "solvers/memory.h"

static PetscErrorCode Allocate_Host(size_t bytes, void **memory) {
  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(bytes, (char **)memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Release_Host(void *memory) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Zero_Host(void *memory, size_t bytes) {
  PetscFunctionBeginUser;
  PetscCall(PetscMemzero(memory, bytes));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Copy_Host(void *to, const void *from, size_t bytes,
                                MFGCopyDirection direction) {
  PetscFunctionBeginUser;
  (void)direction;
  PetscCall(PetscMemcpy(to, from, bytes));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGMemoryOps MFGMemoryOps_Host = {.name = "host",
                                        .is_host = PETSC_TRUE,
                                        .allocate = Allocate_Host,
                                        .release = Release_Host,
                                        .zero = Zero_Host,
                                        .copy = Copy_Host};

PetscErrorCode MFGMemoryAllocate(const MFGMemoryOps *m, int64_t count, size_t size, void *array) {
  void *memory = NULL;

  PetscFunctionBeginUser;
  if (count > 0) PetscCall(m->allocate((size_t)count * size, &memory));
  *(void **)array = memory;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemoryReserve(const MFGMemoryOps *m, int64_t count, size_t size, int64_t *room,
                                void *array) {
  PetscFunctionBeginUser;
  if (count <= *room) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryFree(m, array));
  PetscCall(MFGMemoryAllocate(m, count, size, array));
  *room = count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemoryFree(const MFGMemoryOps *m, void *array) {
  void *memory = *(void **)array;

  PetscFunctionBeginUser;
  if (memory) PetscCall(m->release(memory));
  *(void **)array = NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemoryZero(const MFGMemoryOps *m, int64_t count, size_t size, void *array) {
  PetscFunctionBeginUser;
  if (count > 0) PetscCall(m->zero(array, (size_t)count * size));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemoryCopy(const MFGMemoryOps *m, int64_t count, size_t size,
                             MFGCopyDirection direction, const void *from, void *to) {
  PetscFunctionBeginUser;
  if (count > 0) PetscCall(m->copy(to, from, (size_t)count * size, direction));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemorySynchronize(const MFGMemoryOps *m) {
  PetscFunctionBeginUser;
  if (m->synchronize) PetscCall(m->synchronize());
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMemoryStage(const MFGMemoryOps *m, int64_t count, size_t size, const void *host,
                              int64_t *room, void *copy, const void **there) {
  PetscFunctionBeginUser;
  *there = host;
  if (m->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryReserve(m, count, size, room, copy));
  PetscCall(MFGMemoryCopy(m, count, size, MFG_COPY_FROM_HOST, host, *(void **)copy));
  *there = *(void **)copy;
  PetscFunctionReturn(PETSC_SUCCESS);
}
