#include "solvers/decomposition.h"

/* Fixed figures, of one core of a 2 GHz server and of ranks on one node: seconds for an agent's
 * step with its deposit, per dimension; what drawing numbers for one step at a time costs more;
 * latency of a message; bytes per second of a reduction (measured: 3.2 GB/s) and of messages. */
static const double push[] = {6e-9, 35e-9, 90e-9}, redraw[] = {8e-9, 3e-9, 4e-9};
#define LATENCY 5e-6
#define REDUCED 3e9
#define MOVED 6e9

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

/* The bytes of a step are those of the rank in the middle: it has neighbours on all sides. */
static double Seconds(const MFGSweepLayout *l, MFGDecomposition decomposition, double imbalance) {
  MFGSweepLayout layout = *l;
  const int dim = l->whole.dim;
  const int ranks = l->divisions[0] * l->divisions[1] * l->divisions[2];
  const double share = (double)l->agents / ranks;
  int messages = 0;

  layout.decomposition = decomposition;
  const int middle =
      l->divisions[0] / 2 +
      l->divisions[0] * (l->divisions[1] / 2 + l->divisions[1] * (l->divisions[2] / 2));
  const MFGExchangeBytes b = MFGSweepBytes(&layout, middle);
  if (decomposition == MFG_DECOMPOSITION_REPLICATED)
    return share * push[dim - 1] + (2. * (ranks - 1) / ranks * (double)b.reduction / REDUCED +
                                    (double)b.gather * (ranks - 1) / MOVED) /
                                       l->steps;
  for (int k = 0; k < dim; k++) messages += l->divisions[k] > 1 ? 2 : 0;
  return imbalance * share * (push[dim - 1] + redraw[dim - 1]) + messages * LATENCY +
         (double)(b.halo + b.migration + b.gather * (ranks - 1)) / MOVED / l->steps;
}

MFGDecompositionModel MFGDecompositionChoose(const MFGSweepLayout *l, const double *m0) {
  const int narrow = MFGSweepNarrowAxis(l);
  MFGDecompositionModel m = {.possible = (PetscBool)(narrow < 0),
                             .choice = MFG_DECOMPOSITION_REPLICATED};

  if (l->divisions[0] * l->divisions[1] * l->divisions[2] == 1) {
    m.imbalance = 1;
    snprintf(m.reason, sizeof m.reason, "one rank");
    return m;
  }
  m.imbalance = Imbalance(l, m0);
  m.seconds[0] = Seconds(l, MFG_DECOMPOSITION_REPLICATED, 1);
  if (!m.possible) {
    snprintf(m.reason, sizeof m.reason,
             "boxes of %d cells along axis %d are narrower than the %d cells the kernel may reach",
             l->whole.cells[narrow] / l->divisions[narrow], narrow, l->radius[narrow]);
    return m;
  }
  m.seconds[1] = Seconds(l, MFG_DECOMPOSITION_DOMAIN, m.imbalance);
  if (m.seconds[1] < m.seconds[0]) m.choice = MFG_DECOMPOSITION_DOMAIN;
  snprintf(m.reason, sizeof m.reason,
           "predicted ms per step: replicated %.3g, domain %.3g with the fullest box at %.2f times "
           "the mean",
           1e3 * m.seconds[0], 1e3 * m.seconds[1], m.imbalance);
  return m;
}
