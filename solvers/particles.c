#include "solvers/kde_point.h"
#include "solvers/particles_parts.h"

/* m0 is turned into integers with this sum, to about one unit per cell. */
#define SAMPLING_WEIGHT 0x1p50
/* Agents that are sampled before somebody asks: about a tenth of a second. */
#define SAMPLE_PIECE ((int64_t)1 << 20)

static PetscErrorCode CheckSpec(const MFGGrid *grid, const MFGParticlesSpec *spec) {
  PetscFunctionBeginUser;
  PetscCheck(spec->count > 0, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld agents: there must be at least one", (long long)spec->count);
  PetscCheck(spec->dt > 0 && spec->nu >= 0 && spec->steps > 0, grid->world,
             PETSC_ERR_ARG_OUTOFRANGE, "dt = %g and steps = %d must be > 0, nu = %g >= 0", spec->dt,
             spec->steps, spec->nu);
  for (int k = 0; k < grid->block.dim && spec->single; k++) {
    const double length = grid->block.upper[k] - grid->block.lower[k];
    PetscCheck(length >= MFG_SINGLE_LENGTH_MIN && length <= MFG_SINGLE_LENGTH_MAX, grid->world,
               PETSC_ERR_ARG_OUTOFRANGE,
               "axis %d is %g long: positions in single precision need %g to %g; take double", k,
               length, MFG_SINGLE_LENGTH_MIN, MFG_SINGLE_LENGTH_MAX);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Integer sums: every rank and every processor finds the same cell for an agent. */
static PetscErrorCode Cumulate(MFGParticles p) {
  const double *m0 = p->spec.initial_density;
  const int64_t cells = MFGBlockCells(&p->domain);
  double sum = 0;
  int64_t total = 0;

  PetscFunctionBeginUser;
  for (int64_t c = 0; c < cells; c++) {
    PetscCheck(m0[c] >= 0 && isfinite(m0[c]), p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
               "the initial density is %g in cell %lld: it must be finite and not negative", m0[c],
               (long long)c);
    sum += m0[c];
  }
  PetscCheck(sum > 0 && isfinite(sum), p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "the initial density sums to %g over the grid: it must be positive somewhere", sum);
  PetscCall(PetscMalloc1(cells, &p->cumulative));
  for (int64_t c = 0; c < cells; c++) {
    total += (int64_t)nearbyint(m0[c] / sum * SAMPLING_WEIGHT);
    p->cumulative[c] = total;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Agents in the memory of `backend`. */
static PetscErrorCode Sample(MFGParticles p, const MFGBackend *backend,
                             const MFGAgentRange *agents) {
  int64_t size = p->cumulative_there ? MFGBlockCells(&p->domain) : 0;
  const void *cumulative;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryStage(backend->memory, MFGBlockCells(&p->domain), sizeof *p->cumulative,
                           p->cumulative, &size, &p->cumulative_there, &cumulative));
  const MFGSample job = {.domain = p->domain,
                         .key = {.seed = p->spec.seed},
                         .agents = *agents,
                         .total = p->spec.count,
                         .stratified = (PetscBool)(p->spec.sampling == MFG_SAMPLING_STRATIFIED),
                         .cumulative = cumulative,
                         .weight = p->cumulative[MFGBlockCells(&p->domain) - 1]};
  PetscCall(MFGBackendSample(backend, &job));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static MFGAgentRange PartOf(const MFGAgentRange *agents, int64_t first, int64_t count) {
  MFGAgentRange part = *agents;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    if (part.position[k]) part.position[k] += first;
    if (part.offset[k]) part.offset[k] += first;
  }
  if (part.id) part.id += first;
  part.first_id += first * part.id_stride;
  part.count = count;
  return part;
}

/* Agents of a range of ids, where they are at t = 0, in the memory of `backend`. */
static PetscErrorCode CreateRange(MFGParticles p, const MFGBackend *backend) {
  PetscMPIInt rank, size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid->world, &rank));
  PetscCallMPI(MPI_Comm_size(p->grid->world, &size));
  const int64_t first = MFGProportion(p->spec.count, rank, size);
  const int64_t count = MFGProportion(p->spec.count, rank + 1, size) - first;
  p->now = p->initial = MFGAgentsNone(backend->memory, &p->domain, p->spec.single, PETSC_FALSE);
  PetscCall(MFGAgentsReserve(&p->initial, count));
  p->initial.range.first_id = first;
  p->initial.range.count = count;
  for (int64_t done = 0; done * size < p->spec.count; done += SAMPLE_PIECE) {
    const int64_t begin = PetscMin(done, count);
    const MFGAgentRange part =
        PartOf(&p->initial.range, begin, PetscMin(SAMPLE_PIECE, count - begin));
    PetscCall(Sample(p, backend, &part));
    if (p->spec.go_on) PetscCall(p->spec.go_on(p->spec.go_on_context));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGParticlesSpec *spec, MFGParticles *particles) {
  const PetscBool domain = (PetscBool)(spec->decomposition == MFG_DECOMPOSITION_DOMAIN);
  MFGParticles p;

  PetscFunctionBeginUser;
  PetscCall(CheckSpec(grid, spec));
  PetscCall(PetscNew(&p));
  p->grid = grid;
  p->backend = backend;
  p->spec = *spec;
  p->imbalance = 1;
  p->domain = MFGGridWhole(grid);
  PetscCall(Cumulate(p));
  p->spec.initial_density = NULL;
  PetscCall(
      MFGExchangeCreate(grid->world, backend->carrier, &p->domain, grid->divisions, &p->exchange));
  p->fields = p->exchange;
  if (!backend->memory->is_host)
    PetscCall(
        MFGExchangeCreate(grid->world, &MFGCarrier_Host, &p->domain, grid->divisions, &p->fields));
  p->drift.backend = backend;
  p->drift.there = (PetscBool)(spec->drift_there != NULL);
  p->shown = MFGAgentsNone(&MFGMemoryOps_Host, &p->domain, spec->single, PETSC_FALSE);
  PetscCall(CreateRange(p, domain ? MFGBackendOnHost(backend) : backend));
  if (domain) {
    PetscCall(MFGResidentsCreate(grid, backend, p->exchange, &p->initial.range, spec->count,
                                 sqrt(2 * spec->nu * spec->dt), &p->residents));
    PetscCall(MFGAgentsDestroy(&p->initial));
  }
  *particles = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for recordings of so many chunks; those there were are forgotten where the number changes.
 */
static PetscErrorCode ReserveChunks(MFGParticles p, int chunks) {
  PetscFunctionBeginUser;
  if (chunks == p->chunks) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < p->chunks; i++)
    PetscCall(MFGRecordingDestroy(p->backend->memory, &p->chunk[i].steps));
  PetscCall(PetscFree(p->chunk));
  PetscCall(PetscCalloc1(chunks, &p->chunk));
  p->chunks = chunks;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesDestroy(MFGParticles *particles) {
  PetscFunctionBeginUser;
  if (!particles || !*particles) PetscFunctionReturn(PETSC_SUCCESS);
  MFGParticles p = *particles;
  PetscCall(MFGAgentsDestroy(&p->shown));
  PetscCall(PetscFree(p->arrived));
  PetscCall(MFGAgentsDestroy(&p->now));
  PetscCall(MFGAgentsDestroy(&p->initial));
  PetscCall(MFGSortScratchDestroy(&p->scratch));
  PetscCall(ReserveChunks(p, 0));
  PetscCall(MFGResidentsDestroy(&p->residents));
  if (p->fields != p->exchange) PetscCall(MFGExchangeDestroy(&p->fields));
  PetscCall(MFGExchangeDestroy(&p->exchange));
  PetscCall(PetscFree(p->cumulative));
  PetscCall(MFGMemoryFree(p->backend->memory, &p->cumulative_there));
  PetscCall(MFGMemoryFree(p->backend->memory, &p->moments));
  PetscCall(MFGMemoryFree(p->backend->memory, &p->marginals));
  PetscCall(PetscFree(p->sums));
  PetscCall(MFGMemoryFree(p->backend->memory, &p->density));
  PetscCall(MFGAgentDriftDestroy(&p->drift));
  PetscCall(PetscFree(*particles));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGParticlesSetPause(MFGParticles p, MFGPauseFunction pause, void *context) {
  p->pause = pause;
  p->pause_context = context;
}

double MFGParticlesImbalance(MFGParticles p) {
  return p->imbalance;
}

MFGExchangeBytes MFGParticlesBytesMoved(MFGParticles p) {
  const MFGExchangeBytes a = MFGExchangeBytesMoved(p->exchange),
                         f = MFGExchangeBytesMoved(p->fields);
  if (p->fields == p->exchange) return a;
  return MFGExchangeBytesSum(a, 1, f);
}

/* One sweep: what its chunks share. */
typedef struct {
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGDriftFunction drift;
  void *context;
  MFGScan scan;
  int sort_every;                  /* steps; 0: never */
  int chunk;                       /* steps */
  int halo[MFG_MAX_DIM];           /* cells that the moments of a box reach beyond it; domain */
  MFGExtent extent;                /* of the moments of a level */
  int64_t field;                   /* integers of one level's moments */
  double *M;                       /* borrowed */
  MFGSampleStatistics *statistics; /* borrowed */
} Sweep;

/* Statistics of the levels first .. first + count - 1 from the marginals of all boxes. */
static PetscErrorCode Statistics(MFGParticles p, const MFGMomentShape *shape,
                                 const MFGExtent *extent, int count, int64_t field,
                                 const int64_t *moments, MFGSampleStatistics *statistics) {
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGMarginals job = {
      .domain = p->domain, .shape = *shape, .box = p->grid->box, .extent = *extent};
  const int64_t n = MFGMarginalCount(&p->domain, shape);

  PetscFunctionBeginUser;
  PetscCall(
      MFGMemoryReserve(memory, count * n, sizeof *p->sums, &p->marginals_size, &p->marginals));
  PetscCall(
      MFGMemoryReserve(&MFGMemoryOps_Host, count * n, sizeof *p->sums, &p->sums_size, &p->sums));
  PetscCall(MFGMemoryZero(memory, count * n, sizeof *p->sums, p->marginals));
  for (int i = 0; i < count; i++)
    PetscCall(MFGBackendMarginals(p->backend, &job, moments + i * field, p->marginals + i * n));
  PetscCall(MFGExchangeSum(p->exchange, count * n, p->marginals));
  PetscCall(
      MFGMemoryCopy(memory, count * n, sizeof *p->sums, MFG_COPY_TO_HOST, p->marginals, p->sums));
  for (int i = 0; i < count; i++)
    PetscCall(
        MFGMarginalStatistics(&p->domain, shape, p->spec.count, p->sums + i * n, &statistics[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGAgentRange MFGParticlesHere(MFGParticles p) {
  return p->residents ? MFGResidentsRange(p->residents) : p->now.range;
}

/* In 1D every rank holds the whole grid: the densities of all boxes, from that of this rank's. */
static PetscErrorCode GatherBoxes(MFGParticles p, const double *own, double *density) {
  const MFGGrid *grid = p->grid;
  PetscMPIInt size, *counts, *starts;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(grid->world, &size));
  PetscCall(PetscMalloc2(size, &counts, size, &starts));
  for (PetscMPIInt r = 0; r < size; r++) {
    counts[r] = grid->boxes[r].count[0];
    starts[r] = grid->boxes[r].start[0];
  }
  PetscCallMPI(MPI_Allgatherv(own, grid->box.count[0], MPI_DOUBLE, density, counts, starts,
                              MPI_DOUBLE, grid->world));
  MFGExchangeCountGather(p->exchange, grid->box.count[0] * (int64_t)sizeof(double));
  PetscCall(PetscFree2(counts, starts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels first .. first + count - 1 into M. The box of every rank, or in 1D and replicated the
 * whole grid, is written where it belongs; elsewhere than on the host, first to p->density. */
static PetscErrorCode Densities(Sweep *s, int first, int count, const int64_t *moments) {
  const MFGParticles p = s->particles;
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGBlock *block = p->residents ? &p->grid->box : &p->grid->block;
  const int64_t owned = MFGBlockOwned(&p->grid->block), mine = MFGBlockOwned(block);
  const PetscBool gather = (PetscBool)(p->residents && p->grid->block.dim == 1);
  const PetscBool direct = (PetscBool)(memory->is_host && !gather);
  double *own = s->M + first * owned, *there = own;

  PetscFunctionBeginUser;
  if (!direct) {
    PetscCall(MFGMemoryReserve(memory, count * mine, sizeof *own, &p->density_size, &p->density));
    there = p->density;
  }
  for (int i = 0; i < count; i++)
    PetscCall(MFGDensityEvaluate(s->plan, first + i, block, &s->extent, moments + i * s->field,
                                 there + i * mine));
  if (gather) PetscCall(PetscMalloc1(count * mine, &own));
  if (!direct)
    PetscCall(MFGMemoryCopy(memory, count * mine, sizeof *own, MFG_COPY_TO_HOST, there, own));
  if (gather) {
    for (int i = 0; i < count; i++)
      PetscCall(GatherBoxes(p, own + i * mine, s->M + (first + i) * owned));
    PetscCall(PetscFree(own));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The exact sums of one level, over the agents where they are now. */
static PetscErrorCode DirectDensity(Sweep *s, int level) {
  const MFGParticles p = s->particles;
  double *density = s->M + level * MFGBlockOwned(&p->grid->block);
  MFGAgents here = MFGAgentsNone(p->backend->memory, &p->domain, p->spec.single, PETSC_FALSE);
  MFGAgents copy = MFGAgentsNone(&MFGMemoryOps_Host, &p->domain, p->spec.single, PETSC_FALSE);

  PetscFunctionBeginUser;
  here.range = MFGParticlesHere(p);
  here.with_ids = (PetscBool)(here.range.id != NULL);
  if (!here.memory->is_host) {
    PetscCall(MFGAgentsCopy(&here, &copy));
    here = copy;
  }
  PetscCall(MFGDensityDirect(s->plan, level, &here.range, density));
  PetscCall(MFGAgentsDestroy(&copy));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels first .. first + count - 1, whose local moments lie one after the other. */
static PetscErrorCode Evaluate(Sweep *s, int first, int count, int64_t *moments) {
  const MFGParticles p = s->particles;
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  const MFGHalo halo = {.width = {s->halo[0], s->halo[1], s->halo[2]},
                        .element = s->field / MFGExtentCells(&s->extent) * (int)sizeof(int64_t),
                        .fields = count};

  PetscFunctionBeginUser;
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, count * s->field, moments));
  PetscCall(
      Statistics(p, &s->scan.shape, &s->extent, count, s->field, moments, s->statistics + first));
  if (direct) {
    PetscCall(DirectDensity(s, first));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (p->residents) PetscCall(MFGExchangeHalo(p->exchange, &halo, moments));
  PetscCall(Densities(s, first, count, moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps begin .. end - 1 of a sweep. */
typedef struct {
  Sweep *sweep;
  int begin, end;
  int64_t *moments;
} Steps;

static PetscErrorCode StepResidents(void *context) {
  const Steps *steps = context;
  Sweep *s = steps->sweep;
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
  Sweep *s = steps->sweep;
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
static PetscErrorCode ScanResidents(Sweep *s, int begin, int end, int64_t *moments) {
  const MFGParticles p = s->particles;
  Steps steps = {s, begin, end, moments};
  PetscBool redo = PETSC_TRUE;

  PetscFunctionBeginUser;
  while (redo) {
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

static PetscErrorCode ScanRange(Sweep *s, int begin, int end, int64_t *moments) {
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
static PetscErrorCode SweepChunk(Sweep *s, int begin, int end) {
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
    if (direct) PetscCall(Evaluate(s, 0, 1, p->moments));
    if (!direct) first = 0;
  }
  PetscCall((p->residents ? MFGAgentDriftBox : MFGAgentDriftWhole)(
      &p->drift, p->grid, p->drift.there ? p->exchange : p->fields, begin, end,
      p->drift.there ? p->spec.drift_there : s->drift, s->context));
  PetscCall((p->residents ? ScanResidents : ScanRange)(s, begin, end, moments));
  PetscCall(Evaluate(s, first, end - first + 1, moments + (first - begin - 1) * s->field));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rim of the moments: the kernel's reach on the axes that are divided. */
static PetscErrorCode ChooseExtent(Sweep *s) {
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
  if (p->residents)
    PetscCall(MFGResidentsSortInitial(p->residents, &p->scratch));
  else
    PetscCall(MFGAgentsSort(p->backend, &p->domain, &p->initial, &p->scratch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* All agents to where they start. */
static PetscErrorCode Rewind(MFGParticles p) {
  PetscFunctionBeginUser;
  if (p->residents) {
    PetscCall(MFGResidentsReset(p->residents));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGAgentsCopy(&p->initial, &p->now));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesSweep(MFGParticles p, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics) {
  const int dim = p->domain.dim;
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  Sweep s = {.particles = p,
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
  PetscCall(ReserveChunks(p, (p->spec.steps - 1) / chunk + 1));
  s.sort_every = MFGSweepSortEvery(&layout);
  if (s.sort_every) PetscCall(SortInitial(p));
  PetscCall(MFGAgentsDestroy(&p->shown));
  if (!p->placed) p->done = 0;
  if (!p->placed) PetscCall(Rewind(p));
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

static void RecordPath(const MFGAgents *agents, double *path) {
  for (int64_t i = 0; i < agents->range.count; i++)
    for (int k = 0; k < agents->dim; k++)
      *path++ = MFGAgentPosition(&agents->range, &agents->axis[k], k, i);
}

PetscErrorCode MFGParticlesPaths(MFGParticles p, uint32_t iteration, MFGDriftFunction drift,
                                 void *context, int64_t samples, double *path, int64_t *id) {
  const int dim = p->domain.dim;
  const MFGBackend *host = MFGBackendOnHost(p->backend);
  MFGAgents agents = MFGAgentsNone(host->memory, &p->domain, p->spec.single, PETSC_FALSE);
  MFGAgentDrift own = {.backend = host};
  MFGAgentDrift *drifts = host == p->backend ? &p->drift : &own;

  PetscFunctionBeginUser;
  PetscCheck(samples > 0 && samples <= p->spec.count, p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "paths of %lld agents: there are %lld", (long long)samples, (long long)p->spec.count);
  PetscCall(MFGAgentsReserve(&agents, samples));
  agents.range.count = samples;
  agents.range.id_stride = p->spec.count / samples;
  for (int64_t i = 0; i < samples; i++) id[i] = i * agents.range.id_stride;
  PetscCall(Sample(p, host, &agents.range));
  RecordPath(&agents, path);
  for (int n = 0; n < p->spec.steps; n++) {
    PetscCall(MFGAgentDriftWhole(drifts, p->grid, p->fields, n, n + 1, drift, context));
    const MFGScan scan = {.domain = p->domain,
                          .key = {.seed = p->spec.seed, .iteration = iteration},
                          .agents = agents.range,
                          .dt = p->spec.dt,
                          .nu = p->spec.nu,
                          .level_begin = n,
                          .level_end = n + 1,
                          .drift = drifts->values};
    PetscCall(MFGBackendScan(host, &scan));
    RecordPath(&agents, path + (n + 1) * samples * dim);
  }
  PetscCall(MFGAgentDriftDestroy(&own));
  PetscCall(MFGAgentsDestroy(&agents));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesInitialStatistics(MFGParticles p, MFGSampleStatistics *statistics) {
  const MFGMomentShape shape = {.order = 3, .scale = MFGMomentScale(p->spec.count)};
  const MFGBlock *block = p->residents ? &p->grid->box : &p->domain;
  const MFGExtent extent = MFGBlockWidened(block, (int[3]){0});
  const int64_t field = MFGExtentCells(&extent) * MFGMomentNumbers(p->domain.dim, &shape);
  int64_t *moments;

  PetscFunctionBeginUser;
  PetscCall(Rewind(p));
  const MFGAgentRange agents = MFGParticlesHere(p);
  PetscCall(MFGMemoryAllocate(p->backend->memory, field, sizeof *moments, &moments));
  PetscCall(MFGMemoryZero(p->backend->memory, field, sizeof *moments, moments));
  PetscCall(MFGBackendDeposit(p->backend, block, &agents, &shape, NULL, moments));
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, field, moments));
  PetscCall(Statistics(p, &shape, &extent, 1, field, moments, statistics));
  PetscCall(MFGMemoryFree(p->backend->memory, &moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}
