/* The scheme with the density on the grid against exact pairs (u, m), to the digits another
 * implementation of the same scheme has:
 *
 *   J(U^n)^T M^{n+1} = M^n / dt,   F = V + kappa (M^{n+1} - m_exact(t_{n+1})),   U^Nt = u_exact(T).
 *
 * Cell centres, errors maximal over all time levels. With the argument `slow` the finest grids. */
#include "tests/hjb_fixture.h"

#include "solvers/anderson.h"
#include "solvers/equilibrium.h"

typedef struct Case Case;

/* The case may use what it wants of itself: dimension, boundaries, nu, T. */
typedef double (*ExactFunction)(const Case *c, double t, const double x[]);

struct Case {
  const char *name;
  int dim, cells[3], steps;
  MFGBoundary boundary[3];
  double upper[3], nu, T, coupling;
  ExactFunction u, m, potential;       /* no potential: NULL */
  double error_u, error_sup, error_l1; /* reference */
};

typedef struct {
  const Case *c;
  MFGGrid grid;
  int64_t owned;
  double *U, *M, *exact, *potential, *terminal, *m0;
  MFGSampleStatistics *statistics;
  MFGOutcome outcome;
} Game;

/* T1: torus, nu = .05, T = .5, eps = delta = .8. */
static double TorusPhi(const Case *c, double amplitude, double duration, const double x[]) {
  double P = 1;
  for (int k = 0; k < c->dim; k++) P *= cos(2 * PI * x[k]);
  return 1 + amplitude * exp(-4 * PI * PI * c->dim * c->nu * duration) * P;
}
static double TorusU(const Case *c, double t, const double x[]) {
  return -2 * c->nu * log(TorusPhi(c, .8, c->T - t, x));
}
static double TorusM(const Case *c, double t, const double x[]) {
  const double mass = 1 + .64 * exp(-4 * PI * PI * c->dim * c->nu * c->T) / (1 << c->dim);
  return TorusPhi(c, .8, c->T - t, x) * TorusPhi(c, .8, t, x) / mass;
}

/* T2: no-flux box, nu = .1, T = .5, eps = .4, delta = .3, beta = .5. */
static double BoxPhi(const Case *c, double t, const double x[]) {
  const double decay = PI * PI * c->nu * (c->T - t);
  return 1 + .4 * exp(-decay) * cos(PI * x[0]) + .3 * exp(-4 * decay) * cos(2 * PI * x[1]);
}
static double BoxU(const Case *c, double t, const double x[]) {
  return -2 * c->nu * log(BoxPhi(c, t, x));
}
static double BoxM(const Case *c, double t, const double x[]) {
  return BoxPhi(c, t, x) *
         (1 + .5 * exp(-2 * PI * PI * c->nu * t) * cos(PI * x[0]) * cos(PI * x[1]));
}

/* T5: m = prod (1 + a_k exp(-kappa w_k^2 t) cos(w_k x_k)) solves m_t = kappa Lap m, and with
 * u = (kappa - nu) log m, V = (kappa^2 - nu^2) (|grad log m|^2 / 2 - Lap m / m) it is an
 * equilibrium. Whole waves along periodic axes, half ones between walls, another number on each
 * axis. */
#define HEAT_KAPPA .2
static void Heat(const Case *c, double t, const double x[], double *m, double *slope2,
                 double *curvature) {
  static const double amplitude[] = {.5, .4, .3};
  static const int number[] = {1, 1, 2};
  *m = 1;
  *slope2 = *curvature = 0;
  for (int k = 0; k < c->dim; k++) {
    const double wave = c->boundary[k] == MFG_BOUNDARY_PERIODIC ? 2 * PI : PI;
    const double w = wave * number[k] / c->upper[k];
    const double a = amplitude[k] * exp(-HEAT_KAPPA * w * w * t);
    const double factor = 1 + a * cos(w * x[k]);
    *m *= factor;
    *slope2 += pow(a * w * sin(w * x[k]) / factor, 2);
    *curvature -= a * w * w * cos(w * x[k]) / factor;
  }
}
static double HeatM(const Case *c, double t, const double x[]) {
  double m, slope2, curvature;
  Heat(c, t, x, &m, &slope2, &curvature);
  return m;
}
static double HeatU(const Case *c, double t, const double x[]) {
  return (HEAT_KAPPA - c->nu) * log(HeatM(c, t, x));
}
static double HeatV(const Case *c, double t, const double x[]) {
  double m, slope2, curvature;
  Heat(c, t, x, &m, &slope2, &curvature);
  return (HEAT_KAPPA * HEAT_KAPPA - c->nu * c->nu) * (slope2 / 2 - curvature);
}

#define TORUS(d, n, u, sup, l1)                                                                    \
  { "T1", d, {n, n, n}, n, {0, 0, 0}, {1, 1, 1}, .05, .5, 1, TorusU, TorusM, NULL, u, sup, l1 }
#define BOX(nx, ny, nt, u, sup, l1)                                                                \
  { "T2", 2, {nx, ny, 1}, nt, {1, 1, 1}, {1, 1, 1}, .1, .5, 1, BoxU, BoxM, NULL, u, sup, l1 }
static const Case cases[] = {
    TORUS(1, 20, 5.157e-3, 4.954e-2, 3.521e-2),    TORUS(1, 40, 2.597e-3, 2.656e-2, 1.864e-2),
    TORUS(1, 80, 1.296e-3, 1.383e-2, 9.654e-3),    TORUS(1, 160, 6.466e-4, 7.056e-3, 4.907e-3),
    TORUS(2, 10, 9.956e-3, .1081, 4.488e-2),       TORUS(2, 20, 5.645e-3, 6.348e-2, 2.627e-2),
    TORUS(2, 40, 2.878e-3, 3.534e-2, 1.415e-2),    TORUS(3, 8, 1.176e-2, .1306, 3.927e-2),
    TORUS(3, 16, 8.383e-3, 9.369e-2, 2.276e-2),    BOX(10, 14, 10, 9.379e-3, 5.513e-2, 2.102e-2),
    BOX(20, 28, 20, 4.706e-3, 3.051e-2, 1.141e-2), BOX(40, 56, 40, 2.330e-3, 1.598e-2, 5.948e-3),
};
static const Case slow[] = {TORUS(2, 64, 1.794e-3, 2.289e-2, 9.091e-3),
                            TORUS(3, 24, 6.098e-3, 6.816e-2, 1.604e-2)};

static double Time(const Case *c, int level) {
  return c->T * level / c->steps;
}

static void FillAt(const Game *g, ExactFunction f, double t, double *field) {
  const MFGBlock *b = &g->grid.block;
  double x[3];
  for (int k = 0; k < b->count[2]; k++)
    for (int j = 0; j < b->count[1]; j++)
      for (int i = 0; i < b->count[0]; i++) {
        Center(b, b->start[0] + i, b->start[1] + j, b->start[2] + k, x);
        *field++ = f(g->c, t, x);
      }
}

static void Open(const Case *c, Game *g) {
  memset(g, 0, sizeof *g);
  g->c = c;
  const double lower[] = {0, 0, 0};
  const int levels = c->steps + 1;
  MFGBoundary faces[3][2];
  for (int k = 0; k < 3; k++) faces[k][0] = faces[k][1] = c->boundary[k];
  MFG_OK(MFGGridCreate(PETSC_COMM_WORLD, c->dim, c->cells, lower, c->upper,
                       (const MFGBoundary(*)[2])faces, &g->grid));
  g->owned = MFGBlockOwned(&g->grid.block);
  g->U = NewField(levels * g->owned);
  g->M = NewField(levels * g->owned);
  g->potential = NewField(levels * g->owned);
  g->exact = NewField(g->owned);
  g->terminal = NewField(g->owned);
  g->m0 = NewField(MFGBlockCells(&g->grid.block));
  MFG_OK(PetscMalloc1(levels, &g->statistics));
  FillAt(g, c->u, c->T, g->terminal);
  for (int n = 0; n < levels; n++) {
    double *V = g->potential + n * g->owned;
    FillAt(g, c->m, 0, g->M + n * g->owned);
    FillAt(g, c->m, Time(c, n), g->exact);
    if (c->potential) FillAt(g, c->potential, Time(c, n), V);
    for (int64_t i = 0; i < g->owned; i++) V[i] -= c->coupling * g->exact[i];
  }
  MFG_OK(MFGGridGather(&g->grid, 1, g->M, g->m0));
}

static void Close(Game *g) {
  double *fields[] = {g->U, g->M, g->exact, g->potential, g->terminal, g->m0};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
  MFG_OK(PetscFree(g->statistics));
  MFG_OK(MFGGridDestroy(&g->grid));
}

static void Iterate(Game *g) {
  const Case *c = g->c;
  const MFGEquilibriumSpec spec = {.horizon = c->T,
                                   .nu = c->nu,
                                   .steps = c->steps,
                                   .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2},
                                   .running = {.potential_levels = c->steps + 1,
                                               .potential = g->potential,
                                               .coupling = {MFG_COUPLING_POWER, c->coupling, 1}},
                                   .terminal = {.potential_levels = 1, .potential = g->terminal},
                                   .fokker_planck = MFG_FOKKER_PLANCK_GRID,
                                   .initial_density = g->m0,
                                   .method = MFG_OUTER_ANDERSON,
                                   .tolerance = 1e-8,
                                   .damping = 1,
                                   .max_iterations = 100,
                                   .memory = 5};
  MFGEquilibrium equilibrium;
  MFG_OK(MFGEquilibriumCreate(&g->grid, Backend(), &spec, &equilibrium));
  MFG_OK(MFGEquilibriumSolve(equilibrium, g->M, g->U, g->statistics, &g->outcome));
  MFG_OK(MFGEquilibriumDestroy(&equilibrium));
}

static void Errors(Game *g, double *u, double *sup, double *l1) {
  double tops[2] = {0};
  *l1 = 0;
  for (int n = 0; n <= g->c->steps; n++) {
    double sum = 0;
    FillAt(g, g->c->u, Time(g->c, n), g->exact);
    for (int64_t i = 0; i < g->owned; i++)
      tops[0] = fmax(tops[0], fabs(g->U[n * g->owned + i] - g->exact[i]));
    FillAt(g, g->c->m, Time(g->c, n), g->exact);
    for (int64_t i = 0; i < g->owned; i++) {
      const double e = fabs(g->M[n * g->owned + i] - g->exact[i]);
      tops[1] = fmax(tops[1], e);
      sum += e;
    }
    MFG_OK(MFGGridSum(&g->grid, 1, &sum));
    *l1 = fmax(*l1, sum * MFGCellVolume(&g->grid.block));
  }
  MFG_OK(MFGGridMax(&g->grid, 2, tops));
  *u = tops[0];
  *sup = tops[1];
}

/* The errors at the equilibrium. */
static void Solve(const Case *c, double *u, double *sup, double *l1) {
  Game g;

  Open(c, &g);
  Iterate(&g);
  Errors(&g, u, sup, l1);
  print_message("%s %dD %3d x %3d x %3d, %3d steps, %2d sweeps: u %.4g (%.4g)  m sup %.4g (%.4g)  "
                "L1 %.4g (%.4g)\n",
                c->name, c->dim, c->cells[0], c->cells[1], c->cells[2], c->steps,
                g.outcome.iterations, *u, c->error_u, *sup, c->error_sup, *l1, c->error_l1);
  assert_int_equal(g.outcome.reason, MFG_STOP_CONVERGED);
  Close(&g);
}

static void Meet(const Case *c) {
  double u, sup, l1;
  Solve(c, &u, &sup, &l1);
  /* The references are rounded to four digits. */
  MFG_ASSERT_NEAR(u / c->error_u, 1, 1e-3);
  MFG_ASSERT_NEAR(sup / c->error_sup, 1, 1e-3);
  MFG_ASSERT_NEAR(l1 / c->error_l1, 1, 1e-3);
}

static void TestSlow(void **state) {
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(slow); k++) Meet(&slow[k]);
}

static void TestReference(void **state) {
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) Meet(&cases[k]);
}

#define HEAT(d, nx, ny, nz, nt, bx, by, bz, u, sup, l1)                                            \
  {                                                                                                \
    "T5", d, {nx, ny, nz}, nt, {bx, by, bz}, {1, 1.5, 2.5}, .1, .25, .5, HeatU, HeatM, HeatV, u,   \
        sup, l1                                                                                    \
  }
/* Pairs of grids, the second twice as fine, periodic and with walls, in 3D also both. The errors
 * are bounds 3 % above what the scheme makes. */
static const Case heat[] = {
    HEAT(2, 20, 16, 1, 16, 0, 0, 0, 9.01e-3, 8.87e-3, 4.51e-3),
    HEAT(2, 40, 32, 1, 32, 0, 0, 0, 4.93e-3, 3.97e-3, 2.01e-3),
    HEAT(2, 16, 20, 1, 16, 1, 1, 1, 1.81e-3, 2.82e-3, 1.91e-3),
    HEAT(2, 32, 40, 1, 32, 1, 1, 1, 9.62e-4, 1.53e-3, 1.09e-3),
    HEAT(3, 10, 8, 18, 8, 0, 0, 0, 1.81e-2, 3.87e-2, 3.24e-2),
    HEAT(3, 20, 16, 36, 16, 0, 0, 0, 1.10e-2, 1.63e-2, 1.21e-2),
    HEAT(3, 8, 10, 12, 8, 1, 0, 1, 6.37e-3, 1.01e-2, 1.04e-2),
    HEAT(3, 16, 20, 24, 16, 1, 0, 1, 3.79e-3, 4.76e-3, 5.08e-3),
};

/* The grids of 3D have ten cells a wave: the order is still on its way to one. */
static void TestHeat(void **state) {
  double before[3] = {0};
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(heat); k++) {
    double e[3];
    Solve(&heat[k], &e[0], &e[1], &e[2]);
    assert_true(e[0] < heat[k].error_u && e[1] < heat[k].error_sup && e[2] < heat[k].error_l1);
    for (int i = 0; i < 3; i++) {
      const double order = log2(before[i] / e[i]);
      if (k % 2) print_message("     order %.3f\n", order);
      if (k % 2) assert_true(order > .7 && order < 1.45);
      before[i] = e[i];
    }
  }
}

static double Half(const double x[]) {
  return x[0] * x[0] / 2;
}

static PetscErrorCode QuadraticSource(void *context, int level, double *source) {
  (void)level;
  Fill(&((const MFGGrid *)context)->block, Half, source);
  return PETSC_SUCCESS;
}

/* LQ-1, q = c = 1, nu = .125: u = x^2/2 + nu (T - t). Away from the walls the error is of order
 * one with the constant of the upwind scheme. */
static void TestLinearQuadratic(void **state) {
  const double reference[] = {4.5e-2, 2.3e-2, 1.2e-2}, nu = .125;
  double before = 0;

  (void)state;
  for (int k = 0, n = 60; k < 3; k++, n *= 2) {
    const int cells[] = {n}, steps = n / 2;
    const MFGHJBSpec spec = {.dt = 1. / steps,
                             .nu = nu,
                             .steps = steps,
                             .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}};
    MFGHJBStats stats;
    MFGGrid grid;
    MFGHJB hjb;
    double error = 0;

    MakeGrid(1, cells, -3, 3, MFG_BOUNDARY_NOFLUX, &grid);
    MFG_OK(MFGHJBCreate(&grid, Backend(), &spec, &hjb));
    double *U = NewField((steps + 1) * n), *terminal = NewField(n);
    Fill(&grid.block, Half, terminal);
    MFG_OK(MFGHJBSweep(hjb, QuadraticSource, &grid, terminal, PETSC_FALSE, 1e-10, U, &stats));
    assert_int_equal(stats.reason, SNES_CONVERGED_ITERATING);
    for (int level = 0; level <= steps; level++)
      for (int i = 0; i < n; i++) {
        const double x = MFGCellCenter(&grid.block, 0, i);
        const double exact = x * x / 2 + nu * (1 - level * spec.dt);
        if (fabs(x) < 1.5) error = fmax(error, fabs(U[level * n + i] - exact));
      }
    print_message("LQ-1 %3d cells: u %.4g (%.2g), order %.2f\n", n, error, reference[k],
                  k ? log2(before / error) : 0);
    MFG_ASSERT_NEAR(error, reference[k], 0.5e-3 + 1e-5);
    if (k) assert_true(log2(before / error) > 0.9 && log2(before / error) < 1.1);
    before = error;
    MFG_OK(PetscFree(U));
    MFG_OK(PetscFree(terminal));
    MFG_OK(MFGHJBDestroy(&hjb));
    MFG_OK(MFGGridDestroy(&grid));
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest quick[] = {cmocka_unit_test(TestLinearQuadratic),
                                     cmocka_unit_test(TestReference), cmocka_unit_test(TestHeat)};
  const struct CMUnitTest fine[] = {cmocka_unit_test(TestSlow)};
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  if (MFGAndersonRegister()) return 1;
  const int failed = argc > 1 && !strcmp(argv[1], "slow")
                         ? cmocka_run_group_tests(fine, NULL, NULL)
                         : cmocka_run_group_tests(quick, NULL, NULL);
  if (failed) MPI_Abort(PETSC_COMM_WORLD, 1);
  return PetscFinalize();
}
