/* How many multigrid cycles a level of the HJB equation takes, and that it is solved by them: on
 * all sizes, shapes, boundaries and rank counts; against the plain set-up. */
#include "tests/hjb_fixture.h"

typedef struct {
  const char *name;
  int dim, cells[MFG_MAX_DIM];
  double length[MFG_MAX_DIM];
  int walls[MFG_MAX_DIM]; /* per axis; else periodic */
  double nu, dt, exponent, drift;
  double steepness; /* 0: the value of T1, -2 nu log(1 + .8 prod cos 2 pi x); else its amplitude */
  double bound;     /* cycles per level */
} Case;

typedef struct {
  MFGGrid grid;
  MFGHJB hjb;
  const Case *c;
  int64_t owned;
  int steps;
  double *U, *terminal, *drift;
  MFGHJBStats stats;
} Sweep;

static double TerminalAt(const Case *c, const double x[]) {
  double product = 1;
  for (int k = 0; k < c->dim; k++) product *= cos(2 * PI * x[k] / c->length[k]);
  return c->steepness > 0 ? c->steepness * product : -2 * c->nu * log(1 + .8 * product);
}

static PetscErrorCode Source(void *context, int level, double *source) {
  const Sweep *s = context;
  const MFGBlock *b = &s->grid.block;
  double x[MFG_MAX_DIM];
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        Center(b, b->start[0] + i, b->start[1] + j, b->start[2] + k, x);
        *source++ = .1 * cos(.1 * level) * sin(2 * PI * x[0] / s->c->length[0]);
      }
  return PETSC_SUCCESS;
}

static void Open(Sweep *s, const Case *c, int steps, MPI_Comm world) {
  const double lower[] = {0, 0, 0};
  MFGBoundary faces[MFG_MAX_DIM][2];
  double x[MFG_MAX_DIM];

  memset(s, 0, sizeof *s);
  s->c = c;
  s->steps = steps;
  for (int k = 0; k < MFG_MAX_DIM; k++)
    faces[k][0] = faces[k][1] = c->walls[k] ? MFG_BOUNDARY_NOFLUX : MFG_BOUNDARY_PERIODIC;
  MFG_OK(MFGGridCreate(world, c->dim, c->cells, lower, c->length, (const MFGBoundary(*)[2])faces,
                       &s->grid));
  const MFGBlock *b = &s->grid.block;
  s->owned = MFGBlockOwned(b);
  s->U = NewField((steps + 1) * s->owned);
  s->terminal = NewField(s->owned);
  s->drift = NewField(c->dim * s->owned);
  double *at = s->terminal;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        Center(b, b->start[0] + i, b->start[1] + j, b->start[2] + k, x);
        for (int axis = 0; axis < c->dim; axis++)
          s->drift[axis * s->owned + (at - s->terminal)] =
              c->drift * cos(2 * PI * x[(axis + 1) % c->dim] + axis);
        *at++ = TerminalAt(c, x);
      }
  const MFGHJBSpec spec = {
      .dt = c->dt,
      .nu = c->nu,
      .steps = steps,
      .hamiltonian = {c->exponent == 2 ? MFG_HAMILTONIAN_QUADRATIC : MFG_HAMILTONIAN_POWER, 1,
                      c->exponent},
      .drift_levels = c->drift != 0,
      .drift = s->drift};
  MFG_OK(MFGHJBCreate(&s->grid, Backend(), &spec, &s->hjb));
}

static void Close(Sweep *s) {
  MFG_OK(PetscFree(s->U));
  MFG_OK(PetscFree(s->terminal));
  MFG_OK(PetscFree(s->drift));
  MFG_OK(MFGHJBDestroy(&s->hjb));
  MFG_OK(MFGGridDestroy(&s->grid));
}

static void Run(Sweep *s, double tolerance) {
  MFG_OK(MFGHJBSweep(s->hjb, Source, s, s->terminal, PETSC_FALSE, tolerance, s->U, &s->stats));
  if (s->stats.reason < 0) fail_msg("%s: %s", s->c->name, s->stats.message);
}

enum { STEPS = 10 };

#define SQUARE(n)                                                                                  \
  2, {n, n, 1}, {                                                                                  \
    1, 1, 1                                                                                        \
  }
#define CUBE(n)                                                                                    \
  3, {n, n, n}, {                                                                                  \
    1, 1, 1                                                                                        \
  }
#define TORUS                                                                                      \
  { 0, 0, 0 }
#define WALLS                                                                                      \
  { 1, 1, 1 }

/* Bounds: measured, and half a cycle or a tenth more. */
static const Case cases[] = {
    {"64^2", SQUARE(64), TORUS, .05, .01, 2, 0, 0, 5.0},
    {"128^2", SQUARE(128), TORUS, .05, .01, 2, 0, 0, 5.5},
    {"256^2", SQUARE(256), TORUS, .05, .01, 2, 0, 0, 5.5},
    {"512^2", SQUARE(512), TORUS, .05, .01, 2, 0, 0, 5.5},
    {"256^2, walls", SQUARE(256), WALLS, .05, .01, 2, 0, 0, 6.0},
    {"256^2, 10 dt", SQUARE(256), TORUS, .05, .1, 2, 0, 0, 8.0},
    {"256^2, small nu", SQUARE(256), TORUS, .005, .01, 2, 0, 0, 2.5},
    {"128^2, mixed, drift", SQUARE(128), {0, 1, 0}, .05, .01, 2, 2, 0, 7.5},
    {"128^2, power 1.5", SQUARE(128), TORUS, .05, .01, 1.5, 0, 0, 5.5},
    {"128^2, power 3", SQUARE(128), TORUS, .05, .01, 3, 0, 0, 5.5},
    {"65x37", 2, {65, 37, 1}, {1, .6, 1}, {1, 0, 0}, .05, .01, 2, 0, 0, 5.5},
    {"30x50", 2, {30, 50, 1}, {1, 2, 1}, {0, 1, 0}, .05, .01, 2, 0, 0, 3.5},
    {"63x63", SQUARE(63), WALLS, .05, .01, 2, 0, 0, 5.0},
    {"128x128, 1:10", 2, {128, 128, 1}, {1, 10, 1}, TORUS, .05, .01, 2, 0, 0, 4.0},
    {"128x128, 10:1, walls", 2, {128, 128, 1}, {10, 1, 1}, WALLS, .05, .01, 2, 0, 0, 4.0},
    {"100x5", 2, {100, 5, 1}, {1, .5, 1}, {1, 0, 0}, .05, .01, 2, 0, 0, 5.0},
    {"32^3", CUBE(32), TORUS, .05, .02, 2, 0, 0, 6.0},
    {"64^3", CUBE(64), TORUS, .05, .02, 2, 0, 0, 7.5},
    {"20x31x17, mixed", 3, {20, 31, 17}, {1, 1.2, .8}, {0, 1, 0}, .05, .02, 2, 0, 0, 5.5},
    {"64x16x16, 1:1:10", 3, {64, 16, 16}, {1, .25, 2.5}, {0, 1, 0}, .05, .02, 2, 0, 0, 7.0},
    {"128^2, steep", SQUARE(128), TORUS, .00045, .02, 2, 0, 1, 15.0},
    {"256^2, steep", SQUARE(256), TORUS, .00045, .05, 2, 0, 1, 18.5},
    {"256^2, steep, walls", SQUARE(256), WALLS, .00045, .05, 2, 0, 1, 20.5},
};

static const Case large[] = {
    {"1024^2", SQUARE(1024), TORUS, .05, .01, 2, 0, 0, 5.5},
    {"128^3", CUBE(128), TORUS, .05, .02, 2, 0, 0, 8},
};

static void CheckCycles(const Case *c) {
  Sweep s;
  Open(&s, c, STEPS, PETSC_COMM_WORLD);
  Run(&s, 1e-8);
  const double cycles = (double)s.stats.krylov / STEPS;
  print_message("%-22s %.1f cycles per level (%.1f)\n", c->name, cycles, c->bound);
  assert_int_equal(s.stats.krylov, s.stats.newton); /* no second attempt: a cycle per step */
  assert_true(cycles <= c->bound);
  Close(&s);
}

static void TestCycles(void **state) {
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) CheckCycles(&cases[k]);
}

static void TestLarge(void **state) {
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(large); k++) CheckCycles(&large[k]);
}

/* The plain set-up gives the same values, to the tolerance: a level's error is at most the residual
 * times dt, for the inverse of the M-matrix is bounded by dt. */
static void TestPlain(void **state) {
  const char *names[] = {"64^2",
                         "65x37",
                         "30x50",
                         "32^3",
                         "20x31x17, mixed",
                         "128^2, power 1.5",
                         "128^2, power 3",
                         "128^2, mixed, drift",
                         "128^2, steep"};
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(names); k++)
    for (size_t c = 0; c < PETSC_STATIC_ARRAY_LENGTH(cases); c++) {
      if (strcmp(cases[c].name, names[k])) continue;
      Sweep fast, plain;
      Open(&fast, &cases[c], STEPS, PETSC_COMM_WORLD);
      MFG_OK(PetscOptionsSetValue(NULL, "-hjb_mat_type", "aij"));
      Open(&plain, &cases[c], STEPS, PETSC_COMM_WORLD);
      MFG_OK(PetscOptionsClearValue(NULL, "-hjb_mat_type"));
      Run(&fast, 1e-9);
      Run(&plain, 1e-9);
      for (int64_t i = 0; i < (STEPS + 1) * fast.owned; i++)
        MFG_ASSERT_NEAR(fast.U[i], plain.U[i], 2 * STEPS * 2e-9);
      Close(&fast);
      Close(&plain);
    }
}

/* On three and four ranks, of boxes with odd counts too, as few cycles as on one. (Where the drift
 * dominates lone cells at the ends of odd boxes cost a fifth more: 16.5 on three ranks.) */
static void TestManyRanks(void **state) {
  const Case odd[] = {
      {"77x58", 2, {77, 58, 1}, {1, .8, 1}, {0, 1, 0}, .05, .01, 2, 0, 0, 5},
      {"23x18x20", 3, {23, 18, 20}, {1, .8, .9}, {0, 1, 0}, .05, .02, 2, 0, 0, 6},
      {"128^2, steep", SQUARE(128), TORUS, .00045, .02, 2, 0, 1, 18},
  };
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(odd); k++) CheckCycles(&odd[k]);
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    const int *n = cases[k].cells;
    if (n[0] * n[1] * PetscMax(n[2], 1) <= 128 * 128 * 2 && cases[k].steepness == 0)
      CheckCycles(&cases[k]);
  }
}

/* Where a fast drift goes round between walls, one cycle is not enough for a Newton step: the
 * second attempt solves the linear systems. */
static void TestSecondAttempt(void **state) {
  const Case eddies = {"eddies", SQUARE(128), WALLS, .0005, .3, 2, 3, .5, 0};
  Sweep s, plain;
  (void)state;
  Open(&s, &eddies, 2, PETSC_COMM_WORLD);
  MFG_OK(PetscOptionsSetValue(NULL, "-hjb_mat_type", "aij"));
  MFG_OK(PetscOptionsSetValue(NULL, "-hjb_ksp_type", "gmres"));
  Open(&plain, &eddies, 2, PETSC_COMM_WORLD);
  MFG_OK(PetscOptionsClearValue(NULL, "-hjb_mat_type"));
  MFG_OK(PetscOptionsClearValue(NULL, "-hjb_ksp_type"));
  Run(&s, 1e-8);
  Run(&plain, 1e-8);
  print_message("eddies: %d Newton steps, %d cycles\n", (int)s.stats.newton, (int)s.stats.krylov);
  assert_true(s.stats.krylov > s.stats.newton);
  for (int64_t i = 0; i < 3 * s.owned; i++) MFG_ASSERT_NEAR(s.U[i], plain.U[i], 1e-7);
  Close(&s);
  Close(&plain);
}

/* The same rank count gives the same bits. */
static void TestSameBits(void **state) {
  Sweep a, b;
  (void)state;
  Open(&a, &cases[10], STEPS, PETSC_COMM_WORLD);
  Open(&b, &cases[10], STEPS, PETSC_COMM_WORLD);
  Run(&a, 1e-8);
  Run(&b, 1e-8);
  assert_memory_equal(a.U, b.U, (STEPS + 1) * a.owned * sizeof *a.U);
  Close(&a);
  Close(&b);
}

int main(int argc, char **argv) {
  const struct CMUnitTest few[] = {cmocka_unit_test(TestCycles), cmocka_unit_test(TestPlain),
                                   cmocka_unit_test(TestSecondAttempt),
                                   cmocka_unit_test(TestSameBits)};
  const struct CMUnitTest many[] = {cmocka_unit_test(TestManyRanks)};
  const struct CMUnitTest slow[] = {cmocka_unit_test(TestLarge)};
  PetscMPIInt size;
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  int failed = argc > 1   ? cmocka_run_group_tests(slow, NULL, NULL)
               : size > 2 ? cmocka_run_group_tests(many, NULL, NULL)
                          : cmocka_run_group_tests(few, NULL, NULL);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
