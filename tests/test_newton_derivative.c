/* Newton's method on the grid: the second derivative of the numerical Hamiltonian, the derivative
 * of the costs, that of the whole map against differences, and quadratic convergence. */
#include "tests/hjb_fixture.h"

#include "solvers/equilibrium.h"
#include "solvers/hjb_point.h"
#include "solvers/linearised.h"

/* One axis, h = 1/2, u = 0, low = -1, high = -2: q+ = -4, q- = 2 and s = 20. Quadratic with c = 2:
 * H = s/4, to_low = -q-/(c h) = -2, to_high = q+/(c h) = -4. By du, dlow, dhigh: dq- = 2 (du -
 * dlow), dq+ = 2 (dhigh - du), so d to_low = -2 (du - dlow), d to_high = 2 (dhigh - du). */
static void TestStated(void **state) {
  const MFGBlock block = {.dim = 1, .cells = {4, 1, 1}, .spacing = {.5, 1, 1}};
  const MFGHJBScheme c = MFGHJBSchemeMake(&block, .1, .3);
  const MFGHamiltonian quadratic = {MFG_HAMILTONIAN_QUADRATIC, 2, 2};
  const MFGHamiltonian quartic = {MFG_HAMILTONIAN_POWER, 1, 4};
  const double low = -1, high = -2, dlow = .3, dhigh = -.2, du = .5;
  double to_low, to_high;
  (void)state;
  MFGHJBPointJacobianChange(&c, &quadratic, 1, 0, &low, &high, du, &dlow, &dhigh, &to_low,
                            &to_high);
  MFG_ASSERT_NEAR(to_low, -2 * (du - dlow), 1e-15);
  MFG_ASSERT_NEAR(to_high, 2 * (dhigh - du), 1e-15);
  /* H = s^2/4: to_low = -s q-/h, ds = 2 q- dq- + 2 q+ dq+ = 4 (.4) - 8 (-1.4) = 12.8 */
  MFGHJBPointJacobianChange(&c, &quartic, 1, 0, &low, &high, du, &dlow, &dhigh, &to_low, &to_high);
  MFG_ASSERT_NEAR(to_low, -(12.8 * 2 + 20 * .4) * 2, 1e-12);
  MFG_ASSERT_NEAR(to_high, (12.8 * -4 + 20 * -1.4) * 2, 1e-12);
  /* downhill towards u from both sides: no square is active */
  const double above = 1;
  MFGHJBPointJacobianChange(&c, &quartic, 1, 0, &above, &above, du, &dlow, &dhigh, &to_low,
                            &to_high);
  assert_true(to_low == 0 && to_high == 0);
}

static double Random(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return 2. * (*seed >> 8) / (1 << 24) - 1;
}

/* The change of the point's Jacobian against differences of it, away from kinks. */
static void TestPoint(void **state) {
  const MFGBlock block = {.dim = 3, .cells = {4, 4, 4}, .spacing = {.5, .3, .7}};
  const MFGHJBScheme c = MFGHJBSchemeMake(&block, .1, .3);
  const MFGHamiltonian hamiltonians[] = {{MFG_HAMILTONIAN_QUADRATIC, 1.3, 2},
                                         {MFG_HAMILTONIAN_POWER, .7, 3},
                                         {MFG_HAMILTONIAN_POWER, .7, 1.5}};
  const double eps = 1e-5, b[] = {.3, -.4, .2};
  unsigned seed = 1;
  (void)state;
  for (int k = 0; k < 60; k++) {
    const MFGHamiltonian *h = &hamiltonians[k % 3];
    const int dim = 1 + k % 2 + (k % 4 == 1);
    double low[3], high[3], dlow[3], dhigh[3], change[6], plus[6], minus[6];
    for (int i = 0; i < 3; i++) {
      low[i] = Random(&seed), high[i] = Random(&seed);
      dlow[i] = Random(&seed), dhigh[i] = Random(&seed);
    }
    const double u = Random(&seed) + 1e-3, du = Random(&seed);
    MFGHJBPointJacobianChange(&c, h, dim, u, low, high, du, dlow, dhigh, change, change + 3);
    for (int side = -1; side <= 1; side += 2) {
      double l[3], r[3], *value = side > 0 ? plus : minus;
      for (int i = 0; i < 3; i++)
        l[i] = low[i] + side * eps * dlow[i], r[i] = high[i] + side * eps * dhigh[i];
      MFGHJBPointJacobian(&c, h, dim, u + side * eps * du, l, r, b, value, value + 3);
    }
    for (int i = 0; i < 6; i++)
      if (i % 3 < dim) {
        const double difference = (plus[i] - minus[i]) / (2 * eps);
        MFG_ASSERT_NEAR(change[i], difference, 1e-6 * fmax(1, fabs(difference)));
      }
  }
}

enum { STEPS = 5 };

typedef struct {
  MFGGrid grid;
  int64_t owned;
  MFGCost running, terminal;
  MFGHJBSpec spec;
  MFGHJB hjb;
  MFGLinearStep step;
  const double *M; /* levels 1 .. */
  double *U, *P, *drift, *terminal_cost, *V;
} Map;

static double Hill(const double x[]) {
  return cos(2.1 * x[0] + .4) + .5 * sin(1.7 * x[1] + x[0]) + .3 * cos(x[2] * 1.9 + .2);
}
static double Start(const double x[]) {
  return 1 + .5 * sin(2 * x[0] + .3) + .3 * cos(2 * x[1] + 1);
}
static double Direction(const double x[]) {
  return .4 * cos(3 * x[0] + 1) - .2 * sin(2 * x[1] + x[2]);
}

static void Open(int dim, int variant, Map *map) {
  const int cells[] = {dim == 1 ? 24 : 8, 7, 6};
  memset(map, 0, sizeof *map);
  MakeGrid(dim, cells, -1, 1, variant == 1 ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX,
           &map->grid);
  map->owned = MFGBlockOwned(&map->grid.block);
  map->V = NewField(map->owned);
  map->drift = NewField(dim * map->owned);
  Fill(&map->grid.block, Hill, map->V);
  for (int64_t i = 0; i < dim * map->owned; i++) map->drift[i] = .3;
  const MFGHamiltonian hamiltonians[] = {{MFG_HAMILTONIAN_QUADRATIC, 1.2, 2},
                                         {MFG_HAMILTONIAN_QUADRATIC, .9, 2},
                                         {MFG_HAMILTONIAN_POWER, 1.1, 3}};
  const MFGCoupling couplings[] = {
      {MFG_COUPLING_POWER, .8, 1.5}, {MFG_COUPLING_LOG, .3, 1}, {MFG_COUPLING_POWER, 1.5, 1}};
  map->spec = (MFGHJBSpec){.dt = .05,
                           .nu = .1,
                           .steps = STEPS,
                           .hamiltonian = hamiltonians[variant],
                           .drift_levels = variant == 2,
                           .drift = map->drift};
  const double pull = variant == 1 ? 0 : .7;
  map->running = (MFGCost){.potential_levels = 1,
                           .potential = map->V,
                           .coupling = couplings[variant],
                           .mean_strength = pull,
                           .mean_factor = .6};
  map->terminal = (MFGCost){.potential_levels = 1,
                            .potential = map->V,
                            .coupling = couplings[2 - variant],
                            .mean_strength = -pull,
                            .mean_factor = .8};
  MFG_OK(MFGHJBCreate(&map->grid, Backend(), &map->spec, &map->hjb));
  MFG_OK(MFGLinearStepCreate(&map->grid, Backend(), &map->spec, &map->step));
  map->U = NewField((STEPS + 1) * map->owned);
  map->P = NewField((STEPS + 1) * map->owned);
  map->terminal_cost = NewField(map->owned);
}

static void Close(Map *map) {
  double *fields[] = {map->U, map->P, map->drift, map->terminal_cost, map->V};
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
  MFG_OK(MFGHJBDestroy(&map->hjb));
  MFG_OK(MFGLinearStepDestroy(&map->step));
  MFG_OK(MFGGridDestroy(&map->grid));
}

static PetscErrorCode Source(void *context, int level, double *source) {
  Map *map = context;
  return MFGCostEvaluate(&map->grid, Backend(), &map->running, level,
                         map->M + (level - 1) * map->owned, source);
}

/* Phi by the sweeps themselves. */
static void Evaluate(Map *map, const double *M) {
  MFGFokkerPlanckStats fp;
  MFGHJBStats hjb;
  map->M = M;
  MFG_OK(MFGCostEvaluate(&map->grid, Backend(), &map->terminal, STEPS, M + (STEPS - 1) * map->owned,
                         map->terminal_cost));
  MFG_OK(MFGHJBSweep(map->hjb, Source, map, map->terminal_cost, PETSC_FALSE, 1e-14, map->U, &hjb));
  assert_int_equal(hjb.reason, SNES_CONVERGED_ITERATING);
  Fill(&map->grid.block, Start, map->P);
  MFG_OK(MFGFokkerPlanckSweep(map->step, map->U, PETSC_FALSE, 1e-14, map->P, &fp));
  assert_int_equal(fp.reason, KSP_CONVERGED_ITERATING);
}

/* The product of the linearised sweeps is the directional derivative of the map, by central
 * differences, whose error is of order eps^2 and of the solves over eps. */
static void TestMap(void **state) {
  const double eps = 1e-4;
  (void)state;
  for (int dim = 1; dim <= 3; dim++)
    for (int variant = 0; variant < 3; variant++) {
      Map map;
      Open(dim, variant, &map);
      const int64_t flow = STEPS * map.owned;
      double *M = NewField(flow), *dM = NewField(flow), *dP = NewField(flow),
             *moved = NewField(flow);
      double *plus = NewField(flow), error = 0, size = 0;
      MFGLinearStats stats = {0};
      MFGLinearised linearised;
      for (int n = 0; n < STEPS; n++) {
        Fill(&map.grid.block, Start, M + n * map.owned);
        Fill(&map.grid.block, Direction, dM + n * map.owned);
        for (int64_t i = 0; i < map.owned; i++) dM[n * map.owned + i] *= 1 + .3 * n;
      }
      for (int side = 1; side >= -1; side--) {
        for (int64_t i = 0; i < flow; i++) moved[i] = M[i] + side * eps * dM[i];
        if (side == 0) continue;
        Evaluate(&map, moved);
        for (int64_t i = 0; i < flow; i++) plus[i] += side * map.P[map.owned + i] / (2 * eps);
      }
      Evaluate(&map, M);
      MFG_OK(MFGLinearisedCreate(map.step, &map.running, &map.terminal, &linearised));
      MFGLinearisedSet(linearised, M, map.U, map.P + map.owned);
      MFG_OK(MFGLinearisedApply(linearised, 1e-13, dM, dP, &stats));
      assert_true(stats.reason >= 0);
      for (int64_t i = 0; i < flow; i++) {
        error = fmax(error, fabs(dP[i] - plus[i]));
        size = fmax(size, fabs(plus[i]));
      }
      print_message("dim %d, variant %d: %.2e of %.2e\n", dim, variant, error, size);
      assert_true(error < 1e-6 * size);
      MFG_OK(MFGLinearisedDestroy(&linearised));
      double *fields[] = {M, dM, dP, moved, plus};
      for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(fields); i++) MFG_OK(PetscFree(fields[i]));
      Close(&map);
    }
}

typedef struct {
  int count;
  double residual[50];
} History;

static PetscErrorCode Remember(void *context, const MFGIteration *it) {
  History *h = context;
  h->residual[h->count++] = it->density_residual;
  return PETSC_SUCCESS;
}

static void Solve(Map *map, MFGOuterMethod method, int most, History *history,
                  MFGOutcome *outcome) {
  double *m0 = NewField(MFGBlockCells(&map->grid.block)), mass = 0;
  double *M = NewField((STEPS + 1) * map->owned);
  MFGSampleStatistics statistics[STEPS + 1];
  MFGEquilibrium equilibrium;
  Fill(&map->grid.block, Start, M);
  MFG_OK(MFGGridGather(&map->grid, 1, M, m0));
  const int64_t cells = MFGBlockCells(&map->grid.block);
  for (int64_t i = 0; i < cells; i++) mass += m0[i] * MFGCellVolume(&map->grid.block);
  for (int64_t i = 0; i < cells; i++) m0[i] /= mass;
  for (int n = 0; n <= STEPS; n++) MFG_OK(MFGGridRestrict(&map->grid, 1, m0, M + n * map->owned));
  const MFGEquilibriumSpec spec = {.horizon = STEPS * map->spec.dt,
                                   .nu = map->spec.nu,
                                   .steps = STEPS,
                                   .hamiltonian = map->spec.hamiltonian,
                                   .drift_levels = map->spec.drift_levels,
                                   .drift = map->spec.drift,
                                   .running = map->running,
                                   .terminal = map->terminal,
                                   .fokker_planck = MFG_FOKKER_PLANCK_GRID,
                                   .initial_density = m0,
                                   .method = method,
                                   .tolerance = 1e-10,
                                   .damping = 1,
                                   .max_iterations = most};
  memset(history, 0, sizeof *history);
  MFG_OK(MFGEquilibriumCreate(&map->grid, Backend(), &spec, &equilibrium));
  MFG_OK(MFGEquilibriumSetMonitor(equilibrium, Remember, NULL, history));
  MFG_OK(MFGEquilibriumSolve(equilibrium, M, map->U, statistics, outcome));
  MFG_OK(MFGEquilibriumDestroy(&equilibrium));
  MFG_OK(PetscFree(M));
  MFG_OK(PetscFree(m0));
}

/* With linear systems solved tightly each residual is at most C times the square of the one before:
 * few maps, the last of which shows that the value stands still. Where a difference of U changes
 * its sign C grows to the jump of the Hamiltonian's second derivative, 1/h^2 an axis: 32 on the
 * grids of 2D. */
static void TestQuadratic(void **state) {
  (void)state;
  MFG_OK(PetscOptionsSetValue(NULL, "-outer_ksp_rtol", "1e-9"));
  for (int dim = 1; dim <= 2; dim++)
    for (int variant = 0; variant < 3; variant++) {
      const double constant = dim == 1 ? 2 : 32;
      History h;
      MFGOutcome outcome;
      Map map;
      Open(dim, variant, &map);
      Solve(&map, MFG_OUTER_NEWTON, 20, &h, &outcome);
      for (int k = 0; k < h.count; k++) print_message("%.2e ", h.residual[k]);
      print_message("\n");
      assert_int_equal(outcome.reason, MFG_STOP_CONVERGED);
      assert_true(outcome.iterations <= 8 && outcome.products > 0);
      for (int k = 1; k < h.count; k++)
        assert_true(h.residual[k] < constant * h.residual[k - 1] * h.residual[k - 1] + 1e-11);
      Close(&map);
    }
  MFG_OK(PetscOptionsClearValue(NULL, "-outer_ksp_rtol"));
}

/* Every way to stop but those of agents. */
static void TestStops(void **state) {
  const struct {
    const char *option, *value;
    int most;
    MFGStopReason reason;
  } cases[] = {{"-outer_snes_monitor_cancel", "1", 20, MFG_STOP_CONVERGED},
               {"-outer_snes_monitor_cancel", "1", 2, MFG_STOP_MAX_ITERATIONS},
               {"-outer_snes_max_it", "1", 20, MFG_STOP_STALLED},
               {"-hjb_snes_max_it", "0", 20, MFG_STOP_HJB_FAILED},
               {"-fp_ksp_max_it", "1", 20, MFG_STOP_FP_FAILED}};
  (void)state;
  for (size_t k = 0; k < PETSC_STATIC_ARRAY_LENGTH(cases); k++) {
    History h;
    MFGOutcome outcome;
    Map map;
    Open(2, 0, &map);
    MFG_OK(PetscOptionsSetValue(NULL, cases[k].option, cases[k].value));
    Solve(&map, MFG_OUTER_NEWTON, cases[k].most, &h, &outcome);
    MFG_OK(PetscOptionsClearValue(NULL, cases[k].option));
    print_message("%s\n", outcome.message);
    assert_int_equal(outcome.reason, cases[k].reason);
    Close(&map);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestStated), cmocka_unit_test(TestPoint), cmocka_unit_test(TestMap),
    cmocka_unit_test(TestQuadratic), cmocka_unit_test(TestStops)};

MFG_TEST_MAIN(tests)
