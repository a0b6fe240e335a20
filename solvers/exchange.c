#include "solvers/exchange.h"

/* MPI counts are int, and reductions of one huge message need a work array of the same size. */
#define CHUNK ((int64_t)1 << 24)

PetscErrorCode MFGExchangeSumInt64(MPI_Comm comm, int64_t count, int64_t *values) {
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  for (int64_t begin = 0; begin < count && size > 1; begin += CHUNK)
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, values + begin,
                               (PetscMPIInt)PetscMin(CHUNK, count - begin), MPI_INT64_T, MPI_SUM,
                               comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}
