/* Every bad input of tests/bad_input/cases.txt gives its message, with its place and its remedy, on
 * every rank. */
#include "tests/mfg_test.h"

#include <stdio.h>
#include <string.h>

#include "app/fields.h"

static const char *directory;

static PetscErrorCode ReadBad(const char *name, char **text) {
  char path[PETSC_MAX_PATH_LEN];
  MFGConfig *config;
  MFGConfigErrors errors;

  PetscFunctionBeginUser;
  snprintf(path, sizeof path, "%s/%s", directory, name);
  PetscCall(MFGConfigRead(PETSC_COMM_WORLD, path, 0, NULL, &config, &errors));
  if (config) PetscCall(MFGFieldCheck(PETSC_COMM_WORLD, config, &errors));
  PetscCall(PetscStrallocpy(errors.text ? errors.text : "(no error)", text));
  PetscCall(MFGConfigDestroy(&config));
  PetscCall(MFGConfigErrorsDestroy(&errors));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Each line is one message: "place: error: what; remedy" */
static void AssertLines(const char *name, const char *text) {
  char *copy = strdup(text), *rest = copy;
  for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    if (!strstr(line, ": error: ") || !strstr(line, name))
      fail_msg("%s: not a message with a place: %s", name, line);
  free(copy);
}

static void TestTable(void **state) {
  char table[PETSC_MAX_PATH_LEN], line[1000];
  int cases = 0;

  (void)state;
  snprintf(table, sizeof table, "%s/cases.txt", directory);
  FILE *file = fopen(table, "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    char *rest = line, *text;
    if (*line == '#') continue;
    line[strcspn(line, "\n")] = 0;
    const char *name = strtok_r(line, "|", &rest);
    const char *code = strtok_r(NULL, "|", &rest);
    const char *what = strtok_r(NULL, "|", &rest);
    const char *remedy = rest;
    assert_non_null(what);
    assert_int_equal(atoi(code), 65);
    MFG_OK(ReadBad(name, &text));
    if (!strstr(text, what)) fail_msg("%s: expected '%s', got\n%s", name, what, text);
    if (!strstr(text, remedy))
      fail_msg("%s: expected the remedy '%s', got\n%s", name, remedy, text);
    AssertLines(name, text);
    MFG_OK(PetscFree(text));
    cases++;
  }
  fclose(file);
  assert_true(cases >= 90);
}

static void TestNoFile(void **state) {
  char *text;

  (void)state;
  MFG_OK(ReadBad("absent.yaml", &text));
  assert_non_null(strstr(text, "absent.yaml: error: cannot be read: No such file"));
  MFG_OK(PetscFree(text));
  MFG_OK(ReadBad(".", &text));
  assert_non_null(strstr(text, "not a file"));
  MFG_OK(PetscFree(text));
}

/* The message comes from rank 0: all ranks must have the same. */
static void TestSameOnAllRanks(void **state) {
  PetscMPIInt rank;
  char *text, *first;
  int length;

  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MFG_OK(ReadBad("formula_nan.yaml", &text));
  length = (int)strlen(text) + 1;
  MPI_Bcast(&length, 1, MPI_INT, 0, PETSC_COMM_WORLD);
  MFG_OK(PetscCalloc1(length, &first));
  if (!rank) strcpy(first, text);
  MPI_Bcast(first, length, MPI_CHAR, 0, PETSC_COMM_WORLD);
  assert_string_equal(text, first);
  MFG_OK(PetscFree(first));
  MFG_OK(PetscFree(text));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestTable), cmocka_unit_test(TestNoFile),
                                     cmocka_unit_test(TestSameOnAllRanks)};
  directory = argc > 1 ? argv[1] : "tests/bad_input";
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
