/* What a sweep does with its levels: first guesses and the range of what is accepted, against
 * stated answers, for counts around the widths of vectors, blocks of threads and grids of blocks.
 */
#include "tests/backends.h"
#include "tests/mfg_test.h"

#include "solvers/level_point.h"

enum { MOST = 70001 };
static const int64_t counts[] = {1, 15, 16, 17, 256, 257, 4097, MOST};
#define COUNTS ((int)(sizeof counts / sizeof counts[0]))

static double a[MOST], b[MOST], c[MOST], u[MOST];

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
 * are not counted. */
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
    MFG_OK(backend->level->accept(count, u, a, b, &range));
    assert_true(range.maximum == 7.5);
    assert_true(range.minimum == (count > 1 ? -3 : 7.5));
    assert_true(range.change == (count > 2 ? 6 : .5));
    for (int64_t i = 0; i < count; i++) assert_memory_equal(&a[i], &u[i], sizeof a[i]);
    assert_true(b[at] == .5);
    if (count > 1) assert_true(b[other] == -.5);
    if (count > 2) assert_true(b[third] == -6);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(GuessesFollowParabolas),
                                          cmocka_unit_test(RangesAreFound)};
MFG_TEST_MAIN(tests)
