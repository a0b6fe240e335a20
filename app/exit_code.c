#include "app/exit_code.h"

#include <unistd.h>

/* PETSc calls the handler where an error arises, then once for every caller on the way up. */
static PetscErrorCode Keep(MPI_Comm comm, int line, const char *function, const char *file,
                           PetscErrorCode code, PetscErrorType type, const char *message,
                           void *context) {
  MFGErrorRecord *r = (MFGErrorRecord *)context;
  const size_t used = strlen(r->trace);

  (void)comm;
  if (type == PETSC_ERROR_INITIAL) {
    r->code = code;
    snprintf(r->message, sizeof r->message, "%s", message ? message : "");
    r->trace[0] = '\0';
  }
  if (!r->code) r->code = code; /* another rank's verdict arises nowhere here */
  if (used + 1 < sizeof r->trace)
    snprintf(r->trace + strlen(r->trace), sizeof r->trace - strlen(r->trace), "  at %s (%s:%d)\n",
             function, file, line);
  return code;
}

PetscErrorCode MFGErrorHandlerPush(MFGErrorRecord *record) {
  PetscFunctionBeginUser;
  memset(record, 0, sizeof *record);
  PetscCall(PetscPushErrorHandler(Keep, record));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Exit code, and whether every rank has the error. */
static MFGExitCode Classify(PetscErrorCode code, PetscBool *everywhere) {
  *everywhere = PETSC_TRUE;
  switch (code) {
  case PETSC_ERR_FILE_OPEN:
  case PETSC_ERR_FILE_READ:
  case PETSC_ERR_FILE_WRITE:
    return MFG_EXIT_IO;
  case PETSC_ERR_ARG_OUTOFRANGE:
    return MFG_EXIT_RESOURCES;
  case PETSC_ERR_SUP:
  case PETSC_ERR_ARG_UNKNOWN_TYPE:
    return MFG_EXIT_USAGE;
  case PETSC_ERR_USER_INPUT:
    return MFG_EXIT_INPUT;
  case PETSC_ERR_SIG:
    return MFG_EXIT_RESUMABLE;
  case PETSC_ERR_MEM:
  case PETSC_ERR_MPI: /* another rank is gone */
    *everywhere = PETSC_FALSE;
    return MFG_EXIT_RESOURCES;
  default:
    *everywhere = PETSC_FALSE;
    return MFG_EXIT_NUMERICAL;
  }
}

/* What PETSc's own messages leave out. */
static const char *Remedy(PetscErrorCode code) {
  switch (code) {
  case PETSC_ERR_MEM:
    return "; memory is short: take fewer agents, cells or steps, or more ranks; 'nashflow run "
           "CASE.yaml --dry-run' predicts what a run needs";
  case PETSC_ERR_ARG_UNKNOWN_TYPE:
    return "; see the petsc: part of the input and what follows -- on the command line";
  default:
    return "";
  }
}

MFGExitCode MFGErrorExitCode(PetscErrorCode code) {
  PetscBool everywhere;
  return Classify(code, &everywhere);
}

static int abort_code;

/* Libraries that end themselves at the exit can fail after an error, with a code of their own. */
static void LeaveAtOnce(void) {
  _exit(abort_code);
}

MFGExitCode MFGErrorEnd(MPI_Comm comm, const MFGErrorRecord *r) {
  PetscBool everywhere;
  const MFGExitCode exit_code = Classify(r->code, &everywhere);
  const char *name = "";
  PetscMPIInt rank = 0;

  MPI_Comm_rank(comm, &rank);
  if (rank && everywhere) return exit_code;
  if (rank) sleep(1); /* rank 0 speaks for all when it has the error too */
  if (PetscErrorMessage(r->code, &name, NULL)) name = "";
  fprintf(stderr, "nashflow: %s%s%s\n",
          exit_code == MFG_EXIT_RESUMABLE ? "" : "error: ", r->message[0] ? r->message : name,
          Remedy(r->code));
  if (exit_code == MFG_EXIT_NUMERICAL)
    fprintf(stderr, "this is a fault of the program; please report it with these lines:\n%s",
            r->trace);
  fflush(stderr);
  if (!everywhere) {
    (void)usleep(300000); /* the launcher drops what it has not read when the ranks end */
    abort_code = exit_code;
    (void)fflush(NULL);
    (void)atexit(LeaveAtOnce);
    MPI_Abort(comm, exit_code);
  }
  return exit_code;
}
