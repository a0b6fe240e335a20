/* Failures of MPI-IO that HDF5 must not see. HDF5 1.10 gives up within a collective call on the
 * rank that a full disk meets and leaves the others waiting; a file that it cannot close ends the
 * program when HDF5 does. So, by the profiling interface of MPI, a write that fails is told to HDF5
 * as done, and to the writer by MFGFilesFailed: the file is worthless then, and every rank knows.
 */
#pragma once

#include <mpi.h>
#include <stddef.h>

/* Not collective. From here on (watch: 1) failures are kept, none so far; or (0) returned again. */
void MFGFilesWatch(int watch);

/* Not collective. Whether something has failed on this rank, and what the system said. */
int MFGFilesFailed(size_t size, char reason[]);
