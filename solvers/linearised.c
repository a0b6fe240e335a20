#include "solvers/linearised.h"

#include "solvers/log_event.h"

struct MFGLinearised_ {
  MFGLinearStep step;        /* borrowed */
  const MFGBackend *backend; /* borrowed; of the step: arrays are in its memory */
  MFGCost running, terminal;
  const double *M, *P; /* borrowed, on the host */
  double *dU, *cost;   /* owned, as all below; [steps + 1][owned] and [owned], on the host */
  MFGLevelChunk value; /* of dU */
  /* Level n is that of the step from n, level n + 1 of the equations. */
  MFGLevelChunk density, change; /* of P and dP */
  double *costs;                 /* F'(M) dM of a chunk: [..][owned]; on the host it is `cost` */
  int64_t costs_room;
  double *right, *work;   /* [owned] */
  MFGPauseFunction pause; /* or NULL */
  void *pause_context;
};

PetscErrorCode MFGLinearisedCreate(MFGLinearStep step, const MFGCost *running,
                                   const MFGCost *terminal, MFGLinearised *linearised) {
  const int64_t owned = MFGBlockOwned(&MFGLinearStepGrid(step)->block);
  const MFGMemoryOps *memory = MFGLinearStepBackend(step)->memory;
  MFGLinearised l;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&l));
  l->step = step;
  l->backend = MFGLinearStepBackend(step);
  l->running = *running;
  l->terminal = *terminal;
  l->value = l->density = l->change = (MFGLevelChunk){.memory = memory, .count = owned};
  PetscCall(PetscMalloc2((MFGLinearStepSpec(step)->steps + 1) * owned, &l->dU, owned, &l->cost));
  PetscCall(MFGMemoryAllocate(memory, 2 * owned, sizeof *l->right, &l->right));
  l->work = l->right + owned;
  if (memory->is_host) l->costs = l->cost;
  *linearised = l;
  PetscFunctionReturn(PETSC_SUCCESS);
}

int64_t MFGLinearisedDeviceBytes(int64_t owned, int levels) {
  return (4 * levels + 2 + 2) * owned * 8;
}

PetscErrorCode MFGLinearisedDestroy(MFGLinearised *linearised) {
  MFGLinearised l;

  PetscFunctionBeginUser;
  if (!linearised || !*linearised) PetscFunctionReturn(PETSC_SUCCESS);
  l = *linearised;
  PetscCall(MFGLevelChunkDestroy(&l->value));
  PetscCall(MFGLevelChunkDestroy(&l->density));
  PetscCall(MFGLevelChunkDestroy(&l->change));
  if (l->costs_room) PetscCall(MFGMemoryFree(l->backend->memory, &l->costs));
  PetscCall(MFGMemoryFree(l->backend->memory, &l->right));
  PetscCall(PetscFree2(l->dU, l->cost));
  PetscCall(PetscFree(*linearised));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGLinearisedSet(MFGLinearised l, const double *M, const double *U, const double *P) {
  l->M = M;
  l->P = P;
  MFGLinearStepSetFlow(l->step, U);
  MFGLevelChunkForget(&l->density);
}

void MFGLinearisedSetPause(MFGLinearised l, MFGPauseFunction pause, void *context) {
  l->pause = pause;
  l->pause_context = context;
}

static PetscErrorCode Pause(MFGLinearised l, PetscBool *stop) {
  PetscFunctionBeginUser;
  if (l->pause) PetscCall(l->pause(l->pause_context, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* On the host `there` is the array itself. */
static PetscErrorCode Upload(MFGLinearised l, const double *from, double *there) {
  const MFGMemoryOps *memory = l->backend->memory;

  PetscFunctionBeginUser;
  if (!memory->is_host)
    PetscCall(MFGMemoryCopy(memory, l->value.count, sizeof *from, MFG_COPY_FROM_HOST, from, there));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the steps to the levels first .. top-1 of dU need: all there. */
static PetscErrorCode LoadBackward(MFGLinearised l, int first, int top, const double *dM) {
  const MFGMemoryOps *memory = l->backend->memory;
  const int64_t owned = l->value.count;

  PetscFunctionBeginUser;
  PetscCall(MFGLinearStepLoad(l->step, first, top));
  PetscCall(MFGLevelChunkOpen(&l->value, l->dU, first, top));
  PetscCall(Upload(l, l->dU + top * owned, MFGLevelChunkAt(&l->value, top)));
  if (!memory->is_host)
    PetscCall(MFGMemoryReserve(memory, (top - first) * owned, sizeof *l->costs, &l->costs_room,
                               &l->costs));
  for (int n = first; n < top; n++) {
    PetscCall(MFGCostDerivative(MFGLinearStepGrid(l->step), &l->running, l->M + n * owned,
                                dM + n * owned, l->cost));
    PetscCall(Upload(l, l->cost, l->costs + (n - first) * owned));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode StepBackward(MFGLinearised l, int n, double tolerance,
                                   MFGLinearStats *stats) {
  const double *next = MFGLevelChunkAt(&l->value, n + 1);
  double *dU = MFGLevelChunkAt(&l->value, n);
  const MFGLevelRight right = {.count = l->value.count,
                               .dt = MFGLinearStepSpec(l->step)->dt,
                               .weight = 1,
                               .level = next,
                               .source = l->costs + (n - l->value.first) * l->value.count};

  PetscFunctionBeginUser;
  PetscCall(l->backend->level->right_side(&right, l->right));
  PetscCall(
      MFGMemoryCopy(l->backend->memory, l->value.count, sizeof *dU, MFG_COPY_WITHIN, next, dU));
  PetscCall(MFGLinearStepSet(l->step, n));
  PetscCall(MFGLinearStepSolve(l->step, PETSC_FALSE, tolerance, l->right, dU, stats));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Where the levels of dU all fit they need not come to the host. */
static PetscErrorCode Backward(MFGLinearised l, double tolerance, const double *dM,
                               MFGLinearStats *stats, PetscBool *stop) {
  const int steps = MFGLinearStepSpec(l->step)->steps, chunk = MFGLinearStepChunk(l->step);
  const int64_t last = (steps - 1) * l->value.count;

  PetscFunctionBeginUser;
  PetscCall(MFGCostDerivative(MFGLinearStepGrid(l->step), &l->terminal, l->M + last, dM + last,
                              l->dU + last + l->value.count));
  for (int top = steps, first; top > 0 && stats->reason >= 0 && !*stop; top = first) {
    first = PetscMax(0, top - chunk);
    PetscCall(LoadBackward(l, first, top, dM));
    for (int n = top - 1; n >= first && stats->reason >= 0; n--)
      PetscCall(StepBackward(l, n, tolerance, stats));
    if (chunk >= steps)
      MFGLevelChunkKeep(&l->value);
    else
      PetscCall(MFGLevelChunkStore(&l->value, l->dU, first, top - 1));
    PetscCall(Pause(l, stop));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the steps from the levels begin .. end-1 need: all there. */
static PetscErrorCode LoadForward(MFGLinearised l, int begin, int end, const double *dP) {
  const int before = PetscMax(0, begin - 1);

  PetscFunctionBeginUser;
  PetscCall(MFGLinearStepLoad(l->step, begin, end));
  PetscCall(MFGLevelChunkLoad(&l->value, l->dU, begin, end - 1));
  PetscCall(MFGLevelChunkLoad(&l->density, l->P, begin, end - 1));
  PetscCall(MFGLevelChunkOpen(&l->change, dP, before, end - 1));
  if (begin)
    PetscCall(Upload(l, dP + before * l->change.count, MFGLevelChunkAt(&l->change, before)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode StepForward(MFGLinearised l, int n, double tolerance, MFGLinearStats *stats) {
  const MFGMemoryOps *memory = l->backend->memory;
  const int64_t owned = l->change.count;
  double *after = MFGLevelChunkAt(&l->change, n);
  const MFGLevelRight right = {.count = owned,
                               .dt = MFGLinearStepSpec(l->step)->dt,
                               .weight = -1,
                               .level = after,
                               .source = l->work};

  PetscFunctionBeginUser;
  PetscCall(MFGLinearStepChange(l->step, n, MFGLevelChunkAt(&l->value, n),
                                MFGLevelChunkAt(&l->density, n), l->work));
  if (n)
    PetscCall(MFGMemoryCopy(memory, owned, sizeof *after, MFG_COPY_WITHIN,
                            MFGLevelChunkAt(&l->change, n - 1), after));
  else
    PetscCall(MFGMemoryZero(memory, owned, sizeof *after, after));
  PetscCall(l->backend->level->right_side(&right, l->right));
  PetscCall(MFGLinearStepSet(l->step, n));
  PetscCall(MFGLinearStepSolve(l->step, PETSC_TRUE, tolerance, l->right, after, stats));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Forward(MFGLinearised l, double tolerance, double *dP, MFGLinearStats *stats,
                              PetscBool *stop) {
  const int steps = MFGLinearStepSpec(l->step)->steps, chunk = MFGLinearStepChunk(l->step);

  PetscFunctionBeginUser;
  for (int begin = 0, end; begin < steps && stats->reason >= 0 && !*stop; begin = end) {
    end = PetscMin(begin + chunk, steps);
    PetscCall(LoadForward(l, begin, end, dP));
    for (int n = begin; n < end && stats->reason >= 0; n++)
      PetscCall(StepForward(l, n, tolerance, stats));
    PetscCall(MFGLevelChunkStore(&l->change, dP, begin, end - 1));
    PetscCall(Pause(l, stop));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGLinearisedApply(MFGLinearised l, double tolerance, const double *dM, double *dP,
                                  MFGLinearStats *stats) {
  PetscBool stop = PETSC_FALSE;
  static PetscLogEvent event = -1;

  PetscFunctionBeginUser;
  PetscCall(MFGLogEvent("LinearisedSweeps", &event));
  PetscCall(PetscLogEventBegin(event, 0, 0, 0, 0));
  PetscCall(Backward(l, tolerance, dM, stats, &stop));
  PetscCall(Forward(l, tolerance, dP, stats, &stop));
  PetscCall(PetscLogEventEnd(event, 0, 0, 0, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}
