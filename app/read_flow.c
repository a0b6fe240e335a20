#include "app/output.h"

#include <math.h>
#include <stdarg.h>

#include "app/h5read.h"

#define MAX_LEVELS 10000000

static const char *const axisNames[] = {"x", "y", "z"};

/* An earlier result, open on rank 0, and the problem that was found with it. */
typedef struct {
  const char *path;
  char problem[1024]; /* what and remedy; empty: none */
  hid_t file, m;      /* owned */
  int dim, levels, cells[MFG_MAX_DIM];
  double lower[MFG_MAX_DIM], upper[MFG_MAX_DIM];
  PetscBool periodic[MFG_MAX_DIM];
  double *time, *level; /* owned; [levels], one level [cells] */
  char uuid[64];
  int *low[MFG_MAX_DIM], *high[MFG_MAX_DIM]; /* owned; neighbours per new cell of the axis */
  double *weight[MFG_MAX_DIM];               /* owned; of the high one */
  double *field[2];                          /* owned; levels held[] on the new grid */
  int held[2];
} Source;

static PetscBool Problem(Source *s, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(s->problem, sizeof s->problem, format, arguments);
  va_end(arguments);
  return PETSC_FALSE;
}

/* A dataset with so many dimensions; its shape in dims. */
static PetscBool OpenDataset(Source *s, const char *name, int rank, hsize_t dims[H5S_MAX_RANK],
                             hid_t *dataset) {
  char problem[MFG_H5_PROBLEM];
  int found;
  if ((*dataset = MFGH5Dataset(s->file, name, &found, dims, problem)) < 0)
    return Problem(s, "/%s %s; give a result.h5", name, problem);
  if (found == rank) return PETSC_TRUE;
  return Problem(s,
                 "/%s has %d dimensions, %d expected; give a result of a game of the same "
                 "dimension",
                 name, found, rank);
}

static PetscBool OpenFile(Source *s) {
  char version[32], problem[MFG_H5_PROBLEM], *end;
  if ((s->file = MFGH5Open(s->path, problem)) < 0)
    return Problem(s, "%s; equilibrium.initial is m0 or the path of a result.h5", problem);
  MFGH5Text(s->file, "layout_version", sizeof version, version);
  const long major = strtol(version, &end, 10);
  if (end == version)
    return Problem(s, "has no layout_version: not a nashflow result; give a result.h5");
  if (major > strtol(MFG_LAYOUT_VERSION, NULL, 10))
    return Problem(s, "has layout %s, newer than %s that this program reads; use a newer nashflow",
                   version, MFG_LAYOUT_VERSION);
  MFGH5Text(s->file, "uuid", sizeof s->uuid, s->uuid);
  return PETSC_TRUE;
}

static PetscBool ReadAxis(Source *s, int k, hsize_t cells) {
  char boundary[32];
  hsize_t dims[H5S_MAX_RANK];
  hid_t axis;
  if (!OpenDataset(s, axisNames[k], 1, dims, &axis)) return PETSC_FALSE;
  const hsize_t n = dims[0];
  if (n != cells || n < 1 || n > 1 << 30)
    return Problem(s, "/%s has %llu cells where /m has %llu: damaged; give another result.h5",
                   axisNames[k], (unsigned long long)n, (unsigned long long)cells);
  if (!MFGH5Number(axis, "lower", &s->lower[k]) || !MFGH5Number(axis, "upper", &s->upper[k]) ||
      s->lower[k] >= s->upper[k])
    return Problem(s, "/%s has no attributes lower < upper: damaged; give another result.h5",
                   axisNames[k]);
  MFGH5Text(axis, "boundary_low", sizeof boundary, boundary);
  s->periodic[k] = (PetscBool)!strcmp(boundary, "periodic");
  s->cells[k] = (int)n;
  (void)H5Dclose(axis);
  return PETSC_TRUE;
}

static PetscBool ReadTimes(Source *s, hsize_t levels) {
  hsize_t dims[H5S_MAX_RANK];
  hid_t time;
  if (!OpenDataset(s, "time", 1, dims, &time)) return PETSC_FALSE;
  const hsize_t n = dims[0];
  if (n != levels || n < 1 || n > MAX_LEVELS)
    return Problem(s, "/time has %llu levels where /m has %llu: damaged; give another result.h5",
                   (unsigned long long)n, (unsigned long long)levels);
  s->levels = (int)n;
  s->time = malloc(n * sizeof *s->time);
  if (!s->time || H5Dread(time, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->time) < 0)
    return Problem(s, "/time cannot be read: damaged; give another result.h5");
  for (hsize_t j = 0; j < n; j++)
    if (!isfinite(s->time[j]) || (j && s->time[j] <= s->time[j - 1]))
      return Problem(s, "/time does not increase at level %llu: damaged; give another result.h5",
                     (unsigned long long)j);
  (void)H5Dclose(time);
  return PETSC_TRUE;
}

/* Neighbours and weights of the new centres on the old axis: wrapped on a periodic one, in whole
 * numbers so that a centre is its own neighbour; else constant beyond the outermost centres. */
static PetscBool MakeWeights(Source *s, const MFGBlock *b, int k) {
  const int n = s->cells[k], count = b->cells[k];
  const double spacing = (s->upper[k] - s->lower[k]) / n;
  s->low[k] = malloc((size_t)count * sizeof(int));
  s->high[k] = malloc((size_t)count * sizeof(int));
  s->weight[k] = malloc((size_t)count * sizeof(double));
  if (!s->low[k] || !s->high[k] || !s->weight[k]) return Problem(s, "memory is short");
  for (int i = 0; i < count; i++) {
    double place = k < b->dim ? (MFGCellCenter(b, k, i) - s->lower[k]) / spacing - 0.5 : 0;
    if (!(fabs(place) < 1e9))
      return Problem(s,
                     "/%s has cells of %g from %g on, too narrow or too far for this domain; give "
                     "a result of a similar domain",
                     axisNames[k], spacing, s->lower[k]);
    if (!s->periodic[k]) place = fmin(fmax(place, 0), n - 1);
    const double whole = floor(place);
    const int low = ((int)whole % n + n) % n;
    s->low[k][i] = low;
    s->high[k][i] = low + 1 < n ? low + 1 : s->periodic[k] ? 0 : n - 1;
    s->weight[k][i] = place - whole;
  }
  return PETSC_TRUE;
}

static PetscBool OpenSource(Source *s, const MFGBlock *b) {
  hsize_t dims[H5S_MAX_RANK];
  if (!OpenFile(s) || !OpenDataset(s, "m", b->dim + 1, dims, &s->m)) return PETSC_FALSE;
  if (!MFGH5HoldsEnough(s->file, s->m, b->dim + 1, dims))
    return Problem(s, "/m holds fewer values than its shape has: damaged; give another result.h5");
  if (!ReadTimes(s, dims[0])) return PETSC_FALSE;
  s->dim = b->dim;
  size_t cells = 1;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    s->cells[k] = 1;
    s->upper[k] = 1;
    if (k < b->dim && !ReadAxis(s, k, dims[b->dim - k])) return PETSC_FALSE;
    if (!MakeWeights(s, b, k)) return PETSC_FALSE;
    cells *= (size_t)s->cells[k];
  }
  s->level = malloc(cells * sizeof(double));
  for (int i = 0; i < 2; i++) {
    s->field[i] = malloc((size_t)MFGBlockCells(b) * sizeof(double));
    s->held[i] = -1;
  }
  return s->level && s->field[0] && s->field[1] ? PETSC_TRUE : Problem(s, "memory is short");
}

static void CloseSource(Source *s) {
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    free(s->low[k]);
    free(s->high[k]);
    free(s->weight[k]);
  }
  free(s->field[0]);
  free(s->field[1]);
  free(s->level);
  free(s->time);
  if (s->file >= 0) (void)H5Fclose(s->file);
}

static double At(const Source *s, int x, int y, int z) {
  return s->level[((size_t)z * s->cells[1] + y) * s->cells[0] + x];
}

static void Interpolate(const Source *s, const MFGBlock *b, double *field) {
  for (int k = 0; k < b->cells[2]; k++)
    for (int j = 0; j < b->cells[1]; j++)
      for (int i = 0; i < b->cells[0]; i++) {
        const double w = s->weight[0][i], v = s->weight[1][j], q = s->weight[2][k];
        const int y[2] = {s->low[1][j], s->high[1][j]}, z[2] = {s->low[2][k], s->high[2][k]};
        double plane[2];
        for (int c = 0; c < 2; c++) {
          double row[2];
          for (int r = 0; r < 2; r++)
            row[r] =
                (1 - w) * At(s, s->low[0][i], y[r], z[c]) + w * At(s, s->high[0][i], y[r], z[c]);
          plane[c] = (1 - v) * row[0] + v * row[1];
        }
        *field++ = (1 - q) * plane[0] + q * plane[1];
      }
}

/* Level j of the file on the new grid, kept until the second next one is asked for. */
static const double *Level(Source *s, const MFGBlock *b, int j) {
  if (s->held[j % 2] == j) return s->field[j % 2];
  hsize_t start[1 + MFG_MAX_DIM] = {(hsize_t)j}, count[1 + MFG_MAX_DIM] = {1}, cells = 1;
  for (int k = 0; k < s->dim; k++) cells *= count[1 + k] = (hsize_t)s->cells[s->dim - 1 - k];
  const hid_t space = H5Dget_space(s->m), memory = H5Screate_simple(1, &cells, NULL);
  (void)H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  const herr_t status = H5Dread(s->m, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, s->level);
  (void)H5Sclose(memory);
  (void)H5Sclose(space);
  if (status < 0) {
    (void)Problem(s,
                  "/m cannot be read at level %d: damaged (its checksum differs) or cut short; "
                  "give another result.h5",
                  j);
    return NULL;
  }
  for (hsize_t i = 0; i < cells; i++)
    if (!isfinite(s->level[i])) {
      (void)Problem(s, "/m is not finite at level %d, cell %llu; give a result that is finished", j,
                    (unsigned long long)i);
      return NULL;
    }
  Interpolate(s, b, s->field[j % 2]);
  s->held[j % 2] = j;
  return s->field[j % 2];
}

/* The flow at time t, of mass 1, as a whole field. Times beyond the file's take its last level. */
static PetscBool Field(Source *s, const MFGBlock *b, double t, int *bracket, double *field) {
  const int64_t cells = MFGBlockCells(b);
  while (*bracket < s->levels - 2 && s->time[*bracket + 1] <= t) (*bracket)++;
  const int next = PetscMin(*bracket + 1, s->levels - 1);
  const double span = s->time[next] - s->time[*bracket];
  const double w = span > 0 ? fmin(fmax((t - s->time[*bracket]) / span, 0), 1) : 0;
  const double *before = Level(s, b, *bracket), *after = before ? Level(s, b, next) : NULL;
  if (!after) return PETSC_FALSE;
  double mass = 0;
  for (int64_t i = 0; i < cells; i++) mass += field[i] = (1 - w) * before[i] + w * after[i];
  mass *= MFGCellVolume(b);
  if (!(mass > 0) || !isfinite(mass))
    return Problem(s,
                   "its density has mass %g on this domain at t = %g; give a result whose domain "
                   "covers this one",
                   mass, t);
  for (int64_t i = 0; i < cells; i++) field[i] /= mass;
  return PETSC_TRUE;
}

/* Rank 0 fills the levels, all take their part. *good is false when the file has a problem. */
static PetscErrorCode ReadLevels(Source *s, const MFGGrid *grid, MFGWatch *watch, double horizon,
                                 int steps, double *M, PetscBool *good) {
  const int64_t cells = MFGBlockCells(&grid->block), owned = MFGBlockOwned(&grid->block);
  PetscMPIInt rank, verdict = 1;
  int bracket = 0;
  double *whole;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->world, &rank));
  PetscCall(PetscMalloc1(cells, &whole));
  if (!rank) verdict = OpenSource(s, &grid->block);
  PetscCallMPI(MPI_Bcast(&verdict, 1, MPI_INT, 0, grid->world));
  for (int n = 0; verdict && n <= steps; n++) {
    if (!rank) verdict = Field(s, &grid->block, horizon * n / steps, &bracket, whole);
    PetscCallMPI(MPI_Bcast(&verdict, 1, MPI_INT, 0, grid->world));
    if (!verdict) break;
    PetscCallMPI(MPI_Bcast(whole, (PetscMPIInt)cells, MPI_DOUBLE, 0, grid->world));
    PetscCall(MFGGridRestrict(grid, 1, whole, M + n * owned));
    PetscCall(MFGWatchSetup(watch));
  }
  PetscCall(PetscFree(whole));
  *good = (PetscBool)verdict;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultReadFlow(const char *file, const MFGGrid *grid, MFGWatch *watch,
                                 double horizon, int steps, double *M, char **parent_uuid,
                                 MFGConfigErrors *errors) {
  Source s;
  PetscBool good = PETSC_FALSE;

  PetscFunctionBeginUser;
  memset(&s, 0, sizeof s);
  s.path = file;
  s.file = s.m = -1;
  *parent_uuid = NULL;
  PetscCall(ReadLevels(&s, grid, watch, horizon, steps, M, &good));
  PetscCallMPI(MPI_Bcast(s.problem, sizeof s.problem, MPI_CHAR, 0, grid->world));
  PetscCallMPI(MPI_Bcast(s.uuid, sizeof s.uuid, MPI_CHAR, 0, grid->world));
  CloseSource(&s);
  if (good)
    PetscCall(PetscStrallocpy(s.uuid, parent_uuid));
  else
    PetscCall(MFGConfigErrorsAdd(errors, file, "%s", s.problem));
  PetscFunctionReturn(PETSC_SUCCESS);
}
