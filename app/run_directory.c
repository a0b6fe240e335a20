#include "app/run_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int MFGMakeDirectories(const char *path) {
  char part[PETSC_MAX_PATH_LEN];

  if (strlen(path) >= sizeof part) return ENAMETOOLONG;
  strcpy(part, path);
  for (char *p = part + 1; *p; p++)
    if (*p == '/') {
      *p = '\0';
      if (mkdir(part, 0777) && errno != EEXIST) return errno;
      *p = '/';
    }
  return mkdir(part, 0777) && errno != EEXIST ? errno : 0;
}

/* Returns errno; then nothing is left. */
static int PutText(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  if (!f) return errno;
  int reason = fputs(text, f) < 0 || fflush(f) || fsync(fileno(f)) ? errno : 0;
  if (fclose(f) && !reason) reason = errno;
  if (reason) unlink(path);
  return reason;
}

/* Writes a small text file whole: temporary name, then rename. Returns errno. */
static int WriteText(const char *directory, const char *name, const char *text) {
  char temporary[PETSC_MAX_PATH_LEN + 64], target[PETSC_MAX_PATH_LEN + 64];

  snprintf(temporary, sizeof temporary, "%s/.%s.part", directory, name);
  snprintf(target, sizeof target, "%s/%s", directory, name);
  const int reason = PutText(temporary, text);
  if (reason) return reason;
  return rename(temporary, target) ? errno : 0;
}

PetscErrorCode MFGRunDirectoryWrite(MPI_Comm comm, const char *directory, const char *name,
                                    const char *text) {
  PetscMPIInt rank;
  int reason = 0;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank == 0 && !(reason = MFGMakeDirectories(directory)))
    reason = WriteText(directory, name, text);
  PetscCallMPI(MPI_Bcast(&reason, 1, MPI_INT, 0, comm));
  PetscCheck(!reason, comm, PETSC_ERR_FILE_WRITE,
             "cannot write %s/%s: %s; choose another output.directory or --output, or make room",
             directory, name, strerror(reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Who holds a lock. */
typedef struct {
  char host[256], job[64]; /* job: empty outside Slurm */
  long pid;
} Holder;

static Holder Self(void) {
  const char *job = getenv("SLURM_JOB_ID");
  Holder h = {.pid = (long)getpid()};
  if (gethostname(h.host, sizeof h.host - 1)) strcpy(h.host, "unknown");
  snprintf(h.job, sizeof h.job, "%s", job ? job : "");
  return h;
}

static void HolderText(const Holder *h, size_t size, char *text) {
  snprintf(text, size, "host=%s\npid=%ld\njob=%s\n", h->host, h->pid, h->job);
}

/* False for a text that is no lock's. */
static PetscBool HolderRead(const char *text, Holder *h) {
  memset(h, 0, sizeof *h);
  if (sscanf(text, "host=%255[^\n]\npid=%ld\njob=%63[^\n]", h->host, &h->pid, h->job) < 2)
    return PETSC_FALSE;
  return PETSC_TRUE;
}

/* Ended, but not yet waited for by its parent, which in a container can take for ever. */
static PetscBool Zombie(long pid) {
  char path[64], text[512] = {0}, state = 0;
  const char *name_end;
  FILE *f;

  (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  f = fopen(path, "r");
  if (!f) return PETSC_FALSE;
  if (fread(text, 1, sizeof text - 1, f) && (name_end = strrchr(text, ')')))
    (void)sscanf(name_end + 1, " %c", &state);
  (void)fclose(f);
  return (PetscBool)(state == 'Z' || state == 'X');
}

/* A lock left behind: its process has ended, or it is this job's own from before a requeue. */
static PetscBool Abandoned(const Holder *h, const Holder *self) {
  if (self->job[0] && !strcmp(h->job, self->job)) return PETSC_TRUE;
  if (strcmp(h->host, self->host)) return PETSC_FALSE;
  return (PetscBool)((kill((pid_t)h->pid, 0) && errno == ESRCH) || Zombie(h->pid));
}

/* Writes over an abandoned lock, one process at a time. Returns errno; EBUSY with *holder filled:
 * somebody holds it. */
static int TakeOver(const char *path, const Holder *self, Holder *holder) {
  char text[512] = {0};
  int reason = 0;
  const int f = open(path, O_RDWR | O_CLOEXEC);

  if (f < 0) return errno;
  if (flock(f, LOCK_EX) || pread(f, text, sizeof text - 1, 0) < 0) reason = errno;
  if (!reason && HolderRead(text, holder) && !Abandoned(holder, self)) reason = EBUSY;
  HolderText(self, sizeof text, text);
  const ssize_t length = (ssize_t)strlen(text);
  if (!reason && (ftruncate(f, 0) || pwrite(f, text, (size_t)length, 0) != length))
    reason = errno ? errno : EIO;
  close(f);
  return reason;
}

/* The lock appears with its contents, or not at all. Returns errno, EBUSY as TakeOver. */
static int Acquire(const char *directory, const Holder *self, Holder *holder) {
  char temporary[PETSC_MAX_PATH_LEN + 64], path[PETSC_MAX_PATH_LEN + 64], text[512];
  int reason;

  snprintf(temporary, sizeof temporary, "%s/.lock.%s.%ld", directory, self->host, self->pid);
  snprintf(path, sizeof path, "%s/lock", directory);
  HolderText(self, sizeof text, text);
  reason = PutText(temporary, text);
  if (!reason && link(temporary, path)) reason = errno;
  unlink(temporary);
  return reason == EEXIST ? TakeOver(path, self, holder) : reason;
}

PetscErrorCode MFGRunDirectoryLock(MPI_Comm comm, const char *directory) {
  const Holder self = Self();
  Holder holder = {0};
  PetscMPIInt rank;
  int reason = 0;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank == 0 && !(reason = MFGMakeDirectories(directory)))
    reason = Acquire(directory, &self, &holder);
  PetscCallMPI(MPI_Bcast(&reason, 1, MPI_INT, 0, comm));
  PetscCallMPI(MPI_Bcast(&holder, sizeof holder, MPI_BYTE, 0, comm));
  PetscCheck(
      reason != EBUSY, comm, PETSC_ERR_FILE_OPEN,
      "another run holds %s: process %ld on host %s%s%s; wait for it or stop it, choose "
      "another output.directory or --output, or remove %s/lock if you know that it has ended",
      directory, holder.pid, holder.host, holder.job[0] ? ", Slurm job " : "", holder.job,
      directory);
  PetscCheck(!reason, comm, PETSC_ERR_FILE_WRITE,
             "cannot write %s/lock: %s; choose another output.directory or --output, or make room",
             directory, strerror(reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGRunDirectoryUnlock(MPI_Comm comm, const char *directory) {
  const Holder self = Self();
  char path[PETSC_MAX_PATH_LEN + 64], text[512] = {0}, own[512];
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank) PetscFunctionReturn(PETSC_SUCCESS);
  snprintf(path, sizeof path, "%s/lock", directory);
  HolderText(&self, sizeof own, own);
  FILE *f = fopen(path, "r");
  const size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
  if (f) fclose(f);
  if (n && !strcmp(text, own)) unlink(path);
  PetscFunctionReturn(PETSC_SUCCESS);
}
