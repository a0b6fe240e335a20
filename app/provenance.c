#include "app/result_parts.h"
#include "app/version_git.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* A random UUID (version 4). Rank 0 draws it: attributes must have the same bytes on all ranks. */
static PetscErrorCode DrawUUID(MPI_Comm comm, char uuid[37]) {
  unsigned char b[16] = {0};
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) {
    const int fd = open("/dev/urandom", O_RDONLY);
    const ssize_t got = fd < 0 ? -1 : read(fd, b, sizeof b);
    if (fd >= 0) (void)close(fd);
    if (got != (ssize_t)sizeof b) {
      struct timespec now;
      (void)clock_gettime(CLOCK_REALTIME, &now);
      const uint64_t words[2] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec ^ (uint64_t)getpid()};
      memcpy(b, words, sizeof b);
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
  }
  PetscCallMPI(MPI_Bcast(b, sizeof b, MPI_BYTE, 0, comm));
  (void)snprintf(uuid, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                 b[13], b[14], b[15]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Now(MPI_Comm comm, char text[32]) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (!rank) {
    const time_t now = time(NULL);
    struct tm utc;
    (void)gmtime_r(&now, &utc);
    (void)strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
  }
  PetscCallMPI(MPI_Bcast(text, 32, MPI_CHAR, 0, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHistoryLine(MPI_Comm comm, const char *text, size_t size, char line[]) {
  char now[32] = "";

  PetscFunctionBeginUser;
  PetscCall(Now(comm, now));
  (void)snprintf(line, size, "%s: %s", now, text);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteLibraries(MFGFile *f) {
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING], text[64];
  unsigned major, minor, release;
  PetscMPIInt length;
  PetscInt v[3];

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Get_library_version(mpi, &length));
  mpi[strcspn(mpi, "\n")] = 0;
  for (char *c = mpi; *c; c++)
    if (*c == '\t') *c = ' ';
  PetscCall(MFGFileAttributeText(f, f->file, "mpi_version", mpi));
  PetscCall(PetscGetVersionNumber(&v[0], &v[1], &v[2], NULL));
  (void)snprintf(text, sizeof text, "%d.%d.%d", (int)v[0], (int)v[1], (int)v[2]);
  PetscCall(MFGFileAttributeText(f, f->file, "petsc_version", text));
  MFGCallHDF5(f, H5get_libversion(&major, &minor, &release));
  (void)snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
  PetscCall(MFGFileAttributeText(f, f->file, "hdf5_version", text));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileWriteMoment(MFGFile *f, const char *history, const char *parent) {
  char uuid[37], now[32] = "";

  PetscFunctionBeginUser;
  PetscCall(DrawUUID(f->comm, uuid));
  PetscCall(Now(f->comm, now));
  PetscCall(MFGFileAttributeText(f, f->file, "uuid", uuid));
  PetscCall(MFGFileAttributeText(f, f->file, "created", now));
  PetscCall(MFGFileAttributeText(f, f->file, "history", history));
  if (parent && *parent) PetscCall(MFGFileAttributeText(f, f->file, "parent_uuid", parent));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileWriteSource(MFGFile *f, MPI_Comm world, const MFGConfig *c,
                                  const char *backend) {
  const struct {
    const char *name, *text;
  } texts[] = {{"title", c->title},        {"source", "nashflow " MFG_VERSION},
               {"version", MFG_VERSION},   {"git_commit", MFG_GIT_COMMIT},
               {"compiler", MFG_COMPILER}, {"compiler_flags", MFG_C_FLAGS},
               {"backend", backend},       {"input_path", c->path},
               {"input", c->text},         {"input_hash", c->hash}};
  PetscMPIInt ranks;

  PetscFunctionBeginUser;
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(texts); i++)
    if (texts[i].text) PetscCall(MFGFileAttributeText(f, f->file, texts[i].name, texts[i].text));
  PetscCallMPI(MPI_Comm_size(world, &ranks));
  PetscCall(MFGFileAttributeInt(f, f->file, "git_dirty", MFG_GIT_DIRTY));
  PetscCall(MFGFileAttributeInt(f, f->file, "ranks", ranks));
  PetscCall(WriteLibraries(f));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultWriteProvenance(MFGFile *f, const MFGResult *result) {
  const MFGConfig *c = result->config;
  const struct {
    const char *name, *text;
  } texts[] = {{"Conventions", "CF-1.10"},
               {"layout_version", MFG_LAYOUT_VERSION},
               {"command_line", result->command_line},
               {"status", result->status},
               {"stop_reason", result->stop_reason}};

  PetscFunctionBeginUser;
  PetscCall(MFGFileWriteSource(f, result->grid->world, c, result->backend));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(texts); i++)
    if (texts[i].text) PetscCall(MFGFileAttributeText(f, f->file, texts[i].name, texts[i].text));
  const PetscBool grid = (PetscBool)(c->fokker_planck.method == MFG_FOKKER_PLANCK_GRID);
  PetscCall(MFGFileAttributeText(f, f->file, "fokker_planck", grid ? "grid" : "particles"));
  PetscCall(MFGFileAttributeInt(f, f->file, "seed", (int64_t)c->agents.seed));
  PetscCall(MFGFileAttributeInt(f, f->file, "agents", grid ? 0 : c->agents.count));
  PetscCall(MFGFileAttributeInt(f, f->file, "time_steps", c->time.steps));
  PetscCall(MFGFileAttributeInt(f, f->file, "output_every", PetscMax(c->output.every, 1)));
  PetscCall(MFGFileAttributeDouble(f, f->file, "sigma", c->dynamics.sigma));
  PetscCall(
      MFGFileAttributeText(f, f->file, "hamiltonian",
                           c->hamiltonian.type == MFG_HAMILTONIAN_POWER ? "power" : "quadratic"));
  PetscCall(MFGFileAttributeDouble(f, f->file, "control_cost", c->hamiltonian.control_cost));
  PetscCall(MFGFileAttributeDouble(
      f, f->file, "hamiltonian_exponent",
      c->hamiltonian.type == MFG_HAMILTONIAN_POWER ? c->hamiltonian.exponent : 2));
  PetscCall(MFGFileAttributeInt(f, f->file, "given_drift", c->dynamics.has_drift ? 1 : 0));
  const char *command = result->command_line ? result->command_line : "nashflow";
  char line[4400];
  PetscCall(MFGHistoryLine(f->comm, command, sizeof line, line));
  PetscCall(MFGFileWriteMoment(f, result->history ? result->history : line, result->parent_uuid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGPrintVersion(MPI_Comm comm, FILE *stream) {
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
  unsigned major, minor, release;
  PetscMPIInt length;
  PetscInt v[3];

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Get_library_version(mpi, &length));
  mpi[strcspn(mpi, "\n")] = 0;
  PetscCall(PetscGetVersionNumber(&v[0], &v[1], &v[2], NULL));
  (void)H5get_libversion(&major, &minor, &release);
  PetscCall(PetscFPrintf(comm, stream,
                         "nashflow " MFG_VERSION " (commit " MFG_GIT_COMMIT "%s)\n"
                         "%s, PETSc %d.%d.%d, HDF5 %u.%u.%u\n",
                         MFG_GIT_DIRTY ? ", changed" : "", mpi, (int)v[0], (int)v[1], (int)v[2],
                         major, minor, release));
  PetscFunctionReturn(PETSC_SUCCESS);
}
