/* Exit codes, and errors of the libraries turned into one clear line. */
#pragma once

#include <petscsys.h>

#include "app/cli.h"

/* The first message of an error on this rank, and the calls it came up through. */
typedef struct {
  PetscErrorCode code;
  char message[1024], trace[4096];
} MFGErrorRecord;

/* Not collective. From here on PETSc errors fill `record` instead of printing a trace. */
PetscErrorCode MFGErrorHandlerPush(MFGErrorRecord *record);

/* The exit code of an error. */
MFGExitCode MFGErrorExitCode(PetscErrorCode code);

/* Ends the program's work after an error. Prints "nashflow: error: ..."; the calls too when it is
 * none of input, files or resources. Errors that all ranks have by construction (input, output,
 * refusals) let the caller end in order with the exit code returned; any other ends all ranks at
 * once. */
MFGExitCode MFGErrorEnd(MPI_Comm comm, const MFGErrorRecord *record);
