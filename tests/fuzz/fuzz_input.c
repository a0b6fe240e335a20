/* The input of a run, from the words of the command line to the formulas' values on the grid.
 *
 * An input of this target is the text of a .yaml file. After a line with nothing but $ each line is
 * a word that follows `nashflow run FILE`. Promised of any input:
 * - it gives a configuration or messages, never a PETSc error;
 * - messages are printable lines with a place;
 * - the effective input of a configuration can be read again, to the same text and hash. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/fields.h"

#define MAX_WORDS 64
#define MAX_VALUES 500 /* cells times levels of a grid that formulas are evaluated on */

static char path[] = "/tmp/nashflow_fuzz_XXXXXX.yaml";
static int file = -1;

static void End(void) {
  (void)unlink(path);
  (void)PetscFinalize();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  char *name = (*argv)[0], **none = &name;
  int one = 1;

  (void)argc;
  if (PetscInitialize(&one, &none, NULL, NULL)) return 1;
  file = mkstemps(path, (int)strlen(".yaml"));
  if (file < 0 || atexit(End)) return 1;
  return 0;
}

static void WriteFile(size_t size, const char *text) {
  MFG_PROMISE(!ftruncate(file, 0) && pwrite(file, text, size, 0) == (ssize_t)size,
              "%s cannot be written", path);
}

/* A terminal obeys control characters, those of one byte and U+0080 to U+009F. */
static void CheckText(const char *text) {
  for (const unsigned char *c = (const unsigned char *)text; *c; c++)
    MFG_PROMISE(*c >= 0x20 && *c != 0x7f && (*c != 0xc2 || c[1] >= 0xa0),
                "a control character in '%s'", text);
}

static void CheckMessages(char *text) {
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n")) && rest;) {
    CheckText(line);
    MFG_PROMISE(strstr(line, ": error: ") || !strncmp(line, "too many errors", 15),
                "no place in %s", line);
  }
}

static PetscBool SmallGrid(const MFGConfig *c) {
  double values = 1.0 + c->time.steps;
  for (int k = 0; k < c->dim; k++) values *= c->domain.cells[k];
  return (PetscBool)(values <= MAX_VALUES);
}

/* Reads the file as `nashflow run` does; *config is NULL when there are messages. */
static void Read(int set_count, char *const sets[], MFGConfig **config) {
  MFGConfigErrors errors;

  MFG_PROMISE(
      !MFGConfigRead(PETSC_COMM_SELF, path, set_count, (const char *const *)sets, config, &errors),
      "a PETSc error");
  MFG_PROMISE(!*config == (errors.count > 0) && !errors.text == !errors.count, "%d errors",
              errors.count);
  if (*config) {
    CheckText((*config)->title);
    CheckText((*config)->output.directory);
    CheckText((*config)->equilibrium.initial);
  }
  if (*config && SmallGrid(*config))
    MFG_PROMISE(!MFGFieldCheck(PETSC_COMM_SELF, *config, &errors), "a PETSc error");
  if (errors.text) CheckMessages(errors.text);
  MFG_PROMISE(!MFGConfigErrorsDestroy(&errors), "a PETSc error");
}

static void CheckAgain(const MFGConfig *first) {
  MFGConfig *again;

  WriteFile(strlen(first->text), first->text);
  Read(0, NULL, &again);
  MFG_PROMISE(again, "the effective input is refused:\n%s", first->text);
  MFG_PROMISE(!strcmp(again->text, first->text) && !strcmp(again->hash, first->hash),
              "the effective input changes when it is read again:\n%s\n%s", first->text,
              again->text);
  MFG_PROMISE(!MFGConfigDestroy(&again), "a PETSc error");
}

/* The lines after the first one that is $; the text before it ends there. */
static int SplitWords(char *text, size_t *length, char *words[MAX_WORDS]) {
  int count = 0;
  char *line = text;

  while (line && strncmp(line, "$\n", 2)) line = (line = strchr(line, '\n')) ? line + 1 : NULL;
  if (!line) return 0;
  *length = (size_t)(line - text);
  for (line = strtok(line + 2, "\n"); line && count < MAX_WORDS; line = strtok(NULL, "\n"))
    words[count++] = line;
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *words[4 + MAX_WORDS] = {(char *)"nashflow", (char *)"run", path};
  char *text = calloc(size + 1, 1);
  MFGCommandLine line;
  MFGConfig *config;

  MFG_PROMISE(text, "memory is short");
  memcpy(text, data, size);
  const int count = SplitWords(text, &size, words + 3);
  WriteFile(size, text);
  const int wrong = MFGCommandLineParse(3 + count, words, &line);
  MFG_PROMISE(!wrong == !*line.error, "%d with '%s'", wrong, line.error);
  if (!wrong && line.command == MFG_COMMAND_RUN) {
    Read(line.set_count, line.sets, &config);
    if (config) CheckAgain(config);
    MFG_PROMISE(!MFGConfigDestroy(&config), "a PETSc error");
  }
  MFGCommandLineDestroy(&line);
  free(text);
  return 0;
}
