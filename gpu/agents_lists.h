/* Moments by lists of the agents of each box (agents_lists.cu). */
#pragma once

#include "gpu/agents_step.h"

/* Enough agents to a box. */
bool MFGListsPay(const MFGSweep *s);
/* Bytes of `work`. */
int64_t MFGListsWork(const MFGSweep *s, const MFGDevice *device);
/* All levels of the sweep. */
cudaError_t MFGLaunchLists(int dim, const MFGSweep *s, void *work, const MFGDevice *device);
