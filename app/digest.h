/* A digest of a file's bytes that all ranks compute together. It tells damage, not forgery: any
 * change within one word of eight bytes changes it for certain, others but for chance of 2^-64. */
#pragma once

#include "app/watch.h"

/* Collective on comm. Of the bytes from `begin` to `end` of the file; the same on all ranks and for
 * any number of them. *reason: 0, or the errno of a rank that could not read, ENODATA where the
 * file ends before. `watch`, or NULL, is asked on the way: MFGWatchSetup. */
PetscErrorCode MFGFileDigest(MPI_Comm comm, const char *path, int64_t begin, int64_t end,
                             MFGWatch *watch, uint64_t *digest, int *reason);
