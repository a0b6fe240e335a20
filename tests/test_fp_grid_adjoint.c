/* The Fokker-Planck step on the grid is the exact transpose of the linearised HJB step: duality,
 * mass, positivity, a stationary density, transport by a given drift, and moments of a field. */
#include "tests/hjb_fixture.h"

#include "solvers/fp_grid.h"
#include "solvers/star.h"

enum { STEPS = 4 };

typedef struct {
  MFGGrid grid;
  int64_t owned;
  MFGHJBSpec spec;
  MFGLinearStep step;
  double *U, *M, *drift;
} Sweep;

/* Between -1 and 1, by the number of the cell in the whole grid: the same on any number of ranks.
 */
static double Noise(const MFGBlock *b, int i, int j, int k, int salt) {
  const int at =
      ((b->start[2] + k) * b->cells[1] + b->start[1] + j) * b->cells[0] + b->start[0] + i;
  const double x = sin(12.9898 * (at + 1) + 78.233 * salt) * 43758.5453;
  return 2 * (x - floor(x)) - 1;
}

static void FillNoise(const MFGBlock *b, int salt, double scale, double *field) {
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) *field++ = scale * Noise(b, i, j, k, salt);
}

static const MFGBoundary P = MFG_BOUNDARY_PERIODIC, W = MFG_BOUNDARY_NOFLUX;

static void Open(int dim, MFGHamiltonian h, double nu, double dt, PetscBool given, Sweep *s) {
  const int cells[] = {9, 7, 8};
  const double lower[] = {0, -1, .5}, upper[] = {1.5, 1, 2};
  const MFGBoundary faces[][2] = {{dim == 2 ? W : P, dim == 2 ? W : P}, {W, W}, {P, P}};
  memset(s, 0, sizeof *s);
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, dim, cells, lower, upper, faces, &s->grid));
  const MFGBlock *b = &s->grid.block;
  s->owned = MFGBlockOwned(b);
  s->U = NewField((STEPS + 1) * s->owned);
  s->M = NewField((STEPS + 1) * s->owned);
  s->drift = NewField((STEPS + 1) * dim * s->owned);
  for (int n = 0; n <= STEPS; n++) {
    FillNoise(b, n, 1, s->U + n * s->owned);
    for (int k = 0; k < dim; k++)
      FillNoise(b, 10 + 3 * n + k, .7, s->drift + (n * dim + k) * s->owned);
  }
  s->spec = (MFGHJBSpec){.dt = dt,
                         .nu = nu,
                         .steps = STEPS,
                         .hamiltonian = h,
                         .drift_levels = given ? STEPS + 1 : 0,
                         .drift = s->drift};
  MFG_OK(MFGLinearStepCreate(&s->grid, Backend(), &s->spec, &s->step));
}

static void Close(Sweep *s) {
  MFG_OK(PetscFree(s->U));
  MFG_OK(PetscFree(s->M));
  MFG_OK(PetscFree(s->drift));
  MFG_OK(MFGLinearStepDestroy(&s->step));
  MFG_OK(MFGGridDestroy(&s->grid));
}

static double Dot(const Sweep *s, const double *x, const double *y) {
  double sum = 0;
  for (int64_t i = 0; i < s->owned; i++) sum += x[i] * y[i];
  MFG_OK(MFGGridSum(&s->grid, 1, &sum));
  return sum;
}

static double Lowest(const Sweep *s, const double *x) {
  double low = -PETSC_MAX_REAL;
  for (int64_t i = 0; i < s->owned; i++) low = fmax(low, -x[i]);
  MFG_OK(MFGGridMax(&s->grid, 1, &low));
  return -low;
}

/* A rough density with a hole: zero in half the cells. */
static void FillRough(Sweep *s) {
  FillNoise(&s->grid.block, 99, 1, s->M);
  for (int64_t i = 0; i < s->owned; i++) s->M[i] = fmax(s->M[i], 0);
}

/* J w at U^n by the residual itself: R is differentiable where no difference of U is zero, and
 * quadratic between kinks, so that central differences are exact for the quadratic Hamiltonian. */
static void Directional(const Sweep *s, int n, const double *w, double *product) {
  const double eps = 1e-6;
  const int64_t owned = s->owned;
  MFGHJBStep step =
      MFGHJBSpecStep(&s->spec, &s->grid.block, MFGHJBSpecDrift(&s->spec, &s->grid.block, n));
  double *zero = NewField(owned), *r = NewField(2 * owned), *x = NewField(owned);
  MFGStarGhosts ghosts;
  const double *ghosted;
  step.next = step.source = zero;
  MFG_OK(MFGStarGhostsCreate(&s->grid, Backend(), &ghosts));
  for (int side = 0; side < 2; side++) {
    for (int64_t i = 0; i < owned; i++) x[i] = s->U[n * owned + i] + (side ? -eps : eps) * w[i];
    MFG_OK(MFGStarGhostsFill(ghosts, x, &ghosted));
    MFG_OK(MFGBackendHJBResidual(Backend(), &step, ghosted, r + side * owned));
  }
  for (int64_t i = 0; i < owned; i++) product[i] = (r[i] - r[owned + i]) / (2 * eps);
  MFG_OK(MFGStarGhostsDestroy(&ghosts));
  MFG_OK(PetscFree(x));
  MFG_OK(PetscFree(zero));
  MFG_OK(PetscFree(r));
}

static const MFGHamiltonian hamiltonians[] = {{MFG_HAMILTONIAN_QUADRATIC, 1.3, 2},
                                              {MFG_HAMILTONIAN_POWER, .8, 3}};

/* <J w, M^{n+1}> = <w, M^n>/dt for any w: to rounding with the module's J, and with the derivative
 * of the HJB residual by differences, for every step of a sweep. */
static void TestDuality(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int k = 0; k < 4; k++) {
      Sweep s;
      MFGFokkerPlanckStats stats;
      Open(dim, hamiltonians[k / 2], .04, .1, (PetscBool)(k % 2), &s);
      double *w = NewField(s.owned), *Jw = NewField(s.owned);
      FillNoise(&s.grid.block, 50, 1, w);
      FillRough(&s);
      MFG_OK(MFGFokkerPlanckSweep(s.step, s.U, PETSC_FALSE, 1e-15, s.M, &stats));
      assert_int_equal(stats.reason, KSP_CONVERGED_ITERATING);
      for (int n = 0; n < STEPS; n++) {
        const double *before = s.M + n * s.owned, *after = before + s.owned;
        const double right = Dot(&s, w, before) / s.spec.dt;
        const double scale = sqrt(Dot(&s, before, before) * Dot(&s, w, w)) / s.spec.dt;
        MFG_OK(MFGLinearStepLoad(s.step, n, n + 1));
        MFG_OK(MFGLinearStepSet(s.step, n));
        MFG_OK(MFGLinearStepMultiply(s.step, PETSC_FALSE, w, Jw));
        MFG_ASSERT_NEAR(Dot(&s, Jw, after) / scale, right / scale, 1e-13);
        Directional(&s, n, w, Jw);
        MFG_ASSERT_NEAR(Dot(&s, Jw, after) / scale, right / scale, 1e-8);
      }
      MFG_OK(PetscFree(w));
      MFG_OK(PetscFree(Jw));
      Close(&s);
    }
}

/* For steps a thousand times too long for an explicit scheme too. The second sweep starts from the
 * first one's answer. */
static void TestMassAndPositivity(void **state) {
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int k = 0; k < 3; k++) {
      const double dt[] = {1e-3, .1, 10};
      Sweep s;
      MFGFokkerPlanckStats stats;
      PetscInt cold = 0;
      Open(dim, hamiltonians[0], .04, dt[k], PETSC_TRUE, &s);
      double *one = NewField(s.owned);
      for (int64_t i = 0; i < s.owned; i++) one[i] = 1;
      FillRough(&s);
      const double mass = Dot(&s, s.M, one);
      for (int sweep = 0; sweep < 2; sweep++) {
        MFG_OK(MFGFokkerPlanckSweep(s.step, s.U, (PetscBool)sweep, 1e-13, s.M, &stats));
        assert_int_equal(stats.reason, KSP_CONVERGED_ITERATING);
        assert_true(stats.defect < 1e-11);
        if (sweep == 0) cold = stats.krylov;
        for (int n = 1; n <= STEPS; n++) {
          MFG_ASSERT_NEAR(Dot(&s, s.M + n * s.owned, one) / mass, 1, 1e-13);
          assert_true(Lowest(&s, s.M + n * s.owned) > -1e-11);
        }
      }
      if (dim > 1) assert_true(3 * stats.krylov < cold);
      MFG_OK(PetscFree(one));
      Close(&s);
    }
}

/* Without value and drift the uniform density stays, and a cosine between walls loses 1 + dt nu k^2
 * a step, k^2 = 4/h^2 sin^2(pi h/(2 L)); under a constant drift on a circle the mass centre of the
 * first mode turns by b dt, to first order. */
static void TestStationary(void **state) {
  const double nu = .04, dt = .1;
  Sweep s;
  MFGFokkerPlanckStats stats;
  (void)state;
  Open(2, hamiltonians[0], nu, dt, PETSC_FALSE, &s);
  const MFGBlock *b = &s.grid.block;
  memset(s.U, 0, (STEPS + 1) * s.owned * sizeof *s.U);
  const double h = b->spacing[0], length = 1.5, wave = PI / length;
  int64_t at = 0;
  for (int j = 0; j < b->count[1]; j++)
    for (int i = 0; i < b->count[0]; i++)
      s.M[at++] = 1 + .5 * cos(wave * MFGCellCenter(b, 0, b->start[0] + i));
  MFG_OK(MFGFokkerPlanckSweep(s.step, s.U, PETSC_FALSE, 1e-14, s.M, &stats));
  const double decay = 1 / (1 + dt * nu * 4 / (h * h) * pow(sin(wave * h / 2), 2));
  for (int n = 1; n <= STEPS; n++)
    for (int64_t i = 0; i < s.owned; i++)
      MFG_ASSERT_NEAR(s.M[n * s.owned + i] - 1, pow(decay, n) * (s.M[i] - 1), 1e-12);
  Close(&s);

  Open(1, hamiltonians[0], 0, 1e-4, PETSC_TRUE, &s);
  memset(s.U, 0, (STEPS + 1) * s.owned * sizeof *s.U);
  for (int64_t i = 0; i < (STEPS + 1) * s.owned; i++) s.drift[i] = .7;
  for (int64_t i = 0; i < s.owned; i++) s.M[i] = i == 4;
  MFG_OK(MFGFokkerPlanckSweep(s.step, s.U, PETSC_FALSE, 1e-14, s.M, &stats));
  /* Upwind: with c = b dt/h the mass of a cell goes to the next one on the right only. */
  const double c = .7 * 1e-4 / s.grid.block.spacing[0];
  MFG_ASSERT_NEAR(s.M[s.owned + 4], 1 / (1 + c), 1e-9);
  MFG_ASSERT_NEAR(s.M[s.owned + 5], c / (1 + c) / (1 + c), 1e-9);
  assert_true(s.M[s.owned + 3] < 1e-20);
  Close(&s);
}

static void TestStatistics(void **state) {
  MFGSampleStatistics statistics;
  Sweep s;
  (void)state;
  /* axes 0 and 2 periodic, 1.5 and 1.5 long; axis 1 between walls from -1 on, 2 long */
  Open(3, hamiltonians[0], .04, .1, PETSC_FALSE, &s);
  const MFGBlock *b = &s.grid.block;
  int64_t at = 0;
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        const int x = b->start[0] + i, y = b->start[1] + j, z = b->start[2] + k;
        s.M[at++] = (x == 0) * 3. * (y == 1 || y == 5) * (z == 3) +
                    (x == 8) * 1. * (y == 1 || y == 5) * (z == 3);
      }
  MFG_OK(MFGFieldStatistics(&s.grid, s.M, &statistics));
  const double hx = 1.5 / 9, hy = 2. / 7, hz = 1.5 / 8;
  /* three quarters in the first cell, one in the last, which lie side by side */
  MFG_ASSERT_NEAR(statistics.mean[0], hx * (.5 - .25), 1e-14);
  MFG_ASSERT_NEAR(statistics.variance[0], hx * hx * 3 / 16, 1e-14);
  MFG_ASSERT_NEAR(statistics.mean[1], -1 + 3.5 * hy, 1e-14);
  MFG_ASSERT_NEAR(statistics.variance[1], 4 * hy * hy, 1e-14);
  MFG_ASSERT_NEAR(statistics.mean[2], .5 + 3.5 * hz, 1e-14);
  MFG_ASSERT_NEAR(statistics.variance[2], 0, 1e-14);
  Close(&s);
}

/* A solver that may not iterate: said so, with the level. */
static void TestFailure(void **state) {
  MFGFokkerPlanckStats stats;
  Sweep s;
  (void)state;
  MFG_OK(PetscOptionsSetValue(NULL, "-fp_ksp_max_it", "1"));
  Open(2, hamiltonians[0], .04, 10, PETSC_FALSE, &s);
  MFG_OK(PetscOptionsClearValue(NULL, "-fp_ksp_max_it"));
  FillRough(&s);
  MFG_OK(MFGFokkerPlanckSweep(s.step, s.U, PETSC_FALSE, 1e-14, s.M, &stats));
  assert_int_equal(stats.reason, KSP_DIVERGED_ITS);
  assert_int_equal(stats.level, 1);
  assert_non_null(strstr(stats.message, "level 1"));
  Close(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestDuality), cmocka_unit_test(TestMassAndPositivity),
    cmocka_unit_test(TestStationary), cmocka_unit_test(TestStatistics),
    cmocka_unit_test(TestFailure)};

MFG_TEST_MAIN(tests)
