/* The agents against exact laws: sampling, Ornstein-Uhlenbeck variance (case T6 with the exact
 * feedback as given drift), the uniform law between walls, and their number. */
#include "tests/agents_fixture.h"

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

typedef struct {
  MFGBlock block;
  double rate[2], pull[2];
} Linear;

/* v_k = -rate_k (x_k - pull_k): exact under multilinear interpolation. */
static PetscErrorCode LinearDrift(void *context, int begin, int end, double *drift) {
  const Linear *l = context;
  const MFGBlock *b = &l->block;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int k = 0; k < b->dim; k++)
      for (int64_t i = 0; i < MFGBlockOwned(b); i++) {
        int cell[MFG_MAX_DIM];
        OwnedCell(b, i, cell);
        *drift++ = -l->rate[k] * (MFGCellCenter(b, k, cell[k]) - l->pull[k]);
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Gaussian m0 per axis; its mean and variance as a density that is constant in each cell. */
static double *Gaussian(const MFGBlock *b, const double mu[], const double v[], double mean[],
                        double variance[]) {
  const int64_t cells = MFGBlockCells(b);
  double *m0 = malloc(cells * sizeof *m0), total = 0;
  for (int k = 0; k < b->dim; k++) mean[k] = variance[k] = 0;
  for (int64_t i = 0; i < cells; i++) {
    const double x[2] = {MFGCellCenter(b, 0, (int)(i % b->cells[0])),
                         MFGCellCenter(b, 1, (int)(i / b->cells[0]))};
    double q = 0;
    for (int k = 0; k < b->dim; k++) q += (x[k] - mu[k]) * (x[k] - mu[k]) / (2 * v[k]);
    total += m0[i] = exp(-q);
    for (int k = 0; k < b->dim; k++) {
      mean[k] += m0[i] * x[k];
      variance[k] += m0[i] * (x[k] * x[k] + b->spacing[k] * b->spacing[k] / 12);
    }
  }
  for (int k = 0; k < b->dim; k++) {
    mean[k] /= total;
    variance[k] = variance[k] / total - mean[k] * mean[k];
  }
  return m0;
}

/* v' = (1 - a dt)^2 v + 2 nu dt, mean' = mean - a dt (mean - pull), at every level. */
static void OrnsteinUhlenbeck(const Box *box, int64_t agents, MFGSampling sampling, uint64_t seed) {
  enum { STEPS = 50 };
  const double nu = 0.125, dt = 1.0 / STEPS, mu[] = {0.3, -0.2}, v0[] = {0.25, 0.1};
  const MFGBackend *backend;
  MFGGrid grid;
  MFGDensityPlan plan;
  MFGParticles particles;
  MFGSampleStatistics s[STEPS + 1];
  double h[2 * (STEPS + 1)], mean[2], v[2];

  CreateGrid(PETSC_COMM_WORLD, box, &grid);
  Linear l = {grid.block, {1, 0.5}, {0, 0.4}};
  MFG_OK(MFGTestBackend(PETSC_COMM_WORLD, &backend));
  for (int i = 0; i < box->dim * (STEPS + 1); i++) h[i] = 2 * l.block.spacing[i % box->dim];
  MFG_OK(
      MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, agents, 1e-3, STEPS + 1, h, &plan));
  double *m0 = Gaussian(&l.block, mu, v0, mean, v);
  const MFGParticlesSpec spec = {.count = agents,
                                 .seed = seed,
                                 .sampling = sampling,
                                 .initial_density = m0,
                                 .nu = nu,
                                 .dt = dt,
                                 .steps = STEPS};
  MFG_OK(MFGParticlesCreate(&grid, backend, &spec, &particles));
  free(m0);
  double *M = malloc((STEPS + 1) * MFGBlockOwned(&grid.block) * sizeof *M);
  MFG_OK(MFGParticlesSweep(particles, plan, 0, LinearDrift, &l, M, s));
  MFGSampleStatistics initial;
  MFG_OK(MFGParticlesInitialStatistics(particles, &initial));
  for (int n = 0; n <= STEPS; n++)
    for (int k = 0; k < box->dim; k++) {
      const double zv = (s[n].variance[k] - v[k]) / (v[k] * sqrt(2.0 / agents));
      const double zm = (s[n].mean[k] - mean[k]) / sqrt(v[k] / agents);
      if (!(fabs(zv) < 4 && fabs(zm) < 4))
        fail_msg("%dD, level %d, axis %d: z = %.2f of the variance, %.2f of the mean", box->dim, n,
                 k, zv, zm);
      if (n == 0) MFG_ASSERT_NEAR(initial.variance[k], s[0].variance[k], 1e-13);
      v[k] = (1 - l.rate[k] * dt) * (1 - l.rate[k] * dt) * v[k] + 2 * nu * dt;
      mean[k] -= l.rate[k] * dt * (mean[k] - l.pull[k]);
    }
  free(M);
  MFG_OK(MFGParticlesDestroy(&particles));
  MFG_OK(MFGDensityPlanDestroy(&plan));
  MFG_OK(MFGGridDestroy(&grid));
}

static void LinearQuadraticVariance(void **state) {
  (void)state;
  const Box line = {1, {160, 1}, {-4, 0}, {4, 1}, {W, P}},
            room = {2, {60, 50}, {-4, -4}, {4, 4}, {W, W}};
  for (int sampling = 0; sampling < 2; sampling++) {
    OrnsteinUhlenbeck(&line, 100000, sampling ? MFG_SAMPLING_RANDOM : MFG_SAMPLING_STRATIFIED, 21);
    OrnsteinUhlenbeck(&room, 30000, sampling ? MFG_SAMPLING_RANDOM : MFG_SAMPLING_STRATIFIED, 22);
  }
}

/* No agent is lost in 1000 steps that cross the box several times, and the uniform law stays:
 * counts per cell within 5 standard deviations. */
static void CountsAndUniformLaw(void **state) {
  (void)state;
  enum { N = 2000, STEPS = 1000 };
  const Box boxes[] = {{1, {10, 1}, {0, 0}, {1, 1}, {W, P}},
                       {1, {10, 1}, {-3, 0}, {-2, 1}, {P, P}},
                       {2, {5, 4}, {0, 2}, {1, 4}, {P, W}},
                       {3, {3, 3, 4}, {0, 2, 0}, {1, 4, 1}, {P, W, W}}};
  for (int i = 0; i < 4; i++) {
    MFGGrid grid;
    const MFGBackend *backend;
    CreateGrid(PETSC_COMM_SELF, &boxes[i], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock b = grid.block;
    const int cells = (int)MFGBlockCells(&b), scale = MFGMomentScale(N);
    static double x[3][N];
    double *drift = calloc((size_t)STEPS * b.dim * cells, sizeof *drift);
    int64_t *counts = calloc((size_t)STEPS * cells, sizeof *counts), total[36] = {0};
    uint64_t seed = 1;
    for (int a = 0; a < N; a++)
      for (int k = 0; k < b.dim; k++)
        x[k][a] = b.lower[k] + TestUniform(&seed) * (b.upper[k] - b.lower[k]);
    const MFGScan scan = {.domain = b,
                          .key = {.seed = 2},
                          .agents = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}},
                          .dt = 1,
                          .nu = 2,
                          .level_end = STEPS,
                          .drift = drift,
                          .shape = {.order = 1, .scale = scale},
                          .moments = counts};
    MFG_OK(MFGBackendScan(backend, &scan));
    for (int n = 0; n < STEPS; n++) {
      int64_t sum = 0;
      for (int c = 0; c < cells; c++) {
        assert_true(counts[n * cells + c] % (INT64_C(1) << scale) == 0);
        sum += counts[n * cells + c] >> scale;
        total[c] += counts[n * cells + c] >> scale;
      }
      assert_int_equal(sum, N);
    }
    /* Steps longer than the box forget the position: the counts of all levels are independent. */
    const double expected = (double)N * STEPS / cells;
    for (int c = 0; c < cells; c++) MFG_ASSERT_NEAR(total[c], expected, 5 * sqrt(expected));
    for (int a = 0; a < N; a++)
      for (int k = 0; k < b.dim; k++) assert_true(x[k][a] >= b.lower[k] && x[k][a] <= b.upper[k]);
    free(drift);
    free(counts);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* Stratified: every cell's count within 1 of its expectation. Both: none where m0 is zero; inside a
 * cell the positions are uniform, the axes independent. */
static void Sampling(void **state) {
  (void)state;
  enum { N = 40000 };
  const Box boxes[] = {{1, {30, 1}, {-2, 0}, {1, 1}, {W, P}},
                       {2, {9, 7}, {0, 0}, {1, 2}, {W, P}},
                       {3, {4, 3, 5}, {0, 0, -1}, {1, 2, 1}, {W, P, W}}};
  for (int i = 0; i < 6; i++) {
    MFGGrid grid;
    const MFGBackend *backend;
    const int stratified = i / 3;
    CreateGrid(PETSC_COMM_SELF, &boxes[i % 3], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock b = grid.block;
    const int cells = (int)MFGBlockCells(&b);
    int64_t cumulative[63], counts[63] = {0};
    static double x[3][N];
    double mean[3] = {0}, square[3] = {0}, product[3] = {0};
    for (int64_t c = 0, sum = 0; c < cells; c++)
      cumulative[c] = sum += c % 4 * (1 + c % 3) * 1000003;
    const MFGSample sample = {
        .domain = b,
        .key = {.seed = 9},
        .agents = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}},
        .total = N,
        .stratified = (PetscBool)stratified,
        .cumulative = cumulative,
        .weight = cumulative[cells - 1]};
    MFG_OK(MFGBackendSample(backend, &sample));
    for (int a = 0; a < N; a++) {
      int cell = 0;
      double t[3];
      for (int k = b.dim - 1; k >= 0; k--) {
        const MFGAxis axis = MFGAxisOf(&b, k);
        cell = cell * b.cells[k] + MFGCellOf(&axis, x[k][a], &t[k]);
        mean[k] += t[k] / N;
        square[k] += t[k] * t[k] / N;
      }
      for (int k = 1; k < b.dim; k++) product[k] += t[k] * t[0] / N;
      if (b.dim == 3) product[0] += t[1] * t[2] / N;
      counts[cell]++;
    }
    for (int c = 0; c < cells; c++) {
      const int64_t weight = cumulative[c] - (c ? cumulative[c - 1] : 0);
      const double expected = (double)N * (double)weight / (double)cumulative[cells - 1];
      if (weight == 0) assert_int_equal(counts[c], 0);
      MFG_ASSERT_NEAR(counts[c], expected, stratified ? 1 : 5 * sqrt(expected));
    }
    /* t is uniform on [-1, 1]: mean 0, square 1/3, standard deviations 1/sqrt(3), sqrt(4/45); the
     * product of two, if independent, 0 and 1/3. */
    for (int k = 0; k < b.dim; k++) {
      MFG_ASSERT_NEAR(mean[k], 0, stratified ? 1e-3 : 5 / sqrt(3.0 * N));
      MFG_ASSERT_NEAR(square[k], 1.0 / 3, stratified ? 1e-3 : 5 * sqrt(4.0 / 45 / N));
      MFG_ASSERT_NEAR(product[k], 0, stratified ? 5e-3 : 5 / (3 * sqrt(N)));
    }
    MFG_OK(MFGGridDestroy(&grid));
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(Sampling),
                                          cmocka_unit_test(CountsAndUniformLaw),
                                          cmocka_unit_test(LinearQuadraticVariance)};
MFG_TEST_MAIN(tests)
