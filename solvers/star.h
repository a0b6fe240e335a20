/* The star stencil, a cell and its two neighbours along each axis: fields with their ghosts, and
 * matrices with that pattern. */
#pragma once

#include <petscmat.h>

#include "solvers/grid.h"

typedef struct MFGStarGhosts_ *MFGStarGhosts;

/* Collective on grid->comm. Room for one field with a ghost cell on each side of every used axis;
 * the grid is borrowed. */
PetscErrorCode MFGStarGhostsCreate(const MFGGrid *grid, MFGStarGhosts *ghosts);
PetscErrorCode MFGStarGhostsDestroy(MFGStarGhosts *ghosts);

/* Collective on grid->comm. u[owned] with its ghosts: neighbours' values, wrapped on periodic axes,
 * at a wall the value of the cell beside it. Borrowed until Restore. */
PetscErrorCode MFGStarGhostsFill(MFGStarGhosts ghosts, Vec u, const double **ghosted);
PetscErrorCode MFGStarGhostsRestore(MFGStarGhosts ghosts, const double **ghosted);

/* Collective on grid->comm. A matrix on the grid's global vectors; options -<prefix>mat_type, by
 * default AIJ. Owned by the caller. */
PetscErrorCode MFGStarMatrixCreate(const MFGGrid *grid, const char *prefix, Mat *matrix);

/* Collective. values[owned][2 dim + 1] in the order of MFGGridOps.hjb_jacobian: diagonal, then low
 * and high neighbour per axis; across a wall 0. */
PetscErrorCode MFGStarMatrixSetValues(Mat matrix, const double *values);
