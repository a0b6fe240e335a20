#include "solvers/particles.h"

#include "solvers/exchange.h"
#include "solvers/kde_point.h"
#include "solvers/particle_point.h"

/* Moments and drift of a chunk of levels, per rank. */
#define CHUNK_BYTES ((int64_t)256 << 20)

/* m0 is turned into integers with this sum, to about one unit per cell. */
#define SAMPLING_WEIGHT 0x1p50

struct MFGParticles_ {
  const MFGGrid *grid;          /* borrowed */
  const MFGBackend *backend;    /* borrowed */
  MFGParticlesSpec spec;        /* initial_density is not kept */
  MFGBlock domain;              /* the whole grid */
  MFGExchange exchange;         /* owned */
  MFGResidents residents;       /* owned; domain decomposition, else NULL */
  MFGAgentRange range;          /* owned positions; replicated */
  double *initial[MFG_MAX_DIM]; /* owned; positions at t = 0; replicated */
  int64_t *cumulative;          /* owned; [cells] */
  double imbalance;
  /* Kept between sweeps: the system would clear the pages of fresh memory in each. */
  int64_t *moments; /* owned; [moments_size] */
  double *drift;    /* owned; [drift_size], as the scan takes it */
  double *owned;    /* owned; [owned_size], drift of the grid's owned cells */
  int64_t moments_size, drift_size, owned_size;
};

static PetscErrorCode CheckSpec(const MFGGrid *grid, const MFGParticlesSpec *spec) {
  PetscFunctionBeginUser;
  PetscCheck(spec->count > 0, grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld agents: there must be at least one", (long long)spec->count);
  PetscCheck(spec->dt > 0 && spec->nu >= 0 && spec->steps > 0, grid->world,
             PETSC_ERR_ARG_OUTOFRANGE, "dt = %g and steps = %d must be > 0, nu = %g >= 0", spec->dt,
             spec->steps, spec->nu);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Integer sums: every rank and every processor finds the same cell for an agent. */
static PetscErrorCode Cumulate(MFGParticles p) {
  const double *m0 = p->spec.initial_density;
  const int64_t cells = MFGBlockCells(&p->domain);
  double sum = 0;
  int64_t total = 0;

  PetscFunctionBeginUser;
  for (int64_t c = 0; c < cells; c++) {
    PetscCheck(m0[c] >= 0 && isfinite(m0[c]), p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
               "the initial density is %g in cell %lld: it must be finite and not negative", m0[c],
               (long long)c);
    sum += m0[c];
  }
  PetscCheck(sum > 0 && isfinite(sum), p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "the initial density sums to %g over the grid: it must be positive somewhere", sum);
  PetscCall(PetscMalloc1(cells, &p->cumulative));
  for (int64_t c = 0; c < cells; c++) {
    total += (int64_t)nearbyint(m0[c] / sum * SAMPLING_WEIGHT);
    p->cumulative[c] = total;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Sample(MFGParticles p, const MFGAgentRange *agents) {
  const MFGSample job = {.domain = p->domain,
                         .key = {.seed = p->spec.seed},
                         .agents = *agents,
                         .total = p->spec.count,
                         .stratified = (PetscBool)(p->spec.sampling == MFG_SAMPLING_STRATIFIED),
                         .cumulative = p->cumulative};

  PetscFunctionBeginUser;
  PetscCall(MFGBackendSample(p->backend, &job));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* a b / c without overflow of the product. */
static int64_t Proportion(int64_t a, int64_t b, int64_t c) {
  return (int64_t)((MFGUint128)a * (MFGUint128)b / (MFGUint128)c);
}

/* Agents of a range of ids, where they are at t = 0. */
static PetscErrorCode CreateRange(MFGParticles p) {
  PetscMPIInt rank, size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid->world, &rank));
  PetscCallMPI(MPI_Comm_size(p->grid->world, &size));
  p->range.first_id = Proportion(p->spec.count, rank, size);
  p->range.count = Proportion(p->spec.count, rank + 1, size) - p->range.first_id;
  p->range.id_stride = 1;
  for (int k = 0; k < p->domain.dim; k++)
    PetscCall(PetscMalloc1(p->range.count, &p->range.position[k]));
  PetscCall(Sample(p, &p->range));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DestroyRange(MFGParticles p) {
  PetscFunctionBeginUser;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    PetscCall(PetscFree(p->range.position[k]));
    PetscCall(PetscFree(p->initial[k]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  const MFGParticlesSpec *spec, MFGParticles *particles) {
  MFGParticles p;

  PetscFunctionBeginUser;
  PetscCall(CheckSpec(grid, spec));
  PetscCall(PetscNew(&p));
  p->grid = grid;
  p->backend = backend;
  p->spec = *spec;
  p->imbalance = 1;
  p->domain = MFGGridWhole(grid);
  PetscCall(Cumulate(p));
  p->spec.initial_density = NULL;
  PetscCall(MFGExchangeCreate(grid->world, &p->domain, grid->divisions, &p->exchange));
  PetscCall(CreateRange(p));
  if (spec->decomposition == MFG_DECOMPOSITION_DOMAIN) {
    PetscCall(MFGResidentsCreate(grid, backend, p->exchange, &p->range, spec->count,
                                 sqrt(2 * spec->nu * spec->dt), &p->residents));
    PetscCall(DestroyRange(p));
  }
  for (int k = 0; k < p->domain.dim && !p->residents; k++) {
    PetscCall(PetscMalloc1(p->range.count, &p->initial[k]));
    PetscCall(PetscArraycpy(p->initial[k], p->range.position[k], p->range.count));
  }
  *particles = p;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesDestroy(MFGParticles *particles) {
  PetscFunctionBeginUser;
  if (!particles || !*particles) PetscFunctionReturn(PETSC_SUCCESS);
  MFGParticles p = *particles;
  PetscCall(DestroyRange(p));
  PetscCall(MFGResidentsDestroy(&p->residents));
  PetscCall(MFGExchangeDestroy(&p->exchange));
  PetscCall(PetscFree(p->cumulative));
  PetscCall(PetscFree(p->moments));
  PetscCall(PetscFree(p->drift));
  PetscCall(PetscFree(p->owned));
  PetscCall(PetscFree(*particles));
  PetscFunctionReturn(PETSC_SUCCESS);
}

double MFGParticlesImbalance(MFGParticles p) {
  return p->imbalance;
}

MFGExchangeBytes MFGParticlesBytesMoved(MFGParticles p) {
  return MFGExchangeBytesMoved(p->exchange);
}

/* Room for at least so many numbers; contents are not kept. */
static PetscErrorCode ReserveNumbers(int64_t need, int64_t *size, double **numbers) {
  PetscFunctionBeginUser;
  if (need <= *size) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree(*numbers));
  PetscCall(PetscMalloc1(need, numbers));
  *size = need;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Copies the cells of a box from an array over `from` to one over `to`. */
static void CopyCells(const MFGBlock *box, const MFGExtent *from, const double *source,
                      const MFGExtent *to, double *target) {
  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++) {
      const int at[3] = {box->start[0], box->start[1] + y, box->start[2] + z};
      int64_t i = 0, j = 0;
      for (int k = MFG_MAX_DIM - 1; k >= 0; k--) {
        i = i * from->count[k] + at[k] - from->start[k];
        j = j * to->count[k] + at[k] - to->start[k];
      }
      memcpy(target + j, source + i, box->count[0] * sizeof *target);
    }
}

/* Beyond the walls of one component of a drift on the box with a rim of one cell. Axis after axis,
 * each with the rims of the others, so that edges and corners come right. */
static void MirrorDrift(const MFGBlock *box, const MFGExtent *rim, int component, double *drift) {
  int64_t stride = 1;
  for (int k = 0; k < box->dim; k++) {
    const MFGAxis axis = MFGAxisOf(box, k);
    const int64_t outer = MFGExtentCells(rim) / (stride * rim->count[k]);
    for (int side = 0; side < 2 && !axis.periodic; side++) {
      const int wall = side ? box->cells[k] - 1 : 0, ghost = side ? box->cells[k] : -1;
      double sign;
      const int inside = MFGDriftGhost(&axis, k, component, ghost, &sign) - rim->start[k];
      if (wall < box->start[k] || wall >= box->start[k] + box->count[k]) continue;
      for (int64_t o = 0; o < outer; o++) {
        double *plane = drift + o * stride * rim->count[k];
        for (int64_t i = 0; i < stride; i++)
          plane[(ghost - rim->start[k]) * stride + i] = sign * plane[inside * stride + i];
      }
    }
    stride *= rim->count[k];
  }
}

static const int oneCell[MFG_MAX_DIM] = {1, 1, 1};

/* p->drift of the levels begin .. end - 1 in all cells. */
static PetscErrorCode FetchWholeDrift(MFGParticles p, int begin, int end, MFGDriftFunction drift,
                                      void *context) {
  const MFGBlock *b = &p->grid->block;
  const int fields = (end - begin) * b->dim;

  PetscFunctionBeginUser;
  PetscCall(ReserveNumbers(fields * MFGBlockOwned(b), &p->owned_size, &p->owned));
  PetscCall(ReserveNumbers(fields * MFGBlockCells(b), &p->drift_size, &p->drift));
  PetscCall(drift(context, begin, end, p->owned));
  PetscCall(MFGGridGather(p->grid, fields, p->owned, p->drift));
  if (b->dim > 1)
    MFGExchangeCountGather(p->exchange, fields * MFGBlockOwned(b) * (int64_t)sizeof(double));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* p->drift of the levels begin .. end - 1: of all cells, or of the box with its rim. The rim comes
 * from its owners: computed again from ghosts of U it could differ in the last bit. */
static PetscErrorCode FetchDrift(MFGParticles p, int begin, int end, MFGDriftFunction drift,
                                 void *context) {
  const MFGBlock *b = &p->grid->block, *box = &p->grid->box;
  const int fields = (end - begin) * b->dim;
  const int64_t owned = MFGBlockOwned(b);
  const MFGExtent rim = MFGBlockWidened(box, oneCell), from = MFGBlockWidened(b, (int[3]){0});
  const int64_t field = MFGExtentCells(&rim);

  PetscFunctionBeginUser;
  if (!p->residents) {
    PetscCall(FetchWholeDrift(p, begin, end, drift, context));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(ReserveNumbers(fields * owned, &p->owned_size, &p->owned));
  PetscCall(ReserveNumbers(fields * field, &p->drift_size, &p->drift));
  PetscCall(drift(context, begin, end, p->owned));
  for (int f = 0; f < fields; f++)
    CopyCells(box, &from, p->owned + f * owned, &rim, p->drift + f * field);
  const MFGHalo halo = {
      .width = {1, b->dim > 1, b->dim > 2}, .element = sizeof(double), .fields = fields};
  PetscCall(MFGExchangeHalo(p->exchange, &halo, p->drift));
  for (int f = 0; f < fields; f++) MirrorDrift(box, &rim, f % b->dim, p->drift + f * field);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One sweep: what its chunks share. */
typedef struct {
  MFGParticles particles;
  MFGDensityPlan plan;
  MFGDriftFunction drift;
  void *context;
  MFGScan scan;
  int halo[MFG_MAX_DIM];           /* cells that the moments of a box reach beyond it; domain */
  MFGExtent extent;                /* of the moments of a level */
  int64_t field;                   /* integers of one level's moments */
  double *M;                       /* borrowed */
  MFGSampleStatistics *statistics; /* borrowed */
} Sweep;

/* Moments and drift of one level. */
static int64_t LevelBytes(int64_t cells, int dim, const MFGMomentShape *shape) {
  return (MFGMomentNumbers(dim, shape) + dim) * cells * (int64_t)sizeof(double);
}

/* Steps that fit the memory budget, whole groups of random numbers where possible. The direct
 * method needs the positions of every level. */
static int ChunkLength(int64_t cells, int dim, MFGDensityMethod method, const MFGMomentShape *shape,
                       int steps) {
  const int group = MFGStepsOfGroup(dim);
  if (method == MFG_DENSITY_DIRECT) return 1;
  int64_t fit = CHUNK_BYTES / LevelBytes(cells, dim, shape);
  if (fit > group) fit -= fit % group;
  return (int)PetscMax(1, PetscMin(fit, steps));
}

static int64_t Ranks(const MFGSweepLayout *l) {
  return (int64_t)l->divisions[0] * l->divisions[1] * l->divisions[2];
}

/* Cells of the moments of a level on the rank that has most: all ranks take the same chunks. */
static int64_t MostCells(const MFGSweepLayout *l) {
  int64_t cells = 1;
  for (int k = 0; k < l->whole.dim; k++) {
    const int d = l->divisions[k];
    cells *= l->decomposition == MFG_DECOMPOSITION_REPLICATED
                 ? l->whole.cells[k]
                 : (l->whole.cells[k] - 1) / d + 1 + (d > 1 ? 2 * l->radius[k] : 0);
  }
  return cells;
}

int64_t MFGSweepChunkBytes(const MFGSweepLayout *l) {
  const int64_t cells = MostCells(l);
  const int chunk = ChunkLength(cells, l->whole.dim, MFG_DENSITY_MOMENTS, &l->shape, l->steps);
  return (chunk + 1) * LevelBytes(cells, l->whole.dim, &l->shape);
}

/* Where they are and where they started; in boxes with room to come, ids and travellers. */
int64_t MFGSweepAgentBytes(const MFGSweepLayout *l) {
  const int64_t share = (l->agents + Ranks(l) - 1) / Ranks(l), words = l->whole.dim + 1;
  if (l->decomposition == MFG_DECOMPOSITION_REPLICATED) return 2 * share * l->whole.dim * 8;
  const MFGTravellers t = MFGTravellersFor(&l->whole, l->divisions, l->agents, l->deviation);
  return (2 * share + share / 8 + t.capacity) * words * 8 + share * 8 +
         (t.capacity + 4 * t.message) * words * 8;
}

MFGExchangeBytes MFGSweepBytes(const MFGSweepLayout *l, int rank) {
  const int dim = l->whole.dim, numbers = MFGMomentNumbers(dim, &l->shape);
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const int64_t cells = MFGBlockCells(&l->whole), levels = l->steps + 1;
  MFGExchangeBytes b = {.reduction = levels * MFGMarginalCount(&l->whole, &l->shape) * 8};

  if (l->decomposition == MFG_DECOMPOSITION_REPLICATED) {
    b.reduction += levels * cells * numbers * 8;
    if (dim > 1) b.gather = (int64_t)l->steps * dim * MFGBlockOwned(&box) * 8;
    return b;
  }
  const MFGTravellers t = MFGTravellersFor(&l->whole, l->divisions, l->agents, l->deviation);
  const MFGHalo drift = {.width = {1, dim > 1, dim > 2}, .element = 8, .fields = l->steps * dim};
  MFGHalo moments = {.element = numbers * 8, .fields = levels};
  for (int k = 0; k < dim; k++) moments.width[k] = l->divisions[k] > 1 ? l->radius[k] : 0;
  const int chunk = ChunkLength(MostCells(l), dim, MFG_DENSITY_MOMENTS, &l->shape, l->steps);
  b.reduction += ((l->steps - 1) / chunk + 1) * MFG_RESIDENTS_CHECKED * 8 + 8;
  b.halo = MFGExchangeHaloBytes(&l->whole, l->divisions, rank, &drift) +
           MFGExchangeHaloBytes(&l->whole, l->divisions, rank, &moments);
  b.migration = l->steps * MFGExchangeMigrationBytes(&l->whole, l->divisions, rank, &t);
  if (dim == 1) b.gather = levels * MFGBlockOwned(&box) * 8;
  return b;
}

/* Statistics of the levels first .. first + count - 1 from the marginals of all boxes. */
static PetscErrorCode Statistics(MFGParticles p, const MFGMomentShape *shape,
                                 const MFGExtent *extent, int count, int64_t field,
                                 const int64_t *moments, MFGSampleStatistics *statistics) {
  const int64_t n = MFGMarginalCount(&p->domain, shape);
  int64_t *marginals;

  PetscFunctionBeginUser;
  PetscCall(PetscCalloc1(count * n, &marginals));
  for (int i = 0; i < count; i++)
    PetscCall(MFGMomentMarginals(&p->domain, shape, &p->grid->box, extent, moments + i * field,
                                 marginals + i * n));
  PetscCall(MFGExchangeSum(p->exchange, count * n, marginals));
  for (int i = 0; i < count; i++)
    PetscCall(
        MFGMarginalStatistics(&p->domain, shape, p->spec.count, marginals + i * n, &statistics[i]));
  PetscCall(PetscFree(marginals));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static MFGAgentRange AgentsHere(MFGParticles p) {
  return p->residents ? MFGResidentsRange(p->residents) : p->range;
}

/* The density of the box of every rank, on the cells of the grid that this rank holds: in 1D all.
 */
static PetscErrorCode DensityOfBoxes(Sweep *s, int level, const int64_t *moments, double *density) {
  const MFGGrid *grid = s->particles->grid;
  PetscMPIInt size, *counts, *starts;
  double *own;

  PetscFunctionBeginUser;
  if (grid->block.dim > 1) {
    PetscCall(MFGDensityEvaluate(s->plan, level, &grid->box, &s->extent, moments, density));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCallMPI(MPI_Comm_size(grid->world, &size));
  PetscCall(PetscMalloc3(grid->box.count[0], &own, size, &counts, size, &starts));
  PetscCall(MFGDensityEvaluate(s->plan, level, &grid->box, &s->extent, moments, own));
  for (PetscMPIInt r = 0; r < size; r++) {
    counts[r] = grid->boxes[r].count[0];
    starts[r] = grid->boxes[r].start[0];
  }
  PetscCallMPI(MPI_Allgatherv(own, grid->box.count[0], MPI_DOUBLE, density, counts, starts,
                              MPI_DOUBLE, grid->world));
  MFGExchangeCountGather(s->particles->exchange, grid->box.count[0] * (int64_t)sizeof(double));
  PetscCall(PetscFree3(own, counts, starts));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Levels first .. first + count - 1, whose local moments lie one after the other. */
static PetscErrorCode Evaluate(Sweep *s, int first, int count, int64_t *moments) {
  const MFGParticles p = s->particles;
  const int64_t owned = MFGBlockOwned(&p->grid->block);
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  const MFGHalo halo = {.width = {s->halo[0], s->halo[1], s->halo[2]},
                        .element = s->field / MFGExtentCells(&s->extent) * (int)sizeof(int64_t),
                        .fields = count};

  PetscFunctionBeginUser;
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, count * s->field, moments));
  PetscCall(
      Statistics(p, &s->scan.shape, &s->extent, count, s->field, moments, s->statistics + first));
  if (p->residents && !direct) PetscCall(MFGExchangeHalo(p->exchange, &halo, moments));
  const MFGAgentRange agents = AgentsHere(p);
  for (int n = first; n < first + count; n++, moments += s->field) {
    double *density = s->M + n * owned;
    if (direct)
      PetscCall(MFGDensityDirect(s->plan, n, &agents, density));
    else if (p->residents)
      PetscCall(DensityOfBoxes(s, n, moments, density));
    else
      PetscCall(MFGDensityEvaluate(s->plan, n, NULL, NULL, moments, density));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps begin .. end - 1 of agents that migrate after each, again and again until all buffers were
 * large enough. */
static PetscErrorCode ScanResidents(Sweep *s, int begin, int end, int64_t *moments) {
  const MFGParticles p = s->particles;
  const MFGExtent rim = MFGBlockWidened(&p->grid->box, oneCell);
  const int64_t drift = p->domain.dim * MFGExtentCells(&rim);
  PetscBool redo = PETSC_TRUE;

  PetscFunctionBeginUser;
  while (redo) {
    PetscCall(PetscArrayzero(moments, (end - begin) * s->field));
    for (int n = begin; n < end; n++) {
      s->scan.level_begin = n;
      s->scan.level_end = n + 1;
      s->scan.drift = p->drift + (n - begin) * drift;
      s->scan.moments = moments + (n - begin) * s->field;
      PetscCall(MFGResidentsStep(p->residents, &s->scan));
    }
    PetscCall(MFGResidentsCheck(p->residents, &redo));
    if (redo) PetscCall(MFGResidentsRestore(p->residents));
  }
  if (end < p->spec.steps) PetscCall(MFGResidentsSave(p->residents));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ScanRange(Sweep *s, int begin, int end, int64_t *moments) {
  const MFGParticles p = s->particles;

  PetscFunctionBeginUser;
  PetscCall(PetscArrayzero(moments, (end - begin) * s->field));
  s->scan.agents = p->range;
  s->scan.level_begin = begin;
  s->scan.level_end = end;
  s->scan.drift = p->drift;
  s->scan.moments = moments;
  PetscCall(MFGBackendScan(p->backend, &s->scan));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Steps begin .. end - 1, which give the levels begin + 1 .. end. Level 0 goes with the first
 * chunk, to share its messages; the direct method wants it while the agents are still there. */
static PetscErrorCode SweepChunk(Sweep *s, int begin, int end) {
  const MFGParticles p = s->particles;
  const PetscBool direct = (PetscBool)(MFGDensityPlanMethod(s->plan) == MFG_DENSITY_DIRECT);
  int first = begin + 1;
  int64_t *moments = p->moments + s->field;

  PetscFunctionBeginUser;
  if (begin == 0) {
    const MFGAgentRange agents = AgentsHere(p);
    PetscCall(PetscArrayzero(p->moments, s->field));
    PetscCall(MFGBackendDeposit(p->backend, &s->scan.domain, &agents, &s->scan.shape, &s->extent,
                                p->moments));
    if (direct) PetscCall(Evaluate(s, 0, 1, p->moments));
    if (!direct) first = 0;
  }
  PetscCall(FetchDrift(p, begin, end, s->drift, s->context));
  if (p->residents)
    PetscCall(ScanResidents(s, begin, end, moments));
  else
    PetscCall(ScanRange(s, begin, end, moments));
  PetscCall(Evaluate(s, first, end - first + 1, moments + (first - begin - 1) * s->field));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The rim of the moments: the kernel's reach on the axes that are divided. */
static PetscErrorCode ChooseExtent(Sweep *s) {
  const MFGParticles p = s->particles;
  const MFGGrid *grid = p->grid;

  PetscFunctionBeginUser;
  if (!p->residents) {
    s->extent = MFGBlockWidened(&p->domain, (int[3]){0});
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  MFGDensityPlanRadius(s->plan, s->halo);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    if (k >= p->domain.dim || grid->divisions[k] == 1) s->halo[k] = 0;
    const int narrowest = p->domain.cells[k] / grid->divisions[k];
    PetscCheck(s->halo[k] <= narrowest, grid->world, PETSC_ERR_USER_INPUT,
               "parallel.decomposition: domain: the kernel reaches %d cells along axis %d, but the "
               "narrowest of its %d boxes has %d; use replicated or auto, fewer ranks, more "
               "domain.cells, a smaller density.bandwidth or a larger density.tolerance",
               s->halo[k], k, grid->divisions[k], narrowest);
  }
  s->extent = MFGBlockWidened(&grid->box, s->halo);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* All agents to where they start. */
static PetscErrorCode Rewind(MFGParticles p) {
  PetscFunctionBeginUser;
  if (p->residents) {
    PetscCall(MFGResidentsReset(p->residents));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (int k = 0; k < p->domain.dim; k++)
    PetscCall(PetscArraycpy(p->range.position[k], p->initial[k], p->range.count));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesSweep(MFGParticles p, MFGDensityPlan plan, uint32_t iteration,
                                 MFGDriftFunction drift, void *context, double *M,
                                 MFGSampleStatistics *statistics) {
  const int dim = p->domain.dim;
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  Sweep s = {.particles = p,
             .plan = plan,
             .drift = drift,
             .context = context,
             .M = M,
             .statistics = statistics};

  PetscFunctionBeginUser;
  PetscCall(ChooseExtent(&s));
  s.scan = (MFGScan){.domain = p->residents ? p->grid->box : p->domain,
                     .key = {.seed = p->spec.seed, .iteration = iteration},
                     .dt = p->spec.dt,
                     .nu = p->spec.nu,
                     .ghosted = (PetscBool)(p->residents != NULL),
                     .shape = shape,
                     .extent = s.extent};
  MFGSweepLayout layout = {.whole = p->domain,
                           .decomposition = p->spec.decomposition,
                           .agents = p->spec.count,
                           .steps = p->spec.steps,
                           .shape = shape};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    layout.divisions[k] = p->grid->divisions[k];
    layout.radius[k] = s.halo[k];
  }
  s.field = MFGExtentCells(&s.extent) * MFGMomentNumbers(dim, &shape);
  const int chunk =
      ChunkLength(MostCells(&layout), dim, MFGDensityPlanMethod(plan), &shape, p->spec.steps);
  if ((chunk + 1) * s.field > p->moments_size) {
    PetscCall(PetscFree(p->moments));
    p->moments_size = (chunk + 1) * s.field;
    PetscCall(PetscMalloc1(p->moments_size, &p->moments));
  }
  PetscCall(Rewind(p));
  for (int begin = 0; begin < p->spec.steps; begin += chunk)
    PetscCall(SweepChunk(&s, begin, PetscMin(begin + chunk, p->spec.steps)));
  if (p->residents) PetscCall(MFGResidentsImbalance(p->residents, &p->imbalance));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void RecordPath(const MFGAgentRange *agents, int dim, double *path) {
  for (int64_t i = 0; i < agents->count; i++)
    for (int k = 0; k < dim; k++) *path++ = agents->position[k][i];
}

PetscErrorCode MFGParticlesPaths(MFGParticles p, uint32_t iteration, MFGDriftFunction drift,
                                 void *context, int64_t samples, double *path, int64_t *id) {
  const int dim = p->domain.dim;
  MFGAgentRange agents = {.first_id = 0, .count = samples};

  PetscFunctionBeginUser;
  PetscCheck(samples > 0 && samples <= p->spec.count, p->grid->world, PETSC_ERR_ARG_OUTOFRANGE,
             "paths of %lld agents: there are %lld", (long long)samples, (long long)p->spec.count);
  agents.id_stride = p->spec.count / samples;
  for (int64_t i = 0; i < samples; i++) id[i] = i * agents.id_stride;
  for (int k = 0; k < dim; k++) PetscCall(PetscMalloc1(samples, &agents.position[k]));
  PetscCall(Sample(p, &agents));
  RecordPath(&agents, dim, path);
  for (int n = 0; n < p->spec.steps; n++) {
    PetscCall(FetchWholeDrift(p, n, n + 1, drift, context));
    const MFGScan scan = {.domain = p->domain,
                          .key = {.seed = p->spec.seed, .iteration = iteration},
                          .agents = agents,
                          .dt = p->spec.dt,
                          .nu = p->spec.nu,
                          .level_begin = n,
                          .level_end = n + 1,
                          .drift = p->drift};
    PetscCall(MFGBackendScan(p->backend, &scan));
    RecordPath(&agents, dim, path + (n + 1) * samples * dim);
  }
  for (int k = 0; k < dim; k++) PetscCall(PetscFree(agents.position[k]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGParticlesInitialStatistics(MFGParticles p, MFGSampleStatistics *statistics) {
  const MFGMomentShape shape = {.order = 3, .scale = MFGMomentScale(p->spec.count)};
  const MFGBlock *block = p->residents ? &p->grid->box : &p->domain;
  const MFGExtent extent = MFGBlockWidened(block, (int[3]){0});
  const int64_t field = MFGExtentCells(&extent) * MFGMomentNumbers(p->domain.dim, &shape);
  int64_t *moments;

  PetscFunctionBeginUser;
  PetscCall(Rewind(p));
  const MFGAgentRange agents = AgentsHere(p);
  PetscCall(PetscCalloc1(field, &moments));
  PetscCall(MFGBackendDeposit(p->backend, block, &agents, &shape, NULL, moments));
  if (!p->residents) PetscCall(MFGExchangeSum(p->exchange, field, moments));
  PetscCall(Statistics(p, &shape, &extent, 1, field, moments, statistics));
  PetscCall(PetscFree(moments));
  PetscFunctionReturn(PETSC_SUCCESS);
}
