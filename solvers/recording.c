#include "solvers/recording.h"

PetscErrorCode MFGRecordingDestroy(const MFGMemoryOps *m, MFGRecording *r) {
  PetscFunctionBeginUser;
  if (r->recording) PetscCall(m->forget(r->recording));
  memset(r, 0, sizeof *r);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGRecordingRun(MPI_Comm comm, const MFGMemoryOps *m, MFGRecording *r,
                               const int64_t key[MFG_RECORDING_KEYS],
                               PetscErrorCode (*work)(void *context), void *context,
                               PetscBool *replayed) {
  PetscFunctionBeginUser;
  *replayed = PETSC_FALSE;
  if (!m->record_begin) {
    PetscCall(work(context));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  int fresh = !r->seen || memcmp(r->key, key, sizeof r->key);
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &fresh, 1, MPI_INT, MPI_MAX, comm));
  if (fresh) {
    PetscCall(MFGRecordingDestroy(m, r));
    memcpy(r->key, key, sizeof r->key);
    r->seen = PETSC_TRUE;
    PetscCall(work(context));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!r->recording) {
    PetscCall(m->record_begin());
    PetscCall(work(context));
    PetscCall(m->record_end(&r->recording));
  } else {
    *replayed = PETSC_TRUE;
  }
  PetscCall(m->replay(r->recording));
  PetscFunctionReturn(PETSC_SUCCESS);
}
