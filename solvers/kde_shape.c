#include "solvers/kde.h"
#include "solvers/kde_point.h"

int MFGDensityOrder(double r, double tolerance) {
  double bound = 1;
  int p = 0;
  while (bound >= tolerance / 3 && p < MFG_ORDER_MAX) bound *= r / sqrt(++p);
  return PetscMax(p, 3);
}

/* An agent is at most half a cell from its centre: the first cell left out is radius + 1/2 cells
 * away. Many agents' tails add up, hence the factor 10. */
int MFGDensityRadius(double cells, double tolerance) {
  return (int)PetscMax(1, ceil(cells * sqrt(-2 * log(tolerance / 10)) - 0.5));
}

MFGMomentShape MFGDensityShapeOf(int dim, int64_t agents, double tolerance,
                                 const double narrowest[], const int halvings[]) {
  MFGMomentShape s = {.scale = MFGMomentScale(agents)};
  double r = 0;
  for (int k = 0; k < dim; k++) {
    s.halvings[k] = halvings[k];
    r = PetscMax(r, 0.5 / ldexp(narrowest[k], halvings[k]));
  }
  s.order = MFGDensityOrder(r, tolerance);
  return s;
}

/* Nanoseconds of one level on one core of an AMD EPYC 9004 with AVX-512, measured with
 * tests/bench/bench_boxes.c: an agent with its first line of eight terms, per dimension; every
 * line, by the kernels for orders up to 8, up to 16 and above; what a line costs more where the
 * field is larger than the caches, from 8 MB on and in full from 32 MB, in between agents sorted by
 * cell (0 to 3) and in no order (4 to 15); a number that is cleared, summed over ranks and read;
 * one product of a number and a weight. */
static const double agent[] = {1, 6, 8},
                    line[][3] = {{1.35, 1.35, 1.35}, {1.5, 2.3, 3.5}, {2, 2.5, 3.5}};
#define MISS 4
#define NUMBER 5
#define PRODUCT 0.12

static double LevelCost(const MFGBlock *b, int64_t agents, const MFGMomentShape *s,
                        const int radius[]) {
  const double cells = (double)MFGBlockCells(b), p = s->order;
  const double numbers = cells * MFGMomentNumbers(b->dim, s),
               lines = ceil(MFGMomentTerms(b->dim, s->order) / 8.);
  const double y = ldexp(1, s->halvings[1]), z = ldexp(1, s->halvings[2]);
  const double large = PetscMin(1, PetscMax(0, log2(numbers / (1 << 20)) / 2));
  const double deposit =
      agent[b->dim - 1] + lines * (line[b->dim - 1][(s->order > 8) + (s->order > 16)] +
                                   (b->dim > 1 ? MISS * large : 0));
  double products = numbers * (2 * radius[0] + 1);
  if (b->dim == 2) products += cells * y * p * (2 * radius[1] + 1);
  if (b->dim == 3)
    products += cells * z * (y * p * (p + 1) / 2 * (2 * radius[1] + 1) + p * (2 * radius[2] + 1));
  return (double)agents * deposit + numbers * NUMBER + products * PRODUCT;
}

/* Boxes are halved as little as makes none wider than 2 r bandwidths. False where that is more
 * often than allowed. */
static PetscBool HalveTo(double r, int dim, const double narrowest[], int halvings[]) {
  for (int k = 0; k < dim; k++) {
    halvings[k] = 0;
    while (0.5 / ldexp(narrowest[k], halvings[k]) > r * (1 + 1e-9))
      if (++halvings[k] > MFG_HALVINGS_MAX) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* The candidates: for every width that halving an axis can give, the fewest boxes that are nowhere
 * wider. Whole cells must be beaten by a tenth: boxes cost memory and, between ranks, time. Moments
 * of a level may double, or grow to 16 MB, a sixteenth of what a chunk of levels may take. */
MFGMomentShape MFGDensityShape(const MFGBlock *domain, int64_t agents, double tolerance,
                               const double narrowest[], const double widest[]) {
  const int dim = domain->dim;
  int halvings[MFG_MAX_DIM] = {0}, radius[MFG_MAX_DIM] = {0};
  MFGMomentShape best = MFGDensityShapeOf(dim, agents, tolerance, narrowest, halvings);
  for (int k = 0; k < dim; k++) radius[k] = MFGDensityRadius(widest[k], tolerance);
  const int64_t cells = MFGBlockCells(domain),
                most = PetscMax(2 * cells * MFGMomentNumbers(dim, &best), 2 << 20);
  double least = 0.9 * LevelCost(domain, agents, &best, radius);

  for (int k = 0; k < dim; k++)
    for (int n = 0; n <= MFG_HALVINGS_MAX; n++) {
      if (!HalveTo(0.5 / ldexp(narrowest[k], n), dim, narrowest, halvings)) continue;
      const MFGMomentShape s = MFGDensityShapeOf(dim, agents, tolerance, narrowest, halvings);
      const double cost = LevelCost(domain, agents, &s, radius);
      if (cells * MFGMomentNumbers(dim, &s) > most || cost >= least) continue;
      least = cost;
      best = s;
    }
  return best;
}
