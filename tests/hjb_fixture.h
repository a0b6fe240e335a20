/* Shared by the tests of the HJB equation: grids, fields by formula, ghosts made independently of
 * the code under test, and the dense Jacobian row. */
#pragma once

#include "tests/backends.h"
#include "tests/mfg_test.h"

#include "solvers/coupling.h"
#include "solvers/hjb.h"

#define PI 3.14159265358979323846

/* x[k] = 0 on unused axes. */
typedef double (*Formula)(const double x[]);

static inline void MakeGrid(int dim, const int cells[], double lower, double upper,
                            MFGBoundary boundary, MFGGrid *grid) {
  const double a[] = {lower, lower, lower}, b[] = {upper, upper, upper};
  const MFGBoundary faces[][2] = {{boundary, boundary}, {boundary, boundary}, {boundary, boundary}};
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, a, b, faces, grid));
}

static inline const MFGBackend *Backend(void) {
  const MFGBackend *backend;
  MFG_OK(MFGTestBackend(PETSC_COMM_WORLD, &backend));
  return backend;
}

/* The centre of cell (i, j, k) of the grid. */
static inline void Center(const MFGBlock *b, int i, int j, int k, double x[MFG_MAX_DIM]) {
  const int at[] = {i, j, k};
  for (int axis = 0; axis < MFG_MAX_DIM; axis++)
    x[axis] = axis < b->dim ? b->lower[axis] + (at[axis] + .5) * b->spacing[axis] : 0;
}

/* f at the owned cell centres. */
static inline void Fill(const MFGBlock *b, Formula f, double *field) {
  double x[MFG_MAX_DIM];
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        Center(b, b->start[0] + i, b->start[1] + j, b->start[2] + k, x);
        *field++ = f(x);
      }
}

/* The index into a whole field of the neighbour (i, j, k) of a cell: wrapped, or held at the wall.
 */
static inline int Neighbour(const MFGBlock *b, int i, int j, int k) {
  const int at[] = {i, j, k};
  int index[MFG_MAX_DIM] = {0, 0, 0};
  for (int axis = 0; axis < b->dim; axis++) {
    const int n = b->cells[axis], wrap = b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC;
    const int c = at[axis];
    index[axis] = wrap ? (c + n) % n : c < 0 ? 0 : c >= n ? n - 1 : c;
  }
  return (index[2] * b->cells[1] + index[1]) * b->cells[0] + index[0];
}

/* The cell and its neighbours in the order of the Jacobian's values. */
static inline void Star(const MFGBlock *b, int i, int j, int k, int star[7]) {
  star[0] = Neighbour(b, i, j, k);
  star[1] = Neighbour(b, i - 1, j, k);
  star[2] = Neighbour(b, i + 1, j, k);
  star[3] = Neighbour(b, i, j - 1, k);
  star[4] = Neighbour(b, i, j + 1, k);
  star[5] = Neighbour(b, i, j, k - 1);
  star[6] = Neighbour(b, i, j, k + 1);
}

/* Whole field -> the same with one ghost around. */
static inline void AddGhosts(const MFGBlock *b, const double *whole, double *ghosted) {
  const int rim = b->dim > 1, top = b->dim > 2;
  for (int k = -top; k < b->cells[2] + top; k++)
    for (int j = -rim; j < b->cells[1] + rim; j++)
      for (int i = -1; i <= b->cells[0]; i++) *ghosted++ = whole[Neighbour(b, i, j, k)];
}

static inline size_t GhostedCells(const MFGBlock *b) {
  return (size_t)(b->cells[0] + 2) * (b->dim > 1 ? b->cells[1] + 2 : 1) *
         (b->dim > 2 ? b->cells[2] + 2 : 1);
}

static inline double *NewField(size_t n) {
  double *field;
  MFG_OK(PetscCalloc1(n, &field));
  return field;
}

/* A source that is zero. */
static inline PetscErrorCode NoSource(void *context, int level, double *source) {
  const MFGGrid *grid = context;
  (void)level;
  memset(source, 0, MFGBlockOwned(&grid->block) * sizeof *source);
  return PETSC_SUCCESS;
}
