#include "solvers/hints.h"

#include "solvers/agents.h"
#include "solvers/exchange.h"
#include "solvers/kde_point.h"
#include "solvers/particle_point.h"

/* Calls of a piece of work; the first, which touches fresh memory, does not count. */
#define CALLS 4
/* Seconds of a call after which there is no other. */
#define PATIENCE 0.1
#define AGENTS_MOST ((int64_t)1 << 19)
#define MOMENT_BYTES ((int64_t)32 << 20)
#define COPY_BYTES ((int64_t)8 << 20)
#define CONVOLVED_CELLS 65536
#define SWAP_BYTES ((int64_t)2 << 20)
#define SUM_COUNT ((int64_t)1 << 20)
#define SHORT_CALLS 8

void MFGHintsNetwork(MFGHints *h) {
  h->network_stated = PETSC_TRUE;
  h->message_seconds = 5e-6;
  h->swap_bandwidth = 6e9;
  h->reduce_bandwidth = 3e9;
}

/* Does its work and says how many seconds of it count, perhaps for one of many. */
typedef PetscErrorCode (*Work)(void *context, double *seconds);

/* The least of a few calls, each as long as on the slowest rank. */
static PetscErrorCode Shortest(MPI_Comm comm, Work work, void *context, double *seconds) {
  double t[2] = {0}; /* what counts, and the whole call */

  PetscFunctionBeginUser;
  *seconds = PETSC_MAX_REAL;
  for (int i = 0; i < CALLS && (i < 2 || t[1] < PATIENCE); i++) {
    PetscCallMPI(MPI_Barrier(comm));
    const double start = MPI_Wtime();
    PetscCall(work(context, &t[0]));
    t[1] = MPI_Wtime() - start;
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, t, 2, MPI_DOUBLE, MPI_MAX, comm));
    if (i) *seconds = PetscMin(*seconds, t[0]);
  }
  *seconds = PetscMax(*seconds, 1e-12);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps of agents spread over the grid, as in a run once they have mixed. Every call takes other
 * agents: the moments of those before must not be in the caches. */
typedef struct {
  const MFGBackend *backend;
  MFGScan scan;
  MFGAgents agents; /* owned, as all arrays of the scan */
  MFGSortScratch scratch;
  double *drift;
  int calls, part;
} Scan;

static MFGAgentRange NextPart(Scan *s) {
  const int64_t count = PetscMax(1, s->agents.range.count / CALLS);
  MFGAgentRange part = MFGAgentsFrom(&s->agents, s->part * count % s->agents.range.count);
  part.count = count;
  s->part = (s->part + 1) % CALLS;
  return part;
}

static PetscErrorCode ScanWork(void *context, double *seconds) {
  Scan *s = context;

  PetscFunctionBeginUser;
  s->scan.agents = NextPart(s);
  const double start = MPI_Wtime();
  for (int i = 0; i < s->calls; i++) PetscCall(MFGBackendScan(s->backend, &s->scan));
  PetscCall(MFGMemorySynchronize(s->backend->memory));
  *seconds = (MPI_Wtime() - start) / (double)(s->calls * s->scan.agents.count);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DepositWork(void *context, double *seconds) {
  Scan *s = context;
  const MFGAgentRange part = NextPart(s);

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  PetscCall(MFGBackendDeposit(s->backend, &s->scan.domain, &part, &s->scan.shape, &s->scan.extent,
                              s->scan.moments));
  PetscCall(MFGMemorySynchronize(s->backend->memory));
  *seconds = (MPI_Wtime() - start) / (double)part.count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SortWork(void *context, double *seconds) {
  Scan *s = context;
  const MFGSort job = {.domain = s->scan.domain,
                       .agents = NextPart(s),
                       .place = s->scratch.place,
                       .start = s->scratch.start,
                       .column = s->scratch.column};

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  PetscCall(MFGBackendSort(s->backend, &job));
  PetscCall(MFGMemorySynchronize(s->backend->memory));
  *seconds = (MPI_Wtime() - start) / (double)job.agents.count;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SampleUniform(Scan *s, PetscBool stratified) {
  const MFGMemoryOps *memory = s->backend->memory;
  const int64_t cells = MFGBlockCells(&s->scan.domain);
  int64_t *sums, *copy = NULL, room = 0;
  const void *cumulative;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(cells, &sums));
  for (int64_t c = 0; c < cells; c++) sums[c] = (c + 1) << 20;
  PetscCall(MFGMemoryStage(memory, cells, sizeof *sums, sums, &room, &copy, &cumulative));
  const MFGSample job = {.domain = s->scan.domain,
                         .agents = s->agents.range,
                         .total = s->agents.range.count,
                         .stratified = stratified,
                         .cumulative = cumulative,
                         .weight = sums[cells - 1]};
  PetscCall(MFGBackendSample(s->backend, &job));
  PetscCall(MFGMemoryFree(memory, &copy));
  PetscCall(PetscFree(sums));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* As far from the order of their cells as the noise of half the steps between two sorts leads. */
static PetscErrorCode SortHalfway(Scan *s, int every) {
  MFGScan scan = s->scan;

  PetscFunctionBeginUser;
  PetscCall(MFGAgentsSort(s->backend, &scan.domain, &s->agents, &s->scratch));
  scan.agents = s->agents.range;
  scan.nu *= every / 2.;
  scan.shape.order = 0;
  scan.level_end = 1;
  PetscCall(MFGBackendScan(s->backend, &scan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* `steps` steps of `count` agents on a grid of its own; rim: moments that reach so far beyond it,
 * and a list of who left. */
static PetscErrorCode ScanCreate(const MFGBackend *backend, const MFGBlock *grid, int64_t count,
                                 const MFGSweepLayout *l, int steps, const int *rim, Scan *s) {
  const int none[MFG_MAX_DIM] = {0}, one[MFG_MAX_DIM] = {1, 1, 1};
  const MFGExtent extent = MFGBlockWidened(grid, rim ? rim : none);
  const MFGExtent drift = MFGBlockWidened(grid, rim ? one : none);
  const int64_t field = MFGExtentCells(&extent) * MFGMomentNumbers(grid->dim, &l->shape);
  const int64_t drifts = steps * grid->dim * MFGExtentCells(&drift);
  const MFGMemoryOps *memory = backend->memory;

  PetscFunctionBeginUser;
  memset(s, 0, sizeof *s);
  s->backend = backend;
  s->calls = 1;
  s->scan = (MFGScan){.domain = *grid,
                      .dt = 1,
                      .nu = l->deviation * l->deviation / 2,
                      .level_end = steps,
                      .ghosted = (PetscBool)(rim != NULL),
                      .shape = l->shape,
                      .extent = extent};
  PetscCall(MFGMemoryAllocate(memory, drifts, sizeof *s->drift, &s->drift));
  PetscCall(MFGMemoryZero(memory, drifts, sizeof *s->drift, s->drift));
  PetscCall(MFGMemoryAllocate(memory, steps * field, sizeof(int64_t), &s->scan.moments));
  PetscCall(MFGMemoryZero(memory, steps * field, sizeof(int64_t), s->scan.moments));
  s->scan.drift = s->drift;
  if (rim) PetscCall(MFGMemoryAllocate(memory, count + 1, sizeof(int64_t), &s->scan.leavers));
  s->agents = MFGAgentsNone(memory, grid, l->single, PETSC_FALSE);
  PetscCall(MFGAgentsReserve(&s->agents, count));
  s->agents.range.count = count;
  if (rim) PetscCall(MFGAgentsWriteIds(&s->agents));
  PetscCall(SampleUniform(s, PETSC_FALSE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ScanDestroy(Scan *s) {
  const MFGMemoryOps *memory = s->backend->memory;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryFree(memory, &s->drift));
  PetscCall(MFGMemoryFree(memory, &s->scan.moments));
  PetscCall(MFGMemoryFree(memory, &s->scan.leavers));
  PetscCall(MFGAgentsDestroy(&s->agents));
  PetscCall(MFGSortScratchDestroy(&s->scratch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A grid of its own with `cells` cells of the spacing of another. */
static MFGBlock Alone(const MFGBlock *like, const int cells[]) {
  MFGBlock b = *like;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    b.start[k] = 0;
    b.cells[k] = b.count[k] = cells[k];
    b.lower[k] = 0;
    b.upper[k] = cells[k] * b.spacing[k];
  }
  return b;
}

/* Seconds of an agent's step, and of its deposit where wanted. A grid with too many agents or
 * moments is cut along its last axis, and the agents with it. */
static PetscErrorCode MeasureAgents(MPI_Comm comm, const MFGBackend *backend,
                                    const MFGSweepLayout *l, const MFGBlock *box, const int *rim,
                                    double *seconds, double *deposit) {
  const int dim = l->whole.dim, steps = rim ? 1 : MFGStepsOfGroup(dim);
  const int every = MFGSweepSortEvery(l, backend);
  const double ranks = (double)l->divisions[0] * l->divisions[1] * l->divisions[2];
  const double share = PetscMax(1, (double)l->agents / ranks);
  const double bytes = 8. * steps * (double)MFGBlockOwned(box) * MFGMomentNumbers(dim, &l->shape);
  const double fits = PetscMin(1, PetscMin(AGENTS_MOST / share, MOMENT_BYTES / bytes));
  int cells[MFG_MAX_DIM] = {box->count[0], box->count[1], box->count[2]};
  double sort = 0;
  Scan s;

  PetscFunctionBeginUser;
  cells[dim - 1] = (int)PetscMax(1, ceil(fits * cells[dim - 1]));
  const MFGBlock grid = Alone(box, cells);
  const double fraction = (double)cells[dim - 1] / box->count[dim - 1];
  const int64_t count = (int64_t)PetscClipInterval(fraction * share, 1, 1.5 * AGENTS_MOST);
  PetscCall(ScanCreate(backend, &grid, count, l, steps, rim, &s));
  if (deposit) {
    PetscCall(SampleUniform(&s, PETSC_TRUE));
    PetscCall(Shortest(comm, DepositWork, &s, deposit));
    PetscCall(SampleUniform(&s, PETSC_FALSE));
  }
  if (every) PetscCall(SortHalfway(&s, every));
  PetscCall(Shortest(comm, ScanWork, &s, seconds));
  *seconds /= steps;
  if (every) {
    PetscCall(Shortest(comm, SortWork, &s, &sort));
    *seconds += sort / every;
  }
  PetscCall(ScanDestroy(&s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MeasureCall(MPI_Comm comm, const MFGBackend *backend, const MFGSweepLayout *l,
                                  double *seconds) {
  const int cells[MFG_MAX_DIM] = {3, l->whole.dim > 1 ? 3 : 1, l->whole.dim > 2 ? 3 : 1};
  const MFGBlock grid = Alone(&l->whole, cells);
  Scan s;

  PetscFunctionBeginUser;
  PetscCall(ScanCreate(backend, &grid, 1, l, 1, NULL, &s));
  s.calls = SHORT_CALLS;
  PetscCall(Shortest(comm, ScanWork, &s, seconds));
  PetscCall(ScanDestroy(&s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

double MFGConvolutionProducts(const MFGBlock *b, const MFGMomentShape *shape, const int radius[]) {
  const double p = shape->order, x = b->count[0], y = b->count[1], z = b->count[2];
  double width[MFG_MAX_DIM], reach[MFG_MAX_DIM]; /* both in boxes, of the rows of a combination */
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    width[k] = ldexp(2. * radius[k] + 1, shape->halvings[k]);
    reach[k] = ldexp(PetscMin(b->cells[k], b->count[k] + 2. * radius[k]), shape->halvings[k]);
  }
  if (b->dim == 1) return x * p * width[0];
  const double pairs = p * (p + 1) / 2;
  if (b->dim == 2) return reach[1] * x * pairs * width[0] + y * x * p * width[1];
  return reach[2] * reach[1] * x * pairs * (p + 2) / 3 * width[0] +
         reach[2] * y * x * pairs * width[1] + z * y * x * p * width[2];
}

typedef struct {
  const MFGBackend *backend;
  MFGDensityKernel *kernel;
  MFGConvolution job;
  int64_t *moments;
  double *density;
} Convolution;

static PetscErrorCode ConvolutionWork(void *context, double *seconds) {
  const Convolution *c = context;

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  PetscCall(MFGBackendConvolve(c->backend, &c->job, c->moments, c->density));
  PetscCall(MFGMemorySynchronize(c->backend->memory));
  *seconds = MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels that a sweep convolves together on a device, which small ones do not fill alone. */
static int LevelsOfBatch(const MFGSweepLayout *l, int64_t cells) {
  const int64_t chunk = MFGSweepChunk(l, MFG_DENSITY_MOMENTS) + 1;
  return (int)PetscMax(1, PetscMin(chunk, CONVOLVED_CELLS / cells));
}

static PetscErrorCode MeasureConvolution(MPI_Comm comm, const MFGBackend *backend,
                                         const MFGSweepLayout *l, double *seconds) {
  static const int most[MFG_MAX_DIM][MFG_MAX_DIM] = {{1024, 1, 1}, {128, 32, 1}, {48, 12, 12}};
  const MFGMemoryOps *memory = backend->memory;
  int cells[MFG_MAX_DIM], widest = 0;
  double *weights, *copy = NULL;
  int64_t room = 0;
  const void *there;
  Convolution c = {.backend = backend};

  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    cells[k] = PetscMin(l->whole.cells[k], PetscMax(most[l->whole.dim - 1][k], l->radius[k] + 1));
    widest = PetscMax(widest, l->radius[k]);
  }
  const MFGBlock grid = Alone(&l->whole, cells);
  const int64_t count = MFGBlockCells(&grid), table = (l->shape.order * (2 * widest + 1))
                                                      << MFG_HALVINGS_MAX;
  const int levels = memory->is_host ? 1 : LevelsOfBatch(l, count);
  const int64_t numbers = levels * count * MFGMomentNumbers(grid.dim, &l->shape);
  PetscCall(PetscCalloc1(levels, &c.kernel));
  PetscCall(MFGMemoryAllocate(memory, numbers, sizeof *c.moments, &c.moments));
  PetscCall(MFGMemoryZero(memory, numbers, sizeof *c.moments, c.moments));
  PetscCall(MFGMemoryAllocate(memory, levels * count, sizeof *c.density, &c.density));
  PetscCall(PetscMalloc1(table, &weights));
  for (int64_t i = 0; i < table; i++) weights[i] = 1. / (double)table;
  PetscCall(MFGMemoryStage(memory, table, sizeof *weights, weights, &room, &copy, &there));
  c.job = (MFGConvolution){
      .block = grid, .shape = l->shape, .agents = l->agents, .levels = levels, .kernel = c.kernel};
  for (int i = 0; i < levels * grid.dim; i++) {
    const int k = i % grid.dim;
    c.job.radius[k] = c.kernel[i / grid.dim].radius[k] = l->radius[k];
    c.kernel[i / grid.dim].weights[k] = there;
  }
  PetscCall(Shortest(comm, ConvolutionWork, &c, seconds));
  *seconds /= levels * MFGConvolutionProducts(&grid, &l->shape, l->radius);
  PetscCall(PetscFree(c.kernel));
  PetscCall(MFGMemoryFree(memory, &c.moments));
  PetscCall(MFGMemoryFree(memory, &c.density));
  PetscCall(MFGMemoryFree(memory, &copy));
  PetscCall(PetscFree(weights));
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  const MFGMemoryOps *memory;
  int64_t bytes;
  char *from, *to;
} Copy;

static PetscErrorCode CopyWork(void *context, double *seconds) {
  const Copy *c = context;

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  PetscCall(MFGMemoryCopy(c->memory, c->bytes, 1, MFG_COPY_WITHIN, c->from, c->to));
  PetscCall(MFGMemorySynchronize(c->memory));
  *seconds = MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHintsMemory(MPI_Comm comm, const MFGMemoryOps *memory, int64_t bytes,
                              double *bandwidth) {
  Copy c = {.memory = memory, .bytes = bytes};
  double seconds;

  PetscFunctionBeginUser;
  PetscCall(MFGMemoryAllocate(memory, bytes, 1, &c.from));
  PetscCall(MFGMemoryAllocate(memory, bytes, 1, &c.to));
  PetscCall(MFGMemoryZero(memory, bytes, 1, c.from));
  PetscCall(Shortest(comm, CopyWork, &c, &seconds));
  *bandwidth = 2. * (double)bytes / seconds;
  PetscCall(MFGMemoryFree(memory, &c.from));
  PetscCall(MFGMemoryFree(memory, &c.to));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode StageWork(void *context, double *seconds) {
  const Copy *c = context;

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  PetscCall(MFGMemoryCopy(c->memory, c->bytes, 1, MFG_COPY_FROM_HOST, c->from, c->to));
  PetscCall(MFGMemoryCopy(c->memory, c->bytes, 1, MFG_COPY_TO_HOST, c->to, c->from));
  *seconds = MPI_Wtime() - start;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MeasureStage(MPI_Comm comm, const MFGMemoryOps *memory, double *bandwidth) {
  Copy c = {.memory = memory, .bytes = COPY_BYTES};
  double seconds;

  PetscFunctionBeginUser;
  *bandwidth = 0;
  if (memory->is_host) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscCalloc1(c.bytes, &c.from));
  PetscCall(MFGMemoryAllocate(memory, c.bytes, 1, &c.to));
  PetscCall(Shortest(comm, StageWork, &c, &seconds));
  *bandwidth = 2. * (double)c.bytes / seconds;
  PetscCall(MFGMemoryFree(memory, &c.to));
  PetscCall(PetscFree(c.from));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Messages round a ring of all ranks, or sums over them. */
typedef struct {
  const MFGExchangeOps *ops;
  const MFGMemoryOps *memory;
  void *transport;
  int64_t bytes, *buffer[4];
  int neighbor[2], calls;
  PetscBool sum;
} Network;

static PetscErrorCode NetworkWork(void *context, double *seconds) {
  Network *n = context;
  const void *const send[2] = {n->buffer[0], n->buffer[1]};
  void *const receive[2] = {n->buffer[2], n->buffer[3]};

  PetscFunctionBeginUser;
  const double start = MPI_Wtime();
  for (int i = 0; i < n->calls; i++)
    if (n->sum)
      PetscCall(n->ops->sum(n->transport, n->bytes / 8, n->buffer[0]));
    else
      PetscCall(n->ops->swap(n->transport, n->neighbor, n->bytes, send, receive));
  PetscCall(MFGMemorySynchronize(n->memory));
  *seconds = (MPI_Wtime() - start) / n->calls;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode MeasureNetwork(MPI_Comm comm, const MFGBackend *backend, MFGHints *h) {
  Network n = {.ops = backend->carrier->transport,
               .memory = backend->memory,
               .bytes = 8,
               .calls = SHORT_CALLS};
  PetscMPIInt rank, size;
  double seconds;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (size == 1) {
    MFGHintsNetwork(h);
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  n.neighbor[0] = (rank + size - 1) % size;
  n.neighbor[1] = (rank + 1) % size;
  PetscCall(n.ops->create(comm, n.memory, &n.transport));
  for (int i = 0; i < 4; i++) {
    const int64_t count = i ? SWAP_BYTES / 8 : SUM_COUNT;
    PetscCall(MFGMemoryAllocate(n.memory, count, sizeof(int64_t), &n.buffer[i]));
    PetscCall(MFGMemoryZero(n.memory, count, sizeof(int64_t), n.buffer[i]));
  }
  PetscCall(Shortest(comm, NetworkWork, &n, &h->message_seconds));
  n.bytes = SWAP_BYTES;
  n.calls = 1;
  PetscCall(Shortest(comm, NetworkWork, &n, &seconds));
  h->swap_bandwidth = 2. * SWAP_BYTES / seconds;
  n.sum = PETSC_TRUE;
  n.bytes = SUM_COUNT * 8;
  PetscCall(Shortest(comm, NetworkWork, &n, &seconds));
  h->reduce_bandwidth = 2. * (size - 1) / size * (double)n.bytes / seconds;
  for (int i = 0; i < 4; i++) PetscCall(MFGMemoryFree(n.memory, &n.buffer[i]));
  PetscCall(n.ops->destroy(n.transport));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGHintsMeasure(MPI_Comm comm, const MFGBackend *backend, const MFGSweepLayout *l,
                               MFGHints *h) {
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, 0);
  MFGSweepLayout replicated = *l, domain = *l;
  int rim[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  memset(h, 0, sizeof *h);
  replicated.decomposition = MFG_DECOMPOSITION_REPLICATED;
  domain.decomposition = MFG_DECOMPOSITION_DOMAIN;
  for (int k = 0; k < MFG_MAX_DIM; k++) rim[k] = l->divisions[k] > 1 ? l->radius[k] : 0;
  PetscCall(MeasureCall(comm, backend, l, &h->call_seconds));
  PetscCall(MFGHintsMemory(comm, backend->memory, COPY_BYTES, &h->memory_bandwidth));
  PetscCall(MeasureStage(comm, backend->memory, &h->stage_bandwidth));
  PetscCall(MeasureAgents(comm, backend, &replicated, &l->whole, NULL, &h->agent_seconds,
                          &h->deposit_seconds));
  PetscCall(MeasureAgents(comm, backend, &domain, &box, rim, &h->resident_seconds, NULL));
  PetscCall(MeasureConvolution(comm, backend, l, &h->product_seconds));
  PetscCall(MeasureNetwork(comm, backend, h));
  PetscFunctionReturn(PETSC_SUCCESS);
}
