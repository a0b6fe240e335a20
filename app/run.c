#include "app/run.h"

#include <unistd.h>

#include "app/checkpoint.h"
#include "app/diagnostic.h"
#include "app/fields.h"
#include "app/guards.h"
#include "app/output.h"
#include "app/problem.h"
#include "app/progress.h"
#include "app/run_directory.h"
#include "app/run_report.h"
#include "app/watch.h"

static const char *const stopNames[] = {
    [MFG_STOP_NONE] = "running",
    [MFG_STOP_CONVERGED] = "converged",
    [MFG_STOP_FLOOR] = "statistical_floor",
    [MFG_STOP_MAX_ITERATIONS] = "max_iterations",
    [MFG_STOP_DIVERGED] = "diverged",
    [MFG_STOP_HJB_FAILED] = "hjb_failed",
    [MFG_STOP_FP_FAILED] = "fp_failed",
    [MFG_STOP_STALLED] = "stalled",
    [MFG_STOP_INTERRUPTED] = "interrupted",
};

/* A run under way: the context of the solver's callbacks. */
typedef struct {
  MPI_Comm comm; /* borrowed, as the next three */
  const MFGCommandLine *cli;
  const MFGConfig *config;
  const MFGProblem *problem;
  MFGProgress progress;
  MFGWatch watch;
  MFGCheckpoints checkpoints;
  MFGCheckpointSource source; /* that it goes on from, if it does */
  PetscBool resumes;
  PetscBool save_failed; /* the last time */
  char command[4096], backend[128];
} Run;

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

static MFGExitCode OutcomeExitCode(const Run *run, const MFGOutcome *o) {
  if (o->reason == MFG_STOP_INTERRUPTED) return run->save_failed ? MFG_EXIT_IO : MFG_EXIT_RESUMABLE;
  if (!MFGOutcomeUsable(o)) return MFG_EXIT_NUMERICAL;
  return o->reason == MFG_STOP_CONVERGED ? MFG_EXIT_SUCCESS : MFG_EXIT_NOT_CONVERGED;
}

/* STATUS; o NULL: the run is under way. */
static PetscErrorCode WriteStatus(const Run *run, const MFGOutcome *o) {
  const MFGConfig *c = run->config;
  const MFGProgress *p = &run->progress;
  const MFGConvergenceEntry *last = p->count ? &p->history[p->count - 1] : NULL;
  const char *status = !o                                  ? "running"
                       : MFGOutcomeUsable(o)               ? "finished"
                       : o->reason == MFG_STOP_INTERRUPTED ? "interrupted"
                                                           : "failed";
  char text[2048], code[32] = "";

  PetscFunctionBeginUser;
  if (o) (void)snprintf(code, sizeof code, "exit_code=%d\n", OutcomeExitCode(run, o));
  (void)snprintf(text, sizeof text,
                 "status=%s\nreason=%s\n%siterations=%d\ndensity_residual=%.6e\n"
                 "value_residual=%.6e\nseconds_hjb=%.6f\nseconds_particles=%.6f\n"
                 "seconds_density=%.6f\nseconds_other=%.6f\ninput_hash=%s\nresumable=%s\n"
                 "checkpoint=%s\ncause=%s\nmessage=%s\n",
                 status, stopNames[o ? o->reason : MFG_STOP_NONE], code, last ? last->iteration : 0,
                 last ? last->density_residual : NAN, last ? last->value_residual : NAN,
                 p->seconds[0], p->seconds[1], p->seconds[2], p->seconds[3], c->hash,
                 *run->checkpoints.name ? "yes" : "no", run->checkpoints.name, run->watch.cause,
                 o ? o->message : "");
  PetscCall(MFGRunDirectoryWrite(run->comm, c->output.directory, "STATUS", text));
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

static PetscErrorCode Iteration(void *context, const MFGIteration *it) {
  PetscFunctionBeginUser;
  PetscCall(MFGProgressIteration(&((Run *)context)->progress, it));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Within(void *context, MFGPhase phase, double fraction) {
  PetscFunctionBeginUser;
  PetscCall(MFGProgressWithin(&((Run *)context)->progress, phase, fraction));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Stage(void *context, const MFGStage *stage, const MFGOutcome *outcome) {
  PetscFunctionBeginUser;
  PetscCall(MFGProgressStage(&((Run *)context)->progress, stage, outcome));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Decide(void *context, MFGPiece piece, int64_t work, PetscBool *save,
                             PetscBool *stop) {
  PetscFunctionBeginUser;
  PetscCall(MFGWatchDecide(&((Run *)context)->watch, piece, work, save, stop));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Restore(void *context, const MFGState *state) {
  PetscFunctionBeginUser;
  PetscCall(MFGCheckpointRestore(&((Run *)context)->source, state));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A checkpoint that cannot be written costs no result: the run goes on and says so. */
static PetscErrorCode Save(void *context, const MFGState *solver) {
  Run *run = (Run *)context;
  MFGCheckpoints *c = &run->checkpoints;
  const int64_t before = c->bytes;
  MFGState state = *solver;
  MFGErrorRecord record;

  PetscFunctionBeginUser;
  PetscCall(MFGProgressState(&run->progress, &state));
  PetscCall(MFGErrorHandlerPush(&record));
  const PetscErrorCode verdict = MFGCheckpointsWrite(c, &state);
  PetscCall(PetscPopErrorHandler());
  run->save_failed = (PetscBool)(verdict != PETSC_SUCCESS);
  PetscCall(MFGWatchSaved(&run->watch, (PetscBool)!verdict, c->seconds[1]));
  if (verdict)
    PetscCall(MFGSay(run->comm, "warning: no checkpoint: %s\n", record.message));
  else
    PetscCall(MFGSay(run->comm, "%s: %.1f MB in %.2f s\n", c->name, (c->bytes - before) / 1e6,
                     c->seconds[1]));
  PetscCall(MFGErrorHandlerPush(&record));
  const PetscErrorCode status = WriteStatus(run, NULL);
  PetscCall(PetscPopErrorHandler());
  if (status) PetscCall(MFGSay(run->comm, "warning: %s\n", record.message));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Explain(void *context, const MFGOutcome *outcome, const MFGState *fields) {
  const Run *run = (const Run *)context;
  const MFGProblem *p = run->problem;

  PetscFunctionBeginUser;
  PetscCall(MFGDiagnosticWrite(&p->grid, p->config, run->backend, run->checkpoints.history,
                               stopNames[outcome->reason], outcome, fields));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteResult(const Run *run, const MFGSolution *s, int64_t *bytes) {
  const MFGProblem *p = run->problem;
  const MFGResult result = {.grid = &p->grid,
                            .config = p->config,
                            .M = s->M,
                            .U = s->U,
                            .control = s->control,
                            .iterations = run->progress.count,
                            .convergence = run->progress.history,
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
                            .backend = run->backend,
                            .command_line = run->command,
                            .parent_uuid = run->checkpoints.parent,
                            .history = run->checkpoints.history};

  PetscFunctionBeginUser;
  PetscCall(MFGResultWrite(p->config->output.directory, &result, bytes));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* What the stop of a run comes to. */
static PetscErrorCode ExplainInterruption(Run *run, MFGOutcome *o) {
  PetscFunctionBeginUser;
  if (run->save_failed)
    (void)snprintf(o->message, sizeof o->message,
                   "stopped in iteration %d by %s, and the last checkpoint could not be written; "
                   "%s%s",
                   o->iterations, run->watch.cause,
                   *run->checkpoints.name ? "the same command line goes on from "
                                          : "the same command line starts from the beginning",
                   run->checkpoints.name);
  else
    (void)snprintf(o->message, sizeof o->message,
                   "stopped in iteration %d by %s; the same command line goes on from %s",
                   o->iterations, run->watch.cause, run->checkpoints.name);
  PetscCall(MFGWatchObeyed(&run->watch));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Solve, write, summarise. What can fail without the solution is done before it. */
static PetscErrorCode SolveAndWrite(Run *run, MFGSolution *s, MFGExitCode *exit_code) {
  const MFGProblem *p = run->problem;
  const char *directory = p->config->output.directory;
  MFGOutcome *o = &s->outcome;
  const MFGStageCallbacks callbacks = {.monitor = Iteration,
                                       .progress = Within,
                                       .stage = Stage,
                                       .decide = Decide,
                                       .save = Save,
                                       .lost = Explain,
                                       .restore = run->resumes ? Restore : NULL,
                                       .context = run};
  PetscLogDouble t0, t1;
  int64_t bytes = 0;

  PetscFunctionBeginUser;
  PetscCall(MFGRunDirectoryWrite(run->comm, directory, "effective.yaml", p->config->text));
  PetscCall(WriteStatus(run, NULL));
  PetscCall(MFGProblemSolve(p, &callbacks, s));
  if (o->reason == MFG_STOP_INTERRUPTED) PetscCall(ExplainInterruption(run, o));
  PetscCall(MFGSay(run->comm, "%s\n", o->message));
  PetscCall(PetscTime(&t0));
  if (MFGOutcomeUsable(o)) {
    PetscCall(WriteResult(run, s, &bytes));
    PetscCall(MFGCheckpointsRemove(&run->checkpoints));
  }
  PetscCall(WriteStatus(run, o));
  PetscCall(PetscTime(&t1));
  PetscCall(MFGProgressSummary(&run->progress, p->spec.agents * p->spec.steps, t1 - t0,
                               bytes + run->checkpoints.bytes));
  PetscCall(MFGReportEnd(run->comm, p, o, &run->progress));
  if (bytes) PetscCall(MFGSay(run->comm, "result: %s/result.h5\n", directory));
  *exit_code = OutcomeExitCode(run, o);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* In the locked directory: where to go on from, then the work. */
static PetscErrorCode RunLocked(Run *run, MFGExitCode *exit_code) {
  const MFGProblem *p = run->problem;
  const MFGConfig *c = p->config;
  MFGConfigErrors errors = {0};
  MFGSolution solution;

  PetscFunctionBeginUser;
  PetscCall(MFGGuardMemory(p));
  PetscCall(MFGGuardDisk(p));
  PetscCall(MFGCheckpointFind(&p->grid, c, run->cli->restart, &run->watch, &run->resumes,
                              &run->source, &errors));
  if (!errors.count) PetscCall(MFGSolutionCreate(p, !run->resumes, &solution, &errors));
  if (errors.count) {
    PetscCall(MFGInputErrorsReport(run->comm, &errors, exit_code));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGCheckpointsCreate(&p->grid, c, run->backend, run->command,
                                 run->resumes ? &run->source : NULL, &run->checkpoints));
  if (solution.parent)
    PetscCall(
        PetscStrncpy(run->checkpoints.parent, solution.parent, sizeof run->checkpoints.parent));
  PetscCall(MFGProgressCreate(run->comm, &p->spec, &run->progress));
  if (run->resumes)
    PetscCall(MFGProgressRestore(&run->progress,
                                 c->equilibrium.max_iterations + MFG_MAX_FACTORS + 1,
                                 MFGCheckpointRestore, &run->source));
  PetscCall(MFGWatchStart(&run->watch));
  PetscCall(MFGReportStart(run->comm, p));
  if (run->resumes)
    PetscCall(MFGSay(run->comm, "goes on from %s, after %d iterations\n", run->source.path,
                     run->progress.count));
  PetscCall(SolveAndWrite(run, &solution, exit_code));
  PetscCall(MFGSolutionDestroy(&solution));
  PetscCall(MFGProgressDestroy(&run->progress));
  PetscCall(MFGCheckpointsDestroy(&run->checkpoints));
  PetscCall(MFGCheckpointSourceClose(&run->source));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A run that was told to stop before it had done anything. */
static PetscErrorCode SayStopped(Run *run) {
  MFGOutcome o = {.reason = MFG_STOP_INTERRUPTED};
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(run->comm, &rank));
  (void)snprintf(o.message, sizeof o.message,
                 "stopped by %s before the first iteration; the same command line begins again",
                 run->watch.cause);
  if (!rank) PetscCall(MFGCheckpointNewest(run->config->output.directory, run->checkpoints.name));
  PetscCall(MFGWatchObeyed(&run->watch));
  PetscCall(WriteStatus(run, &o));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A run that ends with an error says so in STATUS and does not leave its lock; best effort, by rank
 * 0 alone. */
static PetscErrorCode LeaveAfterError(Run *run, PetscErrorCode code) {
  const char *directory = run->config->output.directory;
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(run->comm, &rank));
  if (code == PETSC_ERR_SIG) {
    (void)SayStopped(run);
  } else if (!rank) {
    char text[256];
    (void)snprintf(text, sizeof text,
                   "status=failed\nreason=error\nexit_code=%d\nresumable=%s\ncheckpoint=%s\n",
                   MFGErrorExitCode(code), *run->checkpoints.name ? "yes" : "no",
                   run->checkpoints.name);
    (void)MFGRunDirectoryWrite(PETSC_COMM_SELF, directory, "STATUS", text);
  }
  PetscCall(MFGRunDirectoryUnlock(run->comm, directory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A valid input and its problem. */
static PetscErrorCode RunProblem(Run *run, const MFGProblem *problem, MFGExitCode *exit_code) {
  PetscFunctionBeginUser;
  run->problem = problem;
  CommandLine(sizeof run->command, run->command);
  (void)snprintf(run->backend, sizeof run->backend, "%s: %s", problem->backend->name,
                 problem->backend->detail);
  PetscCall(MFGRunDirectoryLock(run->comm, run->config->output.directory));
  const PetscErrorCode code = RunLocked(run, exit_code);
  if (code) (void)LeaveAfterError(run, code);
  PetscCall(code);
  PetscCall(MFGRunDirectoryUnlock(run->comm, run->config->output.directory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An input without errors of its own: the dry run, or the run. Those of formulas go to `errors`. */
static PetscErrorCode RunConfig(MPI_Comm comm, const MFGCommandLine *cli, const MFGConfig *config,
                                MFGExitCode *exit_code, MFGConfigErrors *errors) {
  Run run = {.comm = comm, .cli = cli, .config = config, .source = {.file = -1}};
  MFGProblem problem;
  MFGErrorRecord ignored;

  PetscFunctionBeginUser;
  PetscCall(MFGWatchCreate(comm, config, cli->started, cli->walltime, &run.watch));
  const PetscErrorCode code =
      MFGProblemCreate(comm, config, cli->dry_run ? NULL : &run.watch, &problem, errors);
  if (code == PETSC_ERR_SIG) {
    PetscCall(MFGErrorHandlerPush(&ignored));
    if (!MFGRunDirectoryLock(comm, config->output.directory)) (void)LeaveAfterError(&run, code);
    PetscCall(PetscPopErrorHandler());
  }
  PetscCall(code);
  if (errors->count) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(cli->dry_run ? MFGReportDryRun(comm, &problem) : RunProblem(&run, &problem, exit_code));
  PetscCall(MFGProblemDestroy(&problem));
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

  PetscFunctionBeginUser;
  *exit_code = MFG_EXIT_SUCCESS;
  PetscCall(MFGConfigRead(comm, cli->case_path, cli->set_count, (const char *const *)cli->sets,
                          &config, &errors));
  if (!errors.count && cli->ranks) {
    PetscCall(MFGDryRunRanks(comm, config, cli->ranks, exit_code));
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!errors.count && cli->validate) PetscCall(MFGFieldCheck(comm, config, &errors));
  if (!errors.count && cli->validate) {
    PetscCall(MFGSay(comm, "%s: valid\n", cli->case_path));
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  if (!errors.count && !cli->dry_run && !strcmp(cli->restart, "auto")) {
    char text[PETSC_MAX_PATH_LEN + 200];
    PetscBool finished;
    PetscCall(MFGResultFinished(comm, config, sizeof text, text, &finished));
    if (finished) {
      PetscCall(MFGSay(comm, "%s: nothing to do; --restart none computes it again\n", text));
      PetscCall(MFGConfigDestroy(&config));
      PetscFunctionReturn(PETSC_SUCCESS);
    }
  }
  if (!errors.count) PetscCall(InsertOptions(config, cli));
  if (!errors.count) PetscCall(RunConfig(comm, cli, config, exit_code, &errors));
  if (errors.count) PetscCall(MFGInputErrorsReport(comm, &errors, exit_code));
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
