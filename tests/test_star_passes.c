/* The operations on star matrices and the passes of a multigrid cycle, each against its definition,
 * on all levels: 1D to 3D, odd counts, cells that are not alike, walls on some axes. On the CPU
 * and, in the memory of the device, by the CUDA backend. */
#include "tests/star_fixture.h"

#include "solvers/multigrid_parts.h"

/* In single precision, of numbers of the order of one. */
#define BOUND 3e-6

enum { ARRAYS_MOST = 64 };

static struct {
  int count;
  void *array[ARRAYS_MOST];
} fetched;

static void *Fetch(const void *there, int64_t count, size_t size) {
  void *here = malloc(count * size);
  MFG_OK(MFGMemoryCopy(MFGTestMemory()->memory, count, size, MFG_COPY_TO_HOST, there, here));
  assert_true(fetched.count < ARRAYS_MOST);
  return fetched.array[fetched.count++] = here;
}

static float *FetchFloats(const float *there, int64_t count) {
  return Fetch(there, count, sizeof *there);
}

static void FreeFetched(void) {
  while (fetched.count) free(fetched.array[--fetched.count]);
}

static void Put(const float *here, int64_t count, float *there) {
  MFG_OK(
      MFGMemoryCopy(MFGTestMemory()->memory, count, sizeof *here, MFG_COPY_FROM_HOST, here, there));
}

static MFGStarStage FetchStage(const MFGStarStage *there) {
  MFGStarStage s = *there;
  const MFGBlock *b = &s.level.block;
  for (int k = 0; k < 2 * b->dim; k++) {
    s.level.c[k] = FetchFloats(s.level.c[k], MFGBlockOwned(b));
    s.level.diffusion[k] = FetchFloats(s.level.diffusion[k], b->count[k / 2]);
  }
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s.level.width[k] = FetchFloats(s.level.width[k], b->count[k]);
    s.transfer.share[k] = FetchFloats(s.transfer.share[k], 3 * b->count[k]);
    s.transfer.slope[k] = FetchFloats(s.transfer.slope[k], 2 * b->count[k]);
  }
  s.level.d = FetchFloats(s.level.d, MFGBlockOwned(b));
  return s;
}

typedef struct {
  MFGGrid grid;
  Mat A;
  MFGMultigrid *m;
} Levels;

static void Open(Levels *l, int dim, const int cells[], const double upper[], const int walls[],
                 double speed) {
  const MFGBackend *backend = MFGTestMemory();
  const MFGStarLevel *scaled;
  const double *diffusion;
  Grid(PETSC_COMM_SELF, dim, cells, upper, walls, &l->grid);
  double *values = NewField((2 * dim + 1) * MFGBlockOwned(&l->grid.block));
  Values(&l->grid, .5, .002, speed, 0, values);
  MFG_OK(MFGStarMatrixCreate(&l->grid, backend, "p_", &l->A));
  MFG_OK(MFGStarMatrixSetDiffusion(l->A, .002));
  SetValues(&l->grid, backend, l->A, values);
  MFG_OK(PetscFree(values));
  MFG_OK(MFGStarMatrixGetScaled(l->A, &scaled));
  MFG_OK(PetscNew(&l->m));
  l->m->backend = backend;
  MFG_OK(MFGStarMatrixGetGrid(l->A, &l->m->grid, &diffusion));
  MFG_OK(MFGMultigridCreateLevels(l->m, scaled, diffusion));
  MFG_OK(MFGMultigridDo(l->m, MFG_MULTIGRID_COARSEN));
}

static void Close(Levels *l) {
  MFG_OK(MFGMultigridDestroyLevels(l->m));
  MFG_OK(PetscFree(l->m));
  MFG_OK(MatDestroy(&l->A));
  MFG_OK(MFGGridDestroy(&l->grid));
}

/* Runs a check on pairs of a level and the next one. */
static void ForAllLevels(void (*check)(const MFGStarOps *ops, const MFGStarStage *s,
                                       const MFGStarStage *next)) {
  static const struct {
    int dim, cells[3];
    double upper[3];
    int walls[3];
  } cases[] = {{1, {77, 1, 1}, {1, 1, 1}, {0}},        {1, {64, 1, 1}, {2, 1, 1}, {1}},
               {2, {13, 9, 1}, {1, .6, 1}, {0, 1, 0}}, {2, {16, 8, 1}, {1, 1, 1}, {1, 0, 0}},
               {2, {12, 12, 1}, {1, 1, 1}, {0, 0, 0}}, {3, {7, 6, 5}, {1, 1, .4}, {0, 1, 0}},
               {3, {4, 8, 4}, {.5, 1, .5}, {0, 0, 0}}, {3, {5, 5, 6}, {1, 1, 1}, {1, 0, 1}}};
  MFG_OK(PetscOptionsSetValue(NULL, "-p_mat_type", "star"));
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    Levels l;
    Open(&l, cases[k].dim, cases[k].cells, cases[k].upper, cases[k].walls, .3);
    assert_true(l.m->count > 1);
    for (int i = 0; i < l.m->count - 1; i++) {
      check(MFGTestMemory()->star, &l.m->level[i].stage[0], &l.m->level[i + 1].stage[0]);
      FreeFetched();
    }
    Close(&l);
  }
}

static void CellAt(const MFGBlock *b, int64_t i, int at[]) {
  at[0] = (int)(i % b->count[0]);
  at[1] = (int)(i / b->count[0] % b->count[1]);
  at[2] = (int)(i / b->count[0] / b->count[1]);
}

/* The neighbour s of a cell in a box that is the whole grid, itself across a wall. */
static int64_t Beside(const MFGBlock *b, const int at[], int s) {
  int to[] = {at[0], at[1], at[2]};
  to[s / 2] += s % 2 ? 1 : -1;
  return Neighbour(b, to[0], to[1], to[2]);
}

static ptrdiff_t Place(const MFGBlock *b, const int at[]) {
  const ptrdiff_t row = b->count[0] + 2, plane = b->dim > 1 ? row * (b->count[1] + 2) : 0;
  return at[0] + 1 + (b->dim > 1 ? (at[1] + 1) * row : 0) + (b->dim > 2 ? (at[2] + 1) * plane : 0);
}

/* Ghosted noise, wrapped round periodic axes, 0 beyond walls; and the cells alone, if wanted. */
static float *NoiseField(const MFGBlock *b, int what, double *owned) {
  const int rim[] = {1, b->dim > 1, b->dim > 2};
  float *field = calloc(MFGGhostedCells(b), sizeof *field);
  for (int z = -rim[2]; z < b->count[2] + rim[2]; z++)
    for (int y = -rim[1]; y < b->count[1] + rim[1]; y++)
      for (int x = -1; x <= b->count[0]; x++) {
        const int at[] = {x, y, z};
        int to[MFG_MAX_DIM], beyond = 0, inside = 1;
        for (int k = 0; k < MFG_MAX_DIM; k++) {
          const int n = b->cells[k], out = at[k] < 0 || at[k] >= n;
          to[k] = (at[k] + n) % n;
          beyond |= out && b->boundary[k][0] == MFG_BOUNDARY_NOFLUX;
          inside &= !out;
        }
        const float value = beyond ? 0 : (float)Noise(b, to[0], to[1], to[2], what) - .5f;
        field[Place(b, at)] = value;
        if (inside && owned) owned[(z * b->count[1] + y) * b->count[0] + x] = value;
      }
  assert_true(fetched.count < ARRAYS_MOST);
  return fetched.array[fetched.count++] = field;
}

/* A ghosted field has these cells, and ghosts like those of noise. */
static void ExpectField(const MFGBlock *b, const double *owned, const float *field) {
  const int rim[] = {1, b->dim > 1, b->dim > 2};
  for (int z = -rim[2]; z < b->count[2] + rim[2]; z++)
    for (int y = -rim[1]; y < b->count[1] + rim[1]; y++)
      for (int x = -1; x <= b->count[0]; x++) {
        const int at[] = {x, y, z};
        int to[MFG_MAX_DIM], beyond = 0;
        for (int k = 0; k < MFG_MAX_DIM; k++) {
          const int n = b->cells[k];
          to[k] = (at[k] + n) % n;
          beyond |= (at[k] < 0 || at[k] >= n) && b->boundary[k][0] == MFG_BOUNDARY_NOFLUX;
        }
        MFG_ASSERT_NEAR(field[Place(b, at)],
                        beyond ? 0 : owned[(to[2] * b->count[1] + to[1]) * b->count[0] + to[0]],
                        BOUND);
      }
}

/* b - x + sum c x at a cell. */
static double Defect(const MFGStarLevel *l, int64_t i, const float *b, const double *x) {
  int at[MFG_MAX_DIM];
  double defect = b[i] - x[i];
  CellAt(&l->block, i, at);
  for (int s = 0; s < 2 * l->block.dim; s++)
    defect += (double)l->c[s][i] * x[Beside(&l->block, at, s)];
  return defect;
}

static float *RightSide(const MFGBlock *b) {
  float *right = malloc(MFGBlockOwned(b) * sizeof *right);
  int at[MFG_MAX_DIM];
  for (int64_t i = 0; i < MFGBlockOwned(b); i++) {
    CellAt(b, i, at);
    right[i] = (float)Noise(b, at[0], at[1], at[2], 5);
  }
  return fetched.array[fetched.count++] = right;
}

/* next = x + w (b - D^{-1} A x), from x and from 0. */
static void CheckSmooth(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGBlock *b = &s->level.block;
  const int64_t owned = MFGBlockOwned(b), ghosted = MFGGhostedCells(b);
  const MFGStarStage h = FetchStage(s);
  double *x = NewField(owned), *expected = NewField(owned);
  const float *right = RightSide(b), *field = NoiseField(b, 1, x);
  (void)next;
  Put(right, owned, s->b);
  Put(field, ghosted, s->x);
  MFG_OK(ops->smooth(&s->level, .75f, s->b, s->x, s->y));
  for (int64_t i = 0; i < owned; i++) expected[i] = x[i] + .75 * Defect(&h.level, i, right, x);
  ExpectField(b, expected, FetchFloats(s->y, ghosted));
  MFG_OK(ops->smooth(&s->level, .75f, s->b, NULL, s->y));
  for (int64_t i = 0; i < owned; i++) expected[i] = .75 * right[i];
  ExpectField(b, expected, FetchFloats(s->y, ghosted));
  MFG_OK(PetscFree(x));
  MFG_OK(PetscFree(expected));
}

static int64_t GroupOf(const MFGStarStage *s, const MFGBlock *coarse, const int at[]) {
  const int *f = s->transfer.factor;
  return ((int64_t)(at[2] / f[2]) * coarse->count[1] + at[1] / f[1]) * coarse->count[0] +
         at[0] / f[0];
}

/* A cell's share of its group's volume, from the widths. */
static double ShareOf(const MFGStarStage *s, const int at[]) {
  double share = 1;
  for (int k = 0; k < s->level.block.dim; k++) {
    const int f = s->transfer.factor[k], first = at[k] / f * f;
    double all = 0;
    for (int i = first; i < first + f && i < s->level.block.count[k]; i++)
      all += s->level.width[k][i];
    share *= s->level.width[k][at[k]] / all;
  }
  return share;
}

/* Averages over the groups, by volume, of d times the defect. */
static void CheckRestrict(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGBlock *b = &s->level.block, *groups = &next->level.block;
  const int64_t owned = MFGBlockOwned(b), coarse = MFGBlockOwned(groups);
  const MFGStarStage h = FetchStage(s);
  const float *d = FetchFloats(next->level.d, coarse);
  double *x = NewField(owned), *sum = NewField(coarse);
  const float *right = RightSide(b), *field = NoiseField(b, 2, x);
  int at[MFG_MAX_DIM];
  Put(right, owned, s->b);
  Put(field, MFGGhostedCells(b), s->x);
  MFG_OK(ops->restrict_residual(&s->level, &s->transfer, &next->level, s->b, s->x, next->b));
  for (int64_t i = 0; i < owned; i++) {
    CellAt(b, i, at);
    sum[GroupOf(s, groups, at)] += ShareOf(&h, at) * h.level.d[i] * Defect(&h.level, i, right, x);
  }
  const float *got = FetchFloats(next->b, coarse);
  for (int64_t g = 0; g < coarse; g++) MFG_ASSERT_NEAR(got[g], sum[g] / d[g], 4 * BOUND);
  MFG_OK(PetscFree(x));
  MFG_OK(PetscFree(sum));
}

/* The centre of cell i of an axis, in cells of the finest level. */
static double CenterOf(const float *width, int i) {
  double x = width[i] / 2.;
  for (int j = 0; j < i; j++) x += width[j];
  return x;
}

/* Weights of the groups below, at and above a cell's on an axis: linear in between of the centres
 * of the groups; beside a wall the group's own. */
static void Weights(const MFGStarStage *s, const MFGStarStage *next, int axis, int i,
                    double weight[3]) {
  const MFGBlock *groups = &next->level.block;
  const int n = groups->count[axis], g = i / s->transfer.factor[axis];
  const float *wide = next->level.width[axis];
  const double x = CenterOf(s->level.width[axis], i) - CenterOf(wide, g);
  weight[0] = weight[2] = 0;
  if (axis < groups->dim && x != 0 && n > 1) {
    const int other = x < 0 ? (g + n - 1) % n : (g + 1) % n;
    const int wrapped = x < 0 ? other > g : other < g;
    if (!wrapped || groups->boundary[axis][0] == MFG_BOUNDARY_PERIODIC)
      weight[x < 0 ? 0 : 2] = fabs(x) / ((wide[g] + wide[other]) / 2);
  }
  weight[1] = 1 - weight[0] - weight[2];
}

/* x + the coarse field, interpolated linearly on each axis. */
static void CheckCorrect(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGBlock *b = &s->level.block, *groups = &next->level.block;
  const MFGStarStage h = FetchStage(s), far = FetchStage(next);
  const int64_t owned = MFGBlockOwned(b), ghosted = MFGGhostedCells(b);
  double *x = NewField(owned);
  const float *field = NoiseField(b, 3, x), *from = NoiseField(groups, 4, NULL);
  int at[MFG_MAX_DIM];
  Put(field, ghosted, s->x);
  Put(from, MFGGhostedCells(groups), next->x);
  MFG_OK(ops->correct(&s->level, &s->transfer, &next->level, next->x, s->x));
  for (int64_t i = 0; i < owned; i++) {
    double w[MFG_MAX_DIM][3];
    CellAt(b, i, at);
    for (int k = 0; k < MFG_MAX_DIM; k++) Weights(&h, &far, k, at[k], w[k]);
    for (int q = 0; q < 27; q++) {
      const int way[] = {q % 3, q / 3 % 3, q / 9};
      const double weight = w[0][way[0]] * w[1][way[1]] * w[2][way[2]];
      const int group[] = {at[0] / s->transfer.factor[0] + way[0] - 1,
                           at[1] / s->transfer.factor[1] + way[1] - 1,
                           at[2] / s->transfer.factor[2] + way[2] - 1};
      if (weight != 0) x[i] += weight * from[Place(groups, group)];
    }
  }
  ExpectField(b, x, FetchFloats(s->x, ghosted));
  MFG_OK(PetscFree(x));
}

/* Coarse row sums are averages; so is what is not diffusion over the cells at a face of the group,
 * per width of the group; diffusion is nu over the width times the distance of the centres. */
static void CheckCoarsen(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGBlock *b = &s->level.block, *groups = &next->level.block;
  const MFGStarStage h = FetchStage(s), far = FetchStage(next);
  const int64_t owned = MFGBlockOwned(b), coarse = MFGBlockOwned(groups);
  double *rest = NewField(coarse), *face = NewField(coarse);
  int at[MFG_MAX_DIM];
  (void)ops;
  for (int64_t i = 0; i < owned; i++) {
    double part = 1;
    CellAt(b, i, at);
    for (int k = 0; k < 2 * b->dim; k++) part -= h.level.c[k][i];
    rest[GroupOf(s, groups, at)] += ShareOf(&h, at) * h.level.d[i] * part;
  }
  for (int k = 0; k < 2 * b->dim; k++) {
    const int axis = k / 2, f = s->transfer.factor[axis], n = b->count[axis];
    memset(face, 0, coarse * sizeof *face);
    for (int64_t i = 0; i < owned; i++) {
      CellAt(b, i, at);
      const int beyond = at[axis] + (k % 2 ? 1 : -1), g = at[axis] / f;
      const int outer = beyond < 0 || beyond >= n || beyond / f != g;
      if (outer && groups->count[axis] > 1)
        face[GroupOf(s, groups, at)] += ShareOf(&h, at) * ((double)h.level.d[i] * h.level.c[k][i] -
                                                           h.level.diffusion[k][at[axis]]);
    }
    for (int64_t g = 0; g < coarse; g++) {
      CellAt(groups, g, at);
      const double expected = face[g] + far.level.diffusion[k][at[axis]];
      MFG_ASSERT_NEAR((double)far.level.d[g] * far.level.c[k][g], expected,
                      4 * BOUND * far.level.d[g]);
      rest[g] += expected;
    }
  }
  for (int64_t g = 0; g < coarse; g++)
    MFG_ASSERT_NEAR(far.level.d[g], rest[g], 4 * BOUND * rest[g]);
  MFG_OK(PetscFree(rest));
  MFG_OK(PetscFree(face));
}

/* w_i d_i c^T_s,i = w_j d_j c_-s,j; nothing across a wall. */
static void CheckTranspose(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGMemoryOps *memory = MFGTestMemory()->memory;
  const MFGBlock *b = &s->level.block;
  const int64_t owned = MFGBlockOwned(b), ghosted = 2 * b->dim * MFGGhostedCells(b);
  const MFGStarStage h = FetchStage(s);
  MFGStarLevel transposed = s->level;
  float *c, *work;
  int at[MFG_MAX_DIM], there[MFG_MAX_DIM];
  (void)next;
  MFG_OK(MFGMemoryAllocate(memory, 2 * b->dim * owned, sizeof *c, &c));
  MFG_OK(MFGMemoryAllocate(memory, ghosted, sizeof *work, &work));
  MFG_OK(MFGMemoryZero(memory, ghosted, sizeof *work, work));
  for (int k = 0; k < 2 * b->dim; k++) transposed.c[k] = c + k * owned;
  MFG_OK(ops->transpose(&s->level, work, NULL));
  MFG_OK(ops->transpose(&s->level, work, &transposed));
  const float *got = FetchFloats(c, 2 * b->dim * owned);
  for (int k = 0; k < 2 * b->dim; k++)
    for (int64_t i = 0; i < owned; i++) {
      CellAt(b, i, at);
      const int64_t j = Beside(b, at, k);
      CellAt(b, j, there);
      const int axis = k / 2, wall = b->boundary[axis][0] == MFG_BOUNDARY_NOFLUX &&
                                     at[axis] == (k % 2 ? b->cells[axis] - 1 : 0);
      const double mine = h.level.width[axis][at[axis]] * h.level.d[i];
      const double other = (double)h.level.width[axis][there[axis]] * h.level.d[j];
      MFG_ASSERT_NEAR(mine * got[k * owned + i], wall ? 0 : other * h.level.c[k ^ 1][j],
                      BOUND * (mine + other));
    }
  MFG_OK(MFGMemoryFree(memory, &c));
  MFG_OK(MFGMemoryFree(memory, &work));
}

/* Of the last level: the inverse times the matrix is 1, and `finish` solves by it. */
static void CheckLast(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGMemoryOps *memory = MFGTestMemory()->memory;
  const MFGBlock *b = &next->level.block;
  const int n = (int)MFGBlockOwned(b);
  MFGStarStage *stage;
  double *inverse, *x;
  int at[MFG_MAX_DIM];
  (void)s;
  if (n > MFG_STAR_DIRECT_CELLS) return;
  x = NewField(n);
  const MFGStarStage h = FetchStage(next);
  const float *right = RightSide(b);
  MFG_OK(MFGMemoryAllocate(memory, n * n, sizeof *inverse, &inverse));
  MFG_OK(MFGMemoryAllocate(memory, 1, sizeof *stage, &stage));
  MFG_OK(MFGMemoryCopy(memory, 1, sizeof *stage, MFG_COPY_FROM_HOST, next, stage));
  MFG_OK(ops->invert(&next->level, inverse));
  const double *got = Fetch(inverse, n * n, sizeof *got);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) { /* entry (i, j) of A A^{-1} */
      CellAt(b, i, at);
      double entry = h.level.d[i] * got[i * n + j];
      for (int k = 0; k < 2 * b->dim; k++)
        entry -= (double)h.level.d[i] * h.level.c[k][i] * got[Beside(b, at, k) * n + j];
      MFG_ASSERT_NEAR(entry, i == j, 1e-12);
    }
  Put(right, n, next->b);
  const MFGStarFinish job = {
      .stage = stage, .count = 1, .pairs = 1, .dim = b->dim, .weight = {1, 1}, .inverse = inverse};
  MFG_OK(ops->finish(&job));
  const float *field = FetchFloats(next->x, MFGGhostedCells(b));
  for (int i = 0; i < n; i++) {
    CellAt(b, i, at);
    x[i] = field[Place(b, at)];
  }
  ExpectField(b, x, field);
  for (int i = 0; i < n; i++) MFG_ASSERT_NEAR(Defect(&h.level, i, right, x), 0, 10 * BOUND);
  MFG_OK(MFGMemoryFree(memory, &inverse));
  MFG_OK(MFGMemoryFree(memory, &stage));
  MFG_OK(PetscFree(x));
}

/* b = vector / d, and a vector from a ghosted field. */
static void CheckConvert(const MFGStarOps *ops, const MFGStarStage *s, const MFGStarStage *next) {
  const MFGMemoryOps *memory = MFGTestMemory()->memory;
  const MFGBlock *b = &s->level.block;
  const int64_t owned = MFGBlockOwned(b);
  const MFGStarStage h = FetchStage(s);
  double *x = NewField(owned), *vector;
  const float *field = NoiseField(b, 6, x);
  (void)next;
  MFG_OK(MFGMemoryAllocate(memory, owned, sizeof *vector, &vector));
  MFG_OK(MFGMemoryCopy(memory, owned, sizeof *x, MFG_COPY_FROM_HOST, x, vector));
  MFG_OK(ops->convert(&s->level, vector, s->b, 0));
  const float *right = FetchFloats(s->b, owned);
  for (int64_t i = 0; i < owned; i++) assert_true(right[i] == (float)x[i] / h.level.d[i]);
  Put(field, MFGGhostedCells(b), s->x);
  MFG_OK(MFGMemoryZero(memory, owned, sizeof *vector, vector));
  MFG_OK(ops->convert(&s->level, vector, s->x, 1));
  const double *back = Fetch(vector, owned, sizeof *back);
  for (int64_t i = 0; i < owned; i++) assert_true(back[i] == x[i]);
  MFG_OK(MFGMemoryFree(memory, &vector));
  MFG_OK(PetscFree(x));
}

#define TEST(check)                                                                                \
  static void Test##check(void **state) {                                                          \
    (void)state;                                                                                   \
    ForAllLevels(Check##check);                                                                    \
  }
TEST(Smooth)
TEST(Restrict)
TEST(Correct)
TEST(Coarsen)
TEST(Transpose)
TEST(Last)
TEST(Convert)

/* On all ranks: u of the cells beside each cell, its own across a wall. */
static void TestGhosts(void **state) {
  const int cells[] = {9, 7, 5}, walls[][3] = {{0, 0, 0}, {1, 1, 1}, {0, 1, 0}, {1, 0, 1}};
  const MFGBackend *backend = MFGTestMemory();
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int w = 0; w < 4; w++) {
      MFGGrid grid;
      MFGStarGhosts ghosts;
      MFGVectorRoom room = {0};
      const double *u, *filled;
      int at[MFG_MAX_DIM];
      Vec x;
      Grid(PETSC_COMM_WORLD, dim, cells, unit, walls[w], &grid);
      const MFGBlock *b = &grid.block;
      MFG_OK(MFGStarGhostsCreate(&grid, backend, &ghosts));
      MFG_OK(MFGVectorCreate(&grid, backend, &x));
      SetNoise(&grid, 7, x);
      MFG_OK(MFGVectorRead(x, backend, &room, &u));
      MFG_OK(MFGStarGhostsFill(ghosts, u, &filled));
      MFG_OK(MFGVectorRestoreRead(x, backend, &room, &u));
      const double *here = Fetch(filled, MFGGhostedCells(b), sizeof *here);
      const MFGBlock whole = MFGGridWhole(&grid);
      for (int64_t i = 0; i < MFGBlockOwned(b); i++)
        for (int s = 0; s < 2 * dim; s++) {
          int to[MFG_MAX_DIM];
          CellAt(b, i, at);
          for (int k = 0; k < MFG_MAX_DIM; k++) to[k] = at[k] + b->start[k];
          at[s / 2] += s % 2 ? 1 : -1;
          CellAt(&whole, Beside(&whole, to, s), to);
          assert_true(here[Place(b, at)] == Noise(&whole, to[0], to[1], to[2], 7) - .5);
        }
      FreeFetched();
      MFG_OK(MFGVectorRoomDestroy(backend, &room));
      MFG_OK(VecDestroy(&x));
      MFG_OK(MFGStarGhostsDestroy(&ghosts));
      MFG_OK(MFGGridDestroy(&grid));
    }
}

/* Constant coefficients nu/h^2 + v/h to one side: of cells w times as wide nu/(w h)^2 + v/(w h),
 * and rows still sum to 1/dt. */
static void TestConstant(void **state) {
  const int cells[] = {64, 16, 1}, walls[] = {0, 0, 0};
  const double v = .7, nu = .05, dt = .1;
  const MFGBackend *backend = MFGTestMemory();
  MFGGrid grid;
  MFGMultigrid *m;
  const MFGStarLevel *scaled;
  const double *diffusion;
  Mat A;
  (void)state;
  Grid(PETSC_COMM_SELF, 2, cells, unit, walls, &grid);
  const MFGBlock *b = &grid.block;
  const int64_t owned = MFGBlockOwned(b);
  double *values = NewField(5 * owned);
  for (int64_t i = 0; i < owned; i++) {
    values[i] = 1 / dt;
    for (int s = 0; s < 4; s++) {
      const double h = b->spacing[s / 2], a = nu / (h * h) + (s % 2 ? 0 : v / h);
      values[(1 + s) * owned + i] = -a;
      values[i] += a;
    }
  }
  MFG_OK(MFGStarMatrixCreate(&grid, backend, "q_", &A));
  MFG_OK(MFGStarMatrixSetDiffusion(A, nu));
  SetValues(&grid, backend, A, values);
  MFG_OK(MFGStarMatrixGetScaled(A, &scaled));
  MFG_OK(PetscNew(&m));
  m->backend = backend;
  MFG_OK(MFGStarMatrixGetGrid(A, &m->grid, &diffusion));
  MFG_OK(MFGMultigridCreateLevels(m, scaled, diffusion));
  MFG_OK(MFGMultigridDo(m, MFG_MULTIGRID_COARSEN));
  assert_int_equal(m->count, 5); /* 64x16, 32x16, 16x16, 8x8, 4x4 */
  for (int l = 0; l < m->count; l++) {
    const MFGStarStage h = FetchStage(&m->level[l].stage[0]);
    for (int64_t i = 0; i < MFGBlockOwned(&h.level.block); i++) {
      double rest = h.level.d[i];
      for (int s = 0; s < 4; s++) {
        const double width = h.level.width[s / 2][0] * b->spacing[s / 2];
        const double a = (double)h.level.d[i] * h.level.c[s][i];
        MFG_ASSERT_NEAR(a, nu / (width * width) + (s % 2 ? 0 : v / width), BOUND * h.level.d[i]);
        rest -= a;
      }
      MFG_ASSERT_NEAR(rest, 1 / dt, 2 * BOUND * h.level.d[i]);
    }
    FreeFetched();
  }
  MFG_OK(MFGMultigridDestroyLevels(m));
  MFG_OK(PetscFree(m));
  MFG_OK(PetscFree(values));
  MFG_OK(MatDestroy(&A));
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestGhosts),    cmocka_unit_test(TestConstant), cmocka_unit_test(TestSmooth),
    cmocka_unit_test(TestRestrict),  cmocka_unit_test(TestCorrect),  cmocka_unit_test(TestCoarsen),
    cmocka_unit_test(TestTranspose), cmocka_unit_test(TestLast),     cmocka_unit_test(TestConvert)};
MFG_TEST_MAIN(tests)
