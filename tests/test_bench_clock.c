/* The clock of the benches, on a device that is only played: what is asked for is done when
 * somebody waits for it, and takes known times. */
#include "tests/mfg_test.h"

#include <petsctime.h>
#include <unistd.h>

#include "app/bench_clock.h"

#define ZERO 0.01
#define SCAN 0.02
#define CONVOLVE 0.03
#define COPY 0.05

static double pending;

static void Sleep(double seconds) {
  (void)usleep((useconds_t)(1e6 * seconds));
}

static PetscErrorCode Synchronize(void) {
  Sleep(pending);
  pending = 0;
  return PETSC_SUCCESS;
}

static PetscErrorCode Copy(void *to, const void *from, size_t bytes, MFGCopyDirection direction) {
  (void)to, (void)from, (void)bytes;
  if (direction == MFG_COPY_WITHIN) return PETSC_SUCCESS;
  (void)Synchronize();
  Sleep(COPY);
  return PETSC_SUCCESS;
}

static PetscErrorCode Zero(void *array, size_t bytes) {
  (void)array, (void)bytes;
  pending += ZERO;
  return PETSC_SUCCESS;
}

static PetscErrorCode Scan(const MFGScan *job) {
  (void)job;
  pending += SCAN;
  return PETSC_SUCCESS;
}

static PetscErrorCode Convolve(const MFGConvolution *job, const int64_t *moments, double *density) {
  (void)job, (void)moments, (void)density;
  pending += CONVOLVE;
  return PETSC_SUCCESS;
}

static const MFGMemoryOps memory = {
    .name = "played", .copy = Copy, .zero = Zero, .synchronize = Synchronize};
static const MFGAgentsOps agents = {.name = "played", .scan = Scan};
static const MFGDensityOps density = {.name = "played", .convolve = Convolve};
static const MFGBackend played = {
    .name = "played", .memory = &memory, .agents = &agents, .density = &density};

/* Zeros, two scans, copies and a convolution, with time of the host's own in between. */
static void Work(const MFGBackend *b) {
  MFG_OK(b->memory->zero(NULL, 0));
  MFG_OK(b->agents->scan(NULL));
  MFG_OK(b->memory->copy(NULL, NULL, 0, MFG_COPY_FROM_HOST));
  Sleep(COPY);
  MFG_OK(b->agents->scan(NULL));
  MFG_OK(b->density->convolve(NULL, NULL, NULL));
  Sleep(COPY);
}

static void OnlyOperationsAreCounted(void **state) {
  const MFGBackend *b = MFGBenchClocked(&played);
  MFGBenchClock clock;
  PetscLogDouble start, end;
  (void)state;
  pending = 1e-3; /* of before */
  MFG_OK(PetscTime(&start));
  MFG_OK(MFGBenchClockStart());
  Work(b);
  MFG_OK(MFGBenchClockStop(&clock));
  MFG_OK(PetscTime(&end));
  assert_true(clock.agents >= ZERO + 2 * SCAN);
  assert_true(clock.density >= CONVOLVE);
  assert_true(clock.agents + clock.density <= end - start - 3 * COPY);
  assert_true(pending == 0);
}

/* Nobody is made to wait. */
static void ItDoesNothingWhileItIsOff(void **state) {
  const MFGBackend *b = MFGBenchClocked(&played);
  MFGBenchClock clock;
  (void)state;
  pending = 0;
  MFG_OK(b->agents->scan(NULL));
  MFG_OK(b->density->convolve(NULL, NULL, NULL));
  assert_true(pending == SCAN + CONVOLVE);
  MFG_OK(MFGBenchClockStart());
  MFG_OK(MFGBenchClockStop(&clock));
  assert_true(clock.agents == 0 && clock.density == 0);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(OnlyOperationsAreCounted),
                                          cmocka_unit_test(ItDoesNothingWhileItIsOff)};
MFG_TEST_MAIN(tests)
