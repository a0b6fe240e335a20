/* What a sweep does with its levels: first guesses, the range of what is accepted, right-hand sides
 * and sums, against stated answers, for counts around the widths of vectors, blocks of threads and
 * grids of blocks.
 */
#include "tests/backends.h"
#include "tests/mfg_test.h"

#include "solvers/level_point.h"

enum { MOST = 70001 };
static const int64_t counts[] = {1, 15, 16, 17, 256, 257, 4097, MOST};
#define COUNTS ((int)(sizeof counts / sizeof counts[0]))

static double a[MOST], b[MOST], c[MOST], u[MOST];

/* The case of a number of tries: every backend with every count. */
static int64_t Case(int n, int tried, const MFGBackend *const backends[],
                    const MFGBackend **backend) {
  *backend = backends[n % tried];
  return counts[n / tried % COUNTS];
}

/* Parabolas with small integers as coefficients, of which all sums are exact: f(t) = i + j t + k
 * t^2 at t = 1, 2, 3 gives f(0) = i. With curvature 0 the line through the first two. */
static void GuessesFollowParabolas(void **state) {
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int tried = MFGTestBackends(backends);
  (void)state;
  for (int n = 0; n < tried * COUNTS; n++) {
    const MFGBackend *backend = backends[n % tried];
    MFGLevelGuess job = {
        .count = counts[n / tried], .base = a, .second = b, .third = c, .curvature = 1};
    for (int i = 0; i < job.count; i++) {
      const int j = i % 7 - 3, k = i % 5 - 2;
      a[i] = i + j + k;
      b[i] = i + 2 * j + 4 * k;
      c[i] = i + 3 * j + 9 * k;
    }
    MFG_OK(backend->level->guess(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == i);
    job.curvature = 0;
    MFG_OK(backend->level->guess(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == 2 * a[i] - b[i]);
    job.shift = c;
    MFG_OK(backend->level->guess(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == a[i] + c[i]);
  }
}

/* Values between -1 and 1 but for a largest, a smallest and a largest change, each anywhere; NaNs
 * are not counted. The factor 1/2 is exact. */
static void RangesAreFound(void **state) {
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int tried = MFGTestBackends(backends);
  (void)state;
  for (int n = 0; n < 5 * tried * COUNTS; n++) {
    const MFGBackend *backend = backends[n % tried];
    const int place = n / tried / COUNTS;
    const int64_t count = counts[n / tried % COUNTS], at = place * (count - 1) / 4,
                  other = (at + count / 2) % count, third = (at + count / 3) % count;
    MFGLevelRange range;
    for (int64_t i = 0; i < count; i++) {
      u[i] = (double)(i % 17 - 8) / 8;
      a[i] = u[i] - (double)(i % 3) / 4;
      b[i] = 99;
    }
    a[third] = u[third] + 6;
    u[other] = -3;
    a[other] = -2.5;
    u[at] = 7.5;
    a[at] = 7;
    if (count > 100) u[(at + 3) % count] = NAN;
    for (int64_t i = 0; i < count; i++) c[i] = 2 * u[i];
    const MFGLevelAccept job = {.count = count, .u = c, .factor = .5, .level = a, .shift = b};
    MFG_OK(backend->level->accept(&job, &range));
    assert_true(range.maximum == 7.5);
    assert_true(range.minimum == (count > 1 ? -3 : 7.5));
    assert_true(range.change == (count > 2 ? 6 : .5));
    for (int64_t i = 0; i < count; i++) assert_memory_equal(&a[i], &u[i], sizeof a[i]);
    assert_true(b[at] == .5);
    if (count > 1) assert_true(b[other] == -.5);
    if (count > 2) assert_true(b[third] == -6);
  }
}

/* Quotients and products that are exact, and 1/3 rounded once. */
static void RightSidesAreWhatTheySay(void **state) {
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST], *backend;
  const int tried = MFGTestBackends(backends);
  (void)state;
  for (int n = 0; n < tried * COUNTS; n++) {
    MFGLevelRight job = {.level = a, .dt = .25, .weight = -2};
    job.count = Case(n, tried, backends, &backend);
    for (int i = 0; i < job.count; i++) {
      a[i] = i % 11 - 5;
      b[i] = i % 7;
    }
    MFG_OK(backend->level->right_side(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == 4 * a[i]);
    job.source = b;
    MFG_OK(backend->level->right_side(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == 4 * a[i] - 2 * b[i]);
    job.dt = 3;
    MFG_OK(backend->level->right_side(&job, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == a[i] / 3 - 2 * b[i]);
    MFG_OK(backend->level->add(job.count, a, -2, b, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == a[i] - 2 * b[i]);
    MFG_OK(backend->level->add(job.count, u, 2, b, u));
    for (int i = 0; i < job.count; i++) assert_true(u[i] == a[i]);
  }
}

/* The order of solvers/level_point.h, written down once more: lanes, then halves of them, of parts
 * and then of all parts. */
static double Halves(double lane[]) {
  for (int width = MFG_SUM_LANES; width > 1; width /= 2)
    for (int l = 0; l < width / 2; l++) lane[l] = lane[l] + lane[l + width / 2];
  return lane[0];
}

static double Ordered(int64_t count, const double *x, const double *weight) {
  double part[MFG_SUM_LANES] = {0};
  for (int64_t first = 0, p = 0; first < count; first += MFG_SUM_PART, p++) {
    double lane[MFG_SUM_LANES] = {0};
    for (int64_t i = first; i < count && i < first + MFG_SUM_PART; i++)
      lane[i % MFG_SUM_LANES] += weight ? x[i] * weight[i] : x[i];
    part[p % MFG_SUM_LANES] += Halves(lane);
  }
  return Halves(part);
}

/* Whole numbers, whose sum is exact, and numbers between -1 and 1, to the bit in that order. */
static void SumsHaveOneOrder(void **state) {
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST], *backend;
  const int tried = MFGTestBackends(backends);
  (void)state;
  for (int n = 0; n < tried * COUNTS; n++) {
    const int64_t count = Case(n, tried, backends, &backend);
    double sum, whole = 0, weighted = 0;
    for (int i = 0; i < count; i++) {
      a[i] = i % 13 - 4;
      b[i] = i % 5;
      c[i] = sin(i * (double)i + 1);
      whole += a[i];
      weighted += a[i] * b[i];
    }
    MFG_OK(backend->level->sum(count, a, NULL, &sum));
    assert_true(sum == whole);
    MFG_OK(backend->level->sum(count, a, b, &sum));
    assert_true(sum == weighted);
    MFG_OK(backend->level->sum(count, c, NULL, &sum));
    assert_true(sum == Ordered(count, c, NULL));
    MFG_OK(backend->level->sum(count, c, a, &sum));
    assert_true(sum == Ordered(count, c, a));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(GuessesFollowParabolas), cmocka_unit_test(RangesAreFound),
    cmocka_unit_test(RightSidesAreWhatTheySay), cmocka_unit_test(SumsHaveOneOrder)};
MFG_TEST_MAIN(tests)
