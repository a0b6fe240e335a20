#include "app/expression.h"
#include "app/schema.h"

#include <stdio.h>

static void PrintKey(FILE *stream, const MFGKey *key) {
  char expects[300], later[200];

  MFGKeyExpects(key, sizeof expects, expects);
  fprintf(stream, "%s\n    %s\n", key->path, key->doc);
  fprintf(stream, "    value:   %s%s\n", expects,
          key->kind == MFG_KEY_REALS || key->kind == MFG_KEY_INTEGERS ||
                  key->kind == MFG_KEY_FORMULAS || key->kind == MFG_KEY_BOUNDARY
              ? ", one entry per axis"
              : "");
  if (key->unit) fprintf(stream, "    unit:    %s\n", key->unit);
  if (key->kind == MFG_KEY_RESERVED) return;
  if (key->later) {
    MFGChoiceList(key->later, sizeof later, later);
    fprintf(stream, "    to come: %s\n", later);
  }
  if (key->by_default)
    fprintf(stream, "    default: %s\n", key->by_default);
  else
    fprintf(stream, "    default: none, the key is needed\n");
}

static PetscBool IsBelow(const char *path, const char *section) {
  const size_t length = strlen(section);
  return (PetscBool)(!strncmp(path, section, length) && (!path[length] || path[length] == '.'));
}

PetscErrorCode MFGConfigHelp(FILE *stream, const char *path, PetscBool *found) {
  int count;
  const MFGKey *schema = MFGSchema(&count);

  PetscFunctionBeginUser;
  *found = PETSC_FALSE;
  for (int i = 0; i < count; i++) {
    if (path && !IsBelow(schema[i].path, path)) continue;
    *found = PETSC_TRUE;
    PrintKey(stream, &schema[i]);
  }
  if (*found) {
    fprintf(stream, "\nFormulas: x, y, z, t, pi, constants, + - * / ^, < <= > >= == != && ||, "
                    "condition ? a : b, and\n  ");
    MFGExpressionPrintFunctions(stream);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  const char *nearest = MFGSchemaNearest(path);
  if (nearest)
    fprintf(stream, "no key '%s'; did you mean '%s'?\n", path, nearest);
  else
    fprintf(stream, "no key '%s'; see 'nashflow help parameters'\n", path);
  PetscFunctionReturn(PETSC_SUCCESS);
}
