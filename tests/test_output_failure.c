/* A result that cannot be written: an error on all ranks, no hang, nothing left that looks like a
 * result, and an older one untouched. */
#include "tests/output_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char message[4096];

static PetscErrorCode Keep(MPI_Comm comm, int line, const char *function, const char *file,
                           PetscErrorCode code, PetscErrorType type, const char *text, void *ctx) {
  (void)comm, (void)line, (void)function, (void)file, (void)ctx;
  if (type == PETSC_ERROR_INITIAL) (void)snprintf(message, sizeof message, "%s", text);
  return code;
}

static PetscErrorCode TryWrite(const char *name, Fixture *f, char path[PETSC_MAX_PATH_LEN]) {
  int64_t bytes;
  PathIn(name, path);
  message[0] = 0;
  MFG_OK(PetscPushErrorHandler(Keep, NULL));
  const PetscErrorCode code = MFGResultWrite(path, &f->result, &bytes);
  MFG_OK(PetscPopErrorHandler());
  return code;
}

static PetscBool Exists(const char *path, const char *name) {
  char file[PETSC_MAX_PATH_LEN];
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/%s", path, name));
  return (PetscBool)!access(file, F_OK);
}

static PetscBool First(void) {
  PetscMPIInt rank;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  return (PetscBool)!rank;
}

/* The directory's name belongs to a file (root may write everywhere, so permissions do not tell).
 */
static void BadDirectory(void **state) {
  (void)state;
  char path[PETSC_MAX_PATH_LEN];
  PathIn("plain-file", path);
  if (First()) {
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
  }
  MPI_Barrier(PETSC_COMM_WORLD);
  for (int dim = 1; dim <= 2; dim++) {
    Fixture f;
    FixtureCreate(&f, dim, (int[]){20, 12}, 4, 1, 2, 0);
    assert_int_equal(TryWrite("plain-file/run", &f, path), PETSC_ERR_FILE_WRITE);
    if (First()) assert_non_null(strstr(message, "plain-file"));
    if (First()) assert_non_null(strstr(message, "Not a directory"));
    FixtureDestroy(&f);
  }
}

/* A disk that is full at `limit` bytes; ranks feel it at different calls. */
static void FullAt(rlim_t limit, int dim) {
  char path[PETSC_MAX_PATH_LEN];
  struct rlimit old, low;
  Fixture f;

  FixtureCreate(&f, dim, (int[]){200, 60}, 10, 1, 2, 0);
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &old);
  low = old;
  low.rlim_cur = limit;
  MPI_Barrier(PETSC_COMM_WORLD);
  setrlimit(RLIMIT_FSIZE, &low);
  const PetscErrorCode code = TryWrite("full", &f, path);
  setrlimit(RLIMIT_FSIZE, &old);
  MPI_Barrier(PETSC_COMM_WORLD);
  assert_int_equal(code, PETSC_ERR_FILE_WRITE);
  assert_false(Exists(path, "result.h5"));
  assert_false(Exists(path, "result.h5.part"));
  assert_false(Exists(path, "result.xmf"));
  if (First()) assert_non_null(strstr(message, "full"));
  if (First()) print_message("%s\n", message);
  FixtureDestroy(&f);
}

static void FullDisk(void **state) {
  (void)state;
  const rlim_t flows[] = {100, 3000, 100000, 700000, 1900000};
  for (int i = 0; i < 5; i++) FullAt(flows[i], 2);
  FullAt(100, 1);
  FullAt(20000, 1);
}

/* The older result is still there and whole after a failure. */
static void KeepsTheOlder(void **state) {
  (void)state;
  char path[PETSC_MAX_PATH_LEN], file[PETSC_MAX_PATH_LEN];
  struct rlimit old, low;
  struct stat before, after;
  Fixture f;

  FixtureCreate(&f, 2, (int[]){100, 60}, 5, 1, 2, 0);
  MFG_OK(TryWrite("older", &f, path));
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/result.h5", path));
  assert_int_equal(stat(file, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &old);
  low = old;
  low.rlim_cur = 50000;
  MPI_Barrier(PETSC_COMM_WORLD);
  setrlimit(RLIMIT_FSIZE, &low);
  const PetscErrorCode code = TryWrite("older", &f, path);
  setrlimit(RLIMIT_FSIZE, &old);
  MPI_Barrier(PETSC_COMM_WORLD);
  assert_int_equal(code, PETSC_ERR_FILE_WRITE);
  assert_int_equal(stat(file, &after), 0);
  assert_int_equal(before.st_size, after.st_size);
  assert_int_equal(before.st_ino, after.st_ino);
  FixtureDestroy(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(BadDirectory), cmocka_unit_test(FullDisk), cmocka_unit_test(KeepsTheOlder)};

MFG_TEST_MAIN(tests)
