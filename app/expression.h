/* Formulas of the input file: x, y, z, t, pi, constants, + - * / ^, comparisons, && ||, c ? a : b
 * and functions, by muParser. log is the natural logarithm. */
#pragma once

#include "app/config.h"

#define MFG_EXPRESSION_MAX 2000 /* characters */

typedef struct MFGExpression_ *MFGExpression;

typedef struct {
  int position; /* of the error in the formula, from 0; -1: nowhere in particular */
  char message[300];
} MFGExpressionError;

/* Not collective. `dim` of x, y, z can be used, t when time_allowed, and the first n constants. A
 * bad formula is no PETSc error: *expression is then NULL and `error` says why, with a remedy. */
PetscErrorCode MFGExpressionCreate(const char *text, int dim, PetscBool time_allowed, int n,
                                   const MFGConstant constants[], MFGExpression *expression,
                                   MFGExpressionError *error);
PetscErrorCode MFGExpressionDestroy(MFGExpression *expression);

PetscBool MFGExpressionUsesTime(MFGExpression expression);

/* Not collective. values[i] = f at point i, whose axis k is x[k][i]; x[k] may be NULL for k >= dim.
 */
PetscErrorCode MFGExpressionEvaluate(MFGExpression expression, int64_t n, const double *const x[],
                                     double t, double *values);

/* Names that a constant cannot have: variables, pi and functions. */
PetscBool MFGExpressionReserves(const char *name);
/* All functions, "abs acos ...", for the help. */
void MFGExpressionPrintFunctions(FILE *stream);
