#include "app/config_values.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/utf8.h"

PetscBool MFGParseReal(const char *text, double *value) {
  const char *c = text + (*text == '+' || *text == '-');
  const size_t whole = strspn(c, "0123456789");
  c += whole;
  const size_t part = *c == '.' ? strspn(c + 1, "0123456789") : 0;
  if (*c == '.') c += part + 1;
  if (!whole && !part) return PETSC_FALSE;
  if (*c == 'e' || *c == 'E') {
    c += 1 + (c[1] == '+' || c[1] == '-');
    const size_t digits = strspn(c, "0123456789");
    if (!digits) return PETSC_FALSE;
    c += digits;
  }
  if (*c) return PETSC_FALSE;
  *value = strtod(text, NULL);
  return (PetscBool)isfinite(*value);
}

/* Digits keep all 64 bits; 2e5 counts as whole too. */
static PetscBool ParseWhole(const char *text, uint64_t *value) {
  double real;

  if (*text && !text[strspn(text, "0123456789")]) {
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return (PetscBool)!errno;
  }
  if (!MFGParseReal(text, &real) || real < 0 || real > 9007199254740992.0 || real != floor(real))
    return PETSC_FALSE;
  *value = (uint64_t)real;
  return PETSC_TRUE;
}

static void *Field(const MFGConfigReader *r, const MFGKey *key) {
  return (char *)r->config + key->offset;
}

PetscErrorCode MFGConfigRefuse(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node) {
  const char *kinds[] = {"", "a list", "a section with keys"};
  char place[MFG_YAML_PLACE], expects[300], got[100], guess[100] = "";

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_FALSE, place);
  MFGKeyExpects(key, sizeof expects, expects);
  /* Of an entry of a list the message is about the entry. */
  const char *list = "a list with ";
  const char *need =
      expects + (!node->key && !strncmp(expects, list, strlen(list)) ? strlen(list) : 0);
  if (node->kind != MFG_YAML_SCALAR)
    snprintf(got, sizeof got, "%s", kinds[node->kind]);
  else if (MFGYAMLIsNull(node))
    snprintf(got, sizeof got, "nothing");
  else
    snprintf(got, sizeof got, "'%.60s'%s", node->value, strlen(node->value) > 60 ? "..." : "");
  if (node->kind == MFG_YAML_SCALAR && key->choices) {
    char words[200], *rest = words;
    const char *names[8];
    int n = 0;
    snprintf(words, sizeof words, "%s", key->choices);
    for (char *w = strtok_r(words, "|", &rest); w && n < 8; w = strtok_r(NULL, "|", &rest))
      names[n++] = w;
    const char *nearest = MFGNearestName(node->value, n, names);
    if (nearest) snprintf(guess, sizeof guess, "; did you mean '%s'?", nearest);
  }
  PetscCall(
      MFGConfigErrorsAdd(r->errors, place, "%s must be %s, not %s%s", key->path, need, got, guess));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* True when the value is one that a later version will take; says so. */
static PetscErrorCode RefuseLater(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  PetscBool *refused) {
  char place[MFG_YAML_PLACE], list[200];

  PetscFunctionBeginUser;
  *refused = (PetscBool)(MFGChoiceIndex(key->later, node->value) >= 0);
  if (!*refused) PetscFunctionReturn(PETSC_SUCCESS);
  MFGYAMLPlace(node, PETSC_FALSE, place);
  MFGChoiceList(key->choices, sizeof list, list);
  PetscCall(MFGConfigErrorsAdd(r->errors, place,
                               "%s: '%s' is not there yet in nashflow " MFG_VERSION "; use %s",
                               key->path, node->value, list));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscBool InRange(const MFGKey *key, double v) {
  return (PetscBool)((key->above ? v > key->low : v >= key->low) && v <= key->high);
}

static PetscErrorCode DecodeReal(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                 double *value) {
  double v;

  PetscFunctionBeginUser;
  if (node->kind == MFG_YAML_SCALAR && MFGParseReal(node->value, &v) && InRange(key, v))
    *value = v;
  else
    PetscCall(MFGConfigRefuse(r, key, node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeWhole(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  uint64_t *value) {
  uint64_t v;

  PetscFunctionBeginUser;
  if (node->kind == MFG_YAML_SCALAR && ParseWhole(node->value, &v) && InRange(key, (double)v))
    *value = v;
  else
    PetscCall(MFGConfigRefuse(r, key, node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeChoice(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                   int *index) {
  PetscBool later = PETSC_FALSE;

  PetscFunctionBeginUser;
  *index = node->kind == MFG_YAML_SCALAR ? MFGChoiceIndex(key->choices, node->value) : -1;
  if (*index >= 0) PetscFunctionReturn(PETSC_SUCCESS);
  if (node->kind == MFG_YAML_SCALAR) PetscCall(RefuseLater(r, key, node, &later));
  if (!later) PetscCall(MFGConfigRefuse(r, key, node));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeText(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                 char **text) {
  PetscFunctionBeginUser;
  if (node->kind != MFG_YAML_SCALAR || MFGYAMLIsNull(node) || !*node->value ||
      !MFGIsText(node->value))
    PetscCall(MFGConfigRefuse(r, key, node));
  else
    PetscCall(PetscStrallocpy(node->value, text));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigCheckAxes(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  PetscBool *good) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  *good = PETSC_FALSE;
  MFGYAMLPlace(node, PETSC_FALSE, place);
  if (node->kind != MFG_YAML_LIST)
    PetscCall(MFGConfigRefuse(r, key, node));
  else if (r->dim && node->count != r->dim)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "%s has %d %s, but the domain has %d (by domain.lower); "
                                 "give one value per axis",
                                 key->path, node->count, node->count == 1 ? "entry" : "entries",
                                 r->dim));
  else
    *good = (PetscBool)(node->count <= MFG_MAX_DIM);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeReals(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  double value[]) {
  PetscBool good;

  PetscFunctionBeginUser;
  PetscCall(MFGConfigCheckAxes(r, key, node, &good));
  for (int k = 0; good && k < node->count; k++)
    PetscCall(DecodeReal(r, key, node->child[k], &value[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Factors go towards 1 without a step back, and end there. */
static PetscErrorCode DecodeFactors(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                    MFGFactors *factors) {
  const int errors = r->errors->count;
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (node->kind != MFG_YAML_LIST || node->count < 1 || node->count > MFG_MAX_FACTORS) {
    PetscCall(MFGConfigRefuse(r, key, node));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  factors->count = node->count;
  for (int k = 0; k < node->count; k++)
    PetscCall(DecodeReal(r, key, node->child[k], &factors->value[k]));
  if (r->errors->count > errors) PetscFunctionReturn(PETSC_SUCCESS);
  const double *f = factors->value;
  const char *way = key->high > 1 ? "descend" : "ascend";
  int k = 1;
  while (k < node->count && fabs(f[k] - 1) < fabs(f[k - 1] - 1)) k++;
  if (k == node->count && f[k - 1] == 1) PetscFunctionReturn(PETSC_SUCCESS);
  MFGYAMLPlace(node->child[PetscMin(k, node->count - 1)], PETSC_FALSE, place);
  if (k < node->count)
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%s: %g after %g; the factors must %s to 1",
                                 key->path, f[k], f[k - 1], way));
  else
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%s: it ends at %g; the factors must %s to 1",
                                 key->path, f[k - 1], way));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeIntegers(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                     int value[]) {
  PetscBool good;

  PetscFunctionBeginUser;
  PetscCall(MFGConfigCheckAxes(r, key, node, &good));
  for (int k = 0; good && k < node->count; k++) {
    uint64_t v = 0;
    PetscCall(DecodeWhole(r, key, node->child[k], &v));
    value[k] = (int)v;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One word for both faces, or [low, high]. */
static PetscErrorCode DecodeFaces(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  MFGBoundary faces[2]) {
  const PetscBool pair = (PetscBool)(node->kind == MFG_YAML_LIST && node->count == 2);
  int index;

  PetscFunctionBeginUser;
  for (int side = 0; side < 2; side++) {
    if (side && !pair)
      faces[1] = faces[0];
    else {
      PetscCall(DecodeChoice(r, key, pair ? node->child[side] : node, &index));
      faces[side] = index == 0 ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX;
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeBoundary(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                     MFGBoundary boundary[][2]) {
  PetscBool good;

  PetscFunctionBeginUser;
  if (node->kind == MFG_YAML_SCALAR) {
    PetscCall(DecodeFaces(r, key, node, boundary[0]));
    for (int k = 1; k < MFG_MAX_DIM; k++) memcpy(boundary[k], boundary[0], sizeof boundary[0]);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGConfigCheckAxes(r, key, node, &good));
  for (int k = 0; good && k < node->count; k++)
    PetscCall(DecodeFaces(r, key, node->child[k], boundary[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeBandwidth(MFGConfigReader *r, const MFGKey *key,
                                      const MFGYAMLNode *node) {
  const int rule = node->kind == MFG_YAML_SCALAR ? MFGChoiceIndex(key->choices, node->value) : -1;
  double *h = r->config->density.bandwidth;

  PetscFunctionBeginUser;
  r->config->density.rule = rule == 0   ? MFG_BANDWIDTH_SILVERMAN
                            : rule == 1 ? MFG_BANDWIDTH_SCOTT
                                        : MFG_BANDWIDTH_FIXED;
  if (rule >= 0) PetscFunctionReturn(PETSC_SUCCESS);
  if (node->kind == MFG_YAML_LIST) {
    PetscCall(DecodeReals(r, key, node, h));
  } else {
    PetscCall(DecodeReal(r, key, node, &h[0]));
    for (int k = 1; k < MFG_MAX_DIM; k++) h[k] = h[0];
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* PETSc splits its option text at blanks: a value with one would be more options. */
static PetscBool IsOptionWord(const char *word, PetscBool name) {
  double number;

  if (!name && *word == '-' && !MFGParseReal(word, &number)) return PETSC_FALSE;
  if (name && !isalpha((unsigned char)*word)) return PETSC_FALSE;
  for (const char *c = word; *c; c++)
    if (name ? !isalnum((unsigned char)*c) && !strchr("_-.", *c)
             : !isgraph((unsigned char)*c) || strchr("#\"'", *c))
      return PETSC_FALSE;
  return PETSC_TRUE;
}

static PetscErrorCode DecodePetsc(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node) {
  char place[MFG_YAML_PLACE], text[1200];

  PetscFunctionBeginUser;
  if (node->kind != MFG_YAML_MAP) {
    if (!MFGYAMLIsNull(node)) PetscCall(MFGConfigRefuse(r, key, node));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscCalloc1(node->count, &r->config->petsc_options));
  for (int i = 0; i < node->count; i++) {
    const MFGYAMLNode *option = node->child[i];
    MFGYAMLPlace(option, PETSC_TRUE, place);
    if (!IsOptionWord(option->key, PETSC_TRUE)) {
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "petsc: '%s' is not the name of an option; "
                                   "write it without its dash, as in hjb_ksp_type",
                                   option->key));
    } else if (option->kind != MFG_YAML_SCALAR || strlen(option->value) > 1000 ||
               !IsOptionWord(option->value, PETSC_FALSE)) {
      PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                   "petsc.%s must have one word as its value, "
                                   "without blanks, quotes and #; longer ones go after -- on the "
                                   "command line",
                                   option->key));
    } else {
      snprintf(text, sizeof text, MFGYAMLIsNull(option) ? "-%s" : "-%s %s", option->key,
               option->value);
      PetscCall(PetscStrallocpy(text, &r->config->petsc_options[r->config->petsc_count++]));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeReserved(MFGConfigReader *r, const MFGKey *key,
                                     const MFGYAMLNode *node) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_TRUE, place);
  PetscCall(MFGConfigErrorsAdd(r->errors, place,
                               "'%s' is not there yet in nashflow " MFG_VERSION "; %s", key->path,
                               key->choices));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeNumber(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node) {
  double real = 0;
  uint64_t whole = 0;

  PetscFunctionBeginUser;
  if (key->kind == MFG_KEY_REAL)
    PetscCall(DecodeReal(r, key, node, &real));
  else
    PetscCall(DecodeWhole(r, key, node, &whole));
  if (key->offset == MFG_KEY_NOWHERE) PetscFunctionReturn(PETSC_SUCCESS);
  if (key->kind == MFG_KEY_REAL) *(double *)Field(r, key) = real;
  if (key->kind == MFG_KEY_INTEGER) *(int *)Field(r, key) = (int)whole;
  if (key->kind == MFG_KEY_LONG) *(int64_t *)Field(r, key) = (int64_t)whole;
  if (key->kind == MFG_KEY_SEED) *(uint64_t *)Field(r, key) = whole;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeWord(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node) {
  int index;

  PetscFunctionBeginUser;
  PetscCall(DecodeChoice(r, key, node, &index));
  if (index < 0 || key->offset == MFG_KEY_NOWHERE) PetscFunctionReturn(PETSC_SUCCESS);
  if (key->kind == MFG_KEY_CHOICE) *(int *)Field(r, key) = index;
  if (key->kind == MFG_KEY_EITHER) *(PetscBool *)Field(r, key) = (PetscBool)index;
  if (key->kind == MFG_KEY_NAME) PetscCall(PetscStrallocpy(node->value, Field(r, key)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigDecode(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node) {
  PetscFunctionBeginUser;
  switch (key->kind) {
  case MFG_KEY_REAL:
  case MFG_KEY_INTEGER:
  case MFG_KEY_LONG:
  case MFG_KEY_SEED:
    PetscCall(DecodeNumber(r, key, node));
    break;
  case MFG_KEY_CHOICE:
  case MFG_KEY_EITHER:
  case MFG_KEY_NAME:
    PetscCall(DecodeWord(r, key, node));
    break;
  case MFG_KEY_TEXT:
    PetscCall(DecodeText(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_REALS:
    PetscCall(DecodeReals(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_FACTORS:
    PetscCall(DecodeFactors(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_INTEGERS:
    PetscCall(DecodeIntegers(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_BOUNDARY:
    PetscCall(DecodeBoundary(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_BANDWIDTH:
    PetscCall(DecodeBandwidth(r, key, node));
    break;
  case MFG_KEY_FORMULA:
    PetscCall(MFGConfigDecodeFormula(r, key, key->path, node, Field(r, key)));
    break;
  case MFG_KEY_FORMULAS:
    PetscCall(MFGConfigDecodeFormulas(r, key, node, Field(r, key)));
    break;
  case MFG_KEY_CONSTANTS:
    PetscCall(MFGConfigDecodeConstants(r, key, node));
    break;
  case MFG_KEY_PETSC:
    PetscCall(DecodePetsc(r, key, node));
    break;
  case MFG_KEY_RESERVED:
    PetscCall(DecodeReserved(r, key, node));
    break;
  case MFG_KEY_FREE:
    break;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
