/* The same bits of the density for any box of the grid, any extent of moments, any instruction set
 * and any order of the agents. */
#include "tests/kde_fixture.h"

#include "solvers/backend_cpu.h"

/* A convolution with made-up weights, and the density it gives on the whole grid. */
typedef struct {
  MFGGrid grid;
  MFGAgentRange crowd;
  MFGConvolution job;
  MFGDensityKernel kernel; /* of the job's level */
  double *weights;
  int64_t *moments; /* whole grid */
  double *whole;
} Made;

static void MakeConvolution(const Box *box, int order, const int halvings[3], const int radius[3],
                            Made *m) {
  CreateGrid(PETSC_COMM_SELF, box, &m->grid);
  const MFGBlock *g = &m->grid.block;
  const int64_t cells = MFGBlockCells(g);
  const int most = order * 64 << MFG_HALVINGS_MAX;
  uint64_t seed = 3;
  m->crowd = Crowd(g, AGENTS, 9);
  m->job = (MFGConvolution){.block = *g,
                            .shape = {.order = order, .scale = MFGMomentScale(AGENTS)},
                            .agents = AGENTS,
                            .levels = 1,
                            .kernel = &m->kernel};
  m->weights = malloc(3 * most * sizeof(double));
  for (int i = 0; i < 3 * most; i++) m->weights[i] = TestUniform(&seed) - 0.3;
  for (int k = 0; k < 3; k++) {
    m->job.shape.halvings[k] = k < g->dim ? halvings[k] : 0;
    m->job.radius[k] = m->kernel.radius[k] = radius[k];
    m->kernel.weights[k] = m->weights + k * most;
  }
  m->moments = calloc(cells * MFGMomentNumbers(g->dim, &m->job.shape), sizeof *m->moments);
  m->whole = malloc(cells * sizeof *m->whole);
  Deposit(g, &m->crowd, &m->job.shape, m->moments);
  MFG_OK(MFGDensityOps_CPU_baseline.convolve(&m->job, m->moments, m->whole));
}

static void DropConvolution(Made *m) {
  free(m->weights);
  free(m->moments);
  free(m->whole);
  Release(&m->crowd);
  MFG_OK(MFGGridDestroy(&m->grid));
}

/* The moments of an extent, cut from those of the whole grid. Cells beyond a wall belong to nobody
 * and hold rubbish. */
static int64_t *CutMoments(const Made *m, const int64_t *moments, const MFGExtent *e) {
  const MFGBlock *g = &m->grid.block;
  const int64_t numbers = MFGMomentNumbers(g->dim, &m->job.shape);
  int64_t *part = malloc(MFGExtentCells(e) * numbers * sizeof *part), *out = part;
  for (int z = 0; z < e->count[2]; z++)
    for (int y = 0; y < e->count[1]; y++)
      for (int x = 0; x < e->count[0]; x++, out += numbers) {
        int at[3] = {e->start[0] + x, e->start[1] + y, e->start[2] + z}, there = 1;
        for (int k = 0; k < 3; k++) {
          const int inside = ((at[k] % g->cells[k]) + g->cells[k]) % g->cells[k];
          there = there && (inside == at[k] || g->boundary[k][0] == P);
          at[k] = inside;
        }
        const int64_t cell = ((int64_t)at[2] * g->cells[1] + at[1]) * g->cells[0] + at[0];
        for (int t = 0; t < numbers; t++)
          out[t] = there ? moments[cell * numbers + t] : INT64_C(1) << 60;
      }
  return part;
}

static void ExpectCells(const MFGBlock *box, const double *part, const double *whole) {
  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++, part += box->count[0]) {
      const int64_t plane = box->start[2] + z, line = plane * box->cells[1] + box->start[1] + y;
      assert_memory_equal(part, whole + line * box->cells[0] + box->start[0],
                          box->count[0] * sizeof *part);
    }
}

/* The density of one box from moments on an extent against the same cells of the whole. */
static void ExpectSameBits(const Made *m, const MFGBlock *box, const MFGExtent *e) {
  MFGConvolution job = m->job;
  const MFGBackend *backend;
  int64_t *moments = e ? CutMoments(m, m->moments, e) : m->moments;
  double *part = malloc(MFGBlockOwned(box) * sizeof *part);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  job.block = *box;
  if (e) job.extent = *e;
  MFG_OK(MFGBackendConvolve(backend, &job, moments, part));
  ExpectCells(box, part, m->whole);
  free(part);
  if (e) free(moments);
}

/* The box with the radius more on each side (and `more`), inside walls; `whole` axes complete. */
static MFGExtent ExtentOfBox(const MFGConvolution *job, const MFGBlock *box, int whole, int more) {
  int width[3] = {job->radius[0] + more, job->radius[1] + more, job->radius[2] + more};
  MFGExtent e = MFGBlockWidened(box, width);
  for (int k = 0; k < box->dim; k++)
    if (whole & 1 << k) {
      e.start[k] = 0;
      e.count[k] = box->cells[k];
    } else if (box->boundary[k][0] != P && more == 0) {
      const int end = PetscMin(e.start[k] + e.count[k], box->cells[k]);
      e.start[k] = PetscMax(e.start[k], 0);
      e.count[k] = end - e.start[k];
    }
  return e;
}

/* Every box of several divisions, from the whole moments, from its surroundings only, and from
 * whole and partial axes mixed: the same bits. A radius of 2 stays in the grid, 5 passes the walls
 * of some, 9 goes round. */
static void SameBitsForAnyBoxAndExtent(void **state) {
  (void)state;
  static const int divisions[][3] = {{1, 1, 1}, {2, 1, 1}, {1, 2, 2}, {3, 2, 1}, {2, 2, 2}};
  static const int radii[][3] = {{2, 2, 2}, {5, 2, 3}, {9, 9, 9}, {1, 4, 8}, {5, 2, 3}};
  static const int halvings[][3] = {{0}, {0}, {0}, {1, 0, 1}, {2, 1, 0}};
  for (size_t b = 0; b < DIVIDED; b++)
    for (int r = 0; r < 5; r += MFGTestBrief() ? 2 : 1) {
      Made m;
      MakeConvolution(&divided[b], r < 3 ? 5 : 4, halvings[r], radii[r], &m);
      const MFGBlock *g = &m.grid.block;
      for (int d = 0; d < 5; d += MFGTestBrief() ? 3 : 1) {
        int parts[3], all = 1;
        for (int k = 0; k < 3; k++) all *= parts[k] = k < g->dim ? divisions[d][k] : 1;
        for (int rank = 0; rank < all; rank++) {
          const MFGBlock box = MFGBoxOfRank(g, parts, rank);
          ExpectSameBits(&m, &box, NULL);
          for (int whole = 0; whole < 1 << g->dim; whole++)
            for (int more = 0; more < 3; more += 2) {
              const MFGExtent e = ExtentOfBox(&m.job, &box, whole, more);
              ExpectSameBits(&m, &box, &e);
            }
        }
      }
      DropConvolution(&m);
    }
}

/* Levels with moments, radii and weights of their own, all at once: each has the bits that it has
 * alone. So many that no launch has them all. */
static void EachLevelHasItsOwnBits(void **state) {
  (void)state;
  static const int levels[] = {70, 70, 5, 5, 5, 50};
  const MFGBackend *backend;
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  for (size_t b = 0; b < DIVIDED; b++) {
    enum { RADIUS_MOST = 7 };
    MFGDensityKernel kernel[70];
    const int count = levels[b];
    Made m;
    MakeConvolution(&divided[b], 4, (int[]){b % 2, 0, 1}, (int[]){7, 7, 7}, &m);
    const MFGBlock *g = &m.grid.block, box = MFGBoxOfRank(g, (int[]){2, 1 + (g->dim > 1), 1}, 1);
    const MFGExtent e = ExtentOfBox(&m.job, &box, 0, 0);
    const int64_t cells = MFGBlockCells(g), numbers = MFGMomentNumbers(g->dim, &m.job.shape),
                  part = MFGExtentCells(&e) * numbers, owned = MFGBlockOwned(&box);
    int64_t *moments = malloc(count * cells * numbers * sizeof *moments),
            *cut = malloc(count * part * sizeof *cut);
    double *whole = malloc(count * cells * sizeof *whole),
           *density = malloc(count * cells * sizeof *density);
    MFGConvolution job = m.job;
    for (int n = 0; n < count; n++) {
      int64_t *own = moments + n * cells * numbers;
      for (int64_t i = 0; i < cells * numbers; i++)
        own[i] = m.moments[(i + 3 * n * numbers) % (cells * numbers)];
      for (int k = 0; k < MFG_MAX_DIM; k++) {
        kernel[n].radius[k] = 1 + (5 * n + 2 * k) % RADIUS_MOST;
        kernel[n].weights[k] = m.weights + 11 * n + 17 * k;
      }
      job.kernel = &kernel[n];
      MFG_OK(MFGDensityOps_CPU_baseline.convolve(&job, own, whole + n * cells));
      int64_t *there = CutMoments(&m, own, &e);
      memcpy(cut + n * part, there, part * sizeof *cut);
      free(there);
    }
    job.kernel = kernel;
    job.levels = count;
    MFG_OK(MFGBackendConvolve(backend, &job, moments, density));
    assert_memory_equal(density, whole, count * cells * sizeof *whole);
    job.block = box;
    job.extent = e;
    MFG_OK(MFGBackendConvolve(backend, &job, cut, density));
    for (int n = 0; n < count; n++) ExpectCells(&box, density + n * owned, whole + n * cells);
    free(moments);
    free(cut);
    free(whole);
    free(density);
    DropConvolution(&m);
  }
}

/* Moments that do not reach far enough are refused, not read beyond their end. */
static void ShortExtentIsRefused(void **state) {
  (void)state;
  const MFGBackend *backend;
  Made m;
  MakeConvolution(&divided[5], 5, (int[]){0, 0, 1}, (int[]){3, 2, 2}, &m);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFGConvolution job = m.job;
  job.block.start[0] = 5;
  job.block.count[0] = 4;
  job.extent = MFGBlockWidened(&job.block, job.radius);
  job.extent.start[0]++;
  job.extent.count[0]--;
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_not_equal(MFGBackendConvolve(backend, &job, m.moments, m.whole), 0);
  job = m.job;
  job.radius[1]--;
  assert_int_not_equal(MFGBackendConvolve(backend, &job, m.moments, m.whole), 0);
  PetscCallVoid(PetscPopErrorHandler());
  DropConvolution(&m);
}

/* Any instruction set: the same bits. */
static void SameBitsForAnyVariant(void **state) {
  (void)state;
  enum { FEW = 150 };
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int count = MFGTestBackends(backends);
  for (size_t b = 0; b < 2 * DIVIDED; b++) {
    Made m;
    const int halvings[2][3] = {{0}, {2, 1, 1}}, cut = b >= DIVIDED;
    MakeConvolution(&divided[b % DIVIDED], cut ? 5 : 7, halvings[cut], (int[]){9, 9, 9}, &m);
    const MFGBlock *g = &m.grid.block;
    const double h[3] = {2 * g->spacing[0], 3 * g->spacing[1], 1.3 * g->spacing[2]};
    const double *const *position = (const double *const *)m.crowd.position;
    const int64_t cells = MFGBlockCells(g), field = cells * MFGMomentNumbers(g->dim, &m.job.shape);
    double *oracle = malloc(cells * sizeof *oracle), *part = malloc(cells * sizeof *part);
    int64_t *baseline = calloc(field, sizeof *baseline);
    MFG_OK(MFGAgentsOps_CPU_baseline.deposit(g, &m.crowd, &m.job.shape, NULL, baseline));
    MFG_OK(MFGDensityOps_CPU_baseline.direct(g, FEW, position, h, oracle));
    for (int v = 0; v < count; v++) {
      int64_t *again = calloc(field, sizeof *again);
      MFG_OK(backends[v]->agents->deposit(g, &m.crowd, &m.job.shape, NULL, again));
      assert_memory_equal(again, baseline, field * sizeof *again);
      free(again);
      MFG_OK(backends[v]->density->convolve(&m.job, m.moments, part));
      assert_memory_equal(part, m.whole, cells * sizeof *part);
      MFG_OK(backends[v]->density->direct(g, FEW, position, h, part));
      assert_memory_equal(part, oracle, cells * sizeof *part);
    }
    free(baseline);
    free(oracle);
    free(part);
    DropConvolution(&m);
  }
}

/* The reach of a plan is what its widest level needs; a sub-box with it has the bits of the whole.
 * Agents with ids in any order give the bits of those in order. */
static void PlanOnABoxAndAgentsByIds(void **state) {
  (void)state;
  enum { FEW = 500 };
  for (size_t b = 0; b < DIVIDED; b++) {
    MFGGrid grid;
    const MFGBackend *backend;
    MFGDensityPlan plan, direct;
    CreateGrid(PETSC_COMM_SELF, &divided[b], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock *g = &grid.block;
    double h[2 * MFG_MAX_DIM];
    for (int n = 0; n < 2; n++)
      for (int k = 0; k < g->dim; k++) h[n * g->dim + k] = (n == k % 2 ? 1 : 1.5) * g->spacing[k];
    const int halvings[3] = {b % 3, g->dim > 1, g->dim > 2};
    MFG_OK(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, FEW, 1e-3, 2, h,
                                      halvings, &plan));
    MFG_OK(MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_DIRECT, FEW, 1e-3, 2, h, &direct));
    Made m = {.grid = grid, .crowd = Crowd(g, FEW, 4)};
    MFGDensityPlanRadius(direct, m.job.radius);
    for (int k = 0; k < 3; k++) assert_int_equal(m.job.radius[k], 0);
    MFGDensityPlanRadius(plan, m.job.radius);
    /* 1.5 sqrt(-2 log 1e-4) - 1/2 = 5.9 */
    for (int k = 0; k < 3; k++) assert_int_equal(m.job.radius[k], k < g->dim ? 6 : 0);
    const int64_t cells = MFGBlockCells(g);
    m.job.shape = MFGDensityPlanShape(plan);
    m.moments = calloc(cells * MFGMomentNumbers(g->dim, &m.job.shape), sizeof *m.moments);
    m.whole = malloc(cells * sizeof *m.whole);
    Deposit(g, &m.crowd, &m.job.shape, m.moments);
    MFGBlock box = *g;
    box.start[0] = 1;
    box.count[0] -= 2;
    const MFGExtent e = ExtentOfBox(&m.job, &box, 0, 0);
    int64_t *cut = CutMoments(&m, m.moments, &e);
    double *part = malloc(cells * sizeof *part);
    for (int n = 0; n < 2; n++) {
      MFG_OK(MFGDensityEvaluate(plan, n, 1, NULL, NULL, m.moments, m.whole));
      MFG_OK(MFGDensityEvaluate(plan, n, 1, &box, &e, cut, part));
      for (int64_t row = 0; row < cells / g->cells[0]; row++)
        assert_memory_equal(part + row * box.count[0], m.whole + row * g->cells[0] + 1,
                            box.count[0] * sizeof *part);
    }
    free(cut);
    MFG_OK(MFGDensityDirect(direct, 1, &m.crowd, m.whole));
    static int64_t id[FEW];
    MFGAgentRange mixed = Crowd(g, FEW, 4);
    for (int64_t i = 0; i < FEW; i++) {
      id[i] = (i * 1009 + 7) % FEW;
      for (int k = 0; k < g->dim; k++) mixed.position[k][i] = m.crowd.position[k][id[i]];
    }
    mixed.id = id;
    MFG_OK(MFGDensityDirect(direct, 1, &mixed, part));
    assert_memory_equal(part, m.whole, cells * sizeof *part);
    id[5] = id[6];
    PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
    assert_int_equal(MFGDensityDirect(direct, 1, &mixed, part), PETSC_ERR_ARG_INCOMP);
    id[5] = FEW;
    assert_int_equal(MFGDensityDirect(direct, 1, &mixed, part), PETSC_ERR_ARG_OUTOFRANGE);
    PetscCallVoid(PetscPopErrorHandler());
    free(part);
    Release(&mixed);
    MFG_OK(MFGDensityPlanDestroy(&plan));
    MFG_OK(MFGDensityPlanDestroy(&direct));
    DropConvolution(&m);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SameBitsForAnyBoxAndExtent), cmocka_unit_test(EachLevelHasItsOwnBits),
    cmocka_unit_test(ShortExtentIsRefused), cmocka_unit_test(SameBitsForAnyVariant),
    cmocka_unit_test(PlanOnABoxAndAgentsByIds)};
MFG_TEST_MAIN(tests)
