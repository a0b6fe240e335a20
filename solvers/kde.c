#include "solvers/kde.h"

#include "solvers/exchange.h"
#include "solvers/kde_point.h"

struct MFGDensityPlan_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGDensityMethod method;
  int64_t agents;
  int order, scale, levels;
  double *bandwidth; /* owned; [levels][dim] */
  int *radius;       /* owned; [levels][dim] */
  size_t *offset;    /* owned; [levels][dim]: where a table begins */
  double *weights;   /* owned; tables [order][2 radius + 1] */
  double seconds;    /* spent in evaluations */
};

int MFGMomentTerms(int dim, int order) {
  return dim == 1   ? order
         : dim == 2 ? order * (order + 1) / 2
                    : order * (order + 1) * (order + 2) / 6;
}

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

/* Row k at distance j cells: r^k / k! He_k(z) exp(-z^2/2) / (h sqrt(2 pi)), z = j spacing / h. */
static void HermiteWeights(int order, double spacing, double h, int j, double *value) {
  const double z = j * spacing / h, r = spacing / (2 * h);
  double hermite = 1, before = 0, factor = exp(-z * z / 2) / (h * sqrt(2 * PETSC_PI));
  for (int k = 0; k < order; k++) {
    value[k] = factor * hermite;
    const double next = z * hermite - k * before;
    before = hermite;
    hermite = next;
    factor *= r / (k + 1);
  }
}

/* The table of one axis. What the untruncated sums have beyond the radius is added to the outermost
 * cells, so that the total mass does not depend on the radius. (Odd rows sum to zero anyway.) */
static void FillTable(int order, double spacing, double h, int radius, double *table) {
  const int width = 2 * radius + 1, end = radius + (int)ceil(40 * h / spacing);
  double value[MFG_ORDER_MAX], rest[MFG_ORDER_MAX] = {0};

  /* From outside in, smallest first. */
  for (int j = end; j > radius; j--) {
    HermiteWeights(order, spacing, h, j, value);
    for (int k = 0; k < order; k += 2) rest[k] += value[k];
  }
  for (int j = 0; j <= radius; j++) {
    HermiteWeights(order, spacing, h, j, value);
    for (int k = 0; k < order; k++) {
      if (j == radius) value[k] += rest[k];
      table[k * width + radius + j] = value[k];
      table[k * width + radius - j] = k & 1 ? -value[k] : value[k];
    }
  }
}

static PetscErrorCode CheckPlan(const MFGGrid *grid, int64_t agents, double tolerance, int levels,
                                const double *bandwidth) {
  const MFGBlock *b = &grid->block;

  PetscFunctionBeginUser;
  PetscCheck(agents > 0, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld agents: there must be at least one", (long long)agents);
  PetscCheck(tolerance >= 1e-15 && tolerance <= 0.1, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "density tolerance %g: it must lie between 1e-15 and 0.1", tolerance);
  for (int n = 0; n < levels; n++)
    for (int k = 0; k < b->dim; k++) {
      const double h = bandwidth[n * b->dim + k], least = MFG_BANDWIDTH_MIN_CELLS * b->spacing[k];
      PetscCheck(h >= least * (1 - 1e-12), grid->world, PETSC_ERR_ARG_OUTOFRANGE,
                 "bandwidth %g on axis %d at level %d is below %g cells (%g): the grid cannot show "
                 "such a density; take a larger bandwidth, or at least %d cells on this axis",
                 h, k, n, MFG_BANDWIDTH_MIN_CELLS, least,
                 (int)ceil(MFG_BANDWIDTH_MIN_CELLS * (b->upper[k] - b->lower[k]) / h));
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Order and radii go through exp and log, which differ between machines: world's first rank decides
 * for all, here and for the tables. */
static PetscErrorCode ChooseSizes(MFGDensityPlan p, double tolerance) {
  const MFGBlock *b = &p->grid->block;
  const int count = p->levels * b->dim;
  double r = 0;

  PetscFunctionBeginUser;
  for (int i = 0; i < count; i++) {
    const double cells = p->bandwidth[i] / b->spacing[i % b->dim];
    r = PetscMax(r, 0.5 / cells);
    p->radius[i] = MFGDensityRadius(cells, tolerance);
  }
  p->order = p->method == MFG_DENSITY_DIRECT ? 3 : MFGDensityOrder(r, tolerance);
  PetscCallMPI(MPI_Bcast(&p->order, 1, MPI_INT, 0, p->grid->world));
  PetscCallMPI(MPI_Bcast(p->radius, count, MPI_INT, 0, p->grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode FillTables(MFGDensityPlan p) {
  const MFGBlock *b = &p->grid->block;
  const int count = p->levels * b->dim;
  PetscMPIInt rank;
  size_t total = 0;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid->world, &rank));
  for (int i = 0; i < count; i++) {
    p->offset[i] = total;
    total += (size_t)p->order * (2 * p->radius[i] + 1);
  }
  PetscCall(PetscMalloc1(total, &p->weights));
  for (int i = 0; i < count; i++) {
    double *table = p->weights + p->offset[i];
    if (rank == 0)
      FillTable(p->order, b->spacing[i % b->dim], p->bandwidth[i], p->radius[i], table);
  }
  PetscMPIInt entries;
  PetscCall(PetscMPIIntCast((PetscInt64)total, &entries));
  PetscCallMPI(MPI_Bcast(p->weights, entries, MPI_DOUBLE, 0, p->grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    MFGDensityMethod method, int64_t agents, double tolerance,
                                    int levels, const double *bandwidth, MFGDensityPlan *plan) {
  const int count = levels * grid->block.dim;
  MFGDensityPlan p;

  PetscFunctionBeginUser;
  PetscCall(CheckPlan(grid, agents, tolerance, levels, bandwidth));
  PetscCall(PetscNew(&p));
  p->grid = grid;
  p->backend = backend;
  p->method = method;
  p->agents = agents;
  p->scale = MFGMomentScale(agents);
  p->levels = levels;
  PetscCall(PetscMalloc3(count, &p->bandwidth, count, &p->radius, count, &p->offset));
  PetscCall(PetscArraycpy(p->bandwidth, bandwidth, count));
  PetscCallMPI(MPI_Bcast(p->bandwidth, count, MPI_DOUBLE, 0, grid->world));
  PetscCall(ChooseSizes(p, tolerance));
  if (method == MFG_DENSITY_MOMENTS) PetscCall(FillTables(p));
  *plan = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanDestroy(MFGDensityPlan *plan) {
  PetscFunctionBeginUser;
  if (!plan || !*plan) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree3((*plan)->bandwidth, (*plan)->radius, (*plan)->offset));
  PetscCall(PetscFree((*plan)->weights));
  PetscCall(PetscFree(*plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int MFGDensityPlanOrder(MFGDensityPlan plan) {
  return plan->order;
}

int MFGDensityPlanScale(MFGDensityPlan plan) {
  return plan->scale;
}

MFGDensityMethod MFGDensityPlanMethod(MFGDensityPlan plan) {
  return plan->method;
}

double MFGDensityPlanSeconds(MFGDensityPlan plan) {
  return plan->seconds;
}

void MFGDensityPlanRadius(MFGDensityPlan plan, int radius[MFG_MAX_DIM]) {
  const int dim = plan->grid->block.dim;
  for (int k = 0; k < MFG_MAX_DIM; k++) radius[k] = 0;
  if (plan->method == MFG_DENSITY_DIRECT) return;
  for (int i = 0; i < plan->levels * dim; i++)
    radius[i % dim] = PetscMax(radius[i % dim], plan->radius[i]);
}

static PetscErrorCode CheckLevel(MFGDensityPlan plan, int level) {
  PetscFunctionBeginUser;
  PetscCheck(level >= 0 && level < plan->levels, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "level %d of a density plan for the levels 0 to %d", level, plan->levels - 1);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityEvaluate(MFGDensityPlan plan, int level, const MFGBlock *block,
                                  const MFGExtent *extent, const int64_t *moments,
                                  double *density) {
  const int dim = plan->grid->block.dim;
  MFGConvolution job = {.block = block ? *block : plan->grid->block,
                        .order = plan->order,
                        .scale = plan->scale,
                        .agents = plan->agents};
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  PetscCall(CheckLevel(plan, level));
  PetscCheck(plan->method == MFG_DENSITY_MOMENTS, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONGSTATE,
             "this plan has the direct method: it needs positions, not moments");
  if (extent) job.extent = *extent;
  for (int k = 0; k < dim; k++) {
    job.radius[k] = plan->radius[level * dim + k];
    job.weights[k] = plan->weights + plan->offset[level * dim + k];
  }
  PetscCall(MFGBackendConvolve(plan->backend, &job, moments, density));
  plan->seconds += MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The id of every agent, rank after rank, [agents]: a permutation of 0 .. agents - 1. */
static PetscErrorCode GatherIds(MFGDensityPlan plan, const MFGAgentRange *agents,
                                const PetscMPIInt counts[], const PetscMPIInt starts[],
                                int64_t *id) {
  const MPI_Comm world = plan->grid->world;
  int64_t *mine;
  PetscBool *seen;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(agents->count, &mine));
  PetscCall(PetscCalloc1(plan->agents, &seen));
  for (int64_t i = 0; i < agents->count; i++)
    mine[i] = agents->id ? agents->id[i] : agents->first_id + i * agents->id_stride;
  PetscCallMPI(MPI_Allgatherv(mine, (PetscMPIInt)agents->count, MPI_INT64_T, id, counts, starts,
                              MPI_INT64_T, world));
  for (int64_t i = 0; i < plan->agents; i++) {
    PetscCheck(id[i] >= 0 && id[i] < plan->agents, world, PETSC_ERR_ARG_OUTOFRANGE,
               "agent %lld is none of the %lld of the plan", (long long)id[i],
               (long long)plan->agents);
    PetscCheck(!seen[id[i]], world, PETSC_ERR_ARG_INCOMP, "agent %lld is there twice",
               (long long)id[i]);
    seen[id[i]] = PETSC_TRUE;
  }
  PetscCall(PetscFree(mine));
  PetscCall(PetscFree(seen));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Positions of all ranks on all ranks, position[axis][id]. */
static PetscErrorCode GatherPositions(MFGDensityPlan plan, const MFGAgentRange *agents,
                                      double *position[]) {
  const MPI_Comm world = plan->grid->world;
  PetscMPIInt size, total, mine, *counts, *starts;
  int64_t *id;
  double *buffer;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(world, &size));
  PetscCall(PetscMPIIntCast((PetscInt64)plan->agents, &total));
  PetscCall(PetscMPIIntCast((PetscInt64)agents->count, &mine));
  PetscCall(PetscMalloc4(size, &counts, size, &starts, total, &id, total, &buffer));
  PetscCallMPI(MPI_Allgather(&mine, 1, MPI_INT, counts, 1, MPI_INT, world));
  for (PetscMPIInt r = 0, sum = 0; r < size; sum += counts[r++]) starts[r] = sum;
  PetscCall(GatherIds(plan, agents, counts, starts, id));
  for (int k = 0; k < plan->grid->block.dim; k++) {
    PetscCallMPI(MPI_Allgatherv(agents->position[k], mine, MPI_DOUBLE, buffer, counts, starts,
                                MPI_DOUBLE, world));
    for (PetscMPIInt i = 0; i < total; i++) position[k][id[i]] = buffer[i];
  }
  PetscCall(PetscFree4(counts, starts, id, buffer));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityDirect(MFGDensityPlan plan, int level, const MFGAgentRange *agents,
                                double *density) {
  const MFGBlock *b = &plan->grid->block;
  double *position[MFG_MAX_DIM] = {NULL};
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  PetscCall(CheckLevel(plan, level));
  int64_t total = agents->count;
  PetscCall(MFGExchangeSumInt64(plan->grid->world, 1, &total));
  PetscCheck(total == plan->agents, plan->grid->world, PETSC_ERR_ARG_SIZ,
             "the plan is for %lld agents, the ranks hold %lld", (long long)plan->agents,
             (long long)total);
  for (int k = 0; k < b->dim; k++) PetscCall(PetscMalloc1(total, &position[k]));
  PetscCall(GatherPositions(plan, agents, position));
  PetscCall(MFGBackendDirect(plan->backend, b, total, (const double *const *)position,
                             plan->bandwidth + level * b->dim, density));
  for (int k = 0; k < b->dim; k++) PetscCall(PetscFree(position[k]));
  plan->seconds += MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

__extension__ typedef __int128 Int128;

/* Sums over agents of 1, u, u^2 in units of half cells from the lower end, times 2^S. */
typedef struct {
  Int128 s0, s1, s2;
} Sums;

/* Agents in cell c are at u = 2 c + 1 + t. */
static Sums CellSums(int64_t cell, const int64_t m[3]) {
  const Int128 centre = 2 * (Int128)cell + 1;
  return (Sums){m[0], centre * m[0] + m[1], centre * centre * m[0] + 2 * centre * m[1] + m[2]};
}

/* Relative to the integer next to the mean, all in integers: no cancellation is left. */
static void MeanAndVariance(Sums s, double *mean, double *variance) {
  const Int128 u = s.s1 / s.s0, d1 = s.s1 - u * s.s0, d2 = s.s2 - 2 * u * s.s1 + u * u * s.s0;
  const double n = (double)s.s0, shift = (double)d1 / n;
  *mean = (double)u + shift;
  *variance = (double)d2 / n - shift * shift;
}

/* Cutting the circle below cell c puts the cells before it one turn up. */
static void PeriodicCut(int cells, const Sums *cell, Sums s, double *mean, double *variance) {
  const Int128 turn = 2 * (Int128)cells;
  MeanAndVariance(s, mean, variance);
  for (int c = 0; c + 1 < cells; c++) {
    double m, v;
    s.s2 += 2 * turn * cell[c].s1 + turn * turn * cell[c].s0;
    s.s1 += turn * cell[c].s0;
    MeanAndVariance(s, &m, &v);
    if (v < *variance) {
      *variance = v;
      *mean = m;
    }
  }
  if (*mean >= 2.0 * cells) *mean -= 2.0 * cells;
}

int64_t MFGMarginalCount(const MFGBlock *domain) {
  int64_t cells = 0;
  for (int k = 0; k < domain->dim; k++) cells += domain->cells[k];
  return 3 * cells;
}

/* Where the marginals of an axis begin. */
static int64_t MarginalStart(const MFGBlock *domain, int axis) {
  int64_t cells = 0;
  for (int k = 0; k < axis; k++) cells += domain->cells[k];
  return 3 * cells;
}

/* One row of cells: along x each cell has its place, y and z get the row's sums. */
static void RowMarginals(int count, int terms, const int term[MFG_MAX_DIM][2], int dim,
                         const int64_t *moments, int64_t *marginal[MFG_MAX_DIM]) {
  int64_t all = 0, first[MFG_MAX_DIM] = {0}, second[MFG_MAX_DIM] = {0}, *x = marginal[0];

  for (int i = 0; i < count; i++, moments += terms, x += 3) {
    x[0] += moments[0];
    x[1] += moments[1];
    x[2] += moments[2];
    all += moments[0];
    for (int k = 1; k < dim; k++) {
      first[k] += moments[term[k][0]];
      second[k] += moments[term[k][1]];
    }
  }
  for (int k = 1; k < dim; k++) {
    marginal[k][0] += all;
    marginal[k][1] += first[k];
    marginal[k][2] += second[k];
  }
}

PetscErrorCode MFGMomentMarginals(const MFGBlock *domain, int order, const MFGBlock *box,
                                  const MFGExtent *extent, const int64_t *moments,
                                  int64_t *marginals) {
  const MFGExtent e = MFGExtentOrWhole(domain, extent ? extent : &(MFGExtent){{0}, {0}});
  const int terms = MFGMomentTerms(domain->dim, order);
  const int term[MFG_MAX_DIM][2] = {{1, 2},
                                    {MFGMomentRow(order, 1), MFGMomentRow(order, 2)},
                                    {MFGMomentPlane(order, 1), MFGMomentPlane(order, 2)}};

  PetscFunctionBeginUser;
  PetscCheck(order >= 3, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "statistics need moments of order 3 or more, not %d", order);
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
      int64_t *marginal[MFG_MAX_DIM] = {NULL};
      for (int k = 0; k < domain->dim; k++)
        marginal[k] = marginals + MarginalStart(domain, k) + 3 * (int64_t)at[k];
      RowMarginals(box->count[0], terms, term, domain->dim,
                   moments + (row * e.count[0] + at[0] - e.start[0]) * terms, marginal);
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMarginalStatistics(const MFGBlock *b, int64_t agents, int scale,
                                     const int64_t *marginals, MFGSampleStatistics *statistics) {
  PetscFunctionBeginUser;
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < b->dim; k++) {
    const int64_t *m = marginals + MarginalStart(b, k);
    Sums *cell, all = {0, 0, 0};
    int64_t total = 0;
    PetscCall(PetscMalloc1(b->cells[k], &cell));
    for (int i = 0; i < b->cells[k]; i++, m += 3) {
      cell[i] = CellSums(i, m);
      all = (Sums){all.s0 + cell[i].s0, all.s1 + cell[i].s1, all.s2 + cell[i].s2};
      total += m[0] >> scale;
    }
    PetscCheck(total == agents, PETSC_COMM_SELF, PETSC_ERR_PLIB,
               "the moments hold %lld agents instead of %lld", (long long)total, (long long)agents);
    double mean, variance;
    if (b->boundary[k][0] == MFG_BOUNDARY_PERIODIC)
      PeriodicCut(b->cells[k], cell, all, &mean, &variance);
    else
      MeanAndVariance(all, &mean, &variance);
    const double half = b->spacing[k] / 2;
    statistics->mean[k] = b->lower[k] + mean * half;
    statistics->variance[k] = PetscMax(variance, 0) * half * half;
    PetscCall(PetscFree(cell));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMomentStatistics(const MFGBlock *domain, int64_t agents, int order, int scale,
                                   const int64_t *moments, MFGSampleStatistics *statistics) {
  MFGBlock whole = *domain;
  int64_t *marginals;

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    whole.start[k] = 0;
    whole.count[k] = whole.cells[k];
  }
  PetscCall(PetscCalloc1(MFGMarginalCount(domain), &marginals));
  PetscCall(MFGMomentMarginals(domain, order, &whole, NULL, moments, marginals));
  PetscCall(MFGMarginalStatistics(domain, agents, scale, marginals, statistics));
  PetscCall(PetscFree(marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}

double MFGBandwidth(MFGBandwidthRule rule, int dim, int64_t agents, double variance, double spacing,
                    PetscBool *raised) {
  const double n = (double)agents, least = MFG_BANDWIDTH_MIN_CELLS * spacing;
  const double base = rule == MFG_BANDWIDTH_SCOTT ? n : n * (dim + 2) / 4.0;
  const double h = sqrt(variance) * pow(base, -1.0 / (dim + 4));
  *raised = (PetscBool)(h < least);
  return h < least ? least : h;
}
