/* What agents add to the moments of their boxes is what the definition says, to the bit: in all
 * dimensions, for orders below, at and above the eight powers that kernels keep, parts of cells,
 * crowds in one box and agents on its faces, few and many to a box; standing and after a step. */
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

typedef struct {
  int dim, cells[3];
  MFGBoundary boundary[3];
  int64_t agents;
  int order, halvings[3];
} Case;

/* Cells of 1/16, so that the definition's quotients are exact. Boxes that do not fit into a
 * device's shared memory, with more than two agents each but for the last two cases. */
static const Case cases[] = {
    {1, {6000, 1, 1}, {W}, 13000, 6, {0}},
    {1, {1500, 1, 1}, {P}, 13000, 21, {1}},
    {2, {31, 33, 1}, {P, W}, 9000, 8, {0}},
    {2, {19, 23, 1}, {W, W}, 9000, 15, {0, 1}},
    {2, {40, 21, 1}, {P, P}, 7000, 5, {1, 0}},
    {3, {9, 8, 7}, {W, P, W}, 6000, 8, {0}},
    {3, {6, 5, 7}, {P, P, W}, 3000, 11, {0, 0, 1}},
    {2, {31, 33, 1}, {P, W}, 700, 8, {0}},
    {1, {20, 1, 1}, {W}, 5000, 8, {0}},
};

/* A third anywhere, a third in one box, the others on faces of cells. */
static double Place(const MFGBlock *b, int axis, int64_t i, uint64_t *seed) {
  const double u = TestUniform(seed), width = b->spacing[axis];
  if (i % 3 == 0) return b->lower[axis] + u * (b->upper[axis] - b->lower[axis]);
  if (i % 3 == 1) return b->lower[axis] + (b->cells[axis] / 2 + 0.4 * u) * width;
  return b->lower[axis] + (int)(u * (b->cells[axis] + 1)) * width;
}

static void CheckCase(const MFGBackend *backend, const Case *c, int level_begin) {
  MFGGrid grid;
  Box box = {.dim = c->dim, .lower = {-1, 2, 0.5}};
  for (int k = 0; k < 3; k++) {
    box.cells[k] = c->cells[k];
    box.boundary[k] = c->boundary[k];
    box.upper[k] = box.lower[k] + c->cells[k] / 16.;
  }
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  const MFGBlock *b = &grid.block;
  const MFGMomentShape shape = {.order = c->order,
                                .scale = MFGMomentScale(c->agents),
                                .halvings = {c->halvings[0], c->halvings[1], c->halvings[2]}};
  const int64_t cells = MFGBlockCells(b), field = cells * MFGMomentNumbers(b->dim, &shape);
  int64_t *moments = malloc(field * sizeof *moments), *expected = malloc(field * sizeof *expected);
  double *drift = malloc(b->dim * cells * sizeof *drift);
  MFGAgentRange agents = {.id_stride = 1, .count = c->agents};
  uint64_t seed = 5;
  for (int k = 0; k < b->dim; k++) agents.position[k] = malloc(c->agents * sizeof(double));
  for (int64_t i = 0; i < c->agents; i++)
    for (int k = 0; k < b->dim; k++) agents.position[k][i] = Place(b, k, i, &seed);
  for (int64_t i = 0; i < b->dim * cells; i++) drift[i] = (double)(i % 7) - 3;
  for (int64_t i = 0; i < field; i++) moments[i] = expected[i] = i % 1000 - 500;

  if (level_begin < 0) {
    MFG_OK(MFGBackendDeposit(backend, b, &agents, &shape, NULL, moments));
  } else {
    const MFGScan scan = {.domain = *b,
                          .key = {.seed = 3},
                          .agents = agents,
                          .dt = 0.01,
                          .nu = 0.1 * b->spacing[0] * b->spacing[0] / 0.01,
                          .level_begin = level_begin,
                          .level_end = level_begin + 1,
                          .drift = drift,
                          .shape = shape,
                          .moments = moments};
    const double before = agents.position[0][1];
    MFG_OK(MFGBackendScan(backend, &scan));
    assert_true(agents.position[0][1] != before);
  }
  DepositByDefinition(b, &agents, &shape, expected);
  for (int64_t i = 0; i < field; i++)
    if (moments[i] != expected[i])
      fail_msg("%d axes, order %d, level %d: number %lld is %lld in place of %lld", b->dim,
               c->order, level_begin, (long long)i, (long long)moments[i], (long long)expected[i]);
  for (int k = 0; k < b->dim; k++) free(agents.position[k]);
  free(moments);
  free(expected);
  free(drift);
  MFG_OK(MFGGridDestroy(&grid));
}

static void SumsAreTheDefinition(void **state) {
  (void)state;
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int variants = MFGTestBackends(backends);
  for (int v = 0; v < variants; v++)
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
      for (int level = -1; level < 2; level++) CheckCase(backends[v], &cases[i], level);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(SumsAreTheDefinition)};
MFG_TEST_MAIN(tests)
