/* Formulas against the C library, precedence, errors with their place. */
#include "tests/mfg_test.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/expression.h"

static MFGConstant constants[] = {{.name = "a", .value = 0.5}, {.name = "k_2", .value = -3}};

static double Value(const char *text, double x, double y, double t) {
  const double *const points[3] = {&x, &y, NULL};
  double value;
  MFGExpression e;
  MFGExpressionError error;
  MFG_OK(MFGExpressionCreate(text, 2, PETSC_TRUE, 2, constants, &e, &error));
  if (!e) fail_msg("%s: %s", text, error.message);
  MFG_OK(MFGExpressionEvaluate(e, 1, points, t, &value));
  MFG_OK(MFGExpressionDestroy(&e));
  return value;
}

static void TestValues(void **state) {
  const double x = 0.3, y = 1.7, t = 2.5;
  const struct {
    const char *text;
    double value;
  } cases[] = {
      {"x + 2*y - t/4", x + 2 * y - t / 4},
      {"-x^2", -(x * x)},
      {"2^3^2", 512},
      {"a*k_2", -1.5},
      {"1e-3 + .5 + 2.", 2.501},
      {"x < y ? 1 : 2", 1},
      {"x > y || y >= 1.7 && x != 0 ? 4 : 5", 4},
      {"abs(k_2) + acos(x) + acosh(y)", 3 + acos(x) + acosh(y)},
      {"asin(x) + asinh(x) + atan(x)", asin(x) + asinh(x) + atan(x)},
      {"atan2(x, y)", atan2(x, y)},
      {"atanh(x) + cbrt(x) + ceil(x)", atanh(x) + cbrt(x) + 1},
      {"cos(x) + cosh(x) + erf(x)", cos(x) + cosh(x) + erf(x)},
      {"exp(x) + floor(y) + hypot(x, y)", exp(x) + 1 + hypot(x, y)},
      {"ln(10)", log(10)},
      {"log(10)", log(10)},
      {"log10(1000) + log2(8)", 6},
      {"max(x, y, 3) + min(x, y)", 3 + x},
      {"rint(2.5) + sign(-y)", 1},
      {"sin(x) + sinh(x) + sqrt(y)", sin(x) + sinh(x) + sqrt(y)},
      {"tan(x) + tanh(x)", tan(x) + tanh(x)},
      {"pi", M_PI},
      {" x\n + 1\t", x + 1},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const double v = Value(cases[i].text, x, y, t);
    if (!(fabs(v - cases[i].value) <= 4e-15 * fabs(cases[i].value)))
      fail_msg("%s = %.17g, expected %.17g", cases[i].text, v, cases[i].value);
  }
  assert_true(isnan(Value("log(0 - x)", x, y, t)) && isinf(Value("1/(x - x)", x, y, t)));
  assert_true(isnan(Value("max(1, sqrt(0 - x))", x, y, t)));
}

static void TestBulk(void **state) {
  const double x[3] = {1, 2, 3}, y[3] = {10, 20, 30};
  const double *const points[3] = {x, y, NULL};
  double values[3];
  MFGExpression e;
  MFGExpressionError error;

  (void)state;
  MFG_OK(MFGExpressionCreate("x + y*t", 2, PETSC_TRUE, 0, NULL, &e, &error));
  MFG_OK(MFGExpressionEvaluate(e, 3, points, 2, values));
  assert_true(values[0] == 21 && values[1] == 42 && values[2] == 63);
  MFG_OK(MFGExpressionDestroy(&e));
  assert_null(e);
}

static PetscBool UsesTime(const char *text) {
  MFGExpression e;
  MFGExpressionError error;
  MFG_OK(MFGExpressionCreate(text, 1, PETSC_TRUE, 0, NULL, &e, &error));
  const PetscBool uses = MFGExpressionUsesTime(e);
  MFG_OK(MFGExpressionDestroy(&e));
  return uses;
}

static void TestUsesTime(void **state) {
  (void)state;
  assert_true(UsesTime("x*t"));
  assert_true(UsesTime("x > 2 ? t : 0"));
  assert_false(UsesTime("tanh(x) + sqrt(2)"));
}

static void TestErrors(void **state) {
  static const struct {
    const char *text;
    int position;
    const char *message;
  } cases[] = {
      {"", -1, "empty"},
      {"  ", -1, "empty"},
      {"x+", 2, "ends too early"},
      {"(x", 2, "closing parenthesis is missing"},
      {"x)", 1, "wrong at ')'"},
      {"2x", 1, "a product needs its *"},
      {"x y", 2, "operator is missing"},
      {"x = 3", 2, "equality is =="},
      {"x**2", 2, "written x^2"},
      {"\"text\"", 0, "cannot be used"},
      {"x;y", 1, "cannot be used"},
      {"x # 1", 2, "cannot be used"},
      {"1,2", 1, "decimals have a point"},
      {"z", 0, "2 axes, x and y"},
      {"t", 0, "t cannot be used"},
      {"coss(x)", 0, "did you mean 'cos'?"},
      {"2 + k_3", 4, "did you mean 'k_2'?"},
      {"_pi", 0, "unknown name '_pi'"},
      {"sin()", 4, "wrong at"},
      {"sin(1, 2)", 8, "wrong at"},
      {"x*\xc3\xa9", 2, "cannot be used"},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    MFGExpression e;
    MFGExpressionError error = {0};
    MFG_OK(MFGExpressionCreate(cases[i].text, 2, PETSC_FALSE, 2, constants, &e, &error));
    if (e) fail_msg("'%s' was taken", cases[i].text);
    if (!strstr(error.message, cases[i].message) || error.position != cases[i].position)
      fail_msg("'%s': got '%s' at %d, expected '%s' at %d", cases[i].text, error.message,
               error.position, cases[i].message, cases[i].position);
  }
}

/* Long, deep and random texts end with a message. */
static void TestHostile(void **state) {
  const char *letters = "xyt01.e+-*/^(),<>=!&|?: sincosmaxpi";
  const int n = (int)strlen(letters);
  unsigned seed = 12345;
  char *deep = calloc(1, 5001);

  (void)state;
  memset(deep, '(', 1999);
  for (int round = 0; round < 3000; round++) {
    MFGExpression e;
    MFGExpressionError error = {0};
    char text[64];
    int length = 1 + round % 60;
    for (int i = 0; i < length; i++) {
      seed = seed * 1664525u + 1013904223u;
      text[i] = letters[(seed >> 16) % (unsigned)n];
    }
    text[length] = 0;
    MFG_OK(MFGExpressionCreate(round ? text : deep, 2, PETSC_TRUE, 2, constants, &e, &error));
    if (!e) assert_true(*error.message);
    MFG_OK(MFGExpressionDestroy(&e));
  }
  free(deep);
}

static void TestReserved(void **state) {
  (void)state;
  assert_true(MFGExpressionReserves("x") && MFGExpressionReserves("t"));
  assert_true(MFGExpressionReserves("pi") && MFGExpressionReserves("log"));
  assert_false(MFGExpressionReserves("sigma") || MFGExpressionReserves("e"));
}

/* A decimal comma of the user's locale must not reach formulas. */
static void TestLocale(void **state) {
  const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"};

  (void)state;
  for (int i = 0; i < 4; i++)
    if (setlocale(LC_ALL, names[i])) break;
  assert_true(Value("1.5 + 0.25", 0, 0, 0) == 1.75);
  setlocale(LC_ALL, "C");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestValues), cmocka_unit_test(TestBulk),    cmocka_unit_test(TestUsesTime),
    cmocka_unit_test(TestErrors), cmocka_unit_test(TestHostile), cmocka_unit_test(TestReserved),
    cmocka_unit_test(TestLocale)};
MFG_TEST_MAIN(tests)
