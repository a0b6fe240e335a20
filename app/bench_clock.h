/* How long operations of a backend take on its device, each from the call until it is done: without
 * what the host does in between and what is copied. */
#pragma once

#include "solvers/backend.h"

/* Seconds. */
typedef struct {
  double agents, density; /* operations of these tables; zeros counted with the agents' */
} MFGBenchClock;

/* A backend whose operations can be clocked: the same tables, borrowed until the next call. The
 * clock is not running. */
const MFGBackend *MFGBenchClocked(const MFGBackend *backend);

/* While it is clocked the host waits for the device before and after each operation: other times
 * of this time mean nothing. Replayed recordings are not clocked. */
PetscErrorCode MFGBenchClockStart(void);
PetscErrorCode MFGBenchClockStop(MFGBenchClock *clock);
