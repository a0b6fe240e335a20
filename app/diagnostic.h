/* What a run leaves that diverged or whose step failed: diagnostic.h5 in the run directory, with
 * the fields as they were last and where they are not finite. */
#pragma once

#include "app/config.h"
#include "solvers/equilibrium.h"

/* Collective on grid->world. The flows of `fields` as datasets of the group /state
 * (app/state_file.h) and, as root attributes, the program and input, stop_reason, message, level
 * (of a failed step) and for each flow a text where_NAME, which is printed too. A file that cannot
 * be written is a warning.
 */
PetscErrorCode MFGDiagnosticWrite(const MFGGrid *grid, const MFGConfig *config, const char *backend,
                                  const char *history, const char *reason,
                                  const MFGOutcome *outcome, const MFGState *fields);
