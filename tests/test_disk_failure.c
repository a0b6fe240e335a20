/* A checkpoint or result whose writing fails at any call of the system, for good or once, on all
 * ranks or on one: an error on all ranks, no hang, nothing left of the new one, the one before it
 * untouched and readable; and the next one is whole. */
#define _GNU_SOURCE
#include "tests/output_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/checkpoint.h"
#include "app/exit_code.h"

/* The disk: calls that change a checkpoint or a result are counted, and fail from number `fails` on
 * (once: only that one). Libraries call these functions of the program in place of the system's. */
static struct {
  int calls, fails;
  PetscBool armed, once;
} disk;

static PetscBool Fails(const char *path) {
  if (!disk.armed || (!strstr(path, "/checkpoint_") && !strstr(path, "/result.")))
    return PETSC_FALSE;
  const int call = ++disk.calls;
  return (PetscBool)(disk.once ? call == disk.fails : call >= disk.fails);
}

static PetscBool FileFails(int file) {
  char link[64], path[PETSC_MAX_PATH_LEN];
  if (!disk.armed) return PETSC_FALSE;
  (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return PETSC_FALSE;
  path[n] = '\0';
  return Fails(path);
}

#define SYSTEM(type, name, parameters, arguments, fails)                                           \
  type name parameters;                                                                            \
  type name parameters {                                                                           \
    static type(*system) parameters;                                                               \
    if (!system) *(void **)&system = dlsym(RTLD_NEXT, #name);                                      \
    if (fails) {                                                                                   \
      errno = ENOSPC;                                                                              \
      return -1;                                                                                   \
    }                                                                                              \
    return system arguments;                                                                       \
  }

SYSTEM(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), FileFails(f))
SYSTEM(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), FileFails(f))
SYSTEM(ssize_t, pwrite64, (int f, const void *b, size_t n, off_t o), (f, b, n, o), FileFails(f))
SYSTEM(int, fsync, (int f), (f), FileFails(f))
SYSTEM(int, ftruncate, (int f, off_t n), (f, n), FileFails(f))
SYSTEM(int, ftruncate64, (int f, off_t n), (f, n), FileFails(f))
SYSTEM(int, fallocate, (int f, int m, off_t o, off_t n), (f, m, o, n), FileFails(f))
SYSTEM(int, fallocate64, (int f, int m, off_t o, off_t n), (f, m, o, n), FileFails(f))
SYSTEM(int, rename, (const char *a, const char *b), (a, b), Fails(a))

/* Errors of PETSc free little on their way up: a few hundred bytes for each file that failed. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
  return 1;
}

/* A state of every kind. */
typedef struct {
  Fixture fixture;
  MFGCheckpoints checkpoints;
  char directory[PETSC_MAX_PATH_LEN];
  int level;
  PetscBool flag;
  double ring[3];
  float *single; /* [2][owned] */
  int64_t local, *id;
  int64_t seen; /* sum of the ids that came back */
} Store;

static PetscErrorCode Get(void *context, int64_t first, int64_t count, double *record) {
  const Store *s = context;
  PetscFunctionBeginUser;
  for (int64_t i = 0; i < count; i++) {
    record[2 * i] = 0.5 * (double)s->id[first + i];
    memcpy(&record[2 * i + 1], &s->id[first + i], sizeof(double));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Put(void *context, int64_t count, const double *record, PetscBool done) {
  Store *s = context;
  PetscFunctionBeginUser;
  (void)done;
  for (int64_t i = 0; i < count; i++) {
    int64_t id;
    memcpy(&id, &record[2 * i + 1], sizeof id);
    assert_true(record[2 * i] == 0.5 * (double)id);
    s->seen += id;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

enum { AGENTS = 1000 };

static MFGState StateOf(Store *s) {
  MFGState state = {0};
  MFGStateInteger(&state, "level", s->level, 0, 100);
  MFGStateInteger(&state, "flag", s->flag, 0, 1);
  MFGStateReals(&state, "ring", 3, s->ring);
  MFGStateFlow(&state, "value", s->fixture.config.time.steps + 1, s->fixture.U);
  MFGStateAdd(&state,
              (MFGStateItem){
                  .name = "history", .kind = MFG_STATE_FLOW_SINGLE, .count = 2, .data = s->single});
  MFGStateAdd(&state, (MFGStateItem){.name = "agents",
                                     .kind = MFG_STATE_RECORDS,
                                     .count = AGENTS,
                                     .records = {2, s->local, Get, Put, s}});
  return state;
}

static void Open(int dim, Store *s) {
  PetscMPIInt rank, size;
  memset(s, 0, sizeof *s);
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  FixtureCreate(&s->fixture, dim, (int[]){23, 12, 1}, 2, 1, 2, 0);
  char name[64];
  (void)snprintf(name, sizeof name, "disk_failure_%d_%d", dim, (int)size);
  PathIn(name, s->directory);
  s->fixture.config.output.directory = s->directory;
  s->fixture.config.core = "domain:\n  lower: [0]\n";
  s->fixture.config.checkpoint.keep = 2;
  const int64_t owned = MFGBlockOwned(&s->fixture.grid.block);
  s->local = AGENTS * (rank + 1) / size - AGENTS * rank / size;
  MFG_OK(PetscMalloc2(2 * owned, &s->single, s->local + 1, &s->id));
  for (int64_t i = 0; i < s->local; i++) s->id[i] = AGENTS * rank / size + i;
  for (int64_t i = 0; i < 2 * owned; i++) s->single[i] = (float)s->fixture.M[i];
  s->level = 7;
  s->ring[1] = 0.1;
  if (!rank) MFG_OK(mkdir(s->directory, 0777) && errno != EEXIST);
  MPI_Barrier(PETSC_COMM_WORLD);
  MFG_OK(MFGCheckpointsCreate(&s->fixture.grid, &s->fixture.config, "cpu", "nashflow", NULL,
                              &s->checkpoints));
  MFG_OK(MFGCheckpointsRemove(&s->checkpoints));
  s->checkpoints.number = 0;
}

static void Close(Store *s) {
  MFG_OK(MFGCheckpointsRemove(&s->checkpoints));
  MFG_OK(MFGCheckpointsDestroy(&s->checkpoints));
  MFG_OK(PetscFree2(s->single, s->id));
  FixtureDestroy(&s->fixture);
  MPI_Barrier(PETSC_COMM_WORLD);
  (void)rmdir(s->directory);
}

/* The checkpoint found is the one of this number, and holds what was saved. */
static void AssertNewest(Store *s, int number) {
  const int64_t flow = (s->fixture.config.time.steps + 1) * MFGBlockOwned(&s->fixture.grid.block);
  MFGCheckpointSource source;
  MFGConfigErrors errors = {0};
  PetscBool found;
  char name[64];
  double *U;
  MFG_OK(MFGCheckpointFind(&s->fixture.grid, &s->fixture.config, "auto", NULL, &found, &source,
                           &errors));
  assert_true(found && !errors.count);
  (void)snprintf(name, sizeof name, "checkpoint_%06d.h5", number);
  assert_non_null(strstr(source.path, name));
  MFG_OK(PetscMalloc1(flow, &U));
  MFG_OK(PetscArraycpy(U, s->fixture.U, flow));
  MFG_OK(PetscArrayzero(s->fixture.U, flow));
  s->level = 0;
  s->ring[1] = s->seen = 0;
  const MFGState state = StateOf(s);
  MFG_OK(MFGCheckpointRestore(&source, &state));
  MFG_OK(MFGCheckpointSourceClose(&source));
  assert_memory_equal(U, s->fixture.U, (size_t)flow * sizeof *U);
  assert_true(s->level == 7 && s->ring[1] == 0.1);
  MPI_Allreduce(MPI_IN_PLACE, &s->seen, 1, MPI_INT64_T, MPI_SUM, PETSC_COMM_WORLD);
  assert_int_equal(s->seen, AGENTS * (AGENTS - 1) / 2);
  MFG_OK(PetscFree(U));
}

/* Arms the disk of rank `on`, or (-1) of all; then disarms it and counts the most calls of a rank.
 */
static void Arm(int fails, PetscBool once, int on) {
  PetscMPIInt rank;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  disk.armed = (PetscBool)(on < 0 || on == rank);
  disk.calls = 0;
  disk.fails = fails;
  disk.once = once;
}

static int Disarm(void) {
  int calls;
  disk.armed = PETSC_FALSE;
  MPI_Allreduce(&disk.calls, &calls, 1, MPI_INT, MPI_MAX, PETSC_COMM_WORLD);
  return calls;
}

static PetscBool IsThere(const char *directory, const char *name) {
  char path[PETSC_MAX_PATH_LEN + 64];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return (PetscBool)!access(path, F_OK);
}

/* What is written in the tries, and what holds after one that failed at the last. */
typedef struct {
  PetscErrorCode (*write)(void *context);
  void (*hold)(void *context);
  void *context;
} Subject;

/* Fails at the first call, the second, ... until there is no such call; the number of calls. */
static int TryEveryCall(const Subject *s, PetscBool once, int on) {
  MFGErrorRecord record;
  for (int fails = 1; fails < 500; fails++) {
    MFG_OK(MFGErrorHandlerPush(&record));
    Arm(fails, once, on);
    const PetscErrorCode verdict = s->write(s->context);
    const int calls = Disarm();
    MFG_OK(PetscPopErrorHandler());
    if (calls < fails) {
      assert_int_equal(verdict, PETSC_SUCCESS);
      return fails - 1;
    }
    if (!verdict) fail_msg("call %d of %d failed unseen", fails, calls);
    assert_int_equal(verdict, PETSC_ERR_FILE_WRITE);
    MPI_Barrier(PETSC_COMM_WORLD);
    s->hold(s->context);
    MPI_Barrier(PETSC_COMM_WORLD);
  }
  fail_msg("more than 500 calls");
  return 0;
}

/* For good on all ranks, and once on the last: in the end it is written. */
static void TryBothWays(const Subject *s, int dim) {
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const int calls = TryEveryCall(s, PETSC_FALSE, -1);
  assert_true(calls > 5);
  print_message("%dD: %d calls, of the last rank %d\n", dim, calls,
                TryEveryCall(s, PETSC_TRUE, size - 1));
}

static PetscErrorCode WriteCheckpoint(void *context) {
  Store *s = context;
  const MFGState state = StateOf(s);
  return MFGCheckpointsWrite(&s->checkpoints, &state);
}

/* The newest is that of the last success. */
static void HoldsCheckpoint(void *context) {
  Store *s = context;
  char part[64];
  (void)snprintf(part, sizeof part, "checkpoint_%06d.h5.part", s->checkpoints.number + 1);
  assert_false(IsThere(s->directory, part));
  AssertNewest(s, s->checkpoints.number);
}

static void Checkpoints(void **state) {
  (void)state;
  for (int dim = 1; dim <= 2; dim++) {
    Store s;
    Open(dim, &s);
    MFG_OK(WriteCheckpoint(&s));
    TryBothWays(&(Subject){WriteCheckpoint, HoldsCheckpoint, &s}, dim);
    assert_int_equal(s.checkpoints.number, 3);
    HoldsCheckpoint(&s);
    Close(&s);
  }
}

static PetscErrorCode WriteResult(void *context) {
  Store *s = context;
  int64_t bytes;
  s->fixture.result.stop_reason = "max_iterations";
  return MFGResultWrite(s->directory, &s->fixture.result, &bytes);
}

/* The older result, or (the failure came after its name was given away) the new one, whole. */
static void HoldsResult(void *context) {
  Store *s = context;
  MFGConfigErrors errors = {0};
  char path[PETSC_MAX_PATH_LEN + 64], *uuid;
  double *M;
  assert_false(IsThere(s->directory, "result.h5.part") || IsThere(s->directory, "result.xmf.part"));
  (void)snprintf(path, sizeof path, "%s/result.h5", s->directory);
  const int64_t flow = (s->fixture.config.time.steps + 1) * MFGBlockOwned(&s->fixture.grid.block);
  MFG_OK(PetscMalloc1(flow, &M));
  MFG_OK(MFGResultReadFlow(path, &s->fixture.grid, NULL, 1, s->fixture.config.time.steps, M, &uuid,
                           &errors));
  assert_int_equal(errors.count, 0);
  MFG_OK(PetscFree(uuid));
  MFG_OK(PetscFree(M));
}

static void RemoveResult(const Store *s) {
  const char *const names[] = {"result.h5", "result.xmf"};
  PetscMPIInt rank;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  for (int i = 0; i < 2 && !rank; i++) {
    char path[PETSC_MAX_PATH_LEN + 64];
    (void)snprintf(path, sizeof path, "%s/%s", s->directory, names[i]);
    (void)unlink(path);
  }
}

/* By one rank in 1D, by all in 2D. */
static void Results(void **state) {
  PetscMPIInt size;
  int64_t bytes;
  Store s;
  (void)state;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const int dim = size == 1 ? 1 : 2;
  Open(dim, &s);
  MFG_OK(MFGResultWrite(s.directory, &s.fixture.result, &bytes));
  TryBothWays(&(Subject){WriteResult, HoldsResult, &s}, dim);
  HoldsResult(&s);
  RemoveResult(&s);
  Close(&s);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(Checkpoints), cmocka_unit_test(Results)};
MFG_TEST_MAIN(tests)
