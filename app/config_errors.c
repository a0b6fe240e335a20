#include "app/config.h"

#include <stdarg.h>
#include <stdio.h>

#include "app/utf8.h"

static PetscErrorCode AppendLine(MFGConfigErrors *errors, const char *line) {
  const size_t old = errors->text ? strlen(errors->text) : 0, more = strlen(line);

  PetscFunctionBeginUser;
  PetscCall(PetscRealloc(old + more + 2, &errors->text));
  memcpy(errors->text + old, line, more);
  memcpy(errors->text + old + more, "\n", 2);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigErrorsAdd(MFGConfigErrors *errors, const char *place, const char *format,
                                  ...) {
  char message[2048], line[3072];
  va_list arguments;

  PetscFunctionBeginUser;
  if (++errors->count > MFG_MAX_ERRORS) {
    if (errors->count == MFG_MAX_ERRORS + 1)
      PetscCall(AppendLine(errors, "too many errors: the others are not shown"));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  snprintf(line, sizeof line, "%.1000s: error: %s", place, message);
  MFGMakePrintable(line, '?'); /* a terminal must not obey what an input file contains */
  PetscCall(AppendLine(errors, line));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigErrorsShare(MPI_Comm comm, MFGConfigErrors *errors) {
  PetscMPIInt rank;
  int head[2] = {errors->count, errors->text ? (int)strlen(errors->text) + 1 : 0};

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCallMPI(MPI_Bcast(head, 2, MPI_INT, 0, comm));
  errors->count = head[0];
  if (rank) PetscCall(PetscFree(errors->text));
  if (!head[1]) PetscFunctionReturn(PETSC_SUCCESS);
  if (rank) PetscCall(PetscMalloc1(head[1], &errors->text));
  PetscCallMPI(MPI_Bcast(errors->text, head[1], MPI_CHAR, 0, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGConfigErrorsDestroy(MFGConfigErrors *errors) {
  PetscFunctionBeginUser;
  if (!errors) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscFree(errors->text));
  errors->count = 0;
  PetscFunctionReturn(PETSC_SUCCESS);
}

#define MAX_WORD 64

/* Optimal string alignment: insertions, deletions, changes and swaps of neighbours cost 1. */
static int EditDistance(const char *a, const char *b) {
  const int na = (int)strlen(a), nb = (int)strlen(b);
  int row[3][MAX_WORD + 1];

  if (na > MAX_WORD || nb > MAX_WORD) return MAX_WORD;
  for (int j = 0; j <= nb; j++) row[0][j] = j;
  for (int i = 1; i <= na; i++) {
    int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= nb; j++) {
      int best = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          before[j - 2] + 1 < best)
        best = before[j - 2] + 1;
      now[j] = best;
    }
  }
  return row[na % 3][nb];
}

const char *MFGNearestName(const char *word, int n, const char *const names[]) {
  const int length = (int)strlen(word);
  /* More than a third of the letters wrong is another word. */
  int best = length / 3 < 3 ? length / 3 : 3;
  const char *nearest = NULL;

  for (int i = 0; i < n; i++) {
    const int distance = EditDistance(word, names[i]);
    if (distance < best || (distance == best && !nearest)) {
      best = distance;
      nearest = names[i];
    }
  }
  return nearest;
}
