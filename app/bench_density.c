#include "app/bench.h"
#include "app/bench_clock.h"
#include "app/progress.h"
#include "app/run.h"
#include "solvers/exchange.h"

/* A forward sweep of a case's agents under a drift that turns with x and t. */
typedef struct {
  const MFGProblem *problem;
  MFGParticles particles;
  MFGDensityPlan plan;
  double *M;
  MFGSampleStatistics *statistics;
} Sweep;

static PetscErrorCode SweepDrift(void *context, int begin, int end, double *drift) {
  const MFGProblem *p = ((Sweep *)context)->problem;
  const MFGBlock *b = &p->grid.block;

  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t c = 0; c < MFGBlockOwned(b); c++) {
        const int64_t at[3] = {c % b->count[0], c / b->count[0] % b->count[1],
                               c / b->count[0] / b->count[1]};
        const double s = ((double)at[k] + b->start[k] + 0.5) / b->cells[k];
        *drift++ = (0.5 - s) * (1 + 0.5 * n / p->spec.steps);
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SweepWork(void *context) {
  Sweep *s = (Sweep *)context;

  PetscFunctionBeginUser;
  PetscCall(MFGParticlesSweep(s->particles, s->plan, 0, SweepDrift, s, s->M, s->statistics));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Two cells of bandwidth on every axis and level; halvings NULL: boxes as the plan chooses. */
static PetscErrorCode PlanCreate(const MFGProblem *p, const MFGBackend *backend,
                                 MFGDensityMethod method, double tolerance, const int *halvings,
                                 MFGDensityPlan *plan) {
  const MFGBlock *b = &p->grid.block;
  const int levels = p->spec.steps + 1;
  double *h;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(levels * b->dim, &h));
  for (int i = 0; i < levels * b->dim; i++) h[i] = 2 * b->spacing[i % b->dim];
  PetscCall(MFGDensityPlanCreateHalved(&p->grid, backend, method, p->spec.agents, tolerance, levels,
                                       h, halvings, plan));
  PetscCall(PetscFree(h));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SweepCreate(const MFGProblem *p, const MFGBackend *backend,
                                  MFGDecomposition division, MFGDensityMethod method,
                                  double tolerance, const int *halvings, int sort_every, Sweep *s) {
  const MFGBlock *b = &p->grid.block;
  const int levels = p->spec.steps + 1;
  const MFGParticlesSpec spec = {.count = p->spec.agents,
                                 .seed = p->spec.seed,
                                 .sampling = p->spec.sampling,
                                 .initial_density = p->initial_density,
                                 .nu = p->spec.nu,
                                 .dt = p->spec.horizon / p->spec.steps,
                                 .steps = p->spec.steps,
                                 .decomposition = division,
                                 .single = p->spec.single,
                                 .sort_every = sort_every};

  PetscFunctionBeginUser;
  s->problem = p;
  PetscCall(MFGParticlesCreate(&p->grid, backend, &spec, &s->particles));
  PetscCall(PlanCreate(p, backend, method, tolerance, halvings, &s->plan));
  PetscCall(PetscMalloc2(levels * MFGBlockOwned(b), &s->M, levels, &s->statistics));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SweepDestroy(Sweep *s) {
  PetscFunctionBeginUser;
  PetscCall(MFGParticlesDestroy(&s->particles));
  PetscCall(MFGDensityPlanDestroy(&s->plan));
  PetscCall(PetscFree2(s->M, s->statistics));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* max |a - b| / max b over all levels and cells. */
static PetscErrorCode Difference(const MFGProblem *p, const double *a, const double *b,
                                 double *value) {
  const int64_t n = (p->spec.steps + 1) * MFGBlockOwned(&p->grid.block);
  double tops[2] = {0};

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < n; i++) {
    tops[0] = PetscMax(tops[0], fabs(a[i] - b[i]));
    tops[1] = PetscMax(tops[1], b[i]);
  }
  PetscCall(MFGGridMax(&p->grid, 2, tops));
  *value = tops[0] / tops[1];
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One row of the density tables. */
typedef struct {
  const char *label;
  const MFGMomentShape *shape; /* NULL: no moments */
  MFGBenchTiming timing;
  double work;                     /* agents, or agent-steps */
  double predicted;                /* seconds; 0: no model */
  MFGBenchClock device;            /* of a call; 0: not clocked */
  const MFGBenchTiming *reference; /* NULL: no direct sum to compare with */
  double difference;
} Row;

#define ROW_HEAD                                                                                   \
  "  density                   order in   first ms   later ms %16s predicted ms  ratio"            \
  "  direct/this  difference%s\n"
#define DEVICE_HEAD "  device: agents ms  density ms"

static PetscErrorCode PrintRow(MPI_Comm comm, const Row *r) {
  char boxes[32] = "-", predicted[32] = "-", error[32] = "-", ratio[32] = "-", agreement[32] = "-";
  char device[64] = "";

  PetscFunctionBeginUser;
  if (r->shape)
    snprintf(boxes, sizeof boxes, "%d in %d", r->shape->order, MFGMomentBoxes(r->shape));
  if (r->predicted > 0) {
    snprintf(predicted, sizeof predicted, "%.2f", 1e3 * r->predicted);
    snprintf(error, sizeof error, "%.2f", r->timing.later / r->predicted);
  }
  if (r->reference) {
    snprintf(ratio, sizeof ratio, "%.1f", r->reference->later / r->timing.later);
    snprintf(agreement, sizeof agreement, "%.1e", r->difference);
  }
  if (r->device.agents > 0)
    snprintf(device, sizeof device, " %18.3f %11.3f", 1e3 * r->device.agents,
             1e3 * r->device.density);
  PetscCall(MFGSay(comm, "  %-25s %8s %10.2f %10.2f %16.2f %12s %6s %12s  %10s%s\n", r->label,
                   boxes, 1e3 * r->timing.first, 1e3 * r->timing.later,
                   1e9 * r->timing.later / r->work, predicted, error, ratio, agreement, device));
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  const char *name;
  int count;
  const char *const *sets;
  PetscBool direct;
  int64_t agents; /* 0: those of the case; else on a device only, and of moments at 1e-6 */
} SweepCase;

static const double tolerances[] = {1e-6, 1e-10, 1e-14};
#define TOLERANCES 3

/* How a sweep of the tables is done. */
typedef struct {
  const char *name; /* of the row */
  double tolerance;
  const int *halvings; /* NULL: boxes as the plan chooses */
  int sort_every;
} Variant;

/* Both divisions where there are two ranks, and what auto would take. */
typedef struct {
  char name[64];
  double seconds[2];
  MFGDecomposition choice;
} Trial;

/* Everything the rows of a case share. */
typedef struct {
  const SweepCase *c;
  const MFGProblem *problem;
  const MFGBackend *backend; /* that of the problem, clocked where it is a device's */
  PetscBool clocked;
  Sweep exact;
  MFGBenchTiming reference;
} Bench;

/* The layout of a sweep whose plan is made. */
static MFGSweepLayout PlanLayout(const MFGProblem *p, const MFGDensityPlan plan, int sort_every) {
  MFGSweepLayout layout = p->layout;
  layout.shape = MFGDensityPlanShape(plan);
  layout.sort_every = sort_every;
  MFGDensityPlanRadius(plan, layout.radius);
  return layout;
}

/* What the device takes of a call: the least of three. */
static PetscErrorCode TimeOnDevice(Sweep *sweep, MFGBenchClock *least) {
  MFGBenchClock clock;

  PetscFunctionBeginUser;
  for (int i = 0; i < 3; i++) {
    PetscCall(MFGBenchClockStart());
    PetscCall(SweepWork(sweep));
    PetscCall(MFGBenchClockStop(&clock));
    if (!i || clock.agents + clock.density < least->agents + least->density) *least = clock;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rows of one variant. *halved: whether its boxes are parts of cells. */
static PetscErrorCode BenchVariant(MPI_Comm comm, const Bench *b, const Variant *v, Trial *trial,
                                   PetscBool *halved) {
  const MFGProblem *p = b->problem;
  const MFGBenchTiming *reference = b->c->direct ? &b->reference : NULL;
  MFGDecompositionModel model = {0};
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  snprintf(trial->name, sizeof trial->name, "%s, %.0e", b->c->name, v->tolerance);
  for (int way = 0; way < (size > 1 ? 2 : 1); way++) {
    const MFGDecomposition division = (MFGDecomposition)way;
    char label[64];
    Sweep sweep;
    PetscCall(SweepCreate(p, b->backend, division, MFG_DENSITY_MOMENTS, v->tolerance, v->halvings,
                          v->sort_every, &sweep));
    const MFGMomentShape shape = MFGDensityPlanShape(sweep.plan);
    Row row = {.label = label,
               .shape = &shape,
               .work = (double)p->spec.agents * p->spec.steps,
               .reference = reference};
    if (!way) {
      const MFGSweepLayout layout = PlanLayout(p, sweep.plan, v->sort_every);
      PetscCall(MFGProblemPredict(p, &layout, &model));
    }
    PetscCall(MFGBenchTimeWork(comm, SweepWork, &sweep, &row.timing));
    if (b->clocked) PetscCall(TimeOnDevice(&sweep, &row.device));
    if (reference) PetscCall(Difference(p, sweep.M, b->exact.M, &row.difference));
    snprintf(label, sizeof label, "%s %.0e %s", v->name, v->tolerance,
             size > 1 ? MFGDecompositionName(division) : "");
    row.predicted = model.seconds[way] * p->spec.steps;
    PetscCall(PrintRow(comm, &row));
    trial->seconds[way] = row.timing.later;
    *halved = (PetscBool)(MFGMomentBoxes(&shape) > 1);
    PetscCall(SweepDestroy(&sweep));
  }
  trial->choice = model.choice;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Moments at `count` tolerances. On one rank, in two and three dimensions, also without sorting the
 * agents by cell, and where the plan halves cells the same with whole ones; on several both
 * divisions. */
static PetscErrorCode BenchVariants(MPI_Comm comm, const Bench *b, int count, Trial trials[]) {
  const int none[MFG_MAX_DIM] = {0};
  const Variant unsorted = {"unsorted", tolerances[0], NULL, MFG_SORT_NEVER};
  PetscMPIInt size;
  PetscBool halved;
  Trial other;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  const PetscBool others = (PetscBool)(size == 1 && !b->c->agents);
  if (others && b->problem->grid.block.dim > 1)
    PetscCall(BenchVariant(comm, b, &unsorted, &other, &halved));
  for (int i = 0; i < count; i++) {
    const Variant v = {"moments", tolerances[i], NULL, MFG_SORT_AUTO},
                  whole = {"whole cells", tolerances[i], none, MFG_SORT_AUTO};
    PetscCall(BenchVariant(comm, b, &v, &trials[i], &halved));
    if (others && halved) PetscCall(BenchVariant(comm, b, &whole, &other, &halved));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Whether the device has the memory for the agents of a case. */
static PetscErrorCode Fits(MPI_Comm comm, const MFGProblem *p, PetscBool *fits) {
  MFGDensityPlan plan;
  size_t available;

  PetscFunctionBeginUser;
  PetscCall(PlanCreate(p, p->backend, MFG_DENSITY_MOMENTS, tolerances[0], NULL, &plan));
  const MFGSweepLayout layout = PlanLayout(p, plan, MFG_SORT_AUTO);
  PetscCall(MFGDensityPlanDestroy(&plan));
  PetscCall(p->backend->memory->available(&available));
  const double wanted = (double)MFGSweepDeviceBytes(&layout, p->backend, 0, p->spec.agents);
  *fits = (PetscBool)(wanted <= (double)available);
  if (!*fits)
    PetscCall(MFGSay(comm, "  not done: %.1f MB of the GPU's memory wanted, %.1f free\n",
                     wanted / 1e6, (double)available / 1e6));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchDirect(MPI_Comm comm, Bench *b) {
  const MFGProblem *p = b->problem;

  PetscFunctionBeginUser;
  PetscCall(SweepCreate(p, b->backend, MFG_DECOMPOSITION_REPLICATED, MFG_DENSITY_DIRECT, 1e-6, NULL,
                        MFG_SORT_AUTO, &b->exact));
  PetscCall(MFGBenchTimeWork(comm, SweepWork, &b->exact, &b->reference));
  const Row row = {.label = "direct sum",
                   .timing = b->reference,
                   .work = (double)p->spec.agents * p->spec.steps,
                   .reference = &b->reference};
  PetscCall(PrintRow(comm, &row));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One case, beside the direct sum where that is affordable; with at most `most` cells. */
static PetscErrorCode BenchSweepCase(MPI_Comm comm, const char *backend, double most,
                                     const SweepCase *c, int count, Trial trials[]) {
  MFGBenchCase bench;
  Bench b = {.c = c, .problem = &bench.problem};
  char cells[64];
  PetscMPIInt size;
  PetscBool fits = PETSC_TRUE;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGBenchCaseCreate(comm, backend, c->name, c->count, c->sets, &bench));
  MFGProblem *p = &bench.problem;
  const PetscBool device = (PetscBool)!p->backend->memory->is_host;
  if ((double)MFGBlockCells(&p->grid.block) <= most && (!c->agents || (device && size == 1))) {
    if (c->agents) p->spec.agents = p->layout.agents = c->agents;
    b.clocked = (PetscBool)(device && size == 1);
    b.backend = b.clocked ? MFGBenchClocked(p->backend) : p->backend;
    MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
    PetscCall(MFGSay(comm, "%s: %lld agents, %s cells, %d steps, h = 2 cells\n" ROW_HEAD, c->name,
                     (long long)p->spec.agents, cells, p->spec.steps, "ns/agent-step",
                     b.clocked ? DEVICE_HEAD : ""));
    if (c->agents) PetscCall(Fits(comm, p, &fits));
    if (c->direct) PetscCall(BenchDirect(comm, &b));
    if (fits) PetscCall(BenchVariants(comm, &b, count, trials));
    if (c->direct) PetscCall(SweepDestroy(&b.exact));
  }
  PetscCall(MFGBenchCaseDestroy(&bench));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What auto costs beside the faster of the two. */
static PetscErrorCode PrintChoices(MPI_Comm comm, int count, const Trial trials[]) {
  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm, "\nauto                           takes        ms  best fixed        ms  "
                         "auto/best\n"));
  for (int i = 0; i < count; i++) {
    const Trial *t = &trials[i];
    const int best = t->seconds[1] < t->seconds[0];
    PetscCall(MFGSay(comm, "  %-25s %10s %9.2f  %10s %9.2f %10.2f\n", t->name,
                     MFGDecompositionName(t->choice), 1e3 * t->seconds[t->choice],
                     MFGDecompositionName((MFGDecomposition)best), 1e3 * t->seconds[best],
                     t->seconds[t->choice] / t->seconds[best]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Crowds for a device. Between two steps they move about four cells by their noise, and as many at
 * the most by the drift. */
static PetscErrorCode BenchCrowds(MPI_Comm comm, const char *backend, double most) {
  static const char *const fine[] = {"agents.count=1000", "time.steps=10", "time.horizon=0.1",
                                     "domain.cells=[512,512]", "dynamics.sigma=0.08"},
                           *const finer[] = {"agents.count=1000", "time.steps=10",
                                             "time.horizon=0.1", "domain.cells=[1024,1024]",
                                             "dynamics.sigma=0.04"};
  static const SweepCase crowds[] = {{"torus_2d", 5, fine, PETSC_FALSE, 1000000},
                                     {"torus_2d", 5, fine, PETSC_FALSE, 10000000},
                                     {"torus_2d", 5, finer, PETSC_FALSE, 100000000}};
  Trial unused;

  PetscFunctionBeginUser;
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(crowds); i++)
    PetscCall(BenchSweepCase(comm, backend, most, &crowds[i], 1, &unused));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchSweep(MPI_Comm comm, const MFGCommandLine *line) {
  /* The divisions are set below. In 3D long in x: half of it is wider than the kernel reaches at
   * the tightest tolerance. */
  static const char *const sets[] = {"parallel.decomposition=replicated", "time.steps=10",
                                     "domain.cells=[48,24,24]"};
  static const SweepCase cases[] = {{"reference_1d", 1, sets, PETSC_TRUE, 0},
                                    {"crowd_2d_large", 2, sets, PETSC_FALSE, 0},
                                    {"torus_3d", 3, sets, PETSC_FALSE, 0}};
  const double most = line->resolutions ? pow(4, 5 + line->resolutions) : PETSC_MAX_REAL;
  Trial trials[3 * TOLERANCES];
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  /* Both divisions take twice the time: the tightest tolerance only on one rank. */
  const int count = size > 1 ? TOLERANCES - 1 : TOLERANCES;
  for (int i = 0; i < 3; i++)
    PetscCall(BenchSweepCase(comm, line->backend, most, &cases[i], count, trials + i * count));
  PetscCall(BenchCrowds(comm, line->backend, most));
  if (size > 1 && !line->resolutions) PetscCall(PrintChoices(comm, 3 * count, trials));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One density estimate of agents that stand still: deposit and convolution, or the direct sum. */
typedef struct {
  const MFGProblem *problem;
  MFGDensityPlan plan;
  MFGExchange exchange;
  MFGAgentRange agents, there;         /* this rank's, on the host and in the backend's memory */
  double *copy[MFG_MAX_DIM], *density; /* density: on the host */
  /* In the backend's memory; density_there NULL where that is the host's. */
  int64_t *moments, moment_count;
  double *density_there;
} Estimate;

static PetscErrorCode EstimateWork(void *context) {
  Estimate *e = (Estimate *)context;
  const MFGProblem *p = e->problem;
  const MFGMemoryOps *memory = p->backend->memory;
  const MFGBlock domain = MFGGridWhole(&p->grid);

  PetscFunctionBeginUser;
  if (MFGDensityPlanMethod(e->plan) == MFG_DENSITY_DIRECT) {
    PetscCall(MFGDensityDirect(e->plan, 0, &e->agents, e->density));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const MFGMomentShape shape = MFGDensityPlanShape(e->plan);
  double *density = e->density_there ? e->density_there : e->density;
  PetscCall(MFGMemoryZero(memory, e->moment_count, sizeof *e->moments, e->moments));
  PetscCall(MFGBackendDeposit(p->backend, &domain, &e->there, &shape, NULL, e->moments));
  PetscCall(MFGExchangeSum(e->exchange, e->moment_count, e->moments));
  PetscCall(MFGDensityEvaluate(e->plan, 0, 1, NULL, NULL, e->moments, density));
  if (e->density_there)
    PetscCall(MFGMemoryCopy(memory, MFGBlockOwned(&p->grid.block), sizeof *density,
                            MFG_COPY_TO_HOST, density, e->density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode EstimateCreate(const MFGProblem *p, const MFGAgentRange *agents,
                                     MFGDensityMethod method, double tolerance, const int *halvings,
                                     Estimate *e) {
  const MFGBlock *b = &p->grid.block, whole = MFGGridWhole(&p->grid);
  const MFGMemoryOps *memory = p->backend->memory;
  double h[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) h[k] = 2 * b->spacing[k];
  *e = (Estimate){.problem = p, .agents = *agents, .there = *agents};
  PetscCall(MFGDensityPlanCreateHalved(&p->grid, p->backend, method, p->spec.agents, tolerance, 1,
                                       h, halvings, &e->plan));
  PetscCall(MFGExchangeCreate(p->grid.world, p->backend->carrier, &whole, p->grid.divisions,
                              &e->exchange));
  for (int k = 0; k < b->dim; k++) {
    int64_t room = 0;
    const void *there;
    PetscCall(MFGMemoryStage(memory, agents->count, sizeof(double), agents->position[k], &room,
                             &e->copy[k], &there));
    e->there.position[k] = (double *)there;
  }
  const MFGMomentShape shape = MFGDensityPlanShape(e->plan);
  e->moment_count = MFGBlockCells(b) * MFGMomentNumbers(b->dim, &shape);
  PetscCall(MFGMemoryAllocate(memory, e->moment_count, sizeof *e->moments, &e->moments));
  PetscCall(PetscMalloc1(MFGBlockOwned(b), &e->density));
  if (!memory->is_host)
    PetscCall(MFGMemoryAllocate(memory, MFGBlockOwned(b), sizeof(double), &e->density_there));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode EstimateDestroy(Estimate *e) {
  const MFGMemoryOps *memory = e->problem->backend->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGDensityPlanDestroy(&e->plan));
  PetscCall(MFGExchangeDestroy(&e->exchange));
  for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(MFGMemoryFree(memory, &e->copy[k]));
  PetscCall(MFGMemoryFree(memory, &e->moments));
  PetscCall(MFGMemoryFree(memory, &e->density_there));
  PetscCall(PetscFree(e->density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* This rank's share of a case's agents, as they stand at t = 0. */
static PetscErrorCode Standing(const MFGProblem *p, MFGAgentRange *agents) {
  const int dim = p->grid.block.dim;
  const int64_t n = p->spec.agents;
  Sweep s;
  PetscMPIInt rank, size;
  double *path;
  int64_t *id;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid.world, &rank));
  PetscCallMPI(MPI_Comm_size(p->grid.world, &size));
  PetscCall(SweepCreate(p, p->backend, MFG_DECOMPOSITION_REPLICATED, MFG_DENSITY_MOMENTS, 1e-3,
                        NULL, MFG_SORT_NEVER, &s));
  PetscCall(PetscMalloc2((p->spec.steps + 1) * n * dim, &path, n, &id));
  PetscCall(MFGParticlesPaths(s.particles, 0, SweepDrift, &s, n, path, id));
  *agents = (MFGAgentRange){.first_id = n * rank / size, .id_stride = 1};
  agents->count = n * (rank + 1) / size - agents->first_id;
  for (int k = 0; k < dim; k++) {
    PetscCall(PetscMalloc1(agents->count, &agents->position[k]));
    for (int64_t i = 0; i < agents->count; i++)
      agents->position[k][i] = path[(agents->first_id + i) * dim + k];
  }
  PetscCall(PetscFree2(path, id));
  PetscCall(SweepDestroy(&s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchKDECase(MPI_Comm comm, const char *backend, const char *name, int count,
                                   const char *const sets[]) {
  MFGBenchCase c;
  MFGAgentRange agents;
  Estimate exact, e;
  MFGBenchTiming reference;
  char cells[64];

  PetscFunctionBeginUser;
  PetscCall(MFGBenchCaseCreate(comm, backend, name, count, sets, &c));
  const MFGProblem *p = &c.problem;
  MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
  PetscCall(Standing(p, &agents));
  PetscCall(MFGSay(comm, "one estimate: %lld agents, %s cells, h = 2 cells\n" ROW_HEAD,
                   (long long)p->spec.agents, cells, "ns/agent", ""));
  PetscCall(EstimateCreate(p, &agents, MFG_DENSITY_DIRECT, 1e-6, NULL, &exact));
  PetscCall(MFGBenchTimeWork(comm, EstimateWork, &exact, &reference));
  Row row = {.label = "direct sum",
             .timing = reference,
             .work = (double)p->spec.agents,
             .reference = &reference};
  PetscCall(PrintRow(comm, &row));
  for (int i = 0, whole = 0; i < TOLERANCES; i += !whole) {
    const int none[MFG_MAX_DIM] = {0};
    double tops[2] = {0};
    char label[32];
    PetscCall(
        EstimateCreate(p, &agents, MFG_DENSITY_MOMENTS, tolerances[i], whole ? none : NULL, &e));
    const MFGMomentShape shape = MFGDensityPlanShape(e.plan);
    const MFGSweepLayout layout = PlanLayout(p, e.plan, MFG_SORT_NEVER);
    MFGHints hints;
    PetscCall(MFGHintsMeasure(comm, p->backend, &layout, &hints));
    row.predicted = MFGEstimateSeconds(&layout, &hints);
    PetscCall(MFGBenchTimeWork(comm, EstimateWork, &e, &row.timing));
    for (int64_t k = 0; k < MFGBlockOwned(&p->grid.block); k++) {
      tops[0] = PetscMax(tops[0], fabs(e.density[k] - exact.density[k]));
      tops[1] = PetscMax(tops[1], exact.density[k]);
    }
    PetscCall(MFGGridMax(&p->grid, 2, tops));
    snprintf(label, sizeof label, "%s %.0e", whole ? "whole cells" : "moments", tolerances[i]);
    row.label = label;
    row.shape = &shape;
    row.difference = tops[0] / tops[1];
    PetscCall(PrintRow(comm, &row));
    PetscCall(EstimateDestroy(&e));
    whole = MFGMomentBoxes(&shape) > 1;
  }
  PetscCall(EstimateDestroy(&exact));
  for (int k = 0; k < p->grid.block.dim; k++) PetscCall(PetscFree(agents.position[k]));
  PetscCall(MFGBenchCaseDestroy(&c));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchKDE(MPI_Comm comm, const MFGCommandLine *line) {
  const char *one[] = {"time.steps=1"};
  const char *two[] = {"time.steps=1", "agents.count=20000", "domain.cells=[64,64]"};

  PetscFunctionBeginUser;
  PetscCall(BenchKDECase(comm, line->backend, "reference_1d", 1, one));
  PetscCall(BenchKDECase(comm, line->backend, "crowd_2d", 3, two));
  PetscFunctionReturn(PETSC_SUCCESS);
}
