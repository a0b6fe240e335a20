/* Where the values of one function come from: a formula or an HDF5 dataset. Rank 0 only; inside
 * app/fields only. */
#pragma once

#include "app/config.h"
#include "app/expression.h"

typedef struct MFGDataset_ *MFGDataset;

/* Not collective. Opens {file, dataset} read-only and checks that its shape is that of the grid,
 * (ny, nx) or (nx), with a time axis of steps + 1 before it where `time_allowed`. Errors of the
 * input go to `errors`; *dataset is then NULL. */
PetscErrorCode MFGDatasetOpen(const MFGConfig *config, const MFGFormula *formula,
                              PetscBool time_allowed, MFGDataset *dataset, MFGConfigErrors *errors);
PetscErrorCode MFGDatasetClose(MFGDataset *dataset);
/* 1, or steps + 1 */
int MFGDatasetLevels(MFGDataset dataset);
/* Reads one level, x fastest. *good is false when HDF5 cannot read it; then the error is added. */
PetscErrorCode MFGDatasetRead(MFGDataset dataset, int level, double *values, PetscBool *good,
                              MFGConfigErrors *errors);
