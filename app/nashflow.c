/* nashflow: mean field games. Read the command line, start MPI and PETSc, do the command, end. */
#include <petscsys.h>
#include <petsctime.h>

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/config.h"
#include "app/exit_code.h"
#include "app/output.h"
#include "app/run.h"
#include "app/watch.h"
#include "solvers/anderson.h"

/* A launcher that does not fit the MPI starts N programs that know nothing of each other. */
static PetscErrorCode CheckLauncher(MPI_Comm comm, MFGExitCode *exit_code) {
  const char *name = getenv("PMI_SIZE") ? "PMI_SIZE" : "SLURM_NTASKS";
  const char *text = getenv(name);
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  if (size == 1 && text && atoi(text) > 1) {
    fprintf(stderr,
            "nashflow: error: %s is %s but this program sees one rank: it was started alone, %s "
            "times; use the launcher of its MPI: mpiexec.mpich, or srun --mpi=pmi2\n",
            name, text, text);
    *exit_code = MFG_EXIT_USAGE;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Help(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  const char *path = cli->name_count ? cli->names[0] : NULL;
  PetscBool found = PETSC_TRUE;
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  if (rank == 0 && !path) {
    MFGCommandLineHelp(stdout);
  } else if (rank == 0) {
    PetscCall(MFGConfigHelp(stdout, strcmp(path, "parameters") ? path : NULL, &found));
  }
  if (!found) *exit_code = MFG_EXIT_USAGE;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Dispatch(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  PetscFunctionBeginUser;
  PetscCall(MFGAndersonRegister());
  switch (cli->command) {
  case MFG_COMMAND_RUN:
    PetscCall(CheckLauncher(comm, exit_code));
    if (*exit_code == MFG_EXIT_SUCCESS) PetscCall(MFGRun(comm, cli, exit_code));
    break;
  case MFG_COMMAND_VERIFY:
    PetscCall(MFGVerify(comm, cli, exit_code));
    break;
  case MFG_COMMAND_BENCH:
    PetscCall(MFGBench(comm, cli, exit_code));
    break;
  case MFG_COMMAND_DEVICES:
    PetscCall(MFGDevices(comm, exit_code));
    break;
  case MFG_COMMAND_HELP:
    PetscCall(Help(comm, cli, exit_code));
    break;
  case MFG_COMMAND_VERSION:
    PetscCall(MFGPrintVersion(comm, stdout));
    break;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static double Clock(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
  const double start = Clock();
  MFGCommandLine cli;
  MFGExitCode exit_code = MFG_EXIT_SUCCESS;
  MFGErrorRecord record;

  if (MFGCommandLineParse(argc, argv, &cli)) {
    fprintf(stderr, "nashflow: error: %s\n", cli.error);
    MFGCommandLineDestroy(&cli);
    return MFG_EXIT_USAGE;
  }
  const bool runs = cli.command == MFG_COMMAND_RUN && !cli.validate && !cli.dry_run;
  if (runs) MFGSignalsHold(); /* one may come at any time */
  if (PetscInitialize(&cli.petsc_argc, &cli.petsc_argv, NULL, NULL)) return MFG_EXIT_RESOURCES;
  if (runs) MFGSignalsNote();
  if (PetscTime(&cli.started)) return MFG_EXIT_RESOURCES; /* the clock of MPI */
  cli.started -= Clock() - start;
  signal(SIGPIPE, SIG_IGN); /* a reader that leaves (| head) must not cost the result */
  signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error to report */
  if (MFGErrorHandlerPush(&record)) return MFG_EXIT_RESOURCES;
  if (Dispatch(PETSC_COMM_WORLD, &cli, &exit_code)) {
    exit_code = MFGErrorEnd(PETSC_COMM_WORLD, &record);
    (void)PetscFinalize();
    _exit(exit_code); /* an error frees nothing on its way up: no leak to look for */
  }
  MFGCommandLineDestroy(&cli);
  if (PetscFinalize()) return MFG_EXIT_RESOURCES;
  return exit_code;
}
