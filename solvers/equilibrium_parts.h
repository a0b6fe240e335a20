/* What the files equilibrium*.c share; nobody else includes this. */
#pragma once

#include <petscsnes.h>

#include "solvers/equilibrium.h"
#include "solvers/linearised.h"

/* Fresh random numbers: the residual counts as stalled when it did not fall by a tenth in this
 * many. */
#define MFG_STALL_WINDOW 5

struct MFGEquilibrium_ {
  const MFGGrid *grid;
  const MFGBackend *backend; /* of agents and densities */
  const MFGBackend *fields;  /* of the value equation, whose vectors are the host's */
  MFGEquilibriumSpec spec;
  MFGHJBSpec hjb_spec;
  MFGHJB hjb;
  MFGParticles particles;   /* NULL on the grid, until paths are wanted */
  MFGDensityPlan plan;      /* NULL on the grid */
  PetscBool on_grid;        /* the density moves there, not agents */
  MFGLinearStep linear;     /* NULL but on the grid and for newton */
  MFGLinearised linearised; /* newton: the derivative of the map, */
  Mat derivative;           /* I minus it as a matrix, */
  PetscInt products;        /* its products since the last map */
  KSP precondition;         /* newton with agents: solves with `derivative`; else NULL */
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
  double residuals[MFG_STALL_WINDOW]; /* of the last maps, a ring */
  MFGIteration last;
  MFGOutcome outcome;
};

/* Collective. x -> Phi(x): e->U, e->phi, e->statistics and e->last. A failed step is left in the
 * outcome. */
PetscErrorCode MFGEquilibriumMap(MFGEquilibrium e, const double *x);
/* Collective. Bandwidths of the next sweep from the statistics of the last one, and the plan made
 * of them. */
PetscErrorCode MFGEquilibriumRenewPlan(MFGEquilibrium e);
/* An MFGDriftFunction: of levels begin .. end-1, from e->U. */
PetscErrorCode MFGEquilibriumDrift(void *context, int begin, int end, double *drift);
/* Where the tolerance of the sweeps starts. */
double MFGEquilibriumFirstTolerance(const MFGEquilibriumSpec *spec);

/* Not collective. Decides after a map whether to stop, and why: in the outcome. */
PetscErrorCode MFGEquilibriumJudge(MFGEquilibrium e);
/* Not collective. The SNES gave up where Judge would have gone on. */
PetscErrorCode MFGEquilibriumExplainStall(MFGEquilibrium e);

/* Collective. On the grid e->snes becomes newtonls with the derivative of the map; with agents
 * Anderson's method for J^-1 (x - Phi(x)), J the derivative that the grid would have there,
 * followed by the kernel of the density estimate. */
PetscErrorCode MFGEquilibriumCreateNewton(MFGEquilibrium e);
/* Collective. Where e->precondition is: f <- J^-1 f, J at the last map; f of levels 1 .. steps. */
PetscErrorCode MFGEquilibriumPrecondition(MFGEquilibrium e, double *f);
