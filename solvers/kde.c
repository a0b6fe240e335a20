#include "solvers/kde.h"

#include "solvers/exchange.h"
#include "solvers/kde_point.h"

#define DIM_MAX 2

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
static int RadiusOfTolerance(double cells, double tolerance) {
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
  PetscCheck(b->dim <= DIM_MAX, grid->world, PETSC_ERR_SUP,
             "densities in %d dimensions: only 1 and 2 are there yet", b->dim);
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
    p->radius[i] = RadiusOfTolerance(cells, tolerance);
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

static PetscErrorCode CheckLevel(MFGDensityPlan plan, int level) {
  PetscFunctionBeginUser;
  PetscCheck(level >= 0 && level < plan->levels, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "level %d of a density plan for the levels 0 to %d", level, plan->levels - 1);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityEvaluate(MFGDensityPlan plan, int level, const int64_t *moments,
                                  double *density) {
  const int dim = plan->grid->block.dim;
  MFGConvolution job = {.block = plan->grid->block,
                        .order = plan->order,
                        .scale = plan->scale,
                        .agents = plan->agents};
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  PetscCall(CheckLevel(plan, level));
  PetscCheck(plan->method == MFG_DENSITY_MOMENTS, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONGSTATE,
             "this plan has the direct method: it needs positions, not moments");
  for (int k = 0; k < dim; k++) {
    job.radius[k] = plan->radius[level * dim + k];
    job.weights[k] = plan->weights + plan->offset[level * dim + k];
  }
  PetscCall(MFGBackendConvolve(plan->backend, &job, moments, density));
  plan->seconds += MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Positions of all ranks on all ranks, position[axis][id]. Ranks hold any ids that make up
 * 0 .. agents - 1 together. */
static PetscErrorCode GatherPositions(MFGDensityPlan plan, const MFGAgentRange *agents,
                                      double *position[]) {
  const MPI_Comm world = plan->grid->world;
  const int64_t mine[3] = {agents->first_id, agents->id_stride, agents->count};
  PetscMPIInt size, total, *counts, *starts;
  int64_t *range;
  double *buffer;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(world, &size));
  PetscCall(PetscMPIIntCast((PetscInt64)plan->agents, &total));
  PetscCall(PetscMalloc4(size, &counts, size, &starts, 3 * size, &range, total, &buffer));
  PetscCallMPI(MPI_Allgather(mine, 3, MPI_INT64_T, range, 3, MPI_INT64_T, world));
  for (PetscMPIInt r = 0, sum = 0; r < size; sum += counts[r++]) {
    const int64_t *ids = range + 3 * r;
    PetscCheck(ids[2] == 0 || ids[0] + (ids[2] - 1) * ids[1] < plan->agents, world,
               PETSC_ERR_ARG_OUTOFRANGE, "rank %d holds an agent beyond the %lld of the plan",
               (int)r, (long long)plan->agents);
    counts[r] = (PetscMPIInt)ids[2];
    starts[r] = sum;
  }
  for (int k = 0; k < plan->grid->block.dim; k++) {
    PetscCallMPI(MPI_Allgatherv(agents->position[k], (PetscMPIInt)agents->count, MPI_DOUBLE, buffer,
                                counts, starts, MPI_DOUBLE, world));
    for (PetscMPIInt r = 0; r < size; r++)
      for (PetscMPIInt i = 0; i < counts[r]; i++)
        position[k][range[3 * r] + i * range[3 * r + 1]] = buffer[starts[r] + i];
  }
  PetscCall(PetscFree4(counts, starts, range, buffer));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityDirect(MFGDensityPlan plan, int level, const MFGAgentRange *agents,
                                double *density) {
  const MFGBlock *b = &plan->grid->block;
  double *position[DIM_MAX] = {NULL, NULL};
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

PetscErrorCode MFGMomentStatistics(const MFGBlock *b, int64_t agents, int order, int scale,
                                   const int64_t *moments, MFGSampleStatistics *statistics) {
  const int terms = MFGMomentTerms(b->dim, order);
  int64_t stride = 1, total = 0;

  PetscFunctionBeginUser;
  PetscCheck(order >= 3 && b->dim <= DIM_MAX, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "statistics need moments of order 3 or more in 1 or 2 dimensions, not order %d in %d",
             order, b->dim);
  for (int64_t c = 0; c < MFGBlockCells(b); c++) total += moments[c * terms] >> scale;
  PetscCheck(total == agents, PETSC_COMM_SELF, PETSC_ERR_PLIB,
             "the moments hold %lld agents instead of %lld", (long long)total, (long long)agents);
  memset(statistics, 0, sizeof *statistics);
  for (int k = 0; k < b->dim; k++) {
    const int first = k == 0 ? 1 : MFGMomentRow(order, 1),
              second = k == 0 ? 2 : MFGMomentRow(order, 2);
    Sums *cell, all = {0, 0, 0};
    PetscCall(PetscCalloc1(b->cells[k], &cell));
    for (int64_t c = 0; c < MFGBlockCells(b); c++) {
      const int64_t i = c / stride % b->cells[k], *m = moments + c * terms;
      const Sums s = CellSums(i, (int64_t[]){m[0], m[first], m[second]});
      cell[i] = (Sums){cell[i].s0 + s.s0, cell[i].s1 + s.s1, cell[i].s2 + s.s2};
      all = (Sums){all.s0 + s.s0, all.s1 + s.s1, all.s2 + s.s2};
    }
    double mean, variance;
    if (b->boundary[k][0] == MFG_BOUNDARY_PERIODIC)
      PeriodicCut(b->cells[k], cell, all, &mean, &variance);
    else
      MeanAndVariance(all, &mean, &variance);
    const double half = b->spacing[k] / 2;
    statistics->mean[k] = b->lower[k] + mean * half;
    statistics->variance[k] = PetscMax(variance, 0) * half * half;
    stride *= b->cells[k];
    PetscCall(PetscFree(cell));
  }
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
