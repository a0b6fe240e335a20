/* Checkpoints of a run: files checkpoint_NNNNNN.h5 in its directory, from which the run goes on to
 * the bit. A file is there whole, verified and on the disk, or it is not there.
 *
 * It is an HDF5 file behind 512 bytes of text: layout, size and a digest of all that follows, so
 * that damage is seen before HDF5 reads a byte of it. Root attributes say where it comes from; the
 * state is that of app/state_file.h. */
#pragma once

#include "app/config.h"
#include "app/watch.h"
#include "solvers/grid.h"
#include "solvers/state.h"

/* The first bytes of a checkpoint. */
#define MFG_CHECKPOINT_BLOCK 512
/* Readers refuse another one. */
#define MFG_CHECKPOINT_LAYOUT 1

/* Where a run's checkpoints go. */
typedef struct {
  const MFGGrid *grid;     /* borrowed, as the next two */
  const MFGConfig *config; /* its output.directory, which is there, and checkpoint.keep */
  const char *backend;
  char *history;     /* owned; of all parts of the run, newest first */
  char parent[64];   /* uuid of the result the run started from, or "" */
  int number;        /* of the newest file there; 0: none */
  char name[32];     /* of the newest that this run has written or started from; "": none */
  int64_t bytes;     /* written */
  double seconds[2]; /* spent in all, and on the last one */
} MFGCheckpoints;

/* A checkpoint that a run goes on from. */
typedef struct {
  const MFGGrid *grid; /* borrowed */
  char path[PETSC_MAX_PATH_LEN];
  int64_t file; /* of HDF5, on every rank; to be closed */
  char uuid[64], parent[64];
  char *history; /* owned */
} MFGCheckpointSource;

/* Collective. The number of the newest checkpoint in the directory, parts of unfinished ones
 * removed. `command` goes to the history. `from`: what the run goes on from, or NULL. */
PetscErrorCode MFGCheckpointsCreate(const MFGGrid *grid, const MFGConfig *config,
                                    const char *backend, const char *command,
                                    const MFGCheckpointSource *from, MFGCheckpoints *checkpoints);
PetscErrorCode MFGCheckpointsDestroy(MFGCheckpoints *checkpoints);

/* Collective. Writes the next one: room is looked for, the file is written under another name, read
 * back and compared with the memory, given its digest, synchronised and renamed; then the oldest
 * ones beyond `keep` go. Error: PETSC_ERR_FILE_WRITE; nothing is left of the new one, and those
 * before it are as they were. */
PetscErrorCode MFGCheckpointsWrite(MFGCheckpoints *checkpoints, const MFGState *state);

/* Collective. All of them go, since the run has its result. */
PetscErrorCode MFGCheckpointsRemove(MFGCheckpoints *checkpoints);

/* Rank 0. The name of the newest checkpoint in a directory, "": none. */
PetscErrorCode MFGCheckpointNewest(const char *directory, char name[32]);

/* Bytes of a checkpoint of this state. */
double MFGCheckpointBytes(const MFGGrid *grid, const MFGConfig *config, const MFGState *state);

/* Collective. What `restart` (none, auto or the path of a file) says for this input: *found with
 * *source open, or a new run. auto: the newest checkpoint in the directory that is whole and of
 * this layout and program; why a newer one is not is printed. One of another input is an error in
 * `errors`, a line for each key that differs. Errors: PETSC_ERR_FILE_READ when the file given, or
 * all in the directory, cannot be used. Nothing is changed. `watch`, or NULL, is asked on the way:
 * MFGWatchSetup. */
PetscErrorCode MFGCheckpointFind(const MFGGrid *grid, const MFGConfig *config, const char *restart,
                                 MFGWatch *watch, PetscBool *found, MFGCheckpointSource *source,
                                 MFGConfigErrors *errors);
PetscErrorCode MFGCheckpointSourceClose(MFGCheckpointSource *source);

/* An MFGRestoreFunction; context is the MFGCheckpointSource. */
PetscErrorCode MFGCheckpointRestore(void *source, const MFGState *state);

/* Collective. True when the directory has a finished result of this input: then its time and stop
 * reason are in text. */
PetscErrorCode MFGResultFinished(MPI_Comm comm, const MFGConfig *config, size_t size, char text[],
                                 PetscBool *finished);
