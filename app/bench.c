#include "app/problem.h"
#include "app/progress.h"
#include "app/run.h"
#include "solvers/exchange.h"
#include "solvers/particles.h"

#define LATER_CALLS 5

/* Wall seconds of the first call of a piece of work and the median of later ones. */
typedef struct {
  double first, later;
} Timing;

typedef PetscErrorCode (*Work)(void *context);

static int CompareSeconds(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The ranks start together and the slowest counts. */
static PetscErrorCode TimeOnce(MPI_Comm comm, Work work, void *context, double *seconds) {
  PetscLogDouble t0, t1;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Barrier(comm));
  PetscCall(PetscTime(&t0));
  PetscCall(work(context));
  PetscCall(PetscTime(&t1));
  *seconds = t1 - t0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode TimeWork(MPI_Comm comm, Work work, void *context, Timing *timing) {
  double later[LATER_CALLS];

  PetscFunctionBeginUser;
  PetscCall(TimeOnce(comm, work, context, &timing->first));
  for (int i = 0; i < LATER_CALLS; i++) PetscCall(TimeOnce(comm, work, context, &later[i]));
  qsort(later, LATER_CALLS, sizeof *later, CompareSeconds);
  timing->later = later[LATER_CALLS / 2];
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A shipped case with changes, ready to be solved. */
typedef struct {
  MFGConfig *config;
  MFGProblem problem;
} Case;

static PetscErrorCode CaseCreate(MPI_Comm comm, const char *name, int count,
                                 const char *const sets[], Case *c) {
  char path[PETSC_MAX_PATH_LEN];
  MFGConfigErrors errors = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGInputPath(name, path));
  PetscCall(MFGConfigRead(comm, path, count, sets, &c->config, &errors));
  if (!errors.count) PetscCall(MFGProblemCreate(comm, c->config, &c->problem, &errors));
  PetscCheck(!errors.count, comm, PETSC_ERR_USER_INPUT, "%s", errors.text);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CaseDestroy(Case *c) {
  PetscFunctionBeginUser;
  PetscCall(MFGProblemDestroy(&c->problem));
  PetscCall(MFGConfigDestroy(&c->config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

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

/* `cells` of bandwidth on every axis and level; halvings NULL: boxes as the plan chooses. */
static PetscErrorCode SweepCreate(const MFGProblem *p, MFGDensityMethod method, double tolerance,
                                  double cells, const int *halvings, int sort_every, Sweep *s) {
  const MFGBlock *b = &p->grid.block;
  const int levels = p->spec.steps + 1;
  const MFGParticlesSpec spec = {.count = p->spec.agents,
                                 .seed = p->spec.seed,
                                 .sampling = p->spec.sampling,
                                 .initial_density = p->initial_density,
                                 .nu = p->spec.nu,
                                 .dt = p->spec.horizon / p->spec.steps,
                                 .steps = p->spec.steps,
                                 .decomposition = p->spec.decomposition,
                                 .single = p->spec.single,
                                 .sort_every = sort_every};
  double *h;

  PetscFunctionBeginUser;
  s->problem = p;
  PetscCall(PetscMalloc1(levels * b->dim, &h));
  for (int i = 0; i < levels * b->dim; i++) h[i] = cells * b->spacing[i % b->dim];
  PetscCall(MFGParticlesCreate(&p->grid, p->backend, &spec, &s->particles));
  PetscCall(MFGDensityPlanCreateHalved(&p->grid, p->backend, method, p->spec.agents, tolerance,
                                       levels, h, halvings, &s->plan));
  PetscCall(PetscFree(h));
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

/* One row of the density tables; reference NULL: no direct sum to compare with. */
static PetscErrorCode PrintRow(MPI_Comm comm, const char *label, const MFGMomentShape *shape,
                               const Timing *t, const Timing *reference, double work,
                               double difference) {
  char ratio[32] = "-", agreement[32] = "-", boxes[32] = "-";

  PetscFunctionBeginUser;
  if (reference) {
    snprintf(ratio, sizeof ratio, "%.1f", reference->later / t->later);
    snprintf(agreement, sizeof agreement, "%.1e", difference);
  }
  if (shape) snprintf(boxes, sizeof boxes, "%d in %d", shape->order, MFGMomentBoxes(shape));
  PetscCall(MFGSay(comm, "  %-17s %8s %10.2f %10.2f %14.2f %12s  %10s\n", label, boxes,
                   1e3 * t->first, 1e3 * t->later, 1e9 * t->later / work, ratio, agreement));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Moments at three tolerances, beside the direct sum where it is affordable, on one case. */
static PetscErrorCode BenchSweepCase(MPI_Comm comm, const char *name, int count,
                                     const char *const sets[], PetscBool direct) {
  const double tolerances[] = {1e-6, 1e-10, 1e-14};
  Case c;
  Sweep exact, sweep;
  Timing timing, reference;
  char cells[64];

  PetscFunctionBeginUser;
  PetscCall(CaseCreate(comm, name, count, sets, &c));
  const MFGProblem *p = &c.problem;
  MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
  const double work = (double)p->spec.agents * p->spec.steps;
  PetscCall(
      PetscPrintf(comm,
                  "%s: %lld agents, %s cells, %d steps, h = 2 cells; %s (%s)\n"
                  "  density            order in   first ms   later ms  ns/agent-step  direct/this"
                  "  difference\n",
                  name, (long long)p->spec.agents, cells, p->spec.steps,
                  MFGDecompositionName(p->spec.decomposition), p->model.reason));
  if (direct) {
    PetscCall(SweepCreate(p, MFG_DENSITY_DIRECT, 1e-6, 2, NULL, MFG_SORT_AUTO, &exact));
    PetscCall(TimeWork(comm, SweepWork, &exact, &reference));
    PetscCall(PrintRow(comm, "direct sum", NULL, &reference, &reference, work, 0));
  }
  /* In two and three dimensions also without sorting the agents by cell; where the plan halves
   * cells, the same with whole ones beside it. */
  for (int i = p->grid.block.dim > 1 ? -1 : 0, whole = 0; i < 3; i += !whole) {
    const double tolerance = tolerances[PetscMax(i, 0)];
    const int none[MFG_MAX_DIM] = {0};
    double difference = 0;
    char label[32];
    PetscCall(SweepCreate(p, MFG_DENSITY_MOMENTS, tolerance, 2, whole ? none : NULL,
                          i < 0 ? MFG_SORT_NEVER : MFG_SORT_AUTO, &sweep));
    PetscCall(TimeWork(comm, SweepWork, &sweep, &timing));
    if (direct) PetscCall(Difference(p, sweep.M, exact.M, &difference));
    snprintf(label, sizeof label, i < 0 ? "unsorted %.0e" : "moments %.0e", tolerance);
    const MFGMomentShape shape = MFGDensityPlanShape(sweep.plan);
    PetscCall(PrintRow(comm, label, &shape, &timing, direct ? &reference : NULL, work, difference));
    PetscCall(SweepDestroy(&sweep));
    whole = MFGMomentBoxes(&shape) > 1;
  }
  if (direct) PetscCall(SweepDestroy(&exact));
  PetscCall(CaseDestroy(&c));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchSweep(MPI_Comm comm) {
  /* Long in x: half of it is wider than the kernel reaches at the tightest tolerance. */
  const char *replicated[] = {"time.steps=10", "parallel.decomposition=replicated",
                              "domain.cells=[48,24,24]"};
  const char *domain[] = {"time.steps=10", "parallel.decomposition=domain",
                          "domain.cells=[48,24,24]"};
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(BenchSweepCase(comm, "reference_1d", 0, NULL, PETSC_TRUE));
  PetscCall(BenchSweepCase(comm, "crowd_2d_large", 2, replicated, PETSC_FALSE));
  PetscCall(BenchSweepCase(comm, "torus_3d", 3, replicated, PETSC_FALSE));
  if (size == 1) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(BenchSweepCase(comm, "crowd_2d_large", 2, domain, PETSC_FALSE));
  PetscCall(BenchSweepCase(comm, "torus_3d", 3, domain, PETSC_FALSE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One density estimate of agents that stand still: deposit and convolution, or the direct sum. */
typedef struct {
  const MFGProblem *problem;
  MFGDensityPlan plan;
  MFGAgentRange agents; /* this rank's */
  int64_t *moments, moment_count;
  double *density;
} Estimate;

static PetscErrorCode EstimateWork(void *context) {
  Estimate *e = (Estimate *)context;
  const MFGProblem *p = e->problem;

  PetscFunctionBeginUser;
  if (MFGDensityPlanMethod(e->plan) == MFG_DENSITY_DIRECT) {
    PetscCall(MFGDensityDirect(e->plan, 0, &e->agents, e->density));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const MFGMomentShape shape = MFGDensityPlanShape(e->plan);
  MFGBlock domain = p->grid.block;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    domain.start[k] = 0;
    domain.count[k] = domain.cells[k];
  }
  PetscCall(PetscArrayzero(e->moments, e->moment_count));
  PetscCall(MFGBackendDeposit(p->backend, &domain, &e->agents, &shape, NULL, e->moments));
  PetscCall(MFGExchangeSumInt64(p->grid.world, e->moment_count, e->moments));
  PetscCall(MFGDensityEvaluate(e->plan, 0, NULL, NULL, e->moments, e->density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode EstimateCreate(const MFGProblem *p, const MFGAgentRange *agents,
                                     MFGDensityMethod method, double tolerance, const int *halvings,
                                     Estimate *e) {
  const MFGBlock *b = &p->grid.block;
  double h[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) h[k] = 2 * b->spacing[k];
  e->problem = p;
  e->agents = *agents;
  PetscCall(MFGDensityPlanCreateHalved(&p->grid, p->backend, method, p->spec.agents, tolerance, 1,
                                       h, halvings, &e->plan));
  const MFGMomentShape shape = MFGDensityPlanShape(e->plan);
  e->moment_count = MFGBlockCells(b) * MFGMomentNumbers(b->dim, &shape);
  PetscCall(PetscMalloc2(e->moment_count, &e->moments, MFGBlockOwned(b), &e->density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode EstimateDestroy(Estimate *e) {
  PetscFunctionBeginUser;
  PetscCall(MFGDensityPlanDestroy(&e->plan));
  PetscCall(PetscFree2(e->moments, e->density));
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
  PetscCall(SweepCreate(p, MFG_DENSITY_MOMENTS, 1e-3, 2, NULL, MFG_SORT_NEVER, &s));
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

static PetscErrorCode BenchKDECase(MPI_Comm comm, const char *name, int count,
                                   const char *const sets[]) {
  const double tolerances[] = {1e-6, 1e-10, 1e-14};
  Case c;
  MFGAgentRange agents;
  Estimate exact, e;
  Timing timing, reference;
  char cells[64];

  PetscFunctionBeginUser;
  PetscCall(CaseCreate(comm, name, count, sets, &c));
  const MFGProblem *p = &c.problem;
  MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
  PetscCall(Standing(p, &agents));
  PetscCall(MFGSay(comm,
                   "one estimate: %lld agents, %s cells, h = 2 cells\n"
                   "  density            order in   first ms   later ms       ns/agent  direct/this"
                   "  difference\n",
                   (long long)p->spec.agents, cells));
  PetscCall(EstimateCreate(p, &agents, MFG_DENSITY_DIRECT, 1e-6, NULL, &exact));
  PetscCall(TimeWork(comm, EstimateWork, &exact, &reference));
  PetscCall(PrintRow(comm, "direct sum", NULL, &reference, &reference, (double)p->spec.agents, 0));
  for (int i = 0, whole = 0; i < 3; i += !whole) {
    const int none[MFG_MAX_DIM] = {0};
    double tops[2] = {0};
    char label[32];
    PetscCall(
        EstimateCreate(p, &agents, MFG_DENSITY_MOMENTS, tolerances[i], whole ? none : NULL, &e));
    PetscCall(TimeWork(comm, EstimateWork, &e, &timing));
    for (int64_t k = 0; k < MFGBlockOwned(&p->grid.block); k++) {
      tops[0] = PetscMax(tops[0], fabs(e.density[k] - exact.density[k]));
      tops[1] = PetscMax(tops[1], exact.density[k]);
    }
    PetscCall(MFGGridMax(&p->grid, 2, tops));
    snprintf(label, sizeof label, "moments %.0e", tolerances[i]);
    const MFGMomentShape shape = MFGDensityPlanShape(e.plan);
    PetscCall(PrintRow(comm, label, &shape, &timing, &reference, (double)p->spec.agents,
                       tops[0] / tops[1]));
    PetscCall(EstimateDestroy(&e));
    whole = MFGMomentBoxes(&shape) > 1;
  }
  PetscCall(EstimateDestroy(&exact));
  for (int k = 0; k < p->grid.block.dim; k++) PetscCall(PetscFree(agents.position[k]));
  PetscCall(CaseDestroy(&c));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchKDE(MPI_Comm comm) {
  const char *one[] = {"time.steps=1"};
  const char *two[] = {"time.steps=1", "agents.count=20000", "domain.cells=[64,64]"};

  PetscFunctionBeginUser;
  PetscCall(BenchKDECase(comm, "reference_1d", 1, one));
  PetscCall(BenchKDECase(comm, "crowd_2d", 3, two));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A backward sweep with the density of m0 at all levels. */
typedef struct {
  const MFGProblem *problem;
  MFGHJB hjb;
  double *m, *terminal, *U;
  PetscBool warm;
  MFGHJBStats stats;
} Backward;

static PetscErrorCode BackwardSource(void *context, int level, double *source) {
  const Backward *b = (Backward *)context;
  const MFGProblem *p = b->problem;

  PetscFunctionBeginUser;
  PetscCall(MFGCostEvaluate(&p->grid, p->backend, &p->spec.running, level, b->m, source));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BackwardWork(void *context) {
  Backward *b = (Backward *)context;

  PetscFunctionBeginUser;
  PetscCall(MFGHJBSweep(b->hjb, BackwardSource, b, b->terminal, b->warm, 1e-8, b->U, &b->stats));
  PetscCheck(b->stats.reason >= 0, b->problem->grid.world, PETSC_ERR_NOT_CONVERGED, "%s",
             b->stats.message);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A case solved by multigrid cycles, or directly; and before that by the plain set-up. */
typedef struct {
  const char *label, *name, *sets[5];
  PetscBool plain, cycles;
} BackwardCase;

/* Times the sweep with the options in force: one call, or a first and later ones. */
static PetscErrorCode TimeBackward(MPI_Comm comm, const MFGProblem *p, PetscBool once, Backward *b,
                                   Timing *timing) {
  const MFGEquilibriumSpec *s = &p->spec;
  const MFGHJBSpec spec = {.dt = s->horizon / s->steps,
                           .nu = s->nu,
                           .steps = s->steps,
                           .hamiltonian = s->hamiltonian,
                           .drift_levels = s->drift_levels,
                           .drift = s->drift};

  PetscFunctionBeginUser;
  PetscCall(MFGHJBCreate(&p->grid, p->backend, &spec, &b->hjb));
  if (once) {
    PetscCall(TimeOnce(comm, BackwardWork, b, &timing->first));
    timing->later = timing->first;
  } else {
    PetscCall(TimeWork(comm, BackwardWork, b, timing));
  }
  PetscCall(MFGHJBDestroy(&b->hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PrintBackward(MPI_Comm comm, const BackwardCase *row, const char *solver,
                                    const Backward *b, const Timing *t, double plain) {
  const MFGProblem *p = b->problem;
  const int steps = p->spec.steps;
  char ratio[32] = "-", cells[64];

  PetscFunctionBeginUser;
  if (plain > 0) snprintf(ratio, sizeof ratio, "%.1f", plain / t->later);
  MFGCellsText(p->grid.block.dim, p->grid.block.cells, sizeof cells, cells);
  PetscCall(MFGSay(comm, "  %-16s %-15s %-9s %9.1f %9.1f %13.3f %10.2f %10.1f %11s\n", row->label,
                   cells, solver, 1e3 * t->first, 1e3 * t->later,
                   1e6 * t->later / ((double)MFGBlockCells(&p->grid.block) * steps),
                   (double)b->stats.newton / steps, (double)b->stats.krylov / steps, ratio));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchHJBCase(MPI_Comm comm, const BackwardCase *row) {
  Case c;
  Backward b = {0};
  Timing plain = {0}, timing;
  int count = 0;

  PetscFunctionBeginUser;
  while (row->sets[count]) count++;
  PetscCall(CaseCreate(comm, row->name, count, row->sets, &c));
  const MFGEquilibriumSpec *s = &c.problem.spec;
  const int64_t owned = MFGBlockOwned(&c.problem.grid.block);
  const PetscBool large = (PetscBool)(MFGBlockCells(&c.problem.grid.block) > 100000);
  b.problem = &c.problem;
  PetscCall(PetscMalloc3(owned, &b.m, owned, &b.terminal, (s->steps + 1) * owned, &b.U));
  PetscCall(MFGGridRestrict(&c.problem.grid, 1, c.problem.initial_density, b.m));
  PetscCall(MFGCostEvaluate(&c.problem.grid, c.problem.backend, &s->terminal, 0, b.m, b.terminal));
  if (row->plain && row->cycles) {
    PetscCall(PetscOptionsSetValue(NULL, "-hjb_mat_type", "aij"));
    PetscCall(TimeBackward(comm, &c.problem, large, &b, &plain));
    PetscCall(PetscOptionsClearValue(NULL, "-hjb_mat_type"));
    PetscCall(PrintBackward(comm, row, "plain", &b, &plain, 0));
  }
  PetscCall(TimeBackward(comm, &c.problem, PETSC_FALSE, &b, &timing));
  PetscCall(
      PrintBackward(comm, row, row->cycles ? "multigrid" : "direct", &b, &timing, plain.later));
  PetscCall(PetscFree3(b.m, b.terminal, b.U));
  PetscCall(CaseDestroy(&c));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchHJB(MPI_Comm comm) {
  static const BackwardCase cases[] = {
      {"reference_1d", "reference_1d", {"domain.cells=[100]", "time.steps=50"}, 0, 0},
      {"reference_1d", "reference_1d", {"domain.cells=[1000]", "time.steps=50"}, 0, 0},
      {"torus_2d", "torus_2d", {"domain.cells=[64,64]", "time.steps=100"}, 1, 1},
      {"torus_2d", "torus_2d", {"domain.cells=[128,128]", "time.steps=100"}, 1, 1},
      {"torus_2d", "torus_2d", {"domain.cells=[256,256]", "time.steps=100"}, 1, 1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[512,512]", "time.steps=10", "time.horizon=0.1"},
       1,
       1},
      {"torus_2d, T .1",
       "torus_2d",
       {"domain.cells=[1024,1024]", "time.steps=10", "time.horizon=0.1"},
       0,
       1},
      {"10 dt", "torus_2d", {"domain.cells=[256,256]", "time.steps=10"}, 1, 1},
      {"sigma .1",
       "torus_2d",
       {"domain.cells=[256,256]", "time.steps=20", "time.horizon=0.2", "dynamics.sigma=0.1"},
       1,
       1},
      {"cells 1:10", "torus_2d", {"domain.cells=[512,51]", "time.steps=100"}, 1, 1},
      {"torus_3d", "torus_3d", {"domain.cells=[32,32,32]", "time.steps=20"}, 1, 1},
      {"torus_3d", "torus_3d", {"domain.cells=[64,64,64]", "time.steps=20"}, 1, 1},
  };

  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm,
                   "HJB sweep from a cold start, tolerance 1e-8: plain is BiCGStab with Jacobi on "
                   "an assembled matrix, multigrid one cycle per Newton step\n"
                   "  case             grid            solver     first ms  later ms us/cell-level"
                   "  Newton/lv  Krylov/lv  plain/this\n"));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(cases); i++)
    PetscCall(BenchHJBCase(comm, &cases[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A whole solve, from the problem to the equilibrium. */
typedef struct {
  const MFGProblem *problem;
  MFGOutcome outcome;
} Solve;

static PetscErrorCode SolveWork(void *context) {
  Solve *s = (Solve *)context;
  MFGSolution solution;
  MFGConfigErrors errors = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGSolutionCreate(s->problem, &solution, &errors));
  PetscCheck(!errors.count, s->problem->grid.world, PETSC_ERR_USER_INPUT, "%s", errors.text);
  PetscCall(MFGProblemSolve(s->problem, NULL, NULL, NULL, &solution));
  s->outcome = solution.outcome;
  PetscCall(MFGSolutionDestroy(&solution));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What a strong coupling costs Anderson's method and Newton's, in sweeps. */
static PetscErrorCode BenchCouplings(MPI_Comm comm) {
  const double kappas[] = {0.1, 0.3, 1, 3, 10, 30, 100};
  const char *methods[] = {"anderson", "newton"};

  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm,
                   "\nTorus in one dimension, 64 cells, 64 steps, density on the grid, to 1e-9\n"
                   "  coupling  method       maps  linearised   seconds  density residual\n"));
  for (size_t i = 0; i < 2 * PETSC_STATIC_ARRAY_LENGTH(kappas); i++) {
    char constant[64], strength[64], method[64];
    const char *sets[] = {constant,
                          strength,
                          method,
                          "domain.cells=[64]",
                          "time.steps=64",
                          "fokker_planck.method=grid",
                          "equilibrium.tolerance=1e-9",
                          "equilibrium.memory=10",
                          "equilibrium.damping=0.5"};
    double seconds;
    Solve s;
    Case c;
    snprintf(constant, sizeof constant, "constants.kappa=%g", kappas[i / 2]);
    snprintf(strength, sizeof strength, "running_cost.coupling.strength=%g", kappas[i / 2]);
    snprintf(method, sizeof method, "equilibrium.method=%s", methods[i % 2]);
    PetscCall(CaseCreate(comm, "torus_1d", PETSC_STATIC_ARRAY_LENGTH(sets), sets, &c));
    s.problem = &c.problem;
    PetscCall(TimeOnce(comm, SolveWork, &s, &seconds));
    PetscCall(MFGSay(comm, "  %8g  %-9s %7d %11lld %9.3f  %s\n", kappas[i / 2], methods[i % 2],
                     s.outcome.iterations, (long long)s.outcome.products, seconds,
                     s.outcome.reason == MFG_STOP_CONVERGED ? "below 1e-9" : "NOT CONVERGED"));
    PetscCall(CaseDestroy(&c));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchSolve(MPI_Comm comm) {
  const char *names[] = {"peer_1d", "reference_1d", "torus_1d", "lq_mean_field_1d"};
  Case c;
  Timing timing;

  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm, "Whole solves\n  case                first s   later s  outcome\n"));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(names); i++) {
    Solve s;
    PetscCall(CaseCreate(comm, names[i], 0, NULL, &c));
    s.problem = &c.problem;
    PetscCall(TimeWork(comm, SolveWork, &s, &timing));
    PetscCall(MFGSay(comm, "  %-17s %9.3f %9.3f  %s\n", names[i], timing.first, timing.later,
                     s.outcome.message));
    PetscCall(CaseDestroy(&c));
  }
  PetscCall(BenchCouplings(comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBench(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  static const struct {
    const char *name;
    PetscErrorCode (*bench)(MPI_Comm);
  } benches[] = {
      {"kde", BenchKDE}, {"sweep", BenchSweep}, {"hjb", BenchHJB}, {"solve", BenchSolve}};
  PetscMPIInt size;
  const MFGBackend *backend;

  PetscFunctionBeginUser;
  *exit_code = MFG_EXIT_SUCCESS;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGBackendGet(comm, "auto", &backend));
  PetscCall(
      PetscPrintf(comm, "%d rank%s, backend %s (%s); later: median of %d calls after the first\n",
                  (int)size, size > 1 ? "s" : "", backend->name, backend->detail, LATER_CALLS));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(benches); i++) {
    PetscBool wanted = (PetscBool)(cli->name_count == 0);
    for (int k = 0; k < cli->name_count; k++)
      if (!strcmp(cli->names[k], benches[i].name)) wanted = PETSC_TRUE;
    if (wanted) {
      PetscCall(MFGSay(comm, "\n"));
      PetscCall(benches[i].bench(comm));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
