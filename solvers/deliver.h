/* Records to the ranks that own them. */
#pragma once

#include <petscsys.h>

/* Collective on comm. record[count][words] of doubles, owner[count] the ranks they go to; those for
 * this rank, in the order of the ranks they come from: (*received)[*arrived][words], the caller's
 * (PetscFree). One all-to-all: less than 2^31 records a rank. */
PetscErrorCode MFGDeliver(MPI_Comm comm, int words, int64_t count, const int owner[],
                          const double *record, int64_t *arrived, double **received);
