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

PetscErrorCode MFGMarginalStatistics(const MFGBlock *b, const MFGMomentShape *shape, int64_t agents,
                                     const int64_t *marginals, MFGSampleStatistics *statistics) {
  PetscFunctionBeginUser;
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < b->dim; k++) {
    const int64_t *m = marginals + MFGMarginalStart(b, shape, k);
    const int boxes = b->cells[k] << shape->halvings[k];
    Sums *box, all = {0, 0, 0};
    int64_t total = 0;
    for (int i = 0; i < boxes; i++) total += m[3 * i] >> shape->scale;
    PetscCheck(total == agents, PETSC_COMM_SELF, PETSC_ERR_PLIB,
               "the moments hold %lld agents instead of %lld", (long long)total, (long long)agents);
    PetscCall(PetscMalloc1(boxes, &box));
    for (int i = 0; i < boxes; i++, m += 3) {
      box[i] = BoxSums(i, m);
      all = (Sums){all.s0 + box[i].s0, all.s1 + box[i].s1, all.s2 + box[i].s2};
    }
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

PetscErrorCode MFGMomentStatistics(const MFGBackend *backend, const MFGBlock *domain,
                                   const MFGMomentShape *shape, int64_t agents,
                                   const int64_t *moments, MFGSampleStatistics *statistics) {
  MFGMarginals job = {.domain = *domain, .shape = *shape, .levels = 1, .box = *domain};
  int64_t *marginals;

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    job.box.start[k] = 0;
    job.box.count[k] = job.box.cells[k];
  }
  PetscCall(PetscCalloc1(MFGMarginalCount(domain, shape), &marginals));
  PetscCall(MFGBackendMarginals(backend, &job, moments, marginals));
  PetscCall(MFGMarginalStatistics(domain, shape, agents, marginals, statistics));
  PetscCall(PetscFree(marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}
