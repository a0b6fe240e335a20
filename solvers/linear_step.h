/* A step of the HJB equation linearised about U^n: the Jacobian J(U^n) of its residual, an M-matrix
 * whose rows sum to 1/dt, and solves with it and with its transpose.
 *
 * The transpose is the step of the Fokker-Planck equation: J(U^n)^T M^{n+1} = M^n / dt.
 *
 * PETSc options with the prefix fp_ (-fp_ksp_type, ...). Default: in 1D elimination, redundantly on
 * every rank, else flexible GMRES with multigrid (solvers/multigrid.h). */
#pragma once

#include <petscksp.h>

#include "solvers/grid.h"
#include "solvers/scheme.h"

typedef struct MFGLinearStep_ *MFGLinearStep;

/* What a number of solves did. reason < 0: the last one failed. */
typedef struct {
  PetscInt krylov;
  KSPConvergedReason reason;
} MFGLinearStats;

/* Collective on grid->comm. Grid and backend borrowed, and the drift of the spec. */
PetscErrorCode MFGLinearStepCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const MFGHJBSpec *spec, MFGLinearStep *step);
/* Bytes of a step on `owned` cells: coefficients, the levels of the cycle, vectors of the solver.
 */
int64_t MFGLinearStepBytes(int dim, int64_t owned);

PetscErrorCode MFGLinearStepDestroy(MFGLinearStep *step);

const MFGGrid *MFGLinearStepGrid(MFGLinearStep step);
const MFGHJBSpec *MFGLinearStepSpec(MFGLinearStep step);

/* Collective. The matrix becomes J(U^level); u[owned]. */
PetscErrorCode MFGLinearStepSet(MFGLinearStep step, int level, const double *u);

/* Collective. product = J x, or J^T x; [owned] both. */
PetscErrorCode MFGLinearStepMultiply(MFGLinearStep step, PetscBool transpose, const double *x,
                                     double *product);

/* Collective. product = (J'(U^level) w)^T m: what the transposed product J^T m changes by, to first
 * order, when u[owned] changes by w[owned]. The matrix of Set stays. */
PetscErrorCode MFGLinearStepChange(MFGLinearStep step, int level, const double *u, const double *w,
                                   const double *m, double *product);

/* Collective. excess = R(v) - R(u) - J(u) (v - u) with R the residual of the step: how much the
 * convex numerical Hamiltonian at v exceeds its tangent at u, >= 0 to rounding. Sets the matrix. */
PetscErrorCode MFGLinearStepExcess(MFGLinearStep step, int level, const double *u, const double *v,
                                   double *excess);

/* Collective. J x = right, or J^T x = right, [owned] both; x is the first guess on entry. The
 * residual falls below `tolerance` times the norm of the right-hand side (both preconditioned).
 * Adds to stats; not converging is a reason there, not an error. */
PetscErrorCode MFGLinearStepSolve(MFGLinearStep step, PetscBool transpose, double tolerance,
                                  const double *right, double *x, MFGLinearStats *stats);
