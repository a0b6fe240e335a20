#include "solvers/backend_cpu.h"

#include "solvers/star_point.h"

/* The loops are written once and specialised by the constant dimension, so that they vectorise. */
#define SPECIALISED static inline __attribute__((always_inline))

typedef struct {
  ptrdiff_t stride[MFG_MAX_DIM]; /* of ghosted arrays */
} Layout;

static Layout LayoutOf(const MFGBlock *b) {
  Layout l;
  (void)MFGGhostedStrides(b, l.stride);
  return l;
}

/* Line (j, k) of a ghosted array starts here; -1 and count are the lines of the rim. */
static ptrdiff_t Line(const MFGBlock *b, const Layout *l, int j, int k) {
  return 1 + (b->dim > 1 ? (j + 1) * l->stride[1] : 0) + (b->dim > 2 ? (k + 1) * l->stride[2] : 0);
}

static ptrdiff_t OwnedLine(const MFGBlock *b, int j, int k) {
  return ((ptrdiff_t)k * b->count[1] + j) * b->count[0];
}

SPECIALISED void SmoothLine(const float *const c[], const ptrdiff_t stride[], int n, float weight,
                            const float *restrict b, const float *restrict x, float *restrict next,
                            const int dim) {
  for (int i = 0; i < n; i++)
    next[i] = x[i] + weight * MFGStarDefect(dim, c, i, b[i], x, i, stride);
}

/* Adds the weighted residual to sum[n]. */
SPECIALISED void ResidualLine(const float *const c[], const float *restrict d,
                              const ptrdiff_t stride[], int n, float weight,
                              const float *restrict b, const float *restrict x, float *restrict sum,
                              const int dim) {
  for (int i = 0; i < n; i++)
    sum[i] += weight * d[i] * MFGStarDefect(dim, c, i, b[i], x, i, stride);
}

#define DISPATCH_DIM(function, dim, ...)                                                           \
  do {                                                                                             \
    if ((dim) == 1)                                                                                \
      function(__VA_ARGS__, 1);                                                                    \
    else if ((dim) == 2)                                                                           \
      function(__VA_ARGS__, 2);                                                                    \
    else                                                                                           \
      function(__VA_ARGS__, 3);                                                                    \
  } while (0)

static void CoefficientLines(const MFGStarLevel *level, ptrdiff_t at, const float *c[]) {
  for (int s = 0; s < 2 * MFG_MAX_DIM; s++)
    c[s] = s < 2 * level->block.dim ? level->c[s] + at : NULL;
}

static PetscErrorCode Smooth_CPU(const MFGStarLevel *level, float weight, const float *b,
                                 const float *x, float *next) {
  const MFGBlock *block = &level->block;
  const Layout l = LayoutOf(block);
  const int n = block->count[0];
  const float *c[2 * MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < block->count[2]; k++)
    for (int j = 0; j < block->count[1]; j++) {
      const ptrdiff_t line = Line(block, &l, j, k), at = OwnedLine(block, j, k);
      if (x) {
        CoefficientLines(level, at, c);
        DISPATCH_DIM(SmoothLine, block->dim, c, l.stride, n, weight, b + at, x + line, next + line);
      } else {
        for (int i = 0; i < n; i++) next[line + i] = weight * b[at + i];
      }
    }
  MFGStarWrap_CPU(block, next);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The cells begin .. end-1 of an axis that are one of its groups. */
static void Group(const MFGStarTransfer *transfer, const MFGBlock *block, int axis, int group,
                  int *begin, int *end) {
  const int factor = transfer->factor[axis], n = block->count[axis];
  *begin = factor * group;
  *end = *begin + factor < n ? *begin + factor : n;
}

/* coarse = sum over the group of share[i] fine[i], of n fine cells. */
static void GatherLine(int factor, int n, const float *restrict share, const float *restrict fine,
                       float *restrict coarse) {
  if (factor == 1) {
    for (int i = 0; i < n; i++) coarse[i] = share[i] * fine[i];
    return;
  }
  for (int i = 0; i < n / 2; i++)
    coarse[i] = share[2 * i] * fine[2 * i] + share[2 * i + 1] * fine[2 * i + 1];
  if (n % 2) coarse[n / 2] = share[n - 1] * fine[n - 1];
}

static PetscErrorCode Restrict_CPU(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                   const MFGStarLevel *coarse, const float *b, const float *x,
                                   float *coarse_b) {
  const MFGBlock *block = &level->block, *group = &coarse->block;
  const Layout l = LayoutOf(block);
  const int n = block->count[0];
  const float *c[2 * MFG_MAX_DIM];
  float *sum = transfer->row;

  PetscFunctionBeginUser;
  for (int K = 0; K < group->count[2]; K++)
    for (int J = 0; J < group->count[1]; J++) {
      int j0, j1, k0, k1;
      Group(transfer, block, 1, J, &j0, &j1);
      Group(transfer, block, 2, K, &k0, &k1);
      memset(sum, 0, n * sizeof *sum);
      for (int k = k0; k < k1; k++)
        for (int j = j0; j < j1; j++) {
          const ptrdiff_t line = Line(block, &l, j, k), at = OwnedLine(block, j, k);
          const float weight = transfer->share[1][j] * transfer->share[2][k];
          CoefficientLines(level, at, c);
          DISPATCH_DIM(ResidualLine, block->dim, c, level->d + at, l.stride, n, weight, b + at,
                       x + line, sum);
        }
      const ptrdiff_t at = OwnedLine(group, J, K);
      GatherLine(transfer->factor[0], n, transfer->share[0], sum, coarse_b + at);
      for (int i = 0; i < group->count[0]; i++) coarse_b[at + i] /= coarse->d[at + i];
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* fine += coarse interpolated; coarse has a ghost at -1 and at the end. */
static void SpreadLine(int factor, int n, const float *restrict below, const float *restrict above,
                       const float *restrict coarse, float *restrict fine) {
  if (factor == 1) {
    for (int i = 0; i < n; i++) fine[i] += coarse[i];
    return;
  }
  for (int i = 0; i < n / 2; i++) {
    const float own = coarse[i];
    fine[2 * i] += MFGStarInterpolate(own, coarse[i - 1], below[2 * i]);
    fine[2 * i + 1] += MFGStarInterpolate(own, coarse[i + 1], above[2 * i + 1]);
  }
  if (n % 2) fine[n - 1] += coarse[n / 2];
}

/* Weights of the coarse lines below, at and above the group of line j. */
static void LineWeights(const MFGStarTransfer *transfer, const MFGBlock *block, int axis, int j,
                        int *group, float weight[3]) {
  const int n = block->count[axis], used = axis < block->dim;
  *group = j / transfer->factor[axis];
  weight[0] = used ? transfer->slope[axis][j] : 0;
  weight[2] = used ? transfer->slope[axis][n + j] : 0;
  weight[1] = 1 - weight[0] - weight[2];
}

static PetscErrorCode Correct_CPU(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                  const MFGStarLevel *coarse, const float *coarse_x, float *x) {
  const MFGBlock *block = &level->block, *group = &coarse->block;
  const Layout l = LayoutOf(block), L = LayoutOf(group);
  const int n = block->count[0], width = group->count[0] + 2;
  float *restrict sum = transfer->row;

  PetscFunctionBeginUser;
  for (int k = 0; k < block->count[2]; k++)
    for (int j = 0; j < block->count[1]; j++) {
      int J, K;
      float y[3], z[3];
      LineWeights(transfer, block, 1, j, &J, y);
      LineWeights(transfer, block, 2, k, &K, z);
      memset(sum, 0, width * sizeof *sum);
      for (int q = 0; q < 3; q++)
        for (int p = 0; p < 3; p++) {
          const float weight = y[p] * z[q];
          if (weight == 0) continue;
          const float *restrict from = coarse_x + Line(group, &L, J + p - 1, K + q - 1) - 1;
          for (int i = 0; i < width; i++) sum[i] += weight * from[i];
        }
      SpreadLine(transfer->factor[0], n, transfer->slope[0], transfer->slope[0] + n, sum + 1,
                 x + Line(block, &l, j, k));
    }
  MFGStarWrap_CPU(block, x);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One coarse line of the couplings through a face (unscaled, less diffusion), or of the row sums.
 */
static void CoarsenLine(const MFGStarLevel *level, const MFGStarTransfer *transfer, int face,
                        const int begin[], const int end[], float *coarse) {
  const MFGBlock *b = &level->block;
  const int n = b->count[0], axis = face < 0 ? -1 : face / 2, kind = 1 + face % 2;
  const float *share[MFG_MAX_DIM];
  float *restrict sum = transfer->row;

  for (int a = 0; a < MFG_MAX_DIM; a++)
    share[a] = transfer->share[a] + (a == axis ? kind * b->count[a] : 0);
  memset(sum, 0, n * sizeof *sum);
  for (int k = begin[2]; k < end[2]; k++)
    for (int j = begin[1]; j < end[1]; j++) {
      const ptrdiff_t at = OwnedLine(b, j, k);
      const float *restrict d = level->d + at, weight = share[1][j] * share[2][k];
      if (weight == 0) continue;
      if (face < 0) {
        const float *c[2 * MFG_MAX_DIM];
        CoefficientLines(level, at, c);
        for (int i = 0; i < n; i++) sum[i] += weight * d[i] * MFGStarRest(b->dim, c, i);
        continue;
      }
      const float *restrict c = level->c[face] + at, *restrict diffusion = level->diffusion[face];
      if (axis == 0) {
        for (int i = 0; i < n; i++) sum[i] += weight * (d[i] * c[i] - diffusion[i]);
      } else {
        const float part = diffusion[axis == 1 ? j : k];
        for (int i = 0; i < n; i++) sum[i] += weight * (d[i] * c[i] - part);
      }
    }
  GatherLine(transfer->factor[0], n, share[0], sum, coarse);
}

static PetscErrorCode Coarsen_CPU(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                  const MFGStarLevel *coarse) {
  const MFGBlock *block = &level->block, *group = &coarse->block;
  const int n = group->count[0];

  PetscFunctionBeginUser;
  for (int K = 0; K < group->count[2]; K++)
    for (int J = 0; J < group->count[1]; J++) {
      const ptrdiff_t at = OwnedLine(group, J, K);
      int begin[MFG_MAX_DIM], end[MFG_MAX_DIM];
      float *restrict d = coarse->d + at;
      Group(transfer, block, 1, J, &begin[1], &end[1]);
      Group(transfer, block, 2, K, &begin[2], &end[2]);
      CoarsenLine(level, transfer, -1, begin, end, d);
      for (int face = 0; face < 2 * block->dim; face++) {
        float *restrict c = coarse->c[face] + at;
        const float *restrict diffusion = coarse->diffusion[face];
        CoarsenLine(level, transfer, face, begin, end, c);
        for (int i = 0; i < n; i++) {
          c[i] += diffusion[face < 2 ? i : face < 4 ? J : K];
          d[i] += c[i];
        }
      }
      for (int face = 0; face < 2 * block->dim; face++) {
        float *restrict c = coarse->c[face] + at;
        for (int i = 0; i < n; i++) c[i] /= d[i];
      }
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Adds up the products of a line of n cells with its neighbour. */
static void AddProducts(int n, const double *restrict a, const double *restrict x,
                        double *restrict y) {
  for (int i = 0; i < n; i++) y[i] += a[i] * x[i];
}

static PetscErrorCode Product_CPU(const MFGBlock *block, const double *values, int transpose,
                                  const double *x, double *y) {
  const Layout l = LayoutOf(block);
  const int64_t ghosted = MFGGhostedCells(block);
  const int n = block->count[0];

  PetscFunctionBeginUser;
  for (int k = 0; k < block->count[2]; k++)
    for (int j = 0; j < block->count[1]; j++, y += n) {
      const ptrdiff_t line = Line(block, &l, j, k);
      for (int i = 0; i < n; i++) y[i] = values[line + i] * x[line + i];
      for (int s = 0; s < 2 * block->dim; s++) {
        const ptrdiff_t there = line + (s % 2 ? l.stride[s / 2] : -l.stride[s / 2]);
        const double *a = values + (1 + (transpose ? s ^ 1 : s)) * ghosted;
        AddProducts(n, a + (transpose ? there : line), x + there, y);
      }
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Scale_CPU(const double *values, const MFGStarLevel *level) {
  const MFGBlock *block = &level->block;
  const Layout l = LayoutOf(block);
  const int64_t ghosted = MFGGhostedCells(block);
  const int n = block->count[0];

  PetscFunctionBeginUser;
  for (int k = 0; k < block->count[2]; k++)
    for (int j = 0; j < block->count[1]; j++) {
      const ptrdiff_t at = OwnedLine(block, j, k);
      const double *restrict diagonal = values + Line(block, &l, j, k);
      for (int i = 0; i < n; i++) level->d[at + i] = (float)diagonal[i];
      for (int s = 0; s < 2 * block->dim; s++) {
        const double *restrict a = diagonal + (1 + s) * ghosted;
        float *restrict c = level->c[s] + at;
        for (int i = 0; i < n; i++) c[i] = (float)(-a[i] / diagonal[i]);
      }
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Convert_CPU(const MFGStarLevel *level, double *vector, float *field,
                                  int back) {
  const MFGBlock *block = &level->block;
  const Layout l = LayoutOf(block);
  const int n = block->count[0];

  PetscFunctionBeginUser;
  for (int k = 0; k < block->count[2]; k++)
    for (int j = 0; j < block->count[1]; j++) {
      const ptrdiff_t at = OwnedLine(block, j, k);
      const float *restrict d = level->d + at, *restrict x = field + Line(block, &l, j, k);
      float *restrict b = field + at;
      double *restrict v = vector + at;
      if (back)
        for (int i = 0; i < n; i++) v[i] = x[i];
      else
        for (int i = 0; i < n; i++) b[i] = (float)v[i] / d[i];
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGStarOps MFG_VARIANT_NAME(MFGStarOps_CPU) = {.name = "cpu",
                                                     .product = Product_CPU,
                                                     .scale = Scale_CPU,
                                                     .coarsen = Coarsen_CPU,
                                                     .transpose = MFGStarTranspose_CPU,
                                                     .invert = MFGStarInvert_CPU,
                                                     .convert = Convert_CPU,
                                                     .smooth = Smooth_CPU,
                                                     .restrict_residual = Restrict_CPU,
                                                     .correct = Correct_CPU,
                                                     .finish = MFGStarFinish_CPU};
