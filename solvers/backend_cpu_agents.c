/* Agents on the CPU.
 *
 * Agents are handled in tiles, arrays of TILE values per quantity, so that every loop over agents
 * vectorises (see it with -fopt-info-vec). The steps of a group share whole blocks of random
 * numbers and are taken together, tile by tile; the moment fields of a group, padded to whole cache
 * lines per cell, are small enough for a cache, positions stream through once per group. */
#include "solvers/backend_cpu.h"
#include "solvers/kde_point.h"
#include "solvers/particle_point.h"

#define TILE 256
/* Not a power of two: arrays at equal places in their pages look alike to loads after stores. */
#define PITCH (TILE + 24)
#define LANES 8
/* Orders up to 2 LANES are deposited by lines of LANES terms; in 2D that is 136 terms. */
#define LINES_MAX 17
#define GROUP_MAX 4

/* Eight numbers; compilers split them where registers are shorter. */
typedef double Lanes __attribute__((vector_size(64), may_alias));
typedef uint64_t Words __attribute__((vector_size(64), may_alias));

typedef struct {
  _Alignas(64) double normal[MFG_MAX_DIM * GROUP_MAX][PITCH];
  uint32_t word[4][PITCH];
  int interval[MFG_MAX_DIM][PITCH], cell[PITCH];
  double weight[MFG_MAX_DIM][PITCH], drift[MFG_MAX_DIM][PITCH];
  uint64_t t1[MFG_MAX_DIM][PITCH], t2[MFG_MAX_DIM][PITCH], t4[MFG_MAX_DIM][PITCH]; /* bits of t^k */
} Tile;

typedef struct {
  int dim, order, terms, lines; /* lines: groups of LANES terms per cell */
  double scale;                 /* 2^S */
  MFGAxis axis[MFG_MAX_DIM];
  int64_t cells;
  size_t table_size;                                /* doubles of one level's table */
  double *table;                                    /* owned; [group][table_size] */
  Words *field;                                     /* owned; [group][cells][lines] */
  Words shuffle_x[LINES_MAX], shuffle_y[LINES_MAX]; /* powers of x and y of each term, 2D */
  Tile *tile;                                       /* owned */
} Work;

static PetscErrorCode AllocateAligned(size_t bytes, void *pointer) {
  PetscFunctionBeginUser;
  *(void **)pointer = aligned_alloc(64, (bytes + 63) / 64 * 64);
  PetscCheck(*(void **)pointer, PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for %zu bytes", bytes);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static size_t TableSize(const MFGBlock *b) {
  if (b->dim == 1) return 2 * ((size_t)b->cells[0] + 1);
  return 2 * ((size_t)b->cells[0] + 2) * (b->cells[1] + 2);
}

static PetscErrorCode WorkCreate(const MFGBlock *b, int order, int scale, int group, Work *w) {
  PetscFunctionBeginUser;
  memset(w, 0, sizeof *w);
  w->dim = b->dim;
  w->order = order;
  w->terms = b->dim == 1 ? order : MFGMomentRow(order, order);
  w->lines = (w->terms + LANES - 1) / LANES;
  w->scale = ldexp(1, scale);
  w->cells = MFGBlockCells(b);
  w->table_size = TableSize(b);
  for (int k = 0; k < b->dim; k++) w->axis[k] = MFGAxisOf(b, k);
  if (order <= 2 * LANES)
    for (int l = 0, j = 0; l < order; l++)
      for (int k = 0; k < order - l && b->dim == 2; k++, j++) {
        w->shuffle_x[j / LANES][j % LANES] = k;
        w->shuffle_y[j / LANES][j % LANES] = l;
      }
  PetscCall(AllocateAligned(group * w->table_size * sizeof(double), &w->table));
  PetscCall(AllocateAligned(sizeof(Tile), &w->tile));
  PetscCall(AllocateAligned(group * w->cells * w->lines * sizeof(Words), &w->field));
  if (order) memset(w->field, 0, group * w->cells * w->lines * sizeof(Words));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void WorkDestroy(Work *w) {
  free(w->table);
  free(w->field);
  free(w->tile);
}

/* 1D: per interval the drift at its lower centre and the difference to the upper one. 2D: the drift
 * with its ghosts, [ny + 2][nx + 2][2], so that the four corners of an interval lie in two runs. */
static PetscErrorCode BuildTable(const Work *w, const double *drift, double *table) {
  const MFGAxis *x = &w->axis[0], *y = &w->axis[1];
  double total = 0, sx, sy;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < w->dim * w->cells; i++) total += fabs(drift[i]);
  PetscCheck(isfinite(total), PETSC_COMM_SELF, PETSC_ERR_FP,
             "the drift is not finite: the value function has diverged, or the given drift is not "
             "defined everywhere; take a shorter time step or a larger viscosity");
  if (w->dim == 1) {
    for (int i = 0; i <= x->cells; i++) {
      const int low = MFGDriftGhost(x, 0, 0, i - 1, &sx), high = MFGDriftGhost(x, 0, 0, i, &sy);
      table[2 * i] = sx * drift[low];
      table[2 * i + 1] = sy * drift[high] - sx * drift[low];
    }
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (int j = -1; j <= y->cells; j++)
    for (int i = -1; i <= x->cells; i++)
      for (int c = 0; c < 2; c++) {
        const int64_t gx = MFGDriftGhost(x, 0, c, i, &sx), gy = MFGDriftGhost(y, 1, c, j, &sy);
        *table++ = sx * sy * drift[c * w->cells + gy * x->cells + gx];
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The normal numbers of a group of steps: [step of the group * dim + axis][agent]. */
static void DrawNormals(const MFGScan *job, int64_t begin, int count, uint32_t first_block,
                        int blocks, Tile *tile) {
  const MFGAgentRange *agents = &job->agents;
  const uint32_t key0 = (uint32_t)job->key.seed, key1 = (uint32_t)(job->key.seed >> 32);
  const uint32_t stream = MFGRandomStream(MFG_PURPOSE_STEP, job->key.iteration);
  const uint64_t first = (uint64_t)(agents->first_id + begin * agents->id_stride);
  const uint64_t stride = (uint64_t)agents->id_stride;

  for (int b = 0; b < blocks; b++) {
    uint32_t *restrict w0 = tile->word[0], *restrict w1 = tile->word[1];
    uint32_t *restrict w2 = tile->word[2], *restrict w3 = tile->word[3];
    for (int i = 0; i < count; i++) {
      const uint64_t id = first + (uint64_t)i * stride;
      uint32_t c0 = (uint32_t)id, c1 = (uint32_t)(id >> 32), c2 = first_block + b, c3 = stream;
      MFGPhilox(key0, key1, &c0, &c1, &c2, &c3);
      w0[i] = c0;
      w1[i] = c1;
      w2[i] = c2;
      w3[i] = c3;
    }
    for (int pair = 0; pair < 2; pair++) {
      const uint32_t *restrict u = tile->word[2 * pair], *restrict v = tile->word[2 * pair + 1];
      double *restrict z0 = tile->normal[4 * b + 2 * pair];
      double *restrict z1 = tile->normal[4 * b + 2 * pair + 1];
      for (int i = 0; i < count; i++) MFGNormalPair(u[i], v[i], &z0[i], &z1[i]);
    }
  }
}

static void Locate(const MFGAxis *a, int count, const double *restrict x, int *restrict interval,
                   double *restrict weight) {
  const MFGAxis axis = *a;
  for (int i = 0; i < count; i++) interval[i] = MFGIntervalOf(&axis, x[i], &weight[i]);
}

static void Drift1D(const double *table, int count, Tile *tile) {
  const int *restrict interval = tile->interval[0];
  const double *restrict weight = tile->weight[0];
  double *restrict drift = tile->drift[0];
  for (int i = 0; i < count; i++)
    drift[i] = table[2 * interval[i]] + weight[i] * table[2 * interval[i] + 1];
}

static void Drift2D(const double *table, int cells_x, int count, Tile *tile) {
  const size_t row = 2 * ((size_t)cells_x + 2);
  for (int i = 0; i < count; i++) {
    const double *low = table + tile->interval[1][i] * row + 2 * (size_t)tile->interval[0][i];
    const double *high = low + row, wy = tile->weight[1][i], wx = tile->weight[0][i];
    double v[4];
    for (int k = 0; k < 4; k++) v[k] = MFGInterpolate(low[k], high[k], wy);
    tile->drift[0][i] = MFGInterpolate(v[0], v[2], wx);
    tile->drift[1][i] = MFGInterpolate(v[1], v[3], wx);
  }
}

static void Move(const MFGAxis *a, int count, double dt, double deviation,
                 const double *restrict drift, const double *restrict normal, double *restrict x) {
  const MFGAxis axis = *a;
  if (axis.periodic)
    for (int i = 0; i < count; i++)
      x[i] = MFGWrap(&axis, MFGStep(x[i], drift[i], dt, deviation, normal[i]));
  else
    for (int i = 0; i < count; i++)
      x[i] = MFGReflect(&axis, MFGStep(x[i], drift[i], dt, deviation, normal[i]));
}

/* Cell of each agent, and the powers of t that MFGMomentPower multiplies. The scale, exact, rides
 * on the fourth power of the last axis. */
static void CellsAndPowers(const Work *w, int count, double *const x[], Tile *tile) {
  for (int k = w->dim - 1; k >= 0; k--) {
    const MFGAxis axis = w->axis[k];
    const double *restrict position = x[k];
    uint64_t *restrict t1 = tile->t1[k], *restrict t2 = tile->t2[k], *restrict t4 = tile->t4[k];
    int *restrict cell = tile->cell;
    const int factor = k == w->dim - 1 ? 0 : axis.cells;
    const double scale = k == w->dim - 1 ? w->scale : 1;
    for (int i = 0; i < count; i++) {
      double t;
      const int c = MFGCellOf(&axis, position[i], &t);
      cell[i] = factor ? cell[i] * factor + c : c;
      t1[i] = MFGBitsOfDouble(t);
      t2[i] = MFGBitsOfDouble(t * t);
      t4[i] = MFGBitsOfDouble((t * t) * (t * t) * scale);
    }
  }
}

static const Words mask1 = {0, -1, 0, -1, 0, -1, 0, -1}, mask2 = {0, 0, -1, -1, 0, 0, -1, -1},
                   mask4 = {0, 0, 0, 0, -1, -1, -1, -1};
#define ONE UINT64_C(0x3ff0000000000000)

/* t^0 .. t^7 of agent i, times what the fourth power carries: a product of vectors whose lanes hold
 * a power of t or 1, chosen by bits. */
#define POWERS(tile, axis, i, carried)                                                             \
  ((Lanes)((mask1 & (tile)->t1[axis][i]) | (~mask1 & ONE)) *                                       \
   (Lanes)((mask2 & (tile)->t2[axis][i]) | (~mask2 & ONE)) *                                       \
   (Lanes)((mask4 & (tile)->t4[axis][i]) | (~mask4 & (carried))))

static inline void DepositLines1D(const int lines, const Work *w, int count, Words *field) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    Words *moments = field + (size_t)tile->cell[i] * lines;
    const Lanes first = POWERS(tile, 0, i, scale);
    const double t2 = MFGDoubleOfBits(tile->t2[0][i]), t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
    for (int g = 0; g < lines; g++) {
      Lanes v = first;
      if (g & 1) v *= t8;
      if (g & 2) v *= t16;
      moments[g] += (Words)(v + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
    }
  }
}

static inline void DepositLines2D(const int lines, const Work *w, int count, Words *field) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    Words *moments = field + (size_t)tile->cell[i] * lines;
    /* In 2D the field is larger than the caches near the core, and agents are not in its order. */
    const Words *ahead = field + (size_t)tile->cell[PetscMin(i + 12, count - 1)] * lines;
    for (int g = 0; g < lines; g++) __builtin_prefetch(ahead + g, 1);
    const Lanes x = POWERS(tile, 0, i, ONE), y = POWERS(tile, 1, i, scale);
    for (int g = 0; g < lines; g++) {
      const Lanes v = __builtin_shuffle(x, w->shuffle_x[g]) * __builtin_shuffle(y, w->shuffle_y[g]);
      moments[g] += (Words)(v + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
    }
  }
}

/* Orders above LANES, of narrow kernels: powers 8 to 15 in a second vector. */
static void DepositPairs2D(const Work *w, int count, Words *field) {
  const Tile *tile = w->tile;
  const uint64_t scale = MFGBitsOfDouble(w->scale);
  for (int i = 0; i < count; i++) {
    Words *moments = field + (size_t)tile->cell[i] * w->lines;
    const Words *ahead = field + (size_t)tile->cell[PetscMin(i + 6, count - 1)] * w->lines;
    for (int g = 0; g < w->lines; g++) __builtin_prefetch(ahead + g, 1);
    const double x2 = MFGDoubleOfBits(tile->t2[0][i]), x4 = x2 * x2;
    const double y2 = MFGDoubleOfBits(tile->t2[1][i]), y4 = y2 * y2;
    const Lanes x = POWERS(tile, 0, i, ONE), y = POWERS(tile, 1, i, scale);
    const Lanes xx = x * (x4 * x4), yy = y * (y4 * y4);
    for (int g = 0; g < w->lines; g++) {
      const Lanes v =
          __builtin_shuffle(x, xx, w->shuffle_x[g]) * __builtin_shuffle(y, yy, w->shuffle_y[g]);
      moments[g] += (Words)(v + MFG_MOMENT_MAGIC) - MFG_MOMENT_BIAS;
    }
  }
}

/* Orders above 2 LANES: the narrowest kernels at tight tolerances. */
static void DepositTerms2D(const Work *w, int count, Words *field) {
  const Tile *tile = w->tile;
  double px[MFG_ORDER_MAX], py[MFG_ORDER_MAX];
  for (int i = 0; i < count; i++) {
    uint64_t *moments = (uint64_t *)(field + (size_t)tile->cell[i] * w->lines);
    for (int k = 0; k < w->order; k++) {
      px[k] = MFGMomentPower(MFGDoubleOfBits(tile->t1[0][i]), k);
      py[k] = MFGMomentPower(MFGDoubleOfBits(tile->t1[1][i]), k);
    }
    for (int l = 0; l < w->order; l++)
      for (int k = 0; k < w->order - l; k++) *moments++ += MFGMomentBits(px[k] * py[l], w->scale);
  }
}

/* Constant numbers of lines, so that the compiler keeps no inner loop. */
static void DepositTile(const Work *w, int count, double *const x[], Words *field) {
  CellsAndPowers(w, count, x, w->tile);
  if (w->dim == 1) {
    switch (w->lines) {
    case 1:
      DepositLines1D(1, w, count, field);
      break;
    case 2:
      DepositLines1D(2, w, count, field);
      break;
    case 3:
      DepositLines1D(3, w, count, field);
      break;
    default:
      DepositLines1D(4, w, count, field);
    }
    return;
  }
  if (w->order > LANES) {
    if (w->order <= 2 * LANES)
      DepositPairs2D(w, count, field);
    else
      DepositTerms2D(w, count, field);
    return;
  }
  switch (w->lines) {
  case 1:
    DepositLines2D(1, w, count, field);
    break;
  case 2:
    DepositLines2D(2, w, count, field);
    break;
  case 3:
    DepositLines2D(3, w, count, field);
    break;
  case 4:
    DepositLines2D(4, w, count, field);
    break;
  default:
    DepositLines2D(5, w, count, field);
  }
}

/* Adds the padded field to the moments of the caller and empties it. */
static void Unload(const Work *w, Words *field, int64_t *restrict moments) {
  for (int64_t c = 0; c < w->cells; c++, field += w->lines, moments += w->terms) {
    const uint64_t *restrict term = (const uint64_t *)field;
    for (int j = 0; j < w->terms; j++) moments[j] = (int64_t)((uint64_t)moments[j] + term[j]);
    memset(field, 0, w->lines * sizeof *field);
  }
}

static PetscErrorCode DepositCPU(const MFGBlock *domain, const MFGAgentRange *agents, int order,
                                 int scale, int64_t *moments) {
  Work w;

  PetscFunctionBeginUser;
  PetscCall(WorkCreate(domain, order, scale, 1, &w));
  for (int64_t begin = 0; begin < agents->count; begin += TILE) {
    const int count = (int)PetscMin(TILE, agents->count - begin);
    double *x[MFG_MAX_DIM] = {NULL};
    for (int k = 0; k < domain->dim; k++) x[k] = agents->position[k] + begin;
    DepositTile(&w, count, x, w.field);
  }
  Unload(&w, w.field, moments);
  WorkDestroy(&w);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One tile through the steps begin .. end - 1 of the group that starts at level `group`. */
static void ScanTile(const MFGScan *job, const Work *w, int64_t first, int count, int group,
                     int begin, int end) {
  const int dim = w->dim, steps = MFGStepsOfGroup(dim);
  const double deviation = sqrt(2 * job->nu * job->dt);
  Tile *tile = w->tile;
  double *x[MFG_MAX_DIM] = {NULL};

  for (int k = 0; k < dim; k++) x[k] = job->agents.position[k] + first;
  DrawNormals(job, first, count, (uint32_t)((int64_t)group * dim / 4), steps * dim / 4, tile);
  for (int n = begin; n < end; n++) {
    const double *table = w->table + (n - group) * w->table_size;
    for (int k = 0; k < dim; k++)
      Locate(&w->axis[k], count, x[k], tile->interval[k], tile->weight[k]);
    if (dim == 1)
      Drift1D(table, count, tile);
    else
      Drift2D(table, w->axis[0].cells, count, tile);
    for (int k = 0; k < dim; k++)
      Move(&w->axis[k], count, job->dt, deviation, tile->drift[k],
           tile->normal[(n - group) * dim + k], x[k]);
    if (job->order) DepositTile(w, count, x, w->field + (n - group) * w->cells * w->lines);
  }
}

static PetscErrorCode ScanCPU(const MFGScan *job) {
  const int dim = job->domain.dim, steps = MFGStepsOfGroup(dim);
  Work w;

  PetscFunctionBeginUser;
  PetscCall(WorkCreate(&job->domain, job->order, job->scale, steps, &w));
  for (int group = job->level_begin / steps * steps; group < job->level_end; group += steps) {
    const int begin = PetscMax(group, job->level_begin);
    const int end = PetscMin(group + steps, job->level_end);
    for (int n = begin; n < end; n++)
      PetscCall(BuildTable(&w, job->drift + (n - job->level_begin) * dim * w.cells,
                           w.table + (n - group) * w.table_size));
    for (int64_t i = 0; i < job->agents.count; i += TILE)
      ScanTile(job, &w, i, (int)PetscMin(TILE, job->agents.count - i), group, begin, end);
    for (int n = begin; n < end && job->order; n++)
      Unload(&w, w.field + (n - group) * w.cells * w.lines,
             job->moments + (n - job->level_begin) * w.cells * w.terms);
  }
  WorkDestroy(&w);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The first cell whose inclusive cumulative sum is above v. */
static int64_t FindCell(const int64_t *cumulative, int64_t cells, int64_t v) {
  int64_t low = 0, high = cells - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (cumulative[middle] > v)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* Never exactly on a face: the neighbour may be a cell without agents. */
static double Inside(double fraction) {
  return PetscMin(PetscMax(fraction, 0x1p-33), 1 - 0x1p-33);
}

/* Cell of an agent, and where in it, as fractions. The random words are those of the agent's first
 * block, or of the run (id 0) where all agents share an offset. */
static int64_t SampleAgent(const MFGSample *job, int64_t id, double fraction[]) {
  const int64_t cells = MFGBlockCells(&job->domain), weight = job->cumulative[cells - 1];
  const uint64_t counter = job->stratified ? 0 : (uint64_t)id;
  const uint32_t stream = MFGRandomStream(MFG_PURPOSE_POSITION, 0);
  uint32_t word[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, stream};

  MFGPhilox((uint32_t)job->key.seed, (uint32_t)(job->key.seed >> 32), &word[0], &word[1], &word[2],
            &word[3]);
  if (!job->stratified) {
    for (int k = 0; k < job->domain.dim; k++) fraction[k] = MFGUniform(word[2 + k % 2]);
    return FindCell(job->cumulative, cells, MFGUniformBelow(word[0], word[1], weight));
  }
  const int64_t v = MFGStratum(id, word[0], job->total, weight);
  const int64_t cell = FindCell(job->cumulative, cells, v);
  const int64_t below = cell ? job->cumulative[cell - 1] : 0;
  for (int k = 0; k < job->domain.dim; k++)
    fraction[k] = MFGKronecker(job->domain.dim, k, id, word[1 + k]);
  if (job->domain.dim == 1)
    fraction[0] = ((double)(v - below) + 0.5) / (double)(job->cumulative[cell] - below);
  return cell;
}

static PetscErrorCode SampleCPU(const MFGSample *job) {
  const MFGBlock *b = &job->domain;

  PetscFunctionBeginUser;
  for (int64_t i = 0; i < job->agents.count; i++) {
    double fraction[MFG_MAX_DIM];
    int64_t cell = SampleAgent(job, job->agents.first_id + i * job->agents.id_stride, fraction);
    for (int k = 0; k < b->dim; k++) {
      const int c = (int)(cell % b->cells[k]);
      cell /= b->cells[k];
      job->agents.position[k][i] = b->lower[k] + (c + Inside(fraction[k])) * b->spacing[k];
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGAgentsOps MFG_VARIANT_NAME(MFGAgentsOps_CPU) = {
    .name = "cpu", .sample = SampleCPU, .scan = ScanCPU, .deposit = DepositCPU};
