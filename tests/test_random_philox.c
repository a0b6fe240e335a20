/* Philox4x32-10 against the known answers published with Random123 (kat_vectors), and the layout of
 * counter and key that numerics.md states. */
#include "solvers/random.h"
#include "tests/mfg_test.h"

static void KnownAnswers(void **state) {
  (void)state;
  static const uint32_t counter[3][4] = {{0, 0, 0, 0},
                                         {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
                                         {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}};
  static const uint32_t key[3][2] = {
      {0, 0}, {0xffffffffu, 0xffffffffu}, {0xa4093822u, 0x299f31d0u}};
  static const uint32_t answer[3][4] = {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u},
                                        {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu},
                                        {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}};
  for (int t = 0; t < 3; t++) {
    uint32_t w[4];
    memcpy(w, counter[t], sizeof w);
    MFGPhilox(key[t][0], key[t][1], &w[0], &w[1], &w[2], &w[3]);
    for (int i = 0; i < 4; i++) assert_int_equal(w[i], answer[t][i]);
  }
}

/* Slot 0 .. 3 of a block come from the words of counter (id low, id high, block, stream). */
static void CounterLayout(void **state) {
  (void)state;
  const uint64_t seed = UINT64_C(0x0123456789abcdef), id = UINT64_C(0xfedcba9876543210);
  const uint32_t stream = MFGRandomStream(MFG_PURPOSE_STEP, 77), block = 5;
  assert_int_equal(stream, 0x1000004du);
  assert_int_equal(MFGRandomStream(MFG_PURPOSE_POSITION, 0xf0000001u), 1);
  uint32_t w[4] = {0x76543210u, 0xfedcba98u, block, stream};
  MFGPhilox(0x89abcdefu, 0x01234567u, &w[0], &w[1], &w[2], &w[3]);
  double z[4];
  MFGNormals(seed, id, block, stream, &z[0], &z[1], &z[2], &z[3]);
  for (int pair = 0; pair < 2; pair++) {
    const double u = (w[2 * pair] + 0.5) / 4294967296.0, v = (w[2 * pair + 1] + 0.5) / 4294967296.0;
    MFG_ASSERT_NEAR(z[2 * pair], sqrt(-2 * log(u)) * cos(2 * PETSC_PI * v), 5e-15);
    MFG_ASSERT_NEAR(z[2 * pair + 1], sqrt(-2 * log(u)) * sin(2 * PETSC_PI * v), 5e-15);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(KnownAnswers),
                                          cmocka_unit_test(CounterLayout)};
MFG_TEST_MAIN(tests)
