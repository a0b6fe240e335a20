/* Sums of moments along the axes of the grid, on the CPU. */
#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"

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

static void LevelMarginals(const MFGMarginals *job, const int64_t *moments, int64_t *marginals) {
  const MFGBlock *domain = &job->domain, *box = &job->box;
  const MFGExtent e = MFGExtentOrWhole(domain, &job->extent);
  const int numbers = MFGMomentNumbers(domain->dim, &job->shape);

  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++) {
      const int at[MFG_MAX_DIM] = {box->start[0], box->start[1] + y, box->start[2] + z};
      const int64_t plane = at[2] - e.start[2], row = plane * e.count[1] + at[1] - e.start[1];
      int64_t *marginal[MFG_MAX_DIM];
      for (int k = 0; k < MFG_MAX_DIM; k++)
        marginal[k] =
            marginals + (k < domain->dim ? MFGMarginalStart(domain, &job->shape, k) +
                                               3 * ((int64_t)at[k] << job->shape.halvings[k])
                                         : 0);
      CellRowMarginals(domain->dim, &job->shape, box->count[0],
                       moments + (row * e.count[0] + at[0] - e.start[0]) * numbers, marginal);
    }
}

PetscErrorCode MFGMarginals_CPU(const MFGMarginals *job, const int64_t *moments,
                                int64_t *marginals) {
  const int64_t field = MFGMomentField(&job->domain, &job->shape, &job->extent),
                count = MFGMarginalCount(&job->domain, &job->shape);

  PetscFunctionBeginUser;
  for (int n = 0; n < job->levels; n++)
    LevelMarginals(job, moments + n * field, marginals + n * count);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGAxisSums_CPU(const MFGMarginals *job, const int64_t *marginals,
                               MFGAxisSums *sums) {
  const int dim = job->domain.dim;

  PetscFunctionBeginUser;
  for (int i = 0; i < job->levels * dim; i++) {
    const int boxes = job->domain.cells[i % dim] << job->shape.halvings[i % dim];
    sums[i] = (MFGAxisSums){0, 0, 0};
    for (int box = 0; box < boxes; box++, marginals += 3)
      sums[i] = MFGAxisSumsAdded(sums[i], MFGBoxSums(box, marginals));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
