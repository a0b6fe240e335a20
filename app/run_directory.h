/* The run directory: a lock, so that no two runs write to it, and small files written whole. */
#pragma once

#include <petscsys.h>

/* Not collective. mkdir -p. Returns errno, 0 when the directory is there. */
int MFGMakeDirectories(const char *path);

/* Collective. Makes the directory and puts `lock` there, with host, process and Slurm job of rank
 * 0. A lock whose process on this host is gone, or that this job left behind (a requeue), is taken
 * over. Errors: PETSC_ERR_FILE_OPEN where another run holds it, with those three named, and what to
 * do; PETSC_ERR_FILE_WRITE. */
PetscErrorCode MFGRunDirectoryLock(MPI_Comm comm, const char *directory);

/* Collective. Takes the lock away if it is this process's own. */
PetscErrorCode MFGRunDirectoryUnlock(MPI_Comm comm, const char *directory);

/* Collective. Rank 0 writes a small text file whole: to a temporary name, then renamed. */
PetscErrorCode MFGRunDirectoryWrite(MPI_Comm comm, const char *directory, const char *name,
                                    const char *text);
