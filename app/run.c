#include "app/run.h"

#include <unistd.h>

#include "app/fields.h"
#include "app/output.h"
#include "app/problem.h"
#include "app/progress.h"
#include "app/run_directory.h"

static const char *const stopNames[] = {
    [MFG_STOP_NONE] = "running",
    [MFG_STOP_CONVERGED] = "converged",
    [MFG_STOP_FLOOR] = "statistical_floor",
    [MFG_STOP_MAX_ITERATIONS] = "max_iterations",
    [MFG_STOP_DIVERGED] = "diverged",
    [MFG_STOP_HJB_FAILED] = "hjb_failed",
    [MFG_STOP_FP_FAILED] = "fp_failed",
    [MFG_STOP_STALLED] = "stalled",
};

static MFGExitCode OutcomeExitCode(const MFGOutcome *outcome) {
  if (!MFGOutcomeUsable(outcome)) return MFG_EXIT_NUMERICAL;
  return outcome->reason == MFG_STOP_CONVERGED ? MFG_EXIT_SUCCESS : MFG_EXIT_NOT_CONVERGED;
}

PetscErrorCode MFGInputErrorsReport(MPI_Comm comm, MFGConfigErrors *errors,
                                    MFGExitCode *exit_code) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank == 0) fputs(errors->text, stderr);
  PetscCall(MFGConfigErrorsDestroy(errors));
  *exit_code = MFG_EXIT_INPUT;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteStatus(MPI_Comm comm, const MFGConfig *config, const MFGOutcome *outcome,
                                  const MFGProgress *progress) {
  const MFGConvergenceEntry *last =
      progress->count ? &progress->history[progress->count - 1] : NULL;
  char text[2048];

  PetscFunctionBeginUser;
  snprintf(text, sizeof text,
           "status=%s\nreason=%s\nexit_code=%d\niterations=%d\ndensity_residual=%.6e\n"
           "value_residual=%.6e\ninput_hash=%s\nmessage=%s\n",
           MFGOutcomeUsable(outcome) ? "finished" : "failed", stopNames[outcome->reason],
           OutcomeExitCode(outcome), outcome->iterations, last ? last->density_residual : NAN,
           last ? last->value_residual : NAN, config->hash, outcome->message);
  PetscCall(MFGRunDirectoryWrite(comm, config->output.directory, "STATUS", text));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The words of the command line, as the system keeps them. */
static void CommandLine(size_t size, char *text) {
  FILE *f = fopen("/proc/self/cmdline", "r");
  const size_t n = f ? fread(text, 1, size - 1, f) : 0;

  if (f) fclose(f);
  for (size_t i = 0; i + 1 < n; i++)
    if (!text[i]) text[i] = ' ';
  text[n] = '\0';
}

static PetscErrorCode WriteResult(const MFGProblem *p, const MFGSolution *s,
                                  const MFGProgress *progress, int64_t *bytes) {
  char backend[128], command_line[4096];
  const MFGResult result = {.grid = &p->grid,
                            .config = p->config,
                            .M = s->M,
                            .U = s->U,
                            .control = s->control,
                            .iterations = progress->count,
                            .convergence = progress->history,
                            .cost = s->series.cost,
                            .mean = s->series.mean,
                            .variance = s->series.variance,
                            .mass = s->series.mass,
                            .exit_flux = s->series.exit_flux,
                            .samples = s->samples,
                            .path = s->path,
                            .id = s->id,
                            .status = "finished",
                            .stop_reason = stopNames[s->outcome.reason],
                            .backend = backend,
                            .command_line = command_line,
                            .parent_uuid = s->parent};

  PetscFunctionBeginUser;
  CommandLine(sizeof command_line, command_line);
  snprintf(backend, sizeof backend, "%s: %s", p->backend->name, p->backend->detail);
  PetscCall(MFGResultWrite(p->config->output.directory, &result, bytes));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGCellsText(int dim, const int cells[], size_t size, char text[]) {
  int used = 0;
  for (int k = 0; k < dim; k++)
    used += snprintf(text + used, size - used, "%s%d", k ? " x " : "", cells[k]);
}

/* What the run is about to do, in a few lines. */
static PetscErrorCode Announce(MPI_Comm comm, const MFGProblem *p) {
  const MFGConfig *c = p->config;
  const MFGBlock *b = &p->grid.block;
  PetscMPIInt size;
  char cells[64], density[64] = "density on the grid";

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  MFGCellsText(b->dim, b->cells, sizeof cells, cells);
  if (!MFGProblemOnGrid(p))
    snprintf(density, sizeof density, "%lld agents", (long long)c->agents.count);
  PetscCall(MFGSay(comm, "%s: %s cells, %d steps, %s; %d rank%s, backend %s (%s)\n", c->title,
                   cells, c->time.steps, density, (int)size, size > 1 ? "s" : "", p->backend->name,
                   p->backend->detail));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* More ranks than this are not told one by one. */
#define RANKS_TOLD 16

static PetscErrorCode SayTraffic(MPI_Comm comm, int rank, const MFGExchangeBytes *b, int steps) {
  PetscFunctionBeginUser;
  PetscCall(MFGSay(comm,
                   "  rank %d sends per step: halo %.1f, migration %.1f, reductions %.1f, gathers "
                   "%.1f bytes\n",
                   rank, (double)b->halo / steps, (double)b->migration / steps,
                   (double)b->reduction / steps, (double)b->gather / steps));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* How the agents are divided, and what the model says of it. */
static PetscErrorCode SayDecomposition(MPI_Comm comm, const MFGProblem *p) {
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (size > 1 && !MFGProblemOnGrid(p))
    PetscCall(MFGSay(comm, "decomposition: %s%s; %s\n", MFGDecompositionName(p->model.choice),
                     p->config->parallel.decomposition ? "" : " (auto)", p->model.reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode DryRun(MPI_Comm comm, const MFGProblem *p) {
  const MFGBlock *b = &p->grid.block;
  PetscMPIInt size;
  MFGFootprint f;
  const char *layout = b->dim == 1 ? "every rank holds the whole grid" : "grid divided into boxes";

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(MFGProblemLargest(p, &f));
  PetscCall(Announce(comm, p));
  const PetscBool grid = MFGProblemOnGrid(p);
  const PetscBool domain = (PetscBool)(!grid && p->model.choice == MFG_DECOMPOSITION_DOMAIN);
  PetscCall(SayDecomposition(comm, p));
  if (grid)
    PetscCall(MFGSay(comm, "layout: %s\n", layout));
  else
    PetscCall(MFGSay(comm, "layout: %s; at most %.0f agents a rank%s\n", layout,
                     ceil((domain ? p->model.imbalance : 1) * (double)p->spec.agents / size),
                     domain ? " at t = 0" : ""));
  for (PetscMPIInt r = 0; r < PetscMin(size, RANKS_TOLD); r++) {
    const MFGBlock *box = b->dim > 1 || domain ? &p->grid.boxes[r] : b;
    PetscCall(MFGSay(comm, "  rank %d: cells ", (int)r));
    for (int k = 0; k < b->dim; k++)
      PetscCall(
          MFGSay(comm, "%s[%d, %d)", k ? " x " : "", box->start[k], box->start[k] + box->count[k]));
    PetscCall(MFGSay(comm, "\n"));
    if (size == 1 || grid) continue;
    const MFGExchangeBytes bytes = MFGSweepBytes(&p->layout, r);
    PetscCall(SayTraffic(comm, r, &bytes, p->spec.steps));
  }
  PetscCall(
      MFGSay(comm,
             "memory of the fullest rank, MB: flows %.1f, history of the acceleration %.1f, tables "
             "%.1f, value equation %.1f, agents %.1f, moments %.1f, Fokker-Planck step %.1f, "
             "together %.1f; besides, the program itself holds %.1f\n",
             f.flows / 1e6, f.history / 1e6, f.tables / 1e6, f.value / 1e6, f.agents / 1e6,
             f.moments / 1e6, f.linear / 1e6, f.total / 1e6, p->memory_before / 1e6));
  PetscCall(
      MFGSay(comm, "disk: %.1f MB in %s/result.h5\n", f.disk / 1e6, p->config->output.directory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the ranks sent in the last sweep. */
static PetscErrorCode ReportTraffic(MPI_Comm comm, const MFGProblem *p,
                                    const MFGProgress *progress) {
  PetscMPIInt size;
  MFGExchangeBytes *all;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (size == 1 || MFGProblemOnGrid(p)) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscMalloc1(size, &all));
  PetscCallMPI(
      MPI_Allgather(&progress->traffic, sizeof *all, MPI_BYTE, all, sizeof *all, MPI_BYTE, comm));
  PetscCall(MFGSay(comm, "decomposition %s: largest over mean number of agents per rank %.2f\n",
                   MFGDecompositionName(p->model.choice), progress->imbalance));
  for (PetscMPIInt r = 0; r < PetscMin(size, RANKS_TOLD); r++)
    PetscCall(SayTraffic(comm, r, &all[r], p->spec.steps));
  PetscCall(PetscFree(all));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Memory beyond the program's own, of the rank whose memory grew most. */
static PetscErrorCode ReportMemory(MPI_Comm comm, const MFGProblem *p) {
  double mb[] = {(MFGMemoryPeak() - p->memory_before) / 1e6, p->memory_before / 1e6};
  MFGFootprint f;

  PetscFunctionBeginUser;
  PetscCall(MFGProblemLargest(p, &f));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, mb, 2, MPI_DOUBLE, MPI_MAX, comm));
  PetscCall(
      MFGSay(comm,
             "memory of a rank, MB: at most %.1f, predicted %.1f; besides, the program itself "
             "held %.1f\n",
             mb[0], f.total / 1e6, mb[1]));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What a user should know beyond the outcome. */
static PetscErrorCode Remark(MPI_Comm comm, const MFGOutcome *o) {
  PetscFunctionBeginUser;
  if (o->raised)
    PetscCall(
        MFGSay(comm,
               "warning: the bandwidth of the rule was below %.1f cells and was raised; refine "
               "domain.cells, or use fewer agents\n",
               MFG_BANDWIDTH_MIN_CELLS));
  if (o->mixture_floor)
    PetscCall(MFGSay(comm,
                     "note: %lld cell values of mixed iterates were below zero; the couplings saw "
                     "%.0e there\n",
                     (long long)o->mixture_floor, MFG_DENSITY_FLOOR));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Solve, write, summarise. What can fail without the solution is done before it. */
static PetscErrorCode SolveAndWrite(MPI_Comm comm, const MFGProblem *p, MFGSolution *s,
                                    MFGExitCode *exit_code) {
  const MFGConfig *c = p->config;
  const MFGOutcome *o = &s->outcome;
  MFGProgress progress;
  const MFGStageCallbacks callbacks = {MFGProgressIteration, MFGProgressWithin, MFGProgressStage,
                                       &progress};
  PetscLogDouble t0, t1;
  int64_t bytes = 0;

  PetscFunctionBeginUser;
  PetscCall(MFGRunDirectoryLock(comm, c->output.directory));
  PetscCall(MFGRunDirectoryWrite(comm, c->output.directory, "effective.yaml", c->text));
  PetscCall(MFGRunDirectoryWrite(comm, c->output.directory, "STATUS", "status=running\n"));
  PetscCall(MFGProgressCreate(comm, &p->spec, &progress));
  PetscCall(MFGProblemSolve(p, &callbacks, s));
  PetscCall(MFGSay(comm, "%s\n", o->message));
  PetscCall(PetscTime(&t0));
  if (MFGOutcomeUsable(o)) PetscCall(WriteResult(p, s, &progress, &bytes));
  PetscCall(WriteStatus(comm, c, o, &progress));
  PetscCall(PetscTime(&t1));
  PetscCall(MFGProgressSummary(&progress, p->spec.agents * p->spec.steps, t1 - t0, bytes));
  PetscCall(ReportMemory(comm, p));
  PetscCall(ReportTraffic(comm, p, &progress));
  PetscCall(Remark(comm, o));
  if (bytes) PetscCall(MFGSay(comm, "result: %s/result.h5\n", c->output.directory));
  *exit_code = OutcomeExitCode(o);
  PetscCall(MFGRunDirectoryUnlock(comm, c->output.directory));
  PetscCall(MFGProgressDestroy(&progress));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A valid input and its problem: the dry run, or the run. */
static PetscErrorCode RunProblem(MPI_Comm comm, const MFGCommandLine *cli,
                                 const MFGProblem *problem, MFGExitCode *exit_code) {
  MFGConfigErrors errors = {0};
  MFGSolution solution;

  PetscFunctionBeginUser;
  if (cli->dry_run) {
    PetscCall(DryRun(comm, problem));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGSolutionCreate(problem, &solution, &errors));
  if (errors.count) {
    PetscCall(MFGInputErrorsReport(comm, &errors, exit_code));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(Announce(comm, problem));
  PetscCall(SayDecomposition(comm, problem));
  PetscCall(SolveAndWrite(comm, problem, &solution, exit_code));
  PetscCall(MFGSolutionDestroy(&solution));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Options of the input's petsc: mapping, then those after `--` again, which win. */
static PetscErrorCode InsertOptions(const MFGConfig *config, const MFGCommandLine *cli) {
  int argc = cli->petsc_argc;
  char **argv = cli->petsc_argv;

  PetscFunctionBeginUser;
  for (int i = 0; i < config->petsc_count; i++)
    PetscCall(PetscOptionsInsertString(NULL, config->petsc_options[i]));
  if (config->petsc_count) PetscCall(PetscOptionsInsert(NULL, &argc, &argv, NULL));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGRun(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  MFGConfig *config = NULL;
  MFGConfigErrors errors = {0};
  MFGProblem problem;

  PetscFunctionBeginUser;
  *exit_code = MFG_EXIT_SUCCESS;
  PetscCall(MFGConfigRead(comm, cli->case_path, cli->set_count, (const char *const *)cli->sets,
                          &config, &errors));
  if (!errors.count && cli->ranks) {
    PetscCall(MFGDryRunRanks(comm, config, cli->ranks, exit_code));
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!errors.count) PetscCall(MFGFieldCheck(comm, config, &errors));
  if (!errors.count && cli->validate) {
    PetscCall(MFGSay(comm, "%s: valid\n", cli->case_path));
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!errors.count) PetscCall(InsertOptions(config, cli));
  if (!errors.count) PetscCall(MFGProblemCreate(comm, config, &problem, &errors));
  if (errors.count) {
    PetscCall(MFGInputErrorsReport(comm, &errors, exit_code));
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(RunProblem(comm, cli, &problem, exit_code));
  PetscCall(MFGProblemDestroy(&problem));
  PetscCall(MFGConfigDestroy(&config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGInputPath(const char *name, char path[PETSC_MAX_PATH_LEN]) {
  char program[PETSC_MAX_PATH_LEN];
  const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

  PetscFunctionBeginUser;
  if (n > 0) {
    program[n] = '\0';
    *strrchr(program, '/') = '\0';
    PetscCall(PetscSNPrintf(path, PETSC_MAX_PATH_LEN, "%s/../share/nashflow/input/%s.yaml", program,
                            name));
    if (access(path, R_OK) == 0) PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(PetscSNPrintf(path, PETSC_MAX_PATH_LEN, "%s/%s.yaml", MFG_INPUT_DIR, name));
  PetscCheck(
      access(path, R_OK) == 0, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
      "cannot read the shipped input '%s': neither in ../share/nashflow/input beside the program "
      "nor at %s; install the program with cmake --install",
      name, path);
  PetscFunctionReturn(PETSC_SUCCESS);
}
