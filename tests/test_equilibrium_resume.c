/* A solve that stops after every piece of its work, its state copied away, and goes on in new
 * objects ends as the one that was never stopped: the same bits of everything, every map once. */
#include "tests/hjb_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "solvers/anderson.h"
#include "solvers/continuation.h"

enum { STEPS = 4, MOST_MAPS = 60, MOST_ITEMS = 80 };

/* A state, copied away. */
typedef struct {
  char name[64];
  size_t bytes;
  char *copy;
} Kept;

typedef struct {
  /* What was seen. */
  int maps, asked, parts, products;
  int pieces[MFG_PIECES];
  double residual[MOST_MAPS], value[MOST_MAPS], exploitability[MOST_MAPS];
  int stage[MOST_MAPS];
  PetscInt newton[MOST_MAPS];
  /* What was kept. */
  PetscBool stops, map_seen;
  int kept_count;
  Kept kept[MOST_ITEMS];
  int64_t owned;
} Witness;

typedef struct {
  const char *name;
  int dim;
  MFGOuterMethod method;
  PetscBool grid, fresh, single, direct;
  double bandwidth; /* 0: by a rule */
  int exploitability, stages;
} Case;

static PetscErrorCode Seen(void *context, const MFGIteration *it) {
  Witness *w = context;
  PetscFunctionBeginUser;
  assert_true(w->maps < MOST_MAPS);
  assert_int_equal(it->iteration, w->maps + 1);
  w->residual[w->maps] = it->density_residual;
  w->value[w->maps] = it->value_residual;
  w->exploitability[w->maps] = it->exploitability;
  w->newton[w->maps] = it->newton;
  w->stage[w->maps++] = it->stage;
  w->products += (int)it->products;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Stops after every piece; within a step of Newton's method, which begins again, after some of them
 * once the part has got somewhere. */
static PetscErrorCode Decide(void *context, MFGPiece piece, int64_t work, PetscBool *save,
                             PetscBool *stop) {
  Witness *w = context;
  PetscFunctionBeginUser;
  (void)work;
  w->pieces[piece]++;
  w->asked++;
  if (piece == MFG_PIECE_MAP) w->map_seen = PETSC_TRUE;
  *stop =
      (PetscBool)(w->stops && (piece != MFG_PIECE_PRODUCT || (w->map_seen && w->asked % 3 == 0)));
  *save = (PetscBool)(*stop || w->asked % 5 == 0);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static size_t BytesOf(const MFGStateItem *item, int64_t owned) {
  const size_t n = (size_t)item->count;
  if (item->kind == MFG_STATE_INTEGERS) return n * item->size;
  if (item->kind == MFG_STATE_FLOW) return n * (size_t)owned * sizeof(double);
  if (item->kind == MFG_STATE_FLOW_SINGLE) return n * (size_t)owned * sizeof(float);
  if (item->kind == MFG_STATE_REALS) return n * sizeof(double);
  return (size_t)item->records.local * (size_t)item->records.words * sizeof(double);
}

static void Forget(Witness *w) {
  for (int i = 0; i < w->kept_count; i++) free(w->kept[i].copy);
  w->kept_count = 0;
}

static PetscErrorCode Save(void *context, const MFGState *state) {
  Witness *w = context;
  PetscFunctionBeginUser;
  Forget(w);
  assert_true(state->count < MFG_STATE_MAX);
  for (int i = 0; i < state->count; i++) {
    const MFGStateItem *item = &state->item[i];
    Kept *k = &w->kept[w->kept_count++];
    assert_true(strlen(item->name) < sizeof k->name);
    for (int j = 0; j < i; j++) assert_string_not_equal(item->name, state->item[j].name);
    strcpy(k->name, item->name);
    k->bytes = BytesOf(item, w->owned);
    k->copy = malloc(k->bytes + 1);
    if (item->kind == MFG_STATE_RECORDS)
      PetscCall(
          item->records.get(item->records.context, 0, item->records.local, (double *)k->copy));
    else if (k->bytes)
      memcpy(k->copy, item->data, k->bytes);
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Restore(void *context, const MFGState *state) {
  const Witness *w = context;
  PetscFunctionBeginUser;
  for (int i = 0; i < state->count; i++) {
    const MFGStateItem *item = &state->item[i];
    const Kept *k = w->kept;
    while (k < w->kept + w->kept_count && strcmp(k->name, item->name)) k++;
    if (k == w->kept + w->kept_count) fail_msg("%s was not saved", item->name);
    if (item->kind == MFG_STATE_RECORDS) {
      const int64_t count = (int64_t)(k->bytes / sizeof(double)) / item->records.words;
      const double *record = (const double *)k->copy;
      PetscCall(item->records.put(item->records.context, count / 2, record, PETSC_FALSE));
      PetscCall(item->records.put(item->records.context, count - count / 2,
                                  record + count / 2 * item->records.words, PETSC_TRUE));
    } else {
      assert_int_equal(k->bytes, BytesOf(item, w->owned));
      if (k->bytes) memcpy(item->data, k->copy, k->bytes);
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static double Crowd(const double x[]) {
  return 1 + .6 * cos(PI * (x[0] + .3)) + (x[1] ? .3 * sin(PI * x[1]) : 0);
}
static double Hill(const double x[]) {
  return .7 * cos(PI * x[0]) + .2 * x[1] * x[1];
}

typedef struct {
  MFGGrid grid;
  int64_t owned;
  double *potential, *m0, *M, *U;
  MFGSampleStatistics *statistics;
  MFGEquilibriumSpec spec;
  MFGContinuation continuation;
} Game;

static void Open(const Case *c, Game *g) {
  const int cells[] = {c->dim == 1 ? 20 : 12, 10, 1};
  double mass = 0;
  memset(g, 0, sizeof *g);
  MakeGrid(c->dim, cells, -1, 1, MFG_BOUNDARY_NOFLUX, &g->grid);
  g->owned = MFGBlockOwned(&g->grid.block);
  const int64_t whole = MFGBlockCells(&g->grid.block);
  g->potential = NewField(g->owned);
  g->m0 = NewField(whole);
  g->M = NewField((STEPS + 1) * g->owned);
  g->U = NewField((STEPS + 1) * g->owned);
  MFG_OK(PetscCalloc1(STEPS + 1, &g->statistics));
  Fill(&g->grid.block, Hill, g->potential);
  Fill(&g->grid.block, Crowd, g->M);
  MFG_OK(MFGGridGather(&g->grid, 1, g->M, g->m0));
  for (int64_t i = 0; i < whole; i++) mass += g->m0[i] * MFGCellVolume(&g->grid.block);
  for (int64_t i = 0; i < whole; i++) g->m0[i] /= mass;
  g->spec = (MFGEquilibriumSpec){
      .horizon = .4,
      .nu = .1,
      .steps = STEPS,
      .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2},
      .running = {.potential_levels = 1,
                  .potential = g->potential,
                  .coupling = {MFG_COUPLING_POWER, .8, 1}},
      .terminal = {.potential_levels = 1, .potential = g->potential},
      .fokker_planck = c->grid ? MFG_FOKKER_PLANCK_GRID : MFG_FOKKER_PLANCK_PARTICLES,
      .agents = c->direct ? 200 : 600,
      .seed = 5,
      .single = c->single,
      .initial_density = g->m0,
      .density_method = c->direct ? MFG_DENSITY_DIRECT : MFG_DENSITY_MOMENTS,
      .bandwidth_rule = c->bandwidth > 0 ? MFG_BANDWIDTH_FIXED : MFG_BANDWIDTH_SILVERMAN,
      .bandwidth = {c->bandwidth, c->bandwidth, c->bandwidth},
      .density_tolerance = 1e-3,
      .method = c->method,
      .tolerance = 1e-7,
      .damping = c->method == MFG_OUTER_PICARD ? .6 : 1,
      .max_iterations = 9,
      .memory = 3,
      .exploitability = c->exploitability,
      .fresh = c->fresh};
  g->continuation = (MFGContinuation){.count = c->stages,
                                      .coupling = {c->stages > 1 ? .4 : 1, 1},
                                      .viscosity = {c->stages > 1 ? 2 : 1, 1}};
}

static void Close(Game *g) {
  MFG_OK(PetscFree(g->potential));
  MFG_OK(PetscFree(g->m0));
  MFG_OK(PetscFree(g->M));
  MFG_OK(PetscFree(g->U));
  MFG_OK(PetscFree(g->statistics));
  MFG_OK(MFGGridDestroy(&g->grid));
}

/* One part of a solve, in objects of its own; the agents by id and by box in turns. */
static void SolvePart(Game *g, Witness *w, PetscBool turns, MFGOutcome *outcome) {
  const MFGStageCallbacks callbacks = {.monitor = Seen,
                                       .decide = Decide,
                                       .save = Save,
                                       .restore = w->parts ? Restore : NULL,
                                       .context = w};
  MFGEquilibrium last;
  if (!w->parts) {
    MFG_OK(MFGGridRestrict(&g->grid, 1, g->m0, g->M));
    for (int n = 1; n <= STEPS; n++) MFG_OK(PetscArraycpy(g->M + n * g->owned, g->M, g->owned));
  } else { /* nothing but the state may survive */
    for (int64_t i = 0; i < (STEPS + 1) * g->owned; i++) g->M[i] = g->U[i] = NAN;
    memset(g->statistics, 255, (STEPS + 1) * sizeof *g->statistics);
  }
  w->map_seen = PETSC_FALSE;
  g->spec.decomposition =
      turns && w->parts % 2 ? MFG_DECOMPOSITION_DOMAIN : MFG_DECOMPOSITION_REPLICATED;
  MFG_OK(MFGContinuationSolve(&g->grid, Backend(), &g->spec, &g->continuation, &callbacks, g->M,
                              g->U, g->statistics, &last, outcome));
  w->parts++;
  MFG_OK(MFGEquilibriumDestroy(&last));
}

static void AssertSame(const Case *c, const Game *a, const Game *b) {
  const size_t flow = (size_t)((STEPS + 1) * a->owned) * sizeof(double);
  if (memcmp(a->M, b->M, flow)) fail_msg("%s: another density", c->name);
  if (memcmp(a->U, b->U, flow)) fail_msg("%s: another value", c->name);
  for (int n = 0; n <= STEPS; n++)
    if (memcmp(&a->statistics[n], &b->statistics[n], sizeof *a->statistics))
      fail_msg("%s: other statistics of level %d", c->name, n);
}

static void TryCase(const Case *c, PetscBool turns) {
  Witness whole = {0}, parts = {.stops = PETSC_TRUE};
  MFGOutcome one, many;
  Game a, b;
  Open(c, &a);
  Open(c, &b);
  whole.owned = parts.owned = a.owned;
  SolvePart(&a, &whole, PETSC_FALSE, &one);
  do {
    SolvePart(&b, &parts, turns, &many);
    assert_true(parts.parts < 2000);
  } while (many.reason == MFG_STOP_INTERRUPTED);
  print_message("%s: %d maps, %d pieces in %d parts: map %d, value %d, agents %d, density %d, "
                "product %d\n",
                c->name, whole.maps, parts.asked, parts.parts, parts.pieces[0], parts.pieces[1],
                parts.pieces[2], parts.pieces[3], parts.pieces[4]);
  assert_true(parts.parts > 2 && whole.maps > 2);
  assert_int_equal(whole.parts, 1);
  assert_int_equal(one.reason, many.reason);
  assert_int_equal(one.iterations, many.iterations);
  assert_string_equal(one.message, many.message);
  assert_int_equal(whole.maps, parts.maps);
  assert_int_equal(one.mixture_floor, many.mixture_floor);
  assert_int_equal(one.products, many.products);
  assert_int_equal(whole.products, parts.products);
  for (int k = 0; k < whole.maps; k++) {
    if (whole.residual[k] != parts.residual[k] || whole.value[k] != parts.value[k])
      fail_msg("%s: map %d: residuals %g, %g and in parts %g, %g", c->name, k + 1,
               whole.residual[k], whole.value[k], parts.residual[k], parts.value[k]);
    assert_memory_equal(&whole.exploitability[k], &parts.exploitability[k], sizeof(double));
    assert_int_equal(whole.stage[k], parts.stage[k]);
    assert_int_equal(whole.newton[k], parts.newton[k]);
  }
  AssertSame(c, &a, &b);
  Forget(&whole);
  Forget(&parts);
  Close(&a);
  Close(&b);
}

static const Case cases[] = {
    {"anderson", 1, MFG_OUTER_ANDERSON, .stages = 1},
    {"anderson, fixed bandwidth", 1, MFG_OUTER_ANDERSON, .bandwidth = .2, .stages = 1},
    {"anderson, 2D", 2, MFG_OUTER_ANDERSON, .bandwidth = .25, .stages = 1},
    {"anderson, single precision", 2, MFG_OUTER_ANDERSON, .single = PETSC_TRUE, .stages = 1},
    {"anderson, direct density", 1, MFG_OUTER_ANDERSON, .bandwidth = .2, .direct = PETSC_TRUE,
     .stages = 1},
    {"direct density, 2D, single precision", 2, MFG_OUTER_ANDERSON, .bandwidth = .25,
     .direct = PETSC_TRUE, .single = PETSC_TRUE, .stages = 1},
    {"picard", 1, MFG_OUTER_PICARD, .stages = 1},
    {"fictitious play", 1, MFG_OUTER_FICTITIOUS_PLAY, .stages = 1},
    {"fresh random numbers", 1, MFG_OUTER_PICARD, .fresh = PETSC_TRUE, .stages = 1},
    {"continuation", 1, MFG_OUTER_ANDERSON, .exploitability = 2, .stages = 2},
    {"newton with agents", 1, MFG_OUTER_NEWTON, .bandwidth = .2, .stages = 1},
    {"grid", 1, MFG_OUTER_ANDERSON, PETSC_TRUE, .exploitability = 1, .stages = 1},
    {"grid, 2D", 2, MFG_OUTER_ANDERSON, PETSC_TRUE, .stages = 1},
    {"newton on the grid", 1, MFG_OUTER_NEWTON, PETSC_TRUE, .exploitability = 1, .stages = 2},
    {"newton on the grid, 2D", 2, MFG_OUTER_NEWTON, PETSC_TRUE, .stages = 1},
};

static void TestEveryPiece(void **state) {
  (void)state;
  MFG_OK(MFGAndersonRegister());
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) TryCase(&cases[k], PETSC_FALSE);
}

/* Agents by id in one part, by box in the next, between two steps of their sweep too (the direct
 * density stops after each): the same bits. */
static void TestOtherDivision(void **state) {
  (void)state;
  for (int k = 1; k <= 5; k++)
    if (cases[k].bandwidth > 0) TryCase(&cases[k], PETSC_TRUE);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(TestEveryPiece),
                                          cmocka_unit_test(TestOtherDivision)};
MFG_TEST_MAIN(tests)
