/* The normal deviate: error against long double libm, and its distribution. The samples are fixed
 * by the seed, so the statistical bounds (5 standard errors) are met or missed once for all. */
#include "solvers/random.h"
#include "tests/mfg_test.h"

#define PI_L 3.141592653589793238462643383279502884L

/* Words at both ends, around the steps of exponent and quarter turn, and all over. */
static uint32_t Word(uint32_t k) {
  if (k < 1000) return k;
  if (k < 2000) return 0u - (k - 999);
  if (k < 3000) return (UINT32_C(1) << (k % 32)) + k % 7 - 3;
  if (k < 4000) return UINT32_C(0x20000000) * (k % 8) + k % 5 - 2;
  if (k < 5000) return 3037000499u - 4500u + 9u * (k - 4000); /* sqrt(1/2) 2^32 */
  return k * 2654435761u;
}

static void ErrorAgainstLibm(void **state) {
  (void)state;
  double log_error = 0, turn_error = 0, normal_error = 0;
  for (uint32_t k = 0; k < 1000000; k++) {
    const uint32_t w = Word(k), v = Word(k * 7 + 3);
    const long double l = logl((w + 0.5L) / 4294967296.0L),
                      a = 2 * PI_L * (v + 0.5L) / 4294967296.0L;
    const long double r = sqrtl(-2 * l), cosine = cosl(a), sine = sinl(a);
    double c, s, z0, z1;
    log_error = PetscMax(log_error, (double)fabsl(MFGLogUniform(w) / l - 1));
    MFGTurn(v, &c, &s);
    turn_error = PetscMax(turn_error, (double)PetscMax(fabsl(c - cosine), fabsl(s - sine)));
    MFGNormalPair(w, v, &z0, &z1);
    normal_error = PetscMax(normal_error, (double)fabsl(z0 - r * cosine));
    normal_error = PetscMax(normal_error, (double)fabsl(z1 - r * sine));
    assert_true(fabs(z0) < 6.77 && fabs(z1) < 6.77);
  }
  MFG_ASSERT_NEAR(log_error, 0, 3e-16);
  MFG_ASSERT_NEAR(turn_error, 0, 2e-16);
  MFG_ASSERT_NEAR(normal_error, 0, 2e-15);
}

#define SAMPLES 400000

static double *Draw(uint64_t seed) {
  double *z = malloc(SAMPLES * sizeof *z);
  assert_non_null(z);
  for (int i = 0; i < SAMPLES; i += 4)
    MFGNormals(seed, (uint64_t)(i / 16), (uint32_t)(i / 4 % 4),
               MFGRandomStream(MFG_PURPOSE_STEP, 0), &z[i], &z[i + 1], &z[i + 2], &z[i + 3]);
  return z;
}

/* E z^k = 0, 1, 0, 3, 0, 15; variances of the sample moments E z^2k - (E z^k)^2. */
static void Moments(void **state) {
  (void)state;
  const double expected[] = {0, 1, 0, 3, 0, 15}, spread[] = {1, 2, 15, 96, 945, 10170};
  double *z = Draw(1), sum[6] = {0}, pairs[3] = {0};
  for (int i = 0; i < SAMPLES; i++) {
    double power = 1;
    for (int k = 0; k < 6; k++) sum[k] += power *= z[i];
    for (int lag = 1; lag <= 3; lag++) pairs[lag - 1] += z[i] * z[(i + lag) % SAMPLES];
  }
  for (int k = 0; k < 6; k++)
    MFG_ASSERT_NEAR(sum[k] / SAMPLES, expected[k], 5 * sqrt(spread[k] / SAMPLES));
  for (int lag = 0; lag < 3; lag++) MFG_ASSERT_NEAR(pairs[lag] / SAMPLES, 0, 5 / sqrt(SAMPLES));
  free(z);
}

static int Ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The Kolmogorov-Smirnov distance of normal samples exceeds 1.95 / sqrt(n) once in a thousand. */
static void KolmogorovSmirnov(void **state) {
  (void)state;
  double *z = Draw(2), distance = 0;
  qsort(z, SAMPLES, sizeof *z, Ascending);
  for (int i = 0; i < SAMPLES; i++) {
    const double phi = 0.5 * erfc(-z[i] / sqrt(2));
    distance = PetscMax(distance, fabs(phi - (i + 0.5) / SAMPLES));
  }
  MFG_ASSERT_NEAR(distance, 0, 1.95 / sqrt(SAMPLES));
  free(z);
}

static void AnotherSeedDiffers(void **state) {
  (void)state;
  double *a = Draw(1), *b = Draw(1), *c = Draw(UINT64_C(1) << 32 | 1);
  int equal = 0;
  assert_memory_equal(a, b, SAMPLES * sizeof *a);
  for (int i = 0; i < SAMPLES; i++) equal += a[i] == c[i];
  assert_true(equal < 10);
  free(a);
  free(b);
  free(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ErrorAgainstLibm), cmocka_unit_test(Moments),
    cmocka_unit_test(KolmogorovSmirnov), cmocka_unit_test(AnotherSeedDiffers)};
MFG_TEST_MAIN(tests)
