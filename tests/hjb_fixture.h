/* Shared by the tests of the HJB equation: grids, fields by formula, ghosts made independently of
 * the code under test, and the dense Jacobian row. */
#pragma once

#include "tests/mfg_test.h"

#include "solvers/coupling.h"
#include "solvers/hjb.h"

#define PI 3.14159265358979323846

typedef double (*Formula)(double x, double y);

static inline void MakeGrid(int dim, const int cells[], double lower, double upper,
                            MFGBoundary boundary, MFGGrid *grid) {
  const double a[] = {lower, lower}, b[] = {upper, upper};
  const MFGBoundary faces[][2] = {{boundary, boundary}, {boundary, boundary}};
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, a, b, faces, grid));
}

static inline const MFGBackend *Backend(void) {
  const MFGBackend *backend;
  MFG_OK(MFGBackendGet(PETSC_COMM_WORLD, "cpu", &backend));
  return backend;
}

static inline double CenterY(const MFGBlock *b, int j) {
  return b->dim > 1 ? MFGCellCenter(b, 1, j) : 0;
}

/* f at the owned cell centres. */
static inline void Fill(const MFGBlock *b, Formula f, double *field) {
  for (int j = 0; j < b->count[1]; j++)
    for (int i = 0; i < b->count[0]; i++)
      *field++ = f(MFGCellCenter(b, 0, b->start[0] + i), CenterY(b, b->start[1] + j));
}

/* The index into a whole field of the neighbour (i, j) of a cell: wrapped, or held at the wall. */
static inline int Neighbour(const MFGBlock *b, int i, int j) {
  const int at[] = {i, j};
  int index[2] = {0, 0};
  for (int k = 0; k < b->dim; k++) {
    const int n = b->cells[k], wrap = b->boundary[k][0] == MFG_BOUNDARY_PERIODIC;
    index[k] = wrap ? (at[k] + n) % n : at[k] < 0 ? 0 : at[k] >= n ? n - 1 : at[k];
  }
  return index[1] * b->cells[0] + index[0];
}

/* Whole field -> the same with one ghost around. */
static inline void AddGhosts(const MFGBlock *b, const double *whole, double *ghosted) {
  const int rim = b->dim > 1;
  for (int j = -rim; j < b->cells[1] + rim; j++)
    for (int i = -1; i <= b->cells[0]; i++) *ghosted++ = whole[Neighbour(b, i, j)];
}

static inline size_t GhostedCells(const MFGBlock *b) {
  return (size_t)(b->cells[0] + 2) * (b->dim > 1 ? b->cells[1] + 2 : 1);
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
