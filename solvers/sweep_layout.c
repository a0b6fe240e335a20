#include "solvers/sweep_layout.h"

#include "solvers/agents.h"
#include "solvers/residents.h"

/* Moments and drift of a chunk of levels, per rank. */
#define CHUNK_BYTES ((int64_t)256 << 20)

/* Agents are sorted where the moments of a level are larger than SORT_BYTES: again when noise has
 * spread neighbours over SORT_SPREAD of the moments. A sort costs 7 to 20 ns an agent: not before
 * SORT_EVERY_MIN steps, whole groups; at the latest after SORT_EVERY_MAX, since the drift mixes
 * neighbours too. CPU time in ns per agent and step, order 8, unsorted / every 2, 4, 8 steps, 1e6
 * agents: 256^2 cells, noise of 9 cells a step 41 / 34, 32, 33; of 20 cells 56 / 47, 43, 46; 2e5
 * agents: 48 24^2 cells, 1.1 cells 109 / 96, 87, 91; 3.4 cells 209 / 110, 130, 143. */
#define SORT_BYTES ((int64_t)6 << 20)
#define SORT_SPREAD ((int64_t)2 << 20)
#define SORT_EVERY_MIN 4
#define SORT_EVERY_MAX 64

/* Moments and drift of one level. */
static int64_t LevelBytes(int64_t cells, int dim, const MFGMomentShape *shape) {
  return (MFGMomentNumbers(dim, shape) + dim) * cells * (int64_t)sizeof(double);
}

static int64_t Ranks(const MFGSweepLayout *l) {
  return (int64_t)l->divisions[0] * l->divisions[1] * l->divisions[2];
}

static PetscBool Domain(const MFGSweepLayout *l) {
  return (PetscBool)(l->decomposition == MFG_DECOMPOSITION_DOMAIN);
}

/* Cells along an axis of the moments on the rank that has most: all ranks take the same chunks. */
static int64_t MostAlong(const MFGSweepLayout *l, int k) {
  const int d = l->divisions[k];
  if (l->decomposition == MFG_DECOMPOSITION_REPLICATED) return l->whole.cells[k];
  return (l->whole.cells[k] - 1) / d + 1 + (d > 1 ? 2 * l->radius[k] : 0);
}

static int64_t MostCells(const MFGSweepLayout *l) {
  int64_t cells = 1;
  for (int k = 0; k < l->whole.dim; k++) cells *= MostAlong(l, k);
  return cells;
}

/* Between chunks a run can be stopped: with very many agents they are shorter. One of so many steps
 * of an agent takes a core 3 to 10 s; shorter than two groups, random numbers would cost more. */
#define CHUNK_AGENT_STEPS 300000000
#define CHUNK_GROUPS_MIN 2

/* Whole groups of random numbers where the budget allows. */
int MFGSweepChunk(const MFGSweepLayout *l, MFGDensityMethod method) {
  const int group = MFGStepsOfGroup(l->whole.dim);
  if (method == MFG_DENSITY_DIRECT) return 1;
  int64_t fit = CHUNK_BYTES / LevelBytes(MostCells(l), l->whole.dim, &l->shape);
  const int64_t here = PetscMax(1, l->agents / Ranks(l));
  fit = PetscMin(fit, PetscMax(CHUNK_GROUPS_MIN * group, CHUNK_AGENT_STEPS / here));
  if (fit > group) fit -= fit % group;
  return (int)PetscMax(1, PetscMin(fit, l->steps));
}

/* Rims of the drift of `steps` steps and of the moments of `levels` levels. */
static MFGHalo DriftRim(const MFGSweepLayout *l, int64_t steps) {
  const int dim = l->whole.dim;
  return (MFGHalo){.width = {1, dim > 1, dim > 2}, .element = 8, .fields = steps * dim};
}

static MFGHalo MomentRim(const MFGSweepLayout *l, int64_t levels) {
  MFGHalo h = {.element = MFGMomentNumbers(l->whole.dim, &l->shape) * 8, .fields = levels};
  for (int k = 0; k < l->whole.dim; k++) h.width[k] = l->divisions[k] > 1 ? l->radius[k] : 0;
  return h;
}

/* Moments convolved along x wait for the last axis: a level of them has the terms of one power. */
static int64_t ConvolutionBytes(const MFGSweepLayout *l, int64_t cells) {
  const int last = l->whole.dim - 1;
  return last ? cells * (l->shape.order << l->shape.halvings[last]) * 8 : 0;
}

/* All but what a convolution works with. */
static int64_t ChunkArrays(const MFGSweepLayout *l, int rank) {
  const int dim = l->whole.dim, numbers = MFGMomentNumbers(dim, &l->shape);
  const int64_t chunk = MFGSweepChunk(l, MFG_DENSITY_MOMENTS), whole = MFGBlockCells(&l->whole);
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const int64_t owned = dim > 1 ? MFGBlockOwned(&box) : whole;
  int64_t bytes = (chunk + 1) *
                  (MFGMarginalCount(&l->whole, &l->shape) * 8 + dim * (int64_t)sizeof(MFGAxisSums));

  for (int k = 0; k < dim; k++)
    bytes += (int64_t)(l->steps + 1) * (l->shape.order << l->shape.halvings[k]) *
             (2 * l->radius[k] + 1) * 8;
  if (l->decomposition == MFG_DECOMPOSITION_REPLICATED)
    return bytes + ((chunk + 1) * numbers * whole + chunk * dim * (owned + whole)) * 8 +
           (dim > 1 && Ranks(l) > 1 ? whole * 8 : 0);
  const MFGHalo drift = DriftRim(l, chunk), moments = MomentRim(l, chunk + 1);
  const MFGExtent wide = MFGBlockWidened(&box, moments.width),
                  ghosted = MFGBlockWidened(&box, drift.width);
  const int64_t cells = MFGExtentCells(&wide), rim = MFGExtentCells(&ghosted);
  return bytes + ((chunk + 1) * numbers * cells + chunk * dim * (owned + rim)) * 8 +
         PetscMax(MFGExchangeHaloBuffers(&l->whole, l->divisions, rank, &drift),
                  MFGExchangeHaloBuffers(&l->whole, l->divisions, rank, &moments));
}

/* On the host, level by level. */
int64_t MFGSweepChunkBytes(const MFGSweepLayout *l, int rank) {
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const MFGHalo rim = MomentRim(l, 1);
  const MFGExtent wide = MFGBlockWidened(&box, rim.width);
  return ChunkArrays(l, rank) +
         ConvolutionBytes(l, Domain(l) ? MFGExtentCells(&wide) : MFGBlockOwned(&box));
}

/* Noise of n steps spreads agents over sqrt(n) deviations to each side along the slowest axis.
 * Every 2 steps at least: those of a group in 2D. Usual grids in 1D have moments that fit the
 * caches. */
static int SortEvery(const MFGSweepLayout *l, PetscBool pays) {
  const int last = l->whole.dim - 1;
  const int64_t moments = MostCells(l) * MFGMomentNumbers(l->whole.dim, &l->shape) * 8;
  const double slice = (double)moments / (double)MostAlong(l, last);
  const double spread = 2 * l->deviation / l->whole.spacing[last] * slice;
  int every = SORT_EVERY_MIN;

  if (l->sort_every != MFG_SORT_AUTO) return PetscMax(l->sort_every, 0);
  if (l->whole.dim == 1 || moments < SORT_BYTES) return 0;
  if (!pays) return l->steps;
  while (every < SORT_EVERY_MAX && sqrt(2 * every) * spread <= SORT_SPREAD) every *= 2;
  return every;
}

int MFGSweepSortEvery(const MFGSweepLayout *l, const MFGBackend *backend) {
  return backend->agents->sort ? SortEvery(l, backend->agents->sort_pays) : 0;
}

/* Where they are and where they started; in boxes with ids and travellers, and where they were
 * before a chunk that may have to be redone. */
static int64_t AgentBytes(const MFGSweepLayout *l, int64_t here, PetscBool sorted) {
  const int dim = l->whole.dim;
  const int64_t agent = MFGAgentBytes(dim, l->single, (PetscBool)(Domain(l) || sorted));
  const int64_t record = (dim + 1) * 8;
  int axes = 0;

  if (!Domain(l))
    return 2 * here * agent + sorted * MFGSortScratchBytes(here, MFGBlockCells(&l->whole));
  const MFGTravellers t = MFGTravellersFor(&l->whole, l->divisions, l->agents, l->deviation);
  for (int k = 0; k < dim; k++) axes += t.rounds[k];
  const int64_t moving = axes * t.message;
  const int stores = MFGSweepChunk(l, MFG_DENSITY_MOMENTS) < l->steps ? 3 : 2;
  return (stores * here + moving) * agent + moving * (8 + record) + 4 * t.message * record +
         sorted * MFGSortScratchBytes(here + moving, MFGBlockCells(&l->whole) / Ranks(l));
}

int64_t MFGSweepAgentBytes(const MFGSweepLayout *l, int64_t here) {
  return AgentBytes(l, here, (PetscBool)(SortEvery(l, PETSC_TRUE) > 0));
}

/* What a rank's operations work with: one memory for all of them. */
static int64_t WorkBytes(const MFGSweepLayout *l, const MFGBackend *backend, const MFGBlock *box,
                         int64_t room) {
  int64_t some;
  MFGConvolution density = {
      .block = *box, .shape = l->shape, .levels = MFGSweepChunk(l, MFG_DENSITY_MOMENTS) + 1};
  MFGScan scan = {.domain = l->whole, .agents = {.count = room}, .level_end = 1, .shape = l->shape};
  for (int k = 0; k < MFG_MAX_DIM; k++) density.radius[k] = l->radius[k];
  if (Domain(l)) {
    const MFGHalo rim = MomentRim(l, 1);
    scan.domain = *box;
    scan.extent = density.extent = MFGBlockWidened(box, rim.width);
    scan.ghosted = PETSC_TRUE;
    scan.leavers = &some;
  }
  return PetscMax(backend->agents->work ? backend->agents->work(&scan) : 0,
                  backend->density->work ? backend->density->work(&density) : 0);
}

/* Arrays of agents have room for some more in a box; densities of a chunk wait for the host; what
 * agents are sampled from stays. */
int64_t MFGSweepDeviceBytes(const MFGSweepLayout *l, const MFGBackend *backend, int rank,
                            int64_t here) {
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const int64_t chunk = MFGSweepChunk(l, MFG_DENSITY_MOMENTS), owned = MFGBlockOwned(&box);
  const PetscBool sorted = (PetscBool)(MFGSweepSortEvery(l, backend) > 0);
  int64_t room = here, bytes = AgentBytes(l, here, sorted);

  if (Domain(l)) {
    const int dim = l->whole.dim;
    const MFGTravellers t = MFGTravellersFor(&l->whole, l->divisions, l->agents, l->deviation);
    const int64_t agent = MFGAgentBytes(dim, l->single, PETSC_TRUE);
    room = MFGResidentsRoom(here, &t);
    bytes = ((chunk < l->steps ? 2 : 1) * here + room) * agent + (room + 1) * 8 +
            t.capacity * (dim + 1) * 8 + 4 * MFGMessageBytes(dim, t.message) +
            sorted * MFGSortScratchBytes(room, owned);
  }
  return bytes + MFGBlockCells(&l->whole) * 8 + ChunkArrays(l, rank) + (chunk + 1) * owned * 8 +
         WorkBytes(l, backend, &box, room);
}

/* A fair share of numbers with its owners, and two copies of the records while they travel. */
int64_t MFGSweepStartBytes(const MFGSweepLayout *l, int64_t here) {
  const int64_t share = l->agents / Ranks(l), record = (l->whole.dim + 1) * 8;
  const int64_t drawn = share * MFGAgentBytes(l->whole.dim, l->single, PETSC_FALSE);
  return drawn + (Domain(l) ? share * (4 + record) + here * record : 0);
}

/* The drift takes the place of that of a chunk. */
int64_t MFGSweepPathBytes(const MFGSweepLayout *l, int rank, int64_t samples) {
  const int dim = l->whole.dim;
  const int64_t whole = MFGBlockCells(&l->whole), path = (l->steps + 1) * samples * dim * 8;
  const MFGBlock box = MFGBoxOfRank(&l->whole, l->divisions, rank);
  const MFGExtent rim = MFGBlockWidened(&box, (int[3]){1, 1, 1});
  if (!samples || !Domain(l)) return path;
  const int64_t held = MFGSweepChunk(l, MFG_DENSITY_MOMENTS) * MFGExtentCells(&rim);
  return path + PetscMax(0, whole - held) * dim * 8 + (dim > 1) * whole * 8;
}

void MFGSweepShares(const MFGSweepLayout *l, const MFGBlock *sampled, const double *m0,
                    double agents[]) {
  double sum = 0;

  for (int64_t r = 0; r < Ranks(l); r++) agents[r] = 0;
  for (int z = 0; z < sampled->cells[2]; z++)
    for (int y = 0; y < sampled->cells[1]; y++)
      for (int x = 0; x < sampled->cells[0]; x++, m0++) {
        const int at[] = {x, y, z};
        int64_t rank = 0;
        for (int k = MFG_MAX_DIM - 1; k >= 0; k--) {
          const int cells = l->whole.cells[k],
                    centre = (int)((2 * at[k] + INT64_C(1)) * cells / (2 * sampled->cells[k]));
          rank = rank * l->divisions[k] + MFGBoxOfCell(cells, l->divisions[k], centre);
        }
        agents[rank] += *m0;
        sum += *m0;
      }
  for (int64_t r = 0; r < Ranks(l); r++) agents[r] *= (double)l->agents / sum;
}

int MFGSweepNarrowAxis(const MFGSweepLayout *l) {
  for (int k = l->whole.dim - 1; k >= 0; k--)
    if (l->divisions[k] > 1 && l->whole.cells[k] / l->divisions[k] < l->radius[k]) return k;
  return -1;
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
  const MFGHalo drift = DriftRim(l, l->steps), moments = MomentRim(l, levels);
  const int chunk = MFGSweepChunk(l, MFG_DENSITY_MOMENTS);
  b.reduction += ((l->steps - 1) / chunk + 1) * MFG_RESIDENTS_CHECKED * 8 + 8;
  b.halo = MFGExchangeHaloBytes(&l->whole, l->divisions, rank, &drift) +
           MFGExchangeHaloBytes(&l->whole, l->divisions, rank, &moments);
  b.migration = l->steps * MFGExchangeMigrationBytes(&l->whole, l->divisions, rank, &t);
  if (dim == 1) b.gather = levels * MFGBlockOwned(&box) * 8;
  return b;
}
