#include "solvers/multigrid_parts.h"

enum { GATHER_CELLS = 2048 };

static MFGBlock Whole(const MFGBlock *box) {
  MFGBlock whole = *box;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    whole.start[k] = 0;
    whole.count[k] = whole.cells[k];
  }
  return whole;
}

/* Distance of the centres of two cells side by side. */
static double Distance(const MFGMultigridLevel *l, int axis, int i, int j) {
  return (l->width[axis][i] + l->width[axis][j]) / 2;
}

static int BoxCells(const MFGMultigridLevel *l, int axis, int box) {
  const int cells = MFGMultigridBox(l)->cells[axis];
  return cells / l->divisions[axis] + (box < cells % l->divisions[axis]);
}

/* Groups the cells of each box of an axis; returns their number, and their widths. */
static int GroupAxis(const MFGMultigridLevel *fine, int axis, int factor, double *width) {
  int groups = 0, cell = 0;
  for (int q = 0; q < fine->divisions[axis]; q++) {
    const int n = BoxCells(fine, axis, q);
    for (int i = 0; i < n; i++, cell++) {
      if (i % factor == 0) width[groups++] = 0;
      width[groups - 1] += fine->width[axis][cell];
    }
  }
  return groups;
}

/* The axes to coarsen, by their diffusion; false where the boxes are too small for it. */
static PetscBool ChooseAxes(const MFGMultigridLevel *l, const double diffusion[], int factor[]) {
  const MFGBlock *b = MFGMultigridBox(l);
  double strongest = 0, strength[MFG_MAX_DIM];

  for (int k = 0; k < b->dim; k++) {
    double length = 0;
    for (int i = 0; i < b->cells[k]; i++) length += l->width[k][i];
    const double mean = length / b->cells[k];
    strength[k] = diffusion[k] / (mean * mean);
    if (b->cells[k] > 1) strongest = PetscMax(strongest, strength[k]);
  }
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const PetscBool coarsen =
        (PetscBool)(k < b->dim && b->cells[k] > 1 && strength[k] >= strongest / 2);
    factor[k] = coarsen ? 2 : 1;
    if (coarsen && b->cells[k] / l->divisions[k] < 2) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* Floats of the constant tables along the axes; see PlaceTables. */
static int64_t TableCount(const MFGBlock *b) {
  return 8 * ((int64_t)b->count[0] + b->count[1] + b->count[2]);
}

static void PlaceTables(MFGMultigridLevel *l, float *at) {
  MFGStarStage *s = &l->stage[0];

  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int n = s->level.block.count[k];
    s->level.diffusion[2 * k] = at, at += n;
    s->level.diffusion[2 * k + 1] = at, at += n;
    s->level.width[k] = at, at += n;
    s->transfer.share[k] = at, at += 3 * n;
    s->transfer.slope[k] = at, at += 2 * n;
  }
}

/* In front of what may be summed over the ranks as words of eight bytes. */
static int64_t Even(int64_t n) {
  return n + n % 2;
}

/* Tables on the host for now. */
static PetscErrorCode AllocateLevel(const MFGMultigrid *m, const MFGStarLevel *given,
                                    MFGMultigridLevel *l) {
  const MFGMemoryOps *memory = m->backend->memory;
  MFGStarStage *s = &l->stage[0];
  const MFGBlock *b = &s->level.block;
  const int64_t owned = MFGBlockOwned(b), ghosted = MFGGhostedCells(b);
  const int64_t fields = given ? 0 : 2 * b->dim + 1;
  const int64_t count = Even(fields * owned) + Even(owned) + 2 * ghosted + b->count[0] + 2;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(TableCount(b), &l->tables));
  PlaceTables(l, l->tables);
  PetscCall(MFGMemoryAllocate(memory, count, sizeof(float), &l->numbers));
  PetscCall(MFGMemoryZero(memory, count, sizeof(float), l->numbers));
  s->level.d = given ? given->d : l->numbers;
  for (int k = 0; k < 2 * b->dim; k++) s->level.c[k] = s->level.d + (1 + k) * owned;
  s->b = l->numbers + Even(fields * owned);
  s->x = s->b + Even(owned);
  s->y = s->x + ghosted;
  s->transfer.row = s->y + ghosted;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void FillWidths(MFGMultigridLevel *l, const double diffusion[]) {
  const MFGStarLevel *level = &l->stage[0].level;
  const MFGBlock *b = &level->block;

  for (int k = 0; k < b->dim; k++)
    for (int i = 0; i < b->count[k]; i++) {
      const int cell = b->start[k] + i;
      const double width = l->width[k][cell];
      ((float *)level->width[k])[i] = (float)width;
      for (int side = 0; side < 2; side++) {
        const int j = MFGStarNeighbourCell(b, k, cell, side);
        ((float *)level->diffusion[2 * k + side])[i] =
            j < 0 ? 0 : (float)(diffusion[k] / (width * Distance(l, k, cell, j)));
      }
    }
}

/* Tables of one axis between a level and the next; `first` is the box's first cell and group. */
static void FillTransfer(MFGMultigridLevel *fine, const MFGMultigridLevel *coarse, int axis) {
  const MFGStarTransfer *t = &fine->stage[0].transfer;
  const MFGBlock *b = MFGMultigridBox(fine), *group_box = MFGMultigridBox(coarse);
  const int n = b->count[axis], factor = t->factor[axis];
  float *share = (float *)t->share[axis], *slope = (float *)t->slope[axis];
  const double *width = axis < b->dim ? fine->width[axis] + b->start[axis] : NULL;

  for (int i = 0; i < n; i++) {
    share[i] = share[n + i] = share[2 * n + i] = 1;
    slope[i] = slope[n + i] = 0;
  }
  if (factor == 1) return;
  for (int g = 0, i = 0; g < group_box->count[axis]; g++) {
    const int begin = i, end = g == group_box->count[axis] - 1 ? n : i + factor;
    const int group = group_box->start[axis] + g;
    const double total = coarse->width[axis][group];
    double center = -total / 2; /* of the cell, from that of the group */
    for (; i < end; i++) {
      const float part = (float)(width[i] / total);
      center += width[i] / 2;
      share[i] = part;
      /* A lone group has no neighbours to be coupled to. */
      share[n + i] = i == begin && group_box->cells[axis] > 1 ? part : 0;
      share[2 * n + i] = i == end - 1 && group_box->cells[axis] > 1 ? part : 0;
      for (int side = 0; side < 2; side++) {
        const int other = MFGStarNeighbourCell(group_box, axis, group, side);
        const double beyond = side ? center : -center;
        if (other >= 0 && beyond > 1e-9 * total)
          slope[side * n + i] = (float)(beyond / Distance(coarse, axis, group, other));
      }
      center += width[i] / 2;
    }
  }
}

/* The boxes of a level whose whole box is set. */
static PetscErrorCode Divide(const MFGMultigrid *m, MFGMultigridLevel *l) {
  MFGBlock *box = &l->stage[0].level.block;
  const MFGBlock whole = *box;
  PetscMPIInt rank;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_rank(m->grid->comm, &rank));
  *box = MFGBoxOfRank(&whole, l->divisions, rank);
  PetscCall(
      MFGExchangeCreate(m->grid->comm, m->backend->carrier, &whole, l->divisions, &l->exchange));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The same cells, all of them on every rank. */
static PetscErrorCode AddGathered(MFGMultigridLevel *l, MFGMultigridLevel *next) {
  const MFGBlock whole = Whole(MFGMultigridBox(l));

  PetscFunctionBegin;
  l->gather = PETSC_TRUE;
  next->stage[0].level.block = whole;
  for (int k = 0; k < MFG_MAX_DIM; k++) next->divisions[k] = 1;
  for (int k = 0; k < whole.dim; k++) {
    PetscCall(PetscMalloc1(whole.cells[k], &next->width[k]));
    PetscCall(PetscArraycpy(next->width[k], l->width[k], whole.cells[k]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AddCoarse(const MFGMultigrid *m, MFGMultigridLevel *l,
                                MFGMultigridLevel *next) {
  MFGBlock *box = &next->stage[0].level.block;

  PetscFunctionBegin;
  *box = *MFGMultigridBox(l);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    next->divisions[k] = l->divisions[k];
    if (k >= box->dim) continue;
    PetscCall(PetscMalloc1(box->cells[k], &next->width[k]));
    box->cells[k] = GroupAxis(l, k, l->stage[0].transfer.factor[k], next->width[k]);
  }
  *box = Whole(box);
  if (l->exchange) PetscCall(Divide(m, next));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AddFinest(MFGMultigrid *m, const MFGStarLevel *scaled,
                                const double diffusion[]) {
  MFGMultigridLevel *l = &m->level[0];
  MFGBlock *box = &l->stage[0].level.block;
  PetscMPIInt size;

  PetscFunctionBegin;
  *box = Whole(&m->grid->block);
  PetscCallMPI(MPI_Comm_size(m->grid->comm, &size));
  for (int k = 0; k < MFG_MAX_DIM; k++) l->divisions[k] = size > 1 ? m->grid->divisions[k] : 1;
  for (int k = 0; k < box->dim; k++) {
    PetscCall(PetscMalloc1(box->cells[k], &l->width[k]));
    for (int i = 0; i < box->cells[k]; i++) l->width[k][i] = 1;
  }
  if (size > 1) PetscCall(Divide(m, l));
  PetscCall(AllocateLevel(m, scaled, l));
  FillWidths(l, diffusion);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AddLevels(MFGMultigrid *m, const double diffusion[]) {
  PetscFunctionBegin;
  for (m->count = 1; m->count < MFG_MULTIGRID_LEVELS; m->count++) {
    MFGMultigridLevel *l = &m->level[m->count - 1], *next = l + 1;
    const int64_t cells = MFGBlockCells(MFGMultigridBox(l));
    const PetscBool possible = ChooseAxes(l, diffusion, l->stage[0].transfer.factor);
    if (!l->exchange && cells <= MFG_STAR_DIRECT_CELLS) break;
    if (l->exchange && (!possible || cells <= GATHER_CELLS))
      PetscCall(AddGathered(l, next));
    else
      PetscCall(AddCoarse(m, l, next));
    PetscCall(AllocateLevel(m, NULL, next));
    FillWidths(next, diffusion);
    for (int k = 0; k < MFG_MAX_DIM && !l->gather; k++) FillTransfer(l, next, k);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The tables of a level, now complete, into the backend's memory. */
static PetscErrorCode MoveTables(const MFGMultigrid *m, MFGMultigridLevel *l) {
  const MFGMemoryOps *memory = m->backend->memory;
  const int64_t count = TableCount(MFGMultigridBox(l));
  float *host = l->tables;

  PetscFunctionBegin;
  PetscCall(MFGMemoryAllocate(memory, count, sizeof *host, &l->tables));
  PetscCall(MFGMemoryCopy(memory, count, sizeof *host, MFG_COPY_FROM_HOST, host, l->tables));
  PetscCall(PetscFree(host));
  PlaceTables(l, l->tables);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Whether the levels from i on can be done in one go. */
static PetscBool CanFinish(const MFGMultigrid *m, int i) {
  return (PetscBool)(!m->level[i].exchange &&
                     MFGBlockCells(MFGMultigridBox(&m->level[i])) <=
                         m->backend->star->finish_cells &&
                     m->count - i <= MFG_STAR_FINISH_LEVELS);
}

/* The stages that are done in one go, as one array. */
static PetscErrorCode GatherStages(MFGMultigrid *m, int transposed) {
  const MFGMemoryOps *memory = m->backend->memory;
  const int64_t count = m->count - m->finish;
  MFGStarStage *stage;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(count, &stage));
  for (int i = 0; i < count; i++) stage[i] = m->level[m->finish + i].stage[transposed];
  PetscCall(MFGMemoryAllocate(memory, count, sizeof *stage, &m->last[transposed]));
  PetscCall(
      MFGMemoryCopy(memory, count, sizeof *stage, MFG_COPY_FROM_HOST, stage, m->last[transposed]));
  PetscCall(PetscFree(stage));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridCreateLevels(MFGMultigrid *m, const MFGStarLevel *scaled,
                                        const double diffusion[]) {
  PetscFunctionBegin;
  PetscCall(AddFinest(m, scaled, diffusion));
  PetscCall(AddLevels(m, diffusion));
  for (int i = 0; i < m->count; i++) PetscCall(MoveTables(m, &m->level[i]));
  const int64_t n = MFGBlockCells(MFGMultigridBox(&m->level[m->count - 1]));
  for (int t = 0; t < 2; t++)
    PetscCall(MFGMemoryAllocate(m->backend->memory, n * n, sizeof(double), &m->inverse[t]));
  for (m->finish = m->count - 1; m->finish > 0 && CanFinish(m, m->finish - 1);) m->finish--;
  PetscCall(GatherStages(m, 0));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ForgetRecordings(MFGMultigrid *m) {
  PetscFunctionBegin;
  for (int i = 0; i < MFG_MULTIGRID_WORKS; i++)
    PetscCall(MFGRecordingDestroy(m->backend->memory, &m->recording[i]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The ghosts of all faces will be exchanged at a time, in larger buffers than those recorded. */
PetscErrorCode MFGMultigridReserveTransposed(MFGMultigrid *m) {
  const MFGMemoryOps *memory = m->backend->memory;
  const int faces = 2 * m->grid->block.dim;
  int64_t most = 0;

  PetscFunctionBegin;
  if (m->work) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(ForgetRecordings(m));
  for (int i = 0; i < m->count; i++) {
    MFGMultigridLevel *l = &m->level[i];
    const int64_t owned = MFGBlockOwned(MFGMultigridBox(l));
    PetscCall(MFGMemoryAllocate(memory, faces * owned, sizeof(float), &l->transposed));
    l->stage[1] = l->stage[0];
    for (int s = 0; s < faces; s++) l->stage[1].level.c[s] = l->transposed + s * owned;
    most = PetscMax(most, faces * MFGGhostedCells(MFGMultigridBox(l)));
  }
  PetscCall(MFGMemoryAllocate(memory, most, sizeof(float), &m->work));
  PetscCall(GatherStages(m, 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridDestroyLevels(MFGMultigrid *m) {
  PetscFunctionBegin;
  if (!m->count) PetscFunctionReturn(PETSC_SUCCESS);
  const MFGMemoryOps *memory = m->backend->memory;
  PetscCall(ForgetRecordings(m));
  for (int i = 0; i < m->count; i++) {
    MFGMultigridLevel *l = &m->level[i];
    PetscCall(MFGExchangeDestroy(&l->exchange));
    for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(PetscFree(l->width[k]));
    PetscCall(MFGMemoryFree(memory, &l->tables));
    PetscCall(MFGMemoryFree(memory, &l->numbers));
    PetscCall(MFGMemoryFree(memory, &l->transposed));
  }
  for (int t = 0; t < 2; t++) {
    PetscCall(MFGMemoryFree(memory, &m->last[t]));
    PetscCall(MFGMemoryFree(memory, &m->inverse[t]));
  }
  PetscCall(MFGMemoryFree(memory, &m->work));
  PetscCall(MFGVectorRoomDestroy(m->backend, &m->right));
  PetscCall(MFGVectorRoomDestroy(m->backend, &m->solution));
  PetscCall(PetscArrayzero(m->level, MFG_MULTIGRID_LEVELS));
  m->count = 0;
  m->has_transposed = PETSC_FALSE;
  PetscFunctionReturn(PETSC_SUCCESS);
}
