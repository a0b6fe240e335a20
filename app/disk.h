/* Files that are there whole or not at all. Not collective but for the last: one rank does it. */
#pragma once

#include <petscsys.h>

/* Bytes that are free for this user in the file system of `directory`. */
PetscErrorCode MFGDiskFree(const char *directory, double *bytes);

/* Makes the directory and looks for room for the file `path` in it: by what the file system says is
 * free, and by reserving the bytes in that file and giving them back, since only this tells of
 * quotas and limits. `what` and `remedy` are for the error, PETSC_ERR_FILE_WRITE. */
PetscErrorCode MFGDiskReserve(const char *directory, const char *path, double bytes,
                              const char *what, const char *remedy);

/* fsync of a file or directory. */
PetscErrorCode MFGDiskSync(const char *path);

/* Syncs the file `from` and renames it; its size is added to *bytes. */
PetscErrorCode MFGDiskRename(const char *from, const char *to, int64_t *bytes);

/* Collective on comm. Rank 0's verdict becomes everybody's. */
PetscErrorCode MFGShareVerdict(MPI_Comm comm, PetscErrorCode verdict);
