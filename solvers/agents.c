#include "solvers/agents.h"

MFGAgents MFGAgentsNone(const MFGBlock *block, PetscBool single, PetscBool with_ids) {
  MFGAgents a = {.dim = block->dim, .single = single, .with_ids = with_ids};
  for (int k = 0; k < a.dim; k++) a.axis[k] = MFGAxisOf(block, k);
  a.range.id_stride = 1;
  return a;
}

PetscErrorCode MFGAgentsDestroy(MFGAgents *a) {
  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(PetscFree(a->range.position[k]));
    PetscCall(PetscFree(a->range.offset[k]));
  }
  PetscCall(PetscFree(a->range.id));
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
      PetscCall(PetscMalloc1(a->room, &a->range.offset[k]));
    else
      PetscCall(PetscMalloc1(a->room, &a->range.position[k]));
  }
  if (a->with_ids) PetscCall(PetscMalloc1(a->room, &a->range.id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsCopy(const MFGAgents *from, MFGAgents *to) {
  const MFGAgentRange *f = &from->range;
  MFGAgentRange *t = &to->range;

  PetscFunctionBeginUser;
  if (from->with_ids && !to->with_ids) PetscCall(MFGAgentsDestroy(to));
  to->with_ids = from->with_ids;
  PetscCall(MFGAgentsReserve(to, f->count));
  for (int k = 0; k < from->dim; k++) {
    if (from->single)
      PetscCall(PetscArraycpy(t->offset[k], f->offset[k], f->count));
    else
      PetscCall(PetscArraycpy(t->position[k], f->position[k], f->count));
  }
  if (from->with_ids) PetscCall(PetscArraycpy(t->id, f->id, f->count));
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

void MFGAgentsGet(const MFGAgents *a, int64_t i, double *record) {
  const int64_t id = MFGAgentId(&a->range, i);
  for (int k = 0; k < a->dim; k++) record[k] = MFGAgentPosition(&a->range, &a->axis[k], k, i);
  memcpy(&record[a->dim], &id, sizeof id);
}

void MFGAgentsPut(MFGAgents *a, int64_t i, const double *record) {
  for (int k = 0; k < a->dim; k++) MFGAgentMoveTo(&a->range, &a->axis[k], k, i, record[k]);
  memcpy(&a->range.id[i], &record[a->dim], sizeof a->range.id[i]);
}

static PetscErrorCode ReserveScratch(MFGSortScratch *s, int64_t room, int64_t cells) {
  PetscFunctionBeginUser;
  if (room > s->room) {
    PetscCall(PetscFree(s->place));
    PetscCall(PetscFree(s->column));
    PetscCall(PetscMalloc1(room, &s->place));
    PetscCall(PetscMalloc1(room, &s->column));
    s->room = room;
  }
  if (cells > s->cells) {
    PetscCall(PetscFree(s->start));
    PetscCall(PetscMalloc1(cells + 1, &s->start));
    s->cells = cells;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAgentsSort(const MFGBackend *backend, const MFGBlock *box, MFGAgents *a,
                             MFGSortScratch *s) {
  PetscFunctionBeginUser;
  if (!backend->agents->sort || a->range.count > UINT32_MAX) PetscFunctionReturn(PETSC_SUCCESS);
  if (!a->with_ids) {
    int64_t *id;
    PetscCall(PetscMalloc1(a->room, &id));
    for (int64_t i = 0; i < a->range.count; i++) id[i] = MFGAgentId(&a->range, i);
    a->range.id = id;
    a->with_ids = PETSC_TRUE;
  }
  PetscCall(ReserveScratch(s, a->room, MFGBlockOwned(box)));
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
  PetscCall(PetscFree(s->place));
  PetscCall(PetscFree(s->start));
  PetscCall(PetscFree(s->column));
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
