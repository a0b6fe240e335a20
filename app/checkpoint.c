#include "app/checkpoint_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/digest.h"
#include "app/disk.h"
#include "app/result_parts.h"
#include "app/state_file.h"

void MFGCheckpointBlock(int layout, int64_t bytes, uint64_t digest,
                        char block[MFG_CHECKPOINT_BLOCK]) {
  memset(block, 0, MFG_CHECKPOINT_BLOCK);
  (void)snprintf(block, MFG_CHECKPOINT_BLOCK,
                 "nashflow checkpoint\nlayout=%d\nbytes=%lld\ndigest=%016llx\n", layout,
                 (long long)bytes, (unsigned long long)digest);
}

void MFGCheckpointPath(const char *directory, int number, char path[PETSC_MAX_PATH_LEN]) {
  (void)snprintf(path, PETSC_MAX_PATH_LEN, "%s/checkpoint_%06d.h5", directory, number);
}

/* The number in the name of a checkpoint, perhaps with .part at its end; 0: none. */
static int NumberOf(const char *name, PetscBool part) {
  char again[64];
  int number = 0;
  if (sscanf(name, "checkpoint_%d.h5", &number) != 1 || number < 1) return 0;
  (void)snprintf(again, sizeof again, "checkpoint_%06d.h5%s", number, part ? ".part" : "");
  return strcmp(name, again) ? 0 : number;
}

PetscErrorCode MFGCheckpointList(const char *directory, int *count, int **numbers) {
  DIR *d = opendir(directory);
  int room = 0;

  PetscFunctionBeginUser;
  *count = 0;
  *numbers = NULL;
  for (struct dirent *entry; d && (entry = readdir(d));) {
    const int number = NumberOf(entry->d_name, PETSC_FALSE);
    if (!number) continue;
    if (*count == room) {
      room = 2 * room + 16;
      PetscCall(PetscRealloc((size_t)room * sizeof **numbers, numbers));
    }
    (*numbers)[(*count)++] = number;
  }
  if (d) (void)closedir(d);
  for (int i = 1; i < *count; i++)
    for (int k = i; k > 0 && (*numbers)[k] > (*numbers)[k - 1]; k--) {
      const int greater = (*numbers)[k];
      (*numbers)[k] = (*numbers)[k - 1];
      (*numbers)[k - 1] = greater;
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointNewest(const char *directory, char name[32]) {
  int count, *numbers;

  PetscFunctionBeginUser;
  PetscCall(MFGCheckpointList(directory, &count, &numbers));
  name[0] = '\0';
  if (count) (void)snprintf(name, 32, "checkpoint_%06d.h5", numbers[0]);
  PetscCall(PetscFree(numbers));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Removes what a killed run has left unfinished. */
static void RemoveParts(const char *directory) {
  DIR *d = opendir(directory);
  char path[PETSC_MAX_PATH_LEN];
  for (struct dirent *entry; d && (entry = readdir(d));)
    if (NumberOf(entry->d_name, PETSC_TRUE)) {
      (void)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
      (void)unlink(path);
    }
  if (d) (void)closedir(d);
}

PetscErrorCode MFGCheckpointsCreate(const MFGGrid *grid, const MFGConfig *config,
                                    const char *backend, const char *command,
                                    const MFGCheckpointSource *from, MFGCheckpoints *c) {
  const char *earlier = from ? from->history : "";
  const char *name = from ? strrchr(from->path, '/') : NULL;
  char note[PETSC_MAX_PATH_LEN + 4400], line[PETSC_MAX_PATH_LEN + 4500];
  PetscMPIInt rank;
  int count, *numbers;

  PetscFunctionBeginUser;
  memset(c, 0, sizeof *c);
  c->grid = grid;
  c->config = config;
  c->backend = backend;
  (void)snprintf(note, sizeof note, from ? "%.4300s (from %s, %s)" : "%.4300s", command,
                 from ? from->path : "", from ? from->uuid : "");
  PetscCall(MFGHistoryLine(grid->world, note, sizeof line, line));
  const size_t length = strlen(line) + strlen(earlier) + 2;
  PetscCall(PetscMalloc1(length, &c->history));
  (void)snprintf(c->history, length, "%s%s%s", line, *earlier ? "\n" : "", earlier);
  if (from) PetscCall(PetscStrncpy(c->parent, from->parent, sizeof c->parent));
  if (from) PetscCall(PetscStrncpy(c->name, name ? name + 1 : from->path, sizeof c->name));
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  if (!rank) {
    RemoveParts(config->output.directory);
    PetscCall(MFGCheckpointList(config->output.directory, &count, &numbers));
    c->number = count ? numbers[0] : 0;
    PetscCall(PetscFree(numbers));
  }
  PetscCallMPI(MPI_Bcast(&c->number, 1, MPI_INT, 0, grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointsDestroy(MFGCheckpoints *c) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree(c->history));
  PetscFunctionReturn(PETSC_SUCCESS);
}

double MFGCheckpointBytes(const MFGGrid *grid, const MFGConfig *config, const MFGState *state) {
  return MFG_CHECKPOINT_BLOCK + 32768 + (double)strlen(config->text) +
         (double)strlen(config->core) + MFGStateFileBytes(grid, state);
}

static PetscErrorCode WriteContents(const MFGCheckpoints *c, MFGFile *f, const MFGState *state) {
  PetscFunctionBeginUser;
  PetscCall(MFGFileWriteSource(f, c->grid->world, c->config, c->backend));
  PetscCall(MFGFileAttributeText(f, f->file, "input_core", c->config->core));
  PetscCall(MFGFileWriteMoment(f, c->history, c->parent));
  PetscCall(MFGStateFileWrite(f, c->grid, state));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0: the text before the file, which makes it a checkpoint. */
static PetscErrorCode Seal(const char *path, int64_t bytes, uint64_t digest) {
  char block[MFG_CHECKPOINT_BLOCK];

  PetscFunctionBeginUser;
  MFGCheckpointBlock(MFG_CHECKPOINT_LAYOUT, bytes, digest, block);
  const int fd = open(path, O_WRONLY);
  const PetscBool written =
      (PetscBool)(fd >= 0 && pwrite(fd, block, sizeof block, 0) == (ssize_t)sizeof block);
  const int reason = errno;
  const PetscBool closed = (PetscBool)(fd >= 0 && !close(fd));
  PetscCheck(written && closed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: %s", path,
             strerror(written ? errno : reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Publish(const char *directory, const char *temporary, const char *path,
                              int64_t bytes, uint64_t digest, int64_t *written) {
  PetscFunctionBeginUser;
  PetscCall(Seal(temporary, bytes, digest));
  PetscCall(MFGDiskRename(temporary, path, written));
  PetscCall(MFGDiskSync(directory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Digest(MPI_Comm comm, const char *path, int64_t *bytes, uint64_t *digest) {
  struct stat about;
  int reason;

  PetscFunctionBeginUser;
  *bytes = stat(path, &about) ? 0 : (int64_t)about.st_size;
  PetscCallMPI(MPI_Bcast(bytes, 1, MPI_INT64_T, 0, comm));
  PetscCall(MFGFileDigest(comm, path, MFG_CHECKPOINT_BLOCK, *bytes, NULL, digest, &reason));
  PetscCheck(!reason, comm, PETSC_ERR_FILE_WRITE, "%s: cannot be read back: %s", path,
             strerror(reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective. Writes and verifies `path` under the name `temporary`. */
static PetscErrorCode WriteFile(MFGCheckpoints *c, const char *temporary, const char *path,
                                const MFGState *state) {
  const MPI_Comm comm = c->grid->world;
  const char *directory = c->config->output.directory;
  const double bytes = MFGCheckpointBytes(c->grid, c->config, state);
  PetscMPIInt rank;
  int64_t length = 0;
  uint64_t digest = 0;
  MFGFile f;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCall(MFGShareVerdict(
      comm, rank ? PETSC_SUCCESS
                 : MFGDiskReserve(directory, temporary, bytes, "checkpoint",
                                  "make room, lower checkpoint.keep, or choose another "
                                  "output.directory")));
  PetscCall(
      MFGFileCreate(comm, temporary, MFG_CHECKPOINT_BLOCK, MFGStateFileLevelBytes(c->grid), &f));
  PetscErrorCode verdict = WriteContents(c, &f, state);
  const PetscErrorCode closed = MFGFileClose(&f, (PetscBool)(verdict != PETSC_SUCCESS));
  PetscCall(verdict ? verdict : closed);
  PetscCall(MFGShareVerdict(comm, rank ? PETSC_SUCCESS : MFGDiskSync(temporary)));
  PetscCall(MFGStateFileCompare(&f, c->grid, state));
  PetscCall(Digest(comm, temporary, &length, &digest));
  PetscCall(MFGShareVerdict(
      comm, rank ? PETSC_SUCCESS : Publish(directory, temporary, path, length, digest, &c->bytes)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Prune(const char *directory, int keep) {
  char path[PETSC_MAX_PATH_LEN];
  int count, *numbers;

  PetscFunctionBeginUser;
  PetscCall(MFGCheckpointList(directory, &count, &numbers));
  for (int i = keep; i < count; i++) {
    MFGCheckpointPath(directory, numbers[i], path);
    (void)unlink(path);
  }
  PetscCall(PetscFree(numbers));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointsWrite(MFGCheckpoints *c, const MFGState *state) {
  const char *directory = c->config->output.directory;
  char path[PETSC_MAX_PATH_LEN], temporary[PETSC_MAX_PATH_LEN + 8];
  PetscLogDouble start, end;
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCall(PetscTime(&start));
  PetscCallMPI(MPI_Comm_rank(c->grid->world, &rank));
  MFGCheckpointPath(directory, c->number + 1, path);
  (void)snprintf(temporary, sizeof temporary, "%s.part", path);
  const PetscErrorCode verdict = WriteFile(c, temporary, path, state);
  if (verdict && !rank) { /* it may have its name but not be on the disk */
    (void)unlink(temporary);
    (void)unlink(path);
  }
  PetscCall(verdict);
  c->number++;
  PetscCall(PetscStrncpy(c->name, strrchr(path, '/') + 1, sizeof c->name));
  if (!rank) PetscCall(Prune(directory, c->config->checkpoint.keep));
  PetscCall(PetscTime(&end));
  c->seconds[1] = end - start;
  c->seconds[0] += c->seconds[1];
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGCheckpointsRemove(MFGCheckpoints *c) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(c->grid->world, &rank));
  if (!rank) PetscCall(Prune(c->config->output.directory, 0));
  c->name[0] = '\0';
  PetscFunctionReturn(PETSC_SUCCESS);
}
