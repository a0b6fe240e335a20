#include "solvers/level_chunk.h"

PetscErrorCode MFGLevelChunkReserve(MFGLevelChunk *c, int levels) {
  PetscFunctionBeginUser;
  if (c->memory->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  if (c->constant) levels = 1;
  if (levels * c->count > c->room) c->current = PETSC_FALSE;
  PetscCall(MFGMemoryReserve(c->memory, levels * c->count, sizeof *c->array, &c->room, &c->array));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLevelChunkDestroy(MFGLevelChunk *c) {
  PetscFunctionBeginUser;
  if (c->room) PetscCall(MFGMemoryFree(c->memory, &c->array));
  c->room = 0;
  c->current = PETSC_FALSE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLevelChunkOpen(MFGLevelChunk *c, const double *flow, int first, int last) {
  PetscFunctionBeginUser;
  c->flow = flow;
  c->first = c->constant ? 0 : first;
  c->last = c->constant ? 0 : last;
  c->current = PETSC_FALSE;
  if (!flow) PetscFunctionReturn(PETSC_SUCCESS);
  if (c->memory->is_host)
    c->array = (double *)flow + c->first * c->count;
  else
    PetscCall(MFGLevelChunkReserve(c, c->last - c->first + 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLevelChunkLoad(MFGLevelChunk *c, const double *flow, int first, int last) {
  PetscFunctionBeginUser;
  if (MFGLevelChunkHas(c, flow, first, last)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGLevelChunkOpen(c, flow, first, last));
  if (!flow) PetscFunctionReturn(PETSC_SUCCESS);
  if (!c->memory->is_host)
    PetscCall(MFGMemoryCopy(c->memory, (c->last - c->first + 1) * c->count, sizeof *flow,
                            MFG_COPY_FROM_HOST, flow + c->first * c->count, c->array));
  c->current = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLevelChunkStore(MFGLevelChunk *c, double *flow, int first, int last) {
  PetscFunctionBeginUser;
  if (!c->memory->is_host && last >= first)
    PetscCall(MFGMemoryCopy(c->memory, (last - first + 1) * c->count, sizeof *flow,
                            MFG_COPY_TO_HOST, MFGLevelChunkAt(c, first), flow + first * c->count));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGLevelChunkForget(MFGLevelChunk *c) {
  c->current = PETSC_FALSE;
}

void MFGLevelChunkKeep(MFGLevelChunk *c) {
  c->current = PETSC_TRUE;
}

PetscBool MFGLevelChunkHas(const MFGLevelChunk *c, const double *flow, int first, int last) {
  return (PetscBool)(c->current && flow == c->flow &&
                     (c->constant || (first >= c->first && last <= c->last)));
}

double *MFGLevelChunkAt(const MFGLevelChunk *c, int n) {
  return c->flow ? c->array + (c->constant ? 0 : n - c->first) * c->count : NULL;
}
