/* Values of an input arrive in the struct; --set changes them; help and names. */
#include "tests/mfg_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config.h"

static char path[100];

static void Write(const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static const char *const full =
    "metadata: {title: Full, anything: [{a: 1}, b]}\n"
    "constants: {q: 3, r: \"q^2\"}\n"
    "domain:\n  lower: [-1, 2]\n  upper: [1, 5]\n  cells: [10, 2e1]\n"
    "  boundary: [periodic, [noflux, noflux]]\n"
    "time: {horizon: 2.5, steps: 7}\n"
    "dynamics: {sigma: .5, drift: [\"0\", \"x + t\"]}\n"
    "hamiltonian: {type: power, control_cost: 4, exponent: 1.5}\n"
    "running_cost:\n  potential: \"r*x\"\n  coupling: {type: log, strength: -2}\n"
    "  nonlocal: {kernel: none}\n"
    "terminal_cost:\n  coupling: {type: power, strength: 3, exponent: 2}\n"
    "agents: {count: 77, initial_density: {file: sub/f.h5, dataset: /m0}, sampling: random,\n"
    "  seed: 18446744073709551615, precision: single}\n"
    "fokker_planck: {method: particles}\n"
    "density: {method: direct, bandwidth: [0.4, 0.2], tolerance: 1e-9}\n"
    "equilibrium: {method: fictitious_play, tolerance: 1e-3, max_iterations: 9, damping: 0.5,\n"
    "  memory: 3, random_numbers: fresh, initial: old/result.h5}\n"
    "parallel: {decomposition: replicated}\nbackend: cpu\n"
    "output: {directory: out, every: 3, particles: 5, control: true}\n"
    "petsc: {hjb_ksp_type: bcgs, log_view: ~}\n";

static MFGConfig *Read(int n, const char *const sets[]) {
  MFGConfig *c;
  MFGConfigErrors errors;
  MFG_OK(MFGConfigRead(PETSC_COMM_SELF, path, n, sets, &c, &errors));
  if (errors.count) print_error("%s", errors.text);
  assert_int_equal(errors.count, 0);
  assert_non_null(c);
  return c;
}

static void TestFull(void **state) {
  (void)state;
  Write(full);
  MFGConfig *c = Read(0, NULL);
  assert_string_equal(c->title, "Full");
  assert_int_equal(c->dim, 2);
  assert_true(c->constant_count == 2 && c->constants[1].value == 9);
  assert_true(c->domain.lower[0] == -1 && c->domain.lower[1] == 2);
  assert_true(c->domain.upper[0] == 1 && c->domain.upper[1] == 5);
  assert_true(c->domain.cells[0] == 10 && c->domain.cells[1] == 20);
  assert_int_equal(c->domain.boundary[0][0], MFG_BOUNDARY_PERIODIC);
  assert_int_equal(c->domain.boundary[0][1], MFG_BOUNDARY_PERIODIC);
  assert_int_equal(c->domain.boundary[1][0], MFG_BOUNDARY_NOFLUX);
  assert_int_equal(c->domain.boundary[1][1], MFG_BOUNDARY_NOFLUX);
  assert_true(c->time.horizon == 2.5 && c->time.steps == 7);
  assert_true(c->dynamics.sigma == 0.5 && c->dynamics.has_drift);
  assert_null(c->dynamics.drift[0].expression);
  assert_string_equal(c->dynamics.drift[1].expression, "x + t");
  assert_int_equal(c->hamiltonian.type, MFG_HAMILTONIAN_POWER);
  assert_true(c->hamiltonian.control_cost == 4 && c->hamiltonian.exponent == 1.5);
  assert_string_equal(c->running_cost.potential.expression, "r*x");
  assert_string_equal(c->running_cost.potential.key, "running_cost.potential");
  assert_non_null(strstr(c->running_cost.potential.where, ".yaml:12:14"));
  assert_int_equal(c->running_cost.coupling.type, MFG_COUPLING_LOG);
  assert_true(c->running_cost.coupling.strength == -2 && c->running_cost.coupling.exponent == 1);
  assert_true(c->running_cost.mean.strength == 0 && c->running_cost.mean.factor == 1);
  assert_null(c->terminal_cost.potential.expression);
  assert_int_equal(c->terminal_cost.coupling.type, MFG_COUPLING_POWER);
  assert_true(c->terminal_cost.coupling.strength == 3 && c->terminal_cost.coupling.exponent == 2);
  MFG_OK(MFGConfigDestroy(&c));
  assert_null(c);
}

static void TestFullSolvers(void **state) {
  (void)state;
  Write(full);
  MFGConfig *c = Read(0, NULL);
  assert_true(c->agents.count == 77 && c->agents.seed == UINT64_MAX && c->agents.single);
  char beside[64]; /* a relative path begins where the input lies */
  snprintf(beside, sizeof beside, "%.*s/sub/f.h5", (int)(strrchr(path, '/') - path), path);
  assert_string_equal(c->agents.initial_density.file, beside);
  assert_string_equal(c->agents.initial_density.dataset, "/m0");
  assert_null(c->agents.initial_density.expression);
  assert_int_equal(c->agents.sampling, MFG_SAMPLING_RANDOM);
  assert_int_equal(c->density.method, MFG_DENSITY_DIRECT);
  assert_int_equal(c->density.rule, MFG_BANDWIDTH_FIXED);
  assert_true(c->density.bandwidth[0] == 0.4 && c->density.bandwidth[1] == 0.2);
  assert_true(c->density.tolerance == 1e-9);
  assert_int_equal(c->equilibrium.method, MFG_OUTER_FICTITIOUS_PLAY);
  assert_true(c->equilibrium.tolerance == 1e-3 && c->equilibrium.damping == 0.5);
  assert_true(c->equilibrium.max_iterations == 9 && c->equilibrium.memory == 3);
  assert_true(c->equilibrium.fresh);
  assert_string_equal(c->equilibrium.initial, "old/result.h5");
  assert_string_equal(c->backend, "cpu");
  assert_string_equal(c->output.directory, "out");
  assert_true(c->output.every == 3 && c->output.particles == 5 && c->output.control);
  assert_int_equal(c->petsc_count, 2);
  assert_string_equal(c->petsc_options[0], "-hjb_ksp_type bcgs");
  assert_string_equal(c->petsc_options[1], "-log_view");
  MFG_OK(MFGConfigDestroy(&c));
}

static void TestThreeAxes(void **state) {
  const char *const sets[] = {
      "domain={lower: [-1, 2, 0], upper: [1, 5, 7], cells: [10, 20, 30], boundary: [periodic, "
      "noflux, [periodic, periodic]]}",
      "dynamics.drift=[\"0\", \"x*z\", \"y + t\"]", "running_cost.potential=\"r*z\"",
      "density.bandwidth=[0.4, 0.3, 0.5]"};

  (void)state;
  Write(full);
  MFGConfig *c = Read(4, sets);
  assert_int_equal(c->dim, 3);
  assert_true(c->domain.lower[2] == 0 && c->domain.upper[2] == 7 && c->domain.cells[2] == 30);
  assert_true(c->domain.lower[1] == 2 && c->domain.upper[1] == 5 && c->domain.cells[1] == 20);
  assert_int_equal(c->domain.boundary[0][1], MFG_BOUNDARY_PERIODIC);
  assert_int_equal(c->domain.boundary[1][0], MFG_BOUNDARY_NOFLUX);
  assert_int_equal(c->domain.boundary[2][0], MFG_BOUNDARY_PERIODIC);
  assert_int_equal(c->domain.boundary[2][1], MFG_BOUNDARY_PERIODIC);
  assert_string_equal(c->dynamics.drift[1].expression, "x*z");
  assert_string_equal(c->dynamics.drift[2].expression, "y + t");
  assert_string_equal(c->dynamics.drift[2].key, "dynamics.drift (axis z)");
  assert_true(c->density.bandwidth[0] == 0.4 && c->density.bandwidth[2] == 0.5);
  MFG_OK(MFGConfigDestroy(&c));
}

static const char *const least = "domain: {lower: [0], upper: [1], cells: [20]}\n"
                                 "time: {horizon: 1, steps: 10}\n"
                                 "dynamics: {sigma: 0.3}\n"
                                 "agents: {initial_density: \"1\"}\npetsc:\nconstants:\n";

static void TestDefaults(void **state) {
  (void)state;
  Write(least);
  MFGConfig *c = Read(0, NULL);
  assert_int_equal(c->domain.boundary[0][1], MFG_BOUNDARY_NOFLUX);
  assert_false(c->dynamics.has_drift);
  assert_int_equal(c->hamiltonian.type, MFG_HAMILTONIAN_QUADRATIC);
  assert_true(c->hamiltonian.control_cost == 1 && c->hamiltonian.exponent == 2);
  assert_int_equal(c->running_cost.coupling.type, MFG_COUPLING_NONE);
  assert_true(c->agents.count == 50000 && c->agents.seed == 1);
  assert_int_equal(c->agents.sampling, MFG_SAMPLING_STRATIFIED);
  assert_false(c->agents.single);
  assert_int_equal(c->density.rule, MFG_BANDWIDTH_SILVERMAN);
  assert_true(c->density.tolerance == 1e-6 && c->equilibrium.tolerance == 1e-8);
  assert_int_equal(c->equilibrium.method, MFG_OUTER_ANDERSON);
  assert_true(c->equilibrium.max_iterations == 200 && c->equilibrium.memory == 5);
  assert_true(c->equilibrium.damping == 1 && !c->equilibrium.fresh);
  assert_string_equal(c->equilibrium.initial, "m0");
  assert_string_equal(c->backend, "auto");
  assert_true(c->output.every == 1 && c->output.particles == 0 && !c->output.control);
  assert_int_equal(c->petsc_count, 0);
  MFG_OK(MFGConfigDestroy(&c));
}

static void TestSets(void **state) {
  const char *const sets[] = {"dynamics.sigma=0.1",
                              "dynamics.sigma=0.2",
                              "time={horizon: 3, steps: 4}",
                              "running_cost.potential=2*(x-0.7)^2",
                              "constants.k=5",
                              "petsc.ksp_rtol=1e-3"};
  (void)state;
  Write(least);
  MFGConfig *c = Read(6, sets);
  assert_true(c->dynamics.sigma == 0.2 && c->time.horizon == 3 && c->time.steps == 4);
  assert_string_equal(c->running_cost.potential.expression, "2*(x-0.7)^2");
  assert_true(c->constant_count == 1 && c->constants[0].value == 5);
  assert_string_equal(c->petsc_options[0], "-ksp_rtol 1e-3");
  MFG_OK(MFGConfigDestroy(&c));
}

static void TestBadSets(void **state) {
  static const struct {
    const char *set, *message;
  } bad[] = {
      {"domain.cells=1", "--set domain.cells=1: error: domain.cells must be a list"},
      {"time.stepz=1", "--set time.stepz=1: error: unknown key 'time.stepz'; did you mean"},
      {"time.steps", "--set time.steps: error: not of the form path=value"},
      {"=3", "--set =3: error: not of the form path=value"},
      {"time.steps=", "--set time.steps=: error: time.steps must be"},
      {"a..b=1", "--set a..b=1: error: a key must have 1 to 100 characters"},
      {"metadata.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p=1", "error: nested too deep: at most 16 levels"},
      {"metadata.\xff=1", "error: not of the form path=value"},
      {"output.directory=\"a\\x07\"", "must be a text without control characters, not 'a?'"},
      {"time.steps.x=1", "--set time.steps.x=1: error: 'steps' has a value, not keys"},
      {"running_cost.potential=*x", "--set running_cost.potential=*x: error: an alias"},
      {"running_cost.potential=x+", "the formula 'x+', character 3: the formula ends too early"},
      {"time.steps=[1", "--set time.steps=[1: error: not valid YAML"},
      {"backend=gpu", "--set backend=gpu: error: backend must be auto, cpu or cuda, not 'gpu'"},
      {"game=control", "--set game=control: error: 'game' is not there yet"},
  };

  (void)state;
  Write(least);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    MFGConfig *c;
    MFGConfigErrors errors;
    MFG_OK(MFGConfigRead(PETSC_COMM_SELF, path, 1, &bad[i].set, &c, &errors));
    assert_null(c);
    assert_non_null(errors.text);
    if (!strstr(errors.text, bad[i].message))
      fail_msg("%s: expected '%s', got '%s'", bad[i].set, bad[i].message, errors.text);
    MFG_OK(MFGConfigErrorsDestroy(&errors));
  }
}

/* 16 levels as in a file, but no more; what is set there is in the effective input. */
static void TestDeepSet(void **state) {
  const char *const set = "metadata.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o=1";
  (void)state;
  Write(least);
  MFGConfig *deep = Read(1, &set);
  Write(deep->text);
  MFGConfig *again = Read(0, NULL);
  assert_string_equal(again->text, deep->text);
  MFG_OK(MFGConfigDestroy(&deep));
  MFG_OK(MFGConfigDestroy(&again));
}

/* What a terminal would obey is not in the title, and neither in the run directory of a file whose
 * name is not UTF-8. */
static void TestPrintable(void **state) {
  const char *const set = "metadata.title=\"\\e[2J \\x9b1m \xc3\xa9\"";
  char strange[120];
  (void)state;
  Write(least);
  MFGConfig *c = Read(1, &set);
  assert_string_equal(c->title, " [2J   1m \xc3\xa9");
  MFG_OK(MFGConfigDestroy(&c));
  snprintf(strange, sizeof strange, "/tmp/nashflow_\xe9_\xc3\xa9_%ld.yaml", (long)getpid());
  assert_int_equal(rename(path, strange), 0);
  MFGConfigErrors errors;
  MFG_OK(MFGConfigRead(PETSC_COMM_SELF, strange, 0, NULL, &c, &errors));
  remove(strange);
  assert_int_equal(errors.count, 0);
  assert_int_equal(strncmp(c->output.directory, "results/nashflow___\xc3\xa9_", 22), 0);
  MFG_OK(MFGConfigDestroy(&c));
}

/* The effective input is UTF-8: a path that is not cannot be in it. */
static void TestStrangeDirectory(void **state) {
  char directory[100], file[120];
  MFGConfig *c;
  MFGConfigErrors errors;
  (void)state;
  snprintf(directory, sizeof directory, "/tmp/nashflow_%ld_\xff", (long)getpid());
  snprintf(file, sizeof file, "%s/f.yaml", directory);
  assert_int_equal(mkdir(directory, 0700), 0);
  Write(least);
  assert_int_equal(rename(path, file), 0);
  const char *const set = "agents.initial_density={file: d, dataset: m}";
  MFG_OK(MFGConfigRead(PETSC_COMM_SELF, file, 1, &set, &c, &errors));
  remove(file);
  rmdir(directory);
  assert_null(c);
  assert_non_null(strstr(errors.text, "what is not UTF-8; move or rename the file"));
  MFG_OK(MFGConfigErrorsDestroy(&errors));
}

static void TestHelp(void **state) {
  char *text = NULL;
  size_t size;
  PetscBool found;

  (void)state;
  FILE *stream = open_memstream(&text, &size);
  MFG_OK(MFGConfigHelp(stream, NULL, &found));
  assert_true(found);
  MFG_OK(MFGConfigHelp(stream, "dynamics.sgima", &found));
  assert_false(found);
  fclose(stream);
  assert_non_null(strstr(text, "dynamics.sigma\n"));
  assert_non_null(strstr(text, "default: none, the key is needed"));
  assert_non_null(strstr(text, "did you mean 'dynamics.sigma'?"));
  free(text);
}

static void TestNearest(void **state) {
  const char *const names[] = {"run", "verify", "bench"};
  (void)state;
  assert_string_equal(MFGNearestName("rnu", 3, names), "run");
  assert_string_equal(MFGNearestName("verifi", 3, names), "verify");
  assert_null(MFGNearestName("x", 3, names));
  assert_null(MFGNearestName("completely else", 3, names));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestFull),
                                     cmocka_unit_test(TestThreeAxes),
                                     cmocka_unit_test(TestFullSolvers),
                                     cmocka_unit_test(TestDefaults),
                                     cmocka_unit_test(TestSets),
                                     cmocka_unit_test(TestBadSets),
                                     cmocka_unit_test(TestDeepSet),
                                     cmocka_unit_test(TestPrintable),
                                     cmocka_unit_test(TestStrangeDirectory),
                                     cmocka_unit_test(TestHelp),
                                     cmocka_unit_test(TestNearest)};
  snprintf(path, sizeof path, "/tmp/nashflow_values_%ld.yaml", (long)getpid());
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  remove(path);
  if (PetscFinalize()) return 1;
  return failed ? 1 : 0;
}
