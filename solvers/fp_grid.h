/* The Fokker-Planck equation on the grid: the exact adjoint of the HJB step.
 *
 *   J(U^n)^T M^{n+1} = M^n / dt,     J(U^n) = I/dt + A'(U^n), the Jacobian of the HJB residual
 *
 * The rows of J sum to 1/dt and J is an M-matrix, so sum(M) is kept and M >= 0 for any dt, to the
 * error of the solves. Discrete duality: dt <J w, M^{n+1}> = <w, M^n> for every w. */
#pragma once

#include "solvers/kde.h"
#include "solvers/linear_step.h"
#include "solvers/state.h"

/* What a sweep did. reason < 0: the step to `level` failed. */
typedef struct {
  PetscInt krylov;
  double defect; /* largest |1 - factor| that brought a level back to its exact mass */
  int level;
  KSPConvergedReason reason;
  char message[256]; /* for people: level, reason */
} MFGFokkerPlanckStats;

/* Collective on grid->world. U[steps + 1][owned]; M[steps + 1][owned], both on the host: M^0 is
 * given, the other levels are on entry the previous outer iterate (or anything with warm =
 * PETSC_FALSE), on exit the solution, each level scaled to the mass of M^0. First guess of level n
 * + 1: the previous iterate plus the change of the level just solved; cold: the level just solved.
 * With Krylov solves, to a relative residual of `tolerance`, the defect of the mass before the
 * scaling is dt times the sum of the residual. A level that fails leaves it and those after it, and
 * stats say why: not a PETSc error. On a device levels are copied there by chunks
 * (solvers/linear_step.h), and only numbers come to the host within one. In 1D the result of rank 0
 * is broadcast: the same bits on every rank. */
PetscErrorCode MFGFokkerPlanckSweep(MFGLinearStep step, const double *U, PetscBool warm,
                                    double tolerance, double *M, MFGFokkerPlanckStats *stats);

/* A sweep that can be stopped between two chunks of levels, on the host single ones, and gone on
 * with, also on another backend. Zero before the first. */
typedef struct {
  MFGPauseFunction pause; /* or NULL; when it stops the sweep, M has the levels so far and stats
                             mean nothing */
  void *context;
  int solved; /* levels of the sweep under way; 0: none is */
  MFGFokkerPlanckStats stats;
  double *change;     /* owned; [owned], of the level solved last, on the host */
  MFGLevelChunk flow; /* owned, in the memory of the step's backend as the next one: levels of M */
  double *shift;      /* `change` there; on the host it is that */
  double *work;       /* owned; [2][owned]: a right-hand side and its solution */
} MFGFokkerPlanckPosition;

/* Bytes that a position holds on a device for chunks of `levels`. */
int64_t MFGFokkerPlanckDeviceBytes(int64_t owned, int levels);

/* As MFGFokkerPlanckSweep, asking and going on as `position` says. */
PetscErrorCode MFGFokkerPlanckSweepFrom(MFGLinearStep step, MFGFokkerPlanckPosition *position,
                                        const double *U, PetscBool warm, double tolerance,
                                        double *M, MFGFokkerPlanckStats *stats);

/* Not collective. Adds to `state` where the sweep is between two levels. */
PetscErrorCode MFGFokkerPlanckState(MFGLinearStep step, MFGFokkerPlanckPosition *position,
                                    MFGState *state);
PetscErrorCode MFGFokkerPlanckPositionDestroy(MFGFokkerPlanckPosition *position);

/* Collective on grid->comm. Mean and variance per axis of a density of mass 1, by sums over the
 * cells; the variance is about the mean. On a periodic axis the smallest variance over where the
 * circle is cut, and the mean of that cut. */
PetscErrorCode MFGFieldStatistics(const MFGGrid *grid, const double *m,
                                  MFGSampleStatistics *statistics);
