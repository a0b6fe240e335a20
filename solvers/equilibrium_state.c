#include "solvers/anderson.h"
#include "solvers/equilibrium_parts.h"

MFGProducts MFGEquilibriumProducts(const MFGEquilibrium e) {
  const PetscBool again = (PetscBool)(e->part == MFG_MAP_DONE);
  return (MFGProducts){.all = e->outcome.products - (again ? e->products : 0),
                       .since = again ? 0 : e->products};
}

/* What a map has said of itself so far. */
static void IterationNumbers(MFGIteration *it, MFGState *s) {
  MFGStateInteger(s, "map_newton", it->newton, 0, INT64_MAX);
  MFGStateInteger(s, "map_krylov", it->krylov, 0, INT64_MAX);
  MFGStateInteger(s, "map_products", it->products, 0, INT64_MAX);
  MFGStateInteger(s, "map_fp_krylov", it->fp_krylov, 0, INT64_MAX);
  MFGStateReals(s, "map_fp_defect", 1, &it->fp_defect);
  MFGStateReals(s, "map_density_residual", 1, &it->density_residual);
  MFGStateReals(s, "map_value_residual", 1, &it->value_residual);
  MFGStateReals(s, "map_floor", 1, &it->floor);
  MFGStateReals(s, "map_exploitability", 1, &it->exploitability);
  MFGStateReals(s, "map_mass", 1, &it->mass);
  MFGStateReals(s, "map_minimum", 1, &it->minimum);
  MFGStateReals(s, "map_imbalance", 1, &it->imbalance);
  MFGStateReals(s, "map_seconds_hjb", 1, &it->seconds_hjb);
  MFGStateReals(s, "map_seconds_forward", 1, &it->seconds_agents);
  MFGStateReals(s, "map_seconds_density", 1, &it->seconds_density);
  MFGStateReals(s, "map_seconds_other", 1, &it->seconds_other);
}

static PetscBool Remembers(const MFGEquilibrium e) {
  return (PetscBool)(e->frozen && (e->spec.method == MFG_OUTER_ANDERSON || e->precondition));
}

/* Numbers that the sizes of the arrays follow from come first. */
static PetscErrorCode Numbers(MFGEquilibrium e, MFGState *s) {
  MFGOutcome *o = &e->outcome;
  MFGMomentShape *shape = &o->shape;

  PetscFunctionBeginUser;
  MFGStateInteger(s, "map_part", e->part, MFG_MAP_NONE, MFG_MAP_DONE);
  MFGStateInteger(s, "maps", o->iterations, 0, e->spec.max_iterations);
  MFGStateInteger(s, "products", e->saved.all, 0, INT64_MAX);
  MFGStateInteger(s, "products_since_map", e->saved.since, 0, PETSC_INT_MAX);
  MFGStateInteger(s, "mixture_floor", o->mixture_floor, 0, INT64_MAX);
  MFGStateInteger(s, "bandwidth_raised", o->raised, 0, 1);
  MFGStateInteger(s, "bandwidth_frozen", e->frozen, 0, 1);
  MFGStateInteger(s, "warm", e->warm, 0, 1);
  MFGStateReals(s, "solver_tolerance", 1, &e->solver_tolerance);
  MFGStateReals(s, "residuals", MFG_STALL_WINDOW, e->residuals);
  MFGStateReals(s, "newton_norm", 1, &e->norm);
  if (!e->on_grid) {
    MFGStateInteger(s, "moment_order", shape->order, 3, MFG_ORDER_MAX);
    MFGStateIntegers(s, "moment_halvings", MFG_MAX_DIM, sizeof *shape->halvings, shape->halvings, 0,
                     MFG_HALVINGS_MAX);
  }
  IterationNumbers(&e->last, s);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode History(MFGEquilibrium e, MFGState *s) {
  Vec X;

  PetscFunctionBeginUser;
  PetscCall(MFGEquilibriumIterate(e, &X));
  PetscCall(MFGAndersonArrays(e->snes, X, e->spec.steps, s));
  PetscCall(VecDestroy(&X));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* x: the iterate, levels 1 .. steps. */
static PetscErrorCode Arrays(MFGEquilibrium e, const double *x, MFGState *s) {
  const int levels = e->spec.steps + 1, dim = e->grid->block.dim;

  PetscFunctionBeginUser;
  MFGStateFlow(s, "iterate", e->spec.steps, (double *)x);
  if (e->part == MFG_MAP_NONE) PetscFunctionReturn(PETSC_SUCCESS);
  MFGStateFlow(s, "density", levels, e->phi);
  MFGStateFlow(s, "value", levels, e->U);
  if (!e->on_grid) {
    if (!e->radius) PetscCall(PetscMalloc1(levels * dim, &e->radius));
    MFGStateReals(s, "statistics", levels * (int64_t)(sizeof *e->statistics / sizeof(double)),
                  (double *)e->statistics);
    MFGStateReals(s, "bandwidth", levels * dim, e->bandwidth);
    MFGStateIntegers(s, "radius", levels * dim, sizeof *e->radius, e->radius, 0, INT_MAX / 2);
  }
  if (Remembers(e)) PetscCall(History(e, s));
  if (e->part == MFG_MAP_RESPONSE) {
    if (!e->response) PetscCall(PetscMalloc1(levels * e->owned, &e->response));
    MFGStateFlow(s, "response", levels, e->response);
  }
  if (e->part == MFG_MAP_BACKWARD || e->part == MFG_MAP_RESPONSE) PetscCall(MFGHJBState(e->hjb, s));
  if (e->part == MFG_MAP_FORWARD)
    PetscCall(e->on_grid ? MFGFokkerPlanckState(e->linear, &e->forward, s)
                         : MFGParticlesState(e->particles, s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumState(MFGEquilibrium e, MFGState *s) {
  PetscFunctionBeginUser;
  e->saved = MFGEquilibriumProducts(e);
  PetscCall(Numbers(e, s));
  if (Remembers(e)) PetscCall(MFGAndersonNumbers(e->snes, s));
  PetscCall(Arrays(e, e->mapped, s));
  if (e->plan && e->radius)
    PetscCall(PetscArraycpy(e->radius, MFGDensityPlanRadii(e->plan),
                            (e->spec.steps + 1) * e->grid->block.dim));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumFields(MFGEquilibrium e, MFGState *s) {
  PetscFunctionBeginUser;
  MFGStateFlow(s, "iterate", e->spec.steps, (double *)e->mapped);
  MFGStateFlow(s, "value", e->spec.steps + 1, e->U);
  MFGStateFlow(s, "density", e->spec.steps + 1, e->phi);
  if (e->outcome.reason == MFG_STOP_HJB_FAILED) MFGStateFlow(s, "cost", 1, MFGHJBSource(e->hjb));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumRestore(MFGEquilibrium e, MFGRestoreFunction restore, void *context,
                                     double *M, double *U) {
  const MFGEquilibriumSpec *s = &e->spec;
  MFGState state = {0};

  PetscFunctionBeginUser;
  e->M = M;
  e->U = U;
  PetscCall(Numbers(e, &state));
  PetscCall(restore(context, &state));
  state.count = 0;
  if (Remembers(e)) PetscCall(MFGAndersonNumbers(e->snes, &state));
  PetscCall(restore(context, &state));
  state.count = 0;
  PetscCall(Arrays(e, M + e->owned, &state));
  PetscCall(restore(context, &state));
  e->resumed = (PetscBool)(e->part != MFG_MAP_NONE);
  e->outcome.products = e->saved.all;
  e->products = e->saved.since;
  e->outcome.shape.scale = MFGMomentScale(s->agents);
  e->last.iteration = e->outcome.iterations;
  e->last.bandwidth_frozen = e->frozen;
  e->last.on_grid = e->on_grid;
  if (!e->resumed) PetscFunctionReturn(PETSC_SUCCESS);
  if (Remembers(e)) PetscCall(MFGAndersonResume(e->snes));
  if (!e->on_grid)
    PetscCall(MFGDensityPlanCreateAs(e->grid, e->backend, s->density_method, s->agents,
                                     s->density_tolerance, s->steps + 1, e->bandwidth,
                                     &e->outcome.shape, e->radius, &e->plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}
