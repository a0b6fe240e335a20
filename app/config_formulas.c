#include "app/config_values.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "app/expression.h"
#include "app/utf8.h"

static const char *const axis_name[] = {"x", "y", "z"};

/* Says what is wrong in a formula, at its place in the file where that is known. */
static PetscErrorCode RefuseFormula(MFGConfigReader *r, const char *name, const MFGYAMLNode *node,
                                    const MFGExpressionError *error) {
  char place[MFG_YAML_PLACE];
  MFGYAMLNode at = *node;

  PetscFunctionBeginUser;
  if (node->inner && error->position >= 0) at.column = node->inner + error->position;
  MFGYAMLPlace(&at, PETSC_FALSE, place);
  if (error->position >= 0)
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%s: the formula '%.80s%s', character %d: %s",
                                 name, node->value, strlen(node->value) > 80 ? "..." : "",
                                 error->position + 1, error->message));
  else
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%s: the formula: %s", name, error->message));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DecodeDataset(MFGConfigReader *r, const char *name, const MFGYAMLNode *node,
                                    MFGFormula *formula) {
  const MFGYAMLNode *file = MFGYAMLFind(node, "file"), *dataset = MFGYAMLFind(node, "dataset");
  char place[MFG_YAML_PLACE], path[PETSC_MAX_PATH_LEN];

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_FALSE, place);
  if (node->count != 2 || !file || !dataset || file->kind != MFG_YAML_SCALAR ||
      dataset->kind != MFG_YAML_SCALAR || !*file->value || !*dataset->value) {
    PetscCall(
        MFGConfigErrorsAdd(r->errors, place,
                           "%s: a dataset is given by two keys and nothing else: {file: f.h5, "
                           "dataset: /name}; put a formula with a colon in quotes",
                           name));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const int length = file->value[0] == '/'
                         ? snprintf(path, sizeof path, "%s", file->value)
                         : snprintf(path, sizeof path, "%s/%s", r->directory, file->value);
  if (length >= (int)sizeof path || !MFGIsText(path)) {
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "%s: the file's path is longer than %d bytes, or has control "
                                 "characters or what is not UTF-8; move or rename the file",
                                 name, (int)sizeof path - 1));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscStrallocpy(path, &formula->file));
  PetscCall(PetscStrallocpy(dataset->value, &formula->dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigDecodeFormula(MFGConfigReader *r, const MFGKey *key, const char *name,
                                      const MFGYAMLNode *node, MFGFormula *formula) {
  const MFGConfig *c = r->config;
  const PetscBool density = (PetscBool)!strcmp(key->path, "agents.initial_density");
  char place[MFG_YAML_PLACE];
  double number;
  MFGExpression expression;
  MFGExpressionError error;

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_FALSE, place);
  PetscCall(PetscStrallocpy(place, &formula->where));
  PetscCall(PetscStrallocpy(name, &formula->key));
  if (node->kind == MFG_YAML_MAP) {
    PetscCall(DecodeDataset(r, name, node, formula));
  } else if (node->kind == MFG_YAML_LIST || MFGYAMLIsNull(node)) {
    PetscCall(MFGConfigRefuse(r, key, node));
  } else if (density || !MFGParseReal(node->value, &number) || number != 0) {
    PetscCall(MFGExpressionCreate(node->value, r->dim ? r->dim : MFG_MAX_DIM, key->uses_time,
                                  c->constant_count, c->constants, &expression, &error));
    if (expression)
      PetscCall(PetscStrallocpy(node->value, &formula->expression));
    else
      PetscCall(RefuseFormula(r, name, node, &error));
    PetscCall(MFGExpressionDestroy(&expression));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigDecodeFormulas(MFGConfigReader *r, const MFGKey *key,
                                       const MFGYAMLNode *node, MFGFormula formula[]) {
  PetscBool good = PETSC_FALSE;
  double number;
  char name[100];

  PetscFunctionBeginUser;
  /* One 0 stands for no drift at all, the default. */
  if (node->kind == MFG_YAML_SCALAR && MFGParseReal(node->value, &number) && number == 0)
    PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(MFGConfigCheckAxes(r, key, node, &good));
  for (int k = 0; good && k < node->count; k++) {
    snprintf(name, sizeof name, "%s (axis %s)", key->path, axis_name[k]);
    PetscCall(MFGConfigDecodeFormula(r, key, name, node->child[k], &formula[k]));
    if (formula[k].expression || formula[k].file) r->config->dynamics.has_drift = PETSC_TRUE;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CheckConstantName(MFGConfigReader *r, const MFGYAMLNode *node,
                                        PetscBool *good) {
  char place[MFG_YAML_PLACE];
  const char *c = node->key;

  PetscFunctionBeginUser;
  MFGYAMLPlace(node, PETSC_TRUE, place);
  PetscBool word = (PetscBool)(isalpha((unsigned char)*c) || *c == '_');
  for (; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_') word = PETSC_FALSE;
  if (!word)
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "the constant's name '%s' must be letters, "
                                 "digits and _, a letter first; rename it",
                                 node->key));
  else if (MFGExpressionReserves(node->key))
    PetscCall(MFGConfigErrorsAdd(r->errors, place,
                                 "the constant '%s' has the name of a variable "
                                 "or function of formulas; rename it",
                                 node->key));
  *good = (PetscBool)(word && !MFGExpressionReserves(node->key));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A constant with a wrong value is kept as 1, so that formulas with it do not repeat the message.
 */
static PetscErrorCode DecodeConstant(MFGConfigReader *r, const MFGYAMLNode *node) {
  MFGConfig *c = r->config;
  const int index = c->constant_count;
  MFGConstant *constant = &c->constants[index];
  PetscBool good;
  const double *const nowhere[3] = {NULL};
  char name[MFG_YAML_MAX_KEY + 20], place[MFG_YAML_PLACE];
  MFGExpression e;
  MFGExpressionError error = {.position = -1, .message = "must be a number or a formula"};

  PetscFunctionBeginUser;
  PetscCall(CheckConstantName(r, node, &good));
  if (!good) PetscFunctionReturn(PETSC_SUCCESS);
  c->constant_count++;
  snprintf(name, sizeof name, "constants.%s", node->key);
  constant->value = 1;
  PetscCall(PetscStrallocpy(node->key, &constant->name));
  PetscCall(PetscStrallocpy(node->value ? node->value : "", &constant->expression));
  if (node->kind != MFG_YAML_SCALAR || MFGYAMLIsNull(node)) {
    PetscCall(RefuseFormula(r, name, node, &error));
  } else if (!MFGParseReal(node->value, &constant->value)) {
    constant->value = 1;
    PetscCall(MFGExpressionCreate(node->value, 0, PETSC_FALSE, index, c->constants, &e, &error));
    if (e)
      PetscCall(MFGExpressionEvaluate(e, 1, nowhere, 0, &constant->value));
    else
      PetscCall(RefuseFormula(r, name, node, &error));
    PetscCall(MFGExpressionDestroy(&e));
  }
  if (isfinite(constant->value)) PetscFunctionReturn(PETSC_SUCCESS);
  MFGYAMLPlace(node, PETSC_FALSE, place);
  PetscCall(MFGConfigErrorsAdd(r->errors, place,
                               "%s is %g; change it so that it is a finite number", name,
                               constant->value));
  constant->value = 1;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigDecodeConstants(MFGConfigReader *r, const MFGKey *key,
                                        const MFGYAMLNode *node) {
  char place[MFG_YAML_PLACE];

  PetscFunctionBeginUser;
  if (node->kind != MFG_YAML_MAP) {
    if (!MFGYAMLIsNull(node)) PetscCall(MFGConfigRefuse(r, key, node));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  MFGYAMLPlace(node, PETSC_FALSE, place);
  if (node->count > 200) {
    PetscCall(MFGConfigErrorsAdd(r->errors, place, "%d constants: at most 200", node->count));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscCalloc1(node->count, &r->config->constants));
  for (int i = 0; i < node->count; i++) PetscCall(DecodeConstant(r, node->child[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}
