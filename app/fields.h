/* The functions of the input file on the grid: formulas and HDF5 datasets. */
#pragma once

#include "app/config.h"
#include "app/watch.h"
#include "solvers/grid.h"

/* Collective on grid->world. Errors of the input (a formula with NaN, a dataset of the wrong size)
 * go to `errors` with the place in the file, the point, and the remedy; the output is then not
 * allocated. Rank 0 evaluates and broadcasts, so that all ranks get the same bits on any processor.
 * `watch`, or NULL, is asked between two levels: MFGWatchSetup. */

/* f at the cell centres of one level, or of all levels 0..steps when it depends on t:
 * *levels is 0 (no formula), 1 or steps + 1 and *values [*levels][owned], owned by the caller
 * (PetscFree). */
PetscErrorCode MFGFieldTabulate(const MFGGrid *grid, const MFGConfig *config, MFGWatch *watch,
                                const MFGFormula *formula, int *levels, double **values,
                                MFGConfigErrors *errors);

/* The same with one formula per axis, [*levels][dim][owned]: the given drift. */
PetscErrorCode MFGFieldTabulateVector(const MFGGrid *grid, const MFGConfig *config, MFGWatch *watch,
                                      const MFGFormula formula[], int *levels, double **values,
                                      MFGConfigErrors *errors);

/* m0 as a whole field, >= 0, scaled to mass 1. */
PetscErrorCode MFGFieldInitialDensity(const MFGGrid *grid, const MFGConfig *config,
                                      double **density, MFGConfigErrors *errors);

/* Collective on comm; needs no grid object. Evaluates every formula and reads every dataset of the
 * input on rank 0 and adds what is wrong to `errors`: what --validate has to see. */
PetscErrorCode MFGFieldCheck(MPI_Comm comm, const MFGConfig *config, MFGConfigErrors *errors);
