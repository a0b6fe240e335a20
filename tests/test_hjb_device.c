/* Backward sweeps in the memory of the device against those on the host: the same bits with PETSc's
 * vectors on the host, for chunks of any length, also where one goes on with what the other began;
 * with its vectors on the device the same to the tolerance. Nothing is copied but what goes there
 * before a chunk and comes back after it, and vectors of PETSc where they are the host's. */
#include "tests/device_fixture.h"

#define TOLERANCE 1e-9

typedef struct {
  MFGGrid grid;
  MFGHJBSpec spec;
  int64_t owned;
  double *terminal, *drift, *cost;
  double amplitude;
  int left; /* chunks until a pause stops the sweep; 0: none does */
} Problem;

/* One backend's. */
typedef struct {
  MFGHJB hjb;
  MFGHJBStats stats;
  double *U;
} Side;

static PetscErrorCode Cost(void *context, int level, double *source) {
  const Problem *p = context;
  for (int64_t i = 0; i < p->owned; i++) source[i] = p->amplitude * p->cost[i] * (1 + .1 * level);
  return PETSC_SUCCESS;
}

/* drifts: levels of the given drift. */
static void Open(Problem *p, int dim, int drifts) {
  memset(p, 0, sizeof *p);
  MakeDeviceProblem(dim, drifts, &p->grid, &p->drift, &p->spec);
  p->owned = MFGBlockOwned(&p->grid.block);
  p->amplitude = 3;
  p->terminal = NewField(p->owned);
  p->cost = NewField(p->owned);
  Fill(&p->grid.block, Hill, p->terminal);
  Fill(&p->grid.block, Other, p->cost);
}

static void Close(Problem *p) {
  MFG_OK(PetscFree(p->terminal));
  MFG_OK(PetscFree(p->cost));
  MFG_OK(PetscFree(p->drift));
  MFG_OK(MFGGridDestroy(&p->grid));
}

static PetscErrorCode Pause(void *context, PetscBool *stop) {
  Problem *p = context;
  *stop = (PetscBool)(p->left && --p->left == 0);
  return PETSC_SUCCESS;
}

static void OpenSide(Problem *p, const MFGBackend *backend, int chunk, Side *s) {
  memset(s, 0, sizeof *s);
  s->U = NewField((STEPS + 1) * p->owned);
  MFG_OK(MFGHJBCreate(&p->grid, backend, &p->spec, &s->hjb));
  assert_ptr_equal(MFGHJBBackend(s->hjb), backend);
  MFGHJBSetChunk(s->hjb, chunk);
  MFGHJBSetPause(s->hjb, Pause, p);
}

static void CloseSide(Side *s) {
  MFG_OK(MFGHJBDestroy(&s->hjb));
  MFG_OK(PetscFree(s->U));
}

static void Sweep(Problem *p, Side *s, PetscBool warm) {
  MFG_OK(MFGHJBSweep(s->hjb, Cost, p, p->terminal, warm, TOLERANCE, s->U, &s->stats));
}

/* How far two solutions may be apart in the max norm. The Jacobian is an M-matrix whose rows sum to
 * 1/dt: a level is as near to the exact one as dt |residual| <= tolerance max(1, range), and not
 * farther from it than the level before it was. */
static double Bound(const Side *s) {
  return 2 * STEPS * TOLERANCE * PetscMax(1, s->stats.maximum - s->stats.minimum);
}

/* Of a sweep on the host and one that was done on the device, or a part of it. */
static void ExpectSame(const Problem *p, const MFGBackend *there, const Side *a, const Side *b) {
  const double bound = there->vectors ? Bound(a) : 0;
  for (int64_t i = 0; i < (STEPS + 1) * p->owned; i++) MFG_ASSERT_NEAR(b->U[i], a->U[i], bound);
  MFG_ASSERT_NEAR(b->stats.change, a->stats.change, 2 * bound);
  MFG_ASSERT_NEAR(b->stats.minimum, a->stats.minimum, bound);
  MFG_ASSERT_NEAR(b->stats.maximum, a->stats.maximum, bound);
  if (!bound) assert_memory_equal(a->U, b->U, (STEPS + 1) * p->owned * sizeof *a->U);
  if (!bound) assert_int_equal(a->stats.newton, b->stats.newton);
  assert_int_equal(a->stats.reason, SNES_CONVERGED_ITERATING);
  assert_int_equal(b->stats.reason, SNES_CONVERGED_ITERATING);
}

/* Drifts of all levels, to the host and to the device's own memory: the same bits where they are of
 * one value. Of two that differ, by a central difference of the difference. */
static void ExpectSameDrift(const Problem *p, const MFGBackend *there, const Side *host,
                            const Side *device) {
  const int dim = p->grid.block.dim;
  const int64_t count = STEPS * dim * p->owned;
  const MFGMemoryOps *memory = there->memory;
  const double bound = there->vectors ? Bound(host) : 0;
  double *expected = NewField(count), *given = NewField(count), *again = NewField(count), *own;

  MFG_OK(MFGHJBDrift(host->hjb, 0, STEPS, host->U, &MFGMemoryOps_Host, expected));
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, device->U, &MFGMemoryOps_Host, given));
  for (int64_t i = 0; i < count; i++)
    MFG_ASSERT_NEAR(given[i], expected[i], bound / p->grid.block.spacing[i / p->owned % dim]);
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, host->U, &MFGMemoryOps_Host, again));
  assert_memory_equal(expected, again, count * sizeof *again);
  MFG_OK(MFGMemoryAllocate(memory, count, sizeof *own, &own));
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, device->U, memory, own));
  MFG_OK(MFGMemoryCopy(memory, count, sizeof *own, MFG_COPY_TO_HOST, own, again));
  assert_memory_equal(given, again, count * sizeof *again);
  MFG_OK(MFGMemoryFree(memory, &own));
  MFG_OK(PetscFree(expected));
  MFG_OK(PetscFree(given));
  MFG_OK(PetscFree(again));
}

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
      for (int warm = 0; warm < 2; warm++, p.amplitude *= 1.1) {
        Sweep(&p, &host, (PetscBool)warm);
        Sweep(&p, &device, (PetscBool)warm);
        assert_true(host.stats.newton > STEPS);
        ExpectSame(&p, there, &host, &device);
        ExpectSameDrift(&p, there, &host, &device);
      }
      CloseSide(&host);
      CloseSide(&device);
      Close(&p);
    }
}

/* The state of one sweep, as a checkpoint would keep it, is that of the other. */
static void Continue(const Problem *p, const Side *from, Side *to) {
  MFGState saved = {0}, restored = {0};
  MFG_OK(MFGHJBState(from->hjb, &saved));
  MFG_OK(MFGHJBState(to->hjb, &restored));
  CopyState(&saved, p->owned, &restored);
  MFG_OK(PetscArraycpy(to->U, from->U, (STEPS + 1) * p->owned));
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
  for (int k = 0; k < 4; k++) {
    const PetscBool warm = (PetscBool)(k / 2), to_device = (PetscBool)(k % 2);
    if (MFGTestBrief() && Several() && warm == to_device) continue;
    Problem p;
    Side whole, a, b;
    Open(&p, 2, STEPS + 1);
    OpenSide(&p, Host(), STEPS, &whole);
    OpenSide(&p, to_device ? Host() : there, 2, &a);
    OpenSide(&p, to_device ? there : Host(), STEPS, &b);
    Sweep(&p, &whole, PETSC_FALSE);
    if (warm) {
      Sweep(&p, &a, PETSC_FALSE);
      p.amplitude *= 1.1;
      Sweep(&p, &whole, PETSC_TRUE);
    }
    Handover h = {&p, &a, &b};
    MFGHJBSetPause(a.hjb, PauseAndHandOver, &h);
    p.left = to_device ? 2 : 1;
    Sweep(&p, &a, warm);
    assert_int_equal(p.left, 0);
    Sweep(&p, &b, warm);
    ExpectSame(&p, there, &whole, &b);
    CloseSide(&whole);
    CloseSide(&a);
    CloseSide(&b);
    Close(&p);
  }
}

/* A NaN in the costs stops both at the same level with the same words and costs. */
static void FailuresAreTheSame(void **state) {
  const MFGBackend *there = Device(state);
  Problem p;
  Side host, device;
  Open(&p, 2, 1);
  OpenSide(&p, Host(), STEPS, &host);
  OpenSide(&p, there, 2, &device);
  p.amplitude = NAN;
  Sweep(&p, &host, PETSC_FALSE);
  Sweep(&p, &device, PETSC_FALSE);
  assert_true(host.stats.reason < 0);
  assert_int_equal(host.stats.level, device.stats.level);
  assert_string_equal(host.stats.message, device.stats.message);
  assert_memory_equal(MFGHJBSource(host.hjb), MFGHJBSource(device.hjb), p.owned * sizeof(double));
  p.amplitude = 3;
  Sweep(&p, &host, PETSC_FALSE);
  Sweep(&p, &device, PETSC_FALSE);
  ExpectSame(&p, there, &host, &device);
  CloseSide(&host);
  CloseSide(&device);
  Close(&p);
}

/* With the second attempt, which multiplies by the Jacobian: both give up, with the same norms
 * where iterates are the same. */
static void SecondAttemptsAreTheSame(void **state) {
  const MFGBackend *there = Device(state);
  Problem p;
  Side host, device;
  Open(&p, 2, 1);
  p.amplitude = 40;
  MFG_OK(PetscOptionsSetValue(NULL, "-hjb_snes_max_it", "2"));
  OpenSide(&p, Host(), STEPS, &host);
  OpenSide(&p, there, STEPS, &device);
  MFG_OK(PetscOptionsClearValue(NULL, "-hjb_snes_max_it"));
  Sweep(&p, &host, PETSC_FALSE);
  Sweep(&p, &device, PETSC_FALSE);
  assert_int_equal(host.stats.reason, SNES_DIVERGED_MAX_IT);
  assert_int_equal(device.stats.reason, SNES_DIVERGED_MAX_IT);
  assert_int_equal(host.stats.level, device.stats.level);
  if (!there->vectors) {
    assert_string_equal(host.stats.message, device.stats.message);
    assert_true(host.stats.norm_end == device.stats.norm_end);
  }
  CloseSide(&host);
  CloseSide(&device);
  Close(&p);
}

/* What PETSc has copied so far between host and device, scalars apart. */
static void CopiedByPETSc(double *copies, double *bytes) {
  *copies = *bytes = 0;
#if PetscDefined(HAVE_DEVICE)
  *copies = petsc_ctog_ct + petsc_gtoc_ct;
  *bytes = petsc_ctog_sz + petsc_gtoc_sz;
#endif
}

/* On one rank, where nothing goes to others. A chunk is copied there and back. With PETSc's vectors
 * on the host, a residual is written once for each iterate, a guess once for each level, a step
 * once for each cycle; read are the iterate for the residual, for the coefficients and for its
 * acceptance, and the right side of each cycle. On the device PETSc copies numbers only, such as
 * the largest residual of an iterate. */
static void NothingElseIsCopied(void **state) {
  const MFGBackend *there = Device(state);
  const int staged = !there->vectors;
  double copies[2], bytes[2];
  Problem p;
  Side device;
  if (Several()) skip();
  Open(&p, 2, STEPS + 1);
  OpenSide(&p, there, STEPS, &device);
  Sweep(&p, &device, PETSC_FALSE);
  p.amplitude *= 1.1;
  (void)Counted();
  (void)CountCopies();
  CopiedByPETSc(&copies[0], &bytes[0]);
  Sweep(&p, &device, PETSC_TRUE);
  CopiedByPETSc(&copies[1], &bytes[1]);
  const Copies c = CountCopies();
  const MFGStandinCounts all = Counted();
  const int64_t newton = device.stats.newton, iterates = newton + STEPS;
  const int64_t field = p.owned * (int64_t)sizeof(double), store = STEPS + 3, load = 2 * STEPS + 2;
  const int64_t written = staged * (iterates + STEPS + newton),
                read = staged * (iterates + newton + STEPS + newton);
  assert_int_equal(c.bytes[0], (written + store) * field);
  assert_int_equal(c.bytes[1], (read + load) * field);
  assert_int_equal(c.copies[0], written + 3);
  assert_int_equal(c.copies[1], read + STEPS + 2);
  assert_true(copies[1] - copies[0] <= 4. * (double)iterates);
  assert_true(bytes[1] - bytes[0] <= (copies[1] - copies[0]) * (double)sizeof(double));
  if (OnStandin()) {
    ExpectCounted(&c, &all);
    print_message("a level of 13 x 10 cells: %.1f Newton steps, %.0f kernels\n",
                  (double)newton / STEPS, (double)all.kernels / STEPS);
  }
  CloseSide(&device);
  Close(&p);
}

static const struct CMUnitTest tests[] = {
    BOTH_VECTORS(SweepsAreTheSame), BOTH_VECTORS(OneGoesOnWhereTheOtherStopped),
    BOTH_VECTORS(FailuresAreTheSame), BOTH_VECTORS(SecondAttemptsAreTheSame),
    BOTH_VECTORS(NothingElseIsCopied)};
MFG_TEST_MAIN(tests)
