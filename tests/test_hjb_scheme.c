/* The kernels of the HJB step against stated numbers, an independent formula, finite differences
 * and the properties of a monotone scheme, for every instruction set of this processor. */
#include "tests/hjb_fixture.h"

enum { NX = 7, NY = 5, NZ = 4 };

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

/* Cells, lengths and boundaries differ between the axes. */
static MFGBlock Box(int dim, MFGBoundary x, MFGBoundary y, MFGBoundary z) {
  MFGBlock b = {.dim = dim,
                .cells = {NX, dim > 1 ? NY : 1, dim > 2 ? NZ : 1},
                .lower = {0, -1, .5},
                .upper = {1, 1.5, 1.3},
                .boundary = {{x, x}, {y, y}, {z, z}}};
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    b.count[k] = b.cells[k];
    b.spacing[k] = (b.upper[k] - b.lower[k]) / b.cells[k];
  }
  return b;
}

/* Cell number `at` of a whole field as (i, j, k). */
static void Position(const MFGBlock *b, int at, int cell[MFG_MAX_DIM]) {
  cell[0] = at % b->cells[0];
  cell[1] = at / b->cells[0] % b->cells[1];
  cell[2] = at / b->cells[0] / b->cells[1];
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
    for (int dim = 1; dim <= MFG_MAX_DIM; dim++)
      for (int k = 0; k < 6 << dim; k++) {
        const int walls = k / 6;
        Setup s;
        Open(&s, Box(dim, walls & 1 ? P : W, walls & 2 ? P : W, walls & 4 ? P : W),
             hamiltonians[k % 3], k / 3 % 2);
        check(&s);
        Close(&s);
      }
  }
  unsetenv("MFG_CPU");
}

/* The formula of the header, cell by cell with whole-field indices. */
static double NaiveResidual(const Setup *s, const double *u, int at) {
  const MFGBlock *b = &s->block;
  double laplacian = 0, square = 0, transport = 0;
  int i[MFG_MAX_DIM];
  Position(b, at, i);
  for (int k = 0; k < b->dim; k++) {
    const double h = b->spacing[k], c = u[at];
    const double up = u[Neighbour(b, i[0] + (k == 0), i[1] + (k == 1), i[2] + (k == 2))];
    const double down = u[Neighbour(b, i[0] - (k == 0), i[1] - (k == 1), i[2] - (k == 2))];
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
  for (size_t at = 0; at < s->cells; at++)
    MFG_ASSERT_NEAR(s->out[at], NaiveResidual(s, s->u, (int)at), 1e-11 * (1 + fabs(s->out[at])));
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
  for (size_t at = 0; at < s->cells; at++) {
    int i[MFG_MAX_DIM], star[7];
    Position(&s->block, (int)at, i);
    Star(&s->block, i[0], i[1], i[2], star);
    for (int k = 0; k < s->width; k++) dense[at * s->cells + star[k]] += s->out[k * s->cells + at];
  }
  for (size_t column = 0; column < s->cells; column++) {
    const double value = s->u[column];
    for (size_t at = 0; at < s->cells; at++) {
      s->u[column] = value + e;
      const double high = NaiveResidual(s, s->u, (int)at);
      s->u[column] = value - e;
      const double low = NaiveResidual(s, s->u, (int)at);
      s->u[column] = value;
      MFG_ASSERT_NEAR(dense[at * s->cells + column], (high - low) / (2 * e), 2e-5);
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
    const double diagonal = s->out[i];
    double sum = diagonal;
    int at[MFG_MAX_DIM];
    Position(&s->block, (int)i, at);
    for (int k = 1; k < s->width; k++) {
      const int axis = (k - 1) / 2, side = (k - 1) % 2;
      const int wall =
          s->block.boundary[axis][side] == W && at[axis] == (side ? s->block.cells[axis] - 1 : 0);
      const double v = s->out[k * s->cells + i];
      assert_true(wall ? v == 0 : v < 0);
      sum += v;
    }
    MFG_ASSERT_NEAR(sum, 1 / s->step.dt, 1e-12 * diagonal);
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

/* The middle of 3 x 3 x 3 cells of widths 1, 1/2, 1/4, with 0 there and its neighbours (low, high)
 * =
 * (-1, 1), (1, -2), (-1, -1): s = 1 + 4^2 + 4^2 + 4^2. */
static void TestStatedNumbersInSpace(void **state) {
  const double zero[27] = {0}, b[] = {2, -1, 3};
  double u[125] = {0}, drift[81], r[27], jacobian[7 * 27];
  MFGHJBStep step = {
      .dt = 1, .hamiltonian = {MFG_HAMILTONIAN_QUADRATIC, 1, 2}, .next = zero, .source = zero};
  (void)state;
  step.block = (MFGBlock){.dim = 3,
                          .cells = {3, 3, 3},
                          .count = {3, 3, 3},
                          .upper = {3, 1.5, .75},
                          .spacing = {1, .5, .25}};
  for (int i = 0; i < 81; i++) drift[i] = b[i / 27];
  u[62 - 1] = -1, u[62 + 1] = 1, u[62 - 5] = 1, u[62 + 5] = -2, u[62 - 25] = u[62 + 25] = -1;
  MFG_OK(MFGBackendHJBResidual(Backend(), &step, u, r));
  assert_true(r[13] == 49 / 2.);
  step.nu = .25; /* - nu (0 - 1/.25 - 2/.0625) */
  MFG_OK(MFGBackendHJBResidual(Backend(), &step, u, r));
  assert_true(r[13] == 24.5 + 9);
  step.drift = drift; /* - 2 q+_x + q-_y - 3 q+_z = - 2 - 2 + 12 */
  MFG_OK(MFGBackendHJBResidual(Backend(), &step, u, r));
  assert_true(r[13] == 33.5 + 8);
  /* to low: -(q- - b-)/h - nu/h^2, to high: (q+ - b+)/h - nu/h^2 */
  const double row[] = {1 + 1.25 + 2.25 + 3 + 9 + 20 + 32, -1.25, -2.25, -3, -9, -20, -32};
  MFG_OK(MFGBackendHJBJacobian(Backend(), &step, u, jacobian));
  for (int k = 0; k < 7; k++) MFG_ASSERT_NEAR(jacobian[27 * k + 13], row[k], 1e-13);
}

/* u = .2 prod cos(a_k x_k + phase_k), a different on each axis; half waves at walls. */
static double Wave(const MFGBlock *b, const double x[], double p[], double *laplacian) {
  const int wall = b->boundary[0][0] == W;
  const double phase[] = {.3, 0, .7};
  double u = .2, sum = 0;
  for (int k = 0; k < b->dim; k++)
    u *= cos((k + 1) * (wall ? 1 : 2) * PI * x[k] + (wall ? 0 : phase[k]));
  for (int k = 0; k < b->dim; k++) {
    const double a = (k + 1) * (wall ? 1 : 2) * PI;
    p[k] = -.2 * a * sin(a * x[k] + (wall ? 0 : phase[k]));
    for (int other = 0; other < b->dim; other++)
      if (other != k)
        p[k] *= cos((other + 1) * (wall ? 1 : 2) * PI * x[other] + (wall ? 0 : phase[other]));
    sum += a * a;
  }
  *laplacian = -sum * u;
  return u;
}

/* max |R(u) - (-nu Lap u + H - b.grad u)| for a smooth u(x) with u^{n+1} = u, and its bound: an
 * upwind difference is off by h/2 |u_kk| <= h/2 .2 a_k^2, times |H_p| and |b_k|; near an extremum
 * both sides count. */
static double Truncation(int dim, MFGBoundary boundary, MFGHamiltonian hamiltonian, int n,
                         double *bound) {
  MFGBlock b = {.dim = dim,
                .cells = {n, n + n / 2, dim > 2 ? 2 * n : 1},
                .count = {n, n + n / 2, dim > 2 ? 2 * n : 1},
                .upper = {1, 1, 1},
                .boundary = {{boundary, boundary}, {boundary, boundary}, {boundary, boundary}}};
  const double given[] = {.7, -.4, .5}, largest = dim * (boundary == W ? 1 : 2) * PI;
  const double speed = pow(1.2 * .2 * largest, hamiltonian.exponent - 1) / hamiltonian.control_cost;
  double error = 0;
  Setup s = {.block = b};
  for (int k = 0; k < 3; k++) s.block.spacing[k] = 1. / b.cells[k];
  b = s.block;
  Allocate(&s);
  for (size_t at = 0; at < s.cells; at++) {
    double x[3], p[3], laplacian, square = 0;
    int i[3];
    Position(&b, (int)at, i);
    Center(&b, i[0], i[1], i[2], x);
    s.u[at] = s.next[at] = Wave(&b, x, p, &laplacian);
    s.source[at] = -.05 * laplacian;
    for (int k = 0; k < dim; k++) {
      s.drift[k * s.cells + at] = given[k];
      s.source[at] -= given[k] * p[k];
      square += p[k] * p[k];
    }
    s.source[at] +=
        pow(square, hamiltonian.exponent / 2) / (hamiltonian.exponent * hamiltonian.control_cost);
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
  *bound = 0;
  for (int k = 0; k < dim; k++) {
    const double a = (k + 1) * (boundary == W ? 1 : 2) * PI;
    *bound += b.spacing[k] * .2 * a * a * (speed + .5 * fabs(given[k]));
  }
  Close(&s);
  return error;
}

static void TestConsistency(void **state) {
  const int cells[] = {0, 0, 80, 32};
  (void)state;
  for (int dim = 2; dim <= 3; dim++)
    for (int wall = 0; wall < 2; wall++)
      for (int h = 0; h < 3; h++) {
        const int n = cells[dim];
        double bound;
        const double coarse = Truncation(dim, wall ? W : P, hamiltonians[h], n, &bound);
        const double fine = Truncation(dim, wall ? W : P, hamiltonians[h], 2 * n, &bound);
        const double order = log2(coarse / fine);
        print_message("consistency %dD: %.3e %.3e (%.3e), order %.3f\n", dim, coarse, fine, bound,
                      order);
        assert_true(order > .9 && order < 1.15);
        assert_true(fine < bound);
      }
}

/* A setup whose axis k is axis order[k] of another. */
static void OpenPermuted(const Setup *a, const int order[], Setup *t) {
  *t = *a;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    t->block.cells[k] = t->block.count[k] = a->block.cells[order[k]];
    t->block.lower[k] = a->block.lower[order[k]];
    t->block.upper[k] = a->block.upper[order[k]];
    t->block.spacing[k] = a->block.spacing[order[k]];
    for (int side = 0; side < 2; side++)
      t->block.boundary[k][side] = a->block.boundary[order[k]][side];
  }
  Allocate(t);
  t->step.block = t->block;
  t->step.next = t->next;
  t->step.source = t->source;
  t->step.drift = t->drift;
}

/* The number in `t` of cell `at` of `a`. */
static size_t Permuted(const Setup *a, const int order[], const Setup *t, size_t at) {
  int i[MFG_MAX_DIM];
  Position(&a->block, (int)at, i);
  return Neighbour(&t->block, i[order[0]], i[order[1]], i[order[2]]);
}

/* The axes change places in everything: so must the results. */
static void CheckPermuted(int dim, const int order[], MFGHamiltonian hamiltonian) {
  Setup a, t;
  Open(&a, Box(dim, W, P, W), hamiltonian, 1);
  OpenPermuted(&a, order, &t);
  for (size_t at = 0; at < a.cells; at++) {
    const size_t to = Permuted(&a, order, &t, at);
    t.u[to] = a.u[at];
    t.next[to] = a.next[at];
    t.source[to] = a.source[at];
    for (int k = 0; k < dim; k++) t.drift[k * t.cells + to] = a.drift[order[k] * a.cells + at];
  }
  AddGhosts(&t.block, t.u, t.ghosted);
  MFG_OK(MFGBackendHJBResidual(Backend(), &a.step, a.ghosted, a.out));
  MFG_OK(MFGBackendHJBResidual(Backend(), &t.step, t.ghosted, t.out));
  for (size_t at = 0; at < a.cells; at++)
    MFG_ASSERT_NEAR(a.out[at], t.out[Permuted(&a, order, &t, at)], 1e-11);
  MFG_OK(MFGBackendHJBJacobian(Backend(), &a.step, a.ghosted, a.out));
  MFG_OK(MFGBackendHJBJacobian(Backend(), &t.step, t.ghosted, t.out));
  for (size_t at = 0; at < a.cells; at++) {
    const double *row = a.out + at, *to = t.out + Permuted(&a, order, &t, at);
    MFG_ASSERT_NEAR(row[0], to[0], 1e-11);
    for (int k = 0; k < dim; k++)
      for (int side = 1; side <= 2; side++)
        MFG_ASSERT_NEAR(row[(2 * order[k] + side) * a.cells], to[(2 * k + side) * t.cells], 1e-11);
  }
  MFG_OK(MFGBackendDriftFromValue(Backend(), &a.step, a.ghosted, a.out));
  MFG_OK(MFGBackendDriftFromValue(Backend(), &t.step, t.ghosted, t.out));
  for (size_t at = 0; at < a.cells; at++)
    for (int k = 0; k < dim; k++)
      MFG_ASSERT_NEAR(a.out[order[k] * a.cells + at],
                      t.out[k * t.cells + Permuted(&a, order, &t, at)], 1e-11);
  Close(&a);
  Close(&t);
}

static void TestSwappedAxes(void **state) {
  const int orders[][3] = {{1, 0, 2}, {1, 0, 2}, {0, 2, 1}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
  (void)state;
  for (int h = 0; h < 3; h++)
    for (int k = 0; k < 6; k++) CheckPermuted(k ? 3 : 2, orders[k], hamiltonians[h]);
}

/* u = x^2 - 3 x y + 2 y z - z: central differences are exact, p = (2x - 3y, 2z - 3x, 2y - 1); drift
 * b - |p|^(e-2) p / c. Beside a wall the difference is half the one-sided one, because the ghost is
 * the mirror image. In 2D z = 0. */
static void CheckDrift(int dim, const MFGHamiltonian *H, int given) {
  Setup s;
  Open(&s, Box(dim, W, W, W), *H, given);
  for (size_t at = 0; at < s.cells; at++) {
    double x[3];
    int i[3];
    Position(&s.block, (int)at, i);
    Center(&s.block, i[0], i[1], i[2], x);
    s.u[at] = x[0] * x[0] - 3 * x[0] * x[1] + 2 * x[1] * x[2] - x[2];
  }
  AddGhosts(&s.block, s.u, s.ghosted);
  MFG_OK(MFGBackendDriftFromValue(Backend(), &s.step, s.ghosted, s.out));
  for (size_t at = 0; at < s.cells; at++) {
    double x[3], square = 0;
    int i[3];
    Position(&s.block, (int)at, i);
    Center(&s.block, i[0], i[1], i[2], x);
    double p[] = {2 * x[0] - 3 * x[1], 2 * x[2] - 3 * x[0], 2 * x[1] - 1};
    if (i[0] == 0) p[0] += s.block.spacing[0];
    if (i[0] == NX - 1) p[0] -= s.block.spacing[0];
    for (int k = 0; k < dim; k++) {
      if (i[k] == 0 || i[k] == s.block.cells[k] - 1) p[k] /= 2;
      square += p[k] * p[k];
    }
    const double slope = pow(square, H->exponent / 2 - 1) / H->control_cost;
    for (int k = 0; k < dim; k++)
      MFG_ASSERT_NEAR(s.out[k * s.cells + at],
                      (given ? s.drift[k * s.cells + at] : 0) - slope * p[k], 1e-11);
  }
  Close(&s);
}

static void TestDrift(void **state) {
  (void)state;
  for (int dim = 2; dim <= 3; dim++)
    for (int h = 0; h < 3; h++)
      for (int given = 0; given < 2; given++) CheckDrift(dim, &hamiltonians[h], given);
}

/* A flat value function gives no drift, also where dH/ds is infinite. */
static void TestFlat(void **state) {
  Setup s;
  (void)state;
  Open(&s, Box(3, W, P, W), hamiltonians[1], 0);
  for (size_t i = 0; i < s.ghosts; i++) s.ghosted[i] = 4;
  MFG_OK(MFGBackendDriftFromValue(Backend(), &s.step, s.ghosted, s.out));
  for (size_t i = 0; i < 3 * s.cells; i++) assert_true(s.out[i] == 0);
  MFG_OK(MFGBackendHJBJacobian(Backend(), &s.step, s.ghosted, s.out));
  for (size_t i = 0; i < 7 * s.cells; i++) assert_true(isfinite(s.out[i]));
  Close(&s);
}

/* All instruction sets give the same bits with the quadratic Hamiltonian. */
static void TestSameBits(void **state) {
  const char *variants[] = {"baseline", "v3", "v4"};
  double first[7 * NX * NY * NZ];
  (void)state;
  for (int v = 0; v < 3; v++) {
    Setup s;
    setenv("MFG_CPU", variants[v], 1);
    Open(&s, Box(3, W, P, W), hamiltonians[0], 1);
    MFG_OK(MFGBackendHJBJacobian(Backend(), &s.step, s.ghosted, s.out));
    if (v == 0) memcpy(first, s.out, sizeof first);
    assert_memory_equal(first, s.out, sizeof first);
    Close(&s);
  }
  unsetenv("MFG_CPU");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(TestStatedNumbers), cmocka_unit_test(TestStatedNumbersInSpace),
      cmocka_unit_test(TestResidual),      cmocka_unit_test(TestJacobian),
      cmocka_unit_test(TestMonotone),      cmocka_unit_test(TestConsistency),
      cmocka_unit_test(TestSwappedAxes),   cmocka_unit_test(TestDrift),
      cmocka_unit_test(TestFlat),          cmocka_unit_test(TestSameBits)};
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  MFG_TEST_SKIP();
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return PetscFinalize() || failed;
}
