#include "solvers/tridiagonal.h"

#include <petsc/private/pcimpl.h>

/* Sherman-Morrison: the cyclic matrix is T + e w^T with e = (g, 0, .., 0, c), w = (1, 0, .., 0,
 * a/g), a and c its upper right and lower left corners and g = -diagonal of row 0. The factor
 * holds, per row, the inverse pivot, the two off-diagonals of the elimination and z = T^{-1} e; the
 * last field starts with 1/(1 + w.z) and a/g. */
enum { INVERSE, BELOW, ABOVE, CORRECTION, SCALARS, FIELDS };

static void Eliminate(int n, const double *f, const double *right, double *x) {
  const double *inverse = f + INVERSE * n, *below = f + BELOW * n, *above = f + ABOVE * n;
  double last = x[0] = right[0] * inverse[0];
  for (int i = 1; i < n; i++) x[i] = last = right[i] * inverse[i] - below[i] * last;
  for (int i = n - 2; i >= 0; i--) x[i] = last = x[i] - above[i] * last;
}

void MFGTridiagonalFactor(int n, const double *rows, double *f) {
  double *inverse = f + INVERSE * n, *below = f + BELOW * n, *above = f + ABOVE * n;
  double *z = f + CORRECTION * n, *scalars = f + SCALARS * n;
  const double a = rows[1], c = rows[3 * (n - 1) + 2];
  const int cyclic = a != 0 || c != 0;
  const double g = -rows[0];

  for (int i = 0; i < n; i++) {
    double pivot = rows[3 * i];
    if (cyclic && i == 0) pivot -= g;
    if (cyclic && i == n - 1) pivot -= a * c / g;
    if (i > 0) pivot -= rows[3 * i + 1] * above[i - 1];
    inverse[i] = 1 / pivot;
    below[i] = i > 0 ? rows[3 * i + 1] * inverse[i] : 0;
    above[i] = i < n - 1 ? rows[3 * i + 2] * inverse[i] : 0;
  }
  scalars[0] = 0;
  if (!cyclic) return;
  for (int i = 0; i < n; i++) z[i] = 0;
  z[0] = g;
  z[n - 1] = c;
  Eliminate(n, f, z, z);
  scalars[1] = a / g;
  scalars[0] = 1 / (1 + z[0] + scalars[1] * z[n - 1]);
}

void MFGTridiagonalSolve(int n, const double *f, const double *right, double *x) {
  const double *z = f + CORRECTION * n, *scalars = f + SCALARS * n;
  Eliminate(n, f, right, x);
  if (scalars[0] == 0) return;
  const double weight = (x[0] + scalars[1] * x[n - 1]) * scalars[0];
  for (int i = 0; i < n; i++) x[i] -= weight * z[i];
}

/* The factors in the other order: (1 + e w^T T^-1)^T first, then the elimination from the side. */
void MFGTridiagonalSolveTranspose(int n, const double *f, const double *right, double *x) {
  const double *inverse = f + INVERSE * n, *below = f + BELOW * n, *above = f + ABOVE * n;
  const double *z = f + CORRECTION * n, *scalars = f + SCALARS * n;
  double weight = 0;

  if (scalars[0] != 0)
    for (int i = 0; i < n; i++) weight += z[i] * right[i];
  weight *= scalars[0];
  x[0] = right[0] - weight;
  for (int i = 1; i < n; i++) {
    const double r = i == n - 1 && weight != 0 ? right[i] - scalars[1] * weight : right[i];
    x[i] = r - above[i - 1] * x[i - 1];
  }
  double last = x[n - 1];
  x[n - 1] *= inverse[n - 1];
  for (int i = n - 2; i >= 0; i--) {
    last = x[i] - below[i + 1] * last;
    x[i] = last * inverse[i];
  }
}

typedef struct {
  PetscInt n;
  double *rows, *factor; /* owned */
} Tridiagonal;

static PetscErrorCode PCReset_Tridiagonal(PC pc) {
  Tridiagonal *t = (Tridiagonal *)pc->data;

  PetscFunctionBegin;
  PetscCall(PetscFree2(t->rows, t->factor));
  t->n = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CopyRows(Mat A, PetscInt n, double *rows) {
  const PetscInt *start, *column;
  const PetscScalar *value;
  PetscInt size;
  PetscBool done;

  PetscFunctionBegin;
  PetscCall(PetscArrayzero(rows, 3 * n));
  PetscCall(MatGetRowIJ(A, 0, PETSC_FALSE, PETSC_FALSE, &size, &start, &column, &done));
  PetscCheck(done, PETSC_COMM_SELF, PETSC_ERR_SUP,
             "-pc_type tridiagonal takes a matrix of type seqaij");
  PetscCall(MatSeqAIJGetArrayRead(A, &value));
  for (PetscInt i = 0; i < n; i++, rows += 3)
    for (PetscInt k = start[i]; k < start[i + 1]; k++) {
      const PetscInt shift = column[k] - i;
      if (shift == 0)
        rows[0] += value[k];
      else if (shift == -1 || shift == n - 1)
        rows[1] += value[k];
      else if (shift == 1 || shift == 1 - n)
        rows[2] += value[k];
      else
        PetscCheck(value[k] == 0, PETSC_COMM_SELF, PETSC_ERR_SUP,
                   "-pc_type tridiagonal: entry (%" PetscInt_FMT ", %" PetscInt_FMT
                   ") lies outside the three diagonals; use lu",
                   i, column[k]);
    }
  PetscCall(MatSeqAIJRestoreArrayRead(A, &value));
  PetscCall(MatRestoreRowIJ(A, 0, PETSC_FALSE, PETSC_FALSE, &size, &start, &column, &done));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCSetUp_Tridiagonal(PC pc) {
  Tridiagonal *t = (Tridiagonal *)pc->data;
  PetscInt n, columns;
  PetscMPIInt size;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(PetscObjectComm((PetscObject)pc), &size));
  PetscCall(MatGetSize(pc->pmat, &n, &columns));
  PetscCheck(size == 1 && n == columns && n >= 3, PetscObjectComm((PetscObject)pc), PETSC_ERR_SUP,
             "-pc_type tridiagonal takes a square matrix of at least 3 rows on one rank, not "
             "%" PetscInt_FMT " x %" PetscInt_FMT " on %d; use bjacobi or lu",
             n, columns, (int)size);
  if (t->n != n) {
    PetscCall(PCReset_Tridiagonal(pc));
    PetscCall(PetscMalloc2(3 * n, &t->rows, FIELDS * n, &t->factor));
    t->n = n;
  }
  PetscCall(CopyRows(pc->pmat, n, t->rows));
  MFGTridiagonalFactor((int)n, t->rows, t->factor);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Apply(PC pc, Vec right, Vec solution,
                            void (*solve)(int, const double *, const double *, double *)) {
  Tridiagonal *t = (Tridiagonal *)pc->data;
  const double *r;
  double *x;

  PetscFunctionBegin;
  PetscCall(VecGetArrayRead(right, &r));
  PetscCall(VecGetArrayWrite(solution, &x));
  solve((int)t->n, t->factor, r, x);
  PetscCall(VecRestoreArrayWrite(solution, &x));
  PetscCall(VecRestoreArrayRead(right, &r));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApply_Tridiagonal(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, MFGTridiagonalSolve));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApplyTranspose_Tridiagonal(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, MFGTridiagonalSolveTranspose));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCDestroy_Tridiagonal(PC pc) {
  PetscFunctionBegin;
  PetscCall(PCReset_Tridiagonal(pc));
  PetscCall(PetscFree(pc->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCCreate_Tridiagonal(PC pc) {
  Tridiagonal *t;

  PetscFunctionBegin;
  PetscCall(PetscNew(&t));
  pc->data = t;
  pc->ops->setup = PCSetUp_Tridiagonal;
  pc->ops->apply = PCApply_Tridiagonal;
  pc->ops->applytranspose = PCApplyTranspose_Tridiagonal;
  pc->ops->reset = PCReset_Tridiagonal;
  pc->ops->destroy = PCDestroy_Tridiagonal;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGTridiagonalRegister(void) {
  PetscFunctionBeginUser;
  PetscCall(PCRegister("tridiagonal", PCCreate_Tridiagonal));
  PetscFunctionReturn(PETSC_SUCCESS);
}
