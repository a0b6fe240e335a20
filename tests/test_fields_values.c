/* Formulas on the grid: values at the cell centres, levels, sub-boxes, mass, errors. */
#include "tests/mfg_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/fields.h"

static char path[100];

typedef struct {
  MFGConfig *config;
  MFGGrid grid;
} Case;

static const char *const base =
    "domain: {lower: [-1, 2], upper: [1, 5], cells: [10, 12]}\n"
    "time: {horizon: 2, steps: 4}\ndynamics: {sigma: 0.3, drift: [\"y\", \"x*t\"]}\n"
    "running_cost: {potential: \"x + 10*y + 100*t\"}\nterminal_cost: {potential: \"x*y\"}\n"
    "agents: {initial_density: \"1e200*(1 + x^2)*y\"}\n";

static PetscErrorCode Open(int n, const char *const sets[], Case *c) {
  PetscMPIInt rank;
  MFGConfigErrors errors;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(PETSC_COMM_WORLD, &rank));
  if (!rank) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(base, file);
    fclose(file);
  }
  PetscCall(MFGConfigRead(PETSC_COMM_WORLD, path, n, sets, &c->config, &errors));
  if (errors.count) print_error("%s", errors.text);
  assert_int_equal(errors.count, 0);
  PetscCall(MFGGridCreate(PETSC_COMM_WORLD, c->config->dim, c->config->domain.cells,
                          c->config->domain.lower, c->config->domain.upper,
                          (const MFGBoundary(*)[2])c->config->domain.boundary, &c->grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Close(Case *c) {
  PetscFunctionBeginUser;
  PetscCall(MFGGridDestroy(&c->grid));
  PetscCall(MFGConfigDestroy(&c->config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The point of an owned cell, in the order of the owned field. */
static void OwnedPoint(const MFGBlock *b, int64_t i, double *x, double *y) {
  *x = MFGCellCenter(b, 0, b->start[0] + (int)(i % b->count[0]));
  *y = MFGCellCenter(b, 1, b->start[1] + (int)(i / b->count[0]));
}

static void TestFlow(void **state) {
  Case c;
  int levels;
  double *v, x, y;
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(Open(0, NULL, &c));
  const MFGBlock *b = &c.grid.block;
  const int64_t owned = MFGBlockOwned(b);
  MFG_OK(MFGFieldTabulate(&c.grid, c.config, NULL, &c.config->running_cost.potential, &levels, &v,
                          &errors));
  assert_int_equal(errors.count, 0);
  assert_int_equal(levels, 5);
  for (int n = 0; n < 5; n++)
    for (int64_t i = 0; i < owned; i++) {
      OwnedPoint(b, i, &x, &y);
      MFG_ASSERT_NEAR(v[n * owned + i], x + 10 * y + 100 * (0.5 * n), 1e-12);
    }
  MFG_OK(PetscFree(v));
  MFG_OK(MFGFieldTabulate(&c.grid, c.config, NULL, &c.config->terminal_cost.potential, &levels, &v,
                          &errors));
  assert_int_equal(levels, 1);
  for (int64_t i = 0; i < owned; i++) {
    OwnedPoint(b, i, &x, &y);
    MFG_ASSERT_NEAR(v[i], x * y, 1e-14);
  }
  MFG_OK(PetscFree(v));
  MFG_OK(Close(&c));
}

static void TestVector(void **state) {
  const char *const none[] = {"dynamics.drift=[0, \"0\"]", "running_cost.potential=0"};
  Case c;
  int levels;
  double *v, x, y;
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(Open(0, NULL, &c));
  const MFGBlock *b = &c.grid.block;
  const int64_t owned = MFGBlockOwned(b);
  MFG_OK(MFGFieldTabulateVector(&c.grid, c.config, NULL, c.config->dynamics.drift, &levels, &v,
                                &errors));
  assert_int_equal(levels, 5);
  for (int n = 0; n < 5; n++)
    for (int64_t i = 0; i < owned; i++) {
      OwnedPoint(b, i, &x, &y);
      MFG_ASSERT_NEAR(v[(2 * n) * owned + i], y, 1e-14);
      MFG_ASSERT_NEAR(v[(2 * n + 1) * owned + i], x * 0.5 * n, 1e-14);
    }
  MFG_OK(PetscFree(v));
  MFG_OK(Close(&c));
  MFG_OK(Open(2, none, &c));
  assert_false(c.config->dynamics.has_drift);
  MFG_OK(MFGFieldTabulateVector(&c.grid, c.config, NULL, c.config->dynamics.drift, &levels, &v,
                                &errors));
  assert_true(levels == 0 && !v);
  MFG_OK(MFGFieldTabulate(&c.grid, c.config, NULL, &c.config->running_cost.potential, &levels, &v,
                          &errors));
  assert_true(levels == 0 && !v);
  MFG_OK(Close(&c));
}

/* Mass 1 although the sum of the given values overflows; the shape is kept. */
static void TestDensity(void **state) {
  Case c;
  double *m, mass = 0;
  MFGConfigErrors errors = {0};

  (void)state;
  const char *const sets[] = {"agents.initial_density=1e307*(1 + x^2)*y"};
  MFG_OK(Open(1, sets, &c));
  const MFGBlock *b = &c.grid.block;
  MFG_OK(MFGFieldInitialDensity(&c.grid, c.config, &m, &errors));
  assert_int_equal(errors.count, 0);
  assert_non_null(m);
  for (int64_t i = 0; i < MFGBlockCells(b); i++) mass += m[i] * MFGCellVolume(b);
  MFG_ASSERT_NEAR(mass, 1, 1e-13);
  for (int j = 0; j < 12; j++)
    for (int i = 0; i < 10; i++) {
      const double x = MFGCellCenter(b, 0, i), y = MFGCellCenter(b, 1, j);
      const double x0 = MFGCellCenter(b, 0, 0), y0 = MFGCellCenter(b, 1, 0);
      MFG_ASSERT_NEAR(m[j * 10 + i] / m[0], (1 + x * x) * y / ((1 + x0 * x0) * y0), 1e-13);
    }
  MFG_OK(PetscFree(m));
  MFG_OK(Close(&c));
}

/* Errors name the point and the level, are on all ranks, and leave nothing allocated. */
static void TestErrors(void **state) {
  const char *const sets[] = {"running_cost.potential=\"log(y - 2.2 + (t > 0.9 ? -1 : 1))\"",
                              "dynamics.drift=[\"0\", \"1/(x + 0.9)\"]",
                              "agents.initial_density=y - 2.2"};
  Case c;
  int levels;
  double *v, *m;
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(Open(3, sets, &c));
  MFG_OK(MFGFieldTabulate(&c.grid, c.config, NULL, &c.config->running_cost.potential, &levels, &v,
                          &errors));
  assert_true(levels == 0 && !v && errors.count == 1);
  assert_non_null(strstr(errors.text, "running_cost.potential is nan at (x, y) = (-0.9, 2.125), "
                                      "time level 2 (t = 1)"));
  MFG_OK(MFGFieldTabulateVector(&c.grid, c.config, NULL, c.config->dynamics.drift, &levels, &v,
                                &errors));
  assert_true(levels == 0 && !v && errors.count == 2);
  assert_non_null(strstr(errors.text, "dynamics.drift (axis y) is infinite at (x, y) = (-0.9, "));
  MFG_OK(MFGFieldInitialDensity(&c.grid, c.config, &m, &errors));
  assert_true(!m && errors.count == 3);
  assert_non_null(
      strstr(errors.text, "agents.initial_density is -0.075 at (x, y) = (-0.9, 2.125)"));
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  MFG_OK(MFGFieldCheck(PETSC_COMM_WORLD, c.config, &errors));
  assert_int_equal(errors.count, 3);
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  MFG_OK(Close(&c));
}

/* Three axes of different lengths: values, vectors and densities stand where their point is. */
static void TestThreeAxes(void **state) {
  const char *const sets[] = {"domain={lower: [-1, 2, 0], upper: [1, 5, 7], cells: [5, 6, 7]}",
                              "dynamics.drift=[\"z\", \"x*t\", \"y - z\"]",
                              "running_cost.potential=x + 10*y + 1000*z + 100*t",
                              "agents.initial_density=(1 + x^2)*y*exp(z)"};
  Case c;
  int levels;
  double *v, *w, *m, mass = 0;
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(Open(4, sets, &c));
  const MFGBlock *b = &c.grid.block;
  const int64_t owned = MFGBlockOwned(b);
  MFG_OK(MFGFieldTabulate(&c.grid, c.config, NULL, &c.config->running_cost.potential, &levels, &v,
                          &errors));
  assert_true(!errors.count && levels == 5);
  MFG_OK(MFGFieldTabulateVector(&c.grid, c.config, NULL, c.config->dynamics.drift, &levels, &w,
                                &errors));
  assert_true(!errors.count && levels == 5);
  for (int n = 0; n < 5; n++) {
    int64_t i = 0;
    for (int kz = b->start[2]; kz < b->start[2] + b->count[2]; kz++)
      for (int ky = b->start[1]; ky < b->start[1] + b->count[1]; ky++)
        for (int kx = b->start[0]; kx < b->start[0] + b->count[0]; kx++, i++) {
          const double x = -1 + (kx + 0.5) * 0.4, y = 2 + (ky + 0.5) * 0.5, z = kz + 0.5;
          MFG_ASSERT_NEAR(v[n * owned + i], x + 10 * y + 1000 * z + 50 * n, 1e-11);
          MFG_ASSERT_NEAR(w[3 * n * owned + i], z, 1e-13);
          MFG_ASSERT_NEAR(w[(3 * n + 1) * owned + i], x * 0.5 * n, 1e-13);
          MFG_ASSERT_NEAR(w[(3 * n + 2) * owned + i], y - z, 1e-13);
        }
  }
  MFG_OK(PetscFree(v));
  MFG_OK(PetscFree(w));
  MFG_OK(MFGFieldInitialDensity(&c.grid, c.config, &m, &errors));
  assert_non_null(m);
  for (int i = 0; i < 5 * 6 * 7; i++) mass += m[i] * 0.4 * 0.5;
  MFG_ASSERT_NEAR(mass, 1, 1e-13);
  MFG_ASSERT_NEAR(m[1] / m[0], 1.16 / 1.64, 1e-13);
  MFG_ASSERT_NEAR(m[5] / m[0], 2.75 / 2.25, 1e-13);
  MFG_ASSERT_NEAR(m[30] / m[0], exp(1), 1e-13);
  MFG_OK(PetscFree(m));
  MFG_OK(Close(&c));
}

static void TestThreeAxesErrors(void **state) {
  const char *const sets[] = {"domain={lower: [-1, 2, 0], upper: [1, 5, 7], cells: [5, 6, 7]}",
                              "dynamics.drift=[0, 0, 0]", "terminal_cost.potential=0",
                              "running_cost.potential=\"x > 0.5 && y > 3.1 && z > 4.9 ? 1/0 : t\"",
                              "agents.initial_density=6 - z"};
  Case c;
  MFGConfigErrors errors = {0};

  (void)state;
  MFG_OK(Open(5, sets, &c));
  MFG_OK(MFGFieldCheck(PETSC_COMM_WORLD, c.config, &errors));
  assert_int_equal(errors.count, 2);
  assert_non_null(strstr(errors.text, "running_cost.potential is infinite at (x, y, z) = "
                                      "(0.8, 3.25, 5.5), time level 0 (t = 0)"));
  assert_non_null(strstr(errors.text, "initial_density is -0.5 at (x, y, z) = (-0.8, 2.25, 6.5)"));
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  MFG_OK(Close(&c));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(TestFlow),      cmocka_unit_test(TestVector),
      cmocka_unit_test(TestDensity),   cmocka_unit_test(TestErrors),
      cmocka_unit_test(TestThreeAxes), cmocka_unit_test(TestThreeAxesErrors)};
  PetscMPIInt rank;
  long id = getpid();

  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Bcast(&id, 1, MPI_LONG, 0, PETSC_COMM_WORLD);
  snprintf(path, sizeof path, "/tmp/nashflow_fields_%ld.yaml", id);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!rank) remove(path);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
