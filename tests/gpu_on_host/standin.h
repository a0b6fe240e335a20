/* What tests may ask of the host stand-in and tell it. Also set by the environment:
 *   MFG_STANDIN_SEED     order of blocks, threads and graph nodes; with an odd one work also runs
 * as soon as it is enqueued, with an even one as late as a device may (default 0)
 *   MFG_STANDIN_DEVICES  number of devices (1); 0: cudaErrorNoDevice; -1:
 * cudaErrorInsufficientDriver, as on a machine without a driver MFG_STANDIN_MEMORY   bytes of each
 * device (2 GiB) MFG_STANDIN_SHARED_DEVICE  1: the ranks see the same devices, as on one node; else
 * each its own
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What has been enqueued since the start, or the last reset; nodes of a graph count at each launch
 * of it. [from][to]: 0 the host's memory, 1 the device's. */
typedef struct {
  int64_t kernels, graph_launches, memsets, collectives;
  int64_t copies[2][2], bytes[2][2];
  int64_t pageable_copies; /* those of `copies` with memory of the host that is not pinned */
  int64_t allocations, frees, synchronizations, ranges; /* ranges: NVTX */
} MFGStandinCounts;

MFGStandinCounts MFGStandinCount(void);
void MFGStandinCountReset(void);

/* From here on, in place of the environment's. Nothing may be pending. */
void MFGStandinSetSeed(uint64_t seed);
void MFGStandinSetMemory(int64_t bytes);

/* Bytes of device memory in use. */
int64_t MFGStandinMemoryUsed(void);

#ifdef __cplusplus
}
#endif
