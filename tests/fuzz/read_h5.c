/* Reads HDF5 files of strangers: read_h5 flow|field FILE... or read_h5 checkpoint CASE FILE...
 *
 * flow: as the first guess of an equilibrium, on grids of one, two and three dimensions. field: the
 * datasets /m0, /steady and /flow as functions of a game in one, two and three dimensions.
 * checkpoint: of the run of CASE, which goes on for one piece of its work; a file whose name does
 * not begin with raw is given a valid digest before. Promised of any file: a flow of mass 1 at
 * every level, a run that goes on (but of no raw file), or one message; no other PETSc error, and
 * nothing of HDF5 left open. Prints the name of each file first, and where it was when a signal
 * ended it. */
#include "tests/fuzz/fuzz.h"

#include <execinfo.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "app/checkpoint_parts.h"
#include "app/digest.h"
#include "app/exit_code.h"
#include "app/fields.h"
#include "app/output.h"
#include "app/problem.h"
#include "app/progress.h"
#include "solvers/anderson.h"

#define STEPS 3
#define MAX_SECONDS 10       /* of the processor, for one file */
#define MAX_MEMORY 2ll << 30 /* sanitizers have their own limit */

static const int cells[] = {7, 5, 4};
static const double lower[] = {0, -0.5, 1}, upper[] = {2, 0.75, 1.75};

static void CheckFlow(const MFGGrid *grid, const double *M) {
  const int64_t n = MFGBlockCells(&grid->block);
  for (int level = 0; level <= STEPS; level++) {
    double mass = 0;
    for (int64_t i = 0; i < n; i++) mass += M[level * n + i];
    mass *= MFGCellVolume(&grid->block);
    MFG_PROMISE(fabs(mass - 1) < 1e-9, "mass %g at level %d", mass, level);
  }
}

static void ReadFlow(const char *file, int dim) {
  MFGBoundary boundary[MFG_MAX_DIM][2];
  MFGConfigErrors errors = {0};
  char *uuid = NULL;
  MFGGrid grid;
  double *M;

  for (int k = 0; k < 2 * MFG_MAX_DIM; k++)
    boundary[k / 2][k % 2] = k < 2 ? MFG_BOUNDARY_PERIODIC : MFG_BOUNDARY_NOFLUX;
  MFG_PROMISE(!MFGGridCreate(PETSC_COMM_SELF, dim, cells, lower, upper,
                             (const MFGBoundary(*)[2])boundary, &grid) &&
                  !PetscMalloc1((STEPS + 1) * MFGBlockCells(&grid.block), &M),
              "a PETSc error");
  MFG_PROMISE(!MFGResultReadFlow(file, &grid, NULL, 1, STEPS, M, &uuid, &errors), "a PETSc error");
  MFG_PROMISE(errors.count == !uuid, "%d errors", errors.count);
  if (uuid) CheckFlow(&grid, M);
  if (errors.text) fputs(errors.text, stdout);
  MFG_PROMISE(!MFGConfigErrorsDestroy(&errors) && !PetscFree(uuid) && !PetscFree(M) &&
                  !MFGGridDestroy(&grid),
              "a PETSc error");
}

static void ReadField(const char *file, int dim) {
  MFGConfigErrors errors = {0};
  MFGConfig c = {.dim = dim, .time = {.horizon = 1, .steps = STEPS}};
  char name[3][8] = {"/m0", "/steady", "/flow"};
  MFGFormula *formula[] = {&c.agents.initial_density, &c.terminal_cost.potential,
                           &c.running_cost.potential};

  memcpy(c.domain.cells, cells, sizeof cells);
  memcpy(c.domain.lower, lower, sizeof lower);
  memcpy(c.domain.upper, upper, sizeof upper);
  for (int i = 0; i < 3; i++)
    *formula[i] = (MFGFormula){
        .file = (char *)file, .dataset = name[i], .where = (char *)"case.yaml", .key = name[i] + 1};
  MFG_PROMISE(!MFGFieldCheck(PETSC_COMM_SELF, &c, &errors), "a PETSc error");
  if (errors.text) fputs(errors.text, stdout);
  MFG_PROMISE(!MFGConfigErrorsDestroy(&errors), "a PETSc error");
}

/* Without the frames of this function and of the system that called it. */
static void SayWhere(int number) {
  void *frame[100];
  const int n = backtrace(frame, 100);
  backtrace_symbols_fd(frame + 2, n > 2 ? n - 2 : 0, STDERR_FILENO);
  _exit(128 + number);
}

static int Limit(void) {
  const int ends[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV};
  const struct sigaction say = {.sa_handler = SayWhere};
  const struct rlimit memory = {MAX_MEMORY, MAX_MEMORY};
  void *first[1];

  (void)backtrace(first, 1); /* which loads a library, not to be done in a signal */

#if !defined(__SANITIZE_ADDRESS__)
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (sigaction(ends[i], &say, NULL)) return 1;
  return setrlimit(RLIMIT_DATA, &memory);
#else
  (void)ends, (void)memory;
  return sigaction(SIGPROF, &say, NULL);
#endif
}

/* Rank 0's text before the HDF5 file, with the digest of what is there now. */
static void Seal(const char *file) {
  char block[MFG_CHECKPOINT_BLOCK];
  uint64_t digest;
  struct stat about;
  int reason;
  FILE *f = fopen(file, "r+b");
  MFG_PROMISE(f && !stat(file, &about), "%s cannot be opened", file);
  if (about.st_size > MFG_CHECKPOINT_BLOCK) {
    MFG_PROMISE(!MFGFileDigest(PETSC_COMM_SELF, file, MFG_CHECKPOINT_BLOCK, about.st_size, NULL,
                               &digest, &reason) &&
                    !reason,
                "%s has no digest", file);
    MFGCheckpointBlock(MFG_CHECKPOINT_LAYOUT, about.st_size, digest, block);
    MFG_PROMISE(fwrite(block, 1, sizeof block, f) == sizeof block, "%s cannot be sealed", file);
  }
  (void)fclose(f);
}

static PetscErrorCode StopAtOnce(void *context, MFGPiece piece, int64_t work, PetscBool *save,
                                 PetscBool *stop) {
  (void)context, (void)piece, (void)work, (void)save;
  *stop = PETSC_TRUE;
  return PETSC_SUCCESS;
}

/* As app/run.c does it; what an error leaves behind is left to the process. */
static PetscErrorCode GoOn(const MFGProblem *p, MFGCheckpointSource *source) {
  const MFGStageCallbacks callbacks = {
      .decide = StopAtOnce, .restore = MFGCheckpointRestore, .context = source};
  const int most = p->config->equilibrium.max_iterations + MFG_MAX_FACTORS + 1;
  MFGConfigErrors errors = {0};
  MFGProgress progress;
  MFGSolution s;

  PetscFunctionBeginUser;
  PetscCall(MFGSolutionCreate(p, PETSC_FALSE, &s, &errors));
  PetscCall(MFGProgressCreate(PETSC_COMM_SELF, &p->spec, &progress));
  PetscCall(MFGProgressRestore(&progress, most, MFGCheckpointRestore, source));
  PetscCall(MFGProblemSolve(p, &callbacks, &s));
  printf("goes on: %s\n", s.outcome.message);
  PetscCall(MFGSolutionDestroy(&s));
  PetscCall(MFGProgressDestroy(&progress));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void ReadCheckpoint(const MFGProblem *p, const char *file) {
  const PetscBool raw = (PetscBool)!strncmp(strrchr(file, '/') + 1, "raw", 3);
  MFGConfigErrors errors = {0};
  MFGCheckpointSource source = {.file = -1};
  MFGErrorRecord record;
  PetscBool found = PETSC_FALSE;

  if (!raw) Seal(file);
  MFG_PROMISE(!MFGErrorHandlerPush(&record), "a PETSc error");
  PetscErrorCode code =
      MFGCheckpointFind(&p->grid, p->config, file, NULL, &found, &source, &errors);
  MFG_PROMISE(!found || !raw, "a damaged checkpoint is taken");
  if (found) code = GoOn(p, &source);
  (void)MFGCheckpointSourceClose(&source);
  (void)PetscPopErrorHandler();
  if (errors.text) fputs(errors.text, stdout);
  if (code) printf("%s: error: %s\n", file, record.message);
  MFG_PROMISE(!code || code == PETSC_ERR_FILE_READ, "%s\n%s", record.message, record.trace);
  MFG_PROMISE(found || code || errors.count, "no message");
  MFG_PROMISE(!MFGConfigErrorsDestroy(&errors), "a PETSc error");
}

/* The input and its problem live as long as the process. */
static void OpenCase(const char *path, MFGProblem *p) {
  MFGConfigErrors errors;
  MFGConfig *config;
  MFG_PROMISE(!MFGAndersonRegister() &&
                  !MFGConfigRead(PETSC_COMM_SELF, path, 0, NULL, &config, &errors) && config &&
                  !MFGProblemCreate(PETSC_COMM_SELF, config, NULL, p, &errors) && !errors.count,
              "%s is no valid case", path);
}

static void Try(const char *kind, const MFGProblem *p, const char *file) {
  const struct itimerval limit = {.it_value.tv_sec = MAX_SECONDS};
  printf("%s\n", file);
  fflush(stdout);
  (void)setitimer(ITIMER_PROF, &limit, NULL);
  for (int dim = 1; dim <= MFG_MAX_DIM; dim++) {
    if (!strcmp(kind, "flow")) ReadFlow(file, dim);
    if (!strcmp(kind, "field")) ReadField(file, dim);
  }
  if (!strcmp(kind, "checkpoint")) ReadCheckpoint(p, file);
  const ssize_t open = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
  MFG_PROMISE(open == 0, "%zd objects left open", open);
}

int main(int argc, char **argv) {
  const PetscBool checkpoint = (PetscBool)(argc > 1 && !strcmp(argv[1], "checkpoint"));
  MFGProblem problem;
  int none = 1;

  if (argc < 3) return MFG_EXIT_USAGE;
  if (PetscInitialize(&none, &argv, NULL, NULL) || Limit()) return 1;
  if (checkpoint) OpenCase(argv[2], &problem);
  for (int i = 2 + checkpoint; i < argc; i++) Try(argv[1], &problem, argv[i]);
  return PetscFinalize() ? 1 : 0;
}
