#include "app/diagnostic.h"

#include <math.h>
#include <unistd.h>

#include "app/disk.h"
#include "app/exit_code.h"
#include "app/progress.h"
#include "app/result_parts.h"
#include "app/state_file.h"

#define MAX_WHERE 300

/* Where a flow is worst: a number that is not finite, else the largest. */
typedef struct {
  int64_t bad, first; /* numbers that are not finite, and the place of the first */
  double largest;
  int64_t at; /* its place; a place is level x cells + cell, all ranks' */
} Worst;

static int64_t PlaceOf(const MFGBlock *b, int64_t level, int64_t i) {
  int64_t cell = 0;
  const int64_t count[] = {b->count[0], b->count[1], b->count[2]};
  const int64_t x[] = {i % count[0], i / count[0] % count[1], i / (count[0] * count[1])};
  for (int k = MFG_MAX_DIM - 1; k >= 0; k--) cell = cell * b->cells[k] + b->start[k] + x[k];
  return level * MFGBlockCells(b) + cell;
}

static PetscErrorCode FindWorst(const MFGGrid *grid, const MFGStateItem *flow, Worst *w) {
  const MFGBlock *b = &grid->block;
  const int64_t owned = MFGBlockOwned(b);
  const double *value = flow->data;
  struct {
    double size;
    int rank;
  } largest = {-1, 0};
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->comm, &rank));
  *w = (Worst){.first = INT64_MAX};
  for (int64_t i = 0; i < flow->count * owned; i++) {
    const int64_t place = PlaceOf(b, i / owned, i % owned);
    if (!isfinite(value[i])) {
      w->bad++;
      w->first = PetscMin(w->first, place);
    } else if (fabs(value[i]) > largest.size) {
      largest.size = fabs(value[i]);
      w->largest = value[i];
      w->at = place;
    }
  }
  largest.rank = rank;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &w->bad, 1, MPI_INT64_T, MPI_SUM, grid->comm));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &w->first, 1, MPI_INT64_T, MPI_MIN, grid->comm));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, grid->comm));
  PetscCallMPI(MPI_Bcast(&w->largest, 1, MPI_DOUBLE, largest.rank, grid->comm));
  PetscCallMPI(MPI_Bcast(&w->at, 1, MPI_INT64_T, largest.rank, grid->comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* "level 3, cell (4, 7) at (0.45, 0.75)"; `from`: the level that the flow begins with. */
static void PlaceText(const MFGBlock *b, int64_t place, int from, size_t size, char text[]) {
  char cell[100] = "", point[160] = "";
  const int64_t cells = MFGBlockCells(b);
  int64_t rest = place % cells;
  for (int k = 0; k < b->dim; k++, rest /= b->cells[k - 1]) {
    const int i = (int)(rest % b->cells[k]);
    const size_t c = strlen(cell), p = strlen(point);
    (void)snprintf(cell + c, sizeof cell - c, "%s%d", k ? ", " : "", i);
    (void)snprintf(point + p, sizeof point - p, "%s%g", k ? ", " : "", MFGCellCenter(b, k, i));
  }
  (void)snprintf(text, size, "level %lld, cell (%s) at (%s)", (long long)(place / cells) + from,
                 cell, point);
}

/* The same text on all ranks: it becomes metadata of the file. */
static PetscErrorCode Where(const MFGGrid *grid, const MFGStateItem *flow, const MFGOutcome *o,
                            char text[MAX_WHERE]) {
  /* An iterate has no level 0, the cost is that of the level above the one that failed. */
  const int from = !strcmp(flow->name, "iterate") ? 1
                   : !strcmp(flow->name, "cost")  ? o->failed_level + 1
                                                  : 0;
  char place[MAX_WHERE];
  Worst w;

  PetscFunctionBeginUser;
  PetscCall(FindWorst(grid, flow, &w));
  PlaceText(&grid->block, w.bad ? w.first : w.at, from, sizeof place, place);
  if (w.bad)
    (void)snprintf(text, MAX_WHERE, "%lld numbers are not finite, the first of %.200s",
                   (long long)w.bad, place);
  else
    (void)snprintf(text, MAX_WHERE, "finite, the largest %g of %.200s", w.largest, place);
  PetscCallMPI(MPI_Bcast(text, MAX_WHERE, MPI_CHAR, 0, grid->world));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteContents(MFGFile *f, const MFGGrid *grid, const MFGConfig *config,
                                    const char *backend, const char *history, const char *reason,
                                    const MFGOutcome *o, const MFGState *fields) {
  char name[64], text[MAX_WHERE];

  PetscFunctionBeginUser;
  PetscCall(MFGFileWriteSource(f, grid->world, config, backend));
  PetscCall(MFGFileWriteMoment(f, history, NULL));
  PetscCall(MFGFileAttributeText(f, f->file, "stop_reason", reason));
  PetscCall(MFGFileAttributeText(f, f->file, "message", o->message));
  PetscCall(MFGFileAttributeInt(f, f->file, "iteration", o->iterations));
  PetscCall(MFGFileAttributeInt(f, f->file, "level", o->failed_level));
  for (int i = 0; i < fields->count; i++) {
    (void)snprintf(name, sizeof name, "where_%.50s", fields->item[i].name);
    PetscCall(Where(grid, &fields->item[i], o, text));
    PetscCall(MFGFileAttributeText(f, f->file, name, text));
    PetscCall(MFGSay(grid->world, "  %s: %s\n", fields->item[i].name, text));
  }
  PetscCall(MFGStateFileWrite(f, grid, fields));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteFile(const char *temporary, const char *path, const MFGGrid *grid,
                                const MFGConfig *config, const char *backend, const char *history,
                                const char *reason, const MFGOutcome *o, const MFGState *fields) {
  const char *directory = config->output.directory;
  int64_t bytes = 0;
  PetscMPIInt rank;
  MFGFile f;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  const double room = 65536 + (double)strlen(config->text) + MFGStateFileBytes(grid, fields);
  PetscCall(MFGShareVerdict(
      grid->world, rank ? PETSC_SUCCESS
                        : MFGDiskReserve(directory, temporary, room, "diagnostic", "make room")));
  PetscCall(MFGFileCreate(grid->world, temporary, 0, MFGStateFileLevelBytes(grid), &f));
  PetscErrorCode verdict = WriteContents(&f, grid, config, backend, history, reason, o, fields);
  const PetscErrorCode closed = MFGFileClose(&f, (PetscBool)(verdict != PETSC_SUCCESS));
  PetscCall(verdict ? verdict : closed);
  PetscCall(
      MFGShareVerdict(grid->world, rank ? PETSC_SUCCESS : MFGDiskRename(temporary, path, &bytes)));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDiagnosticWrite(const MFGGrid *grid, const MFGConfig *config, const char *backend,
                                  const char *history, const char *reason,
                                  const MFGOutcome *outcome, const MFGState *fields) {
  char path[PETSC_MAX_PATH_LEN], temporary[PETSC_MAX_PATH_LEN + 8];
  MFGErrorRecord record;
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  (void)snprintf(path, sizeof path, "%s/diagnostic.h5", config->output.directory);
  (void)snprintf(temporary, sizeof temporary, "%s.part", path);
  PetscCall(MFGSay(grid->world, "diagnostic: %s\n", path));
  PetscCall(MFGErrorHandlerPush(&record));
  const PetscErrorCode verdict =
      WriteFile(temporary, path, grid, config, backend, history, reason, outcome, fields);
  PetscCall(PetscPopErrorHandler());
  if (verdict && !rank) (void)unlink(temporary);
  if (verdict) PetscCall(MFGSay(grid->world, "warning: not written: %s\n", record.message));
  PetscFunctionReturn(PETSC_SUCCESS);
}
