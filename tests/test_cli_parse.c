/* The command line: what each form gives, and what is refused with which remedy. */
#include "tests/mfg_test.h"

#include <stdlib.h>
#include <string.h>

#include "app/cli.h"

/* Splits at blanks; '~' stands for a blank inside of a word. */
static int Parse(const char *text, MFGCommandLine *line) {
  static char copy[500];
  static char *argv[40];
  int argc = 0;
  char *rest;

  strcpy(copy, text);
  for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    for (char *c = word; *c; c++)
      if (*c == '~') *c = ' ';
    argv[argc++] = word;
  }
  argv[argc] = NULL;
  return MFGCommandLineParse(argc, argv, line);
}

static void TestRun(void **state) {
  MFGCommandLine line;

  (void)state;
  assert_int_equal(Parse("nashflow run a.yaml --set t.x=1 --set=b=[1,2] --backend cpu --output "
                         "my~\"dir --validate --dry-run --restart none --max-walltime 25:01:40 -- "
                         "-log_view --output x",
                         &line),
                   0);
  assert_int_equal(line.command, MFG_COMMAND_RUN);
  assert_string_equal(line.case_path, "a.yaml");
  assert_int_equal(line.set_count, 4);
  assert_string_equal(line.sets[0], "t.x=1");
  assert_string_equal(line.sets[1], "b=[1,2]");
  assert_string_equal(line.sets[2], "backend=\"cpu\"");
  assert_string_equal(line.sets[3], "output.directory=\"my \\\"dir\"");
  assert_string_equal(line.backend, "cpu");
  assert_string_equal(line.output, "my \"dir");
  assert_true(line.validate && line.dry_run);
  assert_string_equal(line.restart, "none");
  assert_int_equal(line.walltime, 90100);
  assert_int_equal(line.petsc_argc, 4);
  assert_string_equal(line.petsc_argv[0], "nashflow");
  assert_string_equal(line.petsc_argv[1], "-log_view");
  assert_string_equal(line.petsc_argv[3], "x");
  assert_null(line.petsc_argv[4]);
  MFGCommandLineDestroy(&line);
}

static void TestRanks(void **state) {
  MFGCommandLine line;

  (void)state;
  assert_int_equal(Parse("nashflow run a.yaml --dry-run --ranks 1024", &line), 0);
  assert_true(line.dry_run && line.ranks == 1024);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run a.yaml --ranks=1 --dry-run", &line), 0);
  assert_int_equal(line.ranks, 1);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run a.yaml --dry-run", &line), 0);
  assert_int_equal(line.ranks, 0);
  assert_string_equal(line.restart, "auto");
  assert_int_equal(line.walltime, 0);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run a.yaml --output a\nb\t\"", &line), 0);
  assert_string_equal(line.sets[0], "output.directory=\"a\\x0Ab\\x09\\\"\"");
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run a.yaml --\x1b[2J", &line), MFG_EXIT_USAGE);
  assert_null(strchr(line.error, 0x1b));
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run a.yaml --ranks 4", &line), MFG_EXIT_USAGE);
  assert_non_null(strstr(line.error, "mpiexec -n"));
  MFGCommandLineDestroy(&line);
  for (const char *const *bad = (const char *const[]){"0", "-2", "4x", "1.5", "3000000000", NULL};
       *bad; bad++) {
    char text[100];
    snprintf(text, sizeof text, "nashflow run a.yaml --dry-run --ranks %s", *bad);
    assert_int_equal(Parse(text, &line), MFG_EXIT_USAGE);
    assert_non_null(strstr(line.error, "--ranks"));
    MFGCommandLineDestroy(&line);
  }
}

static void TestCommands(void **state) {
  MFGCommandLine line;

  (void)state;
  assert_int_equal(Parse("nashflow verify lq_1d torus_1d", &line), 0);
  assert_true(line.command == MFG_COMMAND_VERIFY && line.name_count == 2);
  assert_string_equal(line.names[1], "torus_1d");
  assert_int_equal(line.petsc_argc, 1);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow bench kde hjb", &line), 0);
  assert_true(line.command == MFG_COMMAND_BENCH && line.name_count == 2);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow help density.bandwidth", &line), 0);
  assert_true(line.command == MFG_COMMAND_HELP && line.name_count == 1);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow verify torus_1d --backend cuda --resolutions=2", &line), 0);
  assert_true(line.command == MFG_COMMAND_VERIFY && line.name_count == 1 && line.resolutions == 2);
  assert_string_equal(line.backend, "cuda");
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow bench hjb --backend=cpu --resolutions 1", &line), 0);
  assert_string_equal(line.backend, "cpu");
  assert_int_equal(line.resolutions, 1);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow run --help", &line), 0);
  assert_true(line.command == MFG_COMMAND_HELP && line.name_count == 0);
  MFGCommandLineDestroy(&line);
  assert_int_equal(Parse("nashflow --version", &line), 0);
  assert_int_equal(line.command, MFG_COMMAND_VERSION);
  MFGCommandLineDestroy(&line);
}

static void TestRefused(void **state) {
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"nashflow", "no command; see 'nashflow --help'"},
      {"nashflow --", "no command"},
      {"nashflow rnu a.yaml", "unknown command 'rnu'; did you mean 'run'?"},
      {"nashflow a.yaml", "did you mean 'nashflow run a.yaml'?"},
      {"nashflow solve", "unknown command 'solve'; see 'nashflow --help'"},
      {"nashflow devices cpu", "devices takes no names"},
      {"nashflow run", "run needs an input file"},
      {"nashflow run a.yaml b.yaml", "two input files"},
      {"nashflow run a.yaml --validat", "unknown flag '--validat'; did you mean '--validate'?"},
      {"nashflow run a.yaml --outptu=x", "did you mean '--output'?"},
      {"nashflow run a.yaml -log_view", "options of PETSc go after --"},
      {"nashflow run a.yaml --set", "--set needs a value"},
      {"nashflow run a.yaml --set -- x", "--set needs a value"},
      {"nashflow run a.yaml --set time.steps", "not of the form path=value"},
      {"nashflow run a.yaml --output=", "--output needs a value"},
      {"nashflow run a.yaml --validate=yes", "--validate takes no value"},
      {"nashflow run a.yaml --backend gpu", "unknown backend 'gpu'; "},
      {"nashflow run a.yaml --restart", "--restart needs a value"},
      {"nashflow run a.yaml --max-walltime 90", "hours:minutes:seconds"},
      {"nashflow run a.yaml --max-walltime 1:60:00", "--max-walltime 1:60:00"},
      {"nashflow run a.yaml --max-walltime 1:00:00x", "hours:minutes:seconds"},
      {"nashflow run a.yaml --max-walltime -1:00:00", "hours:minutes:seconds"},
      {"nashflow run a.yaml --max-walltime 00:00:00", "above 0"},
      {"nashflow verify --validate", "--validate belongs to 'nashflow run'"},
      {"nashflow devices --backend cpu", "--backend belongs to 'nashflow run'"},
      {"nashflow bench --backend gpu", "unknown backend 'gpu'; "},
      {"nashflow devices --resolutions 1", "--resolutions belongs to 'nashflow verify'"},
      {"nashflow run a.yaml --resolutions 1", "--resolutions belongs to 'nashflow verify'"},
      {"nashflow verify --resolutions 0", "--resolutions 0: not a whole number from 1 on"},
      {"nashflow bench kdee", "unknown bench 'kdee'; did you mean 'kde'?"},
      {"nashflow help a b", "help takes one path"},
      {"nashflow --validate run a.yaml", "a command comes first"},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    MFGCommandLine line;
    assert_int_equal(Parse(cases[i].text, &line), MFG_EXIT_USAGE);
    if (!strstr(line.error, cases[i].message))
      fail_msg("%s: expected '%s', got '%s'", cases[i].text, cases[i].message, line.error);
    MFGCommandLineDestroy(&line);
  }
}

static void TestHelpText(void **state) {
  char *text = NULL;
  size_t size;
  FILE *stream = open_memstream(&text, &size);

  (void)state;
  MFGCommandLineHelp(stream);
  fclose(stream);
  assert_non_null(strstr(text, "nashflow run CASE.yaml"));
  assert_non_null(strstr(text, "--set PATH=VALUE"));
  free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestRun), cmocka_unit_test(TestRanks), cmocka_unit_test(TestCommands),
    cmocka_unit_test(TestRefused), cmocka_unit_test(TestHelpText)};
MFG_TEST_MAIN(tests)
