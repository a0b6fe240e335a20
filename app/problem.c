#include "app/problem.h"

#include "app/fields.h"
#include "app/output.h"

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

static MFGSweepLayout MakeLayout(const MFGProblem *p) {
  const MFGEquilibriumSpec *s = &p->spec;
  const MFGBlock *b = &p->grid.block;
  MFGSweepLayout l = {.whole = MFGGridWhole(&p->grid),
                      .agents = s->agents,
                      .single = s->single,
                      .steps = s->steps,
                      .deviation = sqrt(2 * s->nu * s->horizon / s->steps)};
  double narrowest[MFG_MAX_DIM], widest[MFG_MAX_DIM];

  for (int k = 0; k < MFG_MAX_DIM; k++) l.divisions[k] = p->grid.divisions[k];
  for (int k = 0; k < b->dim; k++) {
    widest[k] = WidestBandwidth(s, b, k) / b->spacing[k];
    l.radius[k] = MFGDensityRadius(widest[k], s->density_tolerance);
    /* A rule's kernel of a crowd in a corner of the box is narrower: two cells stand for it. */
    narrowest[k] = s->bandwidth_rule == MFG_BANDWIDTH_FIXED ? widest[k] : 2;
  }
  l.shape = MFGDensityShape(b, s->agents, s->density_tolerance, narrowest, widest);
  return l;
}

/* Agents by id or by box: as asked for, or as the model says; without any, those of paths by id. */
static void ChooseDecomposition(MFGProblem *p) {
  if (MFGProblemOnGrid(p)) return;
  p->layout = MakeLayout(p);
  p->model = MFGDecompositionChoose(&p->layout, p->initial_density);
  if (p->config->parallel.decomposition)
    p->model.choice = (MFGDecomposition)(p->config->parallel.decomposition - 1);
  p->layout.decomposition = p->spec.decomposition = p->model.choice;
}

PetscBool MFGProblemOnGrid(const MFGProblem *p) {
  return (PetscBool)(p->spec.fokker_planck == MFG_FOKKER_PLANCK_GRID);
}

PetscErrorCode MFGProblemCreate(MPI_Comm comm, const MFGConfig *c, MFGProblem *p,
                                MFGConfigErrors *errors) {
  int running, terminal;

  PetscFunctionBeginUser;
  memset(p, 0, sizeof *p);
  p->config = c;
  p->spec = MakeSpec(c);
  PetscCall(MFGBackendGet(comm, c->backend, &p->backend));
  PetscCall(MFGGridCreate(comm, c->dim, c->domain.cells, c->domain.lower, c->domain.upper,
                          c->domain.boundary, &p->grid));
  if (c->dynamics.has_drift)
    PetscCall(MFGFieldTabulateVector(&p->grid, c, c->dynamics.drift, &p->spec.drift_levels,
                                     &p->drift, errors));
  PetscCall(
      MFGFieldTabulate(&p->grid, c, &c->running_cost.potential, &running, &p->running, errors));
  PetscCall(
      MFGFieldTabulate(&p->grid, c, &c->terminal_cost.potential, &terminal, &p->terminal, errors));
  PetscCall(MFGFieldInitialDensity(&p->grid, c, &p->initial_density, errors));
  if (errors->count) {
    PetscCall(MFGProblemDestroy(p));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  p->spec.drift = p->drift;
  p->spec.running = MakeCost(&c->running_cost, running, p->running);
  p->spec.terminal = MakeCost(&c->terminal_cost, terminal, p->terminal);
  p->spec.initial_density = p->initial_density;
  ChooseDecomposition(p);
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
    PetscCall(MFGResultReadFlow(p->config->equilibrium.initial, &p->grid, p->spec.horizon,
                                p->spec.steps, M, parent, errors));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGGridRestrict(&p->grid, 1, p->initial_density, M));
  for (int n = 1; n <= p->spec.steps; n++) PetscCall(PetscArraycpy(M + n * owned, M, owned));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGFootprint MFGProblemFootprint(const MFGProblem *p) {
  const MFGEquilibriumSpec *s = &p->spec;
  const int64_t levels = s->steps + 1, owned = MFGBlockOwned(&p->grid.block),
                whole = MFGBlockCells(&p->grid.block), dim = p->grid.block.dim,
                outputs = s->steps / p->config->output.every + 2;
  const int anderson = s->method == MFG_OUTER_ANDERSON, newton = s->method == MFG_OUTER_NEWTON;
  const int grid = MFGProblemOnGrid(p);
  MFGFootprint f = {
      /* newton: the directions of GMRES, and what the linearised sweeps keep */
      .flows = (3 + 2 + 2 * anderson + 67 * newton + (s->exploitability > 0)) * levels * owned *
               8, /* M, Phi, U; F, update; old x and F */
      .history = anderson ? (int64_t)2 * s->memory * levels * owned * 4 : 0,
      .tables = ((int64_t)s->running.potential_levels + s->terminal.potential_levels +
                 dim * s->drift_levels) *
                    owned * 8 +
                2 * whole * 8,
      .agents = grid ? 0 : MFGSweepAgentBytes(&p->layout),
      .moments = grid ? 0 : MFGSweepChunkBytes(&p->layout),
      /* values, the matrix and its map from one to the other; the vectors of the solver */
      .linear = grid ? ((2 * dim + 1) * (8 + 12 + 16) + 12 * 8) * owned : 0,
      .disk = (2 + dim * p->config->output.control) * PetscMin(outputs, levels) * whole * 8 +
              p->config->output.particles * PetscMin(outputs, levels) * dim * 8};
  f.total = f.flows + f.history + f.tables + f.agents + f.moments + f.linear;
  return f;
}

PetscBool MFGOutcomeUsable(const MFGOutcome *o) {
  return (PetscBool)(o->reason != MFG_STOP_DIVERGED && o->reason != MFG_STOP_HJB_FAILED &&
                     o->reason != MFG_STOP_FP_FAILED);
}

/* Control, series and paths of a solved equilibrium. */
static PetscErrorCode Diagnose(const MFGProblem *p, MFGEquilibrium e, MFGSolution *s) {
  const int levels = p->spec.steps + 1, dim = p->grid.block.dim;
  const int64_t owned = MFGBlockOwned(&p->grid.block);

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(levels * dim * owned, &s->control));
  PetscCall(MFGEquilibriumControl(e, s->U, s->control));
  PetscCall(MFGSeriesCreate(&p->grid, p->backend, &p->spec, s->M, s->U, s->control, s->statistics,
                            &s->series));
  s->samples = PetscMin(p->config->output.particles, p->spec.agents);
  if (s->samples) {
    PetscCall(PetscMalloc2(levels * s->samples * dim, &s->path, s->samples, &s->id));
    PetscCall(MFGEquilibriumPaths(e, s->U, s->samples, s->path, s->id));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGSolutionCreate(const MFGProblem *p, MFGSolution *s, MFGConfigErrors *errors) {
  const int levels = p->spec.steps + 1;
  const int64_t flow = levels * MFGBlockOwned(&p->grid.block);

  PetscFunctionBeginUser;
  memset(s, 0, sizeof *s);
  PetscCall(PetscMalloc3(flow, &s->M, flow, &s->U, levels, &s->statistics));
  PetscCall(InitialFlow(p, s->M, &s->parent, errors));
  if (errors->count) PetscCall(MFGSolutionDestroy(s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGProblemSolve(const MFGProblem *p, MFGMonitorFunction monitor,
                               MFGProgressFunction progress, void *context, MFGSolution *s) {
  MFGEquilibrium e;

  PetscFunctionBeginUser;
  PetscCall(MFGEquilibriumCreate(&p->grid, p->backend, &p->spec, &e));
  PetscCall(MFGEquilibriumSetMonitor(e, monitor, progress, context));
  PetscCall(MFGEquilibriumSolve(e, s->M, s->U, s->statistics, &s->outcome));
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
