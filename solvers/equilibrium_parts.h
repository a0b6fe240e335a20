/* What the files equilibrium*.c share; nobody else includes this. */
#pragma once

#include <petscsnes.h>

#include "solvers/equilibrium.h"
#include "solvers/linearised.h"

/* Fresh random numbers: the residual counts as stalled when it did not fall by a tenth in this
 * many. */
#define MFG_STALL_WINDOW 5

/* Where a map is; in a saved state: where to go on. */
typedef enum {
  MFG_MAP_NONE,     /* before the first one */
  MFG_MAP_BACKWARD, /* the value is under way, */
  MFG_MAP_FORWARD,  /* the density, */
  MFG_MAP_RESPONSE, /* the best response to it */
  MFG_MAP_DONE
} MFGMapPart;

/* Products with Newton's derivative: of all maps so far, and of those since the last map. */
typedef struct {
  int64_t all;
  PetscInt since;
} MFGProducts;

struct MFGEquilibrium_ {
  const MFGGrid *grid;
  const MFGBackend *backend; /* of agents and densities */
  const MFGBackend *fields;  /* of costs, which are evaluated on the host */
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
  MFGAskFunction ask;
  void *context, *ask_context;

  int64_t owned;
  const double *x;                 /* borrowed; the flow whose costs count, levels 1 .. steps */
  const double *mapped;            /* borrowed; the iterate being mapped or mapped last */
  double *phi;                     /* owned; flow Phi(x) with level 0 */
  double *iterate;                 /* owned; newton: a copy of the last iterate mapped */
  double *response;                /* owned; value of the best response, where it is wanted */
  double *M, *U;                   /* borrowed; during a solve */
  double *source;                  /* owned; terminal cost of a sweep */
  double *bandwidth;               /* owned; [steps + 1][dim] */
  MFGSampleStatistics *statistics; /* owned; [steps + 1] of the last map */
  int *radius;                     /* owned; [steps + 1][dim] of the plan, in a state */
  MFGMapPart part;
  PetscBool frozen, warm;
  PetscBool resumed; /* the next map is under way or done */
  double solver_tolerance;
  double drift_seconds, density_seconds; /* of a sweep of the agents, since the last lap; so far */
  double residuals[MFG_STALL_WINDOW];    /* of the last maps, a ring */
  double norm;       /* newton on the grid: of F before the last step; 0: none */
  MFGIteration last; /* the map under way, or the last one */
  MFGOutcome outcome;
  MFGProducts saved;               /* in a state */
  PetscLogDouble lap;              /* when the time was taken last */
  MFGFokkerPlanckPosition forward; /* on the grid: where its sweep is */
};

/* Collective. x -> Phi(x): e->U, e->phi, e->statistics and e->last. A failed step, or that it was
 * interrupted, is left in the outcome. Where e->resumed it goes on with the map that was saved. */
PetscErrorCode MFGEquilibriumMap(MFGEquilibrium e, const double *x);
/* The time since the last lap is added to *seconds. */
PetscErrorCode MFGEquilibriumLap(MFGEquilibrium e, double *seconds);
/* What a state counts: between two maps the products since the first of them will be done again. */
MFGProducts MFGEquilibriumProducts(const MFGEquilibrium e);
/* Collective. Asks whether to go on after a piece. */
PetscErrorCode MFGEquilibriumAsk(MFGEquilibrium e, MFGPiece piece, PetscBool *stop);
/* Pauses of the sweeps, MFGPauseFunctions; context is the MFGEquilibrium. */
PetscErrorCode MFGEquilibriumPauseValue(void *context, PetscBool *stop);
PetscErrorCode MFGEquilibriumPauseAgents(void *context, PetscBool *stop);
PetscErrorCode MFGEquilibriumPauseDensity(void *context, PetscBool *stop);
PetscErrorCode MFGEquilibriumPauseProduct(void *context, PetscBool *stop);
/* A vector of e->M, levels 1 .. steps. */
PetscErrorCode MFGEquilibriumIterate(MFGEquilibrium e, Vec *X);
/* Collective. Bandwidths of the next sweep from the statistics of the last one, and the plan made
 * of them. */
PetscErrorCode MFGEquilibriumRenewPlan(MFGEquilibrium e);
/* An MFGDriftFunction: of levels begin .. end-1, from e->U. */
PetscErrorCode MFGEquilibriumDrift(void *context, int begin, int end, double *drift);
/* The same into the memory of e->backend, where that is a device on which U is made too; else NULL.
 */
MFGDriftFunction MFGEquilibriumDriftThere(const MFGEquilibrium e);
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
