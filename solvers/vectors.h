/* PETSc's vectors and the arrays of a backend: the vector's own array where both are in one memory,
 * else a copy, which is staged. */
#pragma once

#include <petscvec.h>

#include "solvers/backend.h"
#include "solvers/grid.h"

/* Room for the copy of a vector in the backend's memory; zero before the first use. */
typedef struct {
  double *array; /* owned */
  int64_t count;
} MFGVectorRoom;

/* Collective on grid->comm. A vector of owned fields, of the backend's type; contents undefined. */
PetscErrorCode MFGVectorCreate(const MFGGrid *grid, const MFGBackend *backend, Vec *vector);
PetscErrorCode MFGVectorRoomDestroy(const MFGBackend *backend, MFGVectorRoom *room);

/* Not collective. The vector's [owned] numbers in the backend's memory, borrowed until Restore. A
 * room serves one vector at a time. Write: contents undefined, every number has to be written. */
PetscErrorCode MFGVectorRead(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                             const double **array);
PetscErrorCode MFGVectorRestoreRead(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                                    const double **array);
PetscErrorCode MFGVectorWrite(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                              double **array);
PetscErrorCode MFGVectorRestoreWrite(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                                     double **array);

/* Not collective. The vector stands for an array [owned] in the backend's memory: on the host it is
 * that array itself until Return, elsewhere a copy, made by Take where it is to be read and copied
 * back by Return where it was written. */
PetscErrorCode MFGVectorTake(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                             PetscBool read, const double *array);
PetscErrorCode MFGVectorReturn(Vec vector, const MFGBackend *backend, MFGVectorRoom *room,
                               PetscBool written, double *array);
