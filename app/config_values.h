/* Values of the input tree to fields of MFGConfig, and back to text. Inside app/config only. */
#pragma once

#include "app/schema.h"
#include "app/yaml_tree.h"

typedef struct {
  MFGConfig *config;
  MFGYAMLTree *tree;
  MFGConfigErrors *errors;
  const char *directory; /* of the input file; datasets are looked up there */
  int dim;               /* 0 while the number of axes is not known */
} MFGConfigReader;

/* Finite decimal numbers only: no inf, nan, hexadecimal, or blanks. */
PetscBool MFGParseReal(const char *text, double *value);

/* Not collective. Checks the node against the key and stores it; errors go to r->errors. */
PetscErrorCode MFGConfigDecode(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node);

/* Adds "dynamics.sigma must be a number above 0, not 'abc'". */
PetscErrorCode MFGConfigRefuse(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node);
/* *good when the node is a list with one entry per axis; else adds the error. */
PetscErrorCode MFGConfigCheckAxes(MFGConfigReader *r, const MFGKey *key, const MFGYAMLNode *node,
                                  PetscBool *good);

/* The parts of MFGConfigDecode for formulas; `name` is the key in messages. */
PetscErrorCode MFGConfigDecodeFormula(MFGConfigReader *r, const MFGKey *key, const char *name,
                                      const MFGYAMLNode *node, MFGFormula *formula);
PetscErrorCode MFGConfigDecodeFormulas(MFGConfigReader *r, const MFGKey *key,
                                       const MFGYAMLNode *node, MFGFormula formula[]);
PetscErrorCode MFGConfigDecodeConstants(MFGConfigReader *r, const MFGKey *key,
                                        const MFGYAMLNode *node);

/* Not collective. The effective input of a tree that has been decoded without errors; `all` false:
 * without the sections that do not change the answer. *text is the caller's (PetscFree). */
PetscErrorCode MFGConfigPrint(const MFGConfigReader *r, PetscBool all, char **text);
