#include "solvers/anderson.h"
#include "solvers/equilibrium_parts.h"
#include "solvers/exploitability.h"

/* A rule's bandwidth may change in this many maps; then the map is fixed and can be accelerated. */
#define WARM_UP_MAPS 2

/* A sweep did not end: there is no Phi of the iterate. */
static PetscBool Failed(const MFGEquilibrium e) {
  return (PetscBool)(e->outcome.reason == MFG_STOP_HJB_FAILED ||
                     e->outcome.reason == MFG_STOP_FP_FAILED ||
                     e->outcome.reason == MFG_STOP_INTERRUPTED);
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
  PetscCall(MFGEquilibriumMap(e, x));
  if (e->iterate) PetscCall(PetscArraycpy(e->iterate, x, n));
  PetscCall(VecGetArrayWrite(F, &f));
  if (Failed(e)) {
    PetscCall(PetscArrayzero(f, n));
    PetscCall(SNESSetFunctionDomainError(snes));
  } else {
    for (int64_t i = 0; i < n; i++) f[i] = x[i] - e->phi[e->owned + i];
    if (e->precondition && !e->outcome.reason) PetscCall(MFGEquilibriumPrecondition(e, f));
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
      [MFG_STOP_INTERRUPTED] = SNES_DIVERGED_USER,
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
  } else if (e->spec.method == MFG_OUTER_NEWTON) {
    PetscCall(MFGEquilibriumCreateNewton(e));
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
                                      .single = s->single,
                                      .go_on = s->go_on,
                                      .go_on_context = s->go_on_context,
                                      .drift_there = MFGEquilibriumDriftThere(e)};

  PetscFunctionBeginUser;
  PetscCall(MFGParticlesCreate(e->grid, e->backend, &particles, &e->particles));
  MFGParticlesSetPause(e->particles, MFGEquilibriumPauseAgents, e);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static MFGHJBSpec ValueSpec(const MFGEquilibriumSpec *s) {
  return (MFGHJBSpec){.dt = s->horizon / s->steps,
                      .nu = s->nu,
                      .steps = s->steps,
                      .hamiltonian = s->hamiltonian,
                      .drift_levels = s->drift_levels,
                      .drift = s->drift};
}

PetscBool MFGEquilibriumIsLinear(const MFGEquilibriumSpec *s) {
  return (PetscBool)(s->fokker_planck == MFG_FOKKER_PLANCK_GRID || s->method == MFG_OUTER_NEWTON);
}

int64_t MFGEquilibriumDeviceBytes(const MFGEquilibriumSpec *s, int dim, int64_t owned, int levels) {
  const PetscBool grid = (PetscBool)(s->fokker_planck == MFG_FOKKER_PLANCK_GRID);
  const MFGHJBSpec value = ValueSpec(s);
  int64_t bytes = MFGHJBDeviceBytes(&value, dim, owned, levels);

  if (MFGEquilibriumIsLinear(s))
    bytes += MFGLinearStepDeviceBytes(&value, dim, owned, levels) +
             MFGFokkerPlanckDeviceBytes(owned, levels);
  if (s->method == MFG_OUTER_NEWTON) bytes += MFGLinearisedDeviceBytes(owned, levels);
  if (grid && s->exploitability) bytes += MFGExploitabilityDeviceBytes(owned, levels);
  return bytes;
}

static PetscErrorCode CreateLinearStep(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;

  PetscFunctionBeginUser;
  PetscCall(
      MFGLinearStepCreate(e->grid, s->value ? s->value : e->fields, &e->hjb_spec, &e->linear));
  MFGLinearStepSetChunk(e->linear, MFGHJBChunk(e->hjb));
  MFGLinearStepShare(e->linear, MFGHJBValue(e->hjb), MFGHJBGivenDrift(e->hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec, MFGEquilibrium *equilibrium) {
  MFGEquilibrium e;
  const int levels = spec->steps + 1;
  const MFGHJBSpec hjb = ValueSpec(spec);

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&e));
  e->grid = grid;
  e->backend = backend;
  e->fields = MFGBackendOnHost(backend);
  e->spec = *spec;
  e->hjb_spec = hjb;
  e->owned = MFGBlockOwned(&grid->block);
  PetscCall(MFGHJBCreate(grid, spec->value ? spec->value : e->fields, &hjb, &e->hjb));
  if (spec->value_chunk) MFGHJBSetChunk(e->hjb, spec->value_chunk);
  MFGHJBSetPause(e->hjb, MFGEquilibriumPauseValue, e);
  e->forward.pause = MFGEquilibriumPauseDensity;
  e->forward.context = e;
  e->on_grid = (PetscBool)(spec->fokker_planck == MFG_FOKKER_PLANCK_GRID);
  if (MFGEquilibriumIsLinear(spec)) PetscCall(CreateLinearStep(e));
  if (!e->on_grid) PetscCall(CreateParticles(e));
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
  PetscCall(KSPDestroy(&e->precondition));
  PetscCall(MatDestroy(&e->derivative));
  PetscCall(MFGLinearisedDestroy(&e->linearised));
  PetscCall(PetscFree(e->iterate));
  PetscCall(PetscFree(e->response));
  PetscCall(PetscFree(e->radius));
  PetscCall(MFGFokkerPlanckPositionDestroy(&e->forward));
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

PetscErrorCode MFGEquilibriumSetAsk(MFGEquilibrium e, MFGAskFunction ask, void *context) {
  PetscFunctionBeginUser;
  e->ask = ask;
  e->ask_context = context;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The maps whose bandwidths still change: plain steps, before anything that remembers. Newton's
 * method starts near its end: there the flow stays where it is, and one map shows the widths. */
static PetscErrorCode WarmUp(MFGEquilibrium e, double *x) {
  const int64_t n = e->spec.steps * e->owned;
  const PetscBool stay = (PetscBool)(e->spec.method == MFG_OUTER_NEWTON);

  PetscFunctionBeginUser;
  const int first = e->resumed ? e->outcome.iterations : 1;
  for (int k = first; k <= (stay ? 1 : WARM_UP_MAPS) && !e->outcome.reason; k++) {
    PetscCall(MFGEquilibriumMap(e, x));
    if (e->outcome.reason || stay) break;
    const double step = StepLength(&e->spec, k);
    for (int64_t i = 0; i < n; i++) x[i] += step * (e->phi[e->owned + i] - x[i]);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Where the density is within the tolerance no direction is left, but the value has not been seen
 * to stand still: one more map of the same iterate shows it. */
static PetscErrorCode Settle(MFGEquilibrium e) {
  PetscFunctionBeginUser;
  if (e->iterate && e->last.density_residual <= e->spec.tolerance) {
    PetscCall(MFGEquilibriumMap(e, e->iterate));
  }
  if (!e->outcome.reason) PetscCall(MFGEquilibriumExplainStall(e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What agents need before their map is a fixed one: bandwidths, and the plan made of them. */
static PetscErrorCode PrepareAgents(MFGEquilibrium e, double *x) {
  MFGSampleStatistics initial;

  PetscFunctionBeginUser;
  if (!e->resumed) {
    PetscCall(MFGParticlesInitialStatistics(e->particles, &initial));
    for (int n = 0; n <= e->spec.steps; n++) e->statistics[n] = initial;
  }
  if (e->spec.bandwidth_rule != MFG_BANDWIDTH_FIXED) PetscCall(WarmUp(e, x));
  if (!e->outcome.reason) PetscCall(MFGEquilibriumRenewPlan(e));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Reset(MFGEquilibrium e) {
  PetscFunctionBeginUser;
  e->warm = e->frozen = PETSC_FALSE;
  e->part = MFG_MAP_NONE;
  e->norm = 0;
  e->products = 0;
  e->solver_tolerance = MFGEquilibriumFirstTolerance(&e->spec);
  memset(&e->outcome, 0, sizeof e->outcome);
  PetscCall(PetscArrayzero(e->U, (e->spec.steps + 1) * e->owned));
  PetscCall(PetscArrayzero(e->phi, (e->spec.steps + 1) * e->owned));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumIterate(MFGEquilibrium e, Vec *X) {
  PetscFunctionBeginUser;
  PetscCall(VecCreateMPIWithArray(e->grid->comm, 1, e->spec.steps * e->owned, PETSC_DETERMINE,
                                  e->M + e->owned, X));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumSolve(MFGEquilibrium e, double *M, double *U,
                                   MFGSampleStatistics *statistics, MFGOutcome *outcome) {
  const int levels = e->spec.steps + 1;
  Vec X;

  PetscFunctionBeginUser;
  e->M = M;
  e->U = U;
  if (!e->resumed) PetscCall(Reset(e));
  if (!e->on_grid && !e->frozen) PetscCall(PrepareAgents(e, M + e->owned));
  if (!e->outcome.reason) {
    e->frozen = PETSC_TRUE;
    PetscCall(MFGEquilibriumIterate(e, &X));
    PetscCall(SNESSolve(e->snes, NULL, X));
    PetscCall(VecDestroy(&X));
    if (!e->outcome.reason) PetscCall(Settle(e));
  }
  if (!Failed(e)) {
    PetscCall(PetscArraycpy(M, e->phi, levels * e->owned));
    for (int n = 0; e->on_grid && n < levels; n++)
      PetscCall(MFGFieldStatistics(e->grid, M + n * e->owned, &e->statistics[n]));
    PetscCall(PetscArraycpy(statistics, e->statistics, levels));
  }
  *outcome = e->outcome;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumPaths(MFGEquilibrium e, const double *U, int64_t samples, double *path,
                                   int64_t *id) {
  PetscFunctionBeginUser;
  e->U = (double *)U;
  if (!e->particles) PetscCall(CreateParticles(e));
  PetscCall(MFGParticlesPaths(e->particles, e->spec.fresh ? (uint32_t)e->outcome.iterations : 0,
                              MFGEquilibriumDrift, e, samples, path, id));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumControl(MFGEquilibrium e, int begin, int end, const double *U,
                                     double *control) {
  const MFGEquilibriumSpec *s = &e->spec;
  const int64_t level = e->grid->block.dim * e->owned;

  PetscFunctionBeginUser;
  PetscCall(MFGHJBDrift(e->hjb, begin, end, U, &MFGMemoryOps_Host, control));
  for (int n = begin; s->drift_levels && n < end; n++, control += level) {
    const double *b = s->drift + (s->drift_levels > 1 ? n * level : 0);
    for (int64_t i = 0; i < level; i++) control[i] -= b[i];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
