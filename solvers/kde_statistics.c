#include "solvers/kde.h"
#include "solvers/kde_point.h"

__extension__ typedef __int128 Int128;

/* Sums over agents of 1, u, u^2 in units of half boxes from the lower end, times 2^S. */
typedef struct {
  Int128 s0, s1, s2;
} Sums;

/* Agents in box b are at u = 2 b + 1 + t. */
static Sums BoxSums(int64_t box, const int64_t m[3]) {
  const Int128 centre = 2 * (Int128)box + 1;
  return (Sums){m[0], centre * m[0] + m[1], centre * centre * m[0] + 2 * centre * m[1] + m[2]};
}

/* Relative to the integer next to the mean, all in integers: no cancellation is left. */
static void MeanAndVariance(Sums s, double *mean, double *variance) {
  const Int128 u = s.s1 / s.s0, d1 = s.s1 - u * s.s0, d2 = s.s2 - 2 * u * s.s1 + u * u * s.s0;
  const double n = (double)s.s0, shift = (double)d1 / n;
  *mean = (double)u + shift;
  *variance = (double)d2 / n - shift * shift;
}

/* Cutting the circle below box b puts the boxes before it one turn up. */
static void PeriodicCut(int boxes, const Sums *box, Sums s, double *mean, double *variance) {
  const Int128 turn = 2 * (Int128)boxes;
  MeanAndVariance(s, mean, variance);
  for (int b = 0; b + 1 < boxes; b++) {
    double m, v;
    s.s2 += 2 * turn * box[b].s1 + turn * turn * box[b].s0;
    s.s1 += turn * box[b].s0;
    MeanAndVariance(s, &m, &v);
    if (v < *variance) {
      *variance = v;
      *mean = m;
    }
  }
  if (*mean >= 2.0 * boxes) *mean -= 2.0 * boxes;
}

/* Where the marginals of an axis begin. */
static int64_t MarginalStart(const MFGBlock *domain, const MFGMomentShape *shape, int axis) {
  int64_t boxes = 0;
  for (int k = 0; k < axis; k++) boxes += (int64_t)domain->cells[k] << shape->halvings[k];
  return 3 * boxes;
}

int64_t MFGMarginalCount(const MFGBlock *domain, const MFGMomentShape *shape) {
  return MarginalStart(domain, shape, domain->dim);
}

/* One row of boxes, `count` cells with `boxes` boxes each along x and `numbers` from cell to cell:
 * along x each box has its place, y and z get the row's sums. */
static void RowMarginals(int count, int boxes, int terms, int numbers,
                         const int term[MFG_MAX_DIM][2], int dim, const int64_t *moments,
                         int64_t *marginal[MFG_MAX_DIM]) {
  int64_t all = 0, first[MFG_MAX_DIM] = {0}, second[MFG_MAX_DIM] = {0}, *x = marginal[0];

  for (int i = 0; i < count; i++)
    for (int b = 0; b < boxes; b++, x += 3) {
      const int64_t *m = moments + (int64_t)i * numbers + b * terms;
      x[0] += m[0];
      x[1] += m[1];
      x[2] += m[2];
      all += m[0];
      for (int k = 1; k < dim; k++) {
        first[k] += m[term[k][0]];
        second[k] += m[term[k][1]];
      }
    }
  for (int k = 1; k < dim; k++) {
    marginal[k][0] += all;
    marginal[k][1] += first[k];
    marginal[k][2] += second[k];
  }
}

/* The rows of boxes of one row of cells; marginals: of the first box of the first cell per axis. */
static void CellRowMarginals(int dim, const MFGMomentShape *shape, int count,
                             const int64_t *moments, int64_t *const marginals[MFG_MAX_DIM]) {
  const int order = shape->order, terms = MFGMomentTerms(dim, order);
  const int term[MFG_MAX_DIM][2] = {{1, 2},
                                    {MFGMomentRow(order, 1), MFGMomentRow(order, 2)},
                                    {MFGMomentPlane(order, 1), MFGMomentPlane(order, 2)}};
  const int x = 1 << shape->halvings[0], rows = MFGMomentBoxes(shape) / x;

  for (int r = 0; r < rows; r++) {
    const int z = r >> shape->halvings[1], y = r - (z << shape->halvings[1]);
    int64_t *marginal[MFG_MAX_DIM] = {marginals[0], marginals[1] + 3 * y, marginals[2] + 3 * z};
    RowMarginals(count, x, terms, rows * x * terms, term, dim, moments + r * x * terms, marginal);
  }
}

PetscErrorCode MFGMomentMarginals(const MFGBlock *domain, const MFGMomentShape *shape,
                                  const MFGBlock *box, const MFGExtent *extent,
                                  const int64_t *moments, int64_t *marginals) {
  const MFGExtent e = MFGExtentOrWhole(domain, extent ? extent : &(MFGExtent){{0}, {0}});
  const int numbers = MFGMomentNumbers(domain->dim, shape);

  PetscFunctionBeginUser;
  PetscCheck(shape->order >= 3, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "statistics need moments of order 3 or more, not %d", shape->order);
  for (int k = 0; k < domain->dim; k++)
    PetscCheck(box->start[k] >= e.start[k] &&
                   box->start[k] + box->count[k] <= e.start[k] + e.count[k],
               PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "a box of %d cells from %d on along axis %d, the moments cover %d from %d on",
               box->count[k], box->start[k], k, e.count[k], e.start[k]);
  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++) {
      const int at[MFG_MAX_DIM] = {box->start[0], box->start[1] + y, box->start[2] + z};
      const int64_t plane = at[2] - e.start[2], row = plane * e.count[1] + at[1] - e.start[1];
      int64_t *marginal[MFG_MAX_DIM];
      for (int k = 0; k < MFG_MAX_DIM; k++)
        marginal[k] = marginals + (k < domain->dim ? MarginalStart(domain, shape, k) +
                                                         3 * ((int64_t)at[k] << shape->halvings[k])
                                                   : 0);
      CellRowMarginals(domain->dim, shape, box->count[0],
                       moments + (row * e.count[0] + at[0] - e.start[0]) * numbers, marginal);
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMarginalStatistics(const MFGBlock *b, const MFGMomentShape *shape, int64_t agents,
                                     const int64_t *marginals, MFGSampleStatistics *statistics) {
  PetscFunctionBeginUser;
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < b->dim; k++) {
    const int64_t *m = marginals + MarginalStart(b, shape, k);
    const int boxes = b->cells[k] << shape->halvings[k];
    Sums *box, all = {0, 0, 0};
    int64_t total = 0;
    PetscCall(PetscMalloc1(boxes, &box));
    for (int i = 0; i < boxes; i++, m += 3) {
      box[i] = BoxSums(i, m);
      all = (Sums){all.s0 + box[i].s0, all.s1 + box[i].s1, all.s2 + box[i].s2};
      total += m[0] >> shape->scale;
    }
    PetscCheck(total == agents, PETSC_COMM_SELF, PETSC_ERR_PLIB,
               "the moments hold %lld agents instead of %lld", (long long)total, (long long)agents);
    double mean, variance;
    if (b->boundary[k][0] == MFG_BOUNDARY_PERIODIC)
      PeriodicCut(boxes, box, all, &mean, &variance);
    else
      MeanAndVariance(all, &mean, &variance);
    const double half = ldexp(b->spacing[k], -1 - shape->halvings[k]);
    statistics->mean[k] = b->lower[k] + mean * half;
    statistics->variance[k] = PetscMax(variance, 0) * half * half;
    PetscCall(PetscFree(box));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMomentStatistics(const MFGBlock *domain, const MFGMomentShape *shape,
                                   int64_t agents, const int64_t *moments,
                                   MFGSampleStatistics *statistics) {
  MFGBlock whole = *domain;
  int64_t *marginals;

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    whole.start[k] = 0;
    whole.count[k] = whole.cells[k];
  }
  PetscCall(PetscCalloc1(MFGMarginalCount(domain, shape), &marginals));
  PetscCall(MFGMomentMarginals(domain, shape, &whole, NULL, moments, marginals));
  PetscCall(MFGMarginalStatistics(domain, shape, agents, marginals, statistics));
  PetscCall(PetscFree(marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}
