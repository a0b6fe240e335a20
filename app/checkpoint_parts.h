/* What app/checkpoint*.c share. */
#pragma once

#include "app/checkpoint.h"

/* The text before the HDF5 file, filled with zeros. */
void MFGCheckpointBlock(int layout, int64_t bytes, uint64_t digest,
                        char block[MFG_CHECKPOINT_BLOCK]);

/* Not collective. Numbers of the checkpoints in a directory, descending; *numbers is the caller's
 * (PetscFree). None where the directory cannot be read. */
PetscErrorCode MFGCheckpointList(const char *directory, int *count, int **numbers);

/* "directory/checkpoint_000012.h5" */
void MFGCheckpointPath(const char *directory, int number, char path[PETSC_MAX_PATH_LEN]);
