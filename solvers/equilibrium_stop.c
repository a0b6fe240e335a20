#include "solvers/equilibrium_parts.h"

/* L1 residual of two densities of mass one is at most 2; iterates far from that are lost. */
#define DIVERGED_RESIDUAL 1e3
/* Single precision: residuals below this may be the jumps of rounding. */
#define SINGLE_FLOOR 1e-7
/* Double: residuals below this may be the rounding of the sweeps, which are solved to 1e-13. */
#define DOUBLE_FLOOR 1e-12

/* True when the residual of the last MFG_STALL_WINDOW maps did not fall by a tenth. */
static PetscBool Stalled(const MFGEquilibrium e) {
  const int k = e->outcome.iterations;
  if (k <= MFG_STALL_WINDOW) return PETSC_FALSE;
  const double before = e->residuals[k % MFG_STALL_WINDOW];
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

static PetscBool Rounded(const MFGEquilibrium e) {
  return (PetscBool)(PetscMax(e->last.density_residual, e->last.value_residual) < DOUBLE_FLOOR);
}

static const char rounded[] =
    "the rounding of the sweeps leaves no less: raise equilibrium.tolerance";
static const char nearer[] =
    "use equilibrium.continuation_viscosity, or start from a result with a weaker coupling or more "
    "noise (equilibrium.initial)";

/* The remedy for a residual that is above the tolerance at the last iteration allowed. */
static const char *Remedy(const MFGEquilibrium e) {
  if (e->spec.single && e->last.density_residual < SINGLE_FLOOR)
    return "rounded positions make the map jump: use agents.precision: double, or a tolerance of "
           "1e-7";
  if (!Stalled(e)) return "it was still falling: raise equilibrium.max_iterations";
  if (Rounded(e)) return rounded;
  if (e->spec.fresh)
    return "fresh random numbers leave sampling noise: use random_numbers: common, or more agents";
  if (e->spec.method == MFG_OUTER_PICARD)
    return "it no longer falls (a Picard iteration often sits in a cycle): use equilibrium.method: "
           "anderson, or damping 0.5 or less";
  if (e->spec.method == MFG_OUTER_NEWTON && e->on_grid) return nearer;
  return "it no longer falls: lower equilibrium.damping (0.5, 0.2), raise equilibrium.memory, or "
         "weaken the coupling";
}

PetscErrorCode MFGEquilibriumJudge(MFGEquilibrium e) {
  const MFGEquilibriumSpec *s = &e->spec;
  const MFGIteration *it = &e->last;
  MFGOutcome *o = &e->outcome;

  PetscFunctionBeginUser;
  if (o->reason) PetscFunctionReturn(PETSC_SUCCESS);
  if (PetscIsInfOrNanReal(it->density_residual) || PetscIsInfOrNanReal(it->value_residual) ||
      (it->density_residual > DIVERGED_RESIDUAL && !e->iterate)) {
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
  e->residuals[it->iteration % MFG_STALL_WINDOW] = it->density_residual;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGEquilibriumExplainStall(MFGEquilibrium e) {
  SNESConvergedReason reason;

  PetscFunctionBeginUser;
  PetscCall(SNESGetConvergedReason(e->snes, &reason));
  e->outcome.reason = MFG_STOP_STALLED;
  PetscCall(Explain(e,
                    "stopped after %d maps by %s: density residual %.2e, value residual %.2e, "
                    "tolerance %.1e; %s",
                    e->last.iteration, SNESConvergedReasons[reason], e->last.density_residual,
                    e->last.value_residual, e->spec.tolerance, Rounded(e) ? rounded : nearer));
  PetscFunctionReturn(PETSC_SUCCESS);
}
