/* Work that is done again and again with the same arguments, in one call of the device. */
#pragma once

#include "solvers/memory.h"

/* What the work depends on but for the contents of arrays: addresses, sizes, levels, ... */
#define MFG_RECORDING_KEYS 24

/* Zero before the first use. */
typedef struct {
  int64_t key[MFG_RECORDING_KEYS];
  PetscBool seen;  /* done once with this key */
  void *recording; /* owned; NULL before the second time */
} MFGRecording;

/* Collective on comm. Does `work`: the first time with these keys directly, so that all it
 * allocates is there; the second time recorded; from then on the recording. *replayed: `work` was
 * not called. Directly every time where the memory cannot record. All ranks do the same: directly
 * where the keys of one of them are new, since messages must be in recordings on all or on none. */
PetscErrorCode MFGRecordingRun(MPI_Comm comm, const MFGMemoryOps *memory, MFGRecording *recording,
                               const int64_t key[MFG_RECORDING_KEYS],
                               PetscErrorCode (*work)(void *context), void *context,
                               PetscBool *replayed);
PetscErrorCode MFGRecordingDestroy(const MFGMemoryOps *memory, MFGRecording *recording);
