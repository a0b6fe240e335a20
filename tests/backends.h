/* The backends that a test of the operations tries. By default those of the CPU; with
 * MFG_TEST_BACKEND=cuda in the environment that of a GPU, in programs that are linked with it:
 * behind a table that takes the host's arrays like the CPU's does, copies them to the device, works
 * there and copies back what the operation writes. */
#pragma once

#include "solvers/backend.h"

#define MFG_TEST_BACKENDS_MOST 3

/* Collective on comm. That of MFGBackendGet(comm, "cpu"), or the GPU's. */
PetscErrorCode MFGTestBackend(MPI_Comm comm, const MFGBackend **backend);

/* Collective on all ranks. The same, but with arrays in its own memory: that of the device. */
const MFGBackend *MFGTestMemory(void);

/* All variants of the CPU that this processor has, or the GPU's; returns how many. */
int MFGTestBackends(const MFGBackend *backends[MFG_TEST_BACKENDS_MOST]);

/* Whether MFG_TEST_BACKEND=cuda. */
PetscBool MFGTestOnDevice(void);

/* Whether only some of the cases are to be done: on a device, where MFG_TEST_FULL is not set (as it
 * is in slow tests). */
PetscBool MFGTestBrief(void);
