#include "solvers/hjb_levels.h"

PetscErrorCode MFGHJBLevelsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGHJBSpec *spec, MFGHJBLevels *l) {
  const int64_t owned = MFGBlockOwned(&grid->block);

  PetscFunctionBeginUser;
  *l = (MFGHJBLevels){.backend = backend,
                      .spec = spec,
                      .block = &grid->block,
                      .owned = owned,
                      .most = backend->memory->is_host ? 1 : spec->steps};
  PetscCall(PetscMalloc2(owned, &l->source, owned, &l->shift));
  if (backend->memory->is_host) {
    l->costs = l->source;
    l->difference = l->shift;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsDestroy(MFGHJBLevels *l) {
  PetscFunctionBeginUser;
  if (l->values_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->values));
  if (l->costs_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->costs));
  if (l->drift_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->drift));
  if (l->difference_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->difference));
  PetscCall(PetscFree2(l->source, l->shift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for the longest chunk, also of a cold sweep. */
static PetscErrorCode Reserve(MFGHJBLevels *l) {
  const MFGMemoryOps *m = l->backend->memory;
  const int64_t owned = l->owned, drift = l->block->dim * owned;

  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryReserve(m, (l->most + 3) * owned, sizeof(double), &l->values_room, &l->values));
  PetscCall(MFGMemoryReserve(m, l->most * owned, sizeof(double), &l->costs_room, &l->costs));
  PetscCall(MFGMemoryReserve(m, owned, sizeof(double), &l->difference_room, &l->difference));
  if (l->spec->drift_levels)
    PetscCall(MFGMemoryReserve(m, (l->spec->drift_levels > 1 ? l->most : 1) * drift, sizeof(double),
                               &l->drift_room, &l->drift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Upload(const MFGHJBLevels *l, int64_t count, const double *from, double *to) {
  PetscFunctionBeginUser;
  PetscCall(MFGMemoryCopy(l->backend->memory, count, sizeof(double), MFG_COPY_FROM_HOST, from, to));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The given drift of levels first .. end-1, which never changes. */
static PetscErrorCode UploadDrift(MFGHJBLevels *l, int first, int end) {
  const PetscBool constant = (PetscBool)(l->spec->drift_levels == 1);
  const int count = constant ? 1 : end - first;

  PetscFunctionBeginUser;
  if (count <= l->drift_count && (constant || first == l->drift_first))
    PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(Upload(l, count * l->block->dim * l->owned, MFGHJBSpecDrift(l->spec, l->block, first),
                   l->drift));
  l->drift_first = first;
  l->drift_count = count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsLoad(MFGHJBLevels *l, int solved, PetscBool cold,
                                MFGSourceFunction source, void *context, double *U) {
  const int64_t owned = l->owned;
  const int first = PetscMax(0, solved - l->most);
  const int last = cold ? PetscMin(solved + 2, l->spec->steps) : solved;

  PetscFunctionBeginUser;
  l->U = U;
  l->first = first;
  l->last = last;
  l->kept = PETSC_FALSE;
  if (l->backend->memory->is_host) {
    l->values = U + first * owned;
    l->drift = (double *)MFGHJBSpecDrift(l->spec, l->block, first);
    PetscCall(source(context, solved, l->source));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(Reserve(l));
  PetscCall(Upload(l, (last - first + 1) * owned, U + first * owned, l->values));
  for (int n = solved - 1; n >= first; n--) {
    PetscCall(source(context, n + 1, l->source));
    PetscCall(Upload(l, owned, l->source, (double *)MFGHJBLevelsCost(l, n)));
  }
  if (l->spec->drift_levels) PetscCall(UploadDrift(l, first, solved));
  PetscCall(Upload(l, owned, l->shift, l->difference));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsStore(MFGHJBLevels *l, int tried) {
  const MFGMemoryOps *m = l->backend->memory;

  PetscFunctionBeginUser;
  if (m->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryCopy(m, (l->last - l->first + 1) * l->owned, sizeof(double), MFG_COPY_TO_HOST,
                          l->values, l->U + l->first * l->owned));
  PetscCall(MFGMemoryCopy(m, l->owned, sizeof(double), MFG_COPY_TO_HOST, l->difference, l->shift));
  PetscCall(MFGMemoryCopy(m, l->owned, sizeof(double), MFG_COPY_TO_HOST, MFGHJBLevelsCost(l, tried),
                          l->source));
  l->kept = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

const double *MFGHJBLevelsKept(const MFGHJBLevels *l, const double *U, int n) {
  return l->kept && U == l->U && n >= l->first && n <= l->last ? MFGHJBLevelsValue(l, n) : NULL;
}

double *MFGHJBLevelsValue(const MFGHJBLevels *l, int n) {
  return l->values + (n - l->first) * l->owned;
}

const double *MFGHJBLevelsCost(const MFGHJBLevels *l, int n) {
  return l->costs + (n - l->first) * l->owned;
}

const double *MFGHJBLevelsDrift(const MFGHJBLevels *l, int n) {
  if (!l->drift || l->spec->drift_levels == 1) return l->drift;
  return l->drift + (n - l->first) * l->block->dim * l->owned;
}
