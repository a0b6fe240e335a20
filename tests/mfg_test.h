/* Common to all tests: cmocka with PETSc and MPI. */
#pragma once

#include <petscsys.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A failing PETSc call fails the test. */
#define MFG_OK(call) assert_int_equal((call), PETSC_SUCCESS)

#define MFG_ASSERT_NEAR(a, b, bound)                                                               \
  do {                                                                                             \
    const double a_ = (a), b_ = (b), bound_ = (bound);                                             \
    if (!(fabs(a_ - b_) <= bound_))                                                                \
      fail_msg("%s = %.17g, expected %.17g within %.3g, off by %.3g", #a, a_, b_, bound_,          \
               a_ - b_);                                                                           \
  } while (0)

/* Exit code of a test that cannot be done here. */
#define MFG_SKIPPED 16

/* Where tests are meant for a GPU (tests/backends.h) and some rank has none, all ranks skip: unless
 * MFG_TEST_REQUIRE_GPU is set, then they fail. */
PetscErrorCode MFGTestSkip(int *exit_code);
#define MFG_TEST_SKIP()                                                                            \
  do {                                                                                             \
    int skip_;                                                                                     \
    if (MFGTestSkip(&skip_)) return 1;                                                             \
    if (skip_) return PetscFinalize() ? 1 : skip_;                                                 \
  } while (0)

/* Ends all ranks with exit code 1, whatever libraries say of being ended. */
void MFGTestAbort(void);

/* Runs the tests on all ranks; the exit code is 0 only when all tests pass on this rank. */
#define MFG_TEST_MAIN(tests)                                                                       \
  int main(int argc, char **argv) {                                                                \
    if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;                                       \
    MFG_TEST_SKIP();                                                                               \
    int failed = cmocka_run_group_tests(tests, NULL, NULL);                                        \
    if (failed) MFGTestAbort();                                                                    \
    if (PetscFinalize()) return 1;                                                                 \
    return 0;                                                                                      \
  }
