/* What the host stand-in counts and may be told, in tests that run on a device too. There its
 * functions are not: whoever calls one asks OnStandin first. */
#pragma once

#include <petscsys.h>

#include "tests/gpu_on_host/standin.h"

#pragma weak MFGStandinCount
#pragma weak MFGStandinCountReset
#pragma weak MFGStandinSetMemory
#pragma weak MFGStandinMemoryUsed

static inline PetscBool OnStandin(void) {
  return (PetscBool)(MFGStandinCount != NULL);
}

/* What was enqueued since the last time; on a device nothing. */
static inline MFGStandinCounts Counted(void) {
  MFGStandinCounts counts = {0};
  if (!OnStandin()) return counts;
  counts = MFGStandinCount();
  MFGStandinCountReset();
  return counts;
}
