/* The density by moments against the exact sum, and the exact sum against its formula written out
 * with all images. Error bounds are the tolerance asked for, relative to the largest density. */
#include "tests/agents_fixture.h"

#include "solvers/backend_cpu.h"

#define AGENTS 3000

typedef struct {
  Box box;
  double h[3]; /* in cells */
  double tolerance;
  int halvings[3];
} Case;

static MFGAgentRange Crowd(const MFGBlock *b, int64_t count, uint64_t seed) {
  MFGAgentRange a = {.id_stride = 1, .count = count};
  for (int k = 0; k < b->dim; k++) {
    a.position[k] = malloc(count * sizeof(double));
    assert_non_null(a.position[k]);
  }
  for (int64_t i = 0; i < count; i++)
    for (int k = 0; k < b->dim; k++) {
      const double length = b->upper[k] - b->lower[k];
      /* A third of the crowd lies against the lower wall, a third spreads over the box. */
      double s =
          i % 3 == 0 ? TestUniform(&seed) : 0.13 * fabs(TestNormal(&seed)) + (i % 3 == 1 ? 0 : 0.4);
      s -= floor(s);
      a.position[k][i] = b->lower[k] + s * length;
    }
  return a;
}

static void Release(MFGAgentRange *a) {
  for (int k = 0; k < MFG_MAX_DIM; k++) free(a->position[k]);
}

/* In 3D by the definition, so that the density there does not rest on the kernel. */
static void Deposit(const MFGBlock *b, const MFGAgentRange *agents, const MFGMomentShape *shape,
                    int64_t *moments) {
  const MFGBackend *backend;
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  if (b->dim == 3)
    DepositByDefinition(b, agents, shape, moments);
  else
    MFG_OK(MFGBackendDeposit(backend, b, agents, shape, NULL, moments));
}

/* Both densities of the agents, the exact one by the CPU; returns the error relative to the largest
 * value. */
static double Compare(const Case *c, const MFGAgentRange *agents, int *order, double *mass) {
  MFGGrid grid;
  const MFGBackend *backend, *oracle;
  MFGDensityPlan plan, direct;
  double h[3], *m, *d, largest;
  int64_t *moments;

  CreateGrid(PETSC_COMM_SELF, &c->box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &oracle));
  for (int k = 0; k < 3; k++) h[k] = c->h[k] * grid.block.spacing[k];
  MFG_OK(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, agents->count,
                                    c->tolerance, 1, h, c->halvings, &plan));
  MFG_OK(MFGDensityPlanCreate(&grid, oracle, MFG_DENSITY_DIRECT, agents->count, c->tolerance, 1, h,
                              &direct));
  const MFGMomentShape shape = MFGDensityPlanShape(plan);
  const int64_t cells = MFGBlockCells(&grid.block), numbers = MFGMomentNumbers(c->box.dim, &shape);
  *order = shape.order;
  moments = calloc(cells * numbers, sizeof *moments);
  m = malloc(cells * sizeof *m);
  d = malloc(cells * sizeof *d);
  Deposit(&grid.block, agents, &shape, moments);
  MFG_OK(MFGDensityEvaluate(plan, 0, NULL, NULL, moments, m));
  MFG_OK(MFGDensityDirect(direct, 0, agents, d));
  const double error = LargestError(cells, m, d, &largest);
  *mass = 0;
  for (int64_t i = 0; i < cells; i++) *mass += m[i] * MFGCellVolume(&grid.block);
  free(moments);
  free(m);
  free(d);
  MFG_OK(MFGDensityPlanDestroy(&plan));
  MFG_OK(MFGDensityPlanDestroy(&direct));
  MFG_OK(MFGGridDestroy(&grid));
  return error / largest;
}

#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC
static const Box boxes[] = {
    {1, {37, 1}, {-1, 0}, {2, 1}, {W, P}},  {1, {37, 1}, {-1, 0}, {2, 1}, {P, P}},
    {1, {5, 1}, {0, 0}, {1, 1}, {W, P}},    {1, {5, 1}, {0, 0}, {1, 1}, {P, P}},
    {2, {19, 26}, {0, -1}, {1, 2}, {W, W}}, {2, {19, 26}, {0, -1}, {1, 2}, {P, W}},
    {2, {26, 11}, {0, -1}, {3, 0}, {W, P}}, {2, {4, 21}, {0, 0}, {1, 1}, {P, P}}};
#define BOXES (sizeof boxes / sizeof boxes[0])

/* Cells whole (s = 0) and halved up to three times, another number of times on each axis. */
static void MomentsMeetTolerance(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 1.2, 1.5, 2, 3.7, 8},
                      tolerances[] = {1e-13, 1e-10, 1e-6, 1e-3};
  double worst[4] = {0};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 7; i += MFGTestOnDevice() ? 3 : 1)
      for (int e = boxes[b].dim > 1 ? 4 : 0; e < 16; e += MFGTestOnDevice() ? 5 : 1) {
        const int t = e / 4, s = e % 4, y = boxes[b].dim > 1 && s ? (s + i) % 4 : 0;
        Case c = {boxes[b], {widths[i], widths[(i + 2) % 7]}, tolerances[t], {s, y}};
        int order;
        double mass;
        MFGGrid grid;
        CreateGrid(PETSC_COMM_SELF, &c.box, &grid);
        MFGAgentRange crowd = Crowd(&grid.block, AGENTS, b * 100 + i);
        MFG_OK(MFGGridDestroy(&grid));
        const double error = Compare(&c, &crowd, &order, &mass);
        Release(&crowd);
        if (error > tolerances[t])
          fail_msg("box %zu, h = %g and %g cells, halved %d and %d times, p = %d: error %.3g above "
                   "the tolerance %g",
                   b, c.h[0], c.h[1], s, y, order, error, tolerances[t]);
        worst[t] = PetscMax(worst[t], error / tolerances[t]);
        /* The lattice sum of the narrowest kernel is 1 to 6e-5, from 1.2 cells on to 1e-12. */
        const double least = c.box.dim == 1 ? c.h[0] : PetscMin(c.h[0], c.h[1]);
        MFG_ASSERT_NEAR(mass, 1, least < 1 ? 2e-4 : least < 1.2 ? 1e-8 : 1e-12);
      }
  print_message("largest error / tolerance at 1e-13, 1e-10, 1e-6, 1e-3: %.2g %.2g %.2g %.2g\n",
                worst[0], worst[1], worst[2], worst[3]);
}

static const Box rooms[] = {{3, {9, 13, 11}, {0, -1, 2}, {1, 2, 4}, {W, P, W}},
                            {3, {12, 3, 7}, {0, -1, 2}, {1, 2, 4}, {P, W, P}},
                            {3, {5, 8, 14}, {-3, 0, 0}, {1, 1, 5}, {W, W, W}},
                            {3, {10, 6, 4}, {0, 0, 0}, {1, 2, 3}, {P, P, P}}};
#define ROOMS (sizeof rooms / sizeof rooms[0])

/* Three dimensions: a kernel of another width on each axis, narrower and wider than the box. */
static void MomentsMeetToleranceInThreeDimensions(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1.2, 1.5, 2, 4}, tolerances[] = {1e-10, 1e-6, 1e-3};
  double worst[3] = {0};
  for (size_t b = 0; b < ROOMS; b++)
    for (int i = 0; i < 5; i += MFGTestOnDevice() ? 4 : 1)
      for (int e = 0; e < 6; e++) {
        const int t = e % 3, s = e / 3;
        const Case c = {rooms[b],
                        {widths[i], widths[(i + 2) % 5], widths[(i + 4) % 5]},
                        tolerances[t],
                        {s * (1 + i % 2), s * ((i + t) % 3), s * (2 - i % 2)}};
        int order;
        double mass;
        MFGGrid grid;
        CreateGrid(PETSC_COMM_SELF, &c.box, &grid);
        MFGAgentRange crowd = Crowd(&grid.block, AGENTS, b * 100 + i);
        MFG_OK(MFGGridDestroy(&grid));
        const double error = Compare(&c, &crowd, &order, &mass);
        Release(&crowd);
        if (error > tolerances[t])
          fail_msg("room %zu, h = %g, %g and %g cells, halved %d, %d and %d times, p = %d: error "
                   "%.3g above %g",
                   b, c.h[0], c.h[1], c.h[2], c.halvings[0], c.halvings[1], c.halvings[2], order,
                   error, tolerances[t]);
        worst[t] = PetscMax(worst[t], error / tolerances[t]);
        const double least = PetscMin(c.h[0], PetscMin(c.h[1], c.h[2]));
        MFG_ASSERT_NEAR(mass, 1, least < 1 ? 2e-4 : 1e-12);
      }
  print_message("3D, largest error / tolerance at 1e-10, 1e-6, 1e-3: %.2g %.2g %.2g\n", worst[0],
                worst[1], worst[2]);
}

/* numerics.md, section 5: in 3D p = 5 (35 terms) at h = 2 cells errs by 7e-7 of the largest
 * density, of a crowd of a million; the error falls like the square root of their number. The
 * kernel is cut nowhere, its weights are written out here a second time; the crowd's middle is
 * compared. */
static void PublishedErrorOfOrderFive(void **state) {
  (void)state;
  if (MFGTestOnDevice()) skip(); /* a million agents */
  enum { SIDE = 24, ORDER = 5, RADIUS = 16, WIDTH = 2 * RADIUS + 1, N = 1000000 };
  const Box box = {3, {SIDE, SIDE, SIDE}, {0, 0, 0}, {SIDE, SIDE, SIDE}, {P, P, P}};
  const double h[3] = {2, 2, 2};
  static double x[3][N], weights[ORDER][WIDTH];
  static double m[SIDE * 36], d[SIDE * 36];
  const MFGBackend *backend;
  MFGGrid grid;
  uint64_t seed = 17;
  double largest;

  for (int i = 0; i < N; i++)
    for (int k = 0; k < 3; k++) {
      const double s = 0.5 + 0.2 * TestNormal(&seed);
      x[k][i] = SIDE * (s - floor(s));
    }
  const MFGAgentRange crowd = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}};
  for (int j = -RADIUS; j <= RADIUS; j++) {
    const double z = j / 2.0, g = exp(-z * z / 2) / (2 * sqrt(2 * PETSC_PI));
    const double hermite[ORDER] = {1, z, z * z - 1, z * z * z - 3 * z,
                                   z * z * z * z - 6 * z * z + 3};
    for (int k = 0; k < ORDER; k++)
      weights[k][RADIUS + j] = g * hermite[k] * pow(0.25, k) / tgamma(k + 1);
  }
  CreateGrid(PETSC_COMM_SELF, &box, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  assert_int_equal(MFGMomentTerms(3, ORDER), 35);
  int64_t *moments = calloc(SIDE * SIDE * SIDE * 35, sizeof *moments);
  MFGBlock middle = grid.block;
  for (int k = 1; k < 3; k++) {
    middle.start[k] = SIDE / 2 - 3;
    middle.count[k] = 6;
  }
  const MFGConvolution job = {.block = middle,
                              .shape = {.order = ORDER, .scale = MFGMomentScale(N)},
                              .agents = N,
                              .radius = {RADIUS, RADIUS, RADIUS},
                              .weights = {weights[0], weights[0], weights[0]}};
  DepositByDefinition(&grid.block, &crowd, &job.shape, moments);
  MFG_OK(MFGBackendConvolve(backend, &job, moments, m));
  MFG_OK(MFGBackendDirect(backend, &middle, N, (const double *const *)crowd.position, h, d));
  const double error = LargestError(SIDE * 36, m, d, &largest) / largest;
  print_message("3D, p = 5, h = 2 cells: error %.2g\n", error);
  MFG_ASSERT_NEAR(error, 0, 1e-6);
  free(moments);
  MFG_OK(MFGGridDestroy(&grid));
}

/* The hardest case: one agent in the corner of a box, up to d^(p/2) times the tolerance. The corner
 * of a cell is one of a box however often cells are halved. */
static void LoneAgent(void **state) {
  (void)state;
  static const double widths[] = {0.7, 1, 2, 5}, tolerances[] = {1e-10, 1e-6};
  for (size_t b = 0; b < BOXES; b++)
    for (int i = 0; i < 4; i++)
      for (int e = 0; e < 8; e++) {
        const int t = e % 2, s = e / 2;
        const Case c = {
            boxes[b], {widths[i], widths[i]}, tolerances[t], {s, boxes[b].dim > 1 ? s : 0}};
        double x = c.box.lower[0] + 2 * (c.box.upper[0] - c.box.lower[0]) / c.box.cells[0];
        double y = c.box.lower[1] + 3 * (c.box.upper[1] - c.box.lower[1]) / c.box.cells[1], mass;
        MFGAgentRange agent = {.id_stride = 1, .count = 1, .position = {&x, &y}};
        int order;
        const double error = Compare(&c, &agent, &order, &mass);
        const double bound = tolerances[t] * (c.box.dim == 1 ? 1 : pow(2, order / 2.0));
        if (error > bound)
          fail_msg("box %zu, h = %g cells, p = %d: error %.3g of a lone agent above %.3g", b,
                   widths[i], order, error, bound);
      }
}

/* The exact sum is the formula: images written out here one by one. */
static void DirectIsTheFormula(void **state) {
  (void)state;
  for (size_t b = 0; b < BOXES + ROOMS; b++) {
    MFGGrid grid;
    const MFGBackend *backend;
    CreateGrid(PETSC_COMM_SELF, b < BOXES ? &boxes[b] : &rooms[b - BOXES], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock *g = &grid.block;
    MFGAgentRange crowd = Crowd(g, 20, 5);
    const int64_t cells = MFGBlockCells(g);
    const double h[3] = {1.7 * g->spacing[0], 2.9 * g->spacing[1], 1.1 * g->spacing[2]};
    double *value = malloc(cells * sizeof *value);
    MFG_OK(
        MFGBackendDirect(backend, g, crowd.count, (const double *const *)crowd.position, h, value));
    for (int64_t c = 0; c < cells; c++) {
      double rho = 0;
      for (int64_t a = 0; a < crowd.count; a++) {
        double product = 1;
        for (int k = 0; k < g->dim; k++) {
          const int64_t stride = k == 0 ? 1 : k == 1 ? g->cells[0] : g->cells[0] * g->cells[1];
          const double x = MFGCellCenter(g, k, (int)(c / stride % g->cells[k]));
          const double length = g->upper[k] - g->lower[k], X = crowd.position[k][a];
          double sum = 0;
          for (int m = -20; m <= 20; m++)
            if (g->boundary[k][0] == P)
              sum += exp(-pow(x - X - m * length, 2) / (2 * h[k] * h[k]));
            else
              sum += exp(-pow(x - X - 2 * m * length, 2) / (2 * h[k] * h[k])) +
                     exp(-pow(x - 2 * g->lower[k] + X - 2 * m * length, 2) / (2 * h[k] * h[k]));
          product *= sum / (h[k] * sqrt(2 * PETSC_PI));
        }
        rho += product / (double)crowd.count;
      }
      MFG_ASSERT_NEAR(value[c] / (rho + 1e-30), 1, rho > 1e-8 ? 1e-11 : 1);
    }
    free(value);
    Release(&crowd);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* A convolution with made-up weights, and the density it gives on the whole grid. */
typedef struct {
  MFGGrid grid;
  MFGAgentRange crowd;
  MFGConvolution job;
  double *weights;
  int64_t *moments; /* whole grid */
  double *whole;
} Made;

static void MakeConvolution(const Box *box, int order, const int halvings[3], const int radius[3],
                            Made *m) {
  CreateGrid(PETSC_COMM_SELF, box, &m->grid);
  const MFGBlock *g = &m->grid.block;
  const int64_t cells = MFGBlockCells(g);
  const int most = order * 64 << MFG_HALVINGS_MAX;
  uint64_t seed = 3;
  m->crowd = Crowd(g, AGENTS, 9);
  m->job = (MFGConvolution){
      .block = *g, .shape = {.order = order, .scale = MFGMomentScale(AGENTS)}, .agents = AGENTS};
  m->weights = malloc(3 * most * sizeof(double));
  for (int i = 0; i < 3 * most; i++) m->weights[i] = TestUniform(&seed) - 0.3;
  for (int k = 0; k < 3; k++) {
    m->job.shape.halvings[k] = k < g->dim ? halvings[k] : 0;
    m->job.radius[k] = radius[k];
    m->job.weights[k] = m->weights + k * most;
  }
  m->moments = calloc(cells * MFGMomentNumbers(g->dim, &m->job.shape), sizeof *m->moments);
  m->whole = malloc(cells * sizeof *m->whole);
  Deposit(g, &m->crowd, &m->job.shape, m->moments);
  MFG_OK(MFGDensityOps_CPU_baseline.convolve(&m->job, m->moments, m->whole));
}

static void DropConvolution(Made *m) {
  free(m->weights);
  free(m->moments);
  free(m->whole);
  Release(&m->crowd);
  MFG_OK(MFGGridDestroy(&m->grid));
}

/* The moments of an extent, cut from those of the whole grid. Cells beyond a wall belong to nobody
 * and hold rubbish. */
static int64_t *CutMoments(const Made *m, const MFGExtent *e) {
  const MFGBlock *g = &m->grid.block;
  const int64_t numbers = MFGMomentNumbers(g->dim, &m->job.shape);
  int64_t *part = malloc(MFGExtentCells(e) * numbers * sizeof *part), *out = part;
  for (int z = 0; z < e->count[2]; z++)
    for (int y = 0; y < e->count[1]; y++)
      for (int x = 0; x < e->count[0]; x++, out += numbers) {
        int at[3] = {e->start[0] + x, e->start[1] + y, e->start[2] + z}, there = 1;
        for (int k = 0; k < 3; k++) {
          const int inside = ((at[k] % g->cells[k]) + g->cells[k]) % g->cells[k];
          there = there && (inside == at[k] || g->boundary[k][0] == P);
          at[k] = inside;
        }
        const int64_t cell = ((int64_t)at[2] * g->cells[1] + at[1]) * g->cells[0] + at[0];
        for (int t = 0; t < numbers; t++)
          out[t] = there ? m->moments[cell * numbers + t] : INT64_C(1) << 60;
      }
  return part;
}

/* The density of one box from moments on an extent against the same cells of the whole. */
static void ExpectSameBits(const Made *m, const MFGBlock *box, const MFGExtent *e) {
  MFGConvolution job = m->job;
  const MFGBackend *backend;
  int64_t *moments = e ? CutMoments(m, e) : m->moments;
  double *part = malloc(MFGBlockOwned(box) * sizeof *part), *row = part;
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  job.block = *box;
  if (e) job.extent = *e;
  MFG_OK(MFGBackendConvolve(backend, &job, moments, part));
  for (int z = 0; z < box->count[2]; z++)
    for (int y = 0; y < box->count[1]; y++, row += box->count[0]) {
      const int64_t plane = box->start[2] + z, line = plane * box->cells[1] + box->start[1] + y;
      assert_memory_equal(row, m->whole + line * box->cells[0] + box->start[0],
                          box->count[0] * sizeof *row);
    }
  free(part);
  if (e) free(moments);
}

/* The box with the radius more on each side (and `more`), inside walls; `whole` axes complete. */
static MFGExtent ExtentOfBox(const MFGConvolution *job, const MFGBlock *box, int whole, int more) {
  int width[3] = {job->radius[0] + more, job->radius[1] + more, job->radius[2] + more};
  MFGExtent e = MFGBlockWidened(box, width);
  for (int k = 0; k < box->dim; k++)
    if (whole & 1 << k) {
      e.start[k] = 0;
      e.count[k] = box->cells[k];
    } else if (box->boundary[k][0] != P && more == 0) {
      const int end = PetscMin(e.start[k] + e.count[k], box->cells[k]);
      e.start[k] = PetscMax(e.start[k], 0);
      e.count[k] = end - e.start[k];
    }
  return e;
}

static const Box divided[] = {{1, {37, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W, P, P}},
                              {1, {37, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P, P, P}},
                              {2, {19, 26, 1}, {0, -1, 0}, {1, 2, 1}, {W, P, P}},
                              {2, {19, 26, 1}, {0, -1, 0}, {1, 2, 1}, {P, W, P}},
                              {3, {9, 13, 11}, {0, -1, 2}, {1, 2, 4}, {W, P, W}},
                              {3, {17, 5, 7}, {0, -1, 2}, {1, 2, 4}, {P, W, P}}};
#define DIVIDED (sizeof divided / sizeof divided[0])

/* Every box of several divisions, from the whole moments, from its surroundings only, and from
 * whole and partial axes mixed: the same bits. A radius of 2 stays in the grid, 5 passes the walls
 * of some, 9 goes round. */
static void SameBitsForAnyBoxAndExtent(void **state) {
  (void)state;
  static const int divisions[][3] = {{1, 1, 1}, {2, 1, 1}, {1, 2, 2}, {3, 2, 1}, {2, 2, 2}};
  static const int radii[][3] = {{2, 2, 2}, {5, 2, 3}, {9, 9, 9}, {1, 4, 8}, {5, 2, 3}};
  static const int halvings[][3] = {{0}, {0}, {0}, {1, 0, 1}, {2, 1, 0}};
  for (size_t b = 0; b < DIVIDED; b++)
    for (int r = 0; r < 5; r++) {
      Made m;
      MakeConvolution(&divided[b], r < 3 ? 5 : 4, halvings[r], radii[r], &m);
      const MFGBlock *g = &m.grid.block;
      for (int d = 0; d < 5; d++) {
        int parts[3], all = 1;
        for (int k = 0; k < 3; k++) all *= parts[k] = k < g->dim ? divisions[d][k] : 1;
        for (int rank = 0; rank < all; rank++) {
          const MFGBlock box = MFGBoxOfRank(g, parts, rank);
          ExpectSameBits(&m, &box, NULL);
          for (int whole = 0; whole < 1 << g->dim; whole++)
            for (int more = 0; more < 3; more += 2) {
              const MFGExtent e = ExtentOfBox(&m.job, &box, whole, more);
              ExpectSameBits(&m, &box, &e);
            }
        }
      }
      DropConvolution(&m);
    }
}

/* Moments that do not reach far enough are refused, not read beyond their end. */
static void ShortExtentIsRefused(void **state) {
  (void)state;
  const MFGBackend *backend;
  Made m;
  MakeConvolution(&divided[5], 5, (int[]){0, 0, 1}, (int[]){3, 2, 2}, &m);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  MFGConvolution job = m.job;
  job.block.start[0] = 5;
  job.block.count[0] = 4;
  job.extent = MFGBlockWidened(&job.block, job.radius);
  job.extent.start[0]++;
  job.extent.count[0]--;
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  assert_int_not_equal(MFGBackendConvolve(backend, &job, m.moments, m.whole), 0);
  PetscCallVoid(PetscPopErrorHandler());
  DropConvolution(&m);
}

/* What the kernel deposits is the definition, but for the rounding of t. */
static void KernelDepositsTheDefinition(void **state) {
  (void)state;
  for (size_t b = 0; b < DIVIDED; b++)
    for (int order = 3; order < 9; order++) {
      MFGGrid grid;
      const MFGBackend *backend;
      CreateGrid(PETSC_COMM_SELF, &divided[b], &grid);
      MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
      const MFGBlock *g = &grid.block;
      /* From order 6 on cells are halved, on each axis another number of times. */
      MFGMomentShape shape = {order, MFGMomentScale(AGENTS), {0}};
      for (int k = 0; k < g->dim && order > 5; k++) shape.halvings[k] = (order + k) % 4;
      const int64_t count = MFGBlockCells(g) * MFGMomentNumbers(g->dim, &shape);
      MFGAgentRange crowd = Crowd(g, AGENTS, 9);
      int64_t *kernel = calloc(count, sizeof *kernel), *definition = calloc(count, sizeof *kernel);
      MFG_OK(MFGBackendDeposit(backend, g, &crowd, &shape, NULL, kernel));
      DepositByDefinition(g, &crowd, &shape, definition);
      for (int64_t i = 0; i < count; i++)
        MFG_ASSERT_NEAR(ldexp((double)(kernel[i] - definition[i]), -shape.scale), 0, 1e-11);
      free(kernel);
      free(definition);
      Release(&crowd);
      MFG_OK(MFGGridDestroy(&grid));
    }
}

/* Any instruction set: the same bits. */
static void SameBitsForAnyVariant(void **state) {
  (void)state;
  enum { FEW = 150 };
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int count = MFGTestBackends(backends);
  for (size_t b = 0; b < 2 * DIVIDED; b++) {
    Made m;
    const int halvings[2][3] = {{0}, {2, 1, 1}}, cut = b >= DIVIDED;
    MakeConvolution(&divided[b % DIVIDED], cut ? 5 : 7, halvings[cut], (int[]){9, 9, 9}, &m);
    const MFGBlock *g = &m.grid.block;
    const double h[3] = {2 * g->spacing[0], 3 * g->spacing[1], 1.3 * g->spacing[2]};
    const double *const *position = (const double *const *)m.crowd.position;
    const int64_t cells = MFGBlockCells(g), field = cells * MFGMomentNumbers(g->dim, &m.job.shape);
    double *oracle = malloc(cells * sizeof *oracle), *part = malloc(cells * sizeof *part);
    int64_t *baseline = calloc(field, sizeof *baseline);
    MFG_OK(MFGAgentsOps_CPU_baseline.deposit(g, &m.crowd, &m.job.shape, NULL, baseline));
    MFG_OK(MFGDensityOps_CPU_baseline.direct(g, FEW, position, h, oracle));
    for (int v = 0; v < count; v++) {
      int64_t *again = calloc(field, sizeof *again);
      MFG_OK(backends[v]->agents->deposit(g, &m.crowd, &m.job.shape, NULL, again));
      assert_memory_equal(again, baseline, field * sizeof *again);
      free(again);
      MFG_OK(backends[v]->density->convolve(&m.job, m.moments, part));
      assert_memory_equal(part, m.whole, cells * sizeof *part);
      MFG_OK(backends[v]->density->direct(g, FEW, position, h, part));
      assert_memory_equal(part, oracle, cells * sizeof *part);
    }
    free(baseline);
    free(oracle);
    free(part);
    DropConvolution(&m);
  }
}

/* The reach of a plan is what its widest level needs; a sub-box with it has the bits of the whole.
 * Agents with ids in any order give the bits of those in order. */
static void PlanOnABoxAndAgentsByIds(void **state) {
  (void)state;
  for (size_t b = 0; b < DIVIDED; b++) {
    MFGGrid grid;
    const MFGBackend *backend;
    MFGDensityPlan plan, direct;
    CreateGrid(PETSC_COMM_SELF, &divided[b], &grid);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    const MFGBlock *g = &grid.block;
    double h[2 * MFG_MAX_DIM];
    for (int n = 0; n < 2; n++)
      for (int k = 0; k < g->dim; k++) h[n * g->dim + k] = (n == k % 2 ? 1 : 1.5) * g->spacing[k];
    const int halvings[3] = {b % 3, g->dim > 1, g->dim > 2};
    MFG_OK(MFGDensityPlanCreateHalved(&grid, backend, MFG_DENSITY_MOMENTS, AGENTS, 1e-3, 2, h,
                                      halvings, &plan));
    MFG_OK(MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_DIRECT, AGENTS, 1e-3, 2, h, &direct));
    Made m = {.grid = grid, .crowd = Crowd(g, AGENTS, 4)};
    MFGDensityPlanRadius(direct, m.job.radius);
    for (int k = 0; k < 3; k++) assert_int_equal(m.job.radius[k], 0);
    MFGDensityPlanRadius(plan, m.job.radius);
    /* 1.5 sqrt(-2 log 1e-4) - 1/2 = 5.9 */
    for (int k = 0; k < 3; k++) assert_int_equal(m.job.radius[k], k < g->dim ? 6 : 0);
    const int64_t cells = MFGBlockCells(g);
    m.job.shape = MFGDensityPlanShape(plan);
    m.moments = calloc(cells * MFGMomentNumbers(g->dim, &m.job.shape), sizeof *m.moments);
    m.whole = malloc(cells * sizeof *m.whole);
    Deposit(g, &m.crowd, &m.job.shape, m.moments);
    MFGBlock box = *g;
    box.start[0] = 1;
    box.count[0] -= 2;
    const MFGExtent e = ExtentOfBox(&m.job, &box, 0, 0);
    int64_t *cut = CutMoments(&m, &e);
    double *part = malloc(cells * sizeof *part);
    for (int n = 0; n < 2; n++) {
      MFG_OK(MFGDensityEvaluate(plan, n, NULL, NULL, m.moments, m.whole));
      MFG_OK(MFGDensityEvaluate(plan, n, &box, &e, cut, part));
      for (int64_t row = 0; row < cells / g->cells[0]; row++)
        assert_memory_equal(part + row * box.count[0], m.whole + row * g->cells[0] + 1,
                            box.count[0] * sizeof *part);
    }
    free(cut);
    MFG_OK(MFGDensityDirect(direct, 1, &m.crowd, m.whole));
    static int64_t id[AGENTS];
    MFGAgentRange mixed = Crowd(g, AGENTS, 4);
    for (int64_t i = 0; i < AGENTS; i++) {
      id[i] = (i * 1009 + 7) % AGENTS;
      for (int k = 0; k < g->dim; k++) mixed.position[k][i] = m.crowd.position[k][id[i]];
    }
    mixed.id = id;
    MFG_OK(MFGDensityDirect(direct, 1, &mixed, part));
    assert_memory_equal(part, m.whole, cells * sizeof *part);
    id[5] = id[6];
    PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
    assert_int_not_equal(MFGDensityDirect(direct, 1, &mixed, part), 0);
    PetscCallVoid(PetscPopErrorHandler());
    free(part);
    Release(&mixed);
    MFG_OK(MFGDensityPlanDestroy(&plan));
    MFG_OK(MFGDensityPlanDestroy(&direct));
    DropConvolution(&m);
  }
}

/* Kernels that the grid cannot show, and those whose reach in cells is no int, of an input and of a
 * checkpoint. */
static void BandwidthsOutOfRangeAreRefused(void **state) {
  (void)state;
  static const double bad[] = {0.1, 1e3, 1e12, 1e300, INFINITY, NAN, -1, 0};
  const MFGMomentShape shape = {.order = 8};
  const int radius[] = {1, 1};
  const MFGBackend *backend;
  MFGDensityPlan plan;
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, &boxes[0], &grid);
  MFG_OK(MFGBackendGet(PETSC_COMM_SELF, "cpu", &backend));
  PetscCallVoid(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const double h[] = {bad[i] * grid.block.spacing[0], bad[i] * grid.block.spacing[0]};
    assert_int_equal(
        MFGDensityPlanCreate(&grid, backend, MFG_DENSITY_MOMENTS, 10, 1e-6, 2, h, &plan),
        PETSC_ERR_ARG_OUTOFRANGE);
    assert_int_equal(MFGDensityPlanCreateAs(&grid, backend, MFG_DENSITY_MOMENTS, 10, 1e-6, 2, h,
                                            &shape, radius, &plan),
                     PETSC_ERR_FILE_READ);
  }
  PetscCallVoid(PetscPopErrorHandler());
  MFG_OK(MFGGridDestroy(&grid));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(DirectIsTheFormula),
                                          cmocka_unit_test(MomentsMeetTolerance),
                                          cmocka_unit_test(MomentsMeetToleranceInThreeDimensions),
                                          cmocka_unit_test(PublishedErrorOfOrderFive),
                                          cmocka_unit_test(LoneAgent),
                                          cmocka_unit_test(SameBitsForAnyBoxAndExtent),
                                          cmocka_unit_test(ShortExtentIsRefused),
                                          cmocka_unit_test(BandwidthsOutOfRangeAreRefused),
                                          cmocka_unit_test(KernelDepositsTheDefinition),
                                          cmocka_unit_test(SameBitsForAnyVariant),
                                          cmocka_unit_test(PlanOnABoxAndAgentsByIds)};
MFG_TEST_MAIN(tests)
