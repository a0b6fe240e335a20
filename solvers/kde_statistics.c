#include "solvers/kde.h"
#include "solvers/kde_point.h"

/* Relative to the integer next to the mean, all in integers: no cancellation is left. s0 and s1 are
 * not negative; in floating point their quotient is off by one at most. */
static void MeanAndVariance(MFGAxisSums s, double *mean, double *variance) {
  const int64_t agents = (int64_t)s.s0;
  const double n = (double)agents;
  int64_t u = (int64_t)((double)s.s1 / n);
  MFGInt128 d1 = s.s1 - (MFGInt128)u * agents;
  const int off = d1 < 0 ? -1 : d1 >= agents;
  u += off;
  d1 -= off * (MFGInt128)agents;
  const MFGInt128 d2 = s.s2 - u * (s.s1 + d1);
  const double shift = (double)(int64_t)d1 / n;
  *mean = (double)u + shift;
  *variance = (double)d2 / n - shift * shift;
}

/* Cutting the circle below box b puts the boxes before it one turn up. */
static void PeriodicCut(int boxes, const int64_t *m, MFGAxisSums s, double *mean,
                        double *variance) {
  const int64_t turn = 2 * (int64_t)boxes;
  MeanAndVariance(s, mean, variance);
  for (int b = 0; b + 1 < boxes; b++, m += 3) {
    const int64_t centre = 2 * (int64_t)b + 1;
    double shifted, v;
    s.s1 += (MFGInt128)turn * m[0];
    s.s2 += (MFGInt128)(turn * (turn + 2 * centre)) * m[0] + (MFGInt128)(2 * turn) * m[1];
    MeanAndVariance(s, &shifted, &v);
    if (v < *variance) {
      *variance = v;
      *mean = shifted;
    }
  }
  if (*mean >= 2.0 * boxes) *mean -= 2.0 * boxes;
}

PetscErrorCode MFGMarginalStatistics(const MFGBlock *b, const MFGMomentShape *shape, int64_t agents,
                                     const MFGAxisSums *sums, const int64_t *marginals,
                                     MFGSampleStatistics *statistics) {
  PetscFunctionBeginUser;
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < b->dim; k++) {
    const int boxes = b->cells[k] << shape->halvings[k];
    const MFGAxisSums all = sums[k];
    const int64_t total = (int64_t)(all.s0 >> shape->scale);
    PetscCheck(total == agents, PETSC_COMM_SELF, PETSC_ERR_PLIB,
               "the moments hold %lld agents instead of %lld", (long long)total, (long long)agents);
    double mean, variance;
    if (b->boundary[k][0] == MFG_BOUNDARY_PERIODIC)
      PeriodicCut(boxes, marginals + MFGMarginalStart(b, shape, k), all, &mean, &variance);
    else
      MeanAndVariance(all, &mean, &variance);
    const double half = ldexp(b->spacing[k], -1 - shape->halvings[k]);
    statistics->mean[k] = b->lower[k] + mean * half;
    statistics->variance[k] = PetscMax(variance, 0) * half * half;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMomentStatistics(const MFGBackend *backend, const MFGBlock *domain,
                                   const MFGMomentShape *shape, int64_t agents,
                                   const int64_t *moments, MFGSampleStatistics *statistics) {
  MFGMarginals job = {.domain = *domain, .shape = *shape, .levels = 1, .box = *domain};
  MFGAxisSums sums[MFG_MAX_DIM];
  int64_t *marginals;

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    job.box.start[k] = 0;
    job.box.count[k] = job.box.cells[k];
  }
  PetscCall(PetscCalloc1(MFGMarginalCount(domain, shape), &marginals));
  PetscCall(MFGBackendMarginals(backend, &job, moments, marginals));
  PetscCall(MFGBackendAxisSums(backend, &job, marginals, sums));
  PetscCall(MFGMarginalStatistics(domain, shape, agents, sums, marginals, statistics));
  PetscCall(PetscFree(marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}
