/* Geometric multigrid for matrices of the star stencil (solvers/star.h): M-matrices of diffusion
 * and upwind advection on cell-centred grids, of which no coarse one is ever assembled.
 *
 * Smoothing by pairs of damped Jacobi sweeps; restriction by averages over groups of cells, linear
 * interpolation per axis; groups are pairs, the last cell of a box with an odd count stays alone.
 * Only axes coupled by diffusion at least half as strongly as the strongest are coarsened, so that
 * cells become alike. Coarse off-diagonals: diffusion by the distances of the coarse centres, the
 * rest averaged over the faces of the group and divided by its width; row sums averaged. Boxes of
 * the ranks are coarsened on their own while they have two cells per axis and the level has more
 * than 2048; smaller levels are gathered, whole on every rank, and at most 32 cells are solved
 * directly. All in single precision: it is a preconditioner.
 *
 * Everything lies in the memory of the matrix's backend, and a cycle is work of the backend alone:
 * on a device nothing is copied to the host, nothing waits, and from the second cycle on it is one
 * launch of a recording, where the ranks' carrier can be recorded. There a level takes six kernels,
 * those of at most 4096 cells one together (64^2: 1, 256^2: 13, 512^2: 19 on one rank), and the
 * exchange of ghosts its own where a level is divided. The bits are those of the CPU.
 */
#pragma once

#include <petscksp.h>

/* Registers the preconditioner `multigrid` (-pc_type multigrid): one V-cycle, and, transposed, one
 * with the transposed coefficients of every level. May be called repeatedly. For matrices of type
 * `star`, whose diffusion must have been set before the first use. Options:
 *   -pc_multigrid_pairs 1              pairs of sweeps before and after the coarse correction
 *   -pc_multigrid_weights <w1>,<w2>    damping of the sweeps of a pair */
PetscErrorCode MFGMultigridRegister(void);

/* Flexible GMRES with this preconditioner, for a linear system alone, transposed or not. Options of
 * the command line come later: call KSPSetFromOptions after it. */
PetscErrorCode MFGMultigridDefaults(KSP ksp);
