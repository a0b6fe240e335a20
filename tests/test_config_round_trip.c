/* Every shipped input is valid on its grid, and its effective text read again gives the same text,
 * the same hash and the same bits. */
#include "tests/mfg_test.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/fields.h"

static const char *directory;
static char scratch[100];

static PetscErrorCode Read(const char *path, int n, const char *const sets[], MFGConfig **config) {
  MFGConfigErrors errors;

  PetscFunctionBeginUser;
  PetscCall(MFGConfigRead(PETSC_COMM_WORLD, path, n, sets, config, &errors));
  if (*config) PetscCall(MFGFieldCheck(PETSC_COMM_WORLD, *config, &errors));
  if (errors.count) print_error("%s", errors.text);
  assert_int_equal(errors.count, 0);
  PetscCall(MFGConfigErrorsDestroy(&errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0 writes the text to the scratch file, for all. */
static PetscErrorCode WriteText(const char *text) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(PETSC_COMM_WORLD, &rank));
  PetscCallMPI(MPI_Barrier(PETSC_COMM_WORLD));
  if (!rank) {
    FILE *file = fopen(scratch, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
  }
  PetscCallMPI(MPI_Barrier(PETSC_COMM_WORLD));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckRoundTrip(const char *path, int n, const char *const sets[]) {
  MFGConfig *a, *b;

  PetscFunctionBeginUser;
  PetscCall(Read(path, n, sets, &a));
  PetscCall(WriteText(a->text));
  PetscCall(Read(scratch, 0, NULL, &b));
  assert_string_equal(a->text, b->text);
  assert_string_equal(a->hash, b->hash);
  assert_memory_equal(&a->domain, &b->domain, sizeof a->domain);
  assert_memory_equal(&a->time, &b->time, sizeof a->time);
  assert_true(a->dynamics.sigma == b->dynamics.sigma);
  assert_int_equal(a->dynamics.has_drift, b->dynamics.has_drift);
  assert_int_equal(a->constant_count, b->constant_count);
  for (int i = 0; i < a->constant_count; i++)
    assert_true(a->constants[i].value == b->constants[i].value);
  assert_memory_equal(&a->density, &b->density, sizeof a->density);
  assert_true(a->agents.seed == b->agents.seed && a->agents.count == b->agents.count &&
              a->agents.single == b->agents.single);
  PetscCall(MFGConfigDestroy(&a));
  PetscCall(MFGConfigDestroy(&b));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void TestShipped(void **state) {
  DIR *list = opendir(directory);
  int cases = 0;

  (void)state;
  assert_non_null(list);
  for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
    char path[PETSC_MAX_PATH_LEN];
    const char *dot = strrchr(entry->d_name, '.');
    if (!dot || strcmp(dot, ".yaml")) continue;
    snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    MFG_OK(CheckRoundTrip(path, 0, NULL));
    cases++;
  }
  closedir(list);
  assert_true(cases >= 9);
}

/* Values that a careless printer would change. */
static void TestHardValues(void **state) {
  const char *const sets[] = {
      "dynamics.sigma=0.1234567890123456789",
      "agents.seed=18446744073709551615",
      "agents.count=2e5",
      "agents.precision=single",
      "density.bandwidth=[0.3333333333333333]",
      "metadata={title: \"a \\\"quoted\\\" \\\\ \\x07 \\u2028 T\xc3\xb8rus: {x}\", n: [1, ~, "
      "'no']}",
      "constants={a: 0.1, b: \"2*a\", c_1: -1e-300}",
      "dynamics.drift=[\"b*sin(2*pi*x)*t\"]",
      "domain.boundary=[[noflux, noflux]]",
      "output.directory=\"res ults/# x\"",
      "petsc={hjb_ksp_type: bcgs, hjb_ksp_rtol: 1e-9, hjb_ksp_view: ~, list: \"1,2\"}",
      "equilibrium.random_numbers=fresh"};
  char path[PETSC_MAX_PATH_LEN];

  (void)state;
  snprintf(path, sizeof path, "%s/reference_1d.yaml", directory);
  MFG_OK(CheckRoundTrip(path, (int)(sizeof sets / sizeof *sets), sets));
}

/* Sections that do not change the answer do not change the hash; others do. */
static void TestHash(void **state) {
  const char *const other[] = {"output.every=7", "metadata.title=else", "agents.seed=2"};
  char path[PETSC_MAX_PATH_LEN];
  MFGConfig *a, *b;

  (void)state;
  snprintf(path, sizeof path, "%s/reference_1d.yaml", directory);
  MFG_OK(Read(path, 0, NULL, &a));
  MFG_OK(Read(path, 2, other, &b));
  assert_string_equal(a->hash, b->hash);
  assert_string_equal(b->title, "else");
  assert_string_equal(a->output.directory, "results/reference_1d");
  MFG_OK(MFGConfigDestroy(&b));
  MFG_OK(Read(path, 3, other, &b));
  assert_string_not_equal(a->hash, b->hash);
  MFG_OK(MFGConfigDestroy(&a));
  MFG_OK(MFGConfigDestroy(&b));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestShipped),
                                     cmocka_unit_test(TestHardValues), cmocka_unit_test(TestHash)};
  PetscMPIInt rank;
  long id = getpid();

  directory = argc > 1 ? argv[1] : "input";
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Bcast(&id, 1, MPI_LONG, 0, PETSC_COMM_WORLD);
  snprintf(scratch, sizeof scratch, "/tmp/nashflow_round_trip_%ld.yaml", id);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!rank) remove(scratch);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
