/* What the ranks measure of the machine, and the choice that stated figures lead to. */
#include "tests/mfg_test.h"

#include <math.h>

#include "solvers/decomposition.h"

#define AGENTS 20000

static MFGSweepLayout Plane(int ranks) {
  MFGSweepLayout l = {.whole = {.dim = 2,
                                .cells = {64, 64, 1},
                                .count = {64, 64, 1},
                                .upper = {1, 1, 1},
                                .spacing = {1 / 64., 1 / 64., 1}},
                      .divisions = {ranks, 1, 1},
                      .agents = AGENTS,
                      .steps = 10,
                      .shape = {.order = 8, .scale = 40},
                      .radius = {11, 11, 0},
                      .deviation = 0.02};
  return l;
}

static void TestMeasured(void **state) {
  const MFGBackend *backend;
  MFGHints h;
  PetscMPIInt size;

  (void)state;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  const MFGSweepLayout l = Plane(size);
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &backend));
  MFG_OK(MFGHintsMeasure(PETSC_COMM_WORLD, backend, &l, &h));
  const double figure[] = {h.call_seconds,    h.memory_bandwidth, h.agent_seconds,
                           h.deposit_seconds, h.resident_seconds, h.product_seconds,
                           h.message_seconds, h.swap_bandwidth,   h.reduce_bandwidth};
  double first[9];
  for (int i = 0; i < 9; i++) {
    assert_true(isfinite(figure[i]) && figure[i] > 0);
    first[i] = figure[i];
  }
  MPI_Bcast(first, 9, MPI_DOUBLE, 0, PETSC_COMM_WORLD);
  assert_memory_equal(first, figure, sizeof first);
  assert_int_equal(h.network_stated, size == 1);
  assert_true(h.stage_bandwidth == 0);
}

/* Costs of agents alone are equal in both; domain pays one message a step, replicated the sum of
 * 36 moments of 64^2 cells and 3 sums of 2 x 64 cells, 8 bytes each, at 1 GB/s: 1.182720 ms. */
static void TestCrossover(void **state) {
  const double sum = 8e-9 * (36 * 64 * 64 + 3 * 128);
  const MFGSweepLayout l = Plane(2);
  double m0[64 * 64];

  (void)state;
  for (int i = 0; i < 64 * 64; i++) m0[i] = 1;
  for (int side = 0; side < 2; side++) {
    const MFGHints h = {.memory_bandwidth = INFINITY,
                        .agent_seconds = 1e-7,
                        .resident_seconds = 1e-7,
                        .message_seconds = sum * (side ? 1.001 : 0.999),
                        .swap_bandwidth = INFINITY,
                        .reduce_bandwidth = 1e9};
    const MFGDecompositionModel m = MFGDecompositionChoose(&l, m0, &h);
    assert_int_equal(m.choice, side ? MFG_DECOMPOSITION_REPLICATED : MFG_DECOMPOSITION_DOMAIN);
    MFG_ASSERT_NEAR(m.seconds[0], 1.1 * (AGENTS / 2 * 1e-7 + sum), 1e-12);
    MFG_ASSERT_NEAR(m.seconds[1], 1.1 * (AGENTS / 2 * 1e-7 + h.message_seconds), 1e-12);
  }
  /* A device's memory at 1 GB/s: two components of drift on the grid or on 34 x 66 cells there, and
   * a density of 32 x 64 cells back. */
  const MFGHints device = {.memory_bandwidth = INFINITY,
                           .stage_bandwidth = 1e9,
                           .swap_bandwidth = INFINITY,
                           .reduce_bandwidth = INFINITY};
  const MFGDecompositionModel staged = MFGDecompositionChoose(&l, m0, &device);
  MFG_ASSERT_NEAR(staged.seconds[0], 1.1 * 8e-9 * (2 * 64 * 64 + 32 * 64), 1e-12);
  MFG_ASSERT_NEAR(staged.seconds[1], 1.1 * 8e-9 * (2 * 34 * 66 + 32 * 64), 1e-12);
  assert_int_equal(MFGDecompositionChoose(&l, m0, NULL).choice, MFG_DECOMPOSITION_REPLICATED);
}

/* Deposits of half the agents and the sum of 36 moments of 64^2 cells over two ranks. */
static void TestEstimate(void **state) {
  const MFGSweepLayout l = Plane(2);
  const MFGHints h = {
      .memory_bandwidth = INFINITY, .deposit_seconds = 1e-8, .reduce_bandwidth = 1e9};

  (void)state;
  MFG_ASSERT_NEAR(MFGEstimateSeconds(&l, &h), AGENTS / 2 * 1e-8 + 8e-9 * 36 * 64 * 64, 1e-12);
}

/* Written out: rows of boxes within reach along x for every pair of powers, then along y; two boxes
 * a cell along x, four along y. */
static void TestProducts(void **state) {
  const int radius[] = {3, 2, 1};
  const MFGMomentShape shape = {.order = 4, .halvings = {1, 2, 0}};
  MFGBlock b = {.dim = 2, .cells = {20, 16, 1}, .count = {5, 4, 1}};
  double count = 0;

  (void)state;
  for (int row = 0; row < 4 * (4 + 2 * 2); row++)
    for (int l = 0; l < 4; l++) count += 5 * (4 - l) * 2 * 7;
  count += 5 * 4 * 4 * 4 * 5;
  MFG_ASSERT_NEAR(MFGConvolutionProducts(&b, &shape, radius), count, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestMeasured), cmocka_unit_test(TestCrossover), cmocka_unit_test(TestEstimate),
    cmocka_unit_test(TestProducts)};
MFG_TEST_MAIN(tests)
