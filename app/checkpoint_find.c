#include "app/checkpoint_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/digest.h"
#include "app/h5read.h"
#include "app/progress.h"
#include "app/state_file.h"

#define MAX_TEXT (4 << 20)

/* Why a file cannot be used; "": it can. The same on all ranks. */
typedef char Problem[512];

/* Rank 0: the first bytes, as they must be for their layout, size and digest. */
static void ReadBlock(const char *path, int64_t *bytes, uint64_t *digest, Problem problem) {
  char block[MFG_CHECKPOINT_BLOCK + 1] = {0}, again[MFG_CHECKPOINT_BLOCK];
  long long length = 0;
  unsigned long long sum = 0;
  struct stat about = {0};
  int layout = 0;

  /* Opening a pipe would wait for its writer. */
  const PetscBool there = (PetscBool)!stat(path, &about);
  FILE *f = there && S_ISREG(about.st_mode) ? fopen(path, "rb") : NULL;
  if (!f) {
    (void)snprintf(problem, sizeof(Problem), "cannot be read: %s",
                   there && !S_ISREG(about.st_mode) ? "no plain file" : strerror(errno));
    return;
  }
  const size_t got = fread(block, 1, MFG_CHECKPOINT_BLOCK, f);
  (void)fclose(f);
  const int fields = sscanf(block, "nashflow checkpoint\nlayout=%d\nbytes=%lld\ndigest=%llx\n",
                            &layout, &length, &sum);
  MFGCheckpointBlock(layout, (int64_t)length, (uint64_t)sum, again);
  if (about.st_size == 0)
    (void)snprintf(problem, sizeof(Problem), "is empty");
  else if (fields >= 1 && layout != MFG_CHECKPOINT_LAYOUT)
    (void)snprintf(problem, sizeof(Problem), "has layout %d, this program reads layout %d", layout,
                   MFG_CHECKPOINT_LAYOUT);
  else if (got < MFG_CHECKPOINT_BLOCK || fields != 3 || memcmp(block, again, sizeof again))
    (void)snprintf(problem, sizeof(Problem), "is no checkpoint, or its beginning is damaged");
  else if (length != (long long)about.st_size)
    (void)snprintf(problem, sizeof(Problem), "has %lld bytes of %lld", (long long)about.st_size,
                   length);
  *bytes = (int64_t)length;
  *digest = (uint64_t)sum;
}

/* Collective. Whole and undamaged, by its own digest. */
static PetscErrorCode CheckBytes(MPI_Comm comm, const char *path, MFGWatch *watch,
                                 Problem problem) {
  PetscMPIInt rank;
  int64_t bytes = 0;
  uint64_t digest = 0, found;
  int reason;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) ReadBlock(path, &bytes, &digest, problem);
  PetscCallMPI(MPI_Bcast(problem, sizeof(Problem), MPI_CHAR, 0, comm));
  PetscCallMPI(MPI_Bcast(&bytes, 1, MPI_INT64_T, 0, comm));
  PetscCallMPI(MPI_Bcast(&digest, 1, MPI_UINT64_T, 0, comm));
  if (*problem) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGFileDigest(comm, path, MFG_CHECKPOINT_BLOCK, bytes, watch, &found, &reason));
  if (reason)
    (void)snprintf(problem, sizeof(Problem), "cannot be read: %s", strerror(reason));
  else if (found != digest)
    (void)snprintf(problem, sizeof(Problem), "is damaged: its digest differs");
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective. Opens the file on every rank and reads the texts of its root. core: the input it was
 * made from, the caller's (PetscFree). */
static PetscErrorCode Open(MPI_Comm comm, MFGCheckpointSource *s, char **core, Problem problem) {
  PetscMPIInt opened;
  char version[32] = "", reason[MFG_H5_PROBLEM];

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(MAX_TEXT, core));
  PetscCall(PetscMalloc1(MAX_TEXT, &s->history));
  (*core)[0] = s->history[0] = '\0';
  s->file = MFGH5Open(s->path, reason);
  opened = s->file >= 0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &opened, 1, MPI_INT, MPI_MIN, comm));
  if (opened) {
    MFGH5Text((hid_t)s->file, "version", sizeof version, version);
    MFGH5Text((hid_t)s->file, "uuid", sizeof s->uuid, s->uuid);
    MFGH5Text((hid_t)s->file, "parent_uuid", sizeof s->parent, s->parent);
    MFGH5Text((hid_t)s->file, "history", MAX_TEXT, s->history);
    MFGH5Text((hid_t)s->file, "input_core", MAX_TEXT, *core);
  }
  if (!opened)
    (void)snprintf(problem, sizeof(Problem), "cannot be opened by HDF5");
  else if (strtol(version, NULL, 10) != strtol(MFG_VERSION, NULL, 10) || !*version)
    (void)snprintf(problem, sizeof(Problem), "was written by nashflow %s, this is " MFG_VERSION,
                   *version ? version : "of no version");
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective. Checks one file; where it can be used it is open, unless its input differs. */
static PetscErrorCode Try(MFGCheckpointSource *s, const MFGConfig *config, MFGWatch *watch,
                          Problem problem, MFGConfigErrors *errors) {
  const MPI_Comm comm = s->grid->world;
  char *core = NULL;

  PetscFunctionBeginUser;
  problem[0] = '\0';
  s->file = -1;
  PetscCall(CheckBytes(comm, s->path, watch, problem));
  if (!*problem) PetscCall(Open(comm, s, &core, problem));
  if (!*problem && strcmp(core, config->core))
    PetscCall(MFGConfigCompare(config, core, s->path, errors));
  PetscCall(PetscFree(core));
  if (*problem || errors->count) PetscCall(MFGCheckpointSourceClose(s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective. The newest of the directory that can be used. */
static PetscErrorCode FindNewest(MFGCheckpointSource *s, const MFGConfig *config, MFGWatch *watch,
                                 PetscBool *found, MFGConfigErrors *errors) {
  const MPI_Comm comm = s->grid->world;
  const char *directory = config->output.directory;
  PetscMPIInt rank;
  int count = 0, *numbers = NULL;
  Problem problem;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) PetscCall(MFGCheckpointList(directory, &count, &numbers));
  PetscCallMPI(MPI_Bcast(&count, 1, MPI_INT, 0, comm));
  for (int i = 0; i < count && !*found && !errors->count; i++) {
    int number = rank ? 0 : numbers[i];
    PetscCallMPI(MPI_Bcast(&number, 1, MPI_INT, 0, comm));
    MFGCheckpointPath(directory, number, s->path);
    PetscCall(Try(s, config, watch, problem, errors));
    *found = (PetscBool)(!*problem && !errors->count);
    if (*problem) PetscCall(MFGSay(comm, "%s %s: not used\n", s->path, problem));
  }
  PetscCall(PetscFree(numbers));
  PetscCheck(*found || errors->count || !count, comm, PETSC_ERR_FILE_READ,
             "none of the %d checkpoints in %s can be used; --restart none starts from the "
             "beginning, and --restart FILE from a copy elsewhere",
             count, directory);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointFind(const MFGGrid *grid, const MFGConfig *config, const char *restart,
                                 MFGWatch *watch, PetscBool *found, MFGCheckpointSource *s,
                                 MFGConfigErrors *errors) {
  Problem problem;

  PetscFunctionBeginUser;
  *found = PETSC_FALSE;
  memset(s, 0, sizeof *s);
  s->grid = grid;
  s->file = -1;
  if (!strcmp(restart, "none")) PetscFunctionReturn(PETSC_SUCCESS);
  if (!strcmp(restart, "auto")) {
    PetscCall(FindNewest(s, config, watch, found, errors));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscStrncpy(s->path, restart, sizeof s->path));
  PetscCall(Try(s, config, watch, problem, errors));
  PetscCheck(!*problem, grid->world, PETSC_ERR_FILE_READ,
             "--restart %s: it %s; give another checkpoint, or auto for the newest of %s", restart,
             problem, config->output.directory);
  *found = (PetscBool)!errors->count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointSourceClose(MFGCheckpointSource *s) {
  PetscFunctionBeginUser;
  if (s->file >= 0) (void)H5Fclose((hid_t)s->file);
  s->file = -1;
  PetscCall(PetscFree(s->history));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointRestore(void *context, const MFGState *state) {
  const MFGCheckpointSource *s = (const MFGCheckpointSource *)context;

  PetscFunctionBeginUser;
  PetscCall(MFGStateFileRead(s->path, (hid_t)s->file, s->grid, state));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0. */
static PetscBool ReadFinished(const MFGConfig *config, size_t size, char text[]) {
  char path[PETSC_MAX_PATH_LEN], hash[32] = "", status[32] = "", reason[64] = "", created[64] = "";
  char problem[MFG_H5_PROBLEM];

  (void)snprintf(path, sizeof path, "%s/result.h5", config->output.directory);
  const hid_t file = MFGH5Open(path, problem);
  if (file < 0) return PETSC_FALSE;
  MFGH5Text(file, "input_hash", sizeof hash, hash);
  MFGH5Text(file, "status", sizeof status, status);
  MFGH5Text(file, "stop_reason", sizeof reason, reason);
  MFGH5Text(file, "created", sizeof created, created);
  (void)H5Fclose(file);
  (void)snprintf(text, size, "%s is a finished result of this input (%s, %s)", path, reason,
                 created);
  return (PetscBool)(!strcmp(hash, config->hash) && !strcmp(status, "finished"));
}

PetscErrorCode MFGResultFinished(MPI_Comm comm, const MFGConfig *config, size_t size, char text[],
                                 PetscBool *finished) {
  PetscMPIInt rank, there = 0;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) there = ReadFinished(config, size, text);
  PetscCallMPI(MPI_Bcast(&there, 1, MPI_INT, 0, comm));
  *finished = (PetscBool)there;
  PetscFunctionReturn(PETSC_SUCCESS);
}
