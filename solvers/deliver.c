#include "solvers/deliver.h"

/* Starts of parts that follow one another; their sum. */
static PetscErrorCode Starts(PetscMPIInt size, const PetscMPIInt counts[], PetscMPIInt starts[],
                             int64_t *total) {
  PetscFunctionBeginUser;
  *total = 0;
  for (PetscMPIInt r = 0; r < size; r++) {
    PetscCall(PetscMPIIntCast((PetscInt64)*total, &starts[r]));
    *total += counts[r];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDeliver(MPI_Comm comm, int words, int64_t count, const int owner[],
                          const double *record, int64_t *arrived, double **received) {
  PetscMPIInt size, *out, *in, *out_start, *in_start, *next;
  MPI_Datatype type;
  double *send;
  int64_t sent;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(PetscCalloc5(size, &out, size, &in, size, &out_start, size, &in_start, size, &next));
  PetscCall(PetscMalloc1(count * words, &send));
  for (int64_t i = 0; i < count; i++) out[owner[i]]++;
  PetscCall(Starts(size, out, out_start, &sent));
  for (int64_t i = 0; i < count; i++) {
    const int64_t place = (int64_t)out_start[owner[i]] + next[owner[i]]++;
    PetscCall(PetscArraycpy(send + place * words, record + i * words, words));
  }
  PetscCallMPI(MPI_Alltoall(out, 1, MPI_INT, in, 1, MPI_INT, comm));
  PetscCall(Starts(size, in, in_start, arrived));
  PetscCall(PetscMalloc1(*arrived * words, received));
  PetscCallMPI(MPI_Type_contiguous(words, MPI_DOUBLE, &type));
  PetscCallMPI(MPI_Type_commit(&type));
  PetscCallMPI(MPI_Alltoallv(send, out, out_start, type, *received, in, in_start, type, comm));
  PetscCallMPI(MPI_Type_free(&type));
  PetscCall(PetscFree(send));
  PetscCall(PetscFree5(out, in, out_start, in_start, next));
  PetscFunctionReturn(PETSC_SUCCESS);
}
