#include "solvers/equilibrium.h"

#include <petscsnes.h>

#include "solvers/anderson.h"

/* Newton's tolerance follows the outer residual at this distance, within these bounds. */
#define NEWTON_SHARE 1e-3
#define NEWTON_LOOSEST 1e-6
#define NEWTON_TIGHTEST 1e-13
/* A rule's bandwidth may change in this many maps; then the map is fixed and can be accelerated. */
#define WARM_UP_MAPS 2
/* L1 residual of two densities of mass one is at most 2; iterates far from that are lost. */
#define DIVERGED_RESIDUAL 1e3
/* Fresh random numbers: the residual counts as stalled when it did not fall by a tenth in this
 * many. */
#define STALL_WINDOW 5

struct MFGEquilibrium_ {
  const MFGGrid *grid;
  const MFGBackend *backend;
  MFGEquilibriumSpec spec;
  MFGHJB hjb;
  MFGParticles particles;
  MFGDensityPlan plan;
  SNES snes;
  MFGMonitorFunction monitor;
  MFGProgressFunction progress;
  void *context;

  int64_t owned;
  const double *x;                 /* borrowed; the iterate being mapped, levels 1 .. steps */
  double *phi;                     /* owned; flow Phi(x) with level 0 */
  double *U;                       /* borrowed; during a solve */
  double *source;                  /* owned; terminal cost of a sweep */
  double *bandwidth;               /* owned; [steps + 1][dim] */
  MFGSampleStatistics *statistics; /* owned; [steps + 1] of the last map */
  PetscBool frozen, warm;
  double newton_tolerance, drift_seconds;
  double residuals[STALL_WINDOW]; /* of the last maps, a ring */
  MFGIteration last;
  MFGOutcome outcome;
};

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
  PetscCall(MFGCostEvaluate(e->grid, e->backend, &e->spec.running, level, m, source));
  PetscCall(Report(e, MFG_PHASE_HJB, 1 - (double)level / e->spec.steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The drift of levels begin .. end-1, from U. */
static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  MFGEquilibrium e = (MFGEquilibrium)context;
  PetscLogDouble t0, t1;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&t0));
  PetscCall(MFGHJBDrift(e->hjb, begin, end, e->U, drift));
  PetscCall(PetscTime(&t1));
  e->drift_seconds += t1 - t0;
  PetscCall(Report(e, MFG_PHASE_AGENTS, (double)begin / e->spec.steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Bandwidths of the next sweep from the statistics of the last one, and the plan made of them. */
static PetscErrorCode RenewPlan(MFGEquilibrium e) {
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
    double kernel = 1; /* int K^2 = prod 1 / (2 h sqrt(pi)) */
    for (int k = 0; k < b->dim; k++)
      kernel /= 2 * e->bandwidth[n * b->dim + k] * PetscSqrtReal(PETSC_PI);
    for (int64_t i = 0; i < e->owned; i++) {
      sums[n - 1] += fabs(x[i] - phi[i]);
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

/* x -> Phi(x): e->U, e->phi, e->statistics and e->last. A failed HJB step is left in the outcome.
 */
static PetscErrorCode EvaluateMap(MFGEquilibrium e, const double *x) {
  const MFGEquilibriumSpec *s = &e->spec;
  MFGIteration it = {.iteration = ++e->outcome.iterations, .bandwidth_frozen = e->frozen};
  MFGHJBStats hjb;
  PetscLogDouble t[4];

  PetscFunctionBeginUser;
  e->x = x;
  e->drift_seconds = 0;
  PetscCall(PetscTime(&t[0]));
  if (!e->frozen) PetscCall(RenewPlan(e));
  const double density_before = MFGDensityPlanSeconds(e->plan);
  PetscCall(PetscTime(&t[1]));
  PetscCall(MFGCostEvaluate(e->grid, e->backend, &s->terminal, s->steps,
                            x + (s->steps - 1) * e->owned, e->source));
  PetscCall(MFGHJBSweep(e->hjb, Source, e, e->source, e->warm, e->newton_tolerance, e->U, &hjb));
  PetscCall(PetscTime(&t[2]));
  if (hjb.reason < 0) {
    e->outcome.reason = MFG_STOP_HJB_FAILED;
    PetscCall(PetscStrncpy(e->outcome.message, hjb.message, sizeof e->outcome.message));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const MFGExchangeBytes before = MFGParticlesBytesMoved(e->particles);
  PetscCall(MFGParticlesSweep(e->particles, e->plan, s->fresh ? (uint32_t)it.iteration : 0, Drift,
                              e, e->phi, e->statistics));
  PetscCall(PetscTime(&t[3]));
  PetscCall(MeasureDensity(e, &it));
  const MFGExchangeBytes after = MFGParticlesBytesMoved(e->particles);
  it.bytes = (MFGExchangeBytes){.halo = after.halo - before.halo,
                                .migration = after.migration - before.migration,
                                .reduction = after.reduction - before.reduction,
                                .gather = after.gather - before.gather};
  it.imbalance = MFGParticlesImbalance(e->particles);
  const double range = hjb.maximum - hjb.minimum;
  it.value_residual = e->warm ? hjb.change / PetscMax(range, PETSC_MIN_REAL) : 1;
  if (e->warm && hjb.change == 0) it.value_residual = 0;
  it.newton = hjb.newton;
  it.krylov = hjb.krylov;
  it.seconds_hjb = t[2] - t[1] + e->drift_seconds;
  it.seconds_density = MFGDensityPlanSeconds(e->plan) - density_before;
  it.seconds_agents = t[3] - t[2] - e->drift_seconds - it.seconds_density;
  PetscLogDouble end;
  PetscCall(PetscTime(&end));
  it.seconds_other = end - t[3] + t[1] - t[0];
  e->warm = PETSC_TRUE;
  e->newton_tolerance =
      PetscClipInterval(NEWTON_SHARE * PetscMin(it.density_residual, it.value_residual),
                        NEWTON_TIGHTEST, e->newton_tolerance);
  e->last = it;
  if (e->monitor) PetscCall(e->monitor(e->context, &it));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* True when the residual of the last STALL_WINDOW maps did not fall by a tenth. */
static PetscBool Stalled(const MFGEquilibrium e) {
  const int k = e->outcome.iterations;
  if (k <= STALL_WINDOW) return PETSC_FALSE;
  const double before = e->residuals[k % STALL_WINDOW];
  return (PetscBool)(e->last.density_residual > 0.9 * before);
}

static PetscErrorCode Explain(MFGEquilibrium e, const char *format, ...) {
  va_list arguments;

  PetscFunctionBeginUser;
  va_start(arguments, format);
  vsnprintf(e->outcome.message, sizeof e->outcome.message, format, arguments);
  va_end(arguments);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The remedy for a residual that is above the tolerance at the last iteration allowed. */
static const char *Remedy(const MFGEquilibrium e) {
  if (!Stalled(e)) return "it was still falling: raise equilibrium.max_iterations";
  if (e->spec.fresh)
    return "fresh random numbers leave sampling noise: use random_numbers: common, or more agents";
  if (e->spec.method == MFG_OUTER_PICARD)
    return "it no longer falls (a Picard iteration often sits in a cycle): use equilibrium.method: "
           "anderson, or damping 0.5 or less";
  return "it no longer falls: lower equilibrium.damping (0.5, 0.2), raise equilibrium.memory, or "
         "weaken the coupling";
}

/* Decides after every map whether to stop, and why. */
static PetscErrorCode Judge(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const MFGIteration *it = &e->last;
  MFGOutcome *o = &e->outcome;

  PetscFunctionBeginUser;
  if (o->reason) PetscFunctionReturn(PETSC_SUCCESS);
  if (PetscIsInfOrNanReal(it->density_residual) || PetscIsInfOrNanReal(it->value_residual) ||
      it->density_residual > DIVERGED_RESIDUAL) {
    o->reason = MFG_STOP_DIVERGED;
    PetscCall(Explain(e,
                      "the iteration diverged: density residual %.3g, value residual %.3g after %d "
                      "iterations; lower equilibrium.damping, or weaken the coupling",
                      it->density_residual, it->value_residual, it->iteration));
  } else if (e->frozen && it->density_residual <= s->tolerance &&
             it->value_residual <= s->tolerance) {
    o->reason = MFG_STOP_CONVERGED;
    PetscCall(Explain(e, "converged in %d iterations: density residual %.2e, value residual %.2e",
                      it->iteration, it->density_residual, it->value_residual));
  } else if (s->fresh && it->density_residual <= 1.5 * PETSC_SQRT2 * it->floor && Stalled(e)) {
    o->reason = MFG_STOP_FLOOR;
    PetscCall(
        Explain(e,
                "the residual %.2e is down to the sampling noise %.2e of %lld agents drawn "
                "afresh, above the tolerance %.1e; use random_numbers: common, or more agents",
                it->density_residual, PETSC_SQRT2 * it->floor, (long long)s->agents, s->tolerance));
  } else if (it->iteration >= s->max_iterations) {
    o->reason = MFG_STOP_MAX_ITERATIONS;
    PetscCall(
        Explain(e,
                "not converged after %d iterations: density residual %.2e, value residual %.2e, "
                "tolerance %.1e; %s",
                it->iteration, it->density_residual, it->value_residual, s->tolerance, Remedy(e)));
  }
  e->residuals[it->iteration % STALL_WINDOW] = it->density_residual;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode OuterFunction(SNES snes, Vec X, Vec F, void *context) {
  MFGEquilibrium e = (MFGEquilibrium)context;
  const PetscScalar *x;
  PetscScalar *f;
  const int64_t n = e->spec.steps * e->owned;

  PetscFunctionBeginUser;
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(EvaluateMap(e, x));
  PetscCall(Judge(e));
  PetscCall(VecGetArrayWrite(F, &f));
  if (e->outcome.reason == MFG_STOP_HJB_FAILED) {
    PetscCall(PetscArrayzero(f, n));
    PetscCall(SNESSetFunctionDomainError(snes));
  } else {
    for (int64_t i = 0; i < n; i++) f[i] = x[i] - e->phi[e->owned + i];
  }
  PetscCall(VecRestoreArrayWrite(F, &f));
  PetscCall(VecRestoreArrayRead(X, &x));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode OuterConverged(SNES snes, PetscInt k, PetscReal xnorm, PetscReal step,
                                     PetscReal fnorm, SNESConvergedReason *reason, void *context) {
  const MFGEquilibrium e = (MFGEquilibrium)context;
  const SNESConvergedReason reasons[] = {
      [MFG_STOP_NONE] = SNES_CONVERGED_ITERATING,
      [MFG_STOP_CONVERGED] = SNES_CONVERGED_FNORM_ABS,
      [MFG_STOP_FLOOR] = SNES_CONVERGED_USER,
      [MFG_STOP_MAX_ITERATIONS] = SNES_DIVERGED_MAX_IT,
      [MFG_STOP_DIVERGED] = SNES_DIVERGED_DTOL,
      [MFG_STOP_HJB_FAILED] = SNES_DIVERGED_FUNCTION_DOMAIN,
  };

  PetscFunctionBeginUser;
  (void)snes, (void)k, (void)xnorm, (void)step, (void)fnorm;
  *reason = reasons[e->outcome.reason];
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Weight of the k-th map (1, 2, ...) in the next iterate, for the methods without memory. */
static double StepLength(const MFGEquilibriumSpec *s, int k) {
  return s->method == MFG_OUTER_FICTITIOUS_PLAY ? 1.0 / k : s->damping;
}

static PetscErrorCode SetStepLength(SNES snes, PetscInt k) {
  MFGEquilibrium e;
  SNESLineSearch search;

  PetscFunctionBeginUser;
  (void)k;
  PetscCall(SNESGetApplicationContext(snes, &e));
  PetscCall(SNESGetLineSearch(snes, &search));
  PetscCall(SNESLineSearchSetDamping(search, StepLength(&e->spec, e->outcome.iterations)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CreateSNES(MFGEquilibrium e) {
  SNESLineSearch search;

  PetscFunctionBeginUser;
  PetscCall(SNESCreate(e->grid->comm, &e->snes));
  PetscCall(SNESSetOptionsPrefix(e->snes, "outer_"));
  PetscCall(SNESSetApplicationContext(e->snes, e));
  PetscCall(SNESSetFunction(e->snes, NULL, OuterFunction, e));
  if (e->spec.method == MFG_OUTER_ANDERSON) {
    PetscCall(SNESSetType(e->snes, MFGANDERSON));
    PetscCall(MFGAndersonSetParameters(e->snes, e->spec.memory, e->spec.damping));
  } else {
    PetscCall(SNESSetType(e->snes, SNESNRICHARDSON));
    PetscCall(SNESGetLineSearch(e->snes, &search));
    PetscCall(SNESLineSearchSetType(search, SNESLINESEARCHNONE));
    PetscCall(SNESSetUpdate(e->snes, SetStepLength));
  }
  PetscCall(SNESSetTolerances(e->snes, 0, 0, 0, PETSC_INT_MAX - 1, PETSC_INT_MAX - 1));
  PetscCall(SNESSetConvergenceTest(e->snes, OuterConverged, e, NULL));
  PetscCall(SNESSetFromOptions(e->snes));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec, MFGEquilibrium *equilibrium) {
  MFGEquilibrium e;
  const int levels = spec->steps + 1;
  const double dt = spec->horizon / spec->steps;
  const MFGHJBSpec hjb = {.dt = dt,
                          .nu = spec->nu,
                          .steps = spec->steps,
                          .hamiltonian = spec->hamiltonian,
                          .drift_levels = spec->drift_levels,
                          .drift = spec->drift};
  const MFGParticlesSpec particles = {.count = spec->agents,
                                      .seed = spec->seed,
                                      .sampling = spec->sampling,
                                      .initial_density = spec->initial_density,
                                      .nu = spec->nu,
                                      .dt = dt,
                                      .steps = spec->steps,
                                      .decomposition = spec->decomposition,
                                      .single = spec->single};

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&e));
  e->grid = grid;
  e->backend = backend;
  e->spec = *spec;
  e->owned = MFGBlockOwned(&grid->block);
  PetscCall(MFGHJBCreate(grid, backend, &hjb, &e->hjb));
  PetscCall(MFGParticlesCreate(grid, backend, &particles, &e->particles));
  PetscCall(PetscMalloc4(levels * e->owned, &e->phi, e->owned, &e->source, levels * grid->block.dim,
                         &e->bandwidth, levels, &e->statistics));
  PetscCall(CreateSNES(e));
  *equilibrium = e;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumDestroy(MFGEquilibrium *equilibrium) {
  MFGEquilibrium e;

  PetscFunctionBeginUser;
  if (!equilibrium || !*equilibrium) PetscFunctionReturn(PETSC_SUCCESS);
  e = *equilibrium;
  PetscCall(SNESDestroy(&e->snes));
  PetscCall(MFGHJBDestroy(&e->hjb));
  PetscCall(MFGParticlesDestroy(&e->particles));
  PetscCall(MFGDensityPlanDestroy(&e->plan));
  PetscCall(PetscFree4(e->phi, e->source, e->bandwidth, e->statistics));
  PetscCall(PetscFree(*equilibrium));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumSetMonitor(MFGEquilibrium e, MFGMonitorFunction monitor,
                                        MFGProgressFunction progress, void *context) {
  PetscFunctionBeginUser;
  e->monitor = monitor;
  e->progress = progress;
  e->context = context;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The maps whose bandwidths still change: plain steps, before anything that remembers. */
static PetscErrorCode WarmUp(MFGEquilibrium e, double *x) {
  const int64_t n = e->spec.steps * e->owned;

  PetscFunctionBeginUser;
  for (int k = 1; k <= WARM_UP_MAPS && !e->outcome.reason; k++) {
    PetscCall(EvaluateMap(e, x));
    PetscCall(Judge(e));
    if (e->outcome.reason) break;
    const double step = StepLength(&e->spec, k);
    for (int64_t i = 0; i < n; i++) x[i] += step * (e->phi[e->owned + i] - x[i]);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumSolve(MFGEquilibrium e, double *M, double *U,
                                   MFGSampleStatistics *statistics, MFGOutcome *outcome) {
  const int levels = e->spec.steps + 1;
  MFGSampleStatistics initial;
  Vec X;

  PetscFunctionBeginUser;
  e->U = U;
  e->warm = e->frozen = PETSC_FALSE;
  e->newton_tolerance = NEWTON_LOOSEST;
  memset(&e->outcome, 0, sizeof e->outcome);
  PetscCall(PetscArrayzero(U, levels * e->owned));
  PetscCall(MFGParticlesInitialStatistics(e->particles, &initial));
  for (int n = 0; n < levels; n++) e->statistics[n] = initial;
  if (e->spec.bandwidth_rule != MFG_BANDWIDTH_FIXED) PetscCall(WarmUp(e, M + e->owned));
  if (!e->outcome.reason) {
    PetscCall(RenewPlan(e));
    e->frozen = PETSC_TRUE;
    PetscCall(VecCreateMPIWithArray(e->grid->comm, 1, e->spec.steps * e->owned, PETSC_DETERMINE,
                                    M + e->owned, &X));
    PetscCall(SNESSolve(e->snes, NULL, X));
    PetscCall(VecDestroy(&X));
  }
  PetscCall(PetscArraycpy(M, e->phi, levels * e->owned));
  PetscCall(PetscArraycpy(statistics, e->statistics, levels));
  *outcome = e->outcome;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPaths(MFGEquilibrium e, const double *U, int64_t samples, double *path,
                                   int64_t *id) {
  PetscFunctionBeginUser;
  e->U = (double *)U;
  PetscCall(MFGParticlesPaths(e->particles, e->spec.fresh ? (uint32_t)e->outcome.iterations : 0,
                              Drift, e, samples, path, id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumControl(MFGEquilibrium e, const double *U, double *control) {
  const MFGEquilibriumSpec *s = &e->spec;
  const int64_t level = e->grid->block.dim * e->owned;

  PetscFunctionBeginUser;
  PetscCall(MFGHJBDrift(e->hjb, 0, s->steps + 1, U, control));
  for (int n = 0; s->drift_levels && n <= s->steps; n++) {
    const double *b = s->drift + (s->drift_levels > 1 ? n * level : 0);
    for (int64_t i = 0; i < level; i++) control[n * level + i] -= b[i];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
