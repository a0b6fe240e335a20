/* Direct solution of tridiagonal systems, cyclic or not, in O(n): the linear algebra of the HJB
 * equation in one dimension. */
#pragma once

#include <petscpc.h>

/* Row i: diagonal v[0], coupling v[1] to i - 1 and v[2] to i + 1, indices modulo n >= 3, so that
 * v[1] of the first and v[2] of the last row are the corners of a cyclic matrix (0: none). */

/* Factors rows[n][3] into factor[5 n]. No pivoting: for diagonally dominant matrices, such as the
 * M-matrix of the HJB step. A zero pivot gives infinities, never a trap. */
void MFGTridiagonalFactor(int n, const double *rows, double *factor);
void MFGTridiagonalSolve(int n, const double *factor, const double *right, double *solution);
/* The transposed system, with the same factor. */
void MFGTridiagonalSolveTranspose(int n, const double *factor, const double *right,
                                  double *solution);

/* Registers the preconditioner `tridiagonal` (-pc_type tridiagonal), the same elimination for a
 * sequential AIJ matrix of that form. May be called repeatedly. Errors, at set-up: a parallel
 * matrix, entries elsewhere. */
PetscErrorCode MFGTridiagonalRegister(void);
