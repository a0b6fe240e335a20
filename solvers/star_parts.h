/* What the files of solvers/star.h share. */
#pragma once

#include "solvers/star.h"

/* Collective on grid->comm. Fills the ghosts of fields[fields][ghosted] that other boxes have, in
 * the backend's memory. */
PetscErrorCode MFGStarGhostsExchange(MFGStarGhosts ghosts, int fields, double *ghosted);
