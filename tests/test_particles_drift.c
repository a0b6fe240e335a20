/* The drift that a scan of agents is given, made in the backend's memory or on the host: in every
 * cell what the function says there; around a rank's box that of the owner of the cell beyond,
 * wrapped on periodic axes, and beyond a wall that of the cell inside, with the component normal to
 * the wall turned round. */
#include "solvers/agent_drift.h"
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

enum { BEGIN = 3, END = 5 };

static const Box boxes[] = {{1, {17, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W}},
                            {1, {17, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P}},
                            {2, {9, 14, 1}, {0, -1, 0}, {1, 2, 1}, {P, W}},
                            {2, {8, 7, 1}, {0, -1, 0}, {1, 2, 1}, {W, W}},
                            {3, {6, 7, 8}, {0, -1, 3}, {1, 2, 5}, {W, P, W}},
                            {3, {7, 6, 8}, {0, -1, 3}, {1, 2, 5}, {P, W, P}}};
#define BOXES ((int)(sizeof boxes / sizeof boxes[0]))

/* A number that tells level, component and cell apart from all others. */
static double Value(const MFGBlock *b, int level, int component, const int cell[]) {
  const int64_t at = cell[0] + (int64_t)b->cells[0] * (cell[1] + (int64_t)b->cells[1] * cell[2]);
  return (double)(1 + component + 3 * (level + 10 * at)) / 7;
}

typedef struct {
  const MFGGrid *grid;
  const MFGMemoryOps *memory; /* of the drift */
} Context;

static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  const Context *c = context;
  const MFGBlock *b = &c->grid->block;
  const int64_t owned = MFGBlockOwned(b), count = (end - begin) * b->dim * owned;
  double *values, *v;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(count, &values));
  v = values;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < owned; i++) {
        int cell[MFG_MAX_DIM];
        OwnedCell(b, i, cell);
        *v++ = Value(b, n, k, cell);
      }
  PetscCall(MFGMemoryCopy(c->memory, count, sizeof *drift, MFG_COPY_FROM_HOST, values, drift));
  PetscCall(PetscFree(values));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The drift of a cell of the grid or beyond it. */
static double Expected(const MFGBlock *b, int level, int component, const int cell[]) {
  int inside[MFG_MAX_DIM];
  double sign = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    const int beyond = cell[k] < 0 || cell[k] >= b->cells[k];
    inside[k] = cell[k];
    if (beyond && b->boundary[k][0] == P) inside[k] = (cell[k] + b->cells[k]) % b->cells[k];
    if (beyond && b->boundary[k][0] != P) {
      inside[k] = cell[k] < 0 ? 0 : b->cells[k] - 1;
      if (component == k) sign = -sign;
    }
  }
  return sign * Value(b, level, component, inside);
}

static void AssertIs(const MFGBlock *b, const MFGExtent *e, const MFGMemoryOps *memory,
                     const double *there) {
  const int64_t cells = MFGExtentCells(e), count = (END - BEGIN) * b->dim * cells;
  double *values = malloc(count * sizeof *values), *v = values;
  MFG_OK(MFGMemoryCopy(memory, count, sizeof *values, MFG_COPY_TO_HOST, there, values));
  for (int n = BEGIN; n < END; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < cells; i++, v++) {
        const int cell[3] = {e->start[0] + (int)(i % e->count[0]),
                             e->start[1] + (int)(i / e->count[0] % e->count[1]),
                             e->start[2] + (int)(i / e->count[0] / e->count[1])};
        if (*v != Expected(b, n, k, cell))
          fail_msg("level %d, component %d at %d %d %d: %g in place of %g", n, k, cell[0], cell[1],
                   cell[2], *v, Expected(b, n, k, cell));
      }
  free(values);
}

static void CheckBox(const Box *box, PetscBool there) {
  const MFGBackend *backend = MFGTestMemory();
  const MFGCarrier *carrier = there ? backend->carrier : &MFGCarrier_Host;
  MFGGrid grid;
  MFGExchange x;
  CreateGrid(PETSC_COMM_WORLD, box, &grid);
  Context context = {&grid, carrier->memory};
  MFGAgentDrift whole = {.backend = backend, .there = there}, mine = whole;
  const MFGBlock all = MFGGridWhole(&grid);
  MFG_OK(MFGExchangeCreate(PETSC_COMM_WORLD, carrier, &all, grid.divisions, &x));
  for (int again = 0; again < 2; again++) {
    MFG_OK(MFGAgentDriftWhole(&whole, &grid, x, BEGIN, END, Drift, &context));
    const MFGExtent cells = MFGBlockWidened(&all, (const int[]){0, 0, 0});
    AssertIs(&all, &cells, backend->memory, whole.values);
    MFG_OK(MFGAgentDriftBox(&mine, &grid, x, BEGIN, END, Drift, &context));
    const MFGExtent rim = MFGBlockWidened(&grid.box, (const int[]){1, 1, 1});
    AssertIs(&all, &rim, backend->memory, mine.values);
  }
  MFG_OK(MFGAgentDriftDestroy(&whole));
  MFG_OK(MFGAgentDriftDestroy(&mine));
  MFG_OK(MFGExchangeDestroy(&x));
  MFG_OK(MFGGridDestroy(&grid));
}

static void OfTheHost(void **state) {
  (void)state;
  for (int i = 0; i < BOXES; i++) CheckBox(&boxes[i], PETSC_FALSE);
}

static void OfTheBackend(void **state) {
  (void)state;
  for (int i = 0; i < BOXES; i++)
    if (boxes[i].dim > 1) CheckBox(&boxes[i], PETSC_TRUE);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(OfTheHost),
                                          cmocka_unit_test(OfTheBackend)};
MFG_TEST_MAIN(tests)
