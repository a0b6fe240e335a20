/* Counting sort of agents by cell on the CPU: the places from the cells' counts, then column after
 * column through one scratch column. */
#include "solvers/backend_cpu.h"

#define TILE 1024

/* Cells of a tile of agents, counted from the box's first, x fastest like the moments. */
static void CellsOfTile(const MFGSort *job, int64_t first, int count, uint32_t *restrict cell) {
  const MFGBlock *b = &job->domain;

  memset(cell, 0, count * sizeof *cell);
  for (int k = b->dim - 1; k >= 0; k--) {
    const MFGAxis axis = MFGAxisOf(b, k);
    const int start = b->start[k], cells = b->count[k];
    const double *restrict x = job->agents.position[k];
    const float *restrict f = job->agents.offset[k];
    double t;
    if (f)
      for (int i = 0; i < count; i++)
        cell[i] = cell[i] * cells +
                  MFGNearestIndex(MFGCellOf(&axis, MFGPositionOf(&axis, f[first + i]), &t) - start,
                                  cells);
    else
      for (int i = 0; i < count; i++)
        cell[i] =
            cell[i] * cells + MFGNearestIndex(MFGCellOf(&axis, x[first + i], &t) - start, cells);
  }
}

/* The cell of each agent in place[], their numbers in start[cell + 1]. Returns whether the agents
 * are in ascending order already. */
static int CountCells(const MFGSort *job) {
  const int64_t cells = MFGBlockOwned(&job->domain), n = job->agents.count;
  int ascending = 1;
  uint32_t last = 0;

  memset(job->start, 0, (cells + 1) * sizeof *job->start);
  for (int64_t first = 0; first < n; first += TILE) {
    uint32_t *cell = job->place + first;
    const int count = (int)PetscMin(TILE, n - first);
    CellsOfTile(job, first, count, cell);
    for (int i = 0; i < count; i++) {
      ascending &= last <= cell[i];
      last = cell[i];
      job->start[cell[i] + 1]++;
    }
  }
  return ascending;
}

static void MoveWords(int64_t count, const uint32_t *restrict place, uint64_t *restrict scratch,
                      void *column) {
  const uint64_t *from = column;
  for (int64_t i = 0; i < count; i++) scratch[place[i]] = from[i];
  memcpy(column, scratch, count * sizeof *scratch);
}

static void MoveFloats(int64_t count, const uint32_t *restrict place, float *restrict scratch,
                       float *column) {
  for (int64_t i = 0; i < count; i++) scratch[place[i]] = column[i];
  memcpy(column, scratch, count * sizeof *scratch);
}

PetscErrorCode MFG_VARIANT_NAME(MFGSort_CPU)(const MFGSort *job) {
  const MFGAgentRange *a = &job->agents;
  const int64_t cells = MFGBlockOwned(&job->domain);

  PetscFunctionBeginUser;
  if (CountCells(job)) PetscFunctionReturn(PETSC_SUCCESS);
  for (int64_t c = 0; c < cells; c++) job->start[c + 1] += job->start[c];
  for (int64_t i = 0; i < a->count; i++) job->place[i] = job->start[job->place[i]]++;
  for (int k = 0; k < job->domain.dim; k++) {
    if (a->offset[k])
      MoveFloats(a->count, job->place, job->column, a->offset[k]);
    else
      MoveWords(a->count, job->place, job->column, a->position[k]);
  }
  MoveWords(a->count, job->place, job->column, a->id);
  PetscFunctionReturn(PETSC_SUCCESS);
}
