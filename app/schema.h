/* The table of all keys of the input file. Parser, checks, help and effective input are made of it.
 */
#pragma once

#include "app/config.h"

typedef enum {
  MFG_KEY_REAL,      /* double */
  MFG_KEY_INTEGER,   /* int */
  MFG_KEY_LONG,      /* int64_t */
  MFG_KEY_SEED,      /* uint64_t */
  MFG_KEY_CHOICE,    /* an enum: the index among the choices */
  MFG_KEY_EITHER,    /* PetscBool: true for the second of two choices */
  MFG_KEY_NAME,      /* char *: one of the choices as a string */
  MFG_KEY_TEXT,      /* char * */
  MFG_KEY_REALS,     /* double per axis */
  MFG_KEY_FACTORS,   /* MFGFactors */
  MFG_KEY_INTEGERS,  /* int per axis */
  MFG_KEY_FORMULA,   /* MFGFormula */
  MFG_KEY_FORMULAS,  /* MFGFormula per axis */
  MFG_KEY_BOUNDARY,  /* MFGBoundary per axis and side */
  MFG_KEY_BANDWIDTH, /* a rule, or one h, or one per axis */
  MFG_KEY_CONSTANTS, /* names with numbers or formulas */
  MFG_KEY_PETSC,     /* names with values */
  MFG_KEY_FREE,      /* anything */
  MFG_KEY_RESERVED   /* a name kept for a later version: refused */
} MFGKeyKind;

#define MFG_KEY_NOWHERE ((size_t)-1)

typedef struct {
  const char *path;
  MFGKeyKind kind;
  const char *unit;       /* or NULL */
  const char *choices;    /* "a|b"; for MFG_KEY_RESERVED: what to do instead */
  const char *later;      /* "c|d": values kept for later versions, refused; or NULL */
  double low, high;       /* numbers: low <= v <= high */
  PetscBool above;        /* low < v */
  PetscBool uses_time;    /* formulas: t may be used */
  const char *by_default; /* as YAML; NULL: the key is needed */
  size_t offset;          /* in MFGConfig, or MFG_KEY_NOWHERE: checked and shown, not stored */
  const char *doc;
} MFGKey;

const MFGKey *MFGSchema(int *count);

/* The key of this path, or NULL. */
const MFGKey *MFGSchemaFind(const char *path);
/* True when keys "path.*" exist. */
PetscBool MFGSchemaIsSection(const char *path);
/* The path of a key or section that was probably meant, or NULL. */
const char *MFGSchemaNearest(const char *path);

/* The index of `word` in "a|b|c", or -1. */
int MFGChoiceIndex(const char *choices, const char *word);
/* Copies "a, b or c" into text. */
void MFGChoiceList(const char *choices, size_t size, char text[]);
/* Copies "number > 0", "one of a, b" and the like into text: what a value must look like. */
void MFGKeyExpects(const MFGKey *key, size_t size, char text[]);
