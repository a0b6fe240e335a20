/* Agents in arrays of their own: positions in double or single precision, ids where they do not
 * follow from the place. */
#pragma once

#include "solvers/backend.h"

typedef struct {
  MFGAxis axis[MFG_MAX_DIM];
  int dim;
  const MFGMemoryOps *memory; /* where the arrays are */
  PetscBool single, with_ids;
  int64_t room;        /* of the arrays; at least range.count */
  MFGAgentRange range; /* arrays owned */
} MFGAgents;

/* No agents yet, in the grid that `block` is a part of. */
MFGAgents MFGAgentsNone(const MFGMemoryOps *memory, const MFGBlock *block, PetscBool single,
                        PetscBool with_ids);

/* Arrays for at least `room` agents; contents are not kept. */
PetscErrorCode MFGAgentsReserve(MFGAgents *agents, int64_t room);

/* From now on they have ids in an array. */
PetscErrorCode MFGAgentsWriteIds(MFGAgents *agents);

/* Copies the agents, with more room and with ids where they need it, also from or to the host's
 * memory. Same precision. */
PetscErrorCode MFGAgentsCopy(const MFGAgents *from, MFGAgents *to);
PetscErrorCode MFGAgentsDestroy(MFGAgents *agents);

/* The agents from number `first` on; borrowed. */
MFGAgentRange MFGAgentsFrom(const MFGAgents *agents, int64_t first);

/* Kept between sorts; zero before the first. */
typedef struct {
  uint32_t *place, *start; /* owned; [room], [cells + 1] */
  uint64_t *column;        /* owned; [room] */
  int64_t room, cells;
  const MFGMemoryOps *memory;
} MFGSortScratch;

/* Agents into the order of their cells in the box; from now on they have ids in an array. More than
 * 2^32 - 1 are left as they are: only slower. */
PetscErrorCode MFGAgentsSort(const MFGBackend *backend, const MFGBlock *box, MFGAgents *agents,
                             MFGSortScratch *scratch);
/* For sorts of arrays with so much room in a box of so many cells, which then allocate nothing. */
PetscErrorCode MFGSortScratchReserve(MFGSortScratch *scratch, const MFGMemoryOps *memory,
                                     int64_t room, int64_t cells);
PetscErrorCode MFGSortScratchDestroy(MFGSortScratch *scratch);
int64_t MFGSortScratchBytes(int64_t agents, int64_t cells);

/* Bytes of one agent. */
int64_t MFGAgentBytes(int dim, PetscBool single, PetscBool with_ids);
