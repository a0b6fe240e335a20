/* The command line. Parsed before MPI and PETSc start, which see only what follows `--`. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* Exit codes of the program. */
typedef enum {
  MFG_EXIT_SUCCESS = 0,
  MFG_EXIT_NOT_CONVERGED = 2, /* stopped at max iterations or at the statistical floor */
  MFG_EXIT_NUMERICAL = 3,     /* NaN, divergence */
  MFG_EXIT_USAGE = 64,
  MFG_EXIT_INPUT = 65,
  MFG_EXIT_IO = 74,
  MFG_EXIT_RESOURCES = 75,
  MFG_EXIT_RESUMABLE = 85
} MFGExitCode;

typedef enum {
  MFG_COMMAND_RUN,
  MFG_COMMAND_VERIFY,
  MFG_COMMAND_BENCH,
  MFG_COMMAND_HELP, /* names[0], if there, is a path or "parameters" */
  MFG_COMMAND_DEVICES,
  MFG_COMMAND_VERSION
} MFGCommand;

typedef struct {
  MFGCommand command;
  const char *case_path; /* borrowed from argv; of run */
  int set_count;
  char **sets; /* owned; "path=value" for MFGConfigRead, those of --backend and --output included */
  const char *backend, *output; /* borrowed; as given, or NULL; backend also of verify and bench */
  const char *restart;          /* borrowed; auto, none or a file */
  int walltime;                 /* seconds of --max-walltime; 0: no limit */
  double started;               /* when the program was, by PetscTime; set by main */
  bool validate, dry_run;
  int ranks;       /* of --dry-run --ranks; 0: as many as there are */
  int resolutions; /* of verify and bench hjb and sweep; 0: all */
  int name_count;
  const char *
      *names; /* owned array, borrowed strings: cases of verify, kinds of bench, path of help */
  int petsc_argc;
  char **petsc_argv; /* owned array ending with NULL: the program's name and what follows -- */
  char error[400];   /* of a command line that is not understood: one line with the remedy */
} MFGCommandLine;

/* 0, or MFG_EXIT_USAGE with line->error set. No PETSc, no MPI; line is to be destroyed in both
 * cases. */
int MFGCommandLineParse(int argc, char **argv, MFGCommandLine *line);
void MFGCommandLineDestroy(MFGCommandLine *line);

/* The text of --help. */
void MFGCommandLineHelp(FILE *stream);
