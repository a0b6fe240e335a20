/* The cell-centred grid and who owns which cells. */
#pragma once

#include <petscdmda.h>

#include "solvers/stencil.h"

/* In one dimension every rank holds the whole grid (comm is PETSC_COMM_SELF): what is done on it is
 * done redundantly, with the same bits on every rank. In two and three dimensions the grid is
 * divided over all ranks (comm is world). Agents are divided over world in both cases. */
typedef struct {
  MPI_Comm world; /* borrowed; all ranks of the run */
  MPI_Comm comm;  /* borrowed; the ranks that share this grid */
  DM da;          /* owned; dof 1, star stencil of width 1, periodic or ghosted boundaries */
  MFGBlock block; /* this rank's box */
  /* All cells divided over the ranks of world: in 2D and 3D the boxes of the fields. Rank r has the
   * box r mod d0, r / d0 mod d1, r / (d0 d1) of the divisions. */
  int divisions[MFG_MAX_DIM];
  MFGBlock box;    /* this rank's; in 1D it may be empty */
  MFGBlock *boxes; /* owned; of all ranks of world */
} MFGGrid;

/* Boxes per axis with the smallest surface, each with at least one cell (in 1D: any size). False
 * where `size` boxes cannot be had. */
PetscBool MFGGridDivide(int size, int dim, const int cells[], int divisions[MFG_MAX_DIM]);

/* Not collective. The same for the cells of `whole`. Error: fewer cells than the ranks need, with
 * the largest number of ranks that works; comm is for its message. */
PetscErrorCode MFGGridDivideAmong(MPI_Comm comm, int size, const MFGBlock *whole,
                                  int divisions[MFG_MAX_DIM]);

/* The whole grid as one block. */
MFGBlock MFGGridWhole(const MFGGrid *grid);

/* Collective on world. Divides `cells` cells per axis between `lower` and `upper` over the ranks.
 * Errors: fewer than 3 cells per axis, an empty interval, an axis periodic at one end only, fewer
 * cells than one rank needs (with the largest number of ranks that works). */
PetscErrorCode MFGGridCreate(MPI_Comm world, int dim, const int cells[], const double lower[],
                             const double upper[], const MFGBoundary boundary[][2], MFGGrid *grid);
PetscErrorCode MFGGridDestroy(MFGGrid *grid);

/* Collective on comm. Owned fields of all ranks -> whole fields on all ranks, `fields` of them. */
PetscErrorCode MFGGridGather(const MFGGrid *grid, int fields, const double *owned, double *whole);

/* Not collective. Whole fields -> this rank's owned fields. */
PetscErrorCode MFGGridRestrict(const MFGGrid *grid, int fields, const double *whole, double *owned);

/* Collective on comm. Adds up the ranks' partial sums (or takes the largest), n of them in place.
 * In 1D, where comm is one rank, nothing changes: sums there have a fixed order. Of a NaN on some
 * rank the sum is NaN, the largest infinity, on all ranks. */
PetscErrorCode MFGGridSum(const MFGGrid *grid, int n, double *partial);
PetscErrorCode MFGGridMax(const MFGGrid *grid, int n, double *partial);
