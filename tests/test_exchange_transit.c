/* What is done with agents that change ranks, operation by operation and together, with all arrays
 * in the backend's memory: everyone is somewhere, once, where he was or was carried to; what did
 * not find room is told, and then room is made for it. */
#include "solvers/residents.h"
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

enum { CROWD = 2000, WORDS_MOST = 4 };

static const Box boxes[] = {{1, {48, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P}},
                            {2, {24, 20, 1}, {0, -1, 0}, {1.5, 1.5, 1}, {W, P}},
                            {3, {12, 9, 10}, {0, -1, 2}, {3, 1, 4.5}, {P, W, W}}};

/* The middle one of three boxes on each axis, and a crowd of agents anywhere: agent i has the id 5
 * + 7 i. Records, traffic and messages are the host's; Put and Get bring them to the backend's
 * memory and back. */
typedef struct {
  const MFGBackend *backend;
  const MFGTransitOps *ops;
  MFGBlock box;
  int divisions[3], words;
  double place[CROWD][3]; /* of agent i */
  double record[CROWD][WORDS_MOST], message[2][1 + CROWD * WORDS_MOST];
  MFGTraffic traffic;
  MFGTransit transit;
  void *there[2]; /* messages */
} Case;

static void Open(Case *c, const Box *box) {
  MFGGrid grid;
  uint64_t seed = 3;
  memset(c, 0, sizeof *c);
  c->backend = MFGTestMemory();
  c->ops = c->backend->carrier->transit;
  CreateGrid(PETSC_COMM_SELF, box, &grid);
  const MFGBlock whole = MFGGridWhole(&grid);
  for (int k = 0; k < 3; k++) c->divisions[k] = k < box->dim ? 3 : 1;
  c->box = MFGBoxOfRank(&whole, c->divisions, box->dim == 1 ? 1 : box->dim == 2 ? 4 : 13);
  c->words = box->dim + 1;
  MFG_OK(MFGGridDestroy(&grid));
  for (int i = 0; i < CROWD; i++)
    for (int k = 0; k < box->dim; k++)
      c->place[i][k] = c->box.lower[k] + TestUniform(&seed) * (c->box.upper[k] - c->box.lower[k]);
  c->transit.box = c->box;
  for (int k = 0; k < 3; k++) {
    c->transit.divisions[k] = c->divisions[k];
    c->transit.coordinate[k] = k < box->dim;
  }
  const MFGMemoryOps *m = c->backend->memory;
  MFG_OK(MFGMemoryAllocate(m, sizeof c->record, 1, &c->transit.record));
  MFG_OK(MFGMemoryAllocate(m, 1, sizeof c->traffic, &c->transit.traffic));
  for (int side = 0; side < 2; side++)
    MFG_OK(MFGMemoryAllocate(m, sizeof c->message[0], 1, &c->there[side]));
}

static void Close(Case *c) {
  MFG_OK(MFGMemoryFree(c->backend->memory, &c->transit.record));
  MFG_OK(MFGMemoryFree(c->backend->memory, &c->transit.traffic));
  for (int side = 0; side < 2; side++) MFG_OK(MFGMemoryFree(c->backend->memory, &c->there[side]));
}

static double *Record(Case *c, int64_t i) {
  return c->record[0] + i * c->words;
}

static void Put(Case *c) {
  const MFGMemoryOps *m = c->backend->memory;
  MFG_OK(MFGMemoryCopy(m, sizeof c->record, 1, MFG_COPY_FROM_HOST, c->record, c->transit.record));
  MFG_OK(
      MFGMemoryCopy(m, 1, sizeof c->traffic, MFG_COPY_FROM_HOST, &c->traffic, c->transit.traffic));
  for (int side = 0; side < 2; side++)
    MFG_OK(MFGMemoryCopy(m, sizeof c->message[side], 1, MFG_COPY_FROM_HOST, c->message[side],
                         c->there[side]));
}

static void Get(Case *c) {
  const MFGMemoryOps *m = c->backend->memory;
  MFG_OK(MFGMemoryCopy(m, sizeof c->record, 1, MFG_COPY_TO_HOST, c->transit.record, c->record));
  MFG_OK(MFGMemoryCopy(m, 1, sizeof c->traffic, MFG_COPY_TO_HOST, c->transit.traffic, &c->traffic));
  for (int side = 0; side < 2; side++)
    MFG_OK(MFGMemoryCopy(m, sizeof c->message[side], 1, MFG_COPY_TO_HOST, c->there[side],
                         c->message[side]));
}

/* Agent i as a record. */
static void Write(const Case *c, int i, double *record) {
  const int64_t id = 5 + 7 * i;
  memcpy(record, c->place[i], (c->words - 1) * sizeof *record);
  memcpy(record + c->words - 1, &id, sizeof id);
}

/* Whose record it is: an agent's, whole, and the first of his. */
static int Read(const Case *c, const double *record, char seen[]) {
  double whole[WORDS_MOST];
  int64_t id;
  memcpy(&id, record + c->words - 1, sizeof id);
  assert_true(id >= 5 && (id - 5) % 7 == 0 && (id - 5) / 7 < CROWD);
  const int i = (int)(id - 5) / 7;
  Write(c, i, whole);
  assert_memory_equal(record, whole, c->words * sizeof *record);
  assert_false(seen[i]++);
  return i;
}

/* -1, 0, 1: below, in, above the box along an axis. */
static int Way(const Case *c, int i, int axis) {
  const MFGBlock *b = &c->box;
  const double low = b->lower[axis] + b->start[axis] * b->spacing[axis],
               high = low + b->count[axis] * b->spacing[axis];
  return c->place[i][axis] < low ? -1 : c->place[i][axis] >= high;
}

/* The agents of the case in the backend's memory, with more room. */
static MFGAgents Crowd(const Case *c, int room) {
  MFGAgents host = MFGAgentsNone(&MFGMemoryOps_Host, &c->box, PETSC_FALSE, PETSC_TRUE),
            there = MFGAgentsNone(c->backend->memory, &c->box, PETSC_FALSE, PETSC_TRUE);
  MFG_OK(MFGAgentsReserve(&host, CROWD));
  host.range.count = CROWD;
  for (int i = 0; i < CROWD; i++) {
    double record[WORDS_MOST];
    Write(c, i, record);
    MFGAgentFromRecord(&host.range, host.axis, host.dim, i, record);
  }
  MFG_OK(MFGAgentsReserve(&there, room));
  MFG_OK(MFGAgentsCopy(&host, &there));
  MFG_OK(MFGAgentsDestroy(&host));
  return there;
}

/* The first `count` of them as records on the host; the agents are given back. */
static double *Fetch(MFGAgents *there, int64_t count) {
  MFGAgents host = *there;
  host.memory = &MFGMemoryOps_Host;
  host.room = 0;
  memset(&host.range, 0, sizeof host.range);
  there->range.count = count;
  MFG_OK(MFGAgentsCopy(there, &host));
  double *record = malloc((count + 1) * (there->dim + 1) * sizeof *record);
  for (int64_t i = 0; i < count; i++)
    MFGAgentToRecord(&host.range, host.axis, host.dim, i, record + i * (there->dim + 1));
  MFG_OK(MFGAgentsDestroy(&host));
  MFG_OK(MFGAgentsDestroy(there));
  return record;
}

/* none; some; the last ones; all but one; all */
static int Leaves(int who, int i) {
  return who == 1 ? i * i % 5 == 1 : who == 2 ? i >= CROWD - 300 : who == 3 ? i != 7 : who == 4;
}

static void CheckDeparture(Case *c, int who, int capacity) {
  static int64_t leavers[1 + CROWD];
  int64_t *list;
  char seen[CROWD] = {0};
  MFGAgents agents = Crowd(c, CROWD);
  leavers[0] = 0;
  for (int i = 0; i < CROWD; i++)
    if (Leaves(who, i)) leavers[++leavers[0]] = i;
  const int64_t gone = leavers[0], travelling = PetscMin(gone, capacity);
  c->transit.capacity = capacity;
  c->traffic = (MFGTraffic){.here = {0, CROWD}};
  Put(c);
  MFG_OK(MFGMemoryAllocate(c->backend->memory, 1 + CROWD, sizeof *list, &list));
  MFG_OK(MFGMemoryCopy(c->backend->memory, 1 + CROWD, sizeof *list, MFG_COPY_FROM_HOST, leavers,
                       list));
  MFG_OK(c->ops->depart(&c->transit, &agents.range, list));
  Get(c);
  MFG_OK(MFGMemoryFree(c->backend->memory, &list));
  assert_int_equal(c->traffic.here[1], CROWD - gone);
  assert_int_equal(c->traffic.travelling, travelling);
  assert_int_equal(c->traffic.most_travelling, gone);
  double *left = Fetch(&agents, CROWD - gone);
  for (int64_t i = 0; i < CROWD - gone; i++)
    assert_false(Leaves(who, Read(c, left + i * c->words, seen)));
  for (int64_t i = 0; i < travelling; i++) assert_true(Leaves(who, Read(c, Record(c, i), seen)));
  free(left);
}

static void WhoLeavesBecomesARecord(void **state) {
  (void)state;
  static Case c;
  for (int i = 0; i < 3; i++) {
    Open(&c, &boxes[i]);
    for (int who = 0; who < 5; who++) {
      CheckDeparture(&c, who, CROWD);
      CheckDeparture(&c, who, 100);
    }
    Close(&c);
  }
}

/* Everyone on his way; those below and above the box go into messages of so many records. */
static void CheckPacking(Case *c, int axis, int message) {
  char seen[CROWD] = {0};
  int64_t wanted[2] = {0}, stay = 0;
  for (int i = 0; i < CROWD; i++) {
    const int way = Way(c, i, axis);
    Write(c, i, Record(c, i));
    if (way) wanted[way > 0]++;
    stay += !way;
  }
  assert_true(stay > 100 && wanted[0] > 100 && wanted[1] > 100);
  c->transit.capacity = CROWD;
  c->transit.message = message;
  c->traffic = (MFGTraffic){.travelling = CROWD, .most_message = 3};
  Put(c);
  MFG_OK(c->ops->pack(&c->transit, axis, c->there));
  Get(c);
  assert_int_equal(c->traffic.travelling, stay);
  assert_int_equal(c->traffic.most_message, PetscMax(wanted[0], wanted[1]));
  for (int64_t i = 0; i < stay; i++) assert_int_equal(Way(c, Read(c, Record(c, i), seen), axis), 0);
  for (int side = 0; side < 2; side++) {
    int64_t count;
    memcpy(&count, c->message[side], sizeof count);
    assert_int_equal(count, PetscMin(wanted[side], message));
    for (int64_t i = 0; i < count; i++)
      assert_int_equal(
          Way(c,
              Read(c, (double *)((char *)c->message[side] + MFGMessageBytes(c->words - 1, i)),
                   seen),
              axis),
          side ? 1 : -1);
  }
}

/* A third of the crowd travels, a third comes from each side that there is. */
static void CheckUnpacking(Case *c, int sides, int capacity) {
  const int64_t third = CROWD / 3;
  const void *from[2];
  char seen[CROWD] = {0};
  int64_t strays = 0, all = third;
  for (int side = 0; side < 2; side++) {
    memcpy(c->message[side], &third, sizeof third);
    for (int i = 0; i < third; i++)
      Write(c, (int)third * (1 + side) + i,
            (double *)((char *)c->message[side] + MFGMessageBytes(c->words - 1, i)));
    from[side] = sides >> side & 1 ? c->there[side] : NULL;
    all += from[side] ? third : 0;
  }
  for (int i = 0; i < third; i++) Write(c, i, Record(c, i));
  c->transit.capacity = capacity;
  c->traffic = (MFGTraffic){.travelling = third, .most_travelling = third, .strays = {1, 2, 3}};
  Put(c);
  MFG_OK(c->ops->unpack(&c->transit, from));
  MFG_OK(c->ops->count_strays(&c->transit, c->words - 2));
  Get(c);
  assert_int_equal(c->traffic.travelling, PetscMin(all, capacity));
  if (all <= capacity) assert_int_equal(c->traffic.most_travelling, all);
  assert_true(all <= capacity || c->traffic.most_travelling > capacity);
  for (int64_t i = 0; i < c->traffic.travelling; i++) {
    const int who = Read(c, Record(c, i), seen), side = who / (int)third - 1;
    assert_true(side < 0 || from[side]);
    strays += Way(c, who, c->words - 2) != 0;
  }
  assert_int_equal(c->traffic.strays[c->words - 2], strays + c->words - 1);
}

static void RecordsGoTheWayToTheirBoxes(void **state) {
  (void)state;
  static Case c;
  for (int i = 0; i < 3; i++) {
    Open(&c, &boxes[i]);
    for (int k = 0; k < boxes[i].dim; k++) {
      CheckPacking(&c, k, CROWD);
      CheckPacking(&c, k, 33);
    }
    for (int sides = 0; sides < 4; sides++) {
      CheckUnpacking(&c, sides, CROWD);
      CheckUnpacking(&c, sides, CROWD / 2);
    }
    Close(&c);
  }
}

/* The second half of the crowd comes to the first. */
static void CheckArrival(Case *c, int room) {
  const int64_t half = CROWD / 2, arrived = PetscMin(half, room - half);
  char seen[CROWD] = {0};
  MFGAgents agents = Crowd(c, room);
  for (int i = 0; i < half; i++) Write(c, (int)half + i, Record(c, i));
  c->transit.capacity = CROWD;
  c->traffic = (MFGTraffic){.here = {0, half}, .travelling = half};
  Put(c);
  MFGAgentRange all = agents.range;
  all.count = room;
  MFG_OK(c->ops->arrive(&c->transit, &all));
  Get(c);
  assert_int_equal(c->traffic.arrived[0], half);
  assert_int_equal(c->traffic.arrived[1], half + arrived);
  assert_int_equal(c->traffic.here[1], half + arrived);
  assert_int_equal(c->traffic.most_here, CROWD);
  double *here = Fetch(&agents, half + arrived);
  for (int64_t i = 0; i < half + arrived; i++) {
    const int who = Read(c, here + i * c->words, seen);
    assert_int_equal(who < half, i < half);
  }
  free(here);
}

static void RecordsBecomeAgents(void **state) {
  (void)state;
  static Case c;
  for (int i = 0; i < 3; i++) {
    Open(&c, &boxes[i]);
    CheckArrival(&c, CROWD + 100);
    CheckArrival(&c, CROWD - 100);
    Close(&c);
  }
}

/* One step of a drift that is the same everywhere, without noise; done again until everything finds
 * room. Returns how often. */
static int Step(MFGResidents residents, MFGScan *scan) {
  PetscBool redo = PETSC_TRUE;
  int times = 0;
  while (redo) {
    assert_true(times++ < 12);
    MFG_OK(MFGResidentsStep(residents, scan));
    MFG_OK(MFGResidentsCheck(residents, &redo));
    if (redo) MFG_OK(MFGResidentsRestore(residents));
  }
  MFG_OK(MFGResidentsSave(residents));
  return times;
}

/* Every agent is on one rank, that of his cell, at `place`. */
static void AssertEachIsOnce(const MFGBackend *backend, const MFGGrid *grid, MFGResidents residents,
                             double place[][3]) {
  const int dim = grid->block.dim;
  int64_t count[CROWD] = {0};
  MFGAgents there = MFGAgentsNone(backend->memory, &grid->box, PETSC_FALSE, PETSC_TRUE),
            host = MFGAgentsNone(&MFGMemoryOps_Host, &grid->box, PETSC_FALSE, PETSC_TRUE);
  there.range = MFGResidentsRange(residents);
  there.room = there.range.count;
  MFG_OK(MFGAgentsCopy(&there, &host));
  for (int64_t i = 0; i < host.range.count; i++) {
    const int64_t id = host.range.id[i];
    assert_in_range(id, 0, CROWD - 1);
    count[id]++;
    for (int k = 0; k < dim; k++) {
      double in_cell;
      const int cell = MFGCellOf(&host.axis[k], place[id][k], &in_cell);
      assert_true(host.range.position[k][i] == place[id][k]);
      assert_in_range(cell, grid->box.start[k], grid->box.start[k] + grid->box.count[k] - 1);
    }
  }
  MFG_OK(MFGExchangeSumInt64(PETSC_COMM_WORLD, CROWD, count));
  for (int i = 0; i < CROWD; i++) assert_int_equal(count[i], 1);
  MFG_OK(MFGAgentsDestroy(&host));
}

static void RoomIsMadeForWhoMoves(void **state) {
  (void)state;
  static double place[CROWD][3];
  static double mine[3][CROWD];
  PetscMPIInt rank, size;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  for (int i = 0; i < 3; i++) {
    const MFGBackend *backend = MFGTestMemory();
    const int dim = boxes[i].dim;
    MFGGrid grid;
    MFGExchange x;
    MFGResidents residents;
    MFGAxis axis[3];
    uint64_t seed = 9;
    double *drift;
    int times = 0;
    CreateGrid(PETSC_COMM_WORLD, &boxes[i], &grid);
    const MFGBlock whole = MFGGridWhole(&grid);
    MFG_OK(MFGExchangeCreate(PETSC_COMM_WORLD, backend->carrier, &whole, grid.divisions, &x));
    MFGAgentRange agents = {
        .first_id = rank, .id_stride = size, .position = {mine[0], mine[1], mine[2]}};
    for (int k = 0; k < dim; k++) axis[k] = MFGAxisOf(&whole, k);
    for (int a = 0; a < CROWD; a++)
      for (int k = 0; k < dim; k++)
        place[a][k] = whole.lower[k] + TestUniform(&seed) * (whole.upper[k] - whole.lower[k]);
    for (int a = rank; a < CROWD; a += size, agents.count++)
      for (int k = 0; k < dim; k++) mine[k][agents.count] = place[a][k];
    MFG_OK(MFGResidentsCreate(&grid, backend, x, &agents, CROWD, 1e-6, &residents));
    AssertEachIsOnce(backend, &grid, residents, place);

    const MFGExtent rim = MFGBlockWidened(&grid.box, (int[3]){1, 1, 1});
    const int64_t cells = MFGExtentCells(&rim);
    double *values = malloc(dim * cells * sizeof *values);
    MFG_OK(MFGMemoryAllocate(backend->memory, dim * cells, sizeof *drift, &drift));
    for (int step = 0; step < 3; step++) {
      /* By some cells; all against the low walls; by much. */
      for (int64_t j = 0; j < dim * cells; j++)
        values[j] = step == 1 ? -0.6 * (whole.upper[j / cells] - whole.lower[j / cells])
                              : 0.1 + 0.7 * step * (double)(1 + j / cells);
      MFG_OK(MFGMemoryCopy(backend->memory, dim * cells, sizeof *drift, MFG_COPY_FROM_HOST, values,
                           drift));
      MFGScan scan = {.domain = grid.box,
                      .dt = 1,
                      .level_begin = step,
                      .level_end = step + 1,
                      .drift = drift,
                      .ghosted = PETSC_TRUE};
      times += Step(residents, &scan);
      for (int a = 0; a < CROWD; a++)
        for (int k = 0; k < dim; k++)
          place[a][k] = MFGBoundaryRule(&axis[k], MFGStep(place[a][k], values[k * cells], 1, 0, 0));
      AssertEachIsOnce(backend, &grid, residents, place);
    }
    if (size == 1) assert_int_equal(times, 3);
    if (size > 1) assert_true(times > 3);
    free(values);
    MFG_OK(MFGMemoryFree(backend->memory, &drift));
    MFG_OK(MFGResidentsDestroy(&residents));
    MFG_OK(MFGExchangeDestroy(&x));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(WhoLeavesBecomesARecord), cmocka_unit_test(RecordsGoTheWayToTheirBoxes),
    cmocka_unit_test(RecordsBecomeAgents), cmocka_unit_test(RoomIsMadeForWhoMoves)};
MFG_TEST_MAIN(tests)
