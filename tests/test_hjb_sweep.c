/* The backward sweep: its levels, its failures, and what does not depend on the rank count. */
#include "tests/hjb_fixture.h"

enum { STEPS = 6 };

typedef struct {
  MFGGrid grid;
  MFGHJBSpec spec;
  MFGHJB hjb;
  MFGHJBStats stats;
  int64_t owned;
  double *U, *terminal, *drift;
  double amplitude;
  int nan_level;
} Sweep;

static const int cells_2d[] = {12, 10}, cells_1d[] = {30}, cells_3d[] = {7, 6, 5};

static double Bump(const double x[]) {
  return cos(2 * PI * x[0]) * (1 + .5 * cos(PI * x[1])) + .3 * x[2] * x[2];
}

/* In 3D the last axis has the other kind of boundary. */
static void OpenPlain(Sweep *s, MPI_Comm world, int dim, MFGBoundary boundary, double amplitude) {
  const double lower[] = {0, 0, -1}, upper[] = {1, 1.5, 1.2};
  const MFGBoundary other =
      boundary == MFG_BOUNDARY_NOFLUX ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX;
  const MFGBoundary faces[][2] = {{boundary, boundary}, {boundary, boundary}, {other, other}};
  const int *const sizes[] = {NULL, cells_1d, cells_2d, cells_3d};
  memset(s, 0, sizeof *s);
  MFG_OK(MFGGridCreate(world, dim, sizes[dim], lower, upper, faces, &s->grid));
  s->owned = MFGBlockOwned(&s->grid.block);
  s->amplitude = amplitude;
  s->U = NewField((STEPS + 1) * s->owned);
  s->terminal = NewField(s->owned);
  s->drift = NewField((STEPS + 1) * dim * s->owned);
  for (int64_t i = 0; i < (STEPS + 1) * dim * s->owned; i++)
    s->drift[i] = .3 * (double)(i / (dim * s->owned)); /* grows with the level */
  s->spec = (MFGHJBSpec){.dt = .1,
                         .nu = .05,
                         .steps = STEPS,
                         .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2},
                         .drift_levels = STEPS + 1,
                         .drift = s->drift};
  MFG_OK(MFGHJBCreate(&s->grid, Backend(), &s->spec, &s->hjb));
  Fill(&s->grid.block, Bump, s->terminal);
}

/* On more than two ranks a direct solver in 2D and 3D: each message of a cycle waits for all ranks
 * to get a core, which takes a minute where the ranks outnumber the cores. */
static void Open(Sweep *s, MPI_Comm world, int dim, MFGBoundary boundary, double amplitude) {
  const char *direct[][2] = {
      {"-hjb_mat_type", "aij"}, {"-hjb_ksp_type", "preonly"}, {"-hjb_pc_type", "redundant"}};
  PetscMPIInt size;
  MPI_Comm_size(world, &size);
  for (int k = 0; k < 3 && size > 2 && dim > 1; k++)
    MFG_OK(PetscOptionsSetValue(NULL, direct[k][0], direct[k][1]));
  OpenPlain(s, world, dim, boundary, amplitude);
  for (int k = 0; k < 3 && size > 2 && dim > 1; k++)
    MFG_OK(PetscOptionsClearValue(NULL, direct[k][0]));
}

static void Close(Sweep *s) {
  MFG_OK(PetscFree(s->U));
  MFG_OK(PetscFree(s->terminal));
  MFG_OK(PetscFree(s->drift));
  MFG_OK(MFGHJBDestroy(&s->hjb));
  MFG_OK(MFGGridDestroy(&s->grid));
}

static double CostFormula(const double x[]) {
  return sin(2 * PI * x[0]) + x[1] * x[1] + .7 * cos(2 * x[2]);
}

static PetscErrorCode Cost(void *context, int level, double *source) {
  const Sweep *s = context;
  Fill(&s->grid.block, CostFormula, source);
  for (int64_t i = 0; i < s->owned; i++) source[i] *= s->amplitude * (1 + .1 * level);
  if (level == s->nan_level) source[0] = NAN;
  return PETSC_SUCCESS;
}

static void Run(Sweep *s, PetscBool warm, double tolerance) {
  MFG_OK(MFGHJBSweep(s->hjb, Cost, s, s->terminal, warm, tolerance, s->U, &s->stats));
}

static PetscErrorCode LevelAsCost(void *context, int level, double *source) {
  const Sweep *s = context;
  for (int64_t i = 0; i < s->owned; i++) source[i] = level;
  return PETSC_SUCCESS;
}

/* F = level, U^Nt = 2: flat in space, so U^n = 2 + dt (n+1 + ... + Nt). */
static void TestLevels(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    Sweep s;
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_NOFLUX, 1);
    for (int64_t i = 0; i < s.owned; i++) s.terminal[i] = 2;
    MFG_OK(MFGHJBSweep(s.hjb, LevelAsCost, &s, s.terminal, PETSC_FALSE, 1e-12, s.U, &s.stats));
    double expected = 2;
    for (int n = STEPS; n >= 0; expected += .1 * n--)
      for (int64_t i = 0; i < s.owned; i++) MFG_ASSERT_NEAR(s.U[n * s.owned + i], expected, 1e-10);
    MFG_ASSERT_NEAR(s.stats.minimum, 2, 1e-12);
    MFG_ASSERT_NEAR(s.stats.maximum, 4.1, 1e-10);
    MFG_ASSERT_NEAR(s.stats.change, 4.1, 1e-10); /* from zeros */
    Close(&s);
  }
}

/* Every level satisfies the equation, with b of level n and F of level n + 1. */
static void TestEquation(void **state) {
  (void)state;
  for (int k = 0; k < 12; k++) {
    const int dim = 1 + k % 3;
    Sweep s;
    Open(&s, PETSC_COMM_SELF, dim, k / 3 % 2 ? MFG_BOUNDARY_NOFLUX : MFG_BOUNDARY_PERIODIC, 3);
    if (k / 6) {
      MFG_OK(MFGHJBDestroy(&s.hjb));
      s.spec.hamiltonian = (MFGHamiltonian){MFG_HAMILTONIAN_POWER, 2, 1.5};
      MFG_OK(MFGHJBCreate(&s.grid, Backend(), &s.spec, &s.hjb));
    }
    Run(&s, PETSC_FALSE, 1e-9);
    assert_int_equal(s.stats.reason, SNES_CONVERGED_ITERATING);
    double *ghosted = NewField(GhostedCells(&s.grid.block));
    double *source = NewField(s.owned), *residual = NewField(s.owned);
    for (int n = 0; n < STEPS; n++) {
      double range = 1, low = 1e9, high = -1e9;
      MFG_OK(Cost(&s, n + 1, source));
      const MFGHJBStep step = {.block = s.grid.block,
                               .dt = .1,
                               .nu = .05,
                               .hamiltonian = s.spec.hamiltonian,
                               .next = s.U + (n + 1) * s.owned,
                               .source = source,
                               .drift = s.drift + n * dim * s.owned};
      AddGhosts(&s.grid.block, s.U + n * s.owned, ghosted);
      MFG_OK(MFGBackendHJBResidual(Backend(), &step, ghosted, residual));
      for (int64_t i = 0; i < s.owned; i++) {
        low = fmin(low, step.next[i]);
        high = fmax(high, step.next[i]);
      }
      range = fmax(range, high - low);
      for (int64_t i = 0; i < s.owned; i++) MFG_ASSERT_NEAR(residual[i] * step.dt, 0, 1e-9 * range);
    }
    MFG_OK(PetscFree(ghosted));
    MFG_OK(PetscFree(source));
    MFG_OK(PetscFree(residual));
    Close(&s);
  }
}

/* A NaN in F^3 stops the sweep at level 2 and the message names the culprit. */
static void TestNaN(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    Sweep s;
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_PERIODIC, 1);
    s.nan_level = 3;
    Run(&s, PETSC_FALSE, 1e-9);
    assert_int_equal(s.stats.reason, SNES_DIVERGED_FUNCTION_NANORINF);
    assert_int_equal(s.stats.level, 2);
    assert_non_null(strstr(s.stats.message, "level 2"));
    assert_non_null(strstr(s.stats.message, "running cost holds a NaN"));
    assert_true(isfinite(s.stats.maximum));
    s.nan_level = 0; /* the next sweep is not harmed, nor by NaN in its first guess */
    for (int64_t i = 0; i < s.owned; i++) s.U[2 * s.owned + i] = NAN;
    Run(&s, PETSC_TRUE, 1e-9);
    assert_int_equal(s.stats.reason, SNES_CONVERGED_ITERATING);
    for (int64_t i = 0; i < (STEPS + 1) * s.owned; i++) assert_true(isfinite(s.U[i]));
    Close(&s);
  }
}

static void TestTooFewIterations(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    Sweep s;
    MFG_OK(PetscOptionsSetValue(NULL, "-hjb_snes_max_it", "1"));
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_PERIODIC, 40);
    MFG_OK(PetscOptionsClearValue(NULL, "-hjb_snes_max_it"));
    Run(&s, PETSC_FALSE, 1e-9);
    assert_int_equal(s.stats.reason, SNES_DIVERGED_MAX_IT);
    assert_int_equal(s.stats.level, STEPS - 1);
    assert_int_equal(s.stats.newton, 2); /* one of each attempt */
    assert_true(s.stats.norm_start > s.stats.norm_end && s.stats.norm_end > 1e-9);
    assert_non_null(strstr(s.stats.message, "level 5"));
    assert_non_null(strstr(s.stats.message, "MAX_IT"));
    Close(&s);
  }
}

/* From its own solution a sweep needs no Newton step; after a small change fewer than cold: a third
 * fewer where linear systems are solved; of steps that are multigrid cycles, each a fixed factor,
 * the share of the digits that the change leaves. */
static void TestWarmStart(void **state) {
  (void)state;
  for (int k = 1; k <= 5; k++) {
    const int dim = k > 3 ? k - 2 : k, solved = dim == 1 || k > 3;
    Sweep s;
    if (k > 3) MFG_OK(PetscOptionsSetValue(NULL, "-hjb_ksp_type", "bcgs"));
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_PERIODIC, 3);
    MFG_OK(PetscOptionsClearValue(NULL, "-hjb_ksp_type"));
    Run(&s, PETSC_FALSE, 1e-8);
    const PetscInt cold = s.stats.newton;
    Run(&s, PETSC_TRUE, 1e-8);
    assert_int_equal(s.stats.newton, 0);
    assert_true(s.stats.change == 0);
    s.amplitude *= 1.01;
    Run(&s, PETSC_TRUE, 1e-8);
    print_message("Newton steps in %d levels: %d cold, %d warm\n", STEPS, (int)cold,
                  (int)s.stats.newton);
    assert_true(s.stats.newton > 0);
    assert_true(solved ? 3 * s.stats.newton <= 2 * cold : 4 * s.stats.newton <= 3 * cold);
    assert_true(s.stats.change > 1e-4 && s.stats.change < 1e-1);
    Close(&s);
  }
}

/* The costs change by a constant: the shift of the level just solved makes the guess exact. */
static void TestShift(void **state) {
  Sweep s;
  (void)state;
  Open(&s, PETSC_COMM_WORLD, 1, MFG_BOUNDARY_PERIODIC, 3);
  Run(&s, PETSC_FALSE, 1e-8);
  for (int64_t i = 0; i < s.owned; i++) s.terminal[i] += 5;
  Run(&s, PETSC_TRUE, 1e-8);
  assert_int_equal(s.stats.newton, 0);
  MFG_ASSERT_NEAR(s.stats.change, 5, 1e-12);
  Close(&s);
}

/* A tolerance no floating point number can meet ends at the level of rounding errors. */
static void TestRounding(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    Sweep s;
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_NOFLUX, 3);
    Run(&s, PETSC_FALSE, 0);
    assert_int_equal(s.stats.reason, SNES_CONVERGED_ITERATING);
    Close(&s);
  }
}

/* -hjb_... options reach the solver and do not change the answer. */
static void TestOptions(void **state) {
  const char *values[][2] = {
      {"-hjb_pc_type", "lu"}, {"-hjb_snes_linesearch_type", "bt"}, {"-hjb_pc_type", "ilu"}};
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int k = 0; k < 3; k++) {
      Sweep a, b;
      Open(&a, PETSC_COMM_SELF, dim, MFG_BOUNDARY_PERIODIC, 3);
      MFG_OK(PetscOptionsSetValue(NULL, values[k][0], values[k][1]));
      if (dim > 1 && k != 1) MFG_OK(PetscOptionsSetValue(NULL, "-hjb_mat_type", "aij"));
      if (dim == 1 && k == 2) MFG_OK(PetscOptionsSetValue(NULL, "-hjb_ksp_type", "gmres"));
      Open(&b, PETSC_COMM_SELF, dim, MFG_BOUNDARY_PERIODIC, 3);
      Run(&a, PETSC_FALSE, 1e-12);
      Run(&b, PETSC_FALSE, 1e-12);
      if (dim > 1 && k == 0) assert_int_equal(b.stats.krylov, b.stats.newton);
      for (int64_t i = 0; i < (STEPS + 1) * a.owned; i++) MFG_ASSERT_NEAR(a.U[i], b.U[i], 1e-10);
      MFG_OK(PetscOptionsClearValue(NULL, values[k][0]));
      if (dim > 1 && k != 1) MFG_OK(PetscOptionsClearValue(NULL, "-hjb_mat_type"));
      if (dim == 1 && k == 2) MFG_OK(PetscOptionsClearValue(NULL, "-hjb_ksp_type"));
      Close(&a);
      Close(&b);
    }
}

/* The drift of the sweep's levels, with b of the level: here of a linear value function. */
static double Plane(const double x[]) {
  return 2 * x[0] - x[1] + 3 * x[2];
}

static void TestDriftLevels(void **state) {
  const double slope[] = {2, -1, 3};
  (void)state;
  for (int dim = 1; dim <= 3; dim++) {
    Sweep s;
    Open(&s, PETSC_COMM_WORLD, dim, MFG_BOUNDARY_NOFLUX, 1);
    const MFGBlock *b = &s.grid.block;
    double *drift = NewField(3 * dim * s.owned), *at = drift;
    for (int n = 0; n <= STEPS; n++) {
      Fill(b, Plane, s.U + n * s.owned);
      for (int64_t i = 0; i < s.owned; i++) s.U[n * s.owned + i] *= n;
    }
    MFG_OK(MFGHJBDrift(s.hjb, 2, 5, s.U, &MFGMemoryOps_Host, drift));
    for (int n = 2; n < 5; n++)
      for (int axis = 0; axis < dim; axis++)
        for (int64_t i = 0; i < s.owned; i++, at++) {
          const int64_t cell[] = {i % b->count[0], i / b->count[0] % b->count[1],
                                  i / b->count[0] / b->count[1]};
          const int64_t x = b->start[axis] + cell[axis];
          const int edge = x == 0 || x == b->cells[axis] - 1;
          if (axis == 2 && edge) continue; /* periodic: the plane jumps there */
          MFG_ASSERT_NEAR(*at, .3 * n - n * slope[axis] * (edge ? .5 : 1), 1e-12);
        }
    MFG_OK(PetscFree(drift));
    Close(&s);
  }
}

/* 2D, 3D: the same as on one rank, to the solver tolerance. 1D: the same bits. */
static void TestRanks(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int wall = 0; wall < 2; wall++) {
      const MFGBoundary boundary = wall ? MFG_BOUNDARY_NOFLUX : MFG_BOUNDARY_PERIODIC;
      Sweep all, one;
      if (wall || dim == 3)
        Open(&all, PETSC_COMM_WORLD, dim, boundary, 3);
      else
        OpenPlain(&all, PETSC_COMM_WORLD, dim, boundary, 3);
      Open(&one, PETSC_COMM_SELF, dim, boundary, 3);
      Run(&all, PETSC_FALSE, 1e-9);
      Run(&one, PETSC_FALSE, 1e-9);
      double *whole = NewField((STEPS + 1) * one.owned);
      MFG_OK(MFGGridGather(&all.grid, STEPS + 1, all.U, whole));
      if (dim == 1) assert_memory_equal(whole, one.U, (STEPS + 1) * one.owned * sizeof *whole);
      for (int64_t i = 0; i < (STEPS + 1) * one.owned; i++)
        MFG_ASSERT_NEAR(whole[i], one.U[i], 1e-7);
      MFG_ASSERT_NEAR(all.stats.maximum, one.stats.maximum, 1e-7);
      MFG_ASSERT_NEAR(all.stats.minimum, one.stats.minimum, 1e-7);
      MFG_OK(PetscFree(whole));
      Close(&all);
      Close(&one);
    }
}

/* 1D: were a rank's processor to round differently, rank 0 would still decide for all. */
static void TestRankZeroDecides(void **state) {
  PetscMPIInt rank;
  Sweep s, reference;
  (void)state;
  MPI_Comm_rank(PETSC_COMM_WORLD, &rank);
  Open(&s, PETSC_COMM_WORLD, 1, MFG_BOUNDARY_PERIODIC, 3 + rank);
  Open(&reference, PETSC_COMM_SELF, 1, MFG_BOUNDARY_PERIODIC, 3);
  Run(&s, PETSC_FALSE, 1e-9);
  Run(&reference, PETSC_FALSE, 1e-9);
  assert_memory_equal(s.U, reference.U, (STEPS + 1) * s.owned * sizeof *s.U);
  assert_true(s.stats.maximum == reference.stats.maximum);
  assert_int_equal(s.stats.newton, reference.stats.newton);
  Close(&s);
  Close(&reference);
}

int main(int argc, char **argv) {
  const struct CMUnitTest serial[] = {
      cmocka_unit_test(TestEquation),  cmocka_unit_test(TestTooFewIterations),
      cmocka_unit_test(TestWarmStart), cmocka_unit_test(TestShift),
      cmocka_unit_test(TestRounding),  cmocka_unit_test(TestOptions)};
  const struct CMUnitTest parallel[] = {
      cmocka_unit_test(TestLevels), cmocka_unit_test(TestNaN), cmocka_unit_test(TestDriftLevels),
      cmocka_unit_test(TestRanks), cmocka_unit_test(TestRankZeroDecides)};
  PetscMPIInt size;
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MPI_Comm_size(PETSC_COMM_WORLD, &size);
  int failed = cmocka_run_group_tests(parallel, NULL, NULL);
  /* What does not depend on the ranks runs on one: more ranks than cores wait for each other. */
  if (size == 1) failed += cmocka_run_group_tests(serial, NULL, NULL);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize() ? 1 : 0;
}
