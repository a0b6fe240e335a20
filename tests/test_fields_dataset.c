/* Functions from HDF5 datasets: values, time levels, and what is refused. */
#include "tests/mfg_test.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/fields.h"

static char path[100], data[100], other[100];

static void Write(hid_t file, const char *name, int rank, const hsize_t *shape, hid_t type) {
  double values[200];
  const hid_t space = H5Screate_simple(rank, shape, NULL);
  const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

  for (int i = 0; i < 200; i++) values[i] = i + 1;
  if (H5Tget_class(type) != H5T_STRING)
    H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  H5Dclose(set);
  H5Sclose(space);
}

/* 5 x 4 cells, 2 steps. */
static void WriteAll(void) {
  const hsize_t cube[] = {3, 4, 5}, cubes[] = {3, 3, 4, 5}, turned[] = {5, 4, 3};
  const hsize_t good[] = {4, 5}, flow[] = {3, 4, 5}, swapped[] = {5, 4}, levels[] = {2, 4, 5},
                line[] = {20};
  const hid_t text = H5Tcopy(H5T_C_S1);
  const hid_t file = H5Fcreate(data, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

  Write(file, "m0", 2, good, H5T_NATIVE_DOUBLE);
  Write(file, "integers", 2, good, H5T_NATIVE_INT);
  Write(file, "flow", 3, flow, H5T_NATIVE_FLOAT);
  Write(file, "swapped", 2, swapped, H5T_NATIVE_DOUBLE);
  Write(file, "levels", 3, levels, H5T_NATIVE_DOUBLE);
  Write(file, "cube", 3, cube, H5T_NATIVE_DOUBLE);
  Write(file, "cubes", 4, cubes, H5T_NATIVE_DOUBLE);
  Write(file, "turned", 3, turned, H5T_NATIVE_DOUBLE);
  Write(file, "line", 1, line, H5T_NATIVE_DOUBLE);
  Write(file, "text", 2, good, text);
  const hid_t neighbour = H5Fcreate(other, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  Write(neighbour, "m0", 2, good, H5T_NATIVE_DOUBLE);
  H5Fclose(neighbour);
  H5Lcreate_external(other, "/m0", file, "external", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/external", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  const hid_t space = H5Screate_simple(2, good, NULL);
  hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const hid_t growing = H5Screate_simple(2, good, (hsize_t[]){H5S_UNLIMITED, H5S_UNLIMITED});
  H5Pset_chunk(creation, 2, (hsize_t[]){4, 1 << 26});
  H5Dclose(
      H5Dcreate2(file, "chunks", H5T_NATIVE_DOUBLE, growing, H5P_DEFAULT, creation, H5P_DEFAULT));
  H5Pset_chunk(creation, 2, good);
  H5Pset_scaleoffset(creation, H5Z_SO_FLOAT_DSCALE, 3);
  H5Dclose(
      H5Dcreate2(file, "packed", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
  H5Pclose(creation);
  H5Sclose(growing);
  creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(creation, "/tmp/nashflow_outside.bin", 0, H5F_UNLIMITED);
  H5Dclose(
      H5Dcreate2(file, "outside", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
  H5Pclose(creation);
  H5Sclose(space);
  H5Tclose(text);
  H5Fclose(file);
}

static PetscErrorCode OpenIn(const char *domain, const char *set, MFGConfig **config,
                             MFGGrid *grid) {
  PetscMPIInt rank;
  MFGConfigErrors errors;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(PETSC_COMM_WORLD, &rank));
  if (!rank) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "domain: %s\ntime: {horizon: 1, steps: 2}\n"
            "dynamics: {sigma: 0.3}\nagents: {initial_density: \"1\"}\n",
            domain);
    fclose(file);
  }
  PetscCall(MFGConfigRead(PETSC_COMM_WORLD, path, 1, &set, config, &errors));
  if (errors.count) print_error("%s", errors.text);
  assert_int_equal(errors.count, 0);
  PetscCall(MFGGridCreate(PETSC_COMM_WORLD, (*config)->dim, (*config)->domain.cells,
                          (*config)->domain.lower, (*config)->domain.upper,
                          (const MFGBoundary(*)[2])(*config)->domain.boundary, grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Open(const char *set, MFGConfig **config, MFGGrid *grid) {
  PetscFunctionBeginUser;
  PetscCall(OpenIn("{lower: [0, 0], upper: [5, 4], cells: [5, 4]}", set, config, grid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Close(MFGConfig **config, MFGGrid *grid) {
  PetscFunctionBeginUser;
  PetscCall(MFGGridDestroy(grid));
  PetscCall(MFGConfigDestroy(config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void CheckDensity(const char *name) {
  MFGConfig *c;
  MFGGrid grid;
  double *m;
  char set[300];
  MFGConfigErrors errors = {0};

  snprintf(set, sizeof set, "agents.initial_density={file: %s, dataset: /%s}",
           strrchr(data, '/') + 1, name);
  MFG_OK(Open(set, &c, &grid));
  MFG_OK(MFGFieldInitialDensity(&grid, c, &m, &errors));
  assert_non_null(m);
  for (int i = 0; i < 20; i++) MFG_ASSERT_NEAR(m[i], (i + 1) / 210.0, 1e-16);
  MFG_OK(PetscFree(m));
  MFG_OK(Close(&c, &grid));
}

static void TestDensity(void **state) {
  (void)state;
  CheckDensity("m0");
  CheckDensity("integers");
}

static void TestFlow(void **state) {
  MFGConfig *c;
  MFGGrid grid;
  int levels;
  double *v;
  char set[300];
  MFGConfigErrors errors = {0};

  (void)state;
  snprintf(set, sizeof set, "dynamics.drift=[\"1\", {file: %s, dataset: flow}]", data);
  MFG_OK(Open(set, &c, &grid));
  const MFGBlock *b = &grid.block;
  const int64_t owned = MFGBlockOwned(b);
  MFG_OK(MFGFieldTabulateVector(&grid, c, NULL, c->dynamics.drift, &levels, &v, &errors));
  assert_int_equal(levels, 3);
  for (int n = 0; n < 3; n++)
    for (int64_t i = 0; i < owned; i++) {
      const int x = b->start[0] + (int)(i % b->count[0]), y = b->start[1] + (int)(i / b->count[0]);
      assert_true(v[2 * n * owned + i] == 1);
      assert_true(v[(2 * n + 1) * owned + i] == (n * 4 + y) * 5 + x + 1);
    }
  MFG_OK(PetscFree(v));
  MFG_OK(Close(&c, &grid));
}

static const char *const box = "{lower: [0, 0, 0], upper: [5, 4, 3], cells: [5, 4, 3]}";

/* Shapes (z, y, x) and (time, z, y, x). */
static void TestThreeAxes(void **state) {
  MFGConfig *c;
  MFGGrid grid;
  int levels;
  double *v, *m;
  char set[300];
  MFGConfigErrors errors = {0};

  (void)state;
  snprintf(set, sizeof set, "dynamics.drift=[0, 1, {file: %s, dataset: cubes}]", data);
  MFG_OK(OpenIn(box, set, &c, &grid));
  const MFGBlock *b = &grid.block;
  const int64_t owned = MFGBlockOwned(b);
  MFG_OK(MFGFieldTabulateVector(&grid, c, NULL, c->dynamics.drift, &levels, &v, &errors));
  assert_int_equal(levels, 3);
  for (int n = 0; n < 3; n++) {
    const double *value = v + (3 * n + 2) * owned;
    for (int z = b->start[2]; z < b->start[2] + b->count[2]; z++)
      for (int y = b->start[1]; y < b->start[1] + b->count[1]; y++)
        for (int x = b->start[0]; x < b->start[0] + b->count[0]; x++)
          assert_true(*value++ == ((n * 3 + z) * 4 + y) * 5 + x + 1);
  }
  MFG_OK(PetscFree(v));
  MFG_OK(Close(&c, &grid));
  snprintf(set, sizeof set, "agents.initial_density={file: %s, dataset: cube}", data);
  MFG_OK(OpenIn(box, set, &c, &grid));
  MFG_OK(MFGFieldInitialDensity(&grid, c, &m, &errors));
  assert_non_null(m);
  for (int i = 0; i < 60; i++) MFG_ASSERT_NEAR(m[i], (i + 1) / 1830.0, 1e-16);
  MFG_OK(PetscFree(m));
  MFG_OK(Close(&c, &grid));
}

static void TestThreeAxesRefused(void **state) {
  MFGConfig *c;
  MFGGrid grid;
  char set[300];
  MFGConfigErrors errors = {0};

  (void)state;
  snprintf(set, sizeof set, "running_cost.potential={file: %s, dataset: turned}", data);
  MFG_OK(OpenIn(box, set, &c, &grid));
  MFG_OK(MFGFieldCheck(PETSC_COMM_WORLD, c, &errors));
  assert_int_equal(errors.count, 1);
  assert_non_null(strstr(errors.text, "has the shape (5, 4, 3); domain.cells asks for (z, y, x) = "
                                      "(3, 4, 5), or with 3 time levels before: store it so"));
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  MFG_OK(Close(&c, &grid));
}

static void CheckRefused(const char *key, const char *name, const char *message) {
  MFGConfig *c;
  MFGGrid grid;
  char set[300];
  MFGConfigErrors errors = {0};

  snprintf(set, sizeof set, "%s={file: %s, dataset: %s}", key, data, name);
  MFG_OK(Open(set, &c, &grid));
  MFG_OK(MFGFieldCheck(PETSC_COMM_WORLD, c, &errors));
  if (errors.count != 1 || !strstr(errors.text, message))
    fail_msg("%s: expected '%s', got '%s'", name, message, errors.text ? errors.text : "nothing");
  MFG_OK(MFGConfigErrorsDestroy(&errors));
  MFG_OK(Close(&c, &grid));
}

static void TestRefused(void **state) {
  (void)state;
  CheckRefused("agents.initial_density", "absent", "is not there, or a link");
  CheckRefused("agents.initial_density", "group", "is not there, or a link");
  CheckRefused("agents.initial_density", "swapped",
               "has the shape (5, 4); domain.cells asks for (y, x) = (4, 5): store it so");
  CheckRefused("agents.initial_density", "flow", "has the shape (3, 4, 5)");
  CheckRefused("terminal_cost.potential", "flow", "has the shape (3, 4, 5)");
  CheckRefused("running_cost.potential", "levels", "or with 3 time levels before");
  CheckRefused("running_cost.potential", "line", "has the shape (20)");
  CheckRefused("running_cost.potential", "text", "does not hold numbers; store doubles");
  CheckRefused("running_cost.potential", "external", "a link to another file");
  CheckRefused("running_cost.potential", "soft", "a link to another file");
  CheckRefused("running_cost.potential", "outside", "has its values in other files");
  CheckRefused("running_cost.potential", "chunks", "chunks of 2.68435e+08 numbers, more than it");
  CheckRefused("running_cost.potential", "packed", "by the HDF5 filter 6; store it with gzip");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestDensity), cmocka_unit_test(TestFlow),
                                     cmocka_unit_test(TestRefused), cmocka_unit_test(TestThreeAxes),
                                     cmocka_unit_test(TestThreeAxesRefused)};
  PetscMPIInt rank;
  long id = getpid();

  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Bcast(&id, 1, MPI_LONG, 0, PETSC_COMM_WORLD);
  snprintf(path, sizeof path, "/tmp/nashflow_dataset_%ld.yaml", id);
  snprintf(data, sizeof data, "/tmp/nashflow_dataset_%ld.h5", id);
  snprintf(other, sizeof other, "/tmp/nashflow_dataset_%ld_other.h5", id);
  if (!rank) WriteAll();
  MPI_Barrier(PETSC_COMM_WORLD);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!rank) {
    remove(path);
    remove(data);
    remove(other);
  }
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
