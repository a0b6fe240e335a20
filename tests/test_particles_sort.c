/* A sort by cell: the same agents, each with its own id and position, in ascending order of cells,
 * those of a cell in the order they had. (That sweeps do not change by it: particles.domain.) */
#include "tests/agents_fixture.h"

#include "solvers/agents.h"
#include "solvers/sweep_layout.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box boxes[] = {{1, {31, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W}},
                            {2, {19, 26, 1}, {0, -1, 0}, {1, 2, 1}, {P, W}},
                            {3, {9, 7, 8}, {0, -1, 2}, {1, 2, 4}, {W, P, W}}};

typedef enum { ANYWHERE, ON_FACES, ONE_CELL, CORNERS, PLACES } Places;

/* Which of the cells along an axis, and where in it. */
static double Place(const MFGBlock *b, int axis, Places places, uint64_t *seed) {
  const double u = TestUniform(seed), width = b->spacing[axis];
  const int cell = b->start[axis] + (int)(u * b->count[axis]);
  if (places == ON_FACES) return b->lower[axis] + cell * width;
  if (places == ONE_CELL) return b->lower[axis] + (b->start[axis] + 0.1 + 0.8 * u) * width;
  if (places == CORNERS) return u < 0.5 ? b->lower[axis] : b->upper[axis];
  return b->lower[axis] + (b->start[axis] + u * b->count[axis]) * width;
}

/* The linear cell of agent i in the box, from its definition. */
static int64_t Cell(const MFGBlock *b, const MFGAgents *a, int64_t i) {
  int64_t cell = 0;
  for (int k = b->dim - 1; k >= 0; k--) {
    double t;
    const int c =
        MFGCellOf(&a->axis[k], MFGAgentPosition(&a->range, &a->axis[k], k, i), &t) - b->start[k];
    cell = cell * b->count[k] + PetscMax(0, PetscMin(c, b->count[k] - 1));
  }
  return cell;
}

static void CheckSort(const MFGBackend *backend, const MFGBlock *b, int64_t count, PetscBool single,
                      Places places) {
  MFGAgents agents = MFGAgentsNone(&MFGMemoryOps_Host, b, single, PETSC_TRUE), before = agents;
  MFGSortScratch scratch = {0};
  uint64_t seed = 11;
  int descents = 0;
  MFG_OK(MFGAgentsReserve(&agents, count));
  agents.range.count = count;
  for (int64_t i = 0; i < count; i++) {
    agents.range.id[i] = 7 + 3 * i;
    for (int k = 0; k < b->dim; k++)
      MFGAgentMoveTo(&agents.range, &agents.axis[k], k, i, Place(b, k, places, &seed));
  }
  MFG_OK(MFGAgentsCopy(&agents, &before));
  for (int64_t i = 1; i < count; i++) descents += Cell(b, &agents, i) < Cell(b, &agents, i - 1);
  assert_true((descents > 0) == (count > 1 && places != ONE_CELL)); /* there is work to do */
  for (int again = 0; again < 2; again++) {
    MFG_OK(MFGAgentsSort(backend, b, &agents, &scratch));
    char *seen = calloc(count + 1, 1);
    for (int64_t i = 0; i < count; i++) {
      const int64_t was = (agents.range.id[i] - 7) / 3;
      double now[4], then[4];
      assert_true(agents.range.id[i] == 7 + 3 * was && was >= 0 && was < count && !seen[was]++);
      MFGAgentToRecord(&agents.range, agents.axis, agents.dim, i, now);
      MFGAgentToRecord(&before.range, before.axis, before.dim, was, then);
      assert_memory_equal(now, then, (b->dim + 1) * sizeof *now);
      if (i == 0) continue;
      const int64_t here = Cell(b, &agents, i), last = Cell(b, &agents, i - 1);
      assert_true(last < here || (last == here && agents.range.id[i - 1] < agents.range.id[i]));
    }
    free(seen);
  }
  MFG_OK(MFGAgentsDestroy(&agents));
  MFG_OK(MFGAgentsDestroy(&before));
  MFG_OK(MFGSortScratchDestroy(&scratch));
}

/* Whole grids and boxes of them. */
static void CellsAscendAndAgentsStayWhole(void **state) {
  (void)state;
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int variants = MFGTestBackends(backends);
  for (int v = 0; v < variants; v++)
    for (int i = 0; i < 6; i++) {
      MFGGrid grid;
      CreateGrid(PETSC_COMM_SELF, &boxes[i % 3], &grid);
      MFGBlock b = grid.block;
      for (int k = 0; k < b.dim && i >= 3; k++) {
        b.start[k] = b.cells[k] / 3;
        b.count[k] = b.cells[k] / 2;
      }
      for (int single = 0; single < 2; single++)
        for (int places = 0; places < PLACES; places++)
          if (places != CORNERS || i < 3)
            CheckSort(backends[v], &b, places ? 3000 : 20000, (PetscBool)single, (Places)places);
      CheckSort(backends[v], &b, 0, PETSC_FALSE, ANYWHERE);
      CheckSort(backends[v], &b, 1, PETSC_TRUE, ANYWHERE);
      MFG_OK(MFGGridDestroy(&grid));
    }
}

/* Agents that had their ids from the range keep them. */
static void IdsOfARangeBecomeAnArray(void **state) {
  (void)state;
  const MFGBackend *backend;
  MFGSortScratch scratch = {0};
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, &boxes[0], &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFGAgents a = MFGAgentsNone(&MFGMemoryOps_Host, &grid.block, PETSC_FALSE, PETSC_FALSE);
  MFG_OK(MFGAgentsReserve(&a, 3));
  a.range.first_id = 40;
  a.range.id_stride = 2;
  a.range.count = 3;
  a.range.position[0][0] = 1.5;
  a.range.position[0][1] = -0.5;
  a.range.position[0][2] = 0.5;
  MFGAgents copy = MFGAgentsNone(&MFGMemoryOps_Host, &grid.block, PETSC_FALSE, PETSC_FALSE);
  MFG_OK(MFGAgentsCopy(&a, &copy));
  MFG_OK(MFGAgentsSort(backend, &grid.block, &a, &scratch));
  assert_true(a.range.id[0] == 42 && a.range.id[1] == 44 && a.range.id[2] == 40);
  assert_true(a.range.position[0][0] == -0.5 && a.range.position[0][2] == 1.5);
  MFG_OK(MFGAgentsCopy(&a, &copy));
  assert_true(MFGAgentId(&copy.range, 2) == 40 && copy.range.position[0][2] == 1.5);
  MFG_OK(MFGAgentsDestroy(&a));
  MFG_OK(MFGAgentsDestroy(&copy));
  MFG_OK(MFGSortScratchDestroy(&scratch));
  MFG_OK(MFGGridDestroy(&grid));
}

static const MFGSweepLayout large = {.whole = {.dim = 2,
                                               .cells = {256, 256, 1},
                                               .count = {256, 256, 1},
                                               .spacing = {1. / 256, 1. / 256, 1}},
                                     .divisions = {1, 1, 1},
                                     .agents = 1000000,
                                     .steps = 50,
                                     .shape = {.order = 8},
                                     .deviation = 0.5 / 256};

/* What decides: the size of the moments, here 18.9 MB, then the bytes over which noise spreads
 * agents, here 147 kB for each cell of its deviation after one step, against 2 MiB. */
static void LargeFieldsAreSorted(void **state) {
  (void)state;
  const MFGBackend *backend;
  MFGSweepLayout l = large;
  const int64_t plain = 2 * 1000000 * 2 * 8;
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
  assert_int_equal(MFGSweepSortEvery(&l, backend), 64);
  assert_int_equal(MFGSweepAgentBytes(&l, l.agents), plain + 2 * 8000000 + 12000000 + 4 * 65537);
  l.single = PETSC_TRUE;
  assert_int_equal(MFGSweepAgentBytes(&l, l.agents),
                   plain / 2 + 2 * 8000000 + 12000000 + 4 * 65537);
  l.deviation = 3. / 256; /* 147 kB 3 sqrt(16) = 1.8 MB */
  assert_int_equal(MFGSweepSortEvery(&l, backend), 16);
  l.deviation = 9. / 256;
  assert_int_equal(MFGSweepSortEvery(&l, backend), 4);
  l.sort_every = 5;
  assert_int_equal(MFGSweepSortEvery(&l, backend), 5);
  l.sort_every = MFG_SORT_NEVER;
  assert_int_equal(MFGSweepSortEvery(&l, backend), 0);
  assert_int_equal(MFGSweepAgentBytes(&l, l.agents), plain / 2);
  l.sort_every = MFG_SORT_AUTO;
  l.whole.cells[0] = l.whole.cells[1] = 64;
  assert_int_equal(MFGSweepSortEvery(&l, backend), 0);
  l.whole = (MFGBlock){.dim = 1, .cells = {10000000, 1, 1}, .spacing = {1e-7, 1, 1}};
  assert_int_equal(MFGSweepSortEvery(&l, backend), 0);
}

/* On a device they are sorted where they start, and their memory is counted. */
static void WhereSortsDoNotPayThereIsOne(void **state) {
  (void)state;
  const MFGBackend *backend;
  MFGSweepLayout l = large;
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  assert_true(backend->agents->sort && backend->agents->sort_pays == !MFGTestOnDevice());
  MFGAgentsOps agents = {.sort = backend->agents->sort, .sort_pays = PETSC_FALSE};
  const MFGDensityOps density = {.work = NULL};
  const MFGBackend poor = {.agents = &agents, .density = &density};
  assert_int_equal(MFGSweepSortEvery(&l, &poor), l.steps);
  l.sort_every = MFG_SORT_NEVER;
  const int64_t plain = MFGSweepDeviceBytes(&l, &poor, 0, l.agents);
  l.sort_every = 7;
  assert_int_equal(MFGSweepSortEvery(&l, &poor), 7);
  assert_int_equal(MFGSweepDeviceBytes(&l, &poor, 0, l.agents) - plain,
                   2 * 8000000 + MFGSortScratchBytes(1000000, 65536));
  agents.sort = NULL;
  assert_int_equal(MFGSweepSortEvery(&l, &poor), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(CellsAscendAndAgentsStayWhole), cmocka_unit_test(IdsOfARangeBecomeAnArray),
    cmocka_unit_test(LargeFieldsAreSorted), cmocka_unit_test(WhereSortsDoNotPayThereIsOne)};
MFG_TEST_MAIN(tests)
