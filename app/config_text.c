#include "app/config_values.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/utf8.h"

/* The fewest digits that read back to the same bits. */
static void PrintReal(FILE *f, double v) {
  char text[40];
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  fputs(text, f);
}

/* Double-quoted YAML; what libyaml would not read back as it is, is escaped. */
static void PrintQuoted(FILE *f, const char *text) {
  int length;

  fputc('"', f);
  for (; *text; text += length) {
    const unsigned p = MFGCodePoint(text, &length);
    if (p == '"' || p == '\\')
      fprintf(f, "\\%c", (int)p);
    else if (MFGIsPrintable(p))
      fwrite(text, 1, (size_t)length, f);
    else
      fprintf(f, p < 0x100 ? "\\x%02X" : "\\u%04X", p);
  }
  fputc('"', f);
}

/* Words stay bare, so that numbers and booleans of the free sections keep their type. */
static void PrintWord(FILE *f, const char *text, PetscBool plain) {
  const char *bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/";
  const PetscBool start =
      (PetscBool)(*text && strchr(bare, *text) && (*text != '-' || text[1] > '-'));

  if (plain && !*text)
    fputs("null", f);
  else if (plain && start && !text[strspn(text, bare)] && strcmp(text, "---") &&
           strcmp(text, "..."))
    fputs(text, f);
  else if (plain && !strcmp(text, "~"))
    fputs("null", f);
  else
    PrintQuoted(f, text);
}

static void PrintFree(FILE *f, const MFGYAMLNode *node) {
  if (node->kind == MFG_YAML_SCALAR) {
    PrintWord(f, node->value, node->plain);
    return;
  }
  fputc(node->kind == MFG_YAML_LIST ? '[' : '{', f);
  for (int i = 0; i < node->count; i++) {
    if (i) fputs(", ", f);
    if (node->kind == MFG_YAML_MAP) {
      PrintWord(f, node->child[i]->key, PETSC_TRUE);
      fputs(": ", f);
    }
    PrintFree(f, node->child[i]);
  }
  fputc(node->kind == MFG_YAML_LIST ? ']' : '}', f);
}

static void PrintFormula(FILE *f, const MFGFormula *formula) {
  if (formula->file) {
    fputs("{file: ", f);
    PrintQuoted(f, formula->file);
    fputs(", dataset: ", f);
    PrintQuoted(f, formula->dataset);
    fputc('}', f);
  } else {
    PrintQuoted(f, formula->expression ? formula->expression : "0");
  }
}

static void PrintConstants(FILE *f, const MFGConfig *c) {
  double number;

  fputc('{', f);
  for (int i = 0; i < c->constant_count; i++) {
    fprintf(f, "%s%s: ", i ? ", " : "", c->constants[i].name);
    if (MFGParseReal(c->constants[i].expression, &number))
      PrintReal(f, number);
    else
      PrintQuoted(f, c->constants[i].expression);
  }
  fputc('}', f);
}

static void PrintBoundary(FILE *f, const MFGConfig *c) {
  const char *name[] = {"periodic", "noflux"};

  fputc('[', f);
  for (int k = 0; k < c->dim; k++) {
    const MFGBoundary *b = c->domain.boundary[k];
    fputs(k ? ", " : "", f);
    if (b[0] == b[1])
      fputs(name[b[0]], f);
    else
      fprintf(f, "[%s, %s]", name[b[0]], name[b[1]]);
  }
  fputc(']', f);
}

static void PrintReals(FILE *f, int n, const double *v) {
  for (int k = 0; k < n; k++) {
    fputs(k ? ", " : "[", f);
    PrintReal(f, v[k]);
  }
  fputc(']', f);
}

static void PrintNumber(FILE *f, const MFGKey *key, const MFGYAMLNode *node) {
  double real = strtod(node->value, NULL);

  if (key->kind == MFG_KEY_REAL)
    PrintReal(f, real);
  else if (node->value[strspn(node->value, "0123456789")])
    fprintf(f, "%.0f", real);
  else
    fprintf(f, "%llu", strtoull(node->value, NULL, 10));
}

static void PrintValue(const MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                       FILE *f) {
  const MFGConfig *c = r->config;
  const void *field = key->offset == MFG_KEY_NOWHERE ? NULL : (const char *)c + key->offset;

  switch (key->kind) {
  case MFG_KEY_REAL:
  case MFG_KEY_INTEGER:
  case MFG_KEY_LONG:
  case MFG_KEY_SEED:
    PrintNumber(f, key, node);
    break;
  case MFG_KEY_CHOICE:
  case MFG_KEY_EITHER:
  case MFG_KEY_NAME:
    fputs(node->value, f);
    break;
  case MFG_KEY_TEXT:
    PrintQuoted(f, node->value);
    break;
  case MFG_KEY_REALS:
    PrintReals(f, c->dim, field);
    break;
  case MFG_KEY_FACTORS:
    PrintReals(f, ((const MFGFactors *)field)->count, ((const MFGFactors *)field)->value);
    break;
  case MFG_KEY_INTEGERS:
    for (int k = 0; k < c->dim; k++) fprintf(f, "%s%d", k ? ", " : "[", ((const int *)field)[k]);
    fputc(']', f);
    break;
  case MFG_KEY_FORMULA:
    PrintFormula(f, field);
    break;
  case MFG_KEY_FORMULAS:
    for (int k = 0; k < c->dim; k++) {
      fputs(k ? ", " : "[", f);
      PrintFormula(f, (const MFGFormula *)field + k);
    }
    fputc(']', f);
    break;
  case MFG_KEY_BOUNDARY:
    PrintBoundary(f, c);
    break;
  case MFG_KEY_BANDWIDTH:
    if (c->density.rule == MFG_BANDWIDTH_FIXED)
      PrintReals(f, c->dim, c->density.bandwidth);
    else
      fputs(node->value, f);
    break;
  case MFG_KEY_CONSTANTS:
    PrintConstants(f, c);
    break;
  case MFG_KEY_PETSC:
    if (MFGYAMLIsNull(node))
      fputs("{}", f);
    else
      PrintFree(f, node);
    break;
  case MFG_KEY_FREE:
    PrintFree(f, node);
    break;
  case MFG_KEY_RESERVED:
    break;
  }
}

/* Opens the sections of `path` that `last` was not in, then prints the key's own name. */
static void PrintPath(FILE *f, const char *path, const char *last) {
  int depth = 0;

  while (strchr(path, '.')) {
    const size_t length = strcspn(path, ".");
    const PetscBool same = (PetscBool)(last && !strncmp(path, last, length + 1));
    if (!same) fprintf(f, "%*s%.*s:\n", 2 * depth, "", (int)length, path);
    last = same ? last + length + 1 : NULL;
    path += length + 1;
    depth++;
  }
  fprintf(f, "%*s%s: ", 2 * depth, "", path);
}

/* A key that does not change what is computed. */
static PetscBool IsApart(const char *path) {
  static const char *const sections[] = {"output", "checkpoint", "metadata", "parallel", "backend"};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(sections); i++) {
    const size_t length = strlen(sections[i]);
    if (!strncmp(path, sections[i], length) && (!path[length] || path[length] == '.'))
      return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

PetscErrorCode MFGConfigPrint(const MFGConfigReader *r, PetscBool all, char **text) {
  const char *last = NULL;
  char *buffer = NULL;
  size_t size = 0;
  int count;
  const MFGKey *schema = MFGSchema(&count);
  FILE *f = open_memstream(&buffer, &size);

  PetscFunctionBeginUser;
  PetscCheck(f, PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for the effective input");
  for (int i = 0; i < count; i++) {
    const char *path = schema[i].path;
    if (schema[i].kind == MFG_KEY_RESERVED) continue;
    if (!all && IsApart(path)) continue;
    PrintPath(f, path, last);
    PrintValue(r, &schema[i], MFGYAMLFind(r->tree->root, path), f);
    fputc('\n', f);
    last = path;
  }
  const int failed = fclose(f);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for the effective input");
  PetscCall(PetscStrallocpy(buffer, text));
  free(buffer);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A line of a printed input: its indented name leads from the path before to its own. */
typedef struct {
  char path[200];
  const char *value; /* within the text */
  int length;
} Line;

/* The next line with a value; false at the end of the text. */
static PetscBool NextLine(const char **text, Line *line) {
  while (**text) {
    const char *start = *text, *end = start + strcspn(start, "\n");
    const int indent = (int)strspn(start, " ");
    const char *name = start + indent, *colon = memchr(name, ':', (size_t)(end - name));
    char *at = line->path;

    *text = *end ? end + 1 : end;
    if (!colon) continue;
    for (int depth = indent / 2; depth > 0 && *at; depth--) {
      at += strcspn(at, ".");
      at += *at == '.';
    }
    const size_t room = sizeof line->path - (size_t)(at - line->path);
    const PetscBool section = (PetscBool)(colon + 1 == end);
    (void)snprintf(at, room, "%.*s%s", (int)(colon - name), name, section ? "." : "");
    line->value = colon + 1 + (colon[1] == ' ');
    line->length = (int)(end - line->value);
    if (!section) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* The line of this path. */
static PetscBool FindLine(const char *text, const char *path, Line *line) {
  memset(line, 0, sizeof *line);
  while (NextLine(&text, line))
    if (!strcmp(line->path, path)) return PETSC_TRUE;
  return PETSC_FALSE;
}

PetscErrorCode MFGConfigCompare(const MFGConfig *c, const char *core, const char *origin,
                                MFGConfigErrors *errors) {
  const int before = errors->count;
  const char *text = c->core;
  Line own = {0}, other;

  PetscFunctionBeginUser;
  while (NextLine(&text, &own)) {
    const PetscBool found = FindLine(core, own.path, &other);
    if (found && own.length == other.length && !memcmp(own.value, other.value, (size_t)own.length))
      continue;
    PetscCall(MFGConfigErrorsAdd(errors, origin, "%s is %.*s there, %.*s in %s", own.path,
                                 found ? PetscMin(other.length, 200) : 7,
                                 found ? other.value : "not set", PetscMin(own.length, 200),
                                 own.value, c->path));
  }
  text = core;
  memset(&other, 0, sizeof other);
  while (NextLine(&text, &other))
    if (!FindLine(c->core, other.path, &own))
      PetscCall(MFGConfigErrorsAdd(errors, origin, "%s is set there, and no key of this program",
                                   other.path));
  if (errors->count == before)
    PetscCall(MFGConfigErrorsAdd(errors, origin, "made from another input than %s", c->path));
  PetscFunctionReturn(PETSC_SUCCESS);
}
