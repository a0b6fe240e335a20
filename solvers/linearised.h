/* One linearised HJB sweep and one linearised Fokker-Planck sweep of the grid, about the value U of
 * the iterate M and a density P:
 *
 *   backward  J(U^n) dU^n = dU^{n+1}/dt + F'(M^{n+1}) dM^{n+1}       dU^Nt = G'(M^Nt) dM^Nt
 *   forward   J(U^n)^T dP^{n+1} = dP^n/dt - (J'(U^n) dU^n)^T P^{n+1}      dP^0 = 0
 *
 * With P = Phi(M) this is the derivative of the map. With P = M it belongs to Newton's method for
 * both equations together, of whose step the value is eliminated: dM - dP[dM] = Phi(M) - M. */
#pragma once

#include "solvers/coupling.h"
#include "solvers/linear_step.h"
#include "solvers/state.h"

typedef struct MFGLinearised_ *MFGLinearised;

/* Collective on grid->comm. `step` is borrowed, and used by Apply; the costs' arrays are borrowed.
 */
PetscErrorCode MFGLinearisedCreate(MFGLinearStep step, const MFGCost *running,
                                   const MFGCost *terminal, MFGLinearised *linearised);
/* Bytes it holds on a device for chunks of `levels`, beside the step. */
int64_t MFGLinearisedDeviceBytes(int64_t owned, int levels);
PetscErrorCode MFGLinearisedDestroy(MFGLinearised *linearised);

/* Not collective. Where the derivative is taken; all on the host, borrowed and unchanged until the
 * next call: M and P of levels 1 .. steps, U of levels 0 .. steps, which becomes the flow of the
 * step. */
void MFGLinearisedSet(MFGLinearised linearised, const double *M, const double *U, const double *P);

/* Not collective. Asked (NULL: not) after every chunk of levels of Apply, which ends there if it is
 * told to: dP then means nothing. */
void MFGLinearisedSetPause(MFGLinearised linearised, MFGPauseFunction pause, void *context);

/* Collective on grid->comm. dM and dP of levels 1 .. steps, [steps][owned], on the host; linear
 * solves to a relative residual of `tolerance`, in the memory of the step's backend. Adds to stats;
 * a solve that fails is a reason there. */
PetscErrorCode MFGLinearisedApply(MFGLinearised linearised, double tolerance, const double *dM,
                                  double *dP, MFGLinearStats *stats);
