/* Rims of boxes and agents on their way, for every division into as many boxes as there are ranks:
 * a rim holds what the owner of each cell holds, an agent ends where its position says. */
#include "solvers/exchange.h"
#include "solvers/particle_point.h"
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box boxes[] = {
    {1, {33, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W}},
    {1, {33, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P}},
    {2, {21, 14, 1}, {0, -1, 0}, {1, 2, 1}, {P, W}},
    {2, {15, 29, 1}, {0, -1, 0}, {1, 2, 1}, {W, P}},
    {3, {14, 15, 16}, {0, -1, 3}, {1, 2, 5}, {P, W, P}},
    {3, {16, 15, 14}, {0, -1, 3}, {1, 2, 5}, {W, P, W}},
};
#define BOXES ((int)(sizeof boxes / sizeof boxes[0]))

/* A number that tells the cell and the field apart from all others. */
static int64_t Mark(const MFGBlock *b, const int cell[], int field) {
  return 1 + field +
         3 * (cell[0] + (int64_t)b->cells[0] * (cell[1] + (int64_t)b->cells[1] * cell[2]));
}

/* The owner's cell that a cell of the rim stands for; 0 beyond a wall. */
static int Wrapped(const MFGBlock *b, int cell[]) {
  for (int k = 0; k < b->dim; k++) {
    if (cell[k] >= 0 && cell[k] < b->cells[k]) continue;
    if (b->boundary[k][0] != P) return 0;
    cell[k] = (cell[k] + b->cells[k]) % b->cells[k];
  }
  return 1;
}

/* Fields of numbers of 4 or 8 bytes, in the backend's memory. */
static void CheckRims(const Box *box, int element) {
  const MFGBackend *backend = MFGTestMemory();
  MFGGrid grid;
  MFGExchange x;
  PetscMPIInt rank;
  char *there;
  CreateGrid(PETSC_COMM_WORLD, box, &grid);
  MFG_OK(MFGExchangeCreate(PETSC_COMM_WORLD, backend->carrier, &grid.box, grid.divisions, &x));
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  const MFGBlock *b = &grid.box;
  MFGHalo halo = {.element = element, .fields = 3};
  for (int k = 0; k < b->dim; k++) halo.width[k] = PetscMin(k + 1, b->cells[k] / grid.divisions[k]);
  const MFGExtent e = MFGBlockWidened(b, halo.width);
  const int64_t numbers = 3 * MFGExtentCells(&e);
  char *field = calloc(numbers, element);
  MFG_OK(MFGMemoryAllocate(backend->memory, numbers, element, &there));
  for (int pass = 0; pass < 2; pass++) {
    char *v = field;
    if (pass) {
      MFG_OK(MFGMemoryCopy(backend->memory, numbers, element, MFG_COPY_FROM_HOST, field, there));
      MFG_OK(MFGExchangeHalo(x, &halo, there));
      MFG_OK(MFGMemoryCopy(backend->memory, numbers, element, MFG_COPY_TO_HOST, there, field));
    }
    for (int f = 0; f < 3; f++)
      for (int64_t c = 0; c < MFGExtentCells(&e); c++, v += element) {
        int cell[3] = {e.start[0] + (int)(c % e.count[0]),
                       e.start[1] + (int)(c / e.count[0] % e.count[1]),
                       e.start[2] + (int)(c / e.count[0] / e.count[1])};
        int own = 1;
        int64_t mark = 0;
        for (int k = 0; k < 3; k++)
          own &= cell[k] >= b->start[k] && cell[k] < b->start[k] + b->count[k];
        if (pass ? Wrapped(b, cell) : own) mark = Mark(b, cell, f);
        if (!pass)
          memcpy(v, &mark, element);
        else
          assert_memory_equal(v, &mark, element);
      }
  }
  const MFGBlock whole = MFGGridWhole(&grid);
  assert_int_equal(MFGExchangeBytesMoved(x).halo,
                   MFGExchangeHaloBytes(&whole, grid.divisions, rank, &halo));
  free(field);
  MFG_OK(MFGMemoryFree(backend->memory, &there));
  MFG_OK(MFGExchangeDestroy(&x));
  MFG_OK(MFGGridDestroy(&grid));
}

static void RimsHoldWhatTheirOwnersHold(void **state) {
  (void)state;
  for (int i = 0; i < BOXES; i++)
    for (int element = 4; element <= 8; element += 4) CheckRims(&boxes[i], element);
}

/* The travellers, on the host, in the backend's memory for a migration. */
static void Migrate(MFGExchange x, int dim, const MFGTravellers *t) {
  const MFGMemoryOps *m = MFGTestMemory()->memory;
  const int64_t words = t->capacity * (dim + 1);
  MFGTravellers there = *t;
  MFG_OK(MFGMemoryAllocate(m, words, sizeof(double), &there.record));
  MFG_OK(MFGMemoryAllocate(m, 1, sizeof(MFGTraffic), &there.traffic));
  MFG_OK(MFGMemoryCopy(m, words, sizeof(double), MFG_COPY_FROM_HOST, t->record, there.record));
  MFG_OK(MFGMemoryCopy(m, 1, sizeof(MFGTraffic), MFG_COPY_FROM_HOST, t->traffic, there.traffic));
  MFG_OK(MFGExchangeMigrate(x, &there));
  MFG_OK(MFGMemoryCopy(m, words, sizeof(double), MFG_COPY_TO_HOST, there.record, t->record));
  MFG_OK(MFGMemoryCopy(m, 1, sizeof(MFGTraffic), MFG_COPY_TO_HOST, there.traffic, t->traffic));
  MFG_OK(MFGMemoryFree(m, &there.record));
  MFG_OK(MFGMemoryFree(m, &there.traffic));
}

/* Rank r sends 10 + r agents to anywhere. */
static void Throw(const MFGBlock *b, int rank, const MFGTravellers *t) {
  uint64_t seed = 100 + (uint64_t)rank;
  t->traffic->travelling = 10 + rank;
  for (int64_t i = 0; i < t->traffic->travelling; i++) {
    double *record = t->record + i * (b->dim + 1);
    const int64_t id = rank * 1000 + i;
    for (int k = 0; k < b->dim; k++)
      record[k] = b->lower[k] + TestUniform(&seed) * (b->upper[k] - b->lower[k]);
    memcpy(record + b->dim, &id, sizeof id);
  }
}

/* [agents], [sum of ids], [sum of hashes of the records] over all ranks. */
static void Tally(int dim, const MFGTravellers *t, int64_t tally[3]) {
  memset(tally, 0, 3 * sizeof *tally);
  for (int64_t i = 0; i < t->traffic->travelling; i++) {
    const double *record = t->record + i * (dim + 1);
    int64_t id;
    memcpy(&id, record + dim, sizeof id);
    tally[0]++;
    tally[1] += id;
    tally[2] += (int64_t)(Checksum(record, (dim + 1) * sizeof *record) >> 8);
  }
  MFG_OK(MFGExchangeSumInt64(PETSC_COMM_WORLD, 3, tally));
}

static void AgentsReachTheirBoxesOverAnyDistance(void **state) {
  (void)state;
  for (int i = 0; i < BOXES; i++) {
    MFGGrid grid;
    MFGExchange x;
    PetscMPIInt rank, size;
    double record[4 * 400] = {0};
    int64_t before[3], after[3];
    CreateGrid(PETSC_COMM_WORLD, &boxes[i], &grid);
    MFG_OK(MFGExchangeCreate(PETSC_COMM_WORLD, MFGTestMemory()->carrier, &grid.box, grid.divisions,
                             &x));
    MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
    MPI_Comm_size(PETSC_COMM_WORLD, &size);
    MFGTraffic traffic = {.travelling = 0};
    const MFGTravellers t = {.message = 100,
                             .capacity = 400,
                             .record = record,
                             .rounds = {7, 7, 7},
                             .traffic = &traffic};
    Throw(&grid.box, rank, &t);
    Tally(grid.box.dim, &t, before);
    Migrate(x, grid.box.dim, &t);
    Tally(grid.box.dim, &t, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(before[0], size * 10 + size * (size - 1) / 2);
    for (int k = 0; k < grid.box.dim; k++) {
      const MFGAxis axis = MFGAxisOf(&grid.box, k);
      assert_int_equal(traffic.strays[k], 0);
      for (int64_t a = 0; a < traffic.travelling; a++) {
        double in_cell;
        const int cell = MFGCellOf(&axis, t.record[a * (grid.box.dim + 1) + k], &in_cell);
        assert_in_range(cell, grid.box.start[k], grid.box.start[k] + grid.box.count[k] - 1);
      }
    }
    const MFGBlock whole = MFGGridWhole(&grid);
    assert_int_equal(MFGExchangeBytesMoved(x).migration,
                     MFGExchangeMigrationBytes(&whole, grid.divisions, rank, &t));
    MFG_OK(MFGExchangeDestroy(&x));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* Messages of two records, and no hop: what was missing is told, nothing is written beyond. */
static void MissingRoomIsTold(void **state) {
  (void)state;
  MFGGrid grid;
  MFGExchange x;
  PetscMPIInt rank, size;
  double record[2 * 400] = {0};
  CreateGrid(PETSC_COMM_WORLD, &boxes[1], &grid);
  MFG_OK(
      MFGExchangeCreate(PETSC_COMM_WORLD, MFGTestMemory()->carrier, &grid.box, grid.divisions, &x));
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  MFGTraffic traffic = {.travelling = 0};
  MFGTravellers t = {
      .message = 2, .capacity = 400, .record = record, .rounds = {1}, .traffic = &traffic};
  Throw(&grid.box, rank, &t);
  Migrate(x, grid.box.dim, &t);
  int64_t most[2] = {traffic.most_message, traffic.strays[0]};
  MFG_OK(MFGExchangeMax(x, 2, most));
  if (size > 1) assert_true(most[0] > 2);
  traffic = (MFGTraffic){.travelling = 0};
  t = (MFGTravellers){.message = 100, .capacity = 400, .record = record, .traffic = &traffic};
  Throw(&grid.box, rank, &t);
  Migrate(x, grid.box.dim, &t);
  most[0] = traffic.strays[0];
  MFG_OK(MFGExchangeMax(x, 1, most));
  assert_int_equal(most[0] > 0, size > 1);
  MFG_OK(MFGExchangeDestroy(&x));
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(RimsHoldWhatTheirOwnersHold),
                                          cmocka_unit_test(AgentsReachTheirBoxesOverAnyDistance),
                                          cmocka_unit_test(MissingRoomIsTold)};
MFG_TEST_MAIN(tests)
