/* The backward sweep of the Hamilton-Jacobi-Bellman equation: implicit Euler, monotone upwind
 * numerical Hamiltonian (Achdou & Capuzzo-Dolcetta, SIAM J. Numer. Anal. 48(3), 2010), Newton by
 * SNES.
 *
 *   (U^n - U^{n+1})/dt - nu Lap_h U^n + g(x, [D_h U^n]) = F^{n+1}        U^Nt = G
 *
 * All solvers take PETSc options with the prefix hjb_ (-hjb_snes_monitor, -hjb_ksp_type, ...). The
 * default is Newton with full steps; linear systems in 1D by elimination (-hjb_pc_type
 * tridiagonal), redundantly on every rank. In 2D and 3D each Newton step is one multigrid cycle
 * (-hjb_mat_type star -hjb_ksp_type preonly -hjb_pc_type multigrid, solvers/multigrid.h): the
 * Newton residual alone decides when a level is solved, and the coefficients of the cycle are those
 * at the last iterate. -hjb_mat_type aij is the plain set-up, BiCGStab with Jacobi to a relative
 * 1e-2.
 *
 * In 2D and 3D the levels are solved in the memory of the backend, by its operations on vectors of
 * its type; where PETSc has none there, its vectors are the host's and copied to and fro. On a
 * device a chunk of levels is copied there before and back after, in between only numbers come to
 * the host. In 1D the elimination is a recurrence over the cells, about 1 ns a cell here and, by
 * the latency of its operations, some 40 ns on a GPU: like -hjb_mat_type aij it stays on the host.
 */
#pragma once

#include <petscsnes.h>

#include "solvers/backend.h"
#include "solvers/grid.h"
#include "solvers/scheme.h"
#include "solvers/state.h"

typedef struct MFGHJB_ *MFGHJB;

/* What a sweep did. reason < 0: the step to `level` failed, with the norms before and after. */
typedef struct {
  PetscInt newton, krylov; /* totals of the sweep */
  double change;           /* max |U - U before the sweep| over the levels 0 .. Nt */
  double minimum, maximum; /* of U over all levels */
  int level;
  SNESConvergedReason reason; /* CONVERGED_ITERATING when all levels were solved */
  double norm_start, norm_end;
  char message[256]; /* for people: level, reason, norms */
} MFGHJBStats;

/* F^{level} into source[owned], level = Nt .. 1. */
typedef PetscErrorCode (*MFGSourceFunction)(void *context, int level, double *source);

/* Collective on grid->comm. Grid and backend borrowed, and the drift of the spec. */
PetscErrorCode MFGHJBCreate(const MFGGrid *grid, const MFGBackend *backend, const MFGHJBSpec *spec,
                            MFGHJB *hjb);
PetscErrorCode MFGHJBDestroy(MFGHJB *hjb);

/* Bytes it holds on a rank with so many cells: vectors, and a matrix with its pattern. */
int64_t MFGHJBBytes(int dim, int64_t owned);
/* Bytes it holds on a device for chunks of `levels`. */
int64_t MFGHJBDeviceBytes(const MFGHJBSpec *spec, int dim, int64_t owned, int levels);

/* Bytes per cell that a Newton step with its multigrid cycle cannot do without, each field moved
 * once: the level read and written, the level before and the costs read, in double; the 2 dim + 1
 * coefficients and the correction written and read, in single precision. */
int64_t MFGHJBStepBytes(int dim);

/* Not collective; before the first sweep. Where levels are solved on a device: so many at a time at
 * most, which needs less of its memory; default all, or -hjb_chunk. On the host it is one. */
void MFGHJBSetChunk(MFGHJB hjb, int levels);

int MFGHJBChunk(MFGHJB hjb);

/* Whose memory and operations it uses: what Create was given, or that of the host. */
const MFGBackend *MFGHJBBackend(MFGHJB hjb);

/* Collective on grid->world. U[steps + 1][owned]: on entry the previous outer iterate (or zeros
 * with warm = PETSC_FALSE), on exit the solution; U^Nt is set to terminal[owned]. First guess of
 * level n: the previous iterate plus the change of the level just solved; cold: extrapolated from
 * the levels just solved, up to three. A level is solved when the max norm of the residual times dt
 * is below tolerance * max(1, range of U^{n+1}), or no longer falls at the level of rounding
 * errors, eps max|U^{n+1}| (1 + 4 nu dt sum 1/h^2). A level that fails is tried once more from the
 * level just solved with a line search that backtracks, and with flexible GMRES around the cycles;
 * if that fails too, it and the levels before it keep their values, and stats say why: not a PETSc
 * error. In 1D the result of rank 0 is broadcast, so that every rank has the same bits on any
 * processor. stats are the same on all ranks. Nothing is allocated but in a second attempt and in
 * the first sweep on a device. U is the host's everywhere, like all that is given.
 */
PetscErrorCode MFGHJBSweep(MFGHJB hjb, MFGSourceFunction source, void *context,
                           const double *terminal, PetscBool warm, double tolerance, double *U,
                           MFGHJBStats *stats);

/* Not collective. Asked (NULL: not) between two chunks of a sweep, which ends there if it is told
 * to; U then has the levels solved so far, and stats mean nothing. */
void MFGHJBSetPause(MFGHJB hjb, MFGPauseFunction pause, void *context);

/* Collective on grid->comm. Adds to `state` where a sweep is between two levels. When it is filled,
 * the next sweep, with the same arguments and that U, goes on there. */
PetscErrorCode MFGHJBState(MFGHJB hjb, MFGState *state);

/* Levels of the last sweep's U and of the given drift in the memory of its backend, those of the
 * last chunk: for others on the same backend, between two sweeps; borrowed. */
const MFGLevelChunk *MFGHJBValue(MFGHJB hjb);
const MFGLevelChunk *MFGHJBGivenDrift(MFGHJB hjb);

/* F^{level + 1} of the step to a level, where it was the last one tried: [owned]; borrowed. */
double *MFGHJBSource(MFGHJB hjb);

/* Collective on grid->comm. Drift of the agents, b - H_p at central differences, of levels
 * begin .. end-1: drift[end - begin][dim][owned] in `memory`, the host's or that of the backend. U
 * that a sweep has made is to be as the sweep left it: what is still on the device is taken there.
 */
PetscErrorCode MFGHJBDrift(MFGHJB hjb, int begin, int end, const double *U,
                           const MFGMemoryOps *memory, double *drift);
