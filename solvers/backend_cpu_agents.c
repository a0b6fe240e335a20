/* Agents on the CPU.
 *
 * Agents are handled in tiles, arrays of TILE values per quantity, so that every loop over agents
 * vectorises (see it with -fopt-info-vec). The steps of a group share whole blocks of random
 * numbers and are taken together, tile by tile; positions stream through once per group. */
#include <float.h>

#include "solvers/backend_cpu_tile.h"

/* Agents per box from which all boxes are padded in 2D and 3D. */
#define CROWDED 64

static PetscErrorCode AllocateAligned(size_t bytes, void *pointer) {
  PetscFunctionBeginUser;
  *(void **)pointer = aligned_alloc(64, bytes / 64 * 64 + 64);
  PetscCheck(*(void **)pointer, PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for %zu bytes", bytes);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Powers of each term, in the order of kde_point.h. */
static void ListPowers(Work *w) {
  const int planes = w->dim == 3 ? w->order : 1, rows = w->dim > 1 ? w->order : 1;
  int j = 0;
  if (w->lines > LINES_MAX) return;
  for (int m = 0; m < planes; m++)
    for (int l = 0; l < rows - m * (w->dim > 1); l++)
      for (int k = 0; k < w->order - l - m; k++, j++) {
        w->shuffle[0][j / LANES][j % LANES] = k;
        w->shuffle[1][j / LANES][j % LANES] = l;
        w->shuffle[2][j / LANES][j % LANES] = m;
      }
}

static PetscErrorCode WorkCreate(const MFGBlock *b, const MFGExtent *extent, int64_t agents,
                                 const MFGMomentShape *shape, int levels, Work *w) {
  static const int none[MFG_MAX_DIM] = {0};

  PetscFunctionBeginUser;
  memset(w, 0, sizeof *w);
  w->dim = b->dim;
  w->order = shape->order;
  w->terms = MFGMomentTerms(b->dim, shape->order);
  w->lines = (w->terms + LANES - 1) / LANES;
  w->scale = ldexp(1, shape->scale);
  w->box = MFGBlockWidened(b, none);
  w->extent = extent && extent->count[0] ? *extent : w->box;
  w->boxes = MFGExtentCells(&w->extent) * MFGMomentBoxes(shape);
  const int excess = w->lines * LANES - w->terms;
  if (b->dim > 1 && w->order && agents < CROWDED * w->boxes)
    w->direct = PetscMax(0, w->boxes - (excess + w->terms - 1) / w->terms);
  w->padded_size = (w->boxes - w->direct + 1) * w->lines * LANES;
  w->table_size = b->dim == 1 ? 2 : b->dim;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    w->wide[k] = k < b->dim ? b->count[k] + 2 : 1;
    w->table_size *= w->wide[k];
    w->halvings[k] = shape->halvings[k];
    w->axis[k] = MFGAxisOf(b, k);
  }
  w->table_size += LANES; /* corners are read by LANES */
  for (int j = 0; j < LANES; j++) w->used[j] = (w->lines - 1) * LANES + j < w->terms ? -1 : 0;
  ListPowers(w);
  PetscCall(AllocateAligned(levels * w->table_size * sizeof(double), &w->table));
  PetscCall(AllocateAligned(PetscMax(levels, 1) * w->padded_size * sizeof(uint64_t), &w->padded));
  memset(w->padded, 0, PetscMax(levels, 1) * w->padded_size * sizeof(uint64_t));
  w->pitch = (w->terms + MFG_ORDER_MAX) / 8 * 8;
  w->batch = PetscMax(1, 1024 / w->pitch);
  PetscCall(AllocateAligned(w->batch * w->pitch * sizeof(double), &w->products));
  PetscCall(AllocateAligned(sizeof(Tile), &w->tile));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void WorkDestroy(Work *w) {
  free(w->table);
  free(w->padded);
  free(w->products);
  free(w->tile);
}

/* Row (j, k) of one component with its ghosts, j and k counted from the ghosts, to every pitch-th
 * place. Returns whether all numbers are finite. */
static int CopyRow(const Work *w, PetscBool ghosted, const double *drift, int component, int j,
                   int k, int pitch, double *restrict row) {
  const int64_t wide = (int64_t)w->wide[0] * w->wide[1] * w->wide[2];
  const int n = w->wide[0] - 2;
  double low = 1, high = 1, sy = 1, sz = 1;
  int finite = 1;

  if (ghosted) {
    drift += component * wide + ((int64_t)k * w->wide[1] + j) * w->wide[0];
    for (int i = 0; i < n + 2; i++) {
      row[(size_t)i * pitch] = drift[i];
      finite &= fabs(drift[i]) <= DBL_MAX;
    }
    return finite;
  }
  const int64_t y = w->dim > 1 ? MFGDriftGhost(&w->axis[1], 1, component, j - 1, &sy) : 0;
  const int64_t z = w->dim > 2 ? MFGDriftGhost(&w->axis[2], 2, component, k - 1, &sz) : 0;
  const int below = MFGDriftGhost(&w->axis[0], 0, component, -1, &low);
  const int above = MFGDriftGhost(&w->axis[0], 0, component, n, &high);
  const double sign = sy * sz;
  drift += ((component * w->axis[2].cells + z) * w->axis[1].cells + y) * n;
  for (int i = 0; i < n; i++) {
    row[(size_t)(i + 1) * pitch] = sign * drift[i];
    finite &= fabs(drift[i]) <= DBL_MAX;
  }
  row[0] = low * sign * drift[below];
  row[(size_t)(n + 1) * pitch] = high * sign * drift[above];
  return finite;
}

/* The drift with its ghosts, [z][y][x][dim], so that the corners of an interval lie in runs. 1D: in
 * place of a second component the difference to the next cell. */
static PetscErrorCode BuildTable(const Work *w, PetscBool ghosted, const double *drift,
                                 double *table) {
  const int pitch = w->dim == 1 ? 2 : w->dim;
  int finite = 1;

  PetscFunctionBeginUser;
  memset(table + w->table_size - LANES, 0, LANES * sizeof *table);
  for (int k = 0; k < w->wide[2]; k++)
    for (int j = 0; j < w->wide[1]; j++)
      for (int c = 0; c < w->dim; c++)
        finite &= CopyRow(w, ghosted, drift, c, j, k, pitch,
                          table + ((size_t)k * w->wide[1] + j) * w->wide[0] * pitch + c);
  PetscCheck(finite, PETSC_COMM_SELF, PETSC_ERR_FP, MFG_DRIFT_BROKEN);
  for (int i = 0; i < w->wide[0] - 1 && w->dim == 1; i++)
    table[2 * i + 1] = table[2 * i + 2] - table[2 * i];
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void CopyIds(const MFGAgentRange *agents, int64_t begin, int count, Tile *tile) {
  const uint64_t first = (uint64_t)(agents->first_id + begin * agents->id_stride);
  const uint64_t stride = (uint64_t)agents->id_stride;
  if (agents->id)
    memcpy(tile->id, agents->id + begin, count * sizeof *tile->id);
  else
    for (int i = 0; i < count; i++) tile->id[i] = first + (uint64_t)i * stride;
}

/* The normal numbers first .. last of the agents of the tile, from tile->normal[first % 4] on. */
static void DrawNormals(const MFGScan *job, int count, int64_t first, int64_t last, Tile *tile) {
  const uint32_t key0 = (uint32_t)job->key.seed, key1 = (uint32_t)(job->key.seed >> 32);
  const uint32_t stream = MFGRandomStream(MFG_PURPOSE_STEP, job->key.iteration);

  for (int64_t b = first / 4; b <= last / 4; b++) {
    const uint64_t *restrict id = tile->id;
    uint32_t *restrict w0 = tile->word[0], *restrict w1 = tile->word[1];
    uint32_t *restrict w2 = tile->word[2], *restrict w3 = tile->word[3];
    for (int i = 0; i < count; i++) {
      uint32_t c0 = (uint32_t)id[i], c1 = (uint32_t)(id[i] >> 32), c2 = (uint32_t)b, c3 = stream;
      MFGPhilox(key0, key1, &c0, &c1, &c2, &c3);
      w0[i] = c0;
      w1[i] = c1;
      w2[i] = c2;
      w3[i] = c3;
    }
    for (int64_t pair = PetscMax(2 * b, first / 2); pair <= PetscMin(2 * b + 1, last / 2); pair++) {
      const uint32_t *restrict u = tile->word[pair % 2 * 2];
      const uint32_t *restrict v = tile->word[pair % 2 * 2 + 1];
      double *restrict z0 = tile->normal[2 * pair - first / 4 * 4];
      double *restrict z1 = tile->normal[2 * pair - first / 4 * 4 + 1];
      for (int i = 0; i < count; i++) MFGNormalPair(u[i], v[i], &z0[i], &z1[i]);
    }
  }
}

/* Intervals are counted from the one below the box's first centre. */
static void Locate(const MFGAxis *a, int start, int cells, int count, const double *restrict x,
                   int *restrict interval, double *restrict weight) {
  const MFGAxis axis = *a;
  for (int i = 0; i < count; i++)
    interval[i] = MFGNearestIndex(MFGIntervalOf(&axis, x[i], &weight[i]) - start, cells + 1);
}

static void Drift1D(const double *table, int count, Tile *tile) {
  const int *restrict interval = tile->interval[0];
  const double *restrict weight = tile->weight[0];
  double *restrict drift = tile->drift[0];
  for (int i = 0; i < count; i++)
    drift[i] = table[2 * interval[i]] + weight[i] * table[2 * interval[i] + 1];
}

static void Drift2D(const double *table, const Work *w, int count, Tile *tile) {
  const size_t row = 2 * (size_t)w->wide[0];
  for (int i = 0; i < count; i++) {
    const double *low = table + tile->interval[1][i] * row + 2 * (size_t)tile->interval[0][i];
    const double *high = low + row, wy = tile->weight[1][i], wx = tile->weight[0][i];
    double v[4];
    for (int k = 0; k < 4; k++) v[k] = MFGInterpolate(low[k], high[k], wy);
    tile->drift[0][i] = MFGInterpolate(v[0], v[2], wx);
    tile->drift[1][i] = MFGInterpolate(v[1], v[3], wx);
  }
}

/* Two corners along x are six numbers in a row; eight make one register. */
static void Drift3D(const double *table, const Work *w, int count, Tile *tile) {
  const size_t row = 3 * (size_t)w->wide[0], plane = row * w->wide[1];
  for (int i = 0; i < count; i++) {
    const double *low = table + tile->interval[2][i] * plane + tile->interval[1][i] * row +
                        3 * (size_t)tile->interval[0][i];
    const double *high = low + plane, wx = tile->weight[0][i], wy = tile->weight[1][i],
                 wz = tile->weight[2][i];
    double v[LANES];
    for (int k = 0; k < LANES; k++)
      v[k] = MFGInterpolate(MFGInterpolate(low[k], high[k], wz),
                            MFGInterpolate(low[row + k], high[row + k], wz), wy);
    for (int c = 0; c < 3; c++) tile->drift[c][i] = MFGInterpolate(v[c], v[3 + c], wx);
  }
}

/* x[axis] of the agents of a tile: in place, or given back by their offsets. */
static void LoadPositions(const Work *w, const MFGAgentRange *agents, int64_t first, int count,
                          double *x[]) {
  for (int k = 0; k < w->dim; k++) {
    if (!agents->offset[k]) {
      x[k] = agents->position[k] + first;
      continue;
    }
    const MFGAxis axis = w->axis[k];
    const float *restrict offset = agents->offset[k] + first;
    double *restrict position = x[k] = w->tile->position[k];
    for (int i = 0; i < count; i++) position[i] = MFGPositionOf(&axis, offset[i]);
  }
}

/* The new positions as single precision keeps them. */
static void RoundPositions(const MFGAxis *a, int count, double *restrict x,
                           float *restrict offset) {
  const MFGAxis axis = *a;
  for (int i = 0; i < count; i++) {
    offset[i] = MFGOffsetOf(&axis, x[i]);
    x[i] = MFGPositionOf(&axis, offset[i]);
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

/* Appends the agents that have left the box and sends what they deposit to the one to lose. */
static void ListLeavers(const Work *w, int64_t first, int count, double *const x[],
                        int64_t *leavers) {
  int *restrict outside = w->tile->outside;
  memset(outside, 0, count * sizeof *outside);
  for (int k = 0; k < w->dim; k++) {
    const MFGAxis axis = w->axis[k];
    const double *restrict position = x[k];
    const int start = w->box.start[k];
    const unsigned cells = (unsigned)w->box.count[k];
    for (int i = 0; i < count; i++) {
      double t;
      outside[i] |= (unsigned)(MFGCellOf(&axis, position[i], &t) - start) >= cells;
    }
  }
  for (int i = 0; i < count; i++)
    if (outside[i]) {
      leavers[++leavers[0]] = first + i;
      w->tile->box[i] = (int)w->boxes;
    }
}

static PetscErrorCode DepositCPU(const MFGBlock *domain, const MFGAgentRange *agents,
                                 const MFGMomentShape *shape, const MFGExtent *extent,
                                 int64_t *moments) {
  uint64_t *field = (uint64_t *)moments;
  Work w;

  PetscFunctionBeginUser;
  if (!shape->order) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(WorkCreate(domain, extent, agents->count, shape, 0, &w));
  for (int64_t begin = 0; begin < agents->count; begin += TILE) {
    const int count = (int)PetscMin(TILE, agents->count - begin);
    double *x[MFG_MAX_DIM] = {NULL};
    LoadPositions(&w, agents, begin, count, x);
    TileBoxes(&w, count, x, w.tile);
    TileDeposit(&w, count, field, w.padded);
  }
  TileUnload(&w, w.padded, field);
  WorkDestroy(&w);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One tile through the steps begin .. end - 1 of a group. */
static void ScanTile(const MFGScan *job, const Work *w, int64_t first, int count, int begin,
                     int end) {
  const int dim = w->dim;
  const int64_t draw = (int64_t)begin * dim, size = w->boxes * w->terms;
  const double deviation = sqrt(2 * job->nu * job->dt);
  Tile *tile = w->tile;
  double *x[MFG_MAX_DIM] = {NULL};

  LoadPositions(w, &job->agents, first, count, x);
  CopyIds(&job->agents, first, count, tile);
  DrawNormals(job, count, draw, (int64_t)end * dim - 1, tile);
  for (int n = begin; n < end; n++) {
    const double *table = w->table + (n - begin) * w->table_size;
    for (int k = 0; k < dim; k++)
      Locate(&w->axis[k], w->box.start[k], w->box.count[k], count, x[k], tile->interval[k],
             tile->weight[k]);
    if (dim == 1)
      Drift1D(table, count, tile);
    else if (dim == 2)
      Drift2D(table, w, count, tile);
    else
      Drift3D(table, w, count, tile);
    for (int k = 0; k < dim; k++) {
      Move(&w->axis[k], count, job->dt, deviation, tile->drift[k],
           tile->normal[draw % 4 + (n - begin) * dim + k], x[k]);
      if (job->agents.offset[k])
        RoundPositions(&w->axis[k], count, x[k], job->agents.offset[k] + first);
    }
    if (job->shape.order) TileBoxes(w, count, x, tile);
    if (job->leavers) ListLeavers(w, first, count, x, job->leavers);
    if (job->shape.order)
      TileDeposit(w, count, (uint64_t *)job->moments + (n - job->level_begin) * size,
                  w->padded + (n - begin) * w->padded_size);
  }
}

static PetscErrorCode ScanCPU(const MFGScan *job) {
  const int dim = job->domain.dim, steps = MFGStepsOfGroup(dim);
  const int levels = PetscMin(steps, job->level_end - job->level_begin);
  Work w;

  PetscFunctionBeginUser;
  if (job->leavers) job->leavers[0] = 0;
  PetscCall(WorkCreate(&job->domain, &job->extent, job->agents.count, &job->shape, levels, &w));
  const int64_t cells =
      job->ghosted ? (int64_t)w.wide[0] * w.wide[1] * w.wide[2] : MFGBlockCells(&job->domain);
  for (int group = job->level_begin / steps * steps; group < job->level_end; group += steps) {
    const int begin = PetscMax(group, job->level_begin);
    const int end = PetscMin(group + steps, job->level_end);
    for (int n = begin; n < end; n++)
      PetscCall(BuildTable(&w, job->ghosted, job->drift + (n - job->level_begin) * dim * cells,
                           w.table + (n - begin) * w.table_size));
    for (int64_t i = 0; i < job->agents.count; i += TILE)
      ScanTile(job, &w, i, (int)PetscMin(TILE, job->agents.count - i), begin, end);
    for (int n = begin; n < end && job->shape.order; n++)
      TileUnload(&w, w.padded + (n - begin) * w.padded_size,
                 (uint64_t *)job->moments + (n - job->level_begin) * w.boxes * w.terms);
  }
  WorkDestroy(&w);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode SampleCPU(const MFGSample *job) {
  const MFGBlock *b = &job->domain;
  const MFGAgentRange *a = &job->agents;
  const int64_t cells = MFGBlockCells(b);
  MFGAxis axis[MFG_MAX_DIM];

  PetscFunctionBeginUser;
  for (int k = 0; k < b->dim; k++) axis[k] = MFGAxisOf(b, k);
  for (int64_t i = 0; i < a->count; i++) {
    double fraction[MFG_MAX_DIM];
    int64_t cell = MFGSampleCell(b->dim, job->key.seed, job->stratified, MFGAgentId(a, i),
                                 job->total, job->cumulative, cells, fraction);
    for (int k = 0; k < b->dim; k++) {
      const int c = (int)(cell % b->cells[k]);
      cell /= b->cells[k];
      MFGAgentMoveTo(a, &axis[k], k, i,
                     b->lower[k] + (c + MFGInsideCell(fraction[k])) * b->spacing[k]);
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGAgentsOps MFG_VARIANT_NAME(MFGAgentsOps_CPU) = {.name = "cpu",
                                                         .sample = SampleCPU,
                                                         .scan = ScanCPU,
                                                         .deposit = DepositCPU,
                                                         .sort = MFG_VARIANT_NAME(MFGSort_CPU),
                                                         .sort_pays = PETSC_TRUE};
