/* When a run writes a checkpoint and when it stops early: by count, by time, on a signal, for a
 * file `stop` in its directory, before the time it was given is over. */
#pragma once

#include "app/config.h"

/* SIGUSR1, SIGTERM and SIGUSR2 wait, while the libraries start, which have handlers of their own.
 */
void MFGSignalsHold(void);
/* From here on they are noted, to be asked for by the watch. */
void MFGSignalsNote(void);

typedef struct {
  MPI_Comm comm; /* borrowed */
  char stop_file[PETSC_MAX_PATH_LEN];
  int every_iterations;
  double every_seconds;
  double limit;  /* wall-clock time when all must be over; 0: none */
  int save_asks; /* of SIGUSR2, answered so far */
  /* When something was asked or saved last; what is asked for is known to all ranks. */
  double last, asked, saved, longest, save_seconds;
  /* Work when the count began, of what is being saved, and of what was saved last. */
  int64_t counted, saving, saved_work;
  double mean[MFG_PIECES];  /* seconds of a piece on the slowest rank; 0: not known */
  double spent[MFG_PIECES]; /* since the ranks asked each other, on this one */
  int calls[MFG_PIECES];
  double due;                     /* seconds that the pieces since then have taken, as expected */
  PetscBool working;              /* a piece has been done */
  PetscBool by_file, file_before; /* rank 0: the file stop was there at the start */
  char cause[100];                /* of a stop, for people; "": none */
} MFGWatch;

/* Collective. `walltime` in seconds from `started` (wall clock); 0: none. */
PetscErrorCode MFGWatchCreate(MPI_Comm comm, const MFGConfig *config, double started,
                              double walltime, MFGWatch *watch);

/* Collective; an MFGGoOnFunction, context an MFGWatch or NULL. Asked between the pieces of what is
 * done before the first piece of the work, when there is nothing to save. Error: PETSC_ERR_SIG, the
 * run shall stop: by a signal, a file `stop` that was not there at the start, the end of the wall
 * time. */
PetscErrorCode MFGWatchSetup(void *watch);

/* Not collective. The work begins: from now on its pieces are measured. */
PetscErrorCode MFGWatchStart(MFGWatch *watch);

/* Collective. An MFGDecideFunction but for its context. The ranks ask each other about every
 * quarter of a second, as the pieces took so far. */
PetscErrorCode MFGWatchDecide(MFGWatch *watch, MFGPiece piece, int64_t work, PetscBool *save,
                              PetscBool *stop);

/* Not collective. What was asked for has been saved, in so many seconds, or could not be (good:
 * false): that is tried again when the next one is due. */
PetscErrorCode MFGWatchSaved(MFGWatch *watch, PetscBool good, double seconds);

/* Not collective. Rank 0: a stop that the file asked for is obeyed, so that the file goes. */
PetscErrorCode MFGWatchObeyed(MFGWatch *watch);
