/* Shared by the tests of star matrices: grids with walls on some axes, and the values of an
 * M-matrix on them. */
#pragma once

#include "tests/hjb_fixture.h"

#include "solvers/star.h"
#include "solvers/vectors.h"

static const double unit[] = {1, 1, 1}, zero[] = {0, 0, 0};

static inline void Grid(MPI_Comm world, int dim, const int cells[], const double upper[],
                        const int walls[], MFGGrid *grid) {
  MFGBoundary faces[MFG_MAX_DIM][2];
  for (int k = 0; k < MFG_MAX_DIM; k++)
    faces[k][0] = faces[k][1] = walls[k] ? MFG_BOUNDARY_NOFLUX : MFG_BOUNDARY_PERIODIC;
  MFG_OK(MFGGridCreate(world, dim, cells, zero, upper, (const MFGBoundary(*)[2])faces, grid));
}

/* A number in [0, 1) that depends on the global cell only. */
static inline double Noise(const MFGBlock *b, int i, int j, int k, int what) {
  const double x = sin(12.9898 * (b->start[0] + i) + 78.233 * (b->start[1] + j) +
                       37.719 * (b->start[2] + k) + 4.581 * what) *
                   43758.5453;
  return x - floor(x);
}

/* (1/dt - nu Lap + v.grad) with upwind differences of a velocity that turns, as matrix values. With
 * nu = 0 and random > 0: an M-matrix of random numbers. */
static inline void Values(const MFGGrid *grid, double dt, double nu, double speed, double random,
                          double *values) {
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b);
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++, values++) {
        const int at[] = {b->start[0] + i, b->start[1] + j, b->start[2] + k};
        double x[MFG_MAX_DIM];
        Center(b, at[0], at[1], at[2], x);
        values[0] = 1 / dt + random * Noise(b, i, j, k, 9);
        for (int s = 0; s < 2 * b->dim; s++) {
          const int axis = s / 2, n = b->cells[axis];
          const double h = b->spacing[axis];
          const double v = speed * cos(2 * PI * x[(axis + 1) % b->dim] + axis);
          const int wall =
              b->boundary[axis][0] == MFG_BOUNDARY_NOFLUX && at[axis] == (s % 2 ? n - 1 : 0);
          double a = nu / (h * h) + (s % 2 ? fmax(-v, 0) : fmax(v, 0)) / h;
          a += random * Noise(b, i, j, k, s);
          values[(1 + s) * owned] = wall ? 0 : -a;
          values[0] += wall ? 0 : a;
        }
      }
}

/* Values of the host, brought to the memory of the matrix. */
static inline void SetValues(const MFGGrid *grid, const MFGBackend *backend, Mat A,
                             const double *values) {
  const int64_t count = (2 * grid->block.dim + 1) * MFGBlockOwned(&grid->block);
  const MFGMemoryOps *memory = backend->memory;
  PetscBool star;
  double *there;
  MFG_OK(MFGStarMatrixIs(A, &star));
  if (!star) memory = &MFGMemoryOps_Host;
  MFG_OK(MFGMemoryAllocate(memory, count, sizeof *there, &there));
  MFG_OK(MFGMemoryCopy(memory, count, sizeof *there, MFG_COPY_FROM_HOST, values, there));
  MFG_OK(MFGStarMatrixSetValues(A, there));
  MFG_OK(MFGMemoryFree(memory, &there));
}

static inline void SetNoise(const MFGGrid *grid, int what, Vec x) {
  const MFGBlock *b = &grid->block;
  double *a;
  MFG_OK(VecGetArrayWrite(x, &a));
  double *at = a;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) *at++ = Noise(b, i, j, k, what) - .5;
  MFG_OK(VecRestoreArrayWrite(x, &a));
}
