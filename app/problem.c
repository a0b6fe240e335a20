#include "app/problem.h"

#include <sys/resource.h>
#include <unistd.h>

#include "app/fields.h"
#include "app/output.h"

int64_t MFGMemoryHeld(void) {
  FILE *f = fopen("/proc/self/statm", "r");
  long long size, pages = 0;

  if (f && fscanf(f, "%lld %lld", &size, &pages) != 2) pages = 0;
  if (f) fclose(f);
  return pages * sysconf(_SC_PAGESIZE);
}

int64_t MFGMemoryPeak(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * (int64_t)1024;
}

static MFGCost MakeCost(const MFGCostConfig *config, int levels, const double *potential) {
  return (MFGCost){.potential_levels = levels,
                   .potential = potential,
                   .coupling = config->coupling,
                   .mean_strength = config->mean.strength,
                   .mean_factor = config->mean.factor};
}

static MFGEquilibriumSpec MakeSpec(const MFGConfig *c) {
  MFGEquilibriumSpec s = {.horizon = c->time.horizon,
                          .nu = c->dynamics.sigma * c->dynamics.sigma / 2,
                          .steps = c->time.steps,
                          .hamiltonian = c->hamiltonian,
                          .fokker_planck = c->fokker_planck.method,
                          .agents = c->agents.count,
                          .seed = c->agents.seed,
                          .sampling = c->agents.sampling,
                          .single = c->agents.single,
                          .density_method = c->density.method,
                          .bandwidth_rule = c->density.rule,
                          .density_tolerance = c->density.tolerance,
                          .method = c->equilibrium.method,
                          .tolerance = c->equilibrium.tolerance,
                          .damping = c->equilibrium.damping,
                          .max_iterations = c->equilibrium.max_iterations,
                          .memory = c->equilibrium.memory,
                          .exploitability = c->equilibrium.exploitability,
                          .fresh = c->equilibrium.fresh};
  for (int k = 0; k < c->dim; k++) s.bandwidth[k] = c->density.bandwidth[k];
  return s;
}

/* The widest kernel of an axis. A rule's follows the crowd, whose variance between walls is at most
 * L^2 / 4, on a circle L^2 / 12. */
static double WidestBandwidth(const MFGEquilibriumSpec *s, const MFGBlock *b, int axis) {
  const double length = b->upper[axis] - b->lower[axis];
  const double share = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC ? 12 : 4;
  PetscBool raised;
  if (s->bandwidth_rule == MFG_BANDWIDTH_FIXED) return s->bandwidth[axis];
  return MFGBandwidth(s->bandwidth_rule, b->dim, s->agents, length * length / share,
                      b->spacing[axis], &raised);
}

/* Variance of m0 along an axis. */
static double InitialVariance(const MFGBlock *b, const double *m0, int axis) {
  double sums[3] = {0};
  for (int z = 0; z < b->cells[2]; z++)
    for (int y = 0; y < b->cells[1]; y++)
      for (int x = 0; x < b->cells[0]; x++, m0++) {
        const double at = MFGCellCenter(b, axis, (int[]){x, y, z}[axis]);
        sums[0] += *m0;
        sums[1] += *m0 * at;
        sums[2] += *m0 * at * at;
      }
  const double mean = sums[1] / sums[0];
  return PetscMax(0, sums[2] / sums[0] - mean * mean);
}

MFGSweepLayout MFGProblemLayout(const MFGProblem *p, const MFGBlock *whole,
                                const int divisions[MFG_MAX_DIM]) {
  const MFGEquilibriumSpec *s = &p->spec;
  const MFGBlock *b = whole, sampled = MFGGridWhole(&p->grid);
  PetscBool raised;
  MFGSweepLayout l = {.whole = *whole,
                      .agents = s->agents,
                      .single = s->single,
                      .steps = s->steps,
                      .deviation = sqrt(2 * s->nu * s->horizon / s->steps)};
  double narrowest[MFG_MAX_DIM], widest[MFG_MAX_DIM];

  for (int k = 0; k < MFG_MAX_DIM; k++) l.divisions[k] = divisions[k];
  for (int k = 0; k < b->dim; k++) {
    widest[k] = WidestBandwidth(s, b, k) / b->spacing[k];
    l.radius[k] = MFGDensityRadius(widest[k], s->density_tolerance);
    /* A rule's kernel is about that of the crowd at t = 0. */
    narrowest[k] =
        s->bandwidth_rule == MFG_BANDWIDTH_FIXED
            ? widest[k]
            : PetscMin(widest[k], MFGBandwidth(s->bandwidth_rule, b->dim, s->agents,
                                               InitialVariance(&sampled, p->initial_density, k),
                                               b->spacing[k], &raised) /
                                      b->spacing[k]);
  }
  l.shape = MFGDensityShape(b, s->agents, s->density_tolerance, narrowest, widest);
  return l;
}

/* Agents by id or by box: as asked for, or as the model says; without any, those of paths by id.
 * Measures only where it decides. */
static PetscErrorCode ChooseDecomposition(MFGProblem *p) {
  const int asked = p->config->parallel.decomposition;
  const MFGBlock whole = MFGGridWhole(&p->grid);

  PetscFunctionBeginUser;
  p->layout = MFGProblemLayout(p, &whole, p->grid.divisions);
  if (MFGProblemOnGrid(p)) PetscFunctionReturn(PETSC_SUCCESS);
  p->model = MFGDecompositionChoose(&p->layout, p->initial_density, NULL);
  if (asked)
    p->model.choice = (MFGDecomposition)(asked - 1);
  else if (p->model.possible)
    PetscCall(MFGProblemPredict(p, &p->layout, &p->model));
  p->layout.decomposition = p->spec.decomposition = p->model.choice;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProblemPredict(const MFGProblem *p, const MFGSweepLayout *layout,
                                 MFGDecompositionModel *model) {
  MFGHints hints;

  PetscFunctionBeginUser;
  PetscCall(MFGHintsMeasure(p->grid.world, p->backend, layout, &hints));
  *model = MFGDecompositionChoose(layout, p->initial_density, &hints);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscBool MFGProblemOnGrid(const MFGProblem *p) {
  return (PetscBool)(p->spec.fokker_planck == MFG_FOKKER_PLANCK_GRID);
}

PetscErrorCode MFGProblemCreate(MPI_Comm comm, const MFGConfig *c, MFGWatch *watch, MFGProblem *p,
                                MFGConfigErrors *errors) {
  int running, terminal;

  PetscFunctionBeginUser;
  memset(p, 0, sizeof *p);
  p->config = c;
  p->watch = watch;
  p->memory_before = MFGMemoryHeld();
  p->spec = MakeSpec(c);
  PetscCall(MFGBackendGet(comm, strcmp(c->backend, "auto") ? c->backend : "cpu", &p->backend));
  PetscCall(MFGGridCreate(comm, c->dim, c->domain.cells, c->domain.lower, c->domain.upper,
                          c->domain.boundary, &p->grid));
  if (c->dynamics.has_drift)
    PetscCall(MFGFieldTabulateVector(&p->grid, c, watch, c->dynamics.drift, &p->spec.drift_levels,
                                     &p->drift, errors));
  PetscCall(MFGFieldTabulate(&p->grid, c, watch, &c->running_cost.potential, &running, &p->running,
                             errors));
  PetscCall(MFGFieldTabulate(&p->grid, c, watch, &c->terminal_cost.potential, &terminal,
                             &p->terminal, errors));
  PetscCall(MFGFieldInitialDensity(&p->grid, c, &p->initial_density, errors));
  if (errors->count) {
    PetscCall(MFGProblemDestroy(p));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  p->spec.drift = p->drift;
  p->spec.running = MakeCost(&c->running_cost, running, p->running);
  p->spec.terminal = MakeCost(&c->terminal_cost, terminal, p->terminal);
  p->spec.initial_density = p->initial_density;
  p->spec.go_on = MFGWatchSetup;
  p->spec.go_on_context = watch;
  PetscCall(MFGWatchSetup(watch));
  PetscCall(ChooseDecomposition(p));
  PetscCall(MFGProblemChooseBackend(p));
  PetscCall(MFGProblemChooseValue(p));
  PetscCall(MFGWatchSetup(watch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProblemDestroy(MFGProblem *p) {
  PetscFunctionBeginUser;
  if (!p) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGGridDestroy(&p->grid));
  PetscCall(PetscFree(p->drift));
  PetscCall(PetscFree(p->running));
  PetscCall(PetscFree(p->terminal));
  PetscCall(PetscFree(p->initial_density));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The first guess: m0 at all levels, or an earlier result's flow with that result's uuid. */
static PetscErrorCode InitialFlow(const MFGProblem *p, double *M, char **parent,
                                  MFGConfigErrors *errors) {
  const int64_t owned = MFGBlockOwned(&p->grid.block);

  PetscFunctionBeginUser;
  *parent = NULL;
  if (strcmp(p->config->equilibrium.initial, "m0")) {
    PetscCall(MFGResultReadFlow(p->config->equilibrium.initial, &p->grid, p->watch, p->spec.horizon,
                                p->spec.steps, M, parent, errors));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGGridRestrict(&p->grid, 1, p->initial_density, M));
  for (int n = 1; n <= p->spec.steps; n++) PetscCall(PetscArraycpy(M + n * owned, M, owned));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* M, U, Phi and the residual; Anderson's last iterate and residual, or the update of the others. */
MFGFootprint MFGProblemFootprint(const MFGProblem *p, const MFGSweepLayout *l, int rank,
                                 double in_box) {
  const MFGEquilibriumSpec *s = &p->spec;
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const int64_t levels = s->steps + 1, whole = MFGBlockCells(&l->whole), dim = l->whole.dim,
                owned = dim > 1 ? MFGBlockOwned(&box) : whole,
                outputs = s->steps / p->config->output.every + 2,
                ranks = (int64_t)l->divisions[0] * l->divisions[1] * l->divisions[2];
  const PetscBool domain = (PetscBool)(l->decomposition == MFG_DECOMPOSITION_DOMAIN);
  const int64_t here = domain ? (int64_t)ceil(in_box) : (l->agents - 1) / ranks + 1;
  const int anderson = s->method == MFG_OUTER_ANDERSON, newton = s->method == MFG_OUTER_NEWTON;
  const int control = p->config->output.control, grid = MFGProblemOnGrid(p),
            quasi = newton && !grid;
  const int64_t updates = PetscMax(0, PetscMin(s->memory, s->max_iterations - 1));
  MFGFootprint f = {.rank = rank,
                    .here = here,
                    /* newton: the directions of GMRES, and what the linearised sweeps keep */
                    .flows = (4 + 1 + (anderson || quasi) + control * dim + 67 * newton +
                              (s->exploitability > 0)) *
                             levels * owned * 8,
                    .history = anderson || quasi ? 2 * updates * levels * owned * 4 : 0,
                    .tables = ((int64_t)s->running.potential_levels + s->terminal.potential_levels +
                               dim * s->drift_levels) *
                                  owned * 8 +
                              2 * whole * 8,
                    .value = MFGHJBBytes((int)dim, owned),
                    .agents = grid ? 0 : MFGSweepAgentBytes(l, here),
                    .moments = grid ? 0 : MFGSweepChunkBytes(l, rank),
                    .linear = grid || newton ? MFGLinearStepBytes((int)dim, owned) : 0,
                    .disk = (2 + dim * control) * PetscMin(outputs, levels) * whole * 8 +
                            p->config->output.particles * PetscMin(outputs, levels) * dim * 8};
  f.agents += MFGSweepPathBytes(l, rank, PetscMin(p->config->output.particles, l->agents));
  const int64_t start =
      f.tables + f.value + levels * owned * 8 + (grid ? 0 : MFGSweepStartBytes(l, here));
  f.total =
      PetscMax(start, f.flows + f.history + f.tables + f.value + f.agents + f.moments + f.linear);
  return f;
}

/* Iterate, density and value; Anderson's memory with the iterate and residual before; the best
 * response, or the agents in their sweep. */
int64_t MFGProblemCheckpointBytes(const MFGProblem *p) {
  const MFGEquilibriumSpec *s = &p->spec;
  const MFGBlock whole = MFGGridWhole(&p->grid);
  const int64_t flow = (int64_t)(s->steps + 1) * MFGBlockCells(&whole) * 8;
  const PetscBool grid = MFGProblemOnGrid(p),
                  remembers = (PetscBool)(s->method == MFG_OUTER_ANDERSON ||
                                          (s->method == MFG_OUTER_NEWTON && !grid));
  const int64_t agents = grid ? 0 : s->agents * (whole.dim + 1) * 8,
                response = s->exploitability ? flow : 0;
  return 3 * flow + (remembers ? (2 + s->memory) * flow : 0) + PetscMax(agents, response) +
         (int64_t)(s->steps + 1) * (2 * MFG_MAX_DIM + 2 * whole.dim) * 8 + 65536;
}

PetscErrorCode MFGProblemLargest(const MFGProblem *p, MFGFootprint *largest) {
  const MFGSweepLayout *l = &p->layout;
  const int ranks = l->divisions[0] * l->divisions[1] * l->divisions[2];
  double *agents;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(ranks, &agents));
  MFGSweepShares(l, &l->whole, p->initial_density, agents);
  for (int r = 0; r < ranks; r++) {
    const MFGFootprint f = MFGProblemFootprint(p, l, r, agents[r]);
    if (!r || f.total > largest->total) *largest = f;
  }
  PetscCall(PetscFree(agents));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscBool MFGOutcomeUsable(const MFGOutcome *o) {
  return (PetscBool)(o->reason != MFG_STOP_DIVERGED && o->reason != MFG_STOP_HJB_FAILED &&
                     o->reason != MFG_STOP_FP_FAILED && o->reason != MFG_STOP_INTERRUPTED);
}

/* Control, series and paths of a solved equilibrium. */
static PetscErrorCode Diagnose(const MFGProblem *p, MFGEquilibrium e, MFGSolution *s) {
  const int levels = p->spec.steps + 1, dim = p->grid.block.dim;
  const int64_t owned = MFGBlockOwned(&p->grid.block);

  PetscFunctionBeginUser;
  if (p->config->output.control) {
    PetscCall(PetscMalloc1(levels * dim * owned, &s->control));
    PetscCall(MFGEquilibriumControl(e, 0, levels, s->U, s->control));
  }
  PetscCall(MFGSeriesCreate(&p->grid, MFGBackendOnHost(p->backend), &p->spec, e, s->M, s->U,
                            s->statistics, &s->series));
  s->samples = PetscMin(p->config->output.particles, p->spec.agents);
  if (s->samples) {
    PetscCall(PetscMalloc2(levels * s->samples * dim, &s->path, s->samples, &s->id));
    PetscCall(MFGEquilibriumPaths(e, s->U, s->samples, s->path, s->id));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGSolutionCreate(const MFGProblem *p, PetscBool guess, MFGSolution *s,
                                 MFGConfigErrors *errors) {
  const int levels = p->spec.steps + 1;
  const int64_t flow = levels * MFGBlockOwned(&p->grid.block);

  PetscFunctionBeginUser;
  memset(s, 0, sizeof *s);
  PetscCall(PetscMalloc3(flow, &s->M, flow, &s->U, levels, &s->statistics));
  if (guess) PetscCall(InitialFlow(p, s->M, &s->parent, errors));
  if (errors->count) PetscCall(MFGSolutionDestroy(s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGContinuation MFGProblemContinuation(const MFGProblem *p) {
  const MFGFactors *coupling = &p->config->equilibrium.continuation,
                   *viscosity = &p->config->equilibrium.continuation_viscosity;
  MFGContinuation c = {.count = PetscMax(coupling->count, viscosity->count)};
  for (int k = 0; k < c.count; k++) {
    c.coupling[k] = k < coupling->count ? coupling->value[k] : 1;
    c.viscosity[k] = k < viscosity->count ? viscosity->value[k] : 1;
  }
  return c;
}

PetscErrorCode MFGProblemSolve(const MFGProblem *p, const MFGStageCallbacks *callbacks,
                               MFGSolution *s) {
  const MFGContinuation continuation = MFGProblemContinuation(p);
  MFGEquilibrium e;

  PetscFunctionBeginUser;
  PetscCall(MFGContinuationSolve(&p->grid, p->backend, &p->spec, &continuation, callbacks, s->M,
                                 s->U, s->statistics, &e, &s->outcome));
  if (MFGOutcomeUsable(&s->outcome)) PetscCall(Diagnose(p, e, s));
  PetscCall(MFGEquilibriumDestroy(&e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGSolutionDestroy(MFGSolution *s) {
  PetscFunctionBeginUser;
  if (!s) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree3(s->M, s->U, s->statistics));
  PetscCall(PetscFree(s->control));
  PetscCall(PetscFree(s->parent));
  PetscCall(PetscFree2(s->path, s->id));
  PetscCall(MFGSeriesDestroy(&s->series));
  PetscFunctionReturn(PETSC_SUCCESS);
}
