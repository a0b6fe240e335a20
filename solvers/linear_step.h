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

/* Collective on grid->comm. Grid and backend borrowed, and the drift of the spec. In 2D and 3D all
 * is done in the memory of the backend, by its operations on vectors of its type; the elimination
 * of 1D and assembled matrices (-fp_mat_type aij) are the host's, as solvers/hjb.h says. */
PetscErrorCode MFGLinearStepCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const MFGHJBSpec *spec, MFGLinearStep *step);
/* Bytes of a step on `owned` cells: coefficients, the levels of the cycle, vectors of the solver.
 */
int64_t MFGLinearStepBytes(int dim, int64_t owned);

/* Bytes it holds on a device for chunks of `levels`, none of them shared. */
int64_t MFGLinearStepDeviceBytes(const MFGHJBSpec *spec, int dim, int64_t owned, int levels);

PetscErrorCode MFGLinearStepDestroy(MFGLinearStep *step);

const MFGGrid *MFGLinearStepGrid(MFGLinearStep step);
const MFGHJBSpec *MFGLinearStepSpec(MFGLinearStep step);
/* Whose memory and operations it uses: what Create was given, or that of the host. */
const MFGBackend *MFGLinearStepBackend(MFGLinearStep step);

/* Not collective. Steps that whoever sweeps does with one Load at most: on a device all of them by
 * default, or so many; on the host one. */
void MFGLinearStepSetChunk(MFGLinearStep step, int levels);
int MFGLinearStepChunk(MFGLinearStep step);

/* Not collective. Levels of the value and of the given drift that others have in the memory of the
 * backend and that need not be copied there again where they are current; borrowed. */
void MFGLinearStepShare(MFGLinearStep step, const MFGLevelChunk *value, const MFGLevelChunk *drift);

/* Not collective. U[steps + 1][owned] on the host, borrowed, unchanged until the next SetFlow. */
void MFGLinearStepSetFlow(MFGLinearStep step, const double *U);

/* Not collective. U^n and the given drift of the levels begin .. end-1 come into the memory of the
 * backend, where they are not there. What follows is about one of these levels; its arrays, [owned]
 * all, are in that memory, and only numbers come to the host. */
PetscErrorCode MFGLinearStepLoad(MFGLinearStep step, int begin, int end);

/* Collective. The matrix becomes J(U^level). */
PetscErrorCode MFGLinearStepSet(MFGLinearStep step, int level);

/* Collective. product = J x, or J^T x. */
PetscErrorCode MFGLinearStepMultiply(MFGLinearStep step, PetscBool transpose, const double *x,
                                     double *product);

/* Collective. product = (J'(U^level) w)^T m: what the transposed product J^T m changes by, to first
 * order, when U^level changes by w. The matrix of Set stays. */
PetscErrorCode MFGLinearStepChange(MFGLinearStep step, int level, const double *w, const double *m,
                                   double *product);

/* Collective. excess = R(v) - R(u) - J(u) (v - u) with u = U^level and R the residual of the step:
 * how much the convex numerical Hamiltonian at v exceeds its tangent at u, >= 0 to rounding. Sets
 * the matrix. */
PetscErrorCode MFGLinearStepExcess(MFGLinearStep step, int level, const double *v, double *excess);

/* Collective. J x = right, or J^T x = right; x is the first guess on entry. The residual falls
 * below `tolerance` times the norm of the right-hand side (both preconditioned). Adds to stats; not
 * converging is a reason there, not an error. */
PetscErrorCode MFGLinearStepSolve(MFGLinearStep step, PetscBool transpose, double tolerance,
                                  const double *right, double *x, MFGLinearStats *stats);
