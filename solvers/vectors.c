#include "solvers/vectors.h"

PetscErrorCode MFGVectorCreate(const MFGGrid *grid, const MFGBackend *b, Vec *vector) {
  PetscFunctionBeginUser;
  PetscCall(VecCreate(grid->comm, vector));
  PetscCall(VecSetSizes(*vector, (PetscInt)MFGBlockOwned(&grid->block), PETSC_DETERMINE));
  PetscCall(VecSetType(*vector, b->vectors ? b->vectors : VECSTANDARD));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorRoomDestroy(const MFGBackend *b, MFGVectorRoom *room) {
  PetscFunctionBeginUser;
  PetscCall(MFGMemoryFree(b->memory, &room->array));
  room->count = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Reserve(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                              PetscInt *count) {
  PetscFunctionBeginUser;
  PetscCall(VecGetLocalSize(vector, count));
  PetscCall(MFGMemoryReserve(b->memory, *count, sizeof *room->array, &room->count, &room->array));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorRead(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                             const double **array) {
  PetscMemType type;
  PetscInt count;

  PetscFunctionBeginUser;
  if (b->memory->is_host) {
    PetscCall(VecGetArrayRead(vector, array));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(VecGetArrayReadAndMemType(vector, array, &type));
  if (PetscMemTypeDevice(type)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(Reserve(vector, b, room, &count));
  PetscCall(
      MFGMemoryCopy(b->memory, count, sizeof **array, MFG_COPY_FROM_HOST, *array, room->array));
  PetscCall(VecRestoreArrayReadAndMemType(vector, array));
  *array = room->array;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorRestoreRead(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                                    const double **array) {
  PetscFunctionBeginUser;
  if (b->memory->is_host)
    PetscCall(VecRestoreArrayRead(vector, array));
  else if (*array != room->array)
    PetscCall(VecRestoreArrayReadAndMemType(vector, array));
  *array = NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorWrite(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                              double **array) {
  PetscMemType type;
  PetscInt count;

  PetscFunctionBeginUser;
  if (b->memory->is_host) {
    PetscCall(VecGetArrayWrite(vector, array));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(VecGetArrayWriteAndMemType(vector, array, &type));
  if (PetscMemTypeDevice(type)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(VecRestoreArrayWriteAndMemType(vector, array));
  PetscCall(Reserve(vector, b, room, &count));
  *array = room->array;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorRestoreWrite(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                                     double **array) {
  PetscInt count;
  double *host;

  PetscFunctionBeginUser;
  if (b->memory->is_host) {
    PetscCall(VecRestoreArrayWrite(vector, array));
  } else if (*array != room->array) {
    PetscCall(VecRestoreArrayWriteAndMemType(vector, array));
  } else {
    PetscCall(VecGetLocalSize(vector, &count));
    PetscCall(VecGetArrayWrite(vector, &host));
    PetscCall(MFGMemoryCopy(b->memory, count, sizeof *host, MFG_COPY_TO_HOST, *array, host));
    PetscCall(VecRestoreArrayWrite(vector, &host));
  }
  *array = NULL;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorTake(Vec vector, const MFGBackend *b, MFGVectorRoom *room, PetscBool read,
                             const double *array) {
  double *own;
  PetscInt count;

  PetscFunctionBeginUser;
  if (b->memory->is_host) {
    PetscCall(VecPlaceArray(vector, array));
  } else if (read) {
    PetscCall(VecGetLocalSize(vector, &count));
    PetscCall(MFGVectorWrite(vector, b, room, &own));
    PetscCall(MFGMemoryCopy(b->memory, count, sizeof *own, MFG_COPY_WITHIN, array, own));
    PetscCall(MFGVectorRestoreWrite(vector, b, room, &own));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGVectorReturn(Vec vector, const MFGBackend *b, MFGVectorRoom *room,
                               PetscBool written, double *array) {
  const double *own;
  PetscInt count;

  PetscFunctionBeginUser;
  if (b->memory->is_host) {
    PetscCall(VecResetArray(vector));
  } else if (written) {
    PetscCall(VecGetLocalSize(vector, &count));
    PetscCall(MFGVectorRead(vector, b, room, &own));
    PetscCall(MFGMemoryCopy(b->memory, count, sizeof *own, MFG_COPY_WITHIN, own, array));
    PetscCall(MFGVectorRestoreRead(vector, b, room, &own));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
