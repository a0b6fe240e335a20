#include "solvers/multigrid.h"

#include <petsc/private/pcimpl.h>

#include "solvers/exchange.h"
#include "solvers/star.h"

enum { MAX_LEVELS = 40, DIRECT_CELLS = 32, GATHER_CELLS = 2048 };

typedef struct {
  MFGBlock box; /* of this rank */
  int divisions[MFG_MAX_DIM];
  MFGExchange exchange;       /* owned, as all below; NULL where the box is the whole level */
  double *width[MFG_MAX_DIM]; /* [cells], in cells of the finest level */
  MFGStarLevel star, transposed;
  MFGStarTransfer transfer; /* to the next level */
  PetscBool gather;         /* the next level has the same cells, whole on every rank */
  PetscMPIInt *counts, *displacements;
  float *packed; /* of all boxes, for a gather */
  float *b;      /* right side over d, [owned] */
  float *x, *y;  /* ghosted; beyond walls 0 */
  float *numbers, *transposed_numbers;
} Level;

typedef struct {
  const MFGGrid *grid; /* borrowed */
  const MFGStarOps *ops;
  PetscInt pairs;
  PetscReal weights[2];
  int count;
  Level level[MAX_LEVELS];
  double *inverse, *transposed_inverse; /* of the last level's matrix, [cells][cells] */
  PetscBool has_transposed;
} Multigrid;

static int64_t Ghosted(const MFGBlock *b) {
  int64_t n = 1;
  for (int k = 0; k < b->dim; k++) n *= b->count[k] + 2;
  return n;
}

static MFGBlock Whole(const MFGBlock *box) {
  MFGBlock whole = *box;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    whole.start[k] = 0;
    whole.count[k] = whole.cells[k];
  }
  return whole;
}

static PetscBool Periodic(const MFGBlock *b, int axis) {
  return (PetscBool)(b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC);
}

/* The two neighbours of cell i of an axis: wrapped; -1 for none. */
static int NeighbourCell(const MFGBlock *b, int axis, int i, int side) {
  const int n = b->cells[axis], j = side ? i + 1 : i - 1;
  if (n == 1) return -1;
  return j >= 0 && j < n ? j : Periodic(b, axis) ? (j + n) % n : -1;
}

/* Distance of the centres of two cells side by side. */
static double Distance(const Level *l, int axis, int i, int j) {
  return (l->width[axis][i] + l->width[axis][j]) / 2;
}

/* Ghosts of a box that is the whole level, corners included. */
static void Wrap(const MFGBlock *b, float *x) {
  const size_t row = b->count[0] + 2, rows = b->dim > 1 ? b->count[1] + 2 : 1;
  const size_t planes = b->dim > 2 ? b->count[2] + 2 : 1, plane = row * rows;

  for (size_t j = 0; j < rows * planes && Periodic(b, 0); j++) {
    x[j * row] = x[j * row + b->count[0]];
    x[j * row + row - 1] = x[j * row + 1];
  }
  for (size_t k = 0; k < planes && b->dim > 1 && Periodic(b, 1); k++) {
    float *p = x + k * plane;
    memcpy(p, p + b->count[1] * row, row * sizeof *p);
    memcpy(p + (rows - 1) * row, p + row, row * sizeof *p);
  }
  if (b->dim < 3 || !Periodic(b, 2)) return;
  memcpy(x, x + b->count[2] * plane, plane * sizeof *x);
  memcpy(x + (planes - 1) * plane, x + plane, plane * sizeof *x);
}

static PetscErrorCode FillGhosts(const Level *l, float *x) {
  const int dim = l->box.dim;
  const MFGHalo halo = {.width = {1, dim > 1, dim > 2}, .element = sizeof *x, .fields = 1};

  PetscFunctionBegin;
  if (l->exchange)
    PetscCall(MFGExchangeHalo(l->exchange, &halo, x));
  else
    Wrap(&l->box, x);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static int BoxCells(const Level *l, int axis, int box) {
  return l->box.cells[axis] / l->divisions[axis] + (box < l->box.cells[axis] % l->divisions[axis]);
}

/* Groups the cells of each box of an axis; returns their number, and their widths. */
static int GroupAxis(const Level *fine, int axis, int factor, double *width) {
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
static PetscBool ChooseAxes(const Level *l, const double diffusion[], int factor[]) {
  double strongest = 0, strength[MFG_MAX_DIM];

  for (int k = 0; k < l->box.dim; k++) {
    double length = 0;
    for (int i = 0; i < l->box.cells[k]; i++) length += l->width[k][i];
    const double mean = length / l->box.cells[k];
    strength[k] = diffusion[k] / (mean * mean);
    if (l->box.cells[k] > 1) strongest = PetscMax(strongest, strength[k]);
  }
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const PetscBool coarsen =
        (PetscBool)(k < l->box.dim && l->box.cells[k] > 1 && strength[k] >= strongest / 2);
    factor[k] = coarsen ? 2 : 1;
    if (coarsen && l->box.cells[k] / l->divisions[k] < 2) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static PetscErrorCode AllocateLevel(Level *l, const MFGStarLevel *given) {
  const MFGBlock *b = &l->box;
  const int64_t owned = MFGBlockOwned(b), ghosted = Ghosted(b);
  const int faces = 2 * b->dim;
  int64_t axes = 0;
  float *at;

  PetscFunctionBegin;
  for (int k = 0; k < MFG_MAX_DIM; k++) axes += b->count[k];
  PetscCall(PetscCalloc1((given ? 0 : faces + 1) * owned + owned + 2 * ghosted + 7 * axes +
                             b->count[0] + 2,
                         &l->numbers));
  at = l->numbers;
  l->b = at, at += owned;
  l->x = at, at += ghosted;
  l->y = at, at += ghosted;
  l->transfer.row = at, at += b->count[0] + 2;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    l->transfer.share[k] = at, at += 3 * b->count[k];
    l->transfer.slope[k] = at, at += 2 * b->count[k];
  }
  if (given) {
    l->star = *given;
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  l->star.block = *b;
  for (int s = 0; s < faces; s++) l->star.diffusion[s] = at, at += b->count[s / 2];
  for (int s = 0; s < faces; s++) l->star.c[s] = at, at += owned;
  l->star.d = at;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void FillDiffusion(Level *l, const double diffusion[]) {
  for (int s = 0; s < 2 * l->box.dim; s++)
    for (int i = 0; i < l->box.count[s / 2]; i++) {
      const int cell = l->box.start[s / 2] + i, j = NeighbourCell(&l->box, s / 2, cell, s % 2);
      ((float *)l->star.diffusion[s])[i] =
          j < 0 ? 0
                : (float)(diffusion[s / 2] / (l->width[s / 2][cell] * Distance(l, s / 2, cell, j)));
    }
}

/* Tables of one axis between a level and the next; `first` is the box's first cell and group. */
static void FillTransfer(Level *fine, const Level *coarse, int axis) {
  const int n = fine->box.count[axis], factor = fine->transfer.factor[axis];
  float *share = (float *)fine->transfer.share[axis], *slope = (float *)fine->transfer.slope[axis];
  const double *width = axis < fine->box.dim ? fine->width[axis] + fine->box.start[axis] : NULL;

  for (int i = 0; i < n; i++) {
    share[i] = share[n + i] = share[2 * n + i] = 1;
    slope[i] = slope[n + i] = 0;
  }
  if (factor == 1) return;
  for (int g = 0, i = 0; g < coarse->box.count[axis]; g++) {
    const int begin = i, end = g == coarse->box.count[axis] - 1 ? n : i + factor;
    const int group = coarse->box.start[axis] + g;
    const double total = coarse->width[axis][group];
    double center = -total / 2; /* of the cell, from that of the group */
    for (; i < end; i++) {
      const float part = (float)(width[i] / total);
      center += width[i] / 2;
      share[i] = part;
      /* A lone group has no neighbours to be coupled to. */
      share[n + i] = i == begin && coarse->box.cells[axis] > 1 ? part : 0;
      share[2 * n + i] = i == end - 1 && coarse->box.cells[axis] > 1 ? part : 0;
      for (int side = 0; side < 2; side++) {
        const int other = NeighbourCell(&coarse->box, axis, group, side);
        const double beyond = side ? center : -center;
        if (other >= 0 && beyond > 1e-9 * total)
          slope[side * n + i] = (float)(beyond / Distance(coarse, axis, group, other));
      }
      center += width[i] / 2;
    }
  }
}

static PetscErrorCode CreateExchange(const MFGGrid *grid, Level *l) {
  const MFGBlock whole = Whole(&l->box);
  PetscMPIInt rank;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_rank(grid->comm, &rank));
  l->box = MFGBoxOfRank(&whole, l->divisions, rank);
  PetscCall(MFGExchangeCreate(grid->comm, &MFGCarrier_Host, &whole, l->divisions, &l->exchange));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The next level: the same cells on every rank. */
static PetscErrorCode AddGathered(const MFGGrid *grid, Level *l, Level *next) {
  const MFGBlock whole = Whole(&l->box);
  PetscMPIInt size, sum = 0;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  PetscCall(
      PetscMalloc3(size, &l->counts, size, &l->displacements, MFGBlockCells(&whole), &l->packed));
  for (PetscMPIInt r = 0; r < size; sum += l->counts[r++]) {
    const MFGBlock box = MFGBoxOfRank(&whole, l->divisions, r);
    l->counts[r] = (PetscMPIInt)MFGBlockOwned(&box);
    l->displacements[r] = sum;
  }
  l->gather = PETSC_TRUE;
  next->box = whole;
  for (int k = 0; k < MFG_MAX_DIM; k++) next->divisions[k] = 1;
  for (int k = 0; k < whole.dim; k++) {
    PetscCall(PetscMalloc1(whole.cells[k], &next->width[k]));
    PetscCall(PetscArraycpy(next->width[k], l->width[k], whole.cells[k]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode AddCoarse(const MFGGrid *grid, Level *l, Level *next) {
  PetscFunctionBegin;
  next->box = Whole(&l->box);
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    next->divisions[k] = l->divisions[k];
    if (k >= l->box.dim) continue;
    PetscCall(PetscMalloc1(l->box.cells[k], &next->width[k]));
    next->box.cells[k] = GroupAxis(l, k, l->transfer.factor[k], next->width[k]);
  }
  next->box = Whole(&next->box);
  if (l->exchange) PetscCall(CreateExchange(grid, next));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CreateFinest(const MFGGrid *grid, const MFGStarLevel *scaled, Level *l) {
  PetscMPIInt size;

  PetscFunctionBegin;
  l->box = grid->block;
  PetscCallMPI(MPI_Comm_size(grid->comm, &size));
  for (int k = 0; k < MFG_MAX_DIM; k++) l->divisions[k] = size > 1 ? grid->divisions[k] : 1;
  for (int k = 0; k < l->box.dim; k++) {
    PetscCall(PetscMalloc1(l->box.cells[k], &l->width[k]));
    for (int i = 0; i < l->box.cells[k]; i++) l->width[k][i] = 1;
  }
  if (size > 1) PetscCall(CreateExchange(grid, l));
  PetscCall(AllocateLevel(l, scaled));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode CreateLevels(Multigrid *m, const MFGStarLevel *scaled,
                                   const double diffusion[]) {
  PetscFunctionBegin;
  PetscCall(CreateFinest(m->grid, scaled, &m->level[0]));
  for (m->count = 1; m->count < MAX_LEVELS; m->count++) {
    Level *l = &m->level[m->count - 1], *next = l + 1;
    const int64_t cells = MFGBlockCells(&l->box);
    const PetscBool possible = ChooseAxes(l, diffusion, l->transfer.factor);
    if (!l->exchange && cells <= DIRECT_CELLS) break;
    if (l->exchange && (!possible || cells <= GATHER_CELLS))
      PetscCall(AddGathered(m->grid, l, next));
    else
      PetscCall(AddCoarse(m->grid, l, next));
    PetscCall(AllocateLevel(next, NULL));
    FillDiffusion(next, diffusion);
    for (int k = 0; k < MFG_MAX_DIM && !l->gather; k++) FillTransfer(l, next, k);
  }
  const int64_t n = MFGBlockCells(&m->level[m->count - 1].box);
  PetscCall(PetscMalloc2(n * n, &m->inverse, n * n, &m->transposed_inverse));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCReset_Multigrid(PC pc) {
  Multigrid *m = (Multigrid *)pc->data;

  PetscFunctionBegin;
  for (int i = 0; i < m->count; i++) {
    Level *l = &m->level[i];
    PetscCall(MFGExchangeDestroy(&l->exchange));
    for (int k = 0; k < MFG_MAX_DIM; k++) PetscCall(PetscFree(l->width[k]));
    PetscCall(PetscFree3(l->counts, l->displacements, l->packed));
    PetscCall(PetscFree(l->numbers));
    PetscCall(PetscFree(l->transposed_numbers));
  }
  PetscCall(PetscFree2(m->inverse, m->transposed_inverse));
  PetscCall(PetscArrayzero(m->level, MAX_LEVELS));
  m->count = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Copies between a box's field and one with the same cells and more around them. */
static void CopyBox(const MFGBlock *b, float *owned, float *around, const ptrdiff_t stride[],
                    PetscBool out) {
  const size_t bytes = b->count[0] * sizeof *owned;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++, owned += b->count[0]) {
      float *line = around + j * stride[1] + k * stride[2];
      memcpy(out ? line : owned, out ? owned : line, bytes);
    }
}

static PetscErrorCode Gather(const Multigrid *m, const Level *l, const float *field, float *all) {
  const MFGBlock whole = Whole(&l->box);
  const ptrdiff_t stride[] = {1, whole.cells[0], (ptrdiff_t)whole.cells[0] * whole.cells[1]};
  PetscMPIInt size;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(m->grid->comm, &size));
  PetscCallMPI(MPI_Allgatherv(field, (PetscMPIInt)MFGBlockOwned(&l->box), MPI_FLOAT, l->packed,
                              l->counts, l->displacements, MPI_FLOAT, m->grid->comm));
  for (PetscMPIInt r = 0; r < size; r++) {
    const MFGBlock box = MFGBoxOfRank(&whole, l->divisions, r);
    CopyBox(&box, l->packed + l->displacements[r],
            all + box.start[0] + box.start[1] * stride[1] + box.start[2] * stride[2], stride,
            PETSC_TRUE);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Strides of a ghosted field and its first own cell. */
static ptrdiff_t GhostLayout(const MFGBlock *b, ptrdiff_t stride[MFG_MAX_DIM]) {
  ptrdiff_t first = 0;
  stride[0] = 1;
  for (int k = 1; k < MFG_MAX_DIM; k++) stride[k] = stride[k - 1] * (b->count[k - 1] + 2);
  for (int k = 0; k < b->dim; k++) first += stride[k];
  return first;
}

/* Inverse of the matrix of the last level by Gauss-Jordan, which an M-matrix allows without
 * pivots. */
static void Invert(const MFGStarLevel *A, double *inverse) {
  const MFGBlock *b = &A->block;
  const int n = (int)MFGBlockCells(b);
  double matrix[DIRECT_CELLS * DIRECT_CELLS] = {0};

  for (int i = 0; i < n; i++) {
    const int at[] = {i % b->cells[0], i / b->cells[0] % b->cells[1],
                      i / b->cells[0] / b->cells[1]};
    for (int s = 0, stride = 1; s < 2 * b->dim; stride *= s % 2 ? b->cells[s / 2] : 1, s++) {
      const int j = NeighbourCell(b, s / 2, at[s / 2], s % 2);
      if (j >= 0) matrix[i * n + i + (j - at[s / 2]) * stride] -= (double)A->d[i] * A->c[s][i];
    }
    matrix[i * n + i] += A->d[i];
    for (int j = 0; j < n; j++) inverse[i * n + j] = i == j;
  }
  for (int p = 0; p < n; p++) {
    const double pivot = 1 / matrix[p * n + p];
    for (int j = 0; j < n; j++) matrix[p * n + j] *= pivot;
    for (int j = 0; j < n; j++) inverse[p * n + j] *= pivot;
    for (int i = 0; i < n; i++) {
      const double factor = matrix[i * n + p];
      if (i == p || factor == 0) continue;
      for (int j = p; j < n; j++) matrix[i * n + j] -= factor * matrix[p * n + j];
      for (int j = 0; j < n; j++) inverse[i * n + j] -= factor * inverse[p * n + j];
    }
  }
}

static PetscErrorCode PCSetUp_Multigrid(PC pc) {
  Multigrid *m = (Multigrid *)pc->data;
  const MFGStarLevel *scaled;
  const MFGBackend *backend;
  const double *diffusion;

  PetscFunctionBegin;
  PetscCall(MFGStarMatrixGetGrid(pc->pmat, &m->grid, &diffusion));
  PetscCall(MFGStarMatrixGetScaled(pc->pmat, &scaled));
  if (!m->count) {
    PetscCall(MFGStarMatrixGetBackend(pc->pmat, &backend));
    m->ops = backend->star;
    PetscCall(CreateLevels(m, scaled, diffusion));
  }
  for (int i = 0; i < m->count - 1; i++) {
    const Level *l = &m->level[i], *next = l + 1;
    if (!l->gather) {
      PetscCall(m->ops->coarsen(&l->star, &l->transfer, &next->star));
      continue;
    }
    PetscCall(Gather(m, l, l->star.d, next->star.d));
    for (int s = 0; s < 2 * l->box.dim; s++) PetscCall(Gather(m, l, l->star.c[s], next->star.c[s]));
  }
  Invert(&m->level[m->count - 1].star, m->inverse);
  m->has_transposed = PETSC_FALSE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The transposed matrix acts on masses; its cycle is that of densities, mass over width w:
 * a_ji w_j / w_i in place of a_ij. */
static PetscErrorCode TransposeLevel(Level *l) {
  const MFGBlock *b = &l->box;
  const int64_t owned = MFGBlockOwned(b);
  ptrdiff_t stride[MFG_MAX_DIM];
  const ptrdiff_t first = GhostLayout(b, stride);

  PetscFunctionBegin;
  if (!l->transposed_numbers) {
    PetscCall(PetscMalloc1(2 * b->dim * owned, &l->transposed_numbers));
    l->transposed = l->star;
    for (int s = 0; s < 2 * b->dim; s++) l->transposed.c[s] = l->transposed_numbers + s * owned;
  }
  for (int s = 0; s < 2 * b->dim; s++) {
    const ptrdiff_t shift = s % 2 ? stride[s / 2] : -stride[s / 2];
    for (int pass = 0; pass < 2; pass++) {
      int64_t i = 0;
      for (int z = 0; z < b->count[2]; z++)
        for (int y = 0; y < b->count[1]; y++)
          for (int x = 0; x < b->count[0]; x++, i++) {
            const int cell[] = {x, y, z};
            const double w = l->width[s / 2][b->start[s / 2] + cell[s / 2]];
            const ptrdiff_t at = first + x + y * stride[1] + z * stride[2];
            if (pass == 0)
              l->x[at] = (float)(w * l->star.d[i] * l->star.c[s ^ 1][i]);
            else
              l->transposed.c[s][i] = (float)(l->x[at + shift] / (w * l->star.d[i]));
          }
      if (pass == 0) PetscCall(FillGhosts(l, l->x));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode TransposeLevels(Multigrid *m) {
  PetscFunctionBegin;
  for (int i = 0; i < m->count; i++) PetscCall(TransposeLevel(&m->level[i]));
  Invert(&m->level[m->count - 1].transposed, m->transposed_inverse);
  m->has_transposed = PETSC_TRUE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The last level: x = A^{-1} d b. */
static PetscErrorCode SolveDirectly(const Level *l, const double *inverse) {
  const MFGBlock *b = &l->box;
  const int n = (int)MFGBlockCells(b);
  ptrdiff_t stride[MFG_MAX_DIM];
  float solution[DIRECT_CELLS];

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int j = 0; j < n; j++) sum += inverse[i * n + j] * ((double)l->star.d[j] * l->b[j]);
    solution[i] = (float)sum;
  }
  const ptrdiff_t first = GhostLayout(b, stride);
  CopyBox(b, solution, l->x + first, stride, PETSC_TRUE);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Cycle(const Multigrid *m, int i, PetscBool transposed);

/* The next level has this one's cells, so that its solution has the ghosts too. */
static PetscErrorCode SolveGathered(const Multigrid *m, int i, PetscBool transposed) {
  const Level *l = &m->level[i], *next = l + 1;
  ptrdiff_t stride[MFG_MAX_DIM], far[MFG_MAX_DIM];

  PetscFunctionBegin;
  PetscCall(Gather(m, l, l->b, next->b));
  PetscCall(Cycle(m, i + 1, transposed));
  const ptrdiff_t first = GhostLayout(&l->box, stride);
  ptrdiff_t from = GhostLayout(&next->box, far);
  for (int k = 0; k < l->box.dim; k++) from += l->box.start[k] * far[k];
  for (int z = 0; z < l->box.count[2]; z++)
    for (int y = 0; y < l->box.count[1]; y++)
      memcpy(l->x + first + y * stride[1] + z * stride[2], next->x + from + y * far[1] + z * far[2],
             l->box.count[0] * sizeof *l->x);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* From b to x, whose ghosts are then not filled. */
static PetscErrorCode Cycle(const Multigrid *m, int i, PetscBool transposed) {
  const Level *l = &m->level[i], *next = l + 1;
  const MFGStarLevel *A = transposed ? &l->transposed : &l->star;
  const float first = (float)m->weights[0], second = (float)m->weights[1];

  PetscFunctionBegin;
  if (i == m->count - 1) {
    PetscCall(SolveDirectly(l, transposed ? m->transposed_inverse : m->inverse));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (l->gather) {
    PetscCall(SolveGathered(m, i, transposed));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  for (PetscInt p = 0; p < 2 * m->pairs; p++) {
    PetscCall(m->ops->smooth(A, first, l->b, p ? l->x : NULL, l->y));
    PetscCall(FillGhosts(l, l->y));
    PetscCall(m->ops->smooth(A, second, l->b, l->y, l->x));
    if (p < 2 * m->pairs - 1) PetscCall(FillGhosts(l, l->x));
    if (p != m->pairs - 1) continue;
    PetscCall(m->ops->restrict_residual(A, &l->transfer, &next->star, l->b, l->x, next->b));
    PetscCall(Cycle(m, i + 1, transposed));
    PetscCall(FillGhosts(next, next->x));
    PetscCall(m->ops->correct(A, &l->transfer, &next->star, next->x, l->x));
    PetscCall(FillGhosts(l, l->x));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Apply(PC pc, Vec right, Vec solution, PetscBool transposed) {
  Multigrid *m = (Multigrid *)pc->data;
  const Level *l = &m->level[0];
  const MFGBlock *b = &l->box;
  ptrdiff_t stride[MFG_MAX_DIM];
  const double *r;
  double *s;

  PetscFunctionBegin;
  if (transposed && !m->has_transposed) PetscCall(TransposeLevels(m));
  PetscCall(VecGetArrayRead(right, &r));
  const float *restrict d = l->star.d;
  for (int64_t i = 0; i < MFGBlockOwned(b); i++) l->b[i] = (float)r[i] / d[i];
  PetscCall(VecRestoreArrayRead(right, &r));
  PetscCall(Cycle(m, 0, transposed));
  PetscCall(VecGetArrayWrite(solution, &s));
  const float *x = l->x + GhostLayout(b, stride);
  double *line = s;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++, line += b->count[0])
      for (int i = 0; i < b->count[0]; i++) line[i] = x[j * stride[1] + k * stride[2] + i];
  PetscCall(VecRestoreArrayWrite(solution, &s));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApply_Multigrid(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, PETSC_FALSE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCApplyTranspose_Multigrid(PC pc, Vec right, Vec solution) {
  PetscFunctionBegin;
  PetscCall(Apply(pc, right, solution, PETSC_TRUE));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCSetFromOptions_Multigrid(PC pc, PetscOptionItems PetscOptionsObject) {
  Multigrid *m = (Multigrid *)pc->data;
  PetscInt n = 2;

  PetscFunctionBegin;
  PetscOptionsHeadBegin(PetscOptionsObject, "Multigrid options");
  PetscCall(PetscOptionsBoundedInt("-pc_multigrid_pairs", "Pairs of sweeps before and after", "",
                                   m->pairs, &m->pairs, NULL, 1));
  PetscCall(PetscOptionsRealArray("-pc_multigrid_weights", "Damping of the sweeps of a pair", "",
                                  m->weights, &n, NULL));
  PetscCheck(n == 0 || n == 2, PetscObjectComm((PetscObject)pc), PETSC_ERR_USER_INPUT,
             "-pc_multigrid_weights takes two numbers, not %d", (int)n);
  PetscOptionsHeadEnd();
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCView_Multigrid(PC pc, PetscViewer viewer) {
  const Multigrid *m = (const Multigrid *)pc->data;

  PetscFunctionBegin;
  PetscCall(PetscViewerASCIIPrintf(viewer, "  damping %g and %g, pairs %d\n", m->weights[0],
                                   m->weights[1], (int)m->pairs));
  for (int i = 0; i < m->count; i++) {
    const int *n = m->level[i].box.cells;
    PetscCall(PetscViewerASCIIPrintf(viewer, "  level %d: %d x %d x %d cells%s\n", i, n[0], n[1],
                                     n[2], m->level[i].exchange ? ", divided" : ""));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCDestroy_Multigrid(PC pc) {
  PetscFunctionBegin;
  PetscCall(PCReset_Multigrid(pc));
  PetscCall(PetscFree(pc->data));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode PCCreate_Multigrid(PC pc) {
  Multigrid *m;

  PetscFunctionBegin;
  PetscCall(PetscNew(&m));
  m->pairs = 1;
  m->weights[0] = 1.46;
  m->weights[1] = .6;
  pc->data = m;
  pc->ops->setup = PCSetUp_Multigrid;
  pc->ops->apply = PCApply_Multigrid;
  pc->ops->applytranspose = PCApplyTranspose_Multigrid;
  pc->ops->setfromoptions = PCSetFromOptions_Multigrid;
  pc->ops->view = PCView_Multigrid;
  pc->ops->reset = PCReset_Multigrid;
  pc->ops->destroy = PCDestroy_Multigrid;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridRegister(void) {
  PetscFunctionBeginUser;
  PetscCall(PCRegister("multigrid", PCCreate_Multigrid));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGMultigridDefaults(KSP ksp) {
  PC pc;

  PetscFunctionBeginUser;
  PetscCall(MFGMultigridRegister());
  PetscCall(KSPSetType(ksp, KSPFGMRES));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(PCSetType(pc, "multigrid"));
  PetscFunctionReturn(PETSC_SUCCESS);
}
