/* How long operations of a backend take on its device: without what the host does in between and
 * what is copied to and from it. */
#pragma once

#include "solvers/backend.h"

/* Seconds. */
typedef struct {
  double agents, density; /* operations of these tables; other work counts with the one before it */
} MFGBenchClock;

/* A backend whose operations can be clocked: the same tables, borrowed until the next call. The
 * clock is not running. */
const MFGBackend *MFGBenchClocked(const MFGBackend *backend);

/* While it is clocked the host waits for the device whenever the kind of the work changes: other
 * times of this time mean nothing. Replayed recordings are not clocked. */
PetscErrorCode MFGBenchClockStart(void);
PetscErrorCode MFGBenchClockStop(MFGBenchClock *clock);
