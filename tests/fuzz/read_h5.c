/* Reads HDF5 files of strangers: read_h5 flow|field FILE...
 *
 * flow: as the first guess of an equilibrium, on grids of one, two and three dimensions. field: the
 * datasets /m0, /steady and /flow as functions of a game in one, two and three dimensions.
 * Promised of any file: a flow of mass 1 at every level or one message, no PETSc error, and nothing
 * of HDF5 left open. Prints the name of each file first, and where it was when a signal ended it.
 */
#include "tests/fuzz/fuzz.h"

#include <execinfo.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "app/fields.h"
#include "app/output.h"

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
  MFG_PROMISE(!MFGResultReadFlow(file, &grid, 1, STEPS, M, &uuid, &errors), "a PETSc error");
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

int main(int argc, char **argv) {
  const PetscBool flow = (PetscBool)(argc > 1 && !strcmp(argv[1], "flow"));
  const struct itimerval limit = {.it_value.tv_sec = MAX_SECONDS};
  int none = 1;

  if (argc < 3 || (!flow && strcmp(argv[1], "field"))) return 64;
  if (PetscInitialize(&none, &argv, NULL, NULL) || Limit()) return 1;
  for (int i = 2; i < argc; i++) {
    printf("%s\n", argv[i]);
    fflush(stdout);
    (void)setitimer(ITIMER_PROF, &limit, NULL);
    for (int dim = 1; dim <= MFG_MAX_DIM; dim++)
      if (flow)
        ReadFlow(argv[i], dim);
      else
        ReadField(argv[i], dim);
    const ssize_t open = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
    MFG_PROMISE(open == 0, "%zd objects left open", open);
  }
  return PetscFinalize() ? 1 : 0;
}
