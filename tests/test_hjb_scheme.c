/* The kernels of the HJB step against stated numbers, an independent formula, finite differences
 * and the properties of a monotone scheme, for every instruction set of this processor. */
#include "tests/hjb_fixture.h"

enum { NX = 7, NY = 5 };

typedef struct {
  MFGBlock block;
  MFGHJBStep step;
  size_t cells, ghosts;
  int width;
  double *u, *ghosted, *next, *source, *drift, *out;
} Setup;

static double Random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) / 9007199254740992.0 - 0.5;
}

static MFGBlock Box(int dim, MFGBoundary x, MFGBoundary y) {
  MFGBlock b = {.dim = dim,
                .cells = {NX, dim > 1 ? NY : 1, 1},
                .lower = {0, -1, 0},
                .upper = {1, 1.5, 1},
                .boundary = {{x, x}, {y, y}, {0, 0}}};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    b.count[k] = b.cells[k];
    b.spacing[k] = (b.upper[k] - b.lower[k]) / b.cells[k];
  }
  return b;
}

static void Allocate(Setup *s) {
  s->cells = MFGBlockCells(&s->block);
  s->ghosts = GhostedCells(&s->block);
  s->width = 2 * s->block.dim + 1;
  s->u = NewField(s->cells);
  s->ghosted = NewField(s->ghosts);
  s->next = NewField(s->cells);
  s->source = NewField(s->cells);
  s->drift = NewField(s->block.dim * s->cells);
  s->out = NewField(s->width * s->cells);
}

static void Open(Setup *s, MFGBlock block, MFGHamiltonian hamiltonian, int given) {
  uint64_t seed = 7;
  s->block = block;
  Allocate(s);
  for (size_t i = 0; i < s->cells; i++) {
    s->u[i] = Random(&seed);
    s->next[i] = Random(&seed);
    s->source[i] = Random(&seed);
  }
  for (size_t i = 0; i < block.dim * s->cells; i++) s->drift[i] = 2 * Random(&seed);
  AddGhosts(&block, s->u, s->ghosted);
  s->step = (MFGHJBStep){.block = block,
                         .dt = .3,
                         .nu = .07,
                         .hamiltonian = hamiltonian,
                         .next = s->next,
                         .source = s->source,
                         .drift = given ? s->drift : NULL};
}

static void Close(Setup *s) {
  double *fields[] = {s->u, s->ghosted, s->next, s->source, s->drift, s->out};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
}

static const MFGHamiltonian hamiltonians[] = {{MFG_HAMILTONIAN_QUADRATIC, 1.7, 2},
                                              {MFG_HAMILTONIAN_POWER, 1.7, 1.5},
                                              {MFG_HAMILTONIAN_POWER, .6, 3}};
static const MFGBoundary P = MFG_BOUNDARY_PERIODIC, W = MFG_BOUNDARY_NOFLUX;

/* Runs `check` for all dimensions, boundaries, Hamiltonians, with and without a drift. */
static void ForAll(void (*check)(Setup *)) {
  const char *variants[] = {"baseline", "v3", "v4"};
  for (int v = 0; v < 3; v++) {
    setenv("MFG_CPU", variants[v], 1);
    for (int k = 0; k < 48; k++) {
      Setup s;
      Open(&s, Box(1 + k % 2, k / 2 % 2 ? P : W, k / 4 % 2 ? P : W), hamiltonians[k / 8 % 3],
           k / 24);
      check(&s);
      Close(&s);
    }
  }
  unsetenv("MFG_CPU");
}

/* The formula of the header, cell by cell with whole-field indices. */
static double NaiveResidual(const Setup *s, const double *u, int i, int j) {
  const MFGBlock *b = &s->block;
  const int at = Neighbour(b, i, j);
  double laplacian = 0, square = 0, transport = 0;
  for (int k = 0; k < b->dim; k++) {
    const double h = b->spacing[k], c = u[at];
    const double up = u[Neighbour(b, i + (k == 0), j + (k == 1))];
    const double down = u[Neighbour(b, i - (k == 0), j - (k == 1))];
    laplacian += (up - 2 * c + down) / (h * h);
    square += pow(fmin((up - c) / h, 0), 2) + pow(fmax((c - down) / h, 0), 2);
    if (s->step.drift) {
      const double a = s->drift[k * s->cells + at];
      transport += a > 0 ? a * (up - c) / h : a * (c - down) / h;
    }
  }
  const MFGHamiltonian *H = &s->step.hamiltonian;
  return (u[at] - s->next[at]) / s->step.dt - s->step.nu * laplacian +
         pow(sqrt(square), H->exponent) / (H->exponent * H->control_cost) - transport -
         s->source[at];
}

static void CheckResidual(Setup *s) {
  MFG_OK(MFGBackendHJBResidual(Backend(), &s->step, s->ghosted, s->out));
  for (int j = 0; j < s->block.cells[1]; j++)
    for (int i = 0; i < NX; i++)
      MFG_ASSERT_NEAR(s->out[j * NX + i], NaiveResidual(s, s->u, i, j), 1e-11);
}

static void TestResidual(void **state) {
  (void)state;
  ForAll(CheckResidual);
}

/* Differences of the independent formula, not of the kernel: neither hides an error of the other.
 */
static void CheckJacobian(Setup *s) {
  const double e = 1e-6;
  double *dense = NewField(s->cells * s->cells);
  MFG_OK(MFGBackendHJBJacobian(Backend(), &s->step, s->ghosted, s->out));
  for (int j = 0; j < s->block.cells[1]; j++)
    for (int i = 0; i < NX; i++) {
      const int near[] = {Neighbour(&s->block, i, j), Neighbour(&s->block, i - 1, j),
                          Neighbour(&s->block, i + 1, j), Neighbour(&s->block, i, j - 1),
                          Neighbour(&s->block, i, j + 1)};
      for (int k = 0; k < s->width; k++)
        dense[near[0] * s->cells + near[k]] += s->out[near[0] * s->width + k];
    }
  for (size_t column = 0; column < s->cells; column++) {
    const double value = s->u[column];
    for (int j = 0; j < s->block.cells[1]; j++)
      for (int i = 0; i < NX; i++) {
        s->u[column] = value + e;
        const double high = NaiveResidual(s, s->u, i, j);
        s->u[column] = value - e;
        const double low = NaiveResidual(s, s->u, i, j);
        s->u[column] = value;
        MFG_ASSERT_NEAR(dense[(j * NX + i) * s->cells + column], (high - low) / (2 * e), 2e-5);
      }
  }
  MFG_OK(PetscFree(dense));
}

static void TestJacobian(void **state) {
  (void)state;
  ForAll(CheckJacobian);
}

/* An M-matrix: off-diagonals <= 0, rows sum to 1/dt, nothing across a wall. */
static void CheckMonotone(Setup *s) {
  MFG_OK(MFGBackendHJBJacobian(Backend(), &s->step, s->ghosted, s->out));
  for (size_t i = 0; i < s->cells; i++) {
    const double *v = s->out + i * s->width;
    const int at[] = {(int)i % NX, (int)i / NX};
    double sum = v[0];
    for (int k = 1; k < s->width; k++) {
      const int axis = (k - 1) / 2, side = (k - 1) % 2;
      const int wall =
          s->block.boundary[axis][side] == W && at[axis] == (side ? s->block.cells[axis] - 1 : 0);
      assert_true(wall ? v[k] == 0 : v[k] < 0);
      sum += v[k];
    }
    MFG_ASSERT_NEAR(sum, 1 / s->step.dt, 1e-12 * v[0]);
  }
}

static void TestMonotone(void **state) {
  (void)state;
  ForAll(CheckMonotone);
}

/* Three cells of width 1, the middle one: u = (a, 0, b), next = F = 0, dt = 1, nu = 0, c = 1, so
 * that R = s/2 - b+ q+ - b- q-. */
static double Middle(double a, double b, double drift, double nu) {
  const double u[] = {0, a, 0, b, 0}, zero[] = {0, 0, 0}, given[] = {drift, drift, drift};
  double r[3];
  MFGHJBStep step = {.dt = 1,
                     .nu = nu,
                     .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2},
                     .next = zero,
                     .source = zero,
                     .drift = given};
  step.block = (MFGBlock){
      .dim = 1, .cells = {3, 1, 1}, .count = {3, 1, 1}, .upper = {3, 1, 1}, .spacing = {1, 1, 1}};
  MFG_OK(MFGBackendHJBResidual(Backend(), &step, u, r));
  return r[1];
}

static void TestStatedNumbers(void **state) {
  (void)state;
  assert_true(Middle(-1, 1, 0, 0) == 0.5); /* rising: q- = 1 counts, q+ = 1 does not */
  assert_true(Middle(1, -1, 0, 0) == 0.5); /* falling: q+ = -1 */
  assert_true(Middle(1, 1, 0, 0) == 0);    /* a minimum has no speed */
  assert_true(Middle(-1, -1, 0, 0) == 1);  /* a maximum has both */
  assert_true(Middle(-1, -3, 0, 0) == 5);  /* s = 9 + 1 */
  assert_true(Middle(1, 3, 2, 0) == -6);   /* to the right: q+ = 3 */
  assert_true(Middle(1, 3, -2, 0) == -2);  /* to the left: q- = -1 */
  assert_true(Middle(1, 3, 0, .25) == -1); /* diffusion: -nu (1 + 3) */
}

static double Wave(const MFGBlock *b, double x, double y, double p[2], double *laplacian) {
  const int wall = b->boundary[0][0] == W;
  const double a = wall ? PI : 2 * PI, k = wall ? 2 * PI : 4 * PI, phase = wall ? 0 : .3;
  const double cx = cos(a * x + phase), sx = sin(a * x + phase), cy = cos(k * y), sy = sin(k * y);
  p[0] = -.2 * a * sx * cy;
  p[1] = -.2 * k * cx * sy;
  *laplacian = -.2 * (a * a + k * k) * cx * cy;
  return .2 * cx * cy;
}

/* max |R(u) - (-nu Lap u + H - b.grad u)| for a smooth u(x, y) with u^{n+1} = u. */
static double Truncation(MFGBoundary boundary, MFGHamiltonian hamiltonian, int n) {
  MFGBlock b = {.dim = 2,
                .cells = {n, n + n / 2, 1},
                .count = {n, n + n / 2, 1},
                .upper = {1, 1, 1},
                .boundary = {{boundary, boundary}, {boundary, boundary}}};
  const double given[] = {.7, -.4};
  double error = 0;
  Setup s = {.block = b};
  for (int k = 0; k < 3; k++) s.block.spacing[k] = 1. / b.cells[k];
  b = s.block;
  Allocate(&s);
  for (int j = 0; j < b.cells[1]; j++)
    for (int i = 0; i < n; i++) {
      double p[2], laplacian;
      const size_t at = (size_t)j * n + i;
      s.u[at] = s.next[at] =
          Wave(&b, MFGCellCenter(&b, 0, i), MFGCellCenter(&b, 1, j), p, &laplacian);
      for (int k = 0; k < 2; k++) s.drift[k * s.cells + at] = given[k];
      s.source[at] = -.05 * laplacian - given[0] * p[0] - given[1] * p[1] +
                     pow(hypot(p[0], p[1]), hamiltonian.exponent) /
                         (hamiltonian.exponent * hamiltonian.control_cost);
    }
  AddGhosts(&b, s.u, s.ghosted);
  s.step = (MFGHJBStep){.block = b,
                        .dt = .1,
                        .nu = .05,
                        .hamiltonian = hamiltonian,
                        .next = s.next,
                        .source = s.source,
                        .drift = s.drift};
  MFG_OK(MFGBackendHJBResidual(Backend(), &s.step, s.ghosted, s.out));
  for (size_t i = 0; i < s.cells; i++) error = fmax(error, fabs(s.out[i]));
  Close(&s);
  return error;
}

/* First order. The bound: an upwind difference is off by h/2 |u_kk| <= h/2 .2 k^2, times |H_p|. */
static void TestConsistency(void **state) {
  (void)state;
  for (int wall = 0; wall < 2; wall++)
    for (int h = 0; h < 3; h++) {
      const double coarse = Truncation(wall ? W : P, hamiltonians[h], 80);
      const double fine = Truncation(wall ? W : P, hamiltonians[h], 160);
      const double k = wall ? 2 * PI : 4 * PI, p = .2 * k;
      const double speed =
          pow(1.2 * p, hamiltonians[h].exponent - 1) / hamiltonians[h].control_cost;
      print_message("consistency: %.3e %.3e, order %.3f\n", coarse, fine, log2(coarse / fine));
      assert_true(log2(coarse / fine) > .9 && log2(coarse / fine) < 1.15);
      assert_true(fine < 1. / 160 * .2 * k * k * (2 * speed + .7));
    }
}

/* x and y change places in everything: so must the results. */
static void TestSwappedAxes(void **state) {
  (void)state;
  for (int h = 0; h < 3; h++) {
    Setup a, t;
    Open(&a, Box(2, W, P), hamiltonians[h], 1);
    t = a;
    for (int k = 0; k < 2; k++) {
      t.block.cells[k] = t.block.count[k] = a.block.cells[1 - k];
      t.block.lower[k] = a.block.lower[1 - k];
      t.block.upper[k] = a.block.upper[1 - k];
      t.block.spacing[k] = a.block.spacing[1 - k];
      for (int side = 0; side < 2; side++)
        t.block.boundary[k][side] = a.block.boundary[1 - k][side];
    }
    Allocate(&t);
    t.step.block = t.block;
    t.step.next = t.next;
    t.step.source = t.source;
    t.step.drift = t.drift;
    for (int j = 0; j < NY; j++)
      for (int i = 0; i < NX; i++) {
        t.u[i * NY + j] = a.u[j * NX + i];
        t.next[i * NY + j] = a.next[j * NX + i];
        t.source[i * NY + j] = a.source[j * NX + i];
        for (int k = 0; k < 2; k++)
          t.drift[k * t.cells + i * NY + j] = a.drift[(1 - k) * a.cells + j * NX + i];
      }
    AddGhosts(&t.block, t.u, t.ghosted);
    MFG_OK(MFGBackendHJBResidual(Backend(), &a.step, a.ghosted, a.out));
    MFG_OK(MFGBackendHJBResidual(Backend(), &t.step, t.ghosted, t.out));
    for (int at = 0; at < NX * NY; at++)
      MFG_ASSERT_NEAR(a.out[at], t.out[at % NX * NY + at / NX], 1e-12);
    MFG_OK(MFGBackendHJBJacobian(Backend(), &a.step, a.ghosted, a.out));
    MFG_OK(MFGBackendHJBJacobian(Backend(), &t.step, t.ghosted, t.out));
    const int swapped[] = {0, 3, 4, 1, 2};
    for (int at = 0; at < NX * NY; at++)
      for (int k = 0; k < 5; k++)
        MFG_ASSERT_NEAR(a.out[at * 5 + k], t.out[(at % NX * NY + at / NX) * 5 + swapped[k]], 1e-12);
    MFG_OK(MFGBackendDriftFromValue(Backend(), &a.step, a.ghosted, a.out));
    MFG_OK(MFGBackendDriftFromValue(Backend(), &t.step, t.ghosted, t.out));
    for (int at = 0; at < NX * NY; at++)
      for (int k = 0; k < 2; k++)
        MFG_ASSERT_NEAR(a.out[k * a.cells + at], t.out[(1 - k) * t.cells + at % NX * NY + at / NX],
                        1e-12);
    Close(&a);
    Close(&t);
  }
}

/* u = x^2 - 3 x y: central differences are exact, p = (2x - 3y, -3x); drift b - |p|^(e-2) p / c.
 * Beside a wall the difference is half the one-sided one, because the ghost is the mirror image. */
static void TestDrift(void **state) {
  (void)state;
  for (int h = 0; h < 3; h++)
    for (int given = 0; given < 2; given++) {
      const MFGHamiltonian *H = &hamiltonians[h];
      Setup s;
      Open(&s, Box(2, W, W), *H, given);
      const double hx = s.block.spacing[0], hy = s.block.spacing[1];
      for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) {
          const double x = MFGCellCenter(&s.block, 0, i), y = MFGCellCenter(&s.block, 1, j);
          s.u[j * NX + i] = x * x - 3 * x * y;
        }
      AddGhosts(&s.block, s.u, s.ghosted);
      MFG_OK(MFGBackendDriftFromValue(Backend(), &s.step, s.ghosted, s.out));
      for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) {
          const double x = MFGCellCenter(&s.block, 0, i), y = MFGCellCenter(&s.block, 1, j);
          double p[] = {2 * x - 3 * y, -3 * x};
          if (i == 0) p[0] = (2 * x - 3 * y + hx) / 2;
          if (i == NX - 1) p[0] = (2 * x - 3 * y - hx) / 2;
          if (j == 0 || j == NY - 1) p[1] /= 2;
          const double slope = pow(hypot(p[0], p[1]), H->exponent - 2) / H->control_cost;
          for (int k = 0; k < 2; k++)
            MFG_ASSERT_NEAR(s.out[k * s.cells + j * NX + i],
                            (given ? s.drift[k * s.cells + j * NX + i] : 0) - slope * p[k], 1e-12);
        }
      (void)hy;
      Close(&s);
    }
}

/* A flat value function gives no drift, also where dH/ds is infinite. */
static void TestFlat(void **state) {
  Setup s;
  (void)state;
  Open(&s, Box(2, W, P), hamiltonians[1], 0);
  for (size_t i = 0; i < s.ghosts; i++) s.ghosted[i] = 4;
  MFG_OK(MFGBackendDriftFromValue(Backend(), &s.step, s.ghosted, s.out));
  for (size_t i = 0; i < 2 * s.cells; i++) assert_true(s.out[i] == 0);
  MFG_OK(MFGBackendHJBJacobian(Backend(), &s.step, s.ghosted, s.out));
  for (size_t i = 0; i < 5 * s.cells; i++) assert_true(isfinite(s.out[i]));
  Close(&s);
}

/* All instruction sets give the same bits with the quadratic Hamiltonian. */
static void TestSameBits(void **state) {
  const char *variants[] = {"baseline", "v3", "v4"};
  double first[5 * NX * NY];
  (void)state;
  for (int v = 0; v < 3; v++) {
    Setup s;
    setenv("MFG_CPU", variants[v], 1);
    Open(&s, Box(2, W, P), hamiltonians[0], 1);
    MFG_OK(MFGBackendHJBJacobian(Backend(), &s.step, s.ghosted, s.out));
    if (v == 0) memcpy(first, s.out, sizeof first);
    assert_memory_equal(first, s.out, sizeof first);
    Close(&s);
  }
  unsetenv("MFG_CPU");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(TestStatedNumbers), cmocka_unit_test(TestResidual),
      cmocka_unit_test(TestJacobian),      cmocka_unit_test(TestMonotone),
      cmocka_unit_test(TestConsistency),   cmocka_unit_test(TestSwappedAxes),
      cmocka_unit_test(TestDrift),         cmocka_unit_test(TestFlat),
      cmocka_unit_test(TestSameBits)};
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return PetscFinalize() || failed;
}
