#include "solvers/equilibrium_parts.h"
#include "solvers/exploitability.h"

/* The tolerance of the sweeps follows the outer residual at this distance, within these bounds. */
#define SOLVER_SHARE 1e-3
#define SOLVER_LOOSEST 1e-6
#define SOLVER_TIGHTEST 1e-13

PetscErrorCode MFGEquilibriumLap(MFGEquilibrium e, double *seconds) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  *seconds += now - e->lap;
  e->lap = now;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the answer takes is nobody's time. */
PetscErrorCode MFGEquilibriumAsk(MFGEquilibrium e, MFGPiece piece, PetscBool *stop) {
  const int64_t work = e->outcome.iterations + MFGEquilibriumProducts(e).all;

  PetscFunctionBeginUser;
  *stop = PETSC_FALSE;
  if (!e->ask || e->outcome.reason) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(e->ask(e->ask_context, piece, work, stop));
  PetscCall(PetscTime(&e->lap));
  if (!*stop) PetscFunctionReturn(PETSC_SUCCESS);
  e->outcome.reason = MFG_STOP_INTERRUPTED;
  PetscCall(PetscSNPrintf(e->outcome.message, sizeof e->outcome.message,
                          "interrupted in iteration %d", e->outcome.iterations));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Report(MFGEquilibrium e, MFGPhase phase, double fraction) {
  PetscFunctionBeginUser;
  if (e->progress) PetscCall(e->progress(e->context, phase, fraction));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* F^{level} of the running cost, at the iterate. */
static PetscErrorCode Source(void *context, int level, double *source) {
  MFGEquilibrium e = (MFGEquilibrium)context;
  const double *m = e->x + (level - 1) * e->owned;

  PetscFunctionBeginUser;
  PetscCall(MFGCostEvaluate(e->grid, e->fields, &e->spec.running, level, m, source));
  PetscCall(Report(e, MFG_PHASE_HJB, 1 - (double)level / e->spec.steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Drift(MFGEquilibrium e, int begin, int end, const MFGMemoryOps *memory,
                            double *drift) {
  PetscLogDouble t0, t1;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&t0));
  PetscCall(MFGHJBDrift(e->hjb, begin, end, e->U, memory, drift));
  PetscCall(PetscTime(&t1));
  e->drift_seconds += t1 - t0;
  PetscCall(Report(e, MFG_PHASE_AGENTS, (double)begin / e->spec.steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumDrift(void *context, int begin, int end, double *drift) {
  PetscFunctionBeginUser;
  PetscCall(Drift(context, begin, end, &MFGMemoryOps_Host, drift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DriftOnDevice(void *context, int begin, int end, double *drift) {
  MFGEquilibrium e = (MFGEquilibrium)context;

  PetscFunctionBeginUser;
  PetscCall(Drift(e, begin, end, e->backend->memory, drift));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGDriftFunction MFGEquilibriumDriftThere(const MFGEquilibrium e) {
  const MFGMemoryOps *memory = e->backend->memory;
  return !memory->is_host && MFGHJBBackend(e->hjb)->memory == memory ? DriftOnDevice : NULL;
}

PetscErrorCode MFGEquilibriumRenewPlan(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const MFGBlock *b = &e->grid->block;

  PetscFunctionBeginUser;
  for (int n = 0; n <= s->steps; n++)
    for (int k = 0; k < b->dim; k++)
      e->bandwidth[n * b->dim + k] =
          s->bandwidth_rule == MFG_BANDWIDTH_FIXED
              ? s->bandwidth[k]
              : MFGBandwidth(s->bandwidth_rule, b->dim, s->agents, e->statistics[n].variance[k],
                             b->spacing[k], &e->outcome.raised);
  PetscCall(MFGDensityPlanDestroy(&e->plan));
  PetscCall(MFGDensityPlanCreate(e->grid, e->backend, s->density_method, s->agents,
                                 s->density_tolerance, s->steps + 1, e->bandwidth, &e->plan));
  e->outcome.shape = MFGDensityPlanShape(e->plan);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* max over levels of |x - phi|_1, of the L1 norm of the sampling noise, and smallest phi and mass
 * at T. */
static PetscErrorCode MeasureDensity(MFGEquilibrium e, MFGIteration *it) {
  const MFGBlock *b = &e->grid->block;
  const int steps = e->spec.steps;
  const double volume = MFGCellVolume(b);
  double *sums, lowest = PETSC_MAX_REAL;

  PetscFunctionBeginUser;
  PetscCall(PetscCalloc1(2 * steps + 1, &sums));
  for (int n = 1; n <= steps; n++) {
    const double *x = e->x + (n - 1) * e->owned, *phi = e->phi + n * e->owned;
    double kernel = e->plan ? 1 : 0; /* int K^2 = prod 1 / (2 h sqrt(pi)) */
    for (int k = 0; e->plan && k < b->dim; k++)
      kernel /= 2 * e->bandwidth[n * b->dim + k] * PetscSqrtReal(PETSC_PI);
    for (int64_t i = 0; i < e->owned; i++) {
      sums[n - 1] += fabs(x[i] - phi[i]);
      if (e->plan)
        sums[steps + n - 1] += sqrt(2 / PETSC_PI * kernel * fabs(phi[i]) / (double)e->spec.agents);
      lowest = PetscMin(lowest, phi[i]);
      if (x[i] < 0) e->outcome.mixture_floor++;
    }
  }
  for (int64_t i = 0; i < e->owned; i++) sums[2 * steps] += e->phi[steps * e->owned + i];
  PetscCall(MFGGridSum(e->grid, 2 * steps + 1, sums));
  it->density_residual = it->floor = 0;
  for (int n = 0; n < steps; n++) {
    if (PetscIsInfOrNanReal(sums[n])) it->density_residual = sums[n];
    it->density_residual = PetscMax(it->density_residual, sums[n] * volume);
    it->floor = PetscMax(it->floor, sums[steps + n] * volume);
  }
  it->mass = sums[2 * steps] * volume;
  lowest = -lowest;
  PetscCall(MFGGridMax(e->grid, 1, &lowest));
  it->minimum = -lowest;
  PetscCall(PetscFree(sums));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The time since the last lap, of a sweep of the agents: its drifts and densities apart. */
static PetscErrorCode LapAgents(MFGEquilibrium e) {
  const double density = MFGDensityPlanSeconds(e->plan) - e->density_seconds;
  MFGIteration *it = &e->last;

  PetscFunctionBeginUser;
  PetscCall(MFGEquilibriumLap(e, &it->seconds_agents));
  it->seconds_agents -= e->drift_seconds + density;
  it->seconds_hjb += e->drift_seconds;
  it->seconds_density += density;
  e->drift_seconds = 0;
  e->density_seconds += density;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPauseValue(void *context, PetscBool *stop) {
  MFGEquilibrium e = (MFGEquilibrium)context;
  MFGIteration *it = &e->last;

  PetscFunctionBeginUser;
  PetscCall(
      MFGEquilibriumLap(e, e->part == MFG_MAP_BACKWARD ? &it->seconds_hjb : &it->seconds_other));
  PetscCall(MFGEquilibriumAsk(e, MFG_PIECE_VALUE, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPauseAgents(void *context, PetscBool *stop) {
  MFGEquilibrium e = (MFGEquilibrium)context;

  PetscFunctionBeginUser;
  PetscCall(LapAgents(e));
  PetscCall(MFGEquilibriumAsk(e, MFG_PIECE_AGENTS, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPauseDensity(void *context, PetscBool *stop) {
  MFGEquilibrium e = (MFGEquilibrium)context;

  PetscFunctionBeginUser;
  PetscCall(MFGEquilibriumLap(e, &e->last.seconds_agents));
  PetscCall(MFGEquilibriumAsk(e, MFG_PIECE_DENSITY, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPauseProduct(void *context, PetscBool *stop) {
  PetscFunctionBeginUser;
  PetscCall(MFGEquilibriumAsk((MFGEquilibrium)context, MFG_PIECE_PRODUCT, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The agents under the drift of U: e->phi and e->statistics. */
static PetscErrorCode MoveAgents(MFGEquilibrium e) {
  const MFGExchangeBytes before = MFGParticlesBytesMoved(e->particles);

  PetscFunctionBeginUser;
  e->drift_seconds = 0;
  e->density_seconds = MFGDensityPlanSeconds(e->plan);
  PetscCall(MFGParticlesSweep(e->particles, e->plan,
                              e->spec.fresh ? (uint32_t)e->outcome.iterations : 0,
                              MFGEquilibriumDrift, e, e->phi, e->statistics));
  PetscCall(LapAgents(e));
  const MFGExchangeBytes after = MFGParticlesBytesMoved(e->particles);
  e->last.bytes = MFGExchangeBytesSum(after, -1, before);
  e->last.imbalance = MFGParticlesImbalance(e->particles);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The Fokker-Planck equation under the control of U: e->phi. A failed step is left in the outcome.
 */
static PetscErrorCode MoveDensity(MFGEquilibrium e) {
  MFGIteration *it = &e->last;
  MFGFokkerPlanckStats fp;

  PetscFunctionBeginUser;
  PetscCall(Report(e, MFG_PHASE_FOKKER_PLANCK, 0));
  PetscCall(MFGGridRestrict(e->grid, 1, e->spec.initial_density, e->phi));
  PetscCall(MFGFokkerPlanckSweepFrom(e->linear, &e->forward, e->U, e->warm, e->solver_tolerance,
                                     e->phi, &fp));
  PetscCall(MFGEquilibriumLap(e, &it->seconds_agents));
  if (fp.reason < 0) {
    e->outcome.reason = MFG_STOP_FP_FAILED;
    e->outcome.failed_level = fp.level;
    PetscCall(PetscStrncpy(e->outcome.message, fp.message, sizeof e->outcome.message));
  }
  it->fp_krylov = fp.krylov;
  it->fp_defect = fp.defect;
  it->imbalance = 1;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The best response to Phi(M) by one more backward sweep, from U on, or (resumed) from where it
 * was. Where it fails nothing is measured. */
static PetscErrorCode MeasureExploitability(MFGEquilibrium e, PetscBool resumed) {
  const MFGEquilibriumSpec *s = &e->spec;
  const double *x = e->x;
  MFGHJBStats hjb;

  PetscFunctionBeginUser;
  if (!e->response) PetscCall(PetscMalloc1((s->steps + 1) * e->owned, &e->response));
  if (!resumed) PetscCall(PetscArraycpy(e->response, e->U, (s->steps + 1) * e->owned));
  e->x = e->phi + e->owned;
  PetscCall(MFGCostEvaluate(e->grid, e->fields, &s->terminal, s->steps,
                            e->phi + s->steps * e->owned, e->source));
  PetscCall(MFGHJBSweep(e->hjb, Source, e, e->source, PETSC_TRUE, e->solver_tolerance, e->response,
                        &hjb));
  e->x = x;
  if (hjb.reason < 0 || e->outcome.reason == MFG_STOP_INTERRUPTED)
    PetscFunctionReturn(PETSC_SUCCESS);
  if (e->on_grid)
    PetscCall(MFGExploitabilityGrid(e->linear, e->U, e->response, e->phi, &e->last.exploitability));
  else
    PetscCall(MFGExploitabilityAgents(e->grid, e->hjb, &e->hjb_spec, e->U, e->response, e->phi,
                                      &e->last.exploitability));
  e->last.newton += hjb.newton;
  e->last.krylov += hjb.krylov;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Newton's method squares its residual: the error of a sweep is to be below what comes after the
 * next map, so from the start below the tolerance. */
double MFGEquilibriumFirstTolerance(const MFGEquilibriumSpec *s) {
  if (s->method != MFG_OUTER_NEWTON || s->fokker_planck != MFG_FOKKER_PLANCK_GRID)
    return SOLVER_LOOSEST;
  return PetscClipInterval(SOLVER_SHARE * s->tolerance, SOLVER_TIGHTEST, SOLVER_LOOSEST);
}

/* The value equation with the costs of x: e->U. A failed step is left in the outcome. */
static PetscErrorCode MoveValue(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  MFGIteration *it = &e->last;
  MFGHJBStats hjb;

  PetscFunctionBeginUser;
  PetscCall(MFGCostEvaluate(e->grid, e->fields, &s->terminal, s->steps,
                            e->x + (s->steps - 1) * e->owned, e->source));
  PetscCall(MFGHJBSweep(e->hjb, Source, e, e->source, e->warm, e->solver_tolerance, e->U, &hjb));
  PetscCall(MFGEquilibriumLap(e, &it->seconds_hjb));
  if (hjb.reason < 0) {
    e->outcome.reason = MFG_STOP_HJB_FAILED;
    e->outcome.failed_level = hjb.level;
    PetscCall(PetscStrncpy(e->outcome.message, hjb.message, sizeof e->outcome.message));
  }
  const double range = hjb.maximum - hjb.minimum;
  it->value_residual = e->warm ? hjb.change / PetscMax(range, PETSC_MIN_REAL) : 1;
  if (e->warm && hjb.change == 0) it->value_residual = 0;
  it->newton = hjb.newton;
  it->krylov = hjb.krylov;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BeginMap(MFGEquilibrium e) {
  PetscFunctionBeginUser;
  e->last = (MFGIteration){.iteration = ++e->outcome.iterations,
                           .exploitability = NAN,
                           .bandwidth_frozen = e->frozen,
                           .on_grid = e->on_grid};
  e->part = MFG_MAP_BACKWARD;
  if (!e->frozen) PetscCall(MFGEquilibriumRenewPlan(e));
  PetscCall(MFGEquilibriumLap(e, &e->last.seconds_other));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the map has shown. */
static PetscErrorCode Measure(MFGEquilibrium e) {
  MFGIteration *it = &e->last;

  PetscFunctionBeginUser;
  PetscCall(MeasureDensity(e, it));
  it->products = e->products;
  e->products = 0;
  e->warm = PETSC_TRUE;
  e->solver_tolerance =
      PetscClipInterval(SOLVER_SHARE * PetscMin(it->density_residual, it->value_residual),
                        SOLVER_TIGHTEST, e->solver_tolerance);
  PetscCall(MFGEquilibriumJudge(e));
  PetscCall(MFGEquilibriumLap(e, &it->seconds_other));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscBool WantsResponse(const MFGEquilibrium e) {
  const int every = e->spec.exploitability;
  return (PetscBool)(every && (e->outcome.reason || e->last.iteration % every == 0));
}

PetscErrorCode MFGEquilibriumMap(MFGEquilibrium e, const double *x) {
  PetscBool stop;

  PetscFunctionBeginUser;
  e->x = e->mapped = x;
  PetscCall(PetscTime(&e->lap));
  const PetscBool done = (PetscBool)(e->resumed && e->part == MFG_MAP_DONE);
  const PetscBool measuring = (PetscBool)(e->resumed && e->part == MFG_MAP_RESPONSE);
  if (!e->resumed) PetscCall(BeginMap(e));
  e->resumed = PETSC_FALSE;
  if (done) PetscFunctionReturn(PETSC_SUCCESS);
  if (e->part == MFG_MAP_BACKWARD) {
    PetscCall(MoveValue(e));
    if (e->outcome.reason) PetscFunctionReturn(PETSC_SUCCESS);
    e->part = MFG_MAP_FORWARD;
  }
  if (e->part == MFG_MAP_FORWARD) {
    PetscCall(e->on_grid ? MoveDensity(e) : MoveAgents(e));
    if (e->outcome.reason) PetscFunctionReturn(PETSC_SUCCESS);
    PetscCall(Measure(e));
    e->part = MFG_MAP_RESPONSE;
  }
  if (WantsResponse(e)) PetscCall(MeasureExploitability(e, measuring));
  if (e->outcome.reason == MFG_STOP_INTERRUPTED) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGEquilibriumLap(e, &e->last.seconds_other));
  e->part = MFG_MAP_DONE;
  if (e->monitor) PetscCall(e->monitor(e->context, &e->last));
  PetscCall(MFGEquilibriumAsk(e, MFG_PIECE_MAP, &stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}
