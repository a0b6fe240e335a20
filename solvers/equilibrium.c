#include "solvers/equilibrium.h"

#include <petscsnes.h>

#include "solvers/anderson.h"
#include "solvers/exploitability.h"
#include "solvers/linearised.h"

/* The tolerance of the sweeps follows the outer residual at this distance, within these bounds. */
#define SOLVER_SHARE 1e-3
#define SOLVER_LOOSEST 1e-6
#define SOLVER_TIGHTEST 1e-13
/* Of the linear solves within a product with Newton's Jacobian. */
#define PRODUCT_TOLERANCE 1e-8
/* Directions GMRES keeps. */
#define GMRES_RESTART 60
/* A rule's bandwidth may change in this many maps; then the map is fixed and can be accelerated. */
#define WARM_UP_MAPS 2
/* L1 residual of two densities of mass one is at most 2; iterates far from that are lost. */
#define DIVERGED_RESIDUAL 1e3
/* Fresh random numbers: the residual counts as stalled when it did not fall by a tenth in this
 * many. */
#define STALL_WINDOW 5
/* Single precision: residuals below this may be the jumps of rounding. */
#define SINGLE_FLOOR 1e-7

struct MFGEquilibrium_ {
  const MFGGrid *grid;
  const MFGBackend *backend;
  MFGEquilibriumSpec spec;
  MFGHJBSpec hjb_spec;
  MFGHJB hjb;
  MFGParticles particles;   /* NULL on the grid, until paths are wanted */
  MFGDensityPlan plan;      /* NULL on the grid */
  MFGLinearStep linear;     /* NULL but on the grid */
  MFGLinearised linearised; /* newton: the derivative of the map, */
  Mat derivative;           /* I minus it as a matrix, */
  PetscInt products;        /* its products since the last map */
  SNES snes;
  MFGMonitorFunction monitor;
  MFGProgressFunction progress;
  void *context;

  int64_t owned;
  const double *x;                 /* borrowed; the iterate being mapped, levels 1 .. steps */
  double *phi;                     /* owned; flow Phi(x) with level 0 */
  double *iterate;                 /* owned; newton: a copy of the last iterate mapped */
  double *response;                /* owned; value of the best response, where it is wanted */
  double *U;                       /* borrowed; during a solve */
  double *source;                  /* owned; terminal cost of a sweep */
  double *bandwidth;               /* owned; [steps + 1][dim] */
  MFGSampleStatistics *statistics; /* owned; [steps + 1] of the last map */
  PetscBool frozen, warm;
  double solver_tolerance, drift_seconds;
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
  if (e->spec.single && e->last.density_residual < SINGLE_FLOOR)
    return "rounded positions make the map jump: use agents.precision: double, or a tolerance of "
           "1e-7";
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
      (it->density_residual > DIVERGED_RESIDUAL && s->method != MFG_OUTER_NEWTON)) {
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

/* The agents under the drift of U: e->phi and e->statistics. */
static PetscErrorCode MoveAgents(MFGEquilibrium e, MFGIteration *it) {
  const double density_before = MFGDensityPlanSeconds(e->plan);
  const MFGExchangeBytes before = MFGParticlesBytesMoved(e->particles);
  PetscLogDouble start, end;

  PetscFunctionBeginUser;
  e->drift_seconds = 0;
  PetscCall(PetscTime(&start));
  PetscCall(MFGParticlesSweep(e->particles, e->plan, e->spec.fresh ? (uint32_t)it->iteration : 0,
                              Drift, e, e->phi, e->statistics));
  PetscCall(PetscTime(&end));
  const MFGExchangeBytes after = MFGParticlesBytesMoved(e->particles);
  it->bytes = (MFGExchangeBytes){.halo = after.halo - before.halo,
                                 .migration = after.migration - before.migration,
                                 .reduction = after.reduction - before.reduction,
                                 .gather = after.gather - before.gather};
  it->imbalance = MFGParticlesImbalance(e->particles);
  it->seconds_density = MFGDensityPlanSeconds(e->plan) - density_before;
  it->seconds_agents = end - start - e->drift_seconds - it->seconds_density;
  it->seconds_hjb += e->drift_seconds;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The Fokker-Planck equation under the control of U: e->phi. A failed step is left in the outcome.
 */
static PetscErrorCode MoveDensity(MFGEquilibrium e, MFGIteration *it) {
  MFGFokkerPlanckStats fp;
  PetscLogDouble start, end;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&start));
  PetscCall(Report(e, MFG_PHASE_FOKKER_PLANCK, 0));
  PetscCall(MFGGridRestrict(e->grid, 1, e->spec.initial_density, e->phi));
  PetscCall(MFGFokkerPlanckSweep(e->linear, e->U, e->warm, e->solver_tolerance, e->phi, &fp));
  PetscCall(PetscTime(&end));
  if (fp.reason < 0) {
    e->outcome.reason = MFG_STOP_FP_FAILED;
    PetscCall(PetscStrncpy(e->outcome.message, fp.message, sizeof e->outcome.message));
  }
  it->fp_krylov = fp.krylov;
  it->fp_defect = fp.defect;
  it->imbalance = 1;
  it->seconds_agents = end - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The best response to Phi(M) by one more backward sweep, from U on. Where it fails nothing is
 * measured. */
static PetscErrorCode MeasureExploitability(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const double *x = e->x;
  MFGHJBStats hjb;
  PetscLogDouble start, end;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&start));
  if (!e->response) PetscCall(PetscMalloc1((s->steps + 1) * e->owned, &e->response));
  PetscCall(PetscArraycpy(e->response, e->U, (s->steps + 1) * e->owned));
  e->x = e->phi + e->owned;
  PetscCall(MFGCostEvaluate(e->grid, e->backend, &s->terminal, s->steps,
                            e->phi + s->steps * e->owned, e->source));
  PetscCall(MFGHJBSweep(e->hjb, Source, e, e->source, PETSC_TRUE, e->solver_tolerance, e->response,
                        &hjb));
  e->x = x;
  if (hjb.reason < 0) PetscFunctionReturn(PETSC_SUCCESS);
  if (e->linear)
    PetscCall(MFGExploitabilityGrid(e->linear, e->U, e->response, e->phi, &e->last.exploitability));
  else
    PetscCall(MFGExploitabilityAgents(e->grid, e->hjb, &e->hjb_spec, e->U, e->response, e->phi,
                                      &e->last.exploitability));
  e->last.newton += hjb.newton;
  e->last.krylov += hjb.krylov;
  PetscCall(PetscTime(&end));
  e->last.seconds_other += end - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Newton's method squares its residual: the error of a sweep is to be below what comes after the
 * next map, so from the start below the tolerance. */
static double FirstTolerance(const MFGEquilibriumSpec *s) {
  if (s->method != MFG_OUTER_NEWTON) return SOLVER_LOOSEST;
  return PetscClipInterval(SOLVER_SHARE * s->tolerance, SOLVER_TIGHTEST, SOLVER_LOOSEST);
}

/* x -> Phi(x): e->U, e->phi, e->statistics and e->last. A failed step is left in the outcome. */
static PetscErrorCode EvaluateMap(MFGEquilibrium e, const double *x) {
  const MFGEquilibriumSpec *s = &e->spec;
  MFGIteration it = {
      .iteration = ++e->outcome.iterations, .exploitability = NAN, .bandwidth_frozen = e->frozen};
  MFGHJBStats hjb;
  PetscLogDouble begin, end, t[2];

  PetscFunctionBeginUser;
  e->x = x;
  PetscCall(PetscTime(&begin));
  if (!e->frozen) PetscCall(RenewPlan(e));
  PetscCall(PetscTime(&t[0]));
  PetscCall(MFGCostEvaluate(e->grid, e->backend, &s->terminal, s->steps,
                            x + (s->steps - 1) * e->owned, e->source));
  PetscCall(MFGHJBSweep(e->hjb, Source, e, e->source, e->warm, e->solver_tolerance, e->U, &hjb));
  PetscCall(PetscTime(&t[1]));
  it.seconds_hjb = t[1] - t[0];
  if (hjb.reason < 0) {
    e->outcome.reason = MFG_STOP_HJB_FAILED;
    PetscCall(PetscStrncpy(e->outcome.message, hjb.message, sizeof e->outcome.message));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(e->linear ? MoveDensity(e, &it) : MoveAgents(e, &it));
  if (e->outcome.reason) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MeasureDensity(e, &it));
  const double range = hjb.maximum - hjb.minimum;
  it.value_residual = e->warm ? hjb.change / PetscMax(range, PETSC_MIN_REAL) : 1;
  if (e->warm && hjb.change == 0) it.value_residual = 0;
  it.newton = hjb.newton;
  it.krylov = hjb.krylov;
  PetscCall(PetscTime(&end));
  it.seconds_other = end - begin - it.seconds_hjb - it.seconds_agents - it.seconds_density;
  it.products = e->products;
  e->products = 0;
  e->warm = PETSC_TRUE;
  e->solver_tolerance =
      PetscClipInterval(SOLVER_SHARE * PetscMin(it.density_residual, it.value_residual),
                        SOLVER_TIGHTEST, e->solver_tolerance);
  e->last = it;
  PetscCall(Judge(e));
  if (s->exploitability && (e->outcome.reason || it.iteration % s->exploitability == 0))
    PetscCall(MeasureExploitability(e));
  if (e->monitor) PetscCall(e->monitor(e->context, &e->last));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A sweep did not end: there is no Phi of the iterate. */
static PetscBool Failed(const MFGEquilibrium e) {
  return (PetscBool)(e->outcome.reason == MFG_STOP_HJB_FAILED ||
                     e->outcome.reason == MFG_STOP_FP_FAILED);
}

static PetscErrorCode OuterFunction(SNES snes, Vec X, Vec F, void *context) {
  MFGEquilibrium e = (MFGEquilibrium)context;
  const PetscScalar *x;
  PetscScalar *f;
  const int64_t n = e->spec.steps * e->owned;

  PetscFunctionBeginUser;
  if (e->outcome.reason) { /* a line search goes on after the last map */
    PetscCall(VecZeroEntries(F));
    PetscCall(SNESSetFunctionDomainError(snes));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(EvaluateMap(e, x));
  if (e->iterate) PetscCall(PetscArraycpy(e->iterate, x, n));
  PetscCall(VecGetArrayWrite(F, &f));
  if (Failed(e)) {
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
      [MFG_STOP_FP_FAILED] = SNES_DIVERGED_FUNCTION_DOMAIN,
      [MFG_STOP_STALLED] = SNES_DIVERGED_LINE_SEARCH,
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

/* The derivative is taken where the map was evaluated last: the line search ends there. */
static PetscErrorCode OuterJacobian(SNES snes, Vec X, Mat A, Mat P, void *context) {
  MFGEquilibrium e = (MFGEquilibrium)context;

  PetscFunctionBeginUser;
  (void)snes, (void)X, (void)P;
  MFGLinearisedSet(e->linearised, e->iterate, e->U, e->phi);
  PetscCall(MatAssemblyBegin(A, MAT_FINAL_ASSEMBLY));
  PetscCall(MatAssemblyEnd(A, MAT_FINAL_ASSEMBLY));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode OuterProduct(Mat A, Vec X, Vec Y) {
  MFGLinearStats stats = {0};
  MFGEquilibrium e;
  const double *x;
  double *y;

  PetscFunctionBeginUser;
  PetscCall(MatShellGetContext(A, &e));
  PetscCall(VecGetArrayRead(X, &x));
  PetscCall(VecGetArrayWrite(Y, &y));
  PetscCall(MFGLinearisedApply(e->linearised, PRODUCT_TOLERANCE, x, y, &stats));
  for (int64_t i = 0; i < e->spec.steps * e->owned; i++) y[i] = x[i] - y[i];
  PetscCall(VecRestoreArrayWrite(Y, &y));
  PetscCall(VecRestoreArrayRead(X, &x));
  e->products++;
  e->outcome.products++;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A linear residual whose L1 norm at a level is a tenth of the tolerance, in the norm of GMRES. */
static double LeastResidual(const MFGEquilibrium e) {
  const MFGBlock *b = &e->grid->block;
  double box = 1;
  for (int k = 0; k < b->dim; k++) box *= b->upper[k] - b->lower[k];
  return 0.1 * e->spec.tolerance / sqrt(box * MFGCellVolume(b));
}

/* newtonls with GMRES; how tightly each linear system is solved follows Eisenstat and Walker. */
static PetscErrorCode CreateNewton(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const PetscInt n = (PetscInt)(s->steps * e->owned);
  SNESLineSearch search;
  KSP ksp;
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(MFGLinearisedCreate(e->linear, e->backend, &s->running, &s->terminal, &e->linearised));
  PetscCall(PetscMalloc1(n, &e->iterate));
  PetscCall(
      MatCreateShell(e->grid->comm, n, n, PETSC_DETERMINE, PETSC_DETERMINE, e, &e->derivative));
  PetscCall(MatShellSetOperation(e->derivative, MATOP_MULT, (PetscErrorCodeFn *)OuterProduct));
  PetscCall(SNESSetType(e->snes, SNESNEWTONLS));
  PetscCall(SNESSetJacobian(e->snes, e->derivative, e->derivative, OuterJacobian, e));
  PetscCall(SNESGetLineSearch(e->snes, &search));
  PetscCall(SNESLineSearchSetType(search, SNESLINESEARCHBT));
  PetscCall(SNESGetKSP(e->snes, &ksp));
  PetscCall(KSPSetType(ksp, KSPGMRES));
  PetscCall(KSPGMRESSetRestart(ksp, GMRES_RESTART));
  PetscCall(
      KSPSetTolerances(ksp, PETSC_CURRENT, LeastResidual(e), PETSC_CURRENT, 5 * GMRES_RESTART));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(PCSetType(pc, PCNONE));
  PetscCall(SNESKSPSetUseEW(e->snes, PETSC_TRUE));
  PetscCall(SNESKSPSetParametersEW(e->snes, 2, 0.1, 0.1, PETSC_CURRENT, PETSC_CURRENT,
                                   PETSC_CURRENT, PETSC_CURRENT));
  PetscCall(SNESSetMaxLinearSolveFailures(e->snes, PETSC_INT_MAX - 1));
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
  } else if (e->spec.method == MFG_OUTER_NEWTON) {
    PetscCall(CreateNewton(e));
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

static PetscErrorCode CreateParticles(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const MFGParticlesSpec particles = {.count = s->agents,
                                      .seed = s->seed,
                                      .sampling = s->sampling,
                                      .initial_density = s->initial_density,
                                      .nu = s->nu,
                                      .dt = s->horizon / s->steps,
                                      .steps = s->steps,
                                      .decomposition = s->decomposition,
                                      .single = s->single};

  PetscFunctionBeginUser;
  PetscCall(MFGParticlesCreate(e->grid, e->backend, &particles, &e->particles));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec, MFGEquilibrium *equilibrium) {
  MFGEquilibrium e;
  const int levels = spec->steps + 1;
  const MFGHJBSpec hjb = {.dt = spec->horizon / spec->steps,
                          .nu = spec->nu,
                          .steps = spec->steps,
                          .hamiltonian = spec->hamiltonian,
                          .drift_levels = spec->drift_levels,
                          .drift = spec->drift};

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&e));
  e->grid = grid;
  e->backend = backend;
  e->spec = *spec;
  e->hjb_spec = hjb;
  e->owned = MFGBlockOwned(&grid->block);
  PetscCall(MFGHJBCreate(grid, backend, &hjb, &e->hjb));
  if (spec->fokker_planck == MFG_FOKKER_PLANCK_GRID)
    PetscCall(MFGLinearStepCreate(grid, backend, &hjb, &e->linear));
  else
    PetscCall(CreateParticles(e));
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
  PetscCall(MatDestroy(&e->derivative));
  PetscCall(MFGLinearisedDestroy(&e->linearised));
  PetscCall(PetscFree(e->iterate));
  PetscCall(PetscFree(e->response));
  PetscCall(MFGHJBDestroy(&e->hjb));
  PetscCall(MFGParticlesDestroy(&e->particles));
  PetscCall(MFGDensityPlanDestroy(&e->plan));
  PetscCall(MFGLinearStepDestroy(&e->linear));
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
    if (e->outcome.reason) break;
    const double step = StepLength(&e->spec, k);
    for (int64_t i = 0; i < n; i++) x[i] += step * (e->phi[e->owned + i] - x[i]);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The SNES gave up where our own test would have gone on. */
static PetscErrorCode ExplainStall(MFGEquilibrium e) {
  SNESConvergedReason reason;

  PetscFunctionBeginUser;
  PetscCall(SNESGetConvergedReason(e->snes, &reason));
  e->outcome.reason = MFG_STOP_STALLED;
  PetscCall(Explain(e,
                    "stopped after %d maps by %s: density residual %.2e, value residual %.2e, "
                    "tolerance %.1e; start from a result with a weaker coupling or more noise "
                    "(equilibrium.initial), or use equilibrium.method: anderson with damping",
                    e->last.iteration, SNESConvergedReasons[reason], e->last.density_residual,
                    e->last.value_residual, e->spec.tolerance));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Where the density is within the tolerance no direction is left, but the value has not been seen
 * to stand still: one more map of the same iterate shows it. */
static PetscErrorCode Settle(MFGEquilibrium e) {
  PetscFunctionBeginUser;
  if (e->iterate && e->last.density_residual <= e->spec.tolerance) {
    PetscCall(EvaluateMap(e, e->iterate));
  }
  if (!e->outcome.reason) PetscCall(ExplainStall(e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What agents need before their map is a fixed one: bandwidths, and the plan made of them. */
static PetscErrorCode PrepareAgents(MFGEquilibrium e, double *x) {
  MFGSampleStatistics initial;

  PetscFunctionBeginUser;
  PetscCall(MFGParticlesInitialStatistics(e->particles, &initial));
  for (int n = 0; n <= e->spec.steps; n++) e->statistics[n] = initial;
  if (e->spec.bandwidth_rule != MFG_BANDWIDTH_FIXED) PetscCall(WarmUp(e, x));
  if (!e->outcome.reason) PetscCall(RenewPlan(e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumSolve(MFGEquilibrium e, double *M, double *U,
                                   MFGSampleStatistics *statistics, MFGOutcome *outcome) {
  const int levels = e->spec.steps + 1;
  Vec X;

  PetscFunctionBeginUser;
  e->U = U;
  e->warm = e->frozen = PETSC_FALSE;
  e->solver_tolerance = FirstTolerance(&e->spec);
  memset(&e->outcome, 0, sizeof e->outcome);
  PetscCall(PetscArrayzero(U, levels * e->owned));
  if (!e->linear) PetscCall(PrepareAgents(e, M + e->owned));
  if (!e->outcome.reason) {
    e->frozen = PETSC_TRUE;
    PetscCall(VecCreateMPIWithArray(e->grid->comm, 1, e->spec.steps * e->owned, PETSC_DETERMINE,
                                    M + e->owned, &X));
    PetscCall(SNESSolve(e->snes, NULL, X));
    PetscCall(VecDestroy(&X));
    if (!e->outcome.reason) PetscCall(Settle(e));
  }
  PetscCall(PetscArraycpy(M, e->phi, levels * e->owned));
  for (int n = 0; e->linear && !Failed(e) && n < levels; n++)
    PetscCall(MFGFieldStatistics(e->grid, M + n * e->owned, &e->statistics[n]));
  PetscCall(PetscArraycpy(statistics, e->statistics, levels));
  *outcome = e->outcome;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPaths(MFGEquilibrium e, const double *U, int64_t samples, double *path,
                                   int64_t *id) {
  PetscFunctionBeginUser;
  e->U = (double *)U;
  if (!e->particles) PetscCall(CreateParticles(e));
  PetscCall(MFGParticlesPaths(e->particles, e->spec.fresh ? (uint32_t)e->outcome.iterations : 0,
                              Drift, e, samples, path, id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumControl(MFGEquilibrium e, int begin, int end, const double *U,
                                     double *control) {
  const MFGEquilibriumSpec *s = &e->spec;
  const int64_t level = e->grid->block.dim * e->owned;

  PetscFunctionBeginUser;
  PetscCall(MFGHJBDrift(e->hjb, begin, end, U, control));
  for (int n = begin; s->drift_levels && n < end; n++, control += level) {
    const double *b = s->drift + (s->drift_levels > 1 ? n * level : 0);
    for (int64_t i = 0; i < level; i++) control[i] -= b[i];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
