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

PetscErrorCode MFGParticlesReserveChunks(MFGParticles p, int chunks) {
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
  PetscCall(MFGParticlesReserveChunks(p, 0));
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

MFGAgentRange MFGParticlesHere(MFGParticles p) {
  return p->residents ? MFGResidentsRange(p->residents) : p->now.range;
}

PetscErrorCode MFGParticlesRewind(MFGParticles p) {
  PetscFunctionBeginUser;
  if (p->residents) {
    PetscCall(MFGResidentsReset(p->residents));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGAgentsCopy(&p->initial, &p->now));
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
  PetscCall(MFGParticlesRewind(p));
  const MFGAgentRange agents = MFGParticlesHere(p);
  PetscCall(MFGMemoryAllocate(p->backend->memory, field, sizeof *moments, &moments));
  PetscCall(MFGMemoryZero(p->backend->memory, field, sizeof *moments, moments));
  PetscCall(MFGBackendDeposit(p->backend, block, &agents, &shape, NULL, moments));
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, field, moments));
  PetscCall(MFGParticlesStatistics(p, &shape, &extent, 1, moments, statistics));
  PetscCall(MFGMemoryFree(p->backend->memory, &moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}
