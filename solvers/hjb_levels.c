#include "solvers/hjb_levels.h"

PetscErrorCode MFGHJBLevelsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGHJBSpec *spec, MFGHJBLevels *l) {
  const int64_t owned = MFGBlockOwned(&grid->block);

  PetscFunctionBeginUser;
  *l = (MFGHJBLevels){.backend = backend,
                      .spec = spec,
                      .owned = owned,
                      .most = backend->memory->is_host ? 1 : spec->steps,
                      .value = {.memory = backend->memory, .count = owned},
                      .drift = MFGHJBSpecChunk(spec, &grid->block, backend->memory)};
  PetscCall(PetscMalloc2(owned, &l->source, owned, &l->shift));
  if (backend->memory->is_host) {
    l->costs = l->source;
    l->difference = l->shift;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsDestroy(MFGHJBLevels *l) {
  PetscFunctionBeginUser;
  PetscCall(MFGLevelChunkDestroy(&l->value));
  PetscCall(MFGLevelChunkDestroy(&l->drift));
  if (l->costs_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->costs));
  if (l->difference_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->difference));
  PetscCall(PetscFree2(l->source, l->shift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for the longest chunk, also of a cold sweep. */
static PetscErrorCode Reserve(MFGHJBLevels *l) {
  const MFGMemoryOps *m = l->backend->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGLevelChunkReserve(&l->value, l->most + 3));
  if (l->spec->drift_levels) PetscCall(MFGLevelChunkReserve(&l->drift, l->most));
  PetscCall(MFGMemoryReserve(m, l->most * l->owned, sizeof(double), &l->costs_room, &l->costs));
  PetscCall(MFGMemoryReserve(m, l->owned, sizeof(double), &l->difference_room, &l->difference));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Upload(const MFGHJBLevels *l, const double *from, double *to) {
  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryCopy(l->backend->memory, l->owned, sizeof(double), MFG_COPY_FROM_HOST, from, to));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsLoad(MFGHJBLevels *l, int solved, PetscBool cold,
                                MFGSourceFunction source, void *context, double *U) {
  const PetscBool host = l->backend->memory->is_host;
  const int last = cold ? PetscMin(solved + 2, l->spec->steps) : solved;

  PetscFunctionBeginUser;
  l->first = PetscMax(0, solved - l->most);
  if (!host) PetscCall(Reserve(l));
  MFGLevelChunkForget(&l->value);
  PetscCall(MFGLevelChunkLoad(&l->value, U, l->first, last));
  MFGLevelChunkForget(&l->value);
  PetscCall(MFGLevelChunkLoad(&l->drift, MFGHJBSpecFlow(l->spec), l->first, solved - 1));
  for (int n = solved - 1; n >= l->first; n--) {
    PetscCall(source(context, n + 1, l->source));
    if (!host) PetscCall(Upload(l, l->source, (double *)MFGHJBLevelsCost(l, n)));
  }
  if (!host) PetscCall(Upload(l, l->shift, l->difference));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHJBLevelsStore(MFGHJBLevels *l, int tried, double *U) {
  const MFGMemoryOps *m = l->backend->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGLevelChunkStore(&l->value, U, l->value.first, l->value.last));
  MFGLevelChunkKeep(&l->value);
  if (m->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGMemoryCopy(m, l->owned, sizeof(double), MFG_COPY_TO_HOST, l->difference, l->shift));
  PetscCall(MFGMemoryCopy(m, l->owned, sizeof(double), MFG_COPY_TO_HOST, MFGHJBLevelsCost(l, tried),
                          l->source));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const double *MFGHJBLevelsCost(const MFGHJBLevels *l, int n) {
  return l->costs + (n - l->first) * l->owned;
}
