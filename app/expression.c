#include "app/expression.h"

#include <math.h>
#include <muParserDLL.h>
#include <stdio.h>

struct MFGExpression_ {
  muParserHandle_t parser; /* owned */
  double variable[4];      /* x, y, z, t: the parser reads them here */
  PetscBool uses_time;
};

static const char *const variables[] = {"x", "y", "z", "t"};

static double Sign(double a) {
  return (a > 0) - (a < 0);
}

/* NaN goes through, so that it is found and reported. */
static double Smallest(const double *a, int n) {
  double best = a[0];
  for (int i = 1; i < n; i++)
    if (a[i] < best || isnan(a[i])) best = a[i];
  return best;
}

static double Largest(const double *a, int n) {
  double best = a[0];
  for (int i = 1; i < n; i++)
    if (a[i] > best || isnan(a[i])) best = a[i];
  return best;
}

/* muParser's own functions are replaced: its `_pi` has 13 digits, its rint rounds 2.5 to 3. */
static const struct {
  const char *name;
  muFun1_t one;
  muFun2_t two;
  muMultFun_t many;
} functions[] = {
    {"abs", fabs, NULL, NULL},     {"acos", acos, NULL, NULL},   {"acosh", acosh, NULL, NULL},
    {"asin", asin, NULL, NULL},    {"asinh", asinh, NULL, NULL}, {"atan", atan, NULL, NULL},
    {"atan2", NULL, atan2, NULL},  {"atanh", atanh, NULL, NULL}, {"cbrt", cbrt, NULL, NULL},
    {"ceil", ceil, NULL, NULL},    {"cos", cos, NULL, NULL},     {"cosh", cosh, NULL, NULL},
    {"erf", erf, NULL, NULL},      {"exp", exp, NULL, NULL},     {"floor", floor, NULL, NULL},
    {"hypot", NULL, hypot, NULL},  {"ln", log, NULL, NULL},      {"log", log, NULL, NULL},
    {"log10", log10, NULL, NULL},  {"log2", log2, NULL, NULL},   {"max", NULL, NULL, Largest},
    {"min", NULL, NULL, Smallest}, {"rint", rint, NULL, NULL},   {"sign", Sign, NULL, NULL},
    {"sin", sin, NULL, NULL},      {"sinh", sinh, NULL, NULL},   {"sqrt", sqrt, NULL, NULL},
    {"tan", tan, NULL, NULL},      {"tanh", tanh, NULL, NULL},
};

#define FUNCTIONS ((int)(sizeof functions / sizeof *functions))

PetscBool MFGExpressionReserves(const char *name) {
  for (int i = 0; i < 4; i++)
    if (!strcmp(name, variables[i])) return PETSC_TRUE;
  for (int i = 0; i < FUNCTIONS; i++)
    if (!strcmp(name, functions[i].name)) return PETSC_TRUE;
  return (PetscBool)!strcmp(name, "pi");
}

void MFGExpressionPrintFunctions(FILE *stream) {
  for (int i = 0; i < FUNCTIONS; i++) fprintf(stream, "%s%s", i ? " " : "", functions[i].name);
  fputc('\n', stream);
}

static PetscBool SetError(MFGExpressionError *error, int position, const char *format, ...)
    PETSC_ATTRIBUTE_FORMAT(3, 4);
static PetscBool SetError(MFGExpressionError *error, int position, const char *format, ...) {
  va_list arguments;

  va_start(arguments, format);
  error->position = position;
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return PETSC_FALSE;
}

/* Refuses what muParser would take and should not: assignments, strings, very deep nesting. */
static PetscBool ScreenText(const char *text, MFGExpressionError *error) {
  const char *good = "+-*/^(),<>=!&|?:._ \t\n";
  int depth = 0;

  if (strlen(text) > MFG_EXPRESSION_MAX)
    return SetError(error, -1,
                    "longer than %d characters; name parts of it under 'constants', or "
                    "use a dataset",
                    MFG_EXPRESSION_MAX);
  if (!text[strspn(text, " \t\n")]) return SetError(error, -1, "empty; write 0 for nothing");
  for (int i = 0; text[i]; i++) {
    const char c = text[i], before = i ? text[i - 1] : ' ';
    const PetscBool word =
        (PetscBool)((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
    if (!word && !strchr(good, c))
      return SetError(error, i, "this character cannot be used in a formula; powers are x^2");
    if (c == '*' && before == '*') return SetError(error, i, "a power is written x^2, not x**2");
    if (c == '=' && !strchr("=<>!", before) && text[i + 1] != '=')
      return SetError(error, i, "a single = means nothing here; equality is ==");
    depth += (c == '(') - (c == ')');
    if (depth > 100) return SetError(error, i, "more than 100 nested parentheses");
  }
  return PETSC_TRUE;
}

static const char *NearestSymbol(const char *word, int n, const MFGConstant constants[]) {
  const char *names[FUNCTIONS + 5 + 200];
  int count = 0;

  for (int i = 0; i < 4; i++) names[count++] = variables[i];
  names[count++] = "pi";
  for (int i = 0; i < FUNCTIONS; i++) names[count++] = functions[i].name;
  for (int i = 0; i < n && i < 200; i++) names[count++] = constants[i].name;
  return MFGNearestName(word, count, names);
}

/* The word of [A-Za-z0-9_] that holds or follows position p. */
static int WordAt(const char *text, int p, size_t size, char word[]) {
  const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  const int length = (int)strlen(text);

  if (p < 0 || p > length) p = 0;
  size_t n = strspn(text + p, letters);
  if (n >= size) n = size - 1;
  memcpy(word, text + p, n);
  word[n] = 0;
  return p;
}

static void ExplainUnknown(const char *text, int position, int dim, PetscBool time_allowed, int n,
                           const MFGConstant constants[], MFGExpressionError *error) {
  char word[64];
  const int p = WordAt(text, position, sizeof word, word);

  if (!strcmp(word, "t") && !time_allowed) {
    SetError(error, p, "t cannot be used here; this is a function of position only");
    return;
  }
  for (int k = dim; k < 3; k++) {
    if (strcmp(word, variables[k])) continue;
    if (dim)
      SetError(error, p, "'%s' cannot be used: the domain has %d %s", word, dim,
               dim == 1 ? "axis, x" : "axes, x and y");
    else
      SetError(error, p, "a constant cannot depend on '%s'; it is one number", word);
    return;
  }
  const char *nearest = NearestSymbol(word, n, constants);
  if (!*word)
    SetError(error, p, "cannot be understood here; check operators and parentheses");
  else if (nearest)
    SetError(error, p, "unknown name '%s'; did you mean '%s'?", word, nearest);
  else
    SetError(error, p,
             "unknown name '%s'; define it under 'constants', or see 'nashflow help "
             "agents.initial_density' for the functions",
             word);
}

/* muParser's error codes, by what a user can do about them. */
static void Explain(muParserHandle_t parser, const char *text, int dim, PetscBool time_allowed,
                    int n, const MFGConstant constants[], MFGExpressionError *error) {
  enum { UNASSIGNABLE = 1, UNEXPECTED_END = 2, UNEXPECTED_VALUE = 6, MISSING_PARENTHESIS = 11 };
  const int code = mupGetErrorCode(parser), position = mupGetErrorPos(parser);
  const int length = (int)strlen(text), p = position > length ? length : position;
  const char *token = mupGetErrorToken(parser);

  if (code == UNASSIGNABLE)
    ExplainUnknown(text, p, dim, time_allowed, n, constants, error);
  else if (code == UNEXPECTED_END)
    SetError(error, p, "the formula ends too early");
  else if (code == MISSING_PARENTHESIS)
    SetError(error, p, "a closing parenthesis is missing");
  else if (code == UNEXPECTED_VALUE)
    SetError(error, p, "an operator is missing before '%.40s'; a product needs its *", token);
  else
    SetError(error, p, "wrong at '%.40s'; check arguments, operators and parentheses", token);
}

static PetscErrorCode DefineSymbols(MFGExpression e, int dim, PetscBool time_allowed, int n,
                                    const MFGConstant constants[]) {
  PetscFunctionBeginUser;
  mupClearConst(e->parser);
  mupClearFun(e->parser);
  for (int i = 0; i < FUNCTIONS; i++) {
    if (functions[i].one) mupDefineFun1(e->parser, functions[i].name, functions[i].one, 1);
    if (functions[i].two) mupDefineFun2(e->parser, functions[i].name, functions[i].two, 1);
    if (functions[i].many) mupDefineMultFun(e->parser, functions[i].name, functions[i].many, 1);
  }
  mupDefineConst(e->parser, "pi", PETSC_PI);
  for (int k = 0; k < dim; k++) mupDefineVar(e->parser, variables[k], &e->variable[k]);
  if (time_allowed) mupDefineVar(e->parser, variables[3], &e->variable[3]);
  for (int i = 0; i < n; i++) mupDefineConst(e->parser, constants[i].name, constants[i].value);
  PetscCheck(!mupError(e->parser), PETSC_COMM_SELF, PETSC_ERR_LIB, "muParser: %s",
             mupGetErrorMsg(e->parser));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* muParser keeps one line: breaks of a block scalar are blanks to it. */
static PetscErrorCode SetText(MFGExpression e, const char *text) {
  char *line;

  PetscFunctionBeginUser;
  PetscCall(PetscStrallocpy(text, &line));
  for (char *c = line; *c; c++)
    if (*c == '\n' || *c == '\t') *c = ' ';
  mupSetExpr(e->parser, line);
  PetscCall(PetscFree(line));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscBool UsesVariable(MFGExpression e, const char *name) {
  const int count = mupGetExprVarNum(e->parser);

  for (int i = 0; i < count; i++) {
    const char *used = NULL;
    double *value;
    mupGetExprVar(e->parser, (unsigned)i, &used, &value);
    if (used && !strcmp(used, name)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

PetscErrorCode MFGExpressionCreate(const char *text, int dim, PetscBool time_allowed, int n,
                                   const MFGConstant constants[], MFGExpression *expression,
                                   MFGExpressionError *error) {
  MFGExpression e;
  int results = 0;

  PetscFunctionBeginUser;
  *expression = NULL;
  if (!ScreenText(text, error)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscNew(&e));
  e->parser = mupCreate(muBASETYPE_FLOAT);
  PetscCall(DefineSymbols(e, dim, time_allowed, n, constants));
  PetscCall(SetText(e, text));
  mupEval(e->parser);
  if (mupError(e->parser)) {
    Explain(e->parser, text, dim, time_allowed, n, constants, error);
    PetscCall(MFGExpressionDestroy(&e));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  mupEvalMulti(e->parser, &results);
  if (results != 1) {
    const char *comma = strchr(text, ',');
    SetError(error, comma ? (int)(comma - text) : -1,
             "a comma separates arguments of a function; decimals have a point");
    PetscCall(MFGExpressionDestroy(&e));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  e->uses_time = (PetscBool)(time_allowed && UsesVariable(e, "t"));
  *expression = e;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGExpressionDestroy(MFGExpression *expression) {
  PetscFunctionBeginUser;
  if (!expression || !*expression) PetscFunctionReturn(PETSC_SUCCESS);
  mupRelease((*expression)->parser);
  PetscCall(PetscFree(*expression));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscBool MFGExpressionUsesTime(MFGExpression expression) {
  return expression->uses_time;
}

PetscErrorCode MFGExpressionEvaluate(MFGExpression e, int64_t n, const double *const x[], double t,
                                     double *values) {
  PetscFunctionBeginUser;
  e->variable[3] = t;
  for (int64_t i = 0; i < n; i++) {
    for (int k = 0; k < 3; k++)
      if (x[k]) e->variable[k] = x[k][i];
    values[i] = mupEval(e->parser);
  }
  PetscCheck(!mupError(e->parser), PETSC_COMM_SELF, PETSC_ERR_LIB, "muParser: %s",
             mupGetErrorMsg(e->parser));
  PetscFunctionReturn(PETSC_SUCCESS);
}
