#include "app/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "app/config.h"
#include "app/utf8.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const char *const commands[] = {"run", "verify", "bench", "help", "devices"};
static const char *const flags[] = {"--set",         "--backend",      "--output",   "--restart",
                                    "--dry-run",     "--max-walltime", "--validate", "--ranks",
                                    "--resolutions", "--help",         "--version"};
static const char *const benches[] = {"kde", "sweep", "hjb", "solve"};
static const char *const backends[] = {"auto", "cpu", "cuda"};

void MFGCommandLineHelp(FILE *stream) {
  fputs(
      "nashflow " MFG_VERSION ": mean field games by particles\n"
      "\n"
      "  nashflow run CASE.yaml [options] [-- PETSc options]\n"
      "      --set PATH=VALUE       change a key of the input; may be repeated\n"
      "      --backend auto|cpu|cuda  where agents and densities are computed\n"
      "      --output DIR           run directory\n"
      "      --restart auto|none|FILE  auto (default) goes on from the newest valid checkpoint in "
      "the\n"
      "                             run directory and leaves a finished result alone; none starts\n"
      "                             from the beginning; FILE goes on from that checkpoint\n"
      "      --max-walltime H:MM:SS stop with a checkpoint before so much time has passed\n"
      "      --validate             check the input, run nothing\n"
      "      --dry-run              print memory, bytes on disk and the layout, run nothing\n"
      "      --dry-run --ranks N    the layout of N ranks, without starting them\n"
      "  nashflow verify [CASE]...  exact cases: errors, orders, bounds\n"
      "      --backend B            as for run\n"
      "      --resolutions N        only the N coarsest grids of each case\n"
      "  nashflow bench [kde|sweep|hjb|solve]... [--backend B] [--resolutions N]\n"
      "                             times; of kde and sweep also what the model predicts (hjb and\n"
      "                             solve: their iterations are known only afterwards); of hjb\n"
      "                             and sweep only grids of at most 64 x 64 cells, times 4 for\n"
      "                             each N over 1\n"
      "  nashflow devices           backends, what they do per second here, which division of\n"
      "                             the agents is predicted to be faster\n"
      "  nashflow help [parameters|PATH]\n"
      "  nashflow --version | --help\n"
      "\n"
      "In parallel: mpiexec -n 2 nashflow run CASE.yaml; NASHFLOW_PROGRESS=bar in the environment\n"
      "shows the progress bar although mpiexec hides the terminal, =rows never shows it.\n"
      "Exit codes: 0 converged, 2 not converged, 3 numerical failure, 64 usage, 65 input,\n"
      "  74 files, 75 resources, 85 stopped early: the same command line goes on.\n"
      "Signals: USR1 and TERM stop with a checkpoint, USR2 writes one and goes on; a file 'stop' "
      "in\n"
      "  the run directory stops too.\n",
      stream);
}

static int Fail(MFGCommandLine *line, const char *format, ...) PETSC_ATTRIBUTE_FORMAT(2, 3);
static int Fail(MFGCommandLine *line, const char *format, ...) {
  va_list arguments;

  va_start(arguments, format);
  vsnprintf(line->error, sizeof line->error, format, arguments);
  va_end(arguments);
  MFGMakePrintable(line->error, '?');
  return MFG_EXIT_USAGE;
}

/* "unknown command 'rnu'; did you mean 'run'?" */
static int FailUnknown(MFGCommandLine *line, const char *what, const char *word, int n,
                       const char *const names[], const char *otherwise) {
  const char *nearest = MFGNearestName(word, n, names);
  if (nearest) return Fail(line, "unknown %s '%.100s'; did you mean '%s'?", what, word, nearest);
  return Fail(line, "unknown %s '%.100s'; %s", what, word, otherwise);
}

static int Index(const char *word, int n, const char *const names[]) {
  for (int i = 0; i < n; i++)
    if (!strcmp(word, names[i])) return i;
  return -1;
}

/* key="value" with the value quoted for YAML; what is no text is left for the schema to refuse. */
static void AddQuotedSet(MFGCommandLine *line, const char *key, const char *value) {
  char *set = malloc(strlen(key) + 4 * strlen(value) + 4), *c = set;

  if (!set) abort();
  c += sprintf(c, "%s=\"", key);
  for (; *value; value++) {
    if ((unsigned char)*value < 0x20) {
      c += sprintf(c, "\\x%02X", *value);
      continue;
    }
    if (*value == '"' || *value == '\\') *c++ = '\\';
    *c++ = *value;
  }
  strcpy(c, "\"");
  line->sets[line->set_count++] = set;
}

static void AddSet(MFGCommandLine *line, const char *text) {
  char *set = strdup(text);

  if (!set) abort();
  line->sets[line->set_count++] = set;
}

static int TakeBackend(MFGCommandLine *line, const char *name) {
  if (Index(name, COUNT(backends), backends) < 0)
    return FailUnknown(line, "backend", name, COUNT(backends), backends, "use auto, cpu or cuda");
  line->backend = name;
  AddQuotedSet(line, "backend", name);
  return 0;
}

/* hours:minutes:seconds */
static int TakeWalltime(MFGCommandLine *line, const char *value) {
  int hours = 0, minutes = 0, seconds = 0, used = 0;
  const int fields = sscanf(value, "%5d:%2d:%2d%n", &hours, &minutes, &seconds, &used);

  if (fields != 3 || value[used] || value[strspn(value, "0123456789:")] || minutes > 59 ||
      seconds > 59 || hours + minutes + seconds == 0)
    return Fail(line,
                "--max-walltime %.100s: not a time above 0 as hours:minutes:seconds; write it as "
                "in --max-walltime 23:50:00",
                value);
  line->walltime = (hours * 60 + minutes) * 60 + seconds;
  return 0;
}

static int TakeCount(MFGCommandLine *line, const char *flag, const char *value, int *count) {
  char *end;
  const long number = strtol(value, &end, 10);

  if (*end || number < 1 || number > INT_MAX)
    return Fail(line, "%s %.100s: not a whole number from 1 on; write it as in %s 2", flag, value,
                flag);
  *count = (int)number;
  return 0;
}

/* A flag with its value. */
static int TakeOption(MFGCommandLine *line, const char *flag, const char *value) {
  if (!value || !*value) return Fail(line, "%s needs a value after it", flag);
  if (!strcmp(flag, "--backend")) return TakeBackend(line, value);
  if (!strcmp(flag, "--ranks")) return TakeCount(line, flag, value, &line->ranks);
  if (!strcmp(flag, "--resolutions")) return TakeCount(line, flag, value, &line->resolutions);
  if (!strcmp(flag, "--max-walltime")) return TakeWalltime(line, value);
  if (!strcmp(flag, "--set")) {
    if (!strchr(value, '='))
      return Fail(line,
                  "--set %.100s: not of the form path=value; write it as in --set "
                  "time.steps=100",
                  value);
    AddSet(line, value);
  } else if (!strcmp(flag, "--output")) {
    line->output = value;
    AddQuotedSet(line, "output.directory", value);
  } else {
    line->restart = value;
  }
  return 0;
}

/* The command a flag belongs to, where it is not this one; NULL where it is. */
static const char *BelongsTo(const char *flag, MFGCommand command) {
  const bool other = command == MFG_COMMAND_VERIFY || command == MFG_COMMAND_BENCH;
  if (!strcmp(flag, "--resolutions")) return other ? NULL : "verify";
  return command == MFG_COMMAND_RUN || (other && !strcmp(flag, "--backend")) ? NULL : "run";
}

static int TakeFlag(MFGCommandLine *line, int argc, char **argv, int *i) {
  char flag[100];
  const char *argument = argv[*i], *equal = strchr(argument, '=');

  snprintf(flag, sizeof flag, "%.*s", equal ? (int)(equal - argument) : 99, argument);
  if (argument[1] != '-')
    return Fail(line, "unknown flag '%.100s'; options of PETSc go after --", argument);
  if (Index(flag, COUNT(flags), flags) < 0)
    return FailUnknown(line, "flag", flag, COUNT(flags), flags,
                       "see 'nashflow --help'; options of PETSc go after --");
  const char *owner = BelongsTo(flag, line->command);
  if (owner) return Fail(line, "%s belongs to 'nashflow %s'; see 'nashflow --help'", flag, owner);
  if (!strcmp(flag, "--validate") || !strcmp(flag, "--dry-run")) {
    if (equal) return Fail(line, "%s takes no value", flag);
    if (!strcmp(flag, "--validate")) line->validate = true;
    if (!strcmp(flag, "--dry-run")) line->dry_run = true;
    return 0;
  }
  if (equal) return TakeOption(line, flag, equal + 1);
  if (*i + 1 >= argc || !strcmp(argv[*i + 1], "--"))
    return Fail(line, "%s needs a value after it", flag);
  return TakeOption(line, flag, argv[++*i]);
}

static int TakeName(MFGCommandLine *line, const char *name) {
  if (line->command == MFG_COMMAND_RUN) {
    if (line->case_path)
      return Fail(line, "two input files, '%.100s' and '%.100s'; run them one by one",
                  line->case_path, name);
    line->case_path = name;
    return 0;
  }
  if (line->command == MFG_COMMAND_HELP && line->name_count)
    return Fail(line, "help takes one path; see 'nashflow help parameters'");
  if (line->command == MFG_COMMAND_DEVICES)
    return Fail(line, "devices takes no names, not '%.100s'", name);
  if (line->command == MFG_COMMAND_BENCH && Index(name, COUNT(benches), benches) < 0)
    return FailUnknown(line, "bench", name, COUNT(benches), benches,
                       "use kde, sweep, hjb or solve");
  line->names[line->name_count++] = name;
  return 0;
}

static int TakeCommand(MFGCommandLine *line, const char *word) {
  const MFGCommand command[] = {MFG_COMMAND_RUN, MFG_COMMAND_VERIFY, MFG_COMMAND_BENCH,
                                MFG_COMMAND_HELP, MFG_COMMAND_DEVICES};
  const int index = Index(word, COUNT(commands), commands);

  if (index < 0 && strstr(word, ".yaml"))
    return Fail(line, "unknown command '%.100s'; did you mean 'nashflow run %.100s'?", word, word);
  if (index < 0)
    return FailUnknown(line, "command", word, COUNT(commands), commands, "see 'nashflow --help'");
  line->command = command[index];
  return 0;
}

/* --help and --version win over everything else before `--`. */
static bool TakeGlobal(MFGCommandLine *line, int argc, char **argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
    const bool help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
    if (!help && strcmp(argv[i], "--version")) continue;
    line->command = help ? MFG_COMMAND_HELP : MFG_COMMAND_VERSION;
    return true;
  }
  return false;
}

int MFGCommandLineParse(int argc, char **argv, MFGCommandLine *line) {
  int i = 1, end = 1, code = 0;

  memset(line, 0, sizeof *line);
  line->command = MFG_COMMAND_HELP;
  line->restart = "auto";
  /* No list can be longer than the command line. */
  line->sets = calloc((size_t)argc + 1, sizeof *line->sets);
  line->names = calloc((size_t)argc + 1, sizeof *line->names);
  line->petsc_argv = calloc((size_t)argc + 2, sizeof *line->petsc_argv);
  if (!line->sets || !line->names || !line->petsc_argv) abort();
  while (end < argc && strcmp(argv[end], "--")) end++;
  line->petsc_argv[line->petsc_argc++] = argc ? argv[0] : (char *)"nashflow";
  for (int k = end + 1; k < argc; k++) line->petsc_argv[line->petsc_argc++] = argv[k];
  if (TakeGlobal(line, argc, argv)) return 0;
  if (end < 2) return Fail(line, "no command; see 'nashflow --help'");
  if (*argv[i] == '-')
    return Fail(line, "a command comes first, as in 'nashflow run CASE.yaml'; see 'nashflow "
                      "--help'");
  code = TakeCommand(line, argv[i]);
  for (i = 2; !code && i < end; i++)
    code = *argv[i] == '-' ? TakeFlag(line, end, argv, &i) : TakeName(line, argv[i]);
  if (!code && line->command == MFG_COMMAND_RUN && !line->case_path)
    code = Fail(line, "run needs an input file, as in 'nashflow run input/torus_1d.yaml'");
  if (!code && line->ranks && !line->dry_run)
    code = Fail(line, "--ranks belongs to --dry-run, as in 'nashflow run CASE.yaml --dry-run "
                      "--ranks 64'; to run on 64 ranks: mpiexec -n 64 nashflow run CASE.yaml");
  return code;
}

void MFGCommandLineDestroy(MFGCommandLine *line) {
  for (int i = 0; i < line->set_count; i++) free(line->sets[i]);
  free(line->sets);
  free(line->names);
  free(line->petsc_argv);
  memset(line, 0, sizeof *line);
}
