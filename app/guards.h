/* What a run will need, held against what there is, before it starts. Collective on the grid's
 * world. */
#pragma once

#include "app/problem.h"

/* Memory that all ranks of a host will still take at their peak against what is free there, by the
 * system and by a limit of the job. Error: PETSC_ERR_ARG_OUTOFRANGE (resources) with both figures
 * and the host. */
PetscErrorCode MFGGuardMemory(const MFGProblem *problem);

/* The result and one checkpoint more than are kept, less the checkpoints that are there, against
 * what is free in the run directory, which is there. Error: PETSC_ERR_FILE_WRITE with both figures.
 */
PetscErrorCode MFGGuardDisk(const MFGProblem *problem);

/* Not collective. Bytes of memory that this process could still get on its host. */
double MFGHostMemoryFree(void);
