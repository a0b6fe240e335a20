#include "solvers/continuation.h"

/* What the monitor of a stage adds to its iterations. */
typedef struct {
  const MFGStageCallbacks *callbacks;
  int stage, before;
} Count;

static PetscErrorCode CountIteration(void *context, const MFGIteration *iteration) {
  const Count *count = (const Count *)context;
  MFGIteration it = *iteration;

  PetscFunctionBeginUser;
  it.iteration += count->before;
  it.stage = count->stage;
  if (count->callbacks->monitor)
    PetscCall(count->callbacks->monitor(count->callbacks->context, &it));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PassProgress(void *context, MFGPhase phase, double fraction) {
  const MFGStageCallbacks *callbacks = ((const Count *)context)->callbacks;

  PetscFunctionBeginUser;
  if (callbacks->progress) PetscCall(callbacks->progress(callbacks->context, phase, fraction));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The grid's equilibrium is where the agents' quasi-Newton method starts. */
static PetscBool StartsOnGrid(const MFGEquilibriumSpec *spec) {
  return (PetscBool)(spec->method == MFG_OUTER_NEWTON &&
                     spec->fokker_planck == MFG_FOKKER_PLANCK_PARTICLES);
}

int MFGContinuationStages(const MFGEquilibriumSpec *spec, const MFGContinuation *continuation) {
  return continuation->count + StartsOnGrid(spec);
}

static MFGStage MakeStage(const MFGEquilibriumSpec *spec, const MFGContinuation *c, int k) {
  const int count = MFGContinuationStages(spec, c), factor = PetscMin(k, c->count - 1);
  const PetscBool last = (PetscBool)(k == count - 1);
  return (MFGStage){.number = k + 1,
                    .count = count,
                    .on_grid = (PetscBool)(spec->fokker_planck == MFG_FOKKER_PLANCK_GRID ||
                                           (!last && StartsOnGrid(spec))),
                    .coupling = c->coupling[factor],
                    .viscosity = c->viscosity[factor],
                    .tolerance =
                        last ? spec->tolerance : PetscMax(spec->tolerance, MFG_STAGE_TOLERANCE)};
}

/* The problem of a stage, which may use `most` maps. */
static MFGEquilibriumSpec StageSpec(const MFGEquilibriumSpec *spec, const MFGStage *stage,
                                    int most) {
  MFGEquilibriumSpec s = *spec;
  s.tolerance = stage->tolerance;
  s.max_iterations = PetscMax(most, 1);
  s.nu *= stage->viscosity;
  s.running.coupling.strength *= stage->coupling;
  s.terminal.coupling.strength *= stage->coupling;
  s.running.mean_strength *= stage->coupling;
  s.terminal.mean_strength *= stage->coupling;
  if (stage->on_grid) {
    s.fokker_planck = MFG_FOKKER_PLANCK_GRID;
    s.fresh = PETSC_FALSE;
  }
  if (stage->number < stage->count) s.exploitability = 0;
  return s;
}

static PetscBool Lost(const MFGOutcome *o) {
  return (PetscBool)(o->reason == MFG_STOP_DIVERGED || o->reason == MFG_STOP_HJB_FAILED ||
                     o->reason == MFG_STOP_FP_FAILED);
}

/* Adds the counts of the stages before; a message of several stages says which. */
static PetscErrorCode Add(const MFGStage *stage, const MFGOutcome *before, MFGOutcome *o) {
  char message[sizeof o->message];

  PetscFunctionBeginUser;
  o->iterations += before->iterations;
  o->products += before->products;
  o->mixture_floor += before->mixture_floor;
  if (stage->count == 1) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscStrncpy(message, o->message, sizeof message));
  (void)snprintf(o->message, sizeof o->message, "stage %d of %d: %.*s", stage->number, stage->count,
                 (int)(sizeof message - 40), message);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGContinuationSolve(const MFGGrid *grid, const MFGBackend *backend,
                                    const MFGEquilibriumSpec *spec,
                                    const MFGContinuation *continuation,
                                    const MFGStageCallbacks *callbacks, double *M, double *U,
                                    MFGSampleStatistics *statistics, MFGEquilibrium *last,
                                    MFGOutcome *outcome) {
  const int count = MFGContinuationStages(spec, continuation);
  MFGOutcome before = {0};
  MFGEquilibrium e;

  PetscFunctionBeginUser;
  *last = NULL;
  for (int k = 0; k < count; k++) {
    const MFGStage stage = MakeStage(spec, continuation, k);
    const MFGEquilibriumSpec s =
        StageSpec(spec, &stage, spec->max_iterations - before.iterations - (count - 1 - k));
    Count counter = {callbacks, count > 1 ? stage.number : 0, before.iterations};
    const PetscBool tell = (PetscBool)(count > 1 && callbacks->stage);
    if (tell) PetscCall(callbacks->stage(callbacks->context, &stage, NULL));
    PetscCall(MFGEquilibriumCreate(grid, backend, &s, &e));
    PetscCall(MFGEquilibriumSetMonitor(e, CountIteration, PassProgress, &counter));
    PetscCall(MFGEquilibriumSolve(e, M, U, statistics, outcome));
    PetscCall(MFGEquilibriumSetMonitor(e, NULL, NULL, NULL));
    PetscCall(Add(&stage, &before, outcome));
    if (stage.number == stage.count) {
      *last = e;
      break;
    }
    PetscCall(MFGEquilibriumDestroy(&e));
    if (Lost(outcome)) break;
    if (tell) PetscCall(callbacks->stage(callbacks->context, &stage, outcome));
    before = *outcome;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
