/* Flows read from earlier results: exact for multilinear functions, on other grids, over periodic
 * seams; files that are no results are refused with a reason. */
#include "tests/output_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>
#include <unistd.h>

static PetscBool First(void) {
  PetscMPIInt rank;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  return (PetscBool)!rank;
}

static double Linear(double t, double x, double y, double z) {
  return 3 + t + 0.5 * (1 + t) * (x - 1) - 0.7 * (y - 0.125) + 0.3 * (x - 1) * (y - 0.125) +
         (z - 1.375) * (0.9 - 0.4 * (x - 1) * (y - 0.125));
}

/* `Linear` at an owned cell; the middle of the domain in the place of axes that are not there. */
static double LinearAt(const MFGBlock *b, double t, int64_t c) {
  double x[] = {1, 0.125, 1.375};
  for (int k = 0; k < b->dim; c /= b->count[k++])
    x[k] = MFGCellCenter(b, k, b->start[k] + (int)(c % b->count[k]));
  return Linear(t, x[0], x[1], x[2]);
}

/* The result of 10 steps on the fixture's domain with m from `Linear`, or a periodic wave. */
static void WriteSource(const char *name, int dim, PetscBool wave, char file[PETSC_MAX_PATH_LEN]) {
  char path[PETSC_MAX_PATH_LEN];
  int64_t bytes;
  Fixture f;

  FixtureCreate(&f, dim, (int[]){20, 10, 8}, 10, 3, 0, 0);
  MFGBlock *b = &f.grid.block;
  if (wave)
    for (int k = 0; k < dim; k++) b->boundary[k][0] = b->boundary[k][1] = MFG_BOUNDARY_PERIODIC;
  double *m = f.M;
  for (int n = 0; n <= 10; n++)
    for (int64_t c = 0; c < MFGBlockOwned(b); c++) {
      const int cell = b->start[0] + (int)(c % b->count[0]);
      *m++ = wave ? (cell == 0 ? 2 : cell == 19 ? 4 : 1) : LinearAt(b, n / 10., c);
    }
  PathIn(name, path);
  MFG_OK(MFGResultWrite(path, &f.result, &bytes));
  MFG_OK(PetscSNPrintf(file, PETSC_MAX_PATH_LEN, "%s/result.h5", path));
  FixtureDestroy(&f);
}

/* Inside the outermost centres of the old grid the interpolation is exact; the mass of `Linear` on
 * the symmetric grid is that of its constant part where no cell is clamped. */
static void ExactForMultilinear(void **state) {
  (void)state;
  const double lower[] = {0.2, -0.3, 1.1}, upper[] = {1.8, 0.55, 1.65};
  const double sizes[] = {1.6, 1.6 * 0.85, 1.6 * 0.85 * 0.55};
  const MFGBoundary wall[3][2] = {{MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX},
                                  {MFG_BOUNDARY_NOFLUX, MFG_BOUNDARY_NOFLUX}};
  for (int dim = 1; dim <= 3; dim++) {
    char file[PETSC_MAX_PATH_LEN], *uuid;
    MFGConfigErrors errors = {0};
    MFGGrid grid;
    double *M;
    WriteSource("linear", dim, PETSC_FALSE, file);
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, (int[]){33, 14, 9}, lower, upper, wall, &grid));
    const MFGBlock *b = &grid.block;
    MFG_OK(PetscMalloc1(8 * MFGBlockOwned(b), &M));
    MFG_OK(MFGResultReadFlow(file, &grid, NULL, 1, 7, M, &uuid, &errors));
    assert_int_equal(errors.count, 0);
    assert_int_equal(strlen(uuid), 36);
    const double *m = M;
    for (int n = 0; n <= 7; n++)
      for (int64_t c = 0; c < MFGBlockOwned(b); c++)
        MFG_ASSERT_NEAR(*m++, LinearAt(b, n / 7., c) / ((3 + n / 7.) * sizes[dim - 1]), 1e-13);
    MFG_OK(PetscFree(M));
    MFG_OK(PetscFree(uuid));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* New centres between the last and the first old one lie on the line through both; at a wall they
 * would be constant. */
static void WrapsOverTheSeam(void **state) {
  (void)state;
  const MFGBoundary periodic[2][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC},
                                      {MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC}};
  char file[PETSC_MAX_PATH_LEN], *uuid;
  MFGConfigErrors errors = {0};
  MFGGrid grid;
  double M[2 * 40];
  WriteSource("wave", 1, PETSC_TRUE, file);
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, 1, (int[]){40}, (double[]){0}, (double[]){2}, periodic,
                       &grid));
  MFG_OK(MFGResultReadFlow(file, &grid, NULL, 1, 1, M, &uuid, &errors));
  assert_int_equal(errors.count, 0);
  /* Weights 1/4 and 3/4; the sum over the fine cells is twice the old one: 2 + 4 + 18 = 24. */
  const double scale = 1 / (48 * 0.05);
  MFG_ASSERT_NEAR(M[0], 2.5 * scale, 1e-14);
  MFG_ASSERT_NEAR(M[39], 3.5 * scale, 1e-14);
  MFG_ASSERT_NEAR(M[1], 1.75 * scale, 1e-14);
  MFG_ASSERT_NEAR(M[79], 3.5 * scale, 1e-14);
  MFG_OK(PetscFree(uuid));
  MFG_OK(MFGGridDestroy(&grid));
}

/* On its own grid a flow stays as it is, in the first and last cells of a circle too: their
 * centres, divided by the spacing, are off by the last bit. */
static void OwnGridChangesNothing(void **state) {
  (void)state;
  const MFGBoundary periodic[1][2] = {{MFG_BOUNDARY_PERIODIC, MFG_BOUNDARY_PERIODIC}};
  char path[PETSC_MAX_PATH_LEN], file[PETSC_MAX_PATH_LEN], *uuid;
  double M[2 * 40];
  int64_t bytes;
  PathIn("own", path);
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/result.h5", path));
  for (int tenth = -9; tenth <= 9; tenth += 18) {
    const double lower = tenth / 10., upper = lower + 4.3;
    MFGConfigErrors errors = {0};
    Fixture f;
    FixtureCreate(&f, 1, (int[]){40}, 1, 1, 0, 0);
    MFG_OK(MFGGridDestroy(&f.grid));
    MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, 1, (int[]){40}, &lower, &upper, periodic, &f.grid));
    for (int i = 0; i < 80; i++) f.M[i] = (1 + i % 40) / (820 * f.grid.block.spacing[0]);
    MFG_OK(MFGResultWrite(path, &f.result, &bytes));
    MFG_OK(MFGResultReadFlow(file, &f.grid, NULL, 1, 1, M, &uuid, &errors));
    assert_int_equal(errors.count, 0);
    for (int i = 0; i < 80; i++) MFG_ASSERT_NEAR(M[i], f.M[i], 1e-12);
    MFG_OK(PetscFree(uuid));
    FixtureDestroy(&f);
  }
}

static void Refused(const char *file, const char *reason) {
  char *uuid = NULL;
  MFGConfigErrors errors = {0};
  Fixture f;
  FixtureCreate(&f, 1, (int[]){8}, 3, 1, 0, 0);
  MFG_OK(MFGResultReadFlow(file, &f.grid, NULL, 1, 3, f.M, &uuid, &errors));
  assert_int_equal(errors.count, 1);
  assert_null(uuid);
  if (!strstr(errors.text, reason) || strncmp(errors.text, file, strlen(file)))
    fail_msg("'%s' does not name %s and say '%s'", errors.text, file, reason);
  if (First()) print_message("%s", errors.text);
  MFG_OK(PetscFree(errors.text));
  FixtureDestroy(&f);
}

static void WriteNumber(hid_t h5, const char *dataset, const char *name, double value) {
  const hid_t d = H5Dopen2(h5, dataset, H5P_DEFAULT), a = H5Aopen(d, name, H5P_DEFAULT);
  assert_true(H5Awrite(a, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(a);
  H5Dclose(d);
}

/* A dataset of any shape in the place of another: nothing is stored of it. */
static void Replace(hid_t h5, const char *name, hid_t type, int rank, const hsize_t dims[],
                    const hsize_t chunk[]) {
  const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  const hid_t space = H5Screate_simple(rank, dims, (hsize_t[]){H5S_UNLIMITED, H5S_UNLIMITED});
  assert_true(H5Pset_chunk(list, rank, chunk) >= 0 && H5Ldelete(h5, name, H5P_DEFAULT) >= 0);
  const hid_t d = H5Dcreate2(h5, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
  assert_true(d >= 0);
  H5Dclose(d);
  H5Sclose(space);
  H5Pclose(list);
}

static void WriteDensity(hid_t h5, double at_42) {
  double m[5 * 20];
  const hid_t d = H5Dopen2(h5, "m", H5P_DEFAULT);
  for (int i = 0; i < 100; i++) m[i] = i == 42 ? at_42 : 1;
  assert_true(H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, m) >= 0);
  H5Dclose(d);
}

static const char *const spoiled[] = {
    "newer than",      "link to another file",   "not finite",
    "too narrow",      "has no attributes",      "holds fewer values",
    "chunks of 1e+09", "does not hold numbers",  "does not increase at level 1",
    "levels where /m", "layout 9?0, newer than", "is not there",
    "in other files"};

/* What a hand on the file's objects can do to it, in the order of `spoiled`. */
static void SpoilObjects(hid_t h5, int how) {
  const hid_t a = H5Aopen(h5, "layout_version", H5P_DEFAULT), type = H5Aget_type(a);
  const hsize_t flow[] = {5, 20}, huge[] = {5, (hsize_t)1 << 61}, one[] = {1, 1};
  if (how == 0) assert_true(H5Awrite(a, type, "9.0") >= 0);
  if (how == 1) {
    assert_true(H5Ldelete(h5, "m", H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_external("/etc/secret.h5", "/m", h5, "m", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  }
  if (how == 2) WriteDensity(h5, NAN);
  if (how == 3) WriteNumber(h5, "x", "upper", 5e-324);
  if (how == 4) WriteNumber(h5, "x", "upper", -1);
  if (how == 5) Replace(h5, "m", H5T_NATIVE_DOUBLE, 2, huge, one);
  if (how == 6) Replace(h5, "m", H5T_NATIVE_SCHAR, 2, flow, (hsize_t[]){1, 1000000000});
  if (how == 7) Replace(h5, "m", H5T_C_S1, 2, flow, one);
  if (how == 8) Replace(h5, "time", H5T_NATIVE_INT, 1, (hsize_t[]){5}, one);
  if (how == 9) Replace(h5, "time", H5T_NATIVE_INT, 1, huge + 1, one);
  if (how == 10) assert_true(H5Awrite(a, type, "9\0330") >= 0);
  if (how == 11) assert_true(H5Ldelete(h5, "x", H5P_DEFAULT) >= 0);
  if (how == 12) {
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, flow, NULL);
    assert_true(H5Pset_virtual(list, space, "/etc/secret.h5", "/m", space) >= 0 &&
                H5Ldelete(h5, "m", H5P_DEFAULT) >= 0);
    H5Dclose(H5Dcreate2(h5, "m", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(list);
  }
  H5Tclose(type);
  H5Aclose(a);
}

static void Spoil(const char *file, int how) {
  if (!First()) return;
  const hid_t h5 = H5Fopen(file, H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(h5 >= 0);
  SpoilObjects(h5, how);
  assert_true(H5Fclose(h5) >= 0);
}

static void FlipByte(const char *file) {
  if (!First()) return;
  double one = Linear(0, 0.05, 0.125, 1.375);
  char bytes[1 << 16];
  const int fd = open(file, O_RDWR);
  const ssize_t n = read(fd, bytes, sizeof bytes);
  for (ssize_t i = 0; i + 8 <= n; i++)
    if (!memcmp(bytes + i, &one, 8)) {
      bytes[i] ^= 1;
      assert_int_equal(pwrite(fd, bytes + i, 1, i), 1);
      close(fd);
      return;
    }
  fail_msg("the first density was not found in %s", file);
}

static void Copy(const char *from, const char *to) {
  if (!First()) return;
  char bytes[1 << 17];
  const int source = open(from, O_RDONLY), target = open(to, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  const ssize_t n = read(source, bytes, sizeof bytes);
  assert_true(n > 0 && n < (ssize_t)sizeof bytes && write(target, bytes, (size_t)n) == n);
  close(source);
  close(target);
}

static void RefusesWhatIsNoResult(void **state) {
  (void)state;
  char good[PETSC_MAX_PATH_LEN], file[PETSC_MAX_PATH_LEN], text[PETSC_MAX_PATH_LEN];
  PathIn("absent.h5", text);
  Refused(text, "No such file");
  PathIn("text.h5", text);
  if (First()) {
    const int fd = open(text, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_int_equal(write(fd, "case: 1\n", 8), 8);
    close(fd);
  }
  Refused(text, "is not an HDF5 file");
  WriteSource("plane", 2, PETSC_FALSE, file);
  Refused(file, "has 3 dimensions, 2 expected");
  PathIn("pipe.h5", text);
  if (First()) assert_true(!mkfifo(text, 0600) || errno == EEXIST);
  MPI_Barrier(PETSC_COMM_WORLD);
  Refused(text, "is not a file");
  if (First()) remove(text);
  WriteSource("good", 1, PETSC_FALSE, good);
  PathIn("spoiled.h5", file);
  for (int how = 0; how < (int)(sizeof spoiled / sizeof *spoiled); how++) {
    Copy(good, file);
    Spoil(file, how);
    MPI_Barrier(PETSC_COMM_WORLD);
    Refused(file, spoiled[how]);
  }
  Copy(good, file);
  FlipByte(file);
  MPI_Barrier(PETSC_COMM_WORLD);
  Refused(file, "checksum");
  Copy(good, file);
  if (First()) assert_int_equal(truncate(file, 5000), 0);
  MPI_Barrier(PETSC_COMM_WORLD);
  Refused(file, "cut short");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ExactForMultilinear), cmocka_unit_test(WrapsOverTheSeam),
    cmocka_unit_test(OwnGridChangesNothing), cmocka_unit_test(RefusesWhatIsNoResult)};

MFG_TEST_MAIN(tests)
