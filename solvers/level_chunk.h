/* Levels of a flow, [levels][count] on the host, in the memory of a backend: where that is the
 * host's they are the flow's own, elsewhere a copy of some of them. */
#pragma once

#include "solvers/memory.h"

typedef struct {
  const MFGMemoryOps *memory; /* borrowed; set it and the next two before the first use */
  int64_t count;              /* numbers of a level */
  PetscBool constant;         /* the flow has one level, which stands for all */
  const double *flow;         /* borrowed; NULL: there are no levels */
  int first, last;            /* the levels that are here */
  PetscBool current;          /* with the numbers of the flow */
  double *array;              /* [last - first + 1][count] in `memory` */
  int64_t room;               /* numbers that `array` has room for; 0: it is not owned */
} MFGLevelChunk;

/* Room for so many levels. */
PetscErrorCode MFGLevelChunkReserve(MFGLevelChunk *chunk, int levels);
PetscErrorCode MFGLevelChunkDestroy(MFGLevelChunk *chunk);

/* Levels first .. last of a flow, or NULL: with its numbers, unless they are here and have not been
 * forgotten. */
PetscErrorCode MFGLevelChunkLoad(MFGLevelChunk *chunk, const double *flow, int first, int last);
/* The same with contents undefined elsewhere than on the host. */
PetscErrorCode MFGLevelChunkOpen(MFGLevelChunk *chunk, const double *flow, int first, int last);
/* Levels first .. last of those here into the flow, which is the one loaded or opened. */
PetscErrorCode MFGLevelChunkStore(MFGLevelChunk *chunk, double *flow, int first, int last);

/* What is here may differ from the flow from now on, or (Keep) are its numbers. */
void MFGLevelChunkForget(MFGLevelChunk *chunk);
void MFGLevelChunkKeep(MFGLevelChunk *chunk);
/* Whether these levels of the flow are here, with its numbers. */
PetscBool MFGLevelChunkHas(const MFGLevelChunk *chunk, const double *flow, int first, int last);

/* Level n, one of those here; NULL without a flow. */
double *MFGLevelChunkAt(const MFGLevelChunk *chunk, int n);
