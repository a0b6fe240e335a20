/* The grid scheme against exact pairs (u, m), to the digits another implementation of the same
 * scheme has: HJB sweep as in the library, Fokker-Planck as the exact transpose of its Jacobian,
 *
 *   J(U^n)^T M^{n+1} = M^n / dt,   F = kappa (M^{n+1} - m_exact(t_{n+1})),   U^Nt = u_exact(T),
 *
 * damped Picard around both. Cell centres, errors maximal over all time levels. */
#include "tests/hjb_fixture.h"

typedef struct {
  const char *name;
  int dim, cells[2], steps;
  MFGBoundary boundary;
  double nu, T;
  double (*u)(double t, double x, double y), (*m)(double t, double x, double y);
  double error_u, error_sup, error_l1; /* reference */
} Case;

typedef struct {
  const Case *c;
  MFGGrid grid;
  const MFGBackend *backend;
  MFGHJB hjb;
  MFGHJBStep step;
  KSP ksp;
  Mat transposed;
  Vec m, right;
  int64_t cells;
  double *U, *M, *next, *exact, *terminal, *ghosted, *values;
} Game;

enum { DIM_TORUS_1 = 1, DIM_TORUS_2 };

/* T1: torus, nu = .05, T = .5, eps = delta = .8. */
static double TorusPair(int dim, double t, double x, double y, double *m) {
  const double nu = .05, T = .5, e = .8, d = .8, decay = 4 * PI * PI * dim * nu;
  const double P = cos(2 * PI * x) * (dim > 1 ? cos(2 * PI * y) : 1);
  const double phi = 1 + e * exp(-decay * (T - t)) * P, psi = 1 + d * exp(-decay * t) * P;
  *m = phi * psi / (1 + e * d * exp(-decay * T) / (1 << dim));
  return -2 * nu * log(phi);
}

static double Torus1U(double t, double x, double y) {
  double m;
  return TorusPair(DIM_TORUS_1, t, x, y, &m);
}
static double Torus1M(double t, double x, double y) {
  double m;
  TorusPair(DIM_TORUS_1, t, x, y, &m);
  return m;
}
static double Torus2U(double t, double x, double y) {
  double m;
  return TorusPair(DIM_TORUS_2, t, x, y, &m);
}
static double Torus2M(double t, double x, double y) {
  double m;
  TorusPair(DIM_TORUS_2, t, x, y, &m);
  return m;
}

/* T2: no-flux box, nu = .1, T = .5, eps = .4, delta = .3, beta = .5. */
static double BoxPhi(double t, double x, double y) {
  const double nu = .1, T = .5;
  return 1 + .4 * exp(-PI * PI * nu * (T - t)) * cos(PI * x) +
         .3 * exp(-4 * PI * PI * nu * (T - t)) * cos(2 * PI * y);
}
static double BoxU(double t, double x, double y) {
  return -2 * .1 * log(BoxPhi(t, x, y));
}
static double BoxM(double t, double x, double y) {
  const double nu = .1;
  return BoxPhi(t, x, y) * (1 + .5 * exp(-2 * PI * PI * nu * t) * cos(PI * x) * cos(PI * y));
}

static const Case cases[] = {
#define TORUS1(n, u, sup, l1)                                                                      \
  { "T1 1D", 1, {n, 1}, n, MFG_BOUNDARY_PERIODIC, .05, .5, Torus1U, Torus1M, u, sup, l1 }
#define TORUS2(n, u, sup, l1)                                                                      \
  { "T1 2D", 2, {n, n}, n, MFG_BOUNDARY_PERIODIC, .05, .5, Torus2U, Torus2M, u, sup, l1 }
#define BOX(nx, ny, nt, u, sup, l1)                                                                \
  { "T2", 2, {nx, ny}, nt, MFG_BOUNDARY_NOFLUX, .1, .5, BoxU, BoxM, u, sup, l1 }
    TORUS1(20, 5.157e-3, 4.954e-2, 3.521e-2),      TORUS1(40, 2.597e-3, 2.656e-2, 1.864e-2),
    TORUS1(80, 1.296e-3, 1.383e-2, 9.654e-3),      TORUS1(160, 6.466e-4, 7.056e-3, 4.907e-3),
    TORUS2(10, 9.956e-3, .1081, 4.488e-2),         TORUS2(20, 5.645e-3, 6.348e-2, 2.627e-2),
    TORUS2(40, 2.878e-3, 3.534e-2, 1.415e-2),      BOX(10, 14, 10, 9.379e-3, 5.513e-2, 2.102e-2),
    BOX(20, 28, 20, 4.706e-3, 3.051e-2, 1.141e-2),
};

static double Time(const Case *c, int level) {
  return c->T * level / c->steps;
}

static void FillAt(const Game *g, double (*f)(double, double, double), double t, double *field) {
  const MFGBlock *b = &g->grid.block;
  for (int j = 0; j < b->cells[1]; j++)
    for (int i = 0; i < b->cells[0]; i++) *field++ = f(t, MFGCellCenter(b, 0, i), CenterY(b, j));
}

static PetscErrorCode Source(void *context, int level, double *source) {
  Game *g = context;
  FillAt(g, g->c->m, Time(g->c, level), g->exact);
  for (int64_t i = 0; i < g->cells; i++) source[i] = g->M[level * g->cells + i] - g->exact[i];
  return PETSC_SUCCESS;
}

static void CreateTransposed(Game *g) {
  const MFGBlock *b = &g->grid.block;
  const int width = 2 * b->dim + 1;
  PetscInt *row, *column, at = 0;
  PC pc;

  MFG_OK(PetscMalloc2(width * g->cells, &row, width * g->cells, &column));
  for (int j = 0; j < b->cells[1]; j++)
    for (int i = 0; i < b->cells[0]; i++) {
      const int near[] = {Neighbour(b, i, j), Neighbour(b, i - 1, j), Neighbour(b, i + 1, j),
                          Neighbour(b, i, j - 1), Neighbour(b, i, j + 1)};
      for (int k = 0; k < width; k++, at++) {
        row[at] = near[k];
        column[at] = near[0];
      }
    }
  MFG_OK(MatCreate(PETSC_COMM_SELF, &g->transposed));
  MFG_OK(MatSetSizes(g->transposed, g->cells, g->cells, g->cells, g->cells));
  MFG_OK(MatSetType(g->transposed, MATAIJ));
  MFG_OK(MatSetPreallocationCOO(g->transposed, at, row, column));
  MFG_OK(PetscFree2(row, column));
  MFG_OK(MatCreateVecs(g->transposed, &g->m, &g->right));
  MFG_OK(KSPCreate(PETSC_COMM_SELF, &g->ksp));
  MFG_OK(KSPSetOperators(g->ksp, g->transposed, g->transposed));
  MFG_OK(KSPGetPC(g->ksp, &pc));
  MFG_OK(KSPSetType(g->ksp, b->dim == 1 ? KSPPREONLY : KSPBCGS));
  MFG_OK(PCSetType(pc, b->dim == 1 ? PCLU : PCILU));
  MFG_OK(KSPSetTolerances(g->ksp, 1e-11, 1e-50, PETSC_CURRENT, 1000));
  MFG_OK(KSPSetInitialGuessNonzero(g->ksp, (PetscBool)(b->dim > 1)));
}

static void Open(const Case *c, Game *g) {
  memset(g, 0, sizeof *g);
  g->c = c;
  g->backend = Backend();
  MakeGrid(c->dim, c->cells, 0, 1, c->boundary, &g->grid);
  g->cells = MFGBlockCells(&g->grid.block);
  const MFGHJBSpec spec = {.dt = c->T / c->steps,
                           .nu = c->nu,
                           .steps = c->steps,
                           .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}};
  MFG_OK(MFGHJBCreate(&g->grid, g->backend, &spec, &g->hjb));
  g->step = (MFGHJBStep){
      .block = g->grid.block, .dt = spec.dt, .nu = spec.nu, .hamiltonian = spec.hamiltonian};
  g->U = NewField((c->steps + 1) * g->cells);
  g->M = NewField((c->steps + 1) * g->cells);
  g->next = NewField(g->cells);
  g->exact = NewField(g->cells);
  g->terminal = NewField(g->cells);
  g->ghosted = NewField(GhostedCells(&g->grid.block));
  g->values = NewField((2 * c->dim + 1) * g->cells);
  FillAt(g, c->u, c->T, g->terminal);
  for (int n = 0; n <= c->steps; n++) FillAt(g, c->m, 0, g->M + n * g->cells);
  CreateTransposed(g);
}

static void Close(Game *g) {
  double *fields[] = {g->U, g->M, g->next, g->exact, g->terminal, g->ghosted, g->values};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
  MFG_OK(KSPDestroy(&g->ksp));
  MFG_OK(MatDestroy(&g->transposed));
  MFG_OK(VecDestroy(&g->m));
  MFG_OK(VecDestroy(&g->right));
  MFG_OK(MFGHJBDestroy(&g->hjb));
  MFG_OK(MFGGridDestroy(&g->grid));
}

/* One forward sweep; M moves halfway to its result. Returns the largest |Phi(M) - M|. */
static double MoveDensity(Game *g) {
  double residual = 0, *m;

  MFG_OK(VecGetArray(g->right, &m));
  memcpy(m, g->M, g->cells * sizeof *m);
  MFG_OK(VecRestoreArray(g->right, &m));
  for (int n = 0; n < g->c->steps; n++) {
    double *old = g->M + (n + 1) * g->cells;
    AddGhosts(&g->grid.block, g->U + n * g->cells, g->ghosted);
    MFG_OK(MFGBackendHJBJacobian(g->backend, &g->step, g->ghosted, g->values));
    MFG_OK(MatSetValuesCOO(g->transposed, g->values, INSERT_VALUES));
    MFG_OK(VecScale(g->right, 1 / g->step.dt));
    MFG_OK(KSPSetOperators(g->ksp, g->transposed, g->transposed));
    MFG_OK(KSPSolve(g->ksp, g->right, g->m));
    MFG_OK(VecCopy(g->m, g->right));
    MFG_OK(VecGetArray(g->m, &m));
    for (int64_t i = 0; i < g->cells; i++) {
      residual = fmax(residual, fabs(m[i] - old[i]));
      old[i] += 0.5 * (m[i] - old[i]);
    }
    MFG_OK(VecRestoreArray(g->m, &m));
  }
  return residual;
}

static void Errors(Game *g, double *u, double *sup, double *l1) {
  *u = *sup = *l1 = 0;
  for (int n = 0; n <= g->c->steps; n++) {
    double sum = 0;
    FillAt(g, g->c->u, Time(g->c, n), g->exact);
    for (int64_t i = 0; i < g->cells; i++)
      *u = fmax(*u, fabs(g->U[n * g->cells + i] - g->exact[i]));
    FillAt(g, g->c->m, Time(g->c, n), g->exact);
    for (int64_t i = 0; i < g->cells; i++) {
      const double e = fabs(g->M[n * g->cells + i] - g->exact[i]);
      *sup = fmax(*sup, e);
      sum += e;
    }
    *l1 = fmax(*l1, sum * MFGCellVolume(&g->grid.block));
  }
}

static void TestReference(void **state) {
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    const Case *c = &cases[k];
    MFGHJBStats stats;
    double u, sup, l1, residual = 1;
    int sweeps = 0;
    Game g;

    Open(c, &g);
    for (; residual > 1e-8 && sweeps < 100; sweeps++) {
      MFG_OK(
          MFGHJBSweep(g.hjb, Source, &g, g.terminal, (PetscBool)(sweeps > 0), 1e-10, g.U, &stats));
      assert_int_equal(stats.reason, SNES_CONVERGED_ITERATING);
      residual = MoveDensity(&g);
    }
    Errors(&g, &u, &sup, &l1);
    print_message("%-6s %3d x %3d, %3d steps, %2d sweeps: u %.4g (%.4g)  m sup %.4g (%.4g)  "
                  "L1 %.4g (%.4g)\n",
                  c->name, c->cells[0], c->cells[1], c->steps, sweeps, u, c->error_u, sup,
                  c->error_sup, l1, c->error_l1);
    assert_true(residual <= 1e-8);
    /* The references are rounded to four digits. */
    MFG_ASSERT_NEAR(u / c->error_u, 1, 1e-3);
    MFG_ASSERT_NEAR(sup / c->error_sup, 1, 1e-3);
    MFG_ASSERT_NEAR(l1 / c->error_l1, 1, 1e-3);
    Close(&g);
  }
}

static double Half(double x, double y) {
  (void)y;
  return x * x / 2;
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(TestLinearQuadratic),
                                     cmocka_unit_test(TestReference)};
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return PetscFinalize() || failed;
}
