/* Writes synthetic results that test_output_read.py reads back with other programs' readers. */
#include "tests/output_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static void Write(Fixture *f, const char *name) {
  char path[PETSC_MAX_PATH_LEN], file[PETSC_MAX_PATH_LEN];
  struct stat h5, xmf;
  int64_t bytes;

  PathIn(name, path);
  MFG_OK(MFGResultWrite(path, &f->result, &bytes));
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/result.h5", path));
  assert_int_equal(stat(file, &h5), 0);
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/result.xmf", path));
  assert_int_equal(stat(file, &xmf), 0);
  assert_int_equal(bytes, h5.st_size + xmf.st_size);
  MFG_OK(PetscSNPrintf(file, sizeof file, "%s/result.h5.part", path));
  assert_int_not_equal(access(file, F_OK), 0);
  /* In 1D rank 0 writes alone and must not begin the next file while others look at this one. */
  MPI_Barrier(PETSC_COMM_WORLD);
}

static void WritesOneDimension(void **state) {
  (void)state;
  Fixture f;
  FixtureCreate(&f, 1, (int[]){40}, 10, 1, 8, 5);
  Write(&f, "1d");
  FixtureDestroy(&f);
}

static void WritesTwoDimensions(void **state) {
  (void)state;
  Fixture f;
  FixtureCreate(&f, 2, (int[]){25, 18}, 10, 3, 8, 5);
  f.result.control = f.control;
  f.result.parent_uuid = "11111111-2222-4333-8444-555555555555";
  Write(&f, "2d");
  FixtureDestroy(&f);
}

static void WritesThreeDimensions(void **state) {
  (void)state;
  Fixture f;
  FixtureCreate(&f, 3, (int[]){25, 18, 11}, 10, 3, 8, 5);
  f.result.control = f.control;
  Write(&f, "3d");
  FixtureDestroy(&f);
}

/* No iterations, no agents, one level kept of each end, an input longer than an attribute of the
 * old format may be. */
static void WritesExtremes(void **state) {
  (void)state;
  Fixture f;
  char *text;
  FixtureCreate(&f, 2, (int[]){7, 5}, 3, 100, 0, 0);
  MFG_OK(PetscMalloc1(100001, &text));
  memset(text, '#', 100000);
  text[100000] = 0;
  f.config.text = text;
  f.result.status = "interrupted";
  f.result.mean = NULL;
  Write(&f, "extreme");
  MFG_OK(PetscFree(text));
  FixtureDestroy(&f);
}

/* A second result replaces the first one as a whole. */
static void Replaces(void **state) {
  (void)state;
  Fixture f;
  FixtureCreate(&f, 1, (int[]){10}, 4, 1, 1, 0);
  Write(&f, "deep/er/replaced");
  f.result.stop_reason = "max_iterations";
  Write(&f, "deep/er/replaced");
  FixtureDestroy(&f);
}

/* For the scripts that draw; by one rank, as the smaller ones show all there is to parallel
 * writing. */
static void WritesPictureSize(void **state) {
  (void)state;
  Fixture f;
  PetscMPIInt size;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  if (size > 1) skip();
  FixtureCreate(&f, 2, (int[]){96, 60}, 20, 1, 14, 40);
  Write(&f, "picture");
  FixtureDestroy(&f);
  FixtureCreate(&f, 3, (int[]){64, 40, 32}, 10, 1, 14, 200);
  Write(&f, "picture3");
  FixtureDestroy(&f);
}

/* Writes a large result on request and says how long it took: -large. */
static void WritesLarge(void **state) {
  (void)state;
  PetscBool large = PETSC_FALSE;
  MFG_OK(PetscOptionsGetBool(NULL, NULL, "-large", &large, NULL));
  if (!large) skip();
  Fixture f;
  FixtureCreate(&f, 2, (int[]){256, 256}, 200, 1, 50, 100);
  PetscLogDouble begin, end;
  MFG_OK(PetscTime(&begin));
  Write(&f, "large");
  MFG_OK(PetscTime(&end));
  MFG_OK(PetscPrintf(PETSC_COMM_WORLD, "large: %.2f s\n", end - begin));
  FixtureDestroy(&f);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(WritesOneDimension),
                                          cmocka_unit_test(WritesTwoDimensions),
                                          cmocka_unit_test(WritesThreeDimensions),
                                          cmocka_unit_test(WritesExtremes),
                                          cmocka_unit_test(Replaces),
                                          cmocka_unit_test(WritesPictureSize),
                                          cmocka_unit_test(WritesLarge)};

MFG_TEST_MAIN(tests)
