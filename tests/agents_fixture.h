/* Grids, agents and drifts that the tests of density and agents share. */
#pragma once

#include "solvers/kde_point.h"
#include "solvers/particle_point.h"
#include "solvers/particles.h"
#include "tests/backends.h"
#include "tests/mfg_test.h"

typedef struct {
  int dim, cells[3];
  double lower[3], upper[3];
  MFGBoundary boundary[3]; /* of both faces of an axis */
} Box;

static inline void CreateGrid(MPI_Comm comm, const Box *box, MFGGrid *grid) {
  MFGBoundary faces[3][2];
  for (int k = 0; k < 3; k++) faces[k][0] = faces[k][1] = box->boundary[k];
  MFG_OK(MFGGridCreate(comm, box->dim, box->cells, box->lower, box->upper,
                       (const MFGBoundary(*)[2])faces, grid));
}

static inline MFGBlock WholeBlock(const MFGGrid *grid) {
  MFGBlock b = grid->block;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    b.start[k] = 0;
    b.count[k] = b.cells[k];
  }
  return b;
}

/* Global indices of the i-th cell that a block owns. */
static inline void OwnedCell(const MFGBlock *b, int64_t i, int cell[]) {
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    cell[k] = b->start[k] + (int)(i % b->count[k]);
    i /= b->count[k];
  }
}

/* Uniform numbers of the test itself. */
static inline double TestUniform(uint64_t *state) {
  *state += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t z = *state;
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

static inline double TestNormal(uint64_t *state) {
  const double u = TestUniform(state), v = TestUniform(state);
  return sqrt(-2 * log(u)) * cos(2 * PETSC_PI * v);
}

/* What a deposit is, written out: each agent in the box of the cell that holds it, term after term.
 * An independent check of the kernels. */
static inline void DepositByDefinition(const MFGBlock *b, const MFGAgentRange *agents,
                                       const MFGMomentShape *shape, int64_t *moments) {
  const int order = shape->order, scale = shape->scale;
  const int terms = MFGMomentTerms(b->dim, order), *halvings = shape->halvings;
  for (int64_t i = 0; i < agents->count; i++) {
    int cell[3] = {0, 0, 0}, part[3] = {0, 0, 0};
    double t[3] = {0, 0, 0};
    for (int k = 0; k < b->dim; k++) {
      const int parts = (int)pow(2, halvings[k]);
      const double cells = (agents->position[k][i] - b->lower[k]) / b->spacing[k];
      cell[k] = PetscMax(0, PetscMin(b->cells[k] - 1, (int)cells));
      part[k] = PetscMin(parts - 1, (int)((cells - cell[k]) * parts));
      t[k] = 2 * (parts * (cells - cell[k]) - part[k]) - 1;
    }
    const int64_t c = ((int64_t)cell[2] * b->cells[1] + cell[1]) * b->cells[0] + cell[0];
    const int x = (int)pow(2, halvings[0]), y = (int)pow(2, halvings[1]);
    int64_t *term = moments + c * MFGMomentNumbers(b->dim, shape) +
                    ((part[2] * y + part[1]) * x + part[0]) * terms;
    for (int m = 0; m < (b->dim > 2 ? order : 1); m++)
      for (int l = 0; l < (b->dim > 1 ? order - m : 1); l++)
        for (int k = 0; k < order - m - l; k++)
          *term++ += (int64_t)MFGMomentBits(MFGMomentPower(t[0], k) * MFGMomentPower(t[1], l) *
                                                MFGMomentPower(t[2], m),
                                            ldexp(1, scale));
  }
}

/* FNV-1a over the bytes. */
static inline uint64_t Checksum(const void *data, size_t bytes) {
  const unsigned char *p = data;
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
  return h;
}

static inline double LargestError(int64_t n, const double *a, const double *b, double *largest) {
  double error = 0;
  *largest = 0;
  for (int64_t i = 0; i < n; i++) {
    error = PetscMax(error, fabs(a[i] - b[i]));
    *largest = PetscMax(*largest, fabs(b[i]));
  }
  return error;
}

/* A flow of this rank's cells and one of the whole grid, computed by one rank: the same bits, and
 * the same statistics. */
static inline void AssertSameFlow(const MFGGrid *grid, int steps, const double *M,
                                  const MFGSampleStatistics *statistics, const double *whole,
                                  const MFGSampleStatistics *expected) {
  const MFGBlock *b = &grid->block;
  double *mine = malloc(MFGBlockOwned(b) * sizeof *mine);
  for (int n = 0; n <= steps; n++) {
    MFG_OK(MFGGridRestrict(grid, 1, whole + n * MFGBlockCells(b), mine));
    assert_memory_equal(mine, M + n * MFGBlockOwned(b), MFGBlockOwned(b) * sizeof *mine);
    for (int k = 0; k < b->dim; k++) {
      assert_true(statistics[n].mean[k] == expected[n].mean[k]);
      assert_true(statistics[n].variance[k] == expected[n].variance[k]);
    }
  }
  free(mine);
}
