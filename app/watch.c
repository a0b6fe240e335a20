#include "app/watch.h"

#include <signal.h>
#include <unistd.h>

/* The ranks ask each other when the pieces since have taken so long. */
#define ASK_SECONDS 0.25
/* A checkpoint that has not been measured. */
#define SAVE_SECONDS 2

/* A handler can reach nothing else. */
static volatile sig_atomic_t stopSignal, saveSignals;

static void Note(int number) {
  if (number == SIGUSR2)
    saveSignals++;
  else
    stopSignal = number;
}

static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM};
#define SIGNALS (sizeof signals / sizeof *signals)

static sigset_t SignalSet(void) {
  sigset_t set;
  (void)sigemptyset(&set);
  for (size_t i = 0; i < SIGNALS; i++) (void)sigaddset(&set, signals[i]);
  return set;
}

void MFGSignalsHold(void) {
  const sigset_t set = SignalSet();
  (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

void MFGSignalsNote(void) {
  const struct sigaction action = {.sa_handler = Note, .sa_flags = SA_RESTART};
  const sigset_t set = SignalSet();
  for (size_t i = 0; i < SIGNALS; i++) (void)sigaction(signals[i], &action, NULL);
  (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

PetscErrorCode MFGWatchCreate(MPI_Comm comm, const MFGConfig *config, double started,
                              double walltime, MFGWatch *w) {
  PetscFunctionBeginUser;
  *w = (MFGWatch){.comm = comm,
                  .every_iterations = config->checkpoint.every_iterations,
                  .every_seconds = config->checkpoint.every_seconds,
                  .limit = walltime > 0 ? started + walltime : 0,
                  .save_seconds = SAVE_SECONDS,
                  .counted = -1,
                  .saved_work = -1};
  PetscCall(PetscSNPrintf(w->stop_file, sizeof w->stop_file, "%s/stop", config->output.directory));
  w->file_before = (PetscBool)!access(w->stop_file, F_OK);
  PetscCall(MFGWatchStart(w));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGWatchStart(MFGWatch *w) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  w->last = w->asked = w->saved = now;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the ranks tell each other: the largest of each counts. */
typedef struct {
  double signal, save_signal, file, time, overdue, mean[MFG_PIECES];
} Word;

/* What this rank has to say. Rank 0 alone looks at the clock and for the file. */
static PetscErrorCode Speak(MFGWatch *w, double now, Word *word) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(w->comm, &rank));
  *word = (Word){.signal = stopSignal, .save_signal = saveSignals > w->save_asks};
  for (int k = 0; k < MFG_PIECES; k++)
    if (w->calls[k]) word->mean[k] = PetscMax(w->spent[k] / w->calls[k], 1e-7);
  if (rank) PetscFunctionReturn(PETSC_SUCCESS);
  /* By the next time there may pass as long as there ever did. */
  const double needed = 2 * w->longest + 1.5 * w->save_seconds + ASK_SECONDS;
  word->file = !access(w->stop_file, F_OK);
  word->time = w->limit > 0 && now + needed >= w->limit;
  word->overdue = now - w->saved >= w->every_seconds;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Why the run stops, if it does. */
static void Judge(MFGWatch *w, const Word *word) {
  const char *name = word->signal == SIGTERM ? "SIGTERM" : "SIGUSR1";
  w->by_file = (PetscBool)(word->file > 0);
  if (word->signal > 0)
    (void)snprintf(w->cause, sizeof w->cause, "%s", name);
  else if (word->file > 0)
    (void)snprintf(w->cause, sizeof w->cause, "the file 'stop' in the run directory");
  else if (word->time > 0)
    (void)snprintf(w->cause, sizeof w->cause, "the end of --max-walltime");
}

PetscErrorCode MFGWatchSetup(void *context) {
  MFGWatch *w = (MFGWatch *)context;
  PetscMPIInt rank;
  PetscLogDouble now;
  Word word = {.signal = stopSignal};

  PetscFunctionBeginUser;
  if (!w || w->working) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscTime(&now));
  PetscCallMPI(MPI_Comm_rank(w->comm, &rank));
  word.file = !rank && !w->file_before && !access(w->stop_file, F_OK);
  word.time = !rank && w->limit > 0 && now >= w->limit;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &word, sizeof word / sizeof(double), MPI_DOUBLE, MPI_MAX,
                             w->comm));
  Judge(w, &word);
  PetscCheck(!*w->cause, w->comm, PETSC_ERR_SIG,
             "stopped by %s before the first iteration; the same command line begins again",
             w->cause);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGWatchDecide(MFGWatch *w, MFGPiece piece, int64_t work, PetscBool *save,
                              PetscBool *stop) {
  PetscLogDouble now;
  Word word;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  w->working = PETSC_TRUE;
  w->spent[piece] += now - w->last;
  w->calls[piece]++;
  w->last = now;
  w->due += w->mean[piece];
  if (w->counted < 0) w->counted = work - 1;
  const PetscBool counted =
      (PetscBool)(piece == MFG_PIECE_MAP && work - w->counted >= w->every_iterations);
  *save = counted;
  *stop = PETSC_FALSE;
  if (w->mean[piece] > 0 && w->due < ASK_SECONDS && !counted) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(Speak(w, now, &word));
  w->longest = PetscMax(w->longest, now - w->asked);
  w->asked = now;
  w->due = 0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &word, sizeof word / sizeof(double), MPI_DOUBLE, MPI_MAX,
                             w->comm));
  for (int k = 0; k < MFG_PIECES; k++) {
    if (word.mean[k] > 0) w->mean[k] = word.mean[k];
    w->spent[k] = w->calls[k] = 0;
  }
  Judge(w, &word);
  *stop = (PetscBool)(*w->cause != '\0');
  *save = (PetscBool)(counted || *stop || word.save_signal > 0 || word.overdue > 0);
  /* Within a step of Newton's method nothing new can be saved. */
  if (piece == MFG_PIECE_PRODUCT && work == w->saved_work) *save = PETSC_FALSE;
  if (*save) w->counted = w->saving = work;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGWatchSaved(MFGWatch *w, PetscBool good, double seconds) {
  PetscLogDouble now;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&now));
  w->save_asks = saveSignals;
  if (good) w->saved_work = w->saving;
  if (good) w->save_seconds = seconds;
  w->last = w->asked = w->saved = now;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGWatchObeyed(MFGWatch *w) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(w->comm, &rank));
  if (!rank && w->by_file) (void)unlink(w->stop_file);
  PetscFunctionReturn(PETSC_SUCCESS);
}
