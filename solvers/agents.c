#include "solvers/agents.h"

MFGAgents MFGAgentsNone(const MFGMemoryOps *memory, const MFGBlock *block, PetscBool single,
                        PetscBool with_ids) {
  MFGAgents a = {.dim = block->dim, .memory = memory, .single = single, .with_ids = with_ids};
  for (int k = 0; k < a.dim; k++) a.axis[k] = MFGAxisOf(block, k);
  a.range.id_stride = 1;
  return a;
}

PetscErrorCode MFGAgentsDestroy(MFGAgents *a) {
  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(MFGMemoryFree(a->memory, &a->range.position[k]));
    PetscCall(MFGMemoryFree(a->memory, &a->range.offset[k]));
  }
  PetscCall(MFGMemoryFree(a->memory, &a->range.id));
  a->range.count = a->room = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsReserve(MFGAgents *a, int64_t room) {
  PetscFunctionBeginUser;
  if (a->room && room <= a->room) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGAgentsDestroy(a));
  a->room = PetscMax(room, 1);
  for (int k = 0; k < a->dim; k++) {
    if (a->single)
      PetscCall(MFGMemoryAllocate(a->memory, a->room, sizeof(float), &a->range.offset[k]));
    else
      PetscCall(MFGMemoryAllocate(a->memory, a->room, sizeof(double), &a->range.position[k]));
  }
  if (a->with_ids) PetscCall(MFGMemoryAllocate(a->memory, a->room, sizeof(int64_t), &a->range.id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsCopy(const MFGAgents *from, MFGAgents *to) {
  const MFGAgentRange *f = &from->range;
  MFGAgentRange *t = &to->range;

  const MFGMemoryOps *m = from->memory->is_host ? to->memory : from->memory;
  const MFGCopyDirection way = from->memory == to->memory ? MFG_COPY_WITHIN
                               : from->memory->is_host    ? MFG_COPY_FROM_HOST
                                                          : MFG_COPY_TO_HOST;

  PetscFunctionBeginUser;
  if (from->with_ids && !to->with_ids) PetscCall(MFGAgentsDestroy(to));
  to->with_ids = from->with_ids;
  PetscCall(MFGAgentsReserve(to, f->count));
  for (int k = 0; k < from->dim; k++) {
    if (from->single)
      PetscCall(MFGMemoryCopy(m, f->count, sizeof(float), way, f->offset[k], t->offset[k]));
    else
      PetscCall(MFGMemoryCopy(m, f->count, sizeof(double), way, f->position[k], t->position[k]));
  }
  if (from->with_ids) PetscCall(MFGMemoryCopy(m, f->count, sizeof(int64_t), way, f->id, t->id));
  t->first_id = f->first_id;
  t->id_stride = f->id_stride;
  t->count = f->count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGAgentRange MFGAgentsFrom(const MFGAgents *a, int64_t first) {
  MFGAgentRange range = a->range;
  range.count -= first;
  range.first_id += first * range.id_stride;
  for (int k = 0; k < a->dim; k++) {
    if (a->single)
      range.offset[k] += first;
    else
      range.position[k] += first;
  }
  if (range.id) range.id += first;
  return range;
}

PetscErrorCode MFGSortScratchReserve(MFGSortScratch *s, const MFGMemoryOps *memory, int64_t room,
                                     int64_t cells) {
  int64_t places = s->room, starts = s->cells ? s->cells + 1 : 0;

  PetscFunctionBeginUser;
  s->memory = memory;
  PetscCall(MFGMemoryReserve(memory, room, sizeof *s->place, &places, &s->place));
  PetscCall(MFGMemoryReserve(memory, room, sizeof *s->column, &s->room, &s->column));
  PetscCall(MFGMemoryReserve(memory, cells + 1, sizeof *s->start, &starts, &s->start));
  s->cells = starts - 1;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsWriteIds(MFGAgents *a) {
  int64_t *id, *there;

  PetscFunctionBeginUser;
  if (a->with_ids) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscMalloc1(a->range.count, &id));
  for (int64_t i = 0; i < a->range.count; i++) id[i] = MFGAgentId(&a->range, i);
  PetscCall(MFGMemoryAllocate(a->memory, a->room, sizeof *there, &there));
  PetscCall(MFGMemoryCopy(a->memory, a->range.count, sizeof *id, MFG_COPY_FROM_HOST, id, there));
  PetscCall(PetscFree(id));
  a->range.id = there;
  a->with_ids = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsSort(const MFGBackend *backend, const MFGBlock *box, MFGAgents *a,
                             MFGSortScratch *s) {
  PetscFunctionBeginUser;
  if (!backend->agents->sort || a->range.count > UINT32_MAX) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGAgentsWriteIds(a));
  PetscCall(MFGSortScratchReserve(s, a->memory, a->room, MFGBlockOwned(box)));
  const MFGSort job = {.domain = *box,
                       .agents = a->range,
                       .place = s->place,
                       .start = s->start,
                       .column = s->column};
  PetscCall(MFGBackendSort(backend, &job));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGSortScratchDestroy(MFGSortScratch *s) {
  PetscFunctionBeginUser;
  if (!s->memory) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryFree(s->memory, &s->place));
  PetscCall(MFGMemoryFree(s->memory, &s->start));
  PetscCall(MFGMemoryFree(s->memory, &s->column));
  s->room = s->cells = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGSortScratchBytes(int64_t agents, int64_t cells) {
  return agents * (int64_t)(sizeof(uint32_t) + sizeof(uint64_t)) +
         (cells + 1) * (int64_t)sizeof(uint32_t);
}

int64_t MFGAgentBytes(int dim, PetscBool single, PetscBool with_ids) {
  const size_t position = single ? sizeof(float) : sizeof(double);
  return (int64_t)(dim * position + (with_ids ? sizeof(int64_t) : 0));
}
