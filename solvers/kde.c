#include "solvers/kde.h"

#include "solvers/exchange.h"
#include "solvers/kde_point.h"

struct MFGDensityPlan_ {
  const MFGGrid *grid;       /* borrowed */
  const MFGBackend *backend; /* borrowed */
  MFGDensityMethod method;
  int64_t agents;
  MFGMomentShape shape;
  int levels;
  double *bandwidth; /* owned; [levels][dim] */
  int *radius;       /* owned; [levels][dim] */
  double *weights;   /* owned; in the backend's memory; tables [order][boxes][2 radius + 1] */
  MFGDensityKernel *kernel; /* owned; [levels]: where the tables are; NULL for the direct method */
  double seconds;           /* spent in evaluations */
};

/* Row k at a distance z bandwidths from a box of width 2 r bandwidths: r^k / k! He_k(z) exp(-z^2/2)
 * / (h sqrt(2 pi)). */
static void HermiteWeights(int order, double z, double r, double h, double *value) {
  double hermite = 1, before = 0, factor = exp(-z * z / 2) / (h * sqrt(2 * PETSC_PI));
  for (int k = 0; k < order; k++) {
    value[k] = factor * hermite;
    const double next = z * hermite - k * before;
    before = hermite;
    hermite = next;
    factor *= r / (k + 1);
  }
}

/* The table of one axis, [order][boxes][2 radius + 1]. Box b has its centre (2 b + 1 - boxes) / (2
 * boxes) cells from that of its cell. What the untruncated sums over the cells of either side have
 * beyond the radius is added to the outermost cell there, so that the total mass does not depend on
 * the radius. Only weights on the upper side are computed: the lower side mirrors them to the bit.
 */
static void FillTable(int order, int boxes, double spacing, double h, int radius, double *table) {
  const int width = 2 * radius + 1, end = radius + (int)ceil(40 * h / spacing);
  const double r = spacing / (2 * boxes * h);
  double value[MFG_ORDER_MAX];

  for (int b = 0; b < boxes; b++) {
    const double q = (2 * b + 1 - boxes) / (2.0 * boxes);
    double rest[MFG_ORDER_MAX] = {0};
    /* From outside in, smallest first. */
    for (int j = end; j >= (q > 0); j--) {
      HermiteWeights(order, (j - q) * spacing / h, r, h, value);
      for (int k = 0; k < order; k++) {
        const double v = j == radius ? value[k] + rest[k] : value[k];
        double *row = table + k * boxes * width + radius;
        rest[k] += value[k];
        if (j > radius) continue;
        row[b * width + j] = v;
        row[(boxes - 1 - b) * width - j] = k & 1 ? -v : v;
      }
    }
  }
}

/* A kernel wider than that makes every density flat; its reach in cells must be an int. */
static double WidestKernel(const MFGBlock *b, int axis) {
  return PetscMin(10 * (b->upper[axis] - b->lower[axis]), 1e8 * b->spacing[axis]);
}

static PetscBool CanBeBandwidth(const MFGBlock *b, int axis, double h) {
  return (PetscBool)(h >= MFG_BANDWIDTH_MIN_CELLS * b->spacing[axis] * (1 - 1e-12) &&
                     h <= WidestKernel(b, axis));
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
      PetscCheck(CanBeBandwidth(b, k, h) || h < least, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
                 "bandwidth %g on axis %d at level %d is no number up to %g: take a smaller one", h,
                 k, n, WidestKernel(b, k));
      PetscCheck(CanBeBandwidth(b, k, h), grid->world, PETSC_ERR_ARG_OUTOFRANGE,
                 "bandwidth %g on axis %d at level %d is below %g cells (%g): the grid cannot show "
                 "such a density; take a larger bandwidth, or at least %.0f cells on this axis",
                 h, k, n, MFG_BANDWIDTH_MIN_CELLS, least,
                 ceil(MFG_BANDWIDTH_MIN_CELLS * (b->upper[k] - b->lower[k]) / h));
    }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Order and radii go through exp and log, which differ between machines: world's first rank decides
 * for all, here and for the tables. */
static PetscErrorCode ChooseSizes(MFGDensityPlan p, double tolerance, const int *halvings) {
  const MFGBlock *b = &p->grid->block;
  const int count = p->levels * b->dim;
  double narrowest[MFG_MAX_DIM] = {0}, widest[MFG_MAX_DIM] = {0};

  PetscFunctionBeginUser;
  for (int i = 0; i < count; i++) {
    const int k = i % b->dim;
    const double cells = p->bandwidth[i] / b->spacing[k];
    narrowest[k] = i < b->dim ? cells : PetscMin(narrowest[k], cells);
    widest[k] = PetscMax(widest[k], cells);
    p->radius[i] = MFGDensityRadius(cells, tolerance);
  }
  if (p->method == MFG_DENSITY_DIRECT)
    p->shape = (MFGMomentShape){.order = 3, .scale = MFGMomentScale(p->agents)};
  else if (halvings)
    p->shape = MFGDensityShapeOf(b->dim, p->agents, tolerance, narrowest, halvings);
  else
    p->shape = MFGDensityShape(b, p->agents, tolerance, narrowest, widest);
  PetscCallMPI(MPI_Bcast(&p->shape, sizeof p->shape, MPI_BYTE, 0, p->grid->world));
  PetscCallMPI(MPI_Bcast(p->radius, count, MPI_INT, 0, p->grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode FillTables(MFGDensityPlan p) {
  const MFGBlock *b = &p->grid->block;
  const int count = p->levels * b->dim;
  const MFGMemoryOps *memory = p->backend->memory;
  PetscMPIInt rank, entries;
  size_t total = 0, *offset;
  double *weights;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid->world, &rank));
  PetscCall(PetscMalloc1(count, &offset));
  for (int i = 0; i < count; i++) {
    offset[i] = total;
    total += (size_t)(p->shape.order << p->shape.halvings[i % b->dim]) * (2 * p->radius[i] + 1);
  }
  PetscCall(PetscMalloc1(total, &weights));
  for (int i = 0; i < count; i++) {
    double *table = weights + offset[i];
    if (rank == 0)
      FillTable(p->shape.order, 1 << p->shape.halvings[i % b->dim], b->spacing[i % b->dim],
                p->bandwidth[i], p->radius[i], table);
  }
  PetscCall(PetscMPIIntCast((PetscInt64)total, &entries));
  PetscCallMPI(MPI_Bcast(weights, entries, MPI_DOUBLE, 0, p->grid->world));
  PetscCall(MFGMemoryAllocate(memory, entries, sizeof *weights, &p->weights));
  PetscCall(
      MFGMemoryCopy(memory, entries, sizeof *weights, MFG_COPY_FROM_HOST, weights, p->weights));
  PetscCall(PetscFree(weights));
  PetscCall(PetscCalloc1(p->levels, &p->kernel));
  for (int i = 0; i < count; i++) {
    p->kernel[i / b->dim].radius[i % b->dim] = p->radius[i];
    p->kernel[i / b->dim].weights[i % b->dim] = p->weights + offset[i];
  }
  PetscCall(PetscFree(offset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A plan without sizes and tables. */
static PetscErrorCode Start(const MFGGrid *grid, const MFGBackend *backend, MFGDensityMethod method,
                            int64_t agents, double tolerance, int levels, const double *bandwidth,
                            MFGDensityPlan *plan) {
  const int count = levels * grid->block.dim;
  MFGDensityPlan p;

  PetscFunctionBeginUser;
  PetscCall(CheckPlan(grid, agents, tolerance, levels, bandwidth));
  PetscCall(PetscNew(&p));
  p->grid = grid;
  p->backend = backend;
  p->method = method;
  p->agents = agents;
  p->levels = levels;
  PetscCall(PetscMalloc2(count, &p->bandwidth, count, &p->radius));
  PetscCall(PetscArraycpy(p->bandwidth, bandwidth, count));
  PetscCallMPI(MPI_Bcast(p->bandwidth, count, MPI_DOUBLE, 0, grid->world));
  *plan = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanCreateHalved(const MFGGrid *grid, const MFGBackend *backend,
                                          MFGDensityMethod method, int64_t agents, double tolerance,
                                          int levels, const double *bandwidth,
                                          const int halvings[MFG_MAX_DIM], MFGDensityPlan *plan) {
  PetscFunctionBeginUser;
  PetscCall(Start(grid, backend, method, agents, tolerance, levels, bandwidth, plan));
  PetscCall(ChooseSizes(*plan, tolerance, halvings));
  if (method == MFG_DENSITY_MOMENTS) PetscCall(FillTables(*plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanCreateAs(const MFGGrid *grid, const MFGBackend *backend,
                                      MFGDensityMethod method, int64_t agents, double tolerance,
                                      int levels, const double *bandwidth,
                                      const MFGMomentShape *shape, const int *radius,
                                      MFGDensityPlan *plan) {
  MFGDensityPlan p;

  PetscFunctionBeginUser;
  for (int i = 0; i < levels * grid->block.dim; i++)
    PetscCheck(CanBeBandwidth(&grid->block, i % grid->block.dim, bandwidth[i]), grid->world,
               PETSC_ERR_FILE_READ,
               "a density plan that was saved has the bandwidth %g on axis %d; take an older "
               "checkpoint",
               bandwidth[i], i % grid->block.dim);
  PetscCall(Start(grid, backend, method, agents, tolerance, levels, bandwidth, &p));
  for (int k = 0; k < MFG_MAX_DIM; k++)
    PetscCheck(shape->halvings[k] >= 0 &&
                   shape->halvings[k] <= (k < grid->block.dim ? MFG_HALVINGS_MAX : 0),
               grid->world, PETSC_ERR_FILE_READ,
               "a density plan that was saved halves cells %d times on axis %d; take an older "
               "checkpoint",
               shape->halvings[k], k);
  PetscCall(ChooseSizes(p, tolerance, shape->halvings));
  /* Another machine's exp and log may round an order or a radius the other way, no more. */
  PetscCheck(abs(shape->order - p->shape.order) <= 1, grid->world, PETSC_ERR_FILE_READ,
             "a density plan that was saved has order %d, its bandwidths give %d; take an older "
             "checkpoint",
             shape->order, p->shape.order);
  for (int i = 0; i < levels * grid->block.dim; i++)
    PetscCheck(abs(radius[i] - p->radius[i]) <= 1, grid->world, PETSC_ERR_FILE_READ,
               "a density plan that was saved has a radius of %d, its bandwidths give %d; take an "
               "older checkpoint",
               radius[i], p->radius[i]);
  p->shape.order = shape->order;
  PetscCall(PetscArraycpy(p->radius, radius, levels * grid->block.dim));
  if (method == MFG_DENSITY_MOMENTS) PetscCall(FillTables(p));
  *plan = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    MFGDensityMethod method, int64_t agents, double tolerance,
                                    int levels, const double *bandwidth, MFGDensityPlan *plan) {
  PetscFunctionBeginUser;
  PetscCall(MFGDensityPlanCreateHalved(grid, backend, method, agents, tolerance, levels, bandwidth,
                                       NULL, plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityPlanDestroy(MFGDensityPlan *plan) {
  PetscFunctionBeginUser;
  if (!plan || !*plan) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree2((*plan)->bandwidth, (*plan)->radius));
  PetscCall(PetscFree((*plan)->kernel));
  PetscCall(MFGMemoryFree((*plan)->backend->memory, &(*plan)->weights));
  PetscCall(PetscFree(*plan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

MFGMomentShape MFGDensityPlanShape(MFGDensityPlan plan) {
  return plan->shape;
}

MFGDensityMethod MFGDensityPlanMethod(MFGDensityPlan plan) {
  return plan->method;
}

const int *MFGDensityPlanRadii(MFGDensityPlan plan) {
  return plan->radius;
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

static PetscErrorCode CheckLevels(MFGDensityPlan plan, int first, int levels) {
  PetscFunctionBeginUser;
  PetscCheck(first >= 0 && levels >= 0 && first + levels <= plan->levels, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "levels %d to %d of a density plan for the levels 0 to %d",
             first, first + levels - 1, plan->levels - 1);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityEvaluate(MFGDensityPlan plan, int first, int levels, const MFGBlock *block,
                                  const MFGExtent *extent, const int64_t *moments,
                                  double *density) {
  const int dim = plan->grid->block.dim;
  MFGConvolution job = {.block = block ? *block : plan->grid->block,
                        .shape = plan->shape,
                        .agents = plan->agents,
                        .levels = levels};
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  PetscCall(CheckLevels(plan, first, levels));
  PetscCheck(plan->method == MFG_DENSITY_MOMENTS, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONGSTATE,
             "this plan has the direct method: it needs positions, not moments");
  if (extent) job.extent = *extent;
  job.kernel = plan->kernel + first;
  for (int i = first * dim; i < (first + levels) * dim; i++)
    job.radius[i % dim] = PetscMax(job.radius[i % dim], plan->radius[i]);
  PetscCall(MFGBackendConvolve(plan->backend, &job, moments, density));
  plan->seconds += MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The id of every agent, rank after rank, [agents]. *wrong: the place of the first that is none of
 * 0 .. agents - 1 or was there before, or `agents`. */
static PetscErrorCode GatherIds(MFGDensityPlan plan, const MFGAgentRange *agents,
                                const PetscMPIInt counts[], const PetscMPIInt starts[], int64_t *id,
                                int64_t *wrong) {
  int64_t *mine, i;
  PetscBool *seen;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(agents->count, &mine));
  PetscCall(PetscCalloc1(plan->agents, &seen));
  for (i = 0; i < agents->count; i++) mine[i] = MFGAgentId(agents, i);
  PetscCallMPI(MPI_Allgatherv(mine, (PetscMPIInt)agents->count, MPI_INT64_T, id, counts, starts,
                              MPI_INT64_T, plan->grid->world));
  for (i = 0; i < plan->agents; i++) {
    if (id[i] < 0 || id[i] >= plan->agents || seen[id[i]]) break;
    seen[id[i]] = PETSC_TRUE;
  }
  *wrong = i;
  PetscCall(PetscFree(mine));
  PetscCall(PetscFree(seen));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Positions of all ranks on all ranks, position[axis][id], the caller's. Of ids that are no
 * permutation nothing is left behind. */
static PetscErrorCode GatherPositions(MFGDensityPlan plan, const MFGAgentRange *agents,
                                      double *position[]) {
  const MPI_Comm world = plan->grid->world;
  PetscMPIInt size, total, mine, *counts, *starts;
  int64_t *id, wrong = 0, stranger = 0;
  double *buffer, *own;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(world, &size));
  PetscCall(PetscMPIIntCast((PetscInt64)plan->agents, &total));
  PetscCall(PetscMPIIntCast((PetscInt64)agents->count, &mine));
  PetscCall(PetscMalloc5(size, &counts, size, &starts, total, &id, total, &buffer, mine, &own));
  PetscCallMPI(MPI_Allgather(&mine, 1, MPI_INT, counts, 1, MPI_INT, world));
  for (PetscMPIInt r = 0, sum = 0; r < size; sum += counts[r++]) starts[r] = sum;
  PetscCall(GatherIds(plan, agents, counts, starts, id, &wrong));
  for (int k = 0; k < plan->grid->block.dim && wrong == total; k++) {
    const MFGAxis axis = MFGAxisOf(&plan->grid->block, k);
    for (PetscMPIInt i = 0; i < mine; i++) own[i] = MFGAgentPosition(agents, &axis, k, i);
    PetscCallMPI(MPI_Allgatherv(own, mine, MPI_DOUBLE, buffer, counts, starts, MPI_DOUBLE, world));
    PetscCall(PetscMalloc1(total, &position[k]));
    for (PetscMPIInt i = 0; i < total; i++) position[k][id[i]] = buffer[i];
  }
  if (wrong < total) stranger = id[wrong];
  PetscCall(PetscFree5(counts, starts, id, buffer, own));
  PetscCheck(stranger >= 0 && stranger < plan->agents, world, PETSC_ERR_ARG_OUTOFRANGE,
             "agent %lld is none of the %lld of the plan", (long long)stranger,
             (long long)plan->agents);
  PetscCheck(wrong == total, world, PETSC_ERR_ARG_INCOMP, "agent %lld is there twice",
             (long long)stranger);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDensityDirect(MFGDensityPlan plan, int level, const MFGAgentRange *agents,
                                double *density) {
  const MFGBlock *b = &plan->grid->block;
  const MFGMemoryOps *memory = plan->backend->memory;
  double *position[MFG_MAX_DIM] = {NULL}, *copy[MFG_MAX_DIM] = {NULL}, *out = density;
  const double *there[MFG_MAX_DIM] = {NULL};
  const int64_t owned = MFGBlockOwned(b);
  const double start = MPI_Wtime();

  PetscFunctionBeginUser;
  PetscCall(CheckLevels(plan, level, 1));
  int64_t total = agents->count;
  PetscCall(MFGExchangeSumInt64(plan->grid->world, 1, &total));
  PetscCheck(total == plan->agents, plan->grid->world, PETSC_ERR_ARG_SIZ,
             "the plan is for %lld agents, the ranks hold %lld", (long long)plan->agents,
             (long long)total);
  PetscCall(GatherPositions(plan, agents, position));
  for (int k = 0; k < b->dim; k++) {
    int64_t room = 0;
    PetscCall(MFGMemoryStage(memory, total, sizeof(double), position[k], &room, &copy[k],
                             (const void **)&there[k]));
  }
  if (!memory->is_host) PetscCall(MFGMemoryAllocate(memory, owned, sizeof *out, &out));
  PetscCall(
      MFGBackendDirect(plan->backend, b, total, there, plan->bandwidth + level * b->dim, out));
  if (!memory->is_host) {
    PetscCall(MFGMemoryCopy(memory, owned, sizeof *out, MFG_COPY_TO_HOST, out, density));
    PetscCall(MFGMemoryFree(memory, &out));
  }
  for (int k = 0; k < b->dim; k++) {
    PetscCall(MFGMemoryFree(memory, &copy[k]));
    PetscCall(PetscFree(position[k]));
  }
  plan->seconds += MPI_Wtime() - start;
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
