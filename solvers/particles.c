#include "solvers/particles.h"

#include "solvers/exchange.h"
#include "solvers/kde_point.h"
#include "solvers/particle_point.h"

/* Moments and drift of a chunk of levels, per rank. */
#define CHUNK_BYTES ((int64_t)256 << 20)

/* m0 is turned into integers with this sum, to about one unit per cell. */
#define SAMPLING_WEIGHT 0x1p50

struct MFGParticles_ {
  const MFGGrid *grid;          /* borrowed */
  const MFGBackend *backend;    /* borrowed */
  MFGParticlesSpec spec;        /* initial_density is not kept */
  MFGBlock domain;              /* the whole grid */
  MFGAgentRange range;          /* owned positions */
  double *initial[MFG_MAX_DIM]; /* owned; positions at t = 0 */
  int64_t *cumulative;          /* owned; [cells] */
  /* Kept between sweeps: the system would clear the pages of fresh memory in each. */
  int64_t *moments; /* owned; [moments_size] */
  double *drift;    /* owned; [drift_size] */
  int64_t moments_size, drift_size;
};

static PetscErrorCode CheckSpec(const MFGGrid *grid, const MFGParticlesSpec *spec) {
  PetscFunctionBeginUser;
  PetscCheck(spec->count > 0, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld agents: there must be at least one", (long long)spec->count);
  PetscCheck(spec->dt > 0 && spec->nu >= 0 && spec->steps > 0, grid->world,
             PETSC_ERR_ARG_OUTOFRANGE, "dt = %g and steps = %d must be > 0, nu = %g >= 0", spec->dt,
             spec->steps, spec->nu);
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

static PetscErrorCode Sample(MFGParticles p, const MFGAgentRange *agents) {
  const MFGSample job = {.domain = p->domain,
                         .key = {.seed = p->spec.seed},
                         .agents = *agents,
                         .total = p->spec.count,
                         .stratified = (PetscBool)(p->spec.sampling == MFG_SAMPLING_STRATIFIED),
                         .cumulative = p->cumulative};

  PetscFunctionBeginUser;
  PetscCall(MFGBackendSample(p->backend, &job));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* a b / c without overflow of the product. */
static int64_t Proportion(int64_t a, int64_t b, int64_t c) {
  return (int64_t)((MFGUint128)a * (MFGUint128)b / (MFGUint128)c);
}

PetscErrorCode MFGParticlesCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGParticlesSpec *spec, MFGParticles *particles) {
  PetscMPIInt rank, size;
  MFGParticles p;

  PetscFunctionBeginUser;
  PetscCall(CheckSpec(grid, spec));
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  PetscCallMPI(MPI_Comm_size(grid->world, &size));
  PetscCall(PetscNew(&p));
  p->grid = grid;
  p->backend = backend;
  p->spec = *spec;
  p->domain = grid->block;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    p->domain.start[k] = 0;
    p->domain.count[k] = p->domain.cells[k];
  }
  PetscCall(Cumulate(p));
  p->spec.initial_density = NULL;
  p->range.first_id = Proportion(spec->count, rank, size);
  p->range.count = Proportion(spec->count, rank + 1, size) - p->range.first_id;
  p->range.id_stride = 1;
  for (int k = 0; k < p->domain.dim; k++)
    PetscCall(PetscMalloc2(p->range.count, &p->range.position[k], p->range.count, &p->initial[k]));
  PetscCall(Sample(p, &p->range));
  for (int k = 0; k < p->domain.dim; k++)
    PetscCall(PetscArraycpy(p->initial[k], p->range.position[k], p->range.count));
  *particles = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesDestroy(MFGParticles *particles) {
  PetscFunctionBeginUser;
  if (!particles || !*particles) PetscFunctionReturn(PETSC_SUCCESS);
  MFGParticles p = *particles;
  for (int k = 0; k < p->domain.dim; k++)
    PetscCall(PetscFree2(p->range.position[k], p->initial[k]));
  PetscCall(PetscFree(p->cumulative));
  PetscCall(PetscFree(p->moments));
  PetscCall(PetscFree(p->drift));
  PetscCall(PetscFree(*particles));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One sweep: what its chunks share. */
typedef struct {
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGScan scan;
  int64_t field;    /* integers of one level's moments */
  int64_t *moments; /* borrowed; [chunk + 1][field], slot 0 is level 0 in the first chunk */
  double *drift;    /* borrowed; [chunk][dim][cells] */
  double *M;        /* borrowed */
  MFGSampleStatistics *statistics; /* borrowed */
} Sweep;

/* Moments and drift of one level on the whole grid. */
static int64_t LevelBytes(const MFGBlock *b, int order) {
  return (MFGMomentTerms(b->dim, order) + b->dim) * MFGBlockCells(b) * (int64_t)sizeof(double);
}

/* Steps that fit the memory budget, whole groups of random numbers where possible. The direct
 * method needs the positions of every level. */
static int ChunkLength(const MFGBlock *b, MFGDensityMethod method, int order, int steps) {
  const int group = MFGStepsOfGroup(b->dim);
  if (method == MFG_DENSITY_DIRECT) return 1;
  int64_t fit = CHUNK_BYTES / LevelBytes(b, order);
  if (fit > group) fit -= fit % group;
  return (int)PetscMax(1, PetscMin(fit, steps));
}

int64_t MFGParticlesChunkBytes(const MFGBlock *b, int steps, double tolerance) {
  const int order = MFGDensityOrder(0.25, tolerance);
  return (ChunkLength(b, MFG_DENSITY_MOMENTS, order, steps) + 1) * LevelBytes(b, order);
}

/* Levels first .. first + count - 1, whose summed moments lie one after the other. */
static PetscErrorCode Evaluate(Sweep *s, int first, int count, const int64_t *moments) {
  const MFGParticles p = s->particles;
  const int64_t owned = MFGBlockOwned(&p->grid->block);

  PetscFunctionBeginUser;
  for (int n = first; n < first + count; n++, moments += s->field) {
    PetscCall(MFGMomentStatistics(&p->domain, p->spec.count, s->scan.order, s->scan.scale, moments,
                                  &s->statistics[n]));
    if (MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT)
      PetscCall(MFGDensityDirect(s->plan, n, &p->range, s->M + n * owned));
    else
      PetscCall(MFGDensityEvaluate(s->plan, n, moments, s->M + n * owned));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps begin .. end - 1, which give the levels begin + 1 .. end. Level 0 goes with the first
 * chunk, to share its reduction; the direct method wants it while the agents are still there. */
static PetscErrorCode SweepChunk(Sweep *s, int begin, int end, MFGDriftFunction drift,
                                 void *context) {
  const MFGParticles p = s->particles;
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  const int level0 = begin == 0;
  int64_t *first = s->moments + (level0 ? 0 : s->field);

  PetscFunctionBeginUser;
  PetscCall(PetscArrayzero(s->moments, (end - begin + 1) * s->field));
  if (level0)
    PetscCall(MFGBackendDeposit(p->backend, &p->domain, &p->range, s->scan.order, s->scan.scale,
                                s->moments));
  if (level0 && direct) {
    PetscCall(MFGExchangeSumInt64(p->grid->world, s->field, s->moments));
    PetscCall(Evaluate(s, 0, 1, s->moments));
    first += s->field;
  }
  PetscCall(drift(context, begin, end, s->drift));
  s->scan.level_begin = begin;
  s->scan.level_end = end;
  s->scan.drift = s->drift;
  s->scan.moments = s->moments + s->field;
  PetscCall(MFGBackendScan(p->backend, &s->scan));
  const int levels = (int)((s->moments - first) / s->field) + end - begin + 1;
  PetscCall(MFGExchangeSumInt64(p->grid->world, levels * s->field, first));
  PetscCall(Evaluate(s, end - levels + 1, levels, first));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Room for so many integers of moments and numbers of drift; contents are not kept. */
static PetscErrorCode Reserve(MFGParticles p, int64_t moments, int64_t drift) {
  PetscFunctionBeginUser;
  if (moments > p->moments_size) {
    PetscCall(PetscFree(p->moments));
    PetscCall(PetscMalloc1(moments, &p->moments));
    p->moments_size = moments;
  }
  if (drift > p->drift_size) {
    PetscCall(PetscFree(p->drift));
    PetscCall(PetscMalloc1(drift, &p->drift));
    p->drift_size = drift;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesSweep(MFGParticles p, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics) {
  const int dim = p->domain.dim;
  const int64_t cells = MFGBlockCells(&p->domain);
  Sweep s = {.particles = p, .plan = plan, .M = M, .statistics = statistics};

  PetscFunctionBeginUser;
  s.scan = (MFGScan){.domain = p->domain,
                     .key = {.seed = p->spec.seed, .iteration = iteration},
                     .agents = p->range,
                     .dt = p->spec.dt,
                     .nu = p->spec.nu,
                     .order = MFGDensityPlanOrder(plan),
                     .scale = MFGDensityPlanScale(plan)};
  s.field = cells * MFGMomentTerms(dim, s.scan.order);
  const int chunk =
      ChunkLength(&p->domain, MFGDensityPlanMethod(plan), s.scan.order, p->spec.steps);
  for (int k = 0; k < dim; k++)
    PetscCall(PetscArraycpy(p->range.position[k], p->initial[k], p->range.count));
  PetscCall(Reserve(p, (chunk + 1) * s.field, chunk * dim * cells));
  s.moments = p->moments;
  s.drift = p->drift;
  for (int begin = 0; begin < p->spec.steps; begin += chunk)
    PetscCall(SweepChunk(&s, begin, PetscMin(begin + chunk, p->spec.steps), drift, context));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void RecordPath(const MFGAgentRange *agents, int dim, double *path) {
  for (int64_t i = 0; i < agents->count; i++)
    for (int k = 0; k < dim; k++) *path++ = agents->position[k][i];
}

PetscErrorCode MFGParticlesPaths(MFGParticles p, uint32_t iteration, MFGDriftFunction drift,
                                 void *context, int64_t samples, double *path, int64_t *id) {
  const int dim = p->domain.dim;
  MFGAgentRange agents = {.first_id = 0, .count = samples};
  double *v;

  PetscFunctionBeginUser;
  PetscCheck(samples > 0 && samples <= p->spec.count, p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "paths of %lld agents: there are %lld", (long long)samples, (long long)p->spec.count);
  agents.id_stride = p->spec.count / samples;
  for (int64_t i = 0; i < samples; i++) id[i] = i * agents.id_stride;
  for (int k = 0; k < dim; k++) PetscCall(PetscMalloc1(samples, &agents.position[k]));
  PetscCall(PetscMalloc1(dim * MFGBlockCells(&p->domain), &v));
  PetscCall(Sample(p, &agents));
  RecordPath(&agents, dim, path);
  for (int n = 0; n < p->spec.steps; n++) {
    const MFGScan scan = {.domain = p->domain,
                          .key = {.seed = p->spec.seed, .iteration = iteration},
                          .agents = agents,
                          .dt = p->spec.dt,
                          .nu = p->spec.nu,
                          .level_begin = n,
                          .level_end = n + 1,
                          .drift = v};
    PetscCall(drift(context, n, n + 1, v));
    PetscCall(MFGBackendScan(p->backend, &scan));
    RecordPath(&agents, dim, path + (n + 1) * samples * dim);
  }
  for (int k = 0; k < dim; k++) PetscCall(PetscFree(agents.position[k]));
  PetscCall(PetscFree(v));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesInitialStatistics(MFGParticles p, MFGSampleStatistics *statistics) {
  const int order = 3, scale = MFGMomentScale(p->spec.count);
  const int64_t field = MFGBlockCells(&p->domain) * MFGMomentTerms(p->domain.dim, order);
  MFGAgentRange agents = p->range;
  int64_t *moments;

  PetscFunctionBeginUser;
  for (int k = 0; k < p->domain.dim; k++) agents.position[k] = p->initial[k];
  PetscCall(PetscCalloc1(field, &moments));
  PetscCall(MFGBackendDeposit(p->backend, &p->domain, &agents, order, scale, moments));
  PetscCall(MFGExchangeSumInt64(p->grid->world, field, moments));
  PetscCall(MFGMomentStatistics(&p->domain, p->spec.count, order, scale, moments, statistics));
  PetscCall(PetscFree(moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}
