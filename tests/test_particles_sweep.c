/* One sweep gives the same bits whatever divides the work: ranks, boxes, chunks of levels, ranges
 * of agents, instruction sets. Every rank repeats the whole problem alone and compares. The drift
 * has no libm in it, so the checksum of the agents' integers is the same on every machine. */
#include "tests/agents_fixture.h"

#define STEPS 9
#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box line = {1, {31, 1}, {-1, 0}, {2, 1}, {W, P}},
                 ring = {1, {31, 1}, {-1, 0}, {2, 1}, {P, P}},
                 tube = {2, {19, 26}, {0, -1}, {1, 2}, {P, W}},
                 room = {2, {19, 26}, {0, -1}, {1, 2}, {W, W}},
                 hall = {3, {9, 7, 8}, {0, -1, 2}, {1, 2, 4}, {W, P, W}};

static PetscErrorCode Drift(void *context, int begin, int end, double *drift) {
  const MFGBlock *b = context;
  PetscFunctionBeginUser;
  for (int n = begin; n < end; n++)
    for (int c = 0; c < b->dim; c++)
      for (int64_t i = 0; i < MFGBlockOwned(b); i++) {
        int cell[MFG_MAX_DIM];
        OwnedCell(b, i, cell);
        const double x = MFGCellCenter(b, 0, cell[0]),
                     y = (double)(cell[1] + b->cells[1] * cell[2]) / 8;
        *drift++ = c ? (x - 0.4) * 3 * c + n * 0.25 - y : (0.5 - x) * (1 + n) + y * (c + 1) - x * x;
      }
  PetscFunctionReturn(PETSC_SUCCESS);
}

typedef struct {
  const Box *box;
  int64_t agents;
  uint64_t seed;
  uint32_t iteration;
  MFGSampling sampling;
  MFGDensityMethod method;
  int sort_every;
} Problem;

typedef struct {
  MFGGrid grid;
  double *M;
  MFGSampleStatistics statistics[STEPS + 1];
  MFGParticles particles;
  MFGDensityPlan plan;
} Solution;

static void Solve(MPI_Comm comm, const Problem *p, Solution *s) {
  const MFGBackend *backend;
  double h[2 * (STEPS + 1)];
  CreateGrid(comm, p->box, &s->grid);
  MFGBlock b = WholeBlock(&s->grid);
  MFG_OK(MFGTestBackend(comm, &backend));
  double *m0 = malloc(MFGBlockCells(&b) * sizeof *m0);
  for (int64_t i = 0; i < MFGBlockCells(&b); i++) m0[i] = (double)(i % 7) * (1 + (double)(i % 12));
  for (int n = 0; n <= STEPS; n++)
    for (int k = 0; k < b.dim; k++) h[n * b.dim + k] = (1.5 + 0.2 * n + k) * b.spacing[k];
  MFG_OK(
      MFGDensityPlanCreate(&s->grid, backend, p->method, p->agents, 1e-8, STEPS + 1, h, &s->plan));
  const MFGParticlesSpec spec = {.count = p->agents,
                                 .seed = p->seed,
                                 .sampling = p->sampling,
                                 .initial_density = m0,
                                 .nu = 0.4,
                                 .dt = 0.05,
                                 .steps = STEPS,
                                 .sort_every = p->sort_every};
  MFG_OK(MFGParticlesCreate(&s->grid, backend, &spec, &s->particles));
  free(m0);
  s->M = malloc((STEPS + 1) * MFGBlockOwned(&s->grid.block) * sizeof *s->M);
  MFG_OK(MFGParticlesSweep(s->particles, s->plan, p->iteration, Drift, &s->grid.block, s->M,
                           s->statistics));
}

static void Free(Solution *s) {
  free(s->M);
  MFG_OK(MFGParticlesDestroy(&s->particles));
  MFG_OK(MFGDensityPlanDestroy(&s->plan));
  MFG_OK(MFGGridDestroy(&s->grid));
}

static void AssertSame(const Solution *shared, const Solution *alone) {
  AssertSameFlow(&shared->grid, STEPS, shared->M, shared->statistics, alone->M, alone->statistics);
}

/* 5 agents: with 7 ranks some have none. */
static void SameBitsForAnyNumberOfRanks(void **state) {
  (void)state;
  const Box *const boxes[] = {&line, &ring, &tube, &room};
  static const int64_t agents[] = {1001, 5};
  for (int i = 0; i < 4; i++)
    for (int a = 0; a < 2; a++)
      for (int method = 0; method <= (i > 1 && a == 0); method++) {
        const Problem p = {boxes[i],
                           agents[a],
                           3,
                           0,
                           (i + a) % 2 ? MFG_SAMPLING_RANDOM : MFG_SAMPLING_STRATIFIED,
                           method ? MFG_DENSITY_DIRECT : MFG_DENSITY_MOMENTS,
                           0};
        Solution shared, alone;
        Solve(PETSC_COMM_WORLD, &p, &shared);
        Solve(PETSC_COMM_SELF, &p, &alone);
        AssertSame(&shared, &alone);
        Free(&shared);
        Free(&alone);
      }
}

static void SweepsRepeatAndSeedsDiffer(void **state) {
  (void)state;
  Problem p = {&tube, 500, 3, 0, MFG_SAMPLING_STRATIFIED, MFG_DENSITY_MOMENTS, 0};
  Solution first, other;
  Solve(PETSC_COMM_WORLD, &p, &first);
  const size_t bytes = (STEPS + 1) * MFGBlockOwned(&first.grid.block) * sizeof(double);
  const size_t last = STEPS * MFGBlockOwned(&first.grid.block);
  double *again = malloc(bytes);
  MFG_OK(MFGParticlesSweep(first.particles, first.plan, 0, Drift, &first.grid.block, again,
                           first.statistics));
  assert_memory_equal(again, first.M, bytes);
  MFG_OK(MFGParticlesSweep(first.particles, first.plan, 1, Drift, &first.grid.block, again,
                           first.statistics));
  assert_memory_equal(again, first.M, bytes / (STEPS + 1));
  assert_memory_not_equal(again + last, first.M + last, bytes / (STEPS + 1));
  free(again);
  p.seed = UINT64_C(3) << 32 | 3;
  Solve(PETSC_COMM_WORLD, &p, &other);
  assert_memory_not_equal(other.M + last, first.M + last, bytes / (STEPS + 1));
  Free(&other);
  Free(&first);
}

/* The moments of all levels by one table, the levels in the given pieces, ids in two ranges. */
static uint64_t ScanChecksum(const MFGAgentsOps *ops, const Box *box, const int *cut, int stride) {
  enum { N = 700 };
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, box, &grid);
  const MFGBlock b = grid.block;
  const int order = 6, terms = MFGMomentTerms(b.dim, order);
  const int64_t cells = MFGBlockCells(&b), field = cells * terms;
  int64_t *moments = calloc(STEPS * field, sizeof *moments);
  int64_t *cumulative = malloc(cells * sizeof *cumulative);
  double *drift = malloc(STEPS * b.dim * cells * sizeof *drift), x[3][N];
  MFG_OK(Drift((void *)&b, 0, STEPS, drift));
  for (int64_t i = 0, sum = 0; i < cells; i++) cumulative[i] = sum += i % 5;
  for (int part = 0; part < stride; part++) {
    const MFGAgentRange range = {.first_id = (INT64_C(1) << 32) - 300 + part,
                                 .id_stride = stride,
                                 .count = N / stride,
                                 .position = {x[0], x[1], x[2]}};
    const MFGSample sample = {.domain = b,
                              .key = {.seed = 11},
                              .agents = range,
                              .total = N,
                              .cumulative = cumulative,
                              .weight = cumulative[cells - 1]};
    MFG_OK(ops->sample(&sample));
    for (; *cut < STEPS; cut++) {
      const MFGScan scan = {.domain = b,
                            .key = {.seed = 11, .iteration = 2},
                            .agents = range,
                            .dt = 0.05,
                            .nu = 0.4,
                            .level_begin = cut[0],
                            .level_end = cut[1],
                            .drift = drift + cut[0] * b.dim * cells,
                            .shape = {order, 50, {0}},
                            .moments = moments + cut[0] * field};
      MFG_OK(ops->scan(&scan));
    }
    while (*cut) cut--;
  }
  const uint64_t sum = Checksum(moments, STEPS * field * sizeof *moments);
  free(moments);
  free(cumulative);
  free(drift);
  MFG_OK(MFGGridDestroy(&grid));
  return sum;
}

static void SameBitsForAnyPiecesAndVariant(void **state) {
  (void)state;
  static const int cuts[3][STEPS + 2] = {
      {0, STEPS}, {0, 3, 4, STEPS}, {0, 1, 2, 3, 4, 5, 6, 7, 8, STEPS}};
  const Box *const boxes[] = {&line, &ring, &tube, &room, &hall};
  static const uint64_t committed[] = {UINT64_C(0x4dbff95782292580), UINT64_C(0x28b9d21e48941766),
                                       UINT64_C(0xe47b8aed51ca4e74), UINT64_C(0x6511a9ba2d39dda6),
                                       UINT64_C(0x2b2e20b638eca46c)};
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int count = MFGTestBackends(backends);
  for (int v = 0; v < count; v++)
    for (int i = 0; i < 5; i++)
      for (int c = 0; c < (v ? 1 : 3); c++)
        for (int stride = 1; stride <= (v ? 1 : 7); stride += 3 * stride) {
          const uint64_t sum = ScanChecksum(backends[v]->agents, boxes[i], cuts[c], stride);
          if (sum != committed[i])
            fail_msg("backend %d, box %d, pieces %d, stride %d: %#llx instead of %#llx", v, i, c,
                     stride, (unsigned long long)sum, (unsigned long long)committed[i]);
        }
}

enum { CROWD = 900 };

static int64_t IndexOf(const MFGExtent *e, const int cell[]) {
  return ((int64_t)(cell[2] - e->start[2]) * e->count[1] + cell[1] - e->start[1]) * e->count[0] +
         cell[0] - e->start[0];
}

/* The drift on a box with its ghosts. */
static void Surround(const MFGBlock *whole, const MFGExtent *wide, const double *drift,
                     double *ghosted) {
  const MFGExtent all = MFGBlockWidened(whole, (const int[]){0, 0, 0});
  for (int c = 0; c < whole->dim; c++)
    for (int64_t i = 0; i < MFGExtentCells(wide); i++) {
      int cell[3] = {(int)(i % wide->count[0]), (int)(i / wide->count[0] % wide->count[1]),
                     (int)(i / wide->count[0] / wide->count[1])};
      double sign = 1;
      for (int k = 0; k < whole->dim; k++) {
        const MFGAxis axis = MFGAxisOf(whole, k);
        double s;
        cell[k] = MFGDriftGhost(&axis, k, c, cell[k] + wide->start[k], &s);
        sign *= s;
      }
      *ghosted++ = sign * drift[c * MFGBlockCells(whole) + IndexOf(&all, cell)];
    }
}

/* One step and its moments, agent by agent, from the formulas at a point. */
static void StepByPoints(const MFGScan *job, const int64_t *id, double x[][CROWD],
                         int64_t *moments) {
  const MFGBlock *b = &job->domain;
  const int dim = b->dim, p = job->shape.order, *h = job->shape.halvings;
  const MFGExtent all = MFGBlockWidened(b, (const int[]){0, 0, 0}),
                  wide = MFGBlockWidened(b, (const int[]){1, 1, 1});
  double *drift = malloc(dim * MFGExtentCells(&wide) * sizeof *drift);
  Surround(b, &wide, job->drift, drift);
  for (int a = 0; a < CROWD; a++) {
    double z[4], w[3] = {0}, t[3] = {0}, v[8];
    int low[3] = {0}, cell[3] = {0};
    for (int k = 0; k < dim; k++) {
      const MFGAxis axis = MFGAxisOf(b, k);
      low[k] = MFGIntervalOf(&axis, x[k][a], &w[k]) - 1;
    }
    for (int k = 0; k < dim; k++) {
      const MFGAxis axis = MFGAxisOf(b, k);
      for (int corner = 0; corner < 1 << dim; corner++) {
        for (int l = 0; l < dim; l++) cell[l] = low[l] + (corner >> l & 1);
        v[corner] = drift[k * MFGExtentCells(&wide) + IndexOf(&wide, cell)];
      }
      for (int l = dim - 1; l >= 0; l--)
        for (int c = 0; c < 1 << l; c++) v[c] = MFGInterpolate(v[c], v[c + (1 << l)], w[l]);
      const int64_t n = (int64_t)job->level_begin * dim + k;
      MFGNormals(job->key.seed, (uint64_t)id[a], (uint32_t)(n / 4),
                 MFGRandomStream(MFG_PURPOSE_STEP, job->key.iteration), &z[0], &z[1], &z[2], &z[3]);
      x[k][a] = MFGBoundaryRule(
          &axis, MFGStep(x[k][a], v[0], job->dt, sqrt(2 * job->nu * job->dt), z[n % 4]));
    }
    int part = 0;
    for (int k = 2; k >= 0; k--) {
      const MFGAxis axis = MFGAxisOf(b, k);
      const int at = k < dim ? MFGBoxOf(&axis, h[k], x[k][a], &t[k]) : 0;
      cell[k] = at >> h[k];
      part = (part << h[k]) + at % (1 << h[k]);
    }
    int64_t *m = moments + IndexOf(&all, cell) * MFGMomentNumbers(dim, &job->shape) +
                 part * MFGMomentTerms(dim, p);
    for (int i = 0; i < (dim > 2 ? p : 1); i++)
      for (int j = 0; j < (dim > 1 ? p - i : 1); j++)
        for (int k = 0; k < p - i - j; k++)
          *m++ += (int64_t)MFGMomentBits(MFGMomentPower(t[0], k) * MFGMomentPower(t[1], j) *
                                             MFGMomentPower(t[2], i),
                                         ldexp(1, job->shape.scale));
  }
  free(drift);
}

/* Box number `part` of two per axis. */
static MFGBlock Part(const MFGBlock *whole, int part) {
  MFGBlock b = *whole;
  for (int k = 0; k < b.dim; k++) {
    const int half = b.cells[k] / 2;
    b.start[k] = part >> k & 1 ? half : 0;
    b.count[k] = part >> k & 1 ? b.cells[k] - half : half;
  }
  return b;
}

static int IsIn(const MFGBlock *box, double x[][CROWD], int a) {
  int in = 1;
  for (int k = 0; k < box->dim; k++) {
    const MFGAxis axis = MFGAxisOf(box, k);
    double t;
    const int c = MFGCellOf(&axis, x[k][a], &t);
    in &= c >= box->start[k] && c < box->start[k] + box->count[k];
  }
  return in;
}

/* The agents of one box, in an order of their own, take the step alone. Adds what they deposit and,
 * for those who leave, what they should, to the moments of the whole grid. */
static void StepInBox(const MFGAgentsOps *ops, const MFGScan *job, const MFGBlock *box,
                      const int64_t *id, double before[][CROWD], double after[][CROWD],
                      int64_t *moments) {
  const int dim = box->dim, terms = MFGMomentNumbers(dim, &job->shape);
  const MFGExtent all = MFGBlockWidened(&job->domain, (const int[]){0, 0, 0}),
                  wide = MFGBlockWidened(box, (const int[]){1, 1, 1});
  static double x[3][CROWD], y[3][CROWD];
  static int64_t ids[CROWD], leavers[CROWD + 1], away;
  static int who[CROWD];
  int count = 0;
  for (int i = 0; i < CROWD; i++) {
    const int a = i * 7 % CROWD;
    if (!IsIn(box, before, a)) continue;
    ids[count] = id[a];
    who[count] = a;
    for (int k = 0; k < dim; k++) x[k][count] = before[k][a];
    count++;
  }
  MFGScan scan = *job;
  scan.domain = *box;
  scan.agents = (MFGAgentRange){.id = ids, .count = count, .position = {x[0], x[1], x[2]}};
  scan.extent = MFGBlockWidened(box, (const int[]){2, 0, 3});
  scan.leavers = leavers;
  scan.ghosted = PETSC_TRUE;
  double *drift = malloc(dim * MFGExtentCells(&wide) * sizeof *drift);
  Surround(&job->domain, &wide, job->drift, drift);
  scan.drift = drift;
  int64_t *own = calloc(MFGExtentCells(&scan.extent) * terms, sizeof *own);
  scan.moments = own;
  MFG_OK(ops->scan(&scan));
  away = 0;
  for (int i = 0; i < count; i++) {
    for (int k = 0; k < dim; k++) assert_true(x[k][i] == after[k][who[i]]);
    if (IsIn(box, x, i)) continue;
    assert_int_equal(leavers[1 + away], i);
    for (int k = 0; k < dim; k++) y[k][away] = x[k][i];
    away++;
  }
  assert_int_equal(leavers[0], away);
  const MFGAgentRange left = {.id_stride = 1, .count = away, .position = {y[0], y[1], y[2]}};
  MFG_OK(ops->deposit(&job->domain, &left, &job->shape, NULL, moments));
  for (int64_t i = 0; i < MFGExtentCells(&scan.extent); i++) {
    int cell[3];
    int64_t rest = i;
    int inside = 1;
    for (int k = 0; k < 3; rest /= scan.extent.count[k++]) {
      cell[k] = (int)(rest % scan.extent.count[k]) + scan.extent.start[k];
      inside &= cell[k] >= box->start[k] && cell[k] < box->start[k] + box->count[k];
    }
    for (int j = 0; j < terms; j++)
      if (inside)
        moments[IndexOf(&all, cell) * terms + j] += own[i * terms + j];
      else
        assert_int_equal(own[i * terms + j], 0);
  }
  free(own);
  free(drift);
}

/* Steps of the whole grid against the formulas at a point, and against boxes that take them alone.
 */
static void BoxesAndPoints(const MFGAgentsOps *ops, const Box *where, const MFGMomentShape *shape) {
  static double x[3][CROWD], before[3][CROWD], point[3][CROWD];
  static int64_t id[CROWD];
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, where, &grid);
  const MFGBlock b = grid.block;
  const int64_t cells = MFGBlockCells(&b), field = cells * MFGMomentNumbers(b.dim, shape);
  double *drift = malloc(b.dim * cells * sizeof *drift);
  int64_t *whole = malloc(3 * field * sizeof *whole), *other = whole + field,
          *parts = other + field;
  uint64_t seed = 5;
  for (int a = 0; a < CROWD; a++) {
    id[a] = (INT64_C(1) << 32) - 800 + 2 * a;
    for (int k = 0; k < b.dim; k++)
      x[k][a] = point[k][a] = b.lower[k] + TestUniform(&seed) * (b.upper[k] - b.lower[k]);
  }
  for (int n = 0; n < (MFGTestBrief() ? 3 : 5); n++) {
    memset(whole, 0, 3 * field * sizeof *whole);
    memcpy(before, x, sizeof x);
    MFG_OK(Drift((void *)&b, n, n + 1, drift));
    MFGScan scan = {.domain = b,
                    .key = {.seed = 11, .iteration = 2},
                    .agents = {.first_id = id[0],
                               .id_stride = 2,
                               .count = CROWD,
                               .position = {x[0], x[1], x[2]}},
                    .dt = 0.05,
                    .nu = 0.1,
                    .level_begin = n,
                    .level_end = n + 1,
                    .drift = drift,
                    .shape = *shape,
                    .moments = whole};
    MFG_OK(ops->scan(&scan));
    StepByPoints(&scan, id, point, other);
    assert_memory_equal(x, point, b.dim * sizeof x[0]);
    assert_memory_equal(whole, other, field * sizeof *whole);
    for (int part = 0; part < 1 << b.dim; part++) {
      const MFGBlock box = Part(&b, part);
      StepInBox(ops, &scan, &box, id, before, x, parts);
    }
    assert_memory_equal(whole, parts, field * sizeof *whole);
  }
  free(whole);
  free(drift);
  MFG_OK(MFGGridDestroy(&grid));
}

static void BoxesAndPointsAgree(void **state) {
  (void)state;
  /* With the last three orders the cells are halved, on each axis another number of times. */
  static const int orders[] = {1, 2, 4, 6, 8, 9, 17, 3, 5, 9};
  /* In the last two there are so many agents to a cell that the cells are padded. */
  const Box few = {1, {7}, {-1}, {2}, {W}}, four = {2, {3, 4}, {0, -1}, {1, 2}, {P, W}};
  const Box *const boxes[] = {&line, &ring, &tube, &room, &hall, &few, &four};
  const MFGBackend *backends[MFG_TEST_BACKENDS_MOST];
  const int count = MFGTestBackends(backends);
  for (int i = 0; i < 7; i++)
    for (int o = 0; o < 10; o++) {
      const int dim = boxes[i]->dim, h = o < 7 ? 0 : o - 6;
      const MFGMomentShape shape = {
          orders[o], 50, {h, dim > 1 ? (h + 1) % 4 : 0, dim > 2 ? h / 2 : 0}};
      for (int v = 0; v < count; v++) BoxesAndPoints(backends[v]->agents, boxes[i], &shape);
    }
}

/* Agents where they should not be, which is an error of the caller, reach no memory that is not
 * theirs: all that they deposit and the list of all of them is found in the arrays given. */
static void StrayAgentsAreHarmless(void **state) {
  (void)state;
  enum { N = 300 };
  const Box *const places[] = {&line, &tube, &hall};
  for (int i = 0; i < 3; i++) {
    MFGGrid grid;
    CreateGrid(PETSC_COMM_SELF, places[i], &grid);
    const MFGBlock box = Part(&grid.block, 1);
    const MFGExtent wide = MFGBlockWidened(&box, (const int[]){1, 1, 1});
    const MFGMomentShape shape = {5, 40, {i > 0, 2 * (i == 1), 3 * (i == 2)}};
    const int terms = MFGMomentTerms(box.dim, 5), boxes = MFGMomentBoxes(&shape);
    double *drift = calloc(box.dim * MFGExtentCells(&wide), sizeof *drift), x[3][N];
    int64_t *moments = calloc(MFGBlockOwned(&box) * boxes * terms, sizeof *moments), leavers[N + 1];
    uint64_t seed = 8;
    for (int a = 0; a < N; a++)
      for (int k = 0; k < 3; k++) x[k][a] = a == 7 ? NAN : 20 * TestUniform(&seed) - 10;
    const MFGScan scan = {.domain = box,
                          .agents = {.id_stride = 1, .count = N, .position = {x[0], x[1], x[2]}},
                          .dt = 0.1,
                          .nu = 1,
                          .level_end = 1,
                          .drift = drift,
                          .ghosted = PETSC_TRUE,
                          .shape = shape,
                          .moments = moments,
                          .leavers = leavers};
    const MFGBackend *backend;
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    MFG_OK(MFGBackendScan(backend, &scan));
    int64_t count = leavers[0];
    for (int64_t c = 0; c < MFGBlockOwned(&box) * boxes; c++) count += moments[c * terms] >> 40;
    assert_int_equal(count, N);
    for (int a = 0; a < N; a++)
      for (int k = 0; k < 3; k++) x[k][a] = 20 * TestUniform(&seed) - 10;
    MFG_OK(MFGBackendDeposit(backend, &box, &scan.agents, &shape, NULL, moments));
    free(drift);
    free(moments);
    MFG_OK(MFGGridDestroy(&grid));
  }
}

/* What a scan of a rank's box must bring with it. */
static void BoxScansAreChecked(void **state) {
  (void)state;
  const MFGBackend *backend;
  MFGGrid grid;
  CreateGrid(PETSC_COMM_SELF, &hall, &grid);
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  double drift[3 * 6 * 5 * 6] = {0};
  int64_t leavers[1];
  const MFGScan good = {.domain = Part(&grid.block, 0),
                        .agents = {.id_stride = 1},
                        .dt = 0.1,
                        .level_end = 1,
                        .drift = drift,
                        .ghosted = PETSC_TRUE,
                        .leavers = leavers};
  MFGScan scan = good;
  MFG_OK(MFGBackendScan(backend, &scan));
  MFG_OK(PetscPushErrorHandler(PetscReturnErrorHandler, NULL));
  scan.leavers = NULL;
  assert_int_equal(MFGBackendScan(backend, &scan), PETSC_ERR_ARG_INCOMP);
  scan = good;
  scan.ghosted = PETSC_FALSE;
  assert_int_equal(MFGBackendScan(backend, &scan), PETSC_ERR_ARG_INCOMP);
  scan = good;
  scan.level_end = 2;
  assert_int_equal(MFGBackendScan(backend, &scan), PETSC_ERR_ARG_INCOMP);
  scan = good;
  scan.extent = MFGBlockWidened(&good.domain, (const int[]){0, -1, 0});
  assert_int_equal(MFGBackendScan(backend, &scan), PETSC_ERR_ARG_SIZ);
  scan = good;
  scan.domain.start[2] = 6;
  assert_int_equal(MFGBackendScan(backend, &scan), PETSC_ERR_ARG_SIZ);
  MFG_OK(PetscPopErrorHandler());
  MFG_OK(MFGGridDestroy(&grid));
}

/* The paths of all agents, deposited level by level, give the densities of the sweep, sorted or
 * not.
 */
static void PathsAreThoseOfTheSweep(void **state) {
  (void)state;
  enum { N = 60 };
  const Box *const boxes[] = {&line, &tube};
  for (int i = 0; i < 4; i++) {
    const Problem p = {boxes[i % 2], N, 5, 4, MFG_SAMPLING_STRATIFIED, MFG_DENSITY_MOMENTS, i};
    Solution s;
    Solve(PETSC_COMM_WORLD, &p, &s);
    MFGBlock b = WholeBlock(&s.grid);
    const MFGBackend *backend;
    const MFGMomentShape shape = MFGDensityPlanShape(s.plan);
    const int dim = b.dim;
    const int64_t field = MFGBlockCells(&b) * MFGMomentNumbers(dim, &shape),
                  owned = MFGBlockOwned(&s.grid.block);
    double path[(STEPS + 1) * N * 2], x[2][N], *m = malloc(owned * sizeof *m);
    int64_t id[N], *moments = malloc(field * sizeof *moments);
    MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
    MFG_OK(MFGParticlesPaths(s.particles, 4, Drift, &s.grid.block, N, path, id));
    for (int n = 0; n <= STEPS; n++) {
      for (int a = 0; a < N; a++)
        for (int k = 0; k < dim; k++) x[k][a] = path[(n * N + a) * dim + k];
      const MFGAgentRange agents = {.id_stride = 1, .count = N, .position = {x[0], x[1]}};
      memset(moments, 0, field * sizeof *moments);
      MFG_OK(MFGBackendDeposit(backend, &b, &agents, &shape, NULL, moments));
      MFG_OK(MFGDensityEvaluate(s.plan, n, 1, NULL, NULL, moments, m));
      assert_memory_equal(m, s.M + n * owned, owned * sizeof *m);
    }
    double few[(STEPS + 1) * 7 * 2];
    MFG_OK(MFGParticlesPaths(s.particles, 4, Drift, &s.grid.block, 7, few, id));
    for (int a = 0; a < 7; a++) {
      assert_int_equal(id[a], a * (N / 7));
      for (int n = 0; n <= STEPS; n++)
        assert_memory_equal(few + (n * 7 + a) * dim, path + (n * N + id[a]) * dim,
                            dim * sizeof *few);
    }
    free(m);
    free(moments);
    Free(&s);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SameBitsForAnyNumberOfRanks),    cmocka_unit_test(SweepsRepeatAndSeedsDiffer),
    cmocka_unit_test(SameBitsForAnyPiecesAndVariant), cmocka_unit_test(BoxesAndPointsAgree),
    cmocka_unit_test(StrayAgentsAreHarmless),         cmocka_unit_test(BoxScansAreChecked),
    cmocka_unit_test(PathsAreThoseOfTheSweep)};
MFG_TEST_MAIN(tests)
