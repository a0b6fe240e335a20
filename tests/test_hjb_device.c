/* Backward sweeps in the memory of the device against those on the host: the same bits, for chunks
 * of any length, also where one goes on with what the other began; and nothing is copied but what
 * goes there before a chunk and comes back after it, and the vectors of PETSc, which on the
 * stand-in are the host's. */
#include "tests/device_fixture.h"

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
  MFG_OK(MFGHJBSweep(s->hjb, Cost, p, p->terminal, warm, 1e-9, s->U, &s->stats));
}

static void ExpectSame(const Problem *p, const Side *a, const Side *b) {
  assert_memory_equal(a->U, b->U, (STEPS + 1) * p->owned * sizeof *a->U);
  assert_int_equal(a->stats.newton, b->stats.newton);
  assert_true(a->stats.change == b->stats.change);
  assert_true(a->stats.minimum == b->stats.minimum && a->stats.maximum == b->stats.maximum);
  assert_int_equal(a->stats.reason, SNES_CONVERGED_ITERATING);
  assert_int_equal(b->stats.reason, SNES_CONVERGED_ITERATING);
}

/* Drifts of all levels, to the host and to the device's own memory. */
static void ExpectSameDrift(const Problem *p, const Side *host, const Side *device) {
  const int64_t count = STEPS * p->grid.block.dim * p->owned;
  const MFGMemoryOps *memory = MFGTestMemory()->memory;
  double *expected = NewField(count), *given = NewField(count), *there;

  MFG_OK(MFGHJBDrift(host->hjb, 0, STEPS, host->U, &MFGMemoryOps_Host, expected));
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, device->U, &MFGMemoryOps_Host, given));
  assert_memory_equal(expected, given, count * sizeof *given);
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, host->U, &MFGMemoryOps_Host, given));
  assert_memory_equal(expected, given, count * sizeof *given);
  MFG_OK(MFGMemoryAllocate(memory, count, sizeof *there, &there));
  MFG_OK(MFGHJBDrift(device->hjb, 0, STEPS, device->U, memory, there));
  MFG_OK(MFGMemoryCopy(memory, count, sizeof *there, MFG_COPY_TO_HOST, there, given));
  assert_memory_equal(expected, given, count * sizeof *given);
  MFG_OK(MFGMemoryFree(memory, &there));
  MFG_OK(PetscFree(expected));
  MFG_OK(PetscFree(given));
}

static void SweepsHaveTheSameBits(void **state) {
  static const int drifts[] = {0, 1, STEPS + 1}, chunks[] = {STEPS, 1, 2};
  (void)state;
  for (int dim = 2; dim <= 3; dim++)
    for (int k = 0; k < 3; k++) {
      if (MFGTestBrief() && (dim == 3 ? k > 0 : Several() && k < 2)) continue;
      Problem p;
      Side host, device;
      Open(&p, dim, drifts[dim == 3 ? 2 : k]);
      OpenSide(&p, Host(), STEPS, &host);
      OpenSide(&p, MFGTestMemory(), chunks[k], &device);
      for (int warm = 0; warm < 2; warm++, p.amplitude *= 1.1) {
        Sweep(&p, &host, (PetscBool)warm);
        Sweep(&p, &device, (PetscBool)warm);
        assert_true(host.stats.newton > STEPS);
        ExpectSame(&p, &host, &device);
        ExpectSameDrift(&p, &host, &device);
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
  (void)state;
  for (int k = 0; k < 4; k++) {
    const PetscBool warm = (PetscBool)(k / 2), to_device = (PetscBool)(k % 2);
    if (MFGTestBrief() && Several() && warm == to_device) continue;
    Problem p;
    Side whole, a, b;
    Open(&p, 2, STEPS + 1);
    OpenSide(&p, Host(), STEPS, &whole);
    OpenSide(&p, to_device ? Host() : MFGTestMemory(), 2, &a);
    OpenSide(&p, to_device ? MFGTestMemory() : Host(), STEPS, &b);
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
    ExpectSame(&p, &whole, &b);
    CloseSide(&whole);
    CloseSide(&a);
    CloseSide(&b);
    Close(&p);
  }
}

/* A NaN in the costs stops both at the same level with the same words and costs. */
static void FailuresAreTheSame(void **state) {
  Problem p;
  Side host, device;
  (void)state;
  Open(&p, 2, 1);
  OpenSide(&p, Host(), STEPS, &host);
  OpenSide(&p, MFGTestMemory(), 2, &device);
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
  ExpectSame(&p, &host, &device);
  CloseSide(&host);
  CloseSide(&device);
  Close(&p);
}

/* With the second attempt, which multiplies by the Jacobian: both give up with the same norms. */
static void SecondAttemptsAreTheSame(void **state) {
  Problem p;
  Side host, device;
  (void)state;
  Open(&p, 2, 1);
  p.amplitude = 40;
  MFG_OK(PetscOptionsSetValue(NULL, "-hjb_snes_max_it", "2"));
  OpenSide(&p, Host(), STEPS, &host);
  OpenSide(&p, MFGTestMemory(), STEPS, &device);
  MFG_OK(PetscOptionsClearValue(NULL, "-hjb_snes_max_it"));
  Sweep(&p, &host, PETSC_FALSE);
  Sweep(&p, &device, PETSC_FALSE);
  assert_int_equal(host.stats.reason, SNES_DIVERGED_MAX_IT);
  assert_string_equal(host.stats.message, device.stats.message);
  assert_true(host.stats.norm_end == device.stats.norm_end);
  CloseSide(&host);
  CloseSide(&device);
  Close(&p);
}

/* On one rank, where nothing goes to others. A residual is written once for each iterate, a guess
 * once for each level, a step once for each cycle; read are the iterate for the residual, for the
 * coefficients and for its acceptance, and the right side of each cycle. */
static void NothingElseIsCopied(void **state) {
  Problem p;
  Side device;
  (void)state;
  if (Several() || MFGTestMemory()->vectors) return;
  Open(&p, 2, STEPS + 1);
  OpenSide(&p, MFGTestMemory(), STEPS, &device);
  Sweep(&p, &device, PETSC_FALSE);
  p.amplitude *= 1.1;
  MFGStandinCountReset();
  Sweep(&p, &device, PETSC_TRUE);
  const MFGStandinCounts c = MFGStandinCount();
  const int64_t newton = device.stats.newton, iterates = newton + STEPS;
  const int64_t field = p.owned * (int64_t)sizeof(double), store = STEPS + 3, load = 2 * STEPS + 2;
  assert_int_equal(c.bytes[1][0], (iterates + STEPS + newton + store) * field);
  assert_int_equal(c.bytes[0][1], (iterates + newton + STEPS + newton + load) * field);
  assert_int_equal(c.copies[1][0], iterates + STEPS + newton + 3);
  assert_int_equal(c.copies[0][1], iterates + newton + STEPS + newton + STEPS + 2);
  assert_int_equal(c.allocations, 0);
  print_message("a level of 13 x 10 cells: %.1f Newton steps, %.0f kernels\n",
                (double)newton / STEPS, (double)c.kernels / STEPS);
  CloseSide(&device);
  Close(&p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SweepsHaveTheSameBits), cmocka_unit_test(OneGoesOnWhereTheOtherStopped),
    cmocka_unit_test(FailuresAreTheSame), cmocka_unit_test(SecondAttemptsAreTheSame),
    cmocka_unit_test(NothingElseIsCopied)};
MFG_TEST_MAIN(tests)
