#include "solvers/continuation.h"

/* A stage under way: what its callbacks add. */
typedef struct {
  const MFGStageCallbacks *callbacks;
  MFGEquilibrium equilibrium;
  int number, stage; /* 0, 1, ...; stage: as in MFGIteration */
  MFGOutcome before; /* counts of the stages before */
} Count;

static PetscErrorCode CountIteration(void *context, const MFGIteration *iteration) {
  const Count *count = (const Count *)context;
  MFGIteration it = *iteration;

  PetscFunctionBeginUser;
  it.iteration += count->before.iterations;
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

/* Which stage, and what those before it have counted. */
static void Position(Count *count, int stages, MFGState *state) {
  MFGStateInteger(state, "stage", count->number, 0, stages - 1);
  MFGStateInteger(state, "maps_before", count->before.iterations, 0, INT_MAX);
  MFGStateInteger(state, "products_before", count->before.products, 0, INT64_MAX);
  MFGStateInteger(state, "mixture_floor_before", count->before.mixture_floor, 0, INT64_MAX);
}

static PetscErrorCode Ask(void *context, MFGPiece piece, int64_t work, PetscBool *stop) {
  Count *count = (Count *)context;
  const MFGStageCallbacks *callbacks = count->callbacks;
  PetscBool save = PETSC_FALSE;
  MFGState state = {0};

  PetscFunctionBeginUser;
  if (!callbacks->decide) PetscFunctionReturn(PETSC_SUCCESS);
  work += count->before.iterations + count->before.products;
  PetscCall(callbacks->decide(callbacks->context, piece, work, &save, stop));
  if (!save) PetscFunctionReturn(PETSC_SUCCESS);
  Position(count, INT_MAX, &state);
  PetscCall(MFGEquilibriumState(count->equilibrium, &state));
  PetscCall(callbacks->save(callbacks->context, &state));
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
                     o->reason == MFG_STOP_FP_FAILED || o->reason == MFG_STOP_INTERRUPTED);
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
  const int stages = MFGContinuationStages(spec, continuation);
  Count count = {.callbacks = callbacks};
  MFGState position = {0};
  PetscBool resume = (PetscBool)(callbacks->restore != NULL);

  PetscFunctionBeginUser;
  *last = NULL;
  Position(&count, stages, &position);
  if (resume) PetscCall(callbacks->restore(callbacks->context, &position));
  for (; count.number < stages; count.number++, resume = PETSC_FALSE) {
    const MFGStage stage = MakeStage(spec, continuation, count.number);
    const MFGEquilibriumSpec s = StageSpec(
        spec, &stage, spec->max_iterations - count.before.iterations - (stages - 1 - count.number));
    const PetscBool tell = (PetscBool)(stages > 1 && callbacks->stage);
    MFGEquilibrium e;
    count.stage = stages > 1 ? stage.number : 0;
    if (tell) PetscCall(callbacks->stage(callbacks->context, &stage, NULL));
    PetscCall(MFGEquilibriumCreate(grid, backend, &s, &e));
    count.equilibrium = e;
    PetscCall(MFGEquilibriumSetMonitor(e, CountIteration, PassProgress, &count));
    PetscCall(MFGEquilibriumSetAsk(e, Ask, &count));
    if (resume) PetscCall(MFGEquilibriumRestore(e, callbacks->restore, callbacks->context, M, U));
    PetscCall(MFGEquilibriumSolve(e, M, U, statistics, outcome));
    PetscCall(MFGEquilibriumSetMonitor(e, NULL, NULL, NULL));
    PetscCall(MFGEquilibriumSetAsk(e, NULL, NULL));
    PetscCall(Add(&stage, &count.before, outcome));
    if (callbacks->lost && Lost(outcome) && outcome->reason != MFG_STOP_INTERRUPTED) {
      MFGState fields = {0};
      PetscCall(MFGEquilibriumFields(e, &fields));
      PetscCall(callbacks->lost(callbacks->context, outcome, &fields));
    }
    if (stage.number == stage.count) {
      *last = e;
      break;
    }
    PetscCall(MFGEquilibriumDestroy(&e));
    if (Lost(outcome)) break;
    if (tell) PetscCall(callbacks->stage(callbacks->context, &stage, outcome));
    count.before = *outcome;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
