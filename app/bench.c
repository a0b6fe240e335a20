#include "app/bench.h"

#include "app/progress.h"
#include "app/run.h"

static int CompareSeconds(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The ranks start together and the slowest counts. */
static PetscErrorCode TimeOnce(MPI_Comm comm, MFGBenchWork work, void *context, double *seconds) {
  PetscLogDouble t0, t1;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Barrier(comm));
  PetscCall(PetscTime(&t0));
  PetscCall(work(context));
  PetscCall(PetscTime(&t1));
  *seconds = t1 - t0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchTimeWork(MPI_Comm comm, MFGBenchWork work, void *context,
                                MFGBenchTiming *timing) {
  double later[MFG_BENCH_LATER_CALLS];

  PetscFunctionBeginUser;
  PetscCall(TimeOnce(comm, work, context, &timing->first));
  timing->later = timing->first;
  if (timing->first > MFG_BENCH_PATIENCE) PetscFunctionReturn(PETSC_SUCCESS);
  for (int i = 0; i < MFG_BENCH_LATER_CALLS; i++)
    PetscCall(TimeOnce(comm, work, context, &later[i]));
  qsort(later, MFG_BENCH_LATER_CALLS, sizeof *later, CompareSeconds);
  timing->later = later[MFG_BENCH_LATER_CALLS / 2];
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchCaseCreate(MPI_Comm comm, const char *backend, const char *name, int count,
                                  const char *const sets[], MFGBenchCase *c) {
  char path[PETSC_MAX_PATH_LEN], on[32];
  const char **all;
  MFGConfigErrors errors = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGInputPath(name, path));
  PetscCall(PetscMalloc1(count + 1, &all));
  for (int i = 0; i < count; i++) all[i] = sets[i];
  PetscCall(PetscSNPrintf(on, sizeof on, "backend=%s", backend));
  all[count] = on;
  PetscCall(MFGConfigRead(comm, path, count + 1, all, &c->config, &errors));
  PetscCall(PetscFree(all));
  if (!errors.count) PetscCall(MFGProblemCreate(comm, c->config, NULL, &c->problem, &errors));
  PetscCheck(!errors.count, comm, PETSC_ERR_USER_INPUT, "%s", errors.text);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBenchCaseDestroy(MFGBenchCase *c) {
  PetscFunctionBeginUser;
  PetscCall(MFGProblemDestroy(&c->problem));
  PetscCall(MFGConfigDestroy(&c->config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A whole solve, from the problem to the equilibrium. */
typedef struct {
  const MFGProblem *problem;
  MFGOutcome outcome;
} Solve;

static PetscErrorCode SolveWork(void *context) {
  Solve *s = (Solve *)context;
  MFGSolution solution;
  MFGConfigErrors errors = {0};
  const MFGStageCallbacks silent = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGSolutionCreate(s->problem, PETSC_TRUE, &solution, &errors));
  PetscCheck(!errors.count, s->problem->grid.world, PETSC_ERR_USER_INPUT, "%s", errors.text);
  PetscCall(MFGProblemSolve(s->problem, &silent, &solution));
  s->outcome = solution.outcome;
  PetscCall(MFGSolutionDestroy(&solution));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What a strong coupling costs every method, in sweeps. */
static PetscErrorCode BenchCouplings(MPI_Comm comm, const char *backend) {
  const double kappas[] = {0.1, 0.3, 1, 3, 10, 30, 100};
  const char *methods[] = {"picard", "fictitious_play", "anderson", "newton"};
  const size_t m = PETSC_STATIC_ARRAY_LENGTH(methods);

  PetscFunctionBeginUser;
  PetscCall(MFGSay(
      comm, "\nTorus in one dimension, 64 cells, 64 steps, density on the grid, to 1e-9\n"
            "  coupling  method              maps  linearised   seconds  density residual\n"));
  for (size_t i = 0; i < m * PETSC_STATIC_ARRAY_LENGTH(kappas); i++) {
    char constant[64], strength[64], method[64];
    const char *sets[] = {constant,
                          strength,
                          method,
                          "domain.cells=[64]",
                          "time.steps=64",
                          "fokker_planck.method=grid",
                          "equilibrium.tolerance=1e-9",
                          "equilibrium.memory=10",
                          "equilibrium.damping=0.5"};
    double seconds;
    Solve s;
    MFGBenchCase c;
    snprintf(constant, sizeof constant, "constants.kappa=%g", kappas[i / m]);
    snprintf(strength, sizeof strength, "running_cost.coupling.strength=%g", kappas[i / m]);
    snprintf(method, sizeof method, "equilibrium.method=%s", methods[i % m]);
    PetscCall(
        MFGBenchCaseCreate(comm, backend, "torus_1d", PETSC_STATIC_ARRAY_LENGTH(sets), sets, &c));
    s.problem = &c.problem;
    PetscCall(TimeOnce(comm, SolveWork, &s, &seconds));
    PetscCall(MFGSay(comm, "  %8g  %-15s %7d %11lld %9.3f  %s\n", kappas[i / m], methods[i % m],
                     s.outcome.iterations, (long long)s.outcome.products, seconds,
                     s.outcome.reason == MFG_STOP_CONVERGED ? "below 1e-9" : "NOT CONVERGED"));
    PetscCall(MFGBenchCaseDestroy(&c));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode BenchSolve(MPI_Comm comm, const MFGCommandLine *line) {
  const char *names[] = {"peer_1d", "reference_1d", "torus_1d", "lq_mean_field_1d"};
  MFGBenchCase c;
  MFGBenchTiming timing;

  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm, "Whole solves\n  case                first s   later s  outcome\n"));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(names); i++) {
    Solve s;
    PetscCall(MFGBenchCaseCreate(comm, line->backend, names[i], 0, NULL, &c));
    s.problem = &c.problem;
    PetscCall(MFGBenchTimeWork(comm, SolveWork, &s, &timing));
    PetscCall(MFGSay(comm, "  %-17s %9.3f %9.3f  %s\n", names[i], timing.first, timing.later,
                     s.outcome.message));
    PetscCall(MFGBenchCaseDestroy(&c));
  }
  PetscCall(BenchCouplings(comm, line->backend));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGBench(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  static const struct {
    const char *name;
    PetscErrorCode (*bench)(MPI_Comm, const MFGCommandLine *);
  } benches[] = {
      {"kde", MFGBenchKDE}, {"sweep", MFGBenchSweep}, {"hjb", MFGBenchHJB}, {"solve", BenchSolve}};
  MFGCommandLine line = *cli;
  const char *name = line.backend = cli->backend ? cli->backend : "auto", *why;
  const MFGBackend *backend, *other = NULL;
  PetscMPIInt size;

  PetscFunctionBeginUser;
  *exit_code = MFG_EXIT_SUCCESS;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGBackendGet(comm, strcmp(name, "auto") ? name : "cpu", &backend));
  if (!strcmp(name, "auto")) PetscCall(MFGBackendFind(comm, &other, &why));
  PetscCall(PetscPrintf(
      comm, "%d rank%s, backend %s%s (%s%s%s); later: median of %d calls after the first\n",
      (int)size, size > 1 ? "s" : "", backend->name, other ? " or cuda, whichever auto takes" : "",
      backend->detail, other ? "; " : "", other ? other->detail : "", MFG_BENCH_LATER_CALLS));
  for (size_t i = 0; i < PETSC_STATIC_ARRAY_LENGTH(benches); i++) {
    PetscBool wanted = (PetscBool)(cli->name_count == 0);
    for (int k = 0; k < cli->name_count; k++)
      if (!strcmp(cli->names[k], benches[i].name)) wanted = PETSC_TRUE;
    if (wanted) {
      PetscCall(MFGSay(comm, "\n"));
      PetscCall(benches[i].bench(comm, &line));
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}
