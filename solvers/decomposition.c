#include "solvers/decomposition.h"

const char *MFGDecompositionName(MFGDecomposition decomposition) {
  return decomposition == MFG_DECOMPOSITION_DOMAIN ? "domain" : "replicated";
}

static double Imbalance(const MFGSweepLayout *l, const double *m0) {
  const int boxes = l->divisions[0] * l->divisions[1] * l->divisions[2];
  double *agents, most = 0;

  if (PetscMalloc1(boxes, &agents)) return 1;
  MFGSweepShares(l, &l->whole, m0, agents);
  for (int b = 0; b < boxes; b++) most = PetscMax(most, agents[b]);
  (void)PetscFree(agents);
  return most * boxes / (double)l->agents;
}

/* Moments of a level, cleared and read, and its drift. */
static double MemoryBytes(const MFGSweepLayout *l, const MFGBlock *box) {
  const int dim = l->whole.dim, numbers = MFGMomentNumbers(dim, &l->shape);
  const int replicated = l->decomposition == MFG_DECOMPOSITION_REPLICATED;
  double cells = 1;
  for (int k = 0; k < dim; k++)
    cells *=
        replicated ? box->cells[k] : box->count[k] + (l->divisions[k] > 1 ? 2. * l->radius[k] : 0);
  return 8 * (cells * (numbers + dim) + (double)MFGBlockOwned(box) * numbers);
}

/* Drift of a step to the backend's memory and density of a level from it. */
static double StagedBytes(const MFGSweepLayout *l, const MFGBlock *box) {
  const int dim = l->whole.dim;
  const MFGExtent rim = MFGBlockWidened(box, (int[3]){1, 1, 1});
  const int64_t drift =
      l->decomposition == MFG_DECOMPOSITION_REPLICATED ? MFGBlockCells(box) : MFGExtentCells(&rim);
  return 8. * (double)(dim * drift + (dim == 1 ? MFGBlockCells(box) : MFGBlockOwned(box)));
}

static double Ranks(const MFGSweepLayout *l) {
  return (double)l->divisions[0] * l->divisions[1] * l->divisions[2];
}

/* The rank in the middle. */
static int Middle(const MFGSweepLayout *l) {
  const int *d = l->divisions;
  return d[0] / 2 + d[0] * (d[1] / 2 + d[1] * (d[2] / 2));
}

double MFGEstimateSeconds(const MFGSweepLayout *l, const MFGHints *h) {
  MFGSweepLayout layout = *l;
  const double ranks = Ranks(l);
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, Middle(l));
  const MFGBlock *evaluated = l->whole.dim == 1 ? &l->whole : &box;
  const double reduced =
      8. * (double)MFGBlockCells(&l->whole) * MFGMomentNumbers(l->whole.dim, &l->shape);

  layout.decomposition = MFG_DECOMPOSITION_REPLICATED;
  return (double)l->agents / ranks * h->deposit_seconds +
         MFGConvolutionProducts(evaluated, &l->shape, l->radius) * h->product_seconds +
         2 * (ranks - 1) / ranks * reduced / h->reduce_bandwidth +
         MemoryBytes(&layout, evaluated) / h->memory_bandwidth + h->call_seconds;
}

double MFGDecompositionSeconds(const MFGSweepLayout *l, MFGDecomposition decomposition,
                               double imbalance, const MFGHints *h) {
  MFGSweepLayout layout = *l;
  const int dim = l->whole.dim, *d = l->divisions;
  const double ranks = Ranks(l), share = (double)l->agents / ranks;
  const double levels = (l->steps + 1.) / l->steps;
  const int middle = Middle(l);
  const MFGBlock box = MFGBoxOfRank(&l->whole, d, middle);
  const int replicated = decomposition == MFG_DECOMPOSITION_REPLICATED;
  int axes = 0;

  layout.decomposition = decomposition;
  for (int k = 0; k < dim; k++) axes += d[k] > 1;
  const MFGExchangeBytes b = MFGSweepBytes(&layout, middle);
  const double sent = (double)(b.halo + b.migration) + (double)b.gather * (ranks - 1);
  const double reduced = replicated ? 2 * (ranks - 1) / ranks * (double)b.reduction : 0;
  const double agents = replicated ? share * h->agent_seconds
                                   : imbalance * share * h->resident_seconds +
                                         axes * h->message_seconds + h->call_seconds;
  const MFGBlock *evaluated = replicated && dim == 1 ? &l->whole : &box;
  const double staged =
      h->stage_bandwidth > 0 ? StagedBytes(&layout, &box) / h->stage_bandwidth : 0;
  return levels * (agents +
                   MFGConvolutionProducts(evaluated, &l->shape, l->radius) * h->product_seconds +
                   MemoryBytes(&layout, &box) / h->memory_bandwidth + staged + h->call_seconds) +
         (reduced / h->reduce_bandwidth + sent / h->swap_bandwidth) / l->steps;
}

MFGDecompositionModel MFGDecompositionChoose(const MFGSweepLayout *l, const double *m0,
                                             const MFGHints *h) {
  const int narrow = MFGSweepNarrowAxis(l);
  MFGDecompositionModel m = {.possible = (PetscBool)(narrow < 0),
                             .choice = MFG_DECOMPOSITION_REPLICATED};

  if (h) m.seconds[0] = MFGDecompositionSeconds(l, MFG_DECOMPOSITION_REPLICATED, 1, h);
  if (Ranks(l) == 1) {
    m.imbalance = 1;
    m.possible = PETSC_FALSE;
    snprintf(m.reason, sizeof m.reason, "one rank");
    return m;
  }
  m.imbalance = Imbalance(l, m0);
  if (!m.possible) {
    snprintf(m.reason, sizeof m.reason,
             "boxes of %d cells along axis %d are narrower than the %d cells the kernel may reach",
             l->whole.cells[narrow] / l->divisions[narrow], narrow, l->radius[narrow]);
    return m;
  }
  if (!h) {
    snprintf(m.reason, sizeof m.reason, "as asked for");
    return m;
  }
  m.seconds[1] = MFGDecompositionSeconds(l, MFG_DECOMPOSITION_DOMAIN, m.imbalance, h);
  if (m.seconds[1] < m.seconds[0]) m.choice = MFG_DECOMPOSITION_DOMAIN;
  snprintf(m.reason, sizeof m.reason,
           "predicted ms per step from %s figures: replicated %.3g, domain %.3g with the fullest "
           "box at %.2f times the mean",
           h->network_stated ? "measured (network: stated)" : "measured", 1e3 * m.seconds[0],
           1e3 * m.seconds[1], m.imbalance);
  return m;
}
