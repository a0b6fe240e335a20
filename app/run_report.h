/* What is said of a run before and after it. All collective on comm. */
#pragma once

#include "app/problem.h"
#include "app/progress.h"

/* What the run is about to do, in a few lines. */
PetscErrorCode MFGReportStart(MPI_Comm comm, const MFGProblem *problem);

/* The dry run: layout, bytes sent, memory, disk. */
PetscErrorCode MFGReportDryRun(MPI_Comm comm, const MFGProblem *problem);

/* Memory and traffic, and what a user should know beyond the outcome. */
PetscErrorCode MFGReportEnd(MPI_Comm comm, const MFGProblem *problem, const MFGOutcome *outcome,
                            const MFGProgress *progress);
