/* A solver's state (solvers/state.h) as the group /state of an HDF5 file. Single numbers are its
 * attributes, all else are datasets of plain bytes, without chunks or filters: arrays [count],
 * flows (level, [z,] [y,] x) of the whole grid, records as an array [count][words - 1] and the
 * array NAME_id[count] of their last words, in any order. Any number of ranks can read it. */
#pragma once

#include "app/h5file.h"
#include "solvers/grid.h"
#include "solvers/state.h"

/* Bytes that a state takes in a file, about. */
double MFGStateFileBytes(const MFGGrid *grid, const MFGState *state);

/* Bytes of a level of a flow, at most: what MFGFileCreate asks for. */
int64_t MFGStateFileLevelBytes(const MFGGrid *grid);

/* Collective on f->comm, which is grid->world. */
PetscErrorCode MFGStateFileWrite(MFGFile *f, const MFGGrid *grid, const MFGState *state);

/* Collective on f->comm; f is closed. Reads what was written and compares it with the memory. On a
 * full disk H5Fclose reports success: only reading tells. Error: PETSC_ERR_FILE_WRITE. */
PetscErrorCode MFGStateFileCompare(MFGFile *f, const MFGGrid *grid, const MFGState *state);

/* Collective on grid->world. Fills the items from the open file; what their names stand for there
 * must be of their kind, shape and range, in the file itself and unfiltered. Error:
 * PETSC_ERR_FILE_READ with `path` and what is wrong. */
PetscErrorCode MFGStateFileRead(const char *path, hid_t file, const MFGGrid *grid,
                                const MFGState *state);
