/* The star stencil, a cell and its two neighbours along each axis: fields with their ghosts, and
 * matrices with that pattern. */
#pragma once

#include <petscmat.h>

#include "solvers/backend.h"
#include "solvers/grid.h"

typedef struct MFGStarGhosts_ *MFGStarGhosts;

/* Collective on grid->comm. Room for one field with a ghost cell on each side of every used axis,
 * in the backend's memory; grid and backend are borrowed. */
PetscErrorCode MFGStarGhostsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   MFGStarGhosts *ghosts);
PetscErrorCode MFGStarGhostsDestroy(MFGStarGhosts *ghosts);

/* Collective on grid->comm. u[owned] with its ghosts: neighbours' values, wrapped on periodic axes,
 * at a wall the value of the cell beside it. Both in the backend's memory; borrowed until the next
 * Fill. */
PetscErrorCode MFGStarGhostsFill(MFGStarGhosts ghosts, const double *u, const double **ghosted);

/* Collective on grid->comm. A matrix on the grid's global vectors; options -<prefix>mat_type:
 * `star`, by default in 2D and 3D, which keeps the stencil's coefficients and has products,
 * transposed products and the diagonal, all in the backend's memory; or AIJ, by default in 1D, on
 * the host. Owned by the caller; grid and backend are borrowed.
 */
PetscErrorCode MFGStarMatrixCreate(const MFGGrid *grid, const MFGBackend *backend,
                                   const char *prefix, Mat *matrix);

/* Collective. values[2 dim + 1][owned] in the order of MFGGridOps.hjb_jacobian: diagonal, then low
 * and high neighbour per axis; across a wall 0. In the memory of the matrix. */
PetscErrorCode MFGStarMatrixSetValues(Mat matrix, const double *values);

/* What follows is for matrices of type `star`; the first two do nothing to others. */

/* The part nu / h_k^2 of the off-diagonals along axis k comes from diffusion, which coarse grids
 * scale by the square of their spacing and the rest by the spacing. nu is 0 at first. */
PetscErrorCode MFGStarMatrixSetDiffusion(Mat matrix, double nu);
PetscErrorCode MFGStarMatrixIs(Mat matrix, PetscBool *star);

/* All borrowed. */
PetscErrorCode MFGStarMatrixGetGrid(Mat matrix, const MFGGrid **grid, const double **diffusion);
PetscErrorCode MFGStarMatrixGetBackend(Mat matrix, const MFGBackend **backend);

/* The matrix scaled and in single precision, what a preconditioner takes; borrowed, in the
 * backend's memory: c after d in one array, without diffusion and widths. Its numbers are made from
 * the values at the first call after these have changed. */
PetscErrorCode MFGStarMatrixGetScaled(Mat matrix, const MFGStarLevel **scaled);

/* To write the scaled form alone: the matrix has no products until the next SetValues, and is good
 * for nothing but a preconditioner. */
PetscErrorCode MFGStarMatrixGetScaledWrite(Mat matrix, const MFGStarLevel **scaled);
