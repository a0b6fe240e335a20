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

/* Does `work`: the first time with these keys directly, so that all it allocates is there; the
 * second time recorded; from then on the recording. *replayed: `work` was not called. Directly
 * every time where the memory cannot record. */
PetscErrorCode MFGRecordingRun(const MFGMemoryOps *memory, MFGRecording *recording,
                               const int64_t key[MFG_RECORDING_KEYS],
                               PetscErrorCode (*work)(void *context), void *context,
                               PetscBool *replayed);
PetscErrorCode MFGRecordingDestroy(const MFGMemoryOps *memory, MFGRecording *recording);
