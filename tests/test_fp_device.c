/* The linear step and all that sweeps with it, in the memory of the device, against stated answers
 * and against the host: the Fokker-Planck equation, the linearised sweeps and the exploitability,
 * by chunks of any length, also where one goes on with what the other began. To the bit with
 * PETSc's vectors on the host, to the tolerance with those on the device. Nothing is copied but
 * what goes there before a chunk and comes back after it, and vectors of PETSc where they are the
 * host's. */
#include "tests/device_fixture.h"

#include "solvers/exploitability.h"
#include "solvers/fp_grid.h"
#include "solvers/linearised.h"

#define TOLERANCE 1e-10

typedef struct {
  MFGGrid grid;
  MFGHJBSpec spec;
  int64_t owned;
  double *U, *V, *M, *drift; /* [STEPS + 1][owned], drift [STEPS + 1][dim][owned] */
  int left;                  /* chunks until a pause stops the sweep; 0: none does */
} Problem;

/* One backend's. */
typedef struct {
  MFGLinearStep step;
  MFGFokkerPlanckPosition position;
  MFGFokkerPlanckStats stats;
  double *M;
} Side;

static double Start(const double x[]) {
  return 1 + .5 * sin(2 * PI * x[0] + .3) + .3 * cos(2 * x[1] + 1);
}

/* drifts: levels of the given drift. */
static void Open(Problem *p, int dim, int drifts) {
  memset(p, 0, sizeof *p);
  MakeDeviceProblem(dim, drifts, &p->grid, &p->drift, &p->spec);
  p->owned = MFGBlockOwned(&p->grid.block);
  p->U = NewField((STEPS + 1) * p->owned);
  p->V = NewField((STEPS + 1) * p->owned);
  p->M = NewField((STEPS + 1) * p->owned);
  for (int n = 0; n <= STEPS; n++) {
    double *U = p->U + n * p->owned, *V = p->V + n * p->owned;
    Fill(&p->grid.block, Hill, U);
    Fill(&p->grid.block, Other, V);
    Fill(&p->grid.block, Start, p->M + n * p->owned);
    for (int64_t i = 0; i < p->owned; i++) {
      V[i] = U[i] * (1 - .1 * n) + .2 * V[i];
      U[i] *= 1 - .1 * n;
    }
  }
}

static void Close(Problem *p) {
  double *fields[] = {p->U, p->V, p->M, p->drift};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
  MFG_OK(MFGGridDestroy(&p->grid));
}

static PetscErrorCode Pause(void *context, PetscBool *stop) {
  Problem *p = context;
  *stop = (PetscBool)(p->left && --p->left == 0);
  return PETSC_SUCCESS;
}

static void OpenSide(Problem *p, const MFGBackend *backend, int chunk, Side *s) {
  memset(s, 0, sizeof *s);
  s->M = NewField((STEPS + 1) * p->owned);
  MFG_OK(PetscArraycpy(s->M, p->M, (STEPS + 1) * p->owned));
  MFG_OK(MFGLinearStepCreate(&p->grid, backend, &p->spec, &s->step));
  assert_ptr_equal(MFGLinearStepBackend(s->step), backend);
  MFGLinearStepSetChunk(s->step, chunk);
  s->position.pause = Pause;
  s->position.context = p;
}

static void CloseSide(Side *s) {
  MFG_OK(MFGFokkerPlanckPositionDestroy(&s->position));
  MFG_OK(MFGLinearStepDestroy(&s->step));
  MFG_OK(PetscFree(s->M));
}

/* An array of the step's backend with these numbers of the host. */
static double *There(MFGLinearStep step, int64_t count, const double *here) {
  const MFGMemoryOps *memory = MFGLinearStepBackend(step)->memory;
  double *there;
  MFG_OK(MFGMemoryAllocate(memory, count, sizeof *there, &there));
  MFG_OK(MFGMemoryCopy(memory, count, sizeof *there, MFG_COPY_FROM_HOST, here, there));
  return there;
}

static void Here(MFGLinearStep step, int64_t count, const double *there, double *here) {
  MFG_OK(MFGMemoryCopy(MFGLinearStepBackend(step)->memory, count, sizeof *there, MFG_COPY_TO_HOST,
                       there, here));
}

static double Dot(const Problem *p, const double *x, const double *y) {
  double sum = 0;
  for (int64_t i = 0; i < p->owned; i++) sum += x[i] * y[i];
  MFG_OK(MFGGridSum(&p->grid, 1, &sum));
  return sum;
}

enum { RESULTS = 6 };

/* All operations of a step, at a level: J x, J^T x, the change of J^T x in a direction, the excess,
 * and solutions of both systems with the right side x, into result[RESULTS][owned]. */
static void AllOperations(const Problem *p, MFGLinearStep step, int level, const double *x,
                          double *result) {
  const int64_t owned = p->owned;
  const MFGMemoryOps *memory = MFGLinearStepBackend(step)->memory;
  MFGLinearStats stats = {0};
  double *in = There(step, owned, x), *v = There(step, owned, p->V + level * owned),
         *out = There(step, RESULTS * owned, result);

  MFGLinearStepSetFlow(step, p->U);
  MFG_OK(MFGLinearStepLoad(step, level, level + 1));
  MFG_OK(MFGLinearStepSet(step, level));
  MFG_OK(MFGLinearStepMultiply(step, PETSC_FALSE, in, out));
  MFG_OK(MFGLinearStepMultiply(step, PETSC_TRUE, in, out + owned));
  MFG_OK(MFGLinearStepChange(step, level, v, in, out + 2 * owned));
  MFG_OK(MFGLinearStepExcess(step, level, v, out + 3 * owned));
  for (int k = 4; k < RESULTS; k++) {
    MFG_OK(MFGMemoryCopy(memory, owned, sizeof *in, MFG_COPY_WITHIN, in, out + k * owned));
    MFG_OK(MFGLinearStepSolve(step, (PetscBool)(k == 4), 1e-14, in, out + k * owned, &stats));
    assert_true(stats.reason > 0);
  }
  Here(step, RESULTS * owned, out, result);
  MFG_OK(MFGMemoryFree(memory, &in));
  MFG_OK(MFGMemoryFree(memory, &v));
  MFG_OK(MFGMemoryFree(memory, &out));
}

/* The inverse of J is dt in the max norm, that of J^T in the sum of absolute values: how far two
 * solutions may be apart whose residuals are below 1e-14 |V|, with rounding errors of the residual,
 * some eps |J| |x|, below a hundred times that. */
static double SolveBound(const Problem *p) {
  const double cells = (double)MFGBlockCells(&p->grid.block);
  return 2 * p->spec.dt * sqrt(cells) * 1e-12 * sqrt(Dot(p, p->V, p->V));
}

/* On the device rows sum to 1/dt, the transposed solution M' of J^T M' = M/dt has dt <J w, M'> =
 * <w, M> for every w, and the excess is that of a convex function; and every operation has the
 * host's bits, solutions only where PETSc's vectors are the host's. */
static void StepsHaveStatedAnswers(void **state) {
  const MFGBackend *there = Device(state);
  const int exact = there->vectors ? 4 : RESULTS;
  for (int dim = 2; dim <= 3; dim++) {
    if (MFGTestBrief() && dim == 3 && Several()) continue;
    Problem p;
    Side host, device;
    Open(&p, dim, dim == 2 ? STEPS + 1 : 1);
    const int64_t owned = p.owned;
    double *one = NewField(owned), *a = NewField(RESULTS * owned), *b = NewField(RESULTS * owned);
    OpenSide(&p, Host(), STEPS, &host);
    OpenSide(&p, there, STEPS, &device);
    for (int64_t i = 0; i < owned; i++) one[i] = 1;
    AllOperations(&p, device.step, 2, one, a);
    for (int64_t i = 0; i < owned; i++) MFG_ASSERT_NEAR(a[i] * p.spec.dt, 1, 1e-12);
    AllOperations(&p, device.step, 2, p.V, a);
    AllOperations(&p, host.step, 2, p.V, b);
    assert_memory_equal(a, b, exact * owned * sizeof *a);
    const double bound = SolveBound(&p);
    for (int64_t i = exact * owned; i < RESULTS * owned; i++) MFG_ASSERT_NEAR(a[i], b[i], bound);
    for (int64_t i = 0; i < owned; i++) assert_true(a[3 * owned + i] > -1e-12);
    assert_true(Dot(&p, a + 3 * owned, one) > 1);
    /* J w of w = V, and J^T M' = V where V/dt stands for V */
    MFG_ASSERT_NEAR(Dot(&p, a, a + 4 * owned), Dot(&p, p.V, p.V), 1e-11 * Dot(&p, p.V, p.V));
    MFG_OK(PetscFree(one));
    MFG_OK(PetscFree(a));
    MFG_OK(PetscFree(b));
    CloseSide(&host);
    CloseSide(&device);
    Close(&p);
  }
}

static void Sweep(Problem *p, Side *s, PetscBool warm) {
  MFG_OK(MFGFokkerPlanckSweepFrom(s->step, &s->position, p->U, warm, TOLERANCE, s->M, &s->stats));
}

/* How much mass two solutions may have in other places. A step leaves a residual whose norm is
 * below the tolerance times that of M/dt: in the sum of absolute values it is off by sqrt(cells)
 * tolerance mass, by as much again where the mass is restored, and by what the level before it is.
 */
static double Bound(const Problem *p) {
  double mass = 0;
  for (int64_t i = 0; i < p->owned; i++) mass += p->M[i];
  MFG_OK(MFGGridSum(&p->grid, 1, &mass));
  return 5 * STEPS * sqrt((double)MFGBlockCells(&p->grid.block)) * TOLERANCE * mass;
}

/* Of a sweep on the host and one that was done on the device, or a part of it. */
static void ExpectSame(const Problem *p, const MFGBackend *there, const Side *a, const Side *b) {
  const double bound = there->vectors ? Bound(p) : 0;
  for (int64_t i = 0; i < (STEPS + 1) * p->owned; i++) MFG_ASSERT_NEAR(b->M[i], a->M[i], bound);
  for (int64_t i = 0; i < p->owned; i++)
    MFG_ASSERT_NEAR(b->position.change[i], a->position.change[i], 2 * bound);
  if (bound) {
    assert_true(b->stats.defect <= sqrt((double)MFGBlockCells(&p->grid.block)) * TOLERANCE);
  } else {
    assert_memory_equal(a->M, b->M, (STEPS + 1) * p->owned * sizeof *a->M);
    assert_memory_equal(a->position.change, b->position.change, p->owned * sizeof *a->M);
    assert_int_equal(a->stats.krylov, b->stats.krylov);
    assert_true(a->stats.defect == b->stats.defect);
  }
  assert_int_equal(a->stats.reason, KSP_CONVERGED_ITERATING);
  assert_int_equal(b->stats.reason, KSP_CONVERGED_ITERATING);
}

/* Another value, as in the next outer iteration. */
static void Renew(Problem *p) {
  for (int64_t i = 0; i < (STEPS + 1) * p->owned; i++) p->U[i] *= 1.1;
}

/* A cold sweep and a warm one. The mass is that of the start. */
static void SweepsAreTheSame(void **state) {
  static const int drifts[] = {0, 1, STEPS + 1}, chunks[] = {STEPS, 1, 2};
  const MFGBackend *there = Device(state);
  for (int dim = 2; dim <= 3; dim++)
    for (int k = 0; k < 3; k++) {
      if (MFGTestBrief() && (dim == 3 ? k > 0 : Several() && k < 2)) continue;
      Problem p;
      Side host, device;
      Open(&p, dim, drifts[dim == 3 ? 2 : k]);
      OpenSide(&p, Host(), STEPS, &host);
      OpenSide(&p, there, chunks[k], &device);
      double *one = NewField(p.owned);
      for (int64_t i = 0; i < p.owned; i++) one[i] = 1;
      for (int warm = 0; warm < 2; warm++, Renew(&p)) {
        Sweep(&p, &host, (PetscBool)warm);
        Sweep(&p, &device, (PetscBool)warm);
        assert_true(host.stats.krylov > STEPS);
        ExpectSame(&p, there, &host, &device);
        MFG_ASSERT_NEAR(Dot(&p, device.M + STEPS * p.owned, one) / Dot(&p, p.M, one), 1, 1e-13);
      }
      MFG_OK(PetscFree(one));
      CloseSide(&host);
      CloseSide(&device);
      Close(&p);
    }
}

/* The state of one sweep, as a checkpoint would keep it, is that of the other. */
static void Continue(const Problem *p, Side *from, Side *to) {
  MFGState saved = {0}, restored = {0};
  MFG_OK(MFGFokkerPlanckState(from->step, &from->position, &saved));
  MFG_OK(MFGFokkerPlanckState(to->step, &to->position, &restored));
  CopyState(&saved, p->owned, &restored);
  MFG_OK(PetscArraycpy(to->M, from->M, (STEPS + 1) * p->owned));
}

/* One side is stopped and its state kept between its chunks; the other goes on with it. */
typedef struct {
  Problem *problem;
  Side *from, *to;
} Handover;

static PetscErrorCode PauseAndHandOver(void *context, PetscBool *stop) {
  Handover *h = context;
  PetscFunctionBeginUser;
  PetscCall(Pause(h->problem, stop));
  if (*stop) Continue(h->problem, h->from, h->to);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void OneGoesOnWhereTheOtherStopped(void **state) {
  const MFGBackend *there = Device(state);
  for (int to_device = 0; to_device < 2; to_device++) {
    Problem p;
    Side whole, a, b;
    Open(&p, 2, STEPS + 1);
    OpenSide(&p, Host(), STEPS, &whole);
    OpenSide(&p, to_device ? Host() : there, 2, &a);
    OpenSide(&p, to_device ? there : Host(), STEPS, &b);
    Sweep(&p, &whole, PETSC_FALSE);
    Sweep(&p, &a, PETSC_FALSE);
    Renew(&p);
    Sweep(&p, &whole, PETSC_TRUE);
    Handover h = {&p, &a, &b};
    a.position.pause = PauseAndHandOver;
    a.position.context = &h;
    p.left = to_device ? 3 : 1;
    Sweep(&p, &a, PETSC_TRUE);
    assert_int_equal(p.left, 0);
    Sweep(&p, &b, PETSC_TRUE);
    ExpectSame(&p, there, &whole, &b);
    CloseSide(&whole);
    CloseSide(&a);
    CloseSide(&b);
    Close(&p);
  }
}

/* A solver that may not iterate stops both at the same level with the same words. */
static void FailuresAreTheSame(void **state) {
  const MFGBackend *there = Device(state);
  Problem p;
  Side host, device;
  MFG_OK(PetscOptionsSetValue(NULL, "-fp_ksp_max_it", "1"));
  Open(&p, 2, 1);
  OpenSide(&p, Host(), STEPS, &host);
  OpenSide(&p, there, 2, &device);
  MFG_OK(PetscOptionsClearValue(NULL, "-fp_ksp_max_it"));
  Sweep(&p, &host, PETSC_FALSE);
  Sweep(&p, &device, PETSC_FALSE);
  assert_int_equal(device.stats.reason, KSP_DIVERGED_ITS);
  assert_int_equal(host.stats.level, device.stats.level);
  assert_string_equal(host.stats.message, device.stats.message);
  assert_memory_equal(host.M, device.M, (STEPS + 1) * p.owned * sizeof *host.M);
  CloseSide(&host);
  CloseSide(&device);
  Close(&p);
}

/* What a side gives for two values and densities after another, each twice, since what is there
 * from the first time serves the second. */
typedef struct {
  double *product[2], exploitability[2];
} Linear;

static void ApplyLinearised(Problem *p, const MFGBackend *backend, int chunk, double tolerance,
                            Linear *found) {
  const MFGCost cost = {
      .coupling = {MFG_COUPLING_POWER, .8, 1.5}, .mean_strength = .7, .mean_factor = .6};
  const double *value[] = {p->U, p->V};
  MFGLinearStats stats = {0};
  MFGLinearised l;
  Side s;

  OpenSide(p, backend, chunk, &s);
  MFG_OK(MFGLinearisedCreate(s.step, &cost, &cost, &l));
  for (int k = 0; k < 2; k++) {
    for (int64_t i = 0; i < (STEPS + 1) * p->owned; i++) p->M[i] *= k ? 2 : .5;
    found->product[k] = NewField(STEPS * p->owned);
    MFGLinearisedSet(l, p->M + p->owned, value[k], p->M + p->owned);
    for (int again = 0; again < 1 + (chunk == STEPS); again++)
      MFG_OK(MFGLinearisedApply(l, tolerance, p->V, found->product[k], &stats));
    assert_true(stats.reason > 0);
    MFG_OK(MFGExploitabilityGrid(s.step, value[k], value[1 - k], p->M, &found->exploitability[k]));
  }
  MFG_OK(MFGLinearisedDestroy(&l));
  CloseSide(&s);
}

/* By a side, and by the host to a millionth of that tolerance and to that. */
typedef struct {
  Linear found, exact, host;
} Comparison;

/* The product of the linearised sweeps and the exploitability. The latter solves nothing. The error
 * of the product is proportional to the tolerance: of two at a millionth of one tolerance, the
 * difference is far below what that one leaves, here by a factor of a thousand. */
static void ExpectSameLinearised(const Problem *p, PetscBool to_the_bit, const Comparison *c) {
  for (int k = 0; k < 2; k++) {
    double largest = 0;
    for (int64_t i = 0; i < STEPS * p->owned; i++)
      largest = PetscMax(largest, fabs(c->host.product[k][i] - c->exact.product[k][i]));
    MFG_OK(MFGGridMax(&p->grid, 1, &largest));
    assert_true(largest > 0);
    for (int64_t i = 0; i < STEPS * p->owned; i++)
      MFG_ASSERT_NEAR(c->found.product[k][i], c->exact.product[k][i],
                      to_the_bit ? 0 : 1e-3 * largest);
    assert_true(c->found.exploitability[k] == c->exact.exploitability[k]);
  }
}

static void LinearisedSweepsAreTheSame(void **state) {
  const MFGBackend *there = Device(state);
  for (int dim = 2; dim <= 3; dim++) {
    if (MFGTestBrief() && dim == 3) continue;
    Problem p;
    Comparison c;
    Open(&p, dim, STEPS + 1);
    ApplyLinearised(&p, Host(), STEPS, 1e-6, &c.host);
    ApplyLinearised(&p, Host(), STEPS, 1e-12, &c.exact);
    assert_true(c.exact.exploitability[0] > .01 && c.exact.exploitability[1] > .01);
    for (int chunk = 2; chunk <= STEPS; chunk += STEPS - 2) {
      ApplyLinearised(&p, there, chunk, 1e-12, &c.found);
      ExpectSameLinearised(&p, (PetscBool)!there->vectors, &c);
      for (int k = 0; k < 2; k++) MFG_OK(PetscFree(c.found.product[k]));
    }
    for (int k = 0; k < 2; k++) {
      MFG_OK(PetscFree(c.host.product[k]));
      MFG_OK(PetscFree(c.exact.product[k]));
    }
    Close(&p);
  }
}

/* On one rank, where nothing goes to others. A chunk: M and its change go there and come back; U
 * goes there too, unless it is there from the sweep that made it. With PETSc's vectors on the host,
 * for each level: its guess and its right side, each product and each cycle are written once to
 * one, and the solution, each factor and each residual are read once from one. */
static void NothingElseIsCopied(void **state) {
  const MFGBackend *there = Device(state);
  const int staged = !there->vectors;
  Problem p;
  Side device;
  MFGHJB hjb;
  MFGHJBStats stats;
  if (Several()) skip();
  Open(&p, 2, STEPS + 1);
  OpenSide(&p, there, STEPS, &device);
  MFG_OK(MFGHJBCreate(&p.grid, there, &p.spec, &hjb));
  Sweep(&p, &device, PETSC_FALSE);
  for (int made = 0; made < 2; made++) {
    Renew(&p);
    if (made) {
      MFGLinearStepShare(device.step, MFGHJBValue(hjb), MFGHJBGivenDrift(hjb));
      MFG_OK(MFGHJBSweep(hjb, NoSource, &p.grid, p.V, PETSC_FALSE, 1e-9, p.U, &stats));
    }
    (void)Counted();
    (void)CountCopies();
    Sweep(&p, &device, PETSC_TRUE);
    const Copies c = CountCopies();
    const MFGStandinCounts all = Counted();
    const int64_t krylov = device.stats.krylov, products = krylov + STEPS,
                  field = p.owned * (int64_t)sizeof(double),
                  written = staged * (2 * STEPS + products + krylov),
                  read = staged * (STEPS + products + krylov);
    assert_int_equal(c.copies[0], written + 2);
    assert_int_equal(c.bytes[0], (written + STEPS + 1) * field);
    assert_int_equal(c.copies[1], read + 2 + !made);
    assert_int_equal(c.bytes[1], (read + STEPS + 2 + !made * STEPS) * field);
    if (!OnStandin()) continue;
    ExpectCounted(&c, &all);
    print_message("a level of 13 x 10 cells: %.1f iterations, %.0f kernels\n",
                  (double)krylov / STEPS, (double)all.kernels / STEPS);
  }
  MFG_OK(MFGHJBDestroy(&hjb));
  CloseSide(&device);
  Close(&p);
}

static const struct CMUnitTest tests[] = {
    BOTH_VECTORS(StepsHaveStatedAnswers),        BOTH_VECTORS(SweepsAreTheSame),
    BOTH_VECTORS(OneGoesOnWhereTheOtherStopped), BOTH_VECTORS(FailuresAreTheSame),
    BOTH_VECTORS(LinearisedSweepsAreTheSame),    BOTH_VECTORS(NothingElseIsCopied)};
MFG_TEST_MAIN(tests)
