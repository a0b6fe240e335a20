/* The commands of the program. Each returns the exit code in *exit_code. */
#pragma once

#include "app/config.h"
#include "app/exit_code.h"

/* All collective on comm. */
PetscErrorCode MFGRun(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code);
PetscErrorCode MFGVerify(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code);
PetscErrorCode MFGBench(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code);
/* About two seconds of measuring, and a table. */
PetscErrorCode MFGDevices(MPI_Comm comm, MFGExitCode *exit_code);

/* Collective on comm. The dry run of --ranks: divisions, and what the rank in the middle and the
 * one with the most memory would hold and send, as lines `key: value`. One process does it, on a
 * coarser grid where the input's is large. */
PetscErrorCode MFGDryRunRanks(MPI_Comm comm, const MFGConfig *config, int ranks,
                              MFGExitCode *exit_code);

/* The path of a shipped input (name without .yaml): beside the installed program, or in the
 * sources. */
PetscErrorCode MFGInputPath(const char *name, char path[PETSC_MAX_PATH_LEN]);

/* Collective. Prints the errors on rank 0, frees them; the exit code for bad input. */
PetscErrorCode MFGInputErrorsReport(MPI_Comm comm, MFGConfigErrors *errors, MFGExitCode *exit_code);

/* "24 x 16 x 8". */
void MFGCellsText(int dim, const int cells[], size_t size, char text[]);
