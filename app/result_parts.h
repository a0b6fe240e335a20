/* The parts of a result that app/output.c puts together. */
#pragma once

#include "app/h5file.h"
#include "app/output.h"

/* The levels that go to the file, 0 and steps always among them: *count of them, owned by the
 * caller (PetscFree). */
PetscErrorCode MFGResultLevels(const MFGConfig *config, int *count, int **levels);

/* Collective on f->comm. Everything in the file but the cubes: see the layout in README. `levels`
 * and `time` are the scale /time and its levels, `axis` the scale /dim. */
PetscErrorCode MFGResultWriteSeries(MFGFile *f, const MFGResult *result, int count,
                                    const int levels[], hid_t time, hid_t axis);
PetscErrorCode MFGResultWriteConvergence(MFGFile *f, const MFGResult *result);

/* Collective on f->comm. Root attributes of any file of a run: program, libraries, input; a new
 * uuid, the time, the history, and the uuid of a result that the run started from (or NULL). */
PetscErrorCode MFGFileWriteSource(MFGFile *f, MPI_Comm world, const MFGConfig *config,
                                  const char *backend);
PetscErrorCode MFGFileWriteMoment(MFGFile *f, const char *history, const char *parent);

/* Collective on comm. "TIME: text", a line of a history, cut to size. */
PetscErrorCode MFGHistoryLine(MPI_Comm comm, const char *text, size_t size, char line[]);

/* Collective on f->comm. Root attributes: where the result comes from. What depends on the time of
 * day is only in `history`, `created` and `uuid`. */
PetscErrorCode MFGResultWriteProvenance(MFGFile *f, const MFGResult *result);

/* Not collective. The XDMF sidecar of `h5`, a file name without directory, for `count` levels. */
PetscErrorCode MFGResultWriteXDMF(const char *path, const char *h5, const MFGResult *result,
                                  int count, const int levels[]);
