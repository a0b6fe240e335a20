#include "solvers/particles_parts.h"

/* Steps begin .. end - 1 of a sweep. */
typedef struct {
  MFGAgentSweep *sweep;
  int begin, end;
  int64_t *moments;
} Steps;

static PetscErrorCode StepResidents(void *context) {
  const Steps *steps = context;
  MFGAgentSweep *s = steps->sweep;
  const MFGParticles p = s->particles;
  const MFGExtent rim = MFGBlockWidened(&p->grid->box, (int[3]){1, 1, 1});
  const int64_t drift = p->domain.dim * MFGExtentCells(&rim);

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryZero(p->backend->memory, (steps->end - steps->begin) * s->field,
                          sizeof *steps->moments, steps->moments));
  for (int n = steps->begin; n < steps->end; n++) {
    if (n && s->sort_every && n % s->sort_every == 0)
      PetscCall(MFGResidentsSort(p->residents, &p->scratch));
    s->scan.level_begin = n;
    s->scan.level_end = n + 1;
    s->scan.drift = p->drift.values + (n - steps->begin) * drift;
    s->scan.moments = steps->moments + (n - steps->begin) * s->field;
    PetscCall(MFGResidentsStep(p->residents, &s->scan));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Recorded where the device can: the steps then depend on nothing but what the keys say. */
static PetscErrorCode RunSteps(const Steps *steps) {
  MFGAgentSweep *s = steps->sweep;
  const MFGParticles p = s->particles;
  const MFGMomentShape *shape = &s->scan.shape;
  RecordedChunk *chunk = &p->chunk[steps->begin / s->chunk];
  const MFGExchangeBytes before = MFGExchangeBytesMoved(p->exchange);
  const int64_t key[MFG_RECORDING_KEYS] = {MFGResidentsChanges(p->residents),
                                           (intptr_t)p->drift.values,
                                           (intptr_t)steps->moments,
                                           (intptr_t)p->scratch.place,
                                           steps->begin,
                                           steps->end,
                                           s->sort_every,
                                           s->scan.key.iteration,
                                           s->field,
                                           shape->order,
                                           shape->halvings[0],
                                           shape->halvings[1],
                                           shape->halvings[2],
                                           s->halo[0],
                                           s->halo[1],
                                           s->halo[2]};
  PetscBool replayed;

  PetscFunctionBeginUser;
  PetscCall(MFGRecordingRun(p->grid->world, p->backend->memory, &chunk->steps, key, StepResidents,
                            (void *)steps, &replayed));
  if (replayed)
    MFGExchangeCount(p->exchange, &chunk->bytes);
  else
    chunk->bytes = MFGExchangeBytesSum(MFGExchangeBytesMoved(p->exchange), -1, before);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Agents that migrate after each step, again and again until all buffers were large enough. */
static PetscErrorCode ScanResidents(MFGAgentSweep *s, int begin, int end, int64_t *moments) {
  const MFGParticles p = s->particles;
  Steps steps = {s, begin, end, moments};
  PetscBool redo = PETSC_TRUE;

  PetscFunctionBeginUser;
  while (redo) {
    if (s->sort_every) PetscCall(MFGResidentsReserveSort(p->residents, &p->scratch));
    if (MFGExchangeRecordable(p->exchange))
      PetscCall(RunSteps(&steps));
    else
      PetscCall(StepResidents(&steps));
    PetscCall(MFGResidentsCheck(p->residents, &redo));
    if (redo) PetscCall(MFGResidentsRestore(p->residents));
  }
  if (end < p->spec.steps) PetscCall(MFGResidentsSave(p->residents));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ScanRange(MFGAgentSweep *s, int begin, int end, int64_t *moments) {
  const MFGParticles p = s->particles;
  const int64_t drift = p->domain.dim * MFGBlockCells(&p->domain);
  const int every = s->sort_every ? s->sort_every : end;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryZero(p->backend->memory, (end - begin) * s->field, sizeof *moments, moments));
  for (int n = begin; n < end; n = s->scan.level_end) {
    if (n && n % every == 0) PetscCall(MFGAgentsSort(p->backend, &p->domain, &p->now, &p->scratch));
    s->scan.agents = p->now.range;
    s->scan.level_begin = n;
    s->scan.level_end = PetscMin(end, n - n % every + every);
    s->scan.drift = p->drift.values + (n - begin) * drift;
    s->scan.moments = moments + (n - begin) * s->field;
    PetscCall(MFGBackendScan(p->backend, &s->scan));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps begin .. end - 1, which give the levels begin + 1 .. end. Level 0 goes with the first
 * chunk, to share its messages; the direct method wants it while the agents are still there. */
static PetscErrorCode SweepChunk(MFGAgentSweep *s, int begin, int end) {
  const MFGParticles p = s->particles;
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  int first = begin + 1;
  int64_t *moments = p->moments + s->field;

  PetscFunctionBeginUser;
  if (begin == 0) {
    const MFGAgentRange agents = MFGParticlesHere(p);
    PetscCall(MFGMemoryZero(p->backend->memory, s->field, sizeof *moments, p->moments));
    PetscCall(MFGBackendDeposit(p->backend, &s->scan.domain, &agents, &s->scan.shape, &s->extent,
                                p->moments));
    if (direct) PetscCall(MFGParticlesEvaluate(s, 0, 1, p->moments));
    if (!direct) first = 0;
  }
  PetscCall((p->residents ? MFGAgentDriftBox : MFGAgentDriftWhole)(
      &p->drift, p->grid, p->drift.there ? p->exchange : p->fields, begin, end,
      p->drift.there ? p->spec.drift_there : s->drift, s->context));
  PetscCall((p->residents ? ScanResidents : ScanRange)(s, begin, end, moments));
  PetscCall(
      MFGParticlesEvaluate(s, first, end - first + 1, moments + (first - begin - 1) * s->field));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rim of the moments: the kernel's reach on the axes that are divided. */
static PetscErrorCode ChooseExtent(MFGAgentSweep *s) {
  const MFGParticles p = s->particles;
  const MFGGrid *grid = p->grid;

  PetscFunctionBeginUser;
  if (!p->residents) {
    s->extent = MFGBlockWidened(&p->domain, (int[3]){0});
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  MFGDensityPlanRadius(s->plan, s->halo);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    if (k >= p->domain.dim || grid->divisions[k] == 1) s->halo[k] = 0;
    const int narrowest = p->domain.cells[k] / grid->divisions[k];
    PetscCheck(s->halo[k] <= narrowest, grid->world, PETSC_ERR_USER_INPUT,
               "parallel.decomposition: domain: the kernel reaches %d cells along axis %d, but the "
               "narrowest of its %d boxes has %d; use replicated or auto, fewer ranks, more "
               "domain.cells, a smaller density.bandwidth or a larger density.tolerance",
               s->halo[k], k, grid->divisions[k], narrowest);
  }
  s->extent = MFGBlockWidened(&grid->box, s->halo);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Once: sorting sorted agents costs next to nothing. */
static PetscErrorCode SortInitial(MFGParticles p) {
  PetscFunctionBeginUser;
  if (p->residents) {
    PetscCall(MFGResidentsReserveSort(p->residents, &p->scratch));
    PetscCall(MFGResidentsSortInitial(p->residents, &p->scratch));
  } else {
    PetscCall(MFGAgentsSort(p->backend, &p->domain, &p->initial, &p->scratch));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesSweep(MFGParticles p, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics) {
  const int dim = p->domain.dim;
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  MFGAgentSweep s = {.particles = p,
                     .plan = plan,
                     .drift = drift,
                     .context = context,
                     .M = M,
                     .statistics = statistics};

  PetscFunctionBeginUser;
  PetscCall(ChooseExtent(&s));
  s.scan = (MFGScan){.domain = p->residents ? p->grid->box : p->domain,
                     .key = {.seed = p->spec.seed, .iteration = iteration},
                     .dt = p->spec.dt,
                     .nu = p->spec.nu,
                     .ghosted = (PetscBool)(p->residents != NULL),
                     .shape = shape,
                     .extent = s.extent};
  MFGSweepLayout layout = {.whole = p->domain,
                           .decomposition = p->spec.decomposition,
                           .agents = p->spec.count,
                           .single = p->spec.single,
                           .sort_every = p->spec.sort_every,
                           .steps = p->spec.steps,
                           .shape = shape,
                           .deviation = sqrt(2 * p->spec.nu * p->spec.dt)};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    layout.divisions[k] = p->grid->divisions[k];
    layout.radius[k] = s.halo[k];
  }
  s.field = MFGExtentCells(&s.extent) * MFGMomentNumbers(dim, &shape);
  const int chunk = MFGSweepChunk(&layout, MFGDensityPlanMethod(plan));
  PetscCall(MFGMemoryReserve(p->backend->memory, (chunk + 1) * s.field, sizeof *p->moments,
                             &p->moments_size, &p->moments));
  s.chunk = chunk;
  PetscCall(MFGParticlesReserveChunks(p, (p->spec.steps - 1) / chunk + 1));
  s.sort_every = MFGSweepSortEvery(&layout, p->backend);
  if (s.sort_every) PetscCall(SortInitial(p));
  PetscCall(MFGAgentsDestroy(&p->shown));
  if (!p->placed) p->done = 0;
  if (!p->placed) PetscCall(MFGParticlesRewind(p));
  p->placed = PETSC_FALSE;
  while (p->done < p->spec.steps) {
    /* Whole chunks from the start on: what is recorded of them stays. */
    const int end = PetscMin((p->done / chunk + 1) * chunk, p->spec.steps);
    PetscBool stop = PETSC_FALSE;
    PetscCall(SweepChunk(&s, p->done, end));
    p->done = end;
    if (end < p->spec.steps && p->pause) PetscCall(p->pause(p->pause_context, &stop));
    if (stop) PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (p->residents) PetscCall(MFGResidentsImbalance(p->residents, &p->imbalance));
  PetscFunctionReturn(PETSC_SUCCESS);
}
