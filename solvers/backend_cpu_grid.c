#include "solvers/backend_cpu.h"

#include "solvers/hjb_point.h"
#include "solvers/star_point.h"

/* Where the neighbours of a row of cells lie in the ghosted array, and the row's own data. */
typedef struct {
  MFGHJBScheme scheme;
  ptrdiff_t stride[MFG_MAX_DIM]; /* of the ghosted array */
  const double *b[MFG_MAX_DIM];  /* given drift of the row, or NULL */
  const double *next, *source;
} Row;

/* The loops below are written once and specialised by constant arguments: with the dimension, the
 * quadratic Hamiltonian and the absence of a drift known, they vectorise. */
#define SPECIALISED static inline __attribute__((always_inline))

SPECIALISED void Load(const Row *row, const double *u, int i, const int dim, const int given,
                      double low[], double high[], double b[]) {
  for (int k = 0; k < dim; k++) {
    low[k] = u[i - row->stride[k]];
    high[k] = u[i + row->stride[k]];
    b[k] = given ? row->b[k][i] : 0;
  }
}

SPECIALISED void ResidualRow(const Row *row, const MFGHamiltonian *h, const double *restrict u,
                             int n, double *restrict r, const int dim, const int given) {
  const double *restrict next = row->next, *restrict source = row->source;
  for (int i = 0; i < n; i++) {
    double low[MFG_MAX_DIM], high[MFG_MAX_DIM], b[MFG_MAX_DIM];
    Load(row, u, i, dim, given, low, high, b);
    r[i] = MFGHJBPointResidual(&row->scheme, h, dim, u[i], low, high, next[i], source[i],
                               given ? b : NULL);
  }
}

SPECIALISED void JacobianRow(const Row *row, const MFGHamiltonian *h, const double *restrict u,
                             int n, ptrdiff_t field, double *restrict values, const int dim,
                             const int given) {
  for (int i = 0; i < n; i++) {
    double low[MFG_MAX_DIM], high[MFG_MAX_DIM], b[MFG_MAX_DIM];
    double to_low[MFG_MAX_DIM], to_high[MFG_MAX_DIM], diagonal = row->scheme.inverse_dt;
    Load(row, u, i, dim, given, low, high, b);
    MFGHJBPointJacobian(&row->scheme, h, dim, u[i], low, high, given ? b : NULL, to_low, to_high);
    for (int k = 0; k < dim; k++) {
      values[(1 + 2 * k) * field + i] = to_low[k];
      values[(2 + 2 * k) * field + i] = to_high[k];
      diagonal -= to_low[k] + to_high[k];
    }
    values[i] = diagonal;
  }
}

/* Stored in single precision and scaled by the diagonal, each coefficient in an array of its own:
 * the loop vectorises. */
SPECIALISED void CoefficientsRow(const Row *row, const MFGHamiltonian *h, const double *restrict u,
                                 int n, float *restrict d, float *restrict c0, float *restrict c1,
                                 float *restrict c2, float *restrict c3, float *restrict c4,
                                 float *restrict c5, const int dim, const int given) {
  for (int i = 0; i < n; i++) {
    double low[MFG_MAX_DIM], high[MFG_MAX_DIM], b[MFG_MAX_DIM];
    double to_low[MFG_MAX_DIM], to_high[MFG_MAX_DIM], diagonal = row->scheme.inverse_dt;
    Load(row, u, i, dim, given, low, high, b);
    MFGHJBPointJacobian(&row->scheme, h, dim, u[i], low, high, given ? b : NULL, to_low, to_high);
    for (int k = 0; k < dim; k++) diagonal -= to_low[k] + to_high[k];
    const double scale = -1 / diagonal;
    d[i] = (float)diagonal;
    c0[i] = (float)(to_low[0] * scale);
    c1[i] = (float)(to_high[0] * scale);
    if (dim > 1) {
      c2[i] = (float)(to_low[1] * scale);
      c3[i] = (float)(to_high[1] * scale);
    }
    if (dim > 2) {
      c4[i] = (float)(to_low[2] * scale);
      c5[i] = (float)(to_high[2] * scale);
    }
  }
}

SPECIALISED void JacobianChangeRow(const Row *row, const MFGHamiltonian *h,
                                   const double *restrict u, const double *restrict w, int n,
                                   ptrdiff_t field, double *restrict values, const int dim,
                                   const int given) {
  (void)given;
  for (int i = 0; i < n; i++) {
    double low[MFG_MAX_DIM], high[MFG_MAX_DIM], dlow[MFG_MAX_DIM], dhigh[MFG_MAX_DIM];
    double to_low[MFG_MAX_DIM], to_high[MFG_MAX_DIM], none[MFG_MAX_DIM], diagonal = 0;
    Load(row, u, i, dim, 0, low, high, none);
    Load(row, w, i, dim, 0, dlow, dhigh, none);
    MFGHJBPointJacobianChange(&row->scheme, h, dim, u[i], low, high, w[i], dlow, dhigh, to_low,
                              to_high);
    for (int k = 0; k < dim; k++) {
      values[(1 + 2 * k) * field + i] = to_low[k];
      values[(2 + 2 * k) * field + i] = to_high[k];
      diagonal -= to_low[k] + to_high[k];
    }
    values[i] = diagonal;
  }
}

SPECIALISED void DriftRow(const Row *row, const MFGHamiltonian *h, const double *restrict u, int n,
                          ptrdiff_t field, double *restrict drift, const int dim, const int given) {
  for (int i = 0; i < n; i++) {
    double low[MFG_MAX_DIM], high[MFG_MAX_DIM], b[MFG_MAX_DIM], value[MFG_MAX_DIM];
    Load(row, u, i, dim, given, low, high, b);
    MFGHJBPointDrift(&row->scheme, h, dim, low, high, given ? b : NULL, value);
    for (int k = 0; k < dim; k++) drift[k * field + i] = value[k];
  }
}

/* Calls a row function with constants for the dimension, the Hamiltonian and the drift. */
#define DISPATCH_DRIFT(function, h, dim, given, ...)                                               \
  do {                                                                                             \
    if (given)                                                                                     \
      function(row, h, __VA_ARGS__, dim, 1);                                                       \
    else                                                                                           \
      function(row, h, __VA_ARGS__, dim, 0);                                                       \
  } while (0)
#define DISPATCH_DIM(function, h, dim, given, ...)                                                 \
  do {                                                                                             \
    if (dim == 1)                                                                                  \
      DISPATCH_DRIFT(function, h, 1, given, __VA_ARGS__);                                          \
    else if (dim == 2)                                                                             \
      DISPATCH_DRIFT(function, h, 2, given, __VA_ARGS__);                                          \
    else                                                                                           \
      DISPATCH_DRIFT(function, h, 3, given, __VA_ARGS__);                                          \
  } while (0)
#define DISPATCH(function, step, ...)                                                              \
  do {                                                                                             \
    const int dim = (step)->block.dim, given = (step)->drift != NULL;                              \
    if ((step)->hamiltonian.type == MFG_HAMILTONIAN_QUADRATIC) {                                   \
      const MFGHamiltonian quadratic = {.type = MFG_HAMILTONIAN_QUADRATIC,                         \
                                        .control_cost = (step)->hamiltonian.control_cost,          \
                                        .exponent = 2};                                            \
      DISPATCH_DIM(function, &quadratic, dim, given, __VA_ARGS__);                                 \
    } else {                                                                                       \
      DISPATCH_DIM(function, &(step)->hamiltonian, dim, given, __VA_ARGS__);                       \
    }                                                                                              \
  } while (0)

static Row MakeRow(const MFGHJBStep *step) {
  const MFGBlock *b = &step->block;
  Row row = {.scheme = MFGHJBSchemeMake(b, step->dt, step->nu)};
  (void)MFGGhostedStrides(b, row.stride);
  return row;
}

/* Points the row at line (j, k) of the box; returns the first cell of the ghosted array and, in
 * *first, of the owned one. */
static const double *PlaceRow(const MFGHJBStep *step, Row *row, int j, int k, const double *u,
                              ptrdiff_t *first) {
  const MFGBlock *b = &step->block;
  const ptrdiff_t owned = (ptrdiff_t)MFGBlockOwned(b);
  *first = ((ptrdiff_t)k * b->count[1] + j) * b->count[0];
  row->next = step->next ? step->next + *first : NULL;
  row->source = step->source ? step->source + *first : NULL;
  for (int d = 0; d < b->dim && step->drift; d++) row->b[d] = step->drift + d * owned + *first;
  u += 1;
  if (b->dim > 1) u += (j + 1) * row->stride[1];
  if (b->dim > 2) u += (k + 1) * row->stride[2];
  return u;
}

static PetscErrorCode HJBResidual_CPU(const MFGHJBStep *step, const double *u, double *residual) {
  Row line = MakeRow(step), *row = &line;
  const int n = step->block.count[0];

  PetscFunctionBeginUser;
  for (int k = 0; k < step->block.count[2]; k++)
    for (int j = 0; j < step->block.count[1]; j++) {
      ptrdiff_t first;
      const double *center = PlaceRow(step, row, j, k, u, &first);
      DISPATCH(ResidualRow, step, center, n, residual + first);
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The owned cells beside the wall on one side of an axis, as a range; false where it has none. */
static int WallCells(const MFGBlock *b, int axis, int side, int begin[], int end[]) {
  const int wall = side ? b->cells[axis] - 1 : 0, at = wall - b->start[axis];
  if (b->boundary[axis][side] != MFG_BOUNDARY_NOFLUX || at < 0 || at >= b->count[axis]) return 0;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    begin[k] = k == axis ? at : 0;
    end[k] = k == axis ? at + 1 : b->count[k];
  }
  return 1;
}

/* Across a wall the neighbour is the cell itself: its entry moves to the diagonal. */
static void FoldWalls(const MFGBlock *b, double *values) {
  const int64_t owned = MFGBlockOwned(b);
  int begin[MFG_MAX_DIM], end[MFG_MAX_DIM];
  for (int face = 0; face < 2 * b->dim; face++) {
    if (!WallCells(b, face / 2, face % 2, begin, end)) continue;
    for (int k = begin[2]; k < end[2]; k++)
      for (int j = begin[1]; j < end[1]; j++)
        for (int i = begin[0]; i < end[0]; i++) {
          const ptrdiff_t at = ((ptrdiff_t)k * b->count[1] + j) * b->count[0] + i;
          values[at] += values[(1 + face) * owned + at];
          values[(1 + face) * owned + at] = 0;
        }
  }
}

/* The same for a scaled matrix. */
static void FoldScaledWalls(const MFGStarLevel *level) {
  const MFGBlock *b = &level->block;
  int begin[MFG_MAX_DIM], end[MFG_MAX_DIM];
  for (int face = 0; face < 2 * b->dim; face++) {
    if (!WallCells(b, face / 2, face % 2, begin, end)) continue;
    for (int k = begin[2]; k < end[2]; k++)
      for (int j = begin[1]; j < end[1]; j++)
        for (int i = begin[0]; i < end[0]; i++) {
          const ptrdiff_t at = ((ptrdiff_t)k * b->count[1] + j) * b->count[0] + i;
          float c[2 * MFG_MAX_DIM];
          for (int s = 0; s < 2 * b->dim; s++) c[s] = level->c[s][at];
          MFGStarFold(b->dim, face, c, &level->d[at]);
          for (int s = 0; s < 2 * b->dim; s++) level->c[s][at] = c[s];
        }
  }
}

static PetscErrorCode HJBJacobian_CPU(const MFGHJBStep *step, const double *u, double *values) {
  Row line = MakeRow(step), *row = &line;
  const int n = step->block.count[0];
  const int64_t owned = MFGBlockOwned(&step->block);

  PetscFunctionBeginUser;
  for (int k = 0; k < step->block.count[2]; k++)
    for (int j = 0; j < step->block.count[1]; j++) {
      ptrdiff_t first;
      const double *center = PlaceRow(step, row, j, k, u, &first);
      DISPATCH(JacobianRow, step, center, n, owned, values + first);
    }
  FoldWalls(&step->block, values);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBCoefficients_CPU(const MFGHJBStep *step, const double *u,
                                          const MFGStarLevel *level) {
  Row line = MakeRow(step), *row = &line;
  const int n = step->block.count[0];

  PetscFunctionBeginUser;
  for (int k = 0; k < step->block.count[2]; k++)
    for (int j = 0; j < step->block.count[1]; j++) {
      ptrdiff_t first;
      float *c[2 * MFG_MAX_DIM] = {NULL};
      const double *center = PlaceRow(step, row, j, k, u, &first);
      for (int s = 0; s < 2 * step->block.dim; s++) c[s] = level->c[s] + first;
      DISPATCH(CoefficientsRow, step, center, n, level->d + first, c[0], c[1], c[2], c[3], c[4],
               c[5]);
    }
  FoldScaledWalls(level);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode HJBJacobianChange_CPU(const MFGHJBStep *step, const double *u,
                                            const double *w, double *values) {
  Row line = MakeRow(step), *row = &line;
  const int n = step->block.count[0];
  const int64_t owned = MFGBlockOwned(&step->block);

  PetscFunctionBeginUser;
  for (int k = 0; k < step->block.count[2]; k++)
    for (int j = 0; j < step->block.count[1]; j++) {
      ptrdiff_t first;
      const double *center = PlaceRow(step, row, j, k, u, &first);
      DISPATCH(JacobianChangeRow, step, center, w + (center - u), n, owned, values + first);
    }
  FoldWalls(&step->block, values);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DriftFromValue_CPU(const MFGHJBStep *step, const double *u, double *drift) {
  Row line = MakeRow(step), *row = &line;
  const int n = step->block.count[0];
  const ptrdiff_t owned = (ptrdiff_t)MFGBlockOwned(&step->block);

  PetscFunctionBeginUser;
  for (int k = 0; k < step->block.count[2]; k++)
    for (int j = 0; j < step->block.count[1]; j++) {
      ptrdiff_t first;
      const double *center = PlaceRow(step, row, j, k, u, &first);
      DISPATCH(DriftRow, step, center, n, owned, drift + first);
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Of a line that lies inside only the ends can be beyond a wall. */
static PetscErrorCode MirrorDrift_CPU(const MFGBlock *box, int levels, double *drift) {
  const MFGExtent rim = MFGBlockWidened(box, (int[3]){1, 1, 1});
  const int64_t field = MFGExtentCells(&rim);

  PetscFunctionBeginUser;
  for (int f = 0; f < levels * box->dim; f++, drift += field)
    for (int z = 0; z < rim.count[2]; z++)
      for (int y = 0; y < rim.count[1]; y++) {
        const int inside = (box->dim < 2 || (y > 0 && y < rim.count[1] - 1)) &&
                           (box->dim < 3 || (z > 0 && z < rim.count[2] - 1));
        double *line = drift + ((int64_t)z * rim.count[1] + y) * rim.count[0];
        for (int x = 0; x < rim.count[0]; x += inside ? rim.count[0] - 1 : 1)
          line[x] = MFGDriftInRim(box, &rim, f % box->dim, (int[]){x, y, z}, drift);
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coupling_CPU(const MFGCoupling *f, int64_t n, const double *m,
                                   double *value) {
  PetscFunctionBeginUser;
  for (int64_t i = 0; i < n; i++) value[i] = MFGCouplingValue(f, m[i]);
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGGridOps MFG_VARIANT_NAME(MFGGridOps_CPU) = {
    .name = "cpu",
    .hjb_residual = HJBResidual_CPU,
    .hjb_jacobian = HJBJacobian_CPU,
    .drift_from_value = DriftFromValue_CPU,
    .coupling = Coupling_CPU,
    .mirror_drift = MirrorDrift_CPU,
    .hjb_jacobian_change = HJBJacobianChange_CPU,
    .hjb_coefficients = HJBCoefficients_CPU,
    .ghosts = MFGGhosts_CPU,
};
