#include "app/output.h"

#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <stdarg.h>
#include <unistd.h>

#define MAX_LEVELS 10000000

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

/* A text attribute of fixed or variable length; empty when there is none. */
static void ReadText(hid_t object, const char *name, char *text, size_t size) {
  text[0] = 0;
  if (H5Aexists(object, name) <= 0) return;
  const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), type = H5Aget_type(attribute);
  const hid_t space = H5Aget_space(attribute);
  if (type >= 0 && H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1) {
    if (H5Tis_variable_str(type) > 0) {
      char *value = NULL;
      if (H5Aread(attribute, type, &value) >= 0 && value) {
        (void)snprintf(text, size, "%s", value);
        (void)H5free_memory(value);
      }
    } else {
      const size_t length = H5Tget_size(type);
      char *value = calloc(length + 1, 1);
      if (value && H5Aread(attribute, type, value) >= 0) (void)snprintf(text, size, "%s", value);
      free(value);
    }
  }
  (void)H5Sclose(space);
  (void)H5Tclose(type);
  (void)H5Aclose(attribute);
}

static PetscBool ReadNumber(hid_t object, const char *name, double *value) {
  if (H5Aexists(object, name) <= 0) return PETSC_FALSE;
  const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), space = H5Aget_space(attribute);
  const PetscBool good =
      (PetscBool)(H5Sget_simple_extent_npoints(space) == 1 &&
                  H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0 && isfinite(*value));
  (void)H5Sclose(space);
  (void)H5Aclose(attribute);
  return good;
}

/* Opens a dataset of numbers that lies in this file and needs no plug-in; its shape in dims. */
static PetscBool OpenDataset(Source *s, const char *name, int rank, hsize_t dims[],
                             hid_t *dataset) {
  H5L_info_t link;
  *dataset = -1;
  if (H5Lget_info(s->file, name, &link, H5P_DEFAULT) < 0)
    return Problem(s, "has no dataset /%s: not a nashflow result; give a result.h5", name);
  if (link.type != H5L_TYPE_HARD)
    return Problem(s,
                   "/%s is a link to elsewhere, which is refused; copy the data into one file "
                   "with h5repack or h5copy",
                   name);
  if ((*dataset = H5Dopen2(s->file, name, H5P_DEFAULT)) < 0)
    return Problem(s, "/%s is no dataset; give a result.h5", name);
  const hid_t list = H5Dget_create_plist(*dataset), type = H5Dget_type(*dataset);
  const hid_t space = H5Dget_space(*dataset);
  PetscBool good = PETSC_TRUE;
  if (H5Pget_layout(list) == H5D_VIRTUAL || H5Pget_external_count(list) > 0)
    good = Problem(s,
                   "/%s keeps its data in other files, which is refused; copy them into one "
                   "file with h5repack",
                   name);
  for (int i = 0; good && i < H5Pget_nfilters(list); i++) {
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(list, (unsigned)i, NULL, &values, NULL, 0, NULL, NULL);
    if (filter != H5Z_FILTER_FLETCHER32 && filter != H5Z_FILTER_DEFLATE &&
        filter != H5Z_FILTER_SHUFFLE)
      good = Problem(s,
                     "/%s needs the HDF5 filter %d, which is refused; rewrite it with h5repack "
                     "-f NONE",
                     name, (int)filter);
  }
  if (good && H5Tget_class(type) != H5T_FLOAT)
    good = Problem(s, "/%s holds no floating point numbers; give a result.h5", name);
  const int found = H5Sget_simple_extent_ndims(space);
  if (good && found != rank)
    good = Problem(s,
                   "/%s has %d dimensions, %d expected; give a result of a game of the same "
                   "dimension",
                   name, found, rank);
  if (good) (void)H5Sget_simple_extent_dims(space, dims, NULL);
  (void)H5Sclose(space);
  (void)H5Tclose(type);
  (void)H5Pclose(list);
  return good;
}

static PetscBool OpenFile(Source *s) {
  char version[32], *end;
  if (access(s->path, R_OK))
    return Problem(s, "%s; equilibrium.initial is m0 or the path of a result.h5", strerror(errno));
  if (H5Fis_hdf5(s->path) <= 0)
    return Problem(s, "is not an HDF5 file, or is cut short; give a result.h5 that h5ls can list");
  const hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
  (void)H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG);
  s->file = H5Fopen(s->path, H5F_ACC_RDONLY, access_list);
  (void)H5Pclose(access_list);
  if (s->file < 0)
    return Problem(s, "cannot be opened by HDF5: cut short or damaged; give another result.h5");
  ReadText(s->file, "layout_version", version, sizeof version);
  const long major = strtol(version, &end, 10);
  if (end == version)
    return Problem(s, "has no layout_version: not a nashflow result; give a result.h5");
  if (major > strtol(MFG_LAYOUT_VERSION, NULL, 10))
    return Problem(s, "has layout %s, newer than %s that this program reads; use a newer nashflow",
                   version, MFG_LAYOUT_VERSION);
  ReadText(s->file, "uuid", s->uuid, sizeof s->uuid);
  return PETSC_TRUE;
}

static PetscBool ReadAxis(Source *s, int k, hsize_t cells) {
  static const char *const names[] = {"x", "y", "z"};
  char boundary[32];
  hsize_t n;
  hid_t axis;
  if (!OpenDataset(s, names[k], 1, &n, &axis)) return PETSC_FALSE;
  if (n != cells || n < 1 || n > 1 << 30)
    return Problem(s, "/%s has %llu cells where /m has %llu: damaged; give another result.h5",
                   names[k], (unsigned long long)n, (unsigned long long)cells);
  if (!ReadNumber(axis, "lower", &s->lower[k]) || !ReadNumber(axis, "upper", &s->upper[k]) ||
      s->lower[k] >= s->upper[k])
    return Problem(s, "/%s has no attributes lower < upper: damaged; give another result.h5",
                   names[k]);
  ReadText(axis, "boundary_low", boundary, sizeof boundary);
  s->periodic[k] = (PetscBool)!strcmp(boundary, "periodic");
  s->cells[k] = (int)n;
  (void)H5Dclose(axis);
  return PETSC_TRUE;
}

static PetscBool ReadTimes(Source *s, hsize_t levels) {
  hsize_t n;
  hid_t time;
  if (!OpenDataset(s, "time", 1, &n, &time)) return PETSC_FALSE;
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

/* Neighbours and weights of the new centres on the old axis: wrapped on a periodic one, else
 * constant beyond the outermost centres. */
static PetscBool MakeWeights(Source *s, const MFGBlock *b, int k) {
  const int n = s->cells[k], count = b->cells[k];
  const double spacing = (s->upper[k] - s->lower[k]) / n;
  s->low[k] = malloc((size_t)count * sizeof(int));
  s->high[k] = malloc((size_t)count * sizeof(int));
  s->weight[k] = malloc((size_t)count * sizeof(double));
  if (!s->low[k] || !s->high[k] || !s->weight[k]) return Problem(s, "memory is short");
  for (int i = 0; i < count; i++) {
    double place = k < b->dim ? (MFGCellCenter(b, k, i) - s->lower[k]) / spacing - 0.5 : 0;
    if (s->periodic[k])
      place -= n * floor(place / n);
    else
      place = fmin(fmax(place, 0), n - 1);
    const double whole = floor(place);
    const int low = PetscMin((int)whole, n - 1);
    s->low[k][i] = low;
    s->high[k][i] = low + 1 < n ? low + 1 : s->periodic[k] ? 0 : n - 1;
    s->weight[k][i] = place - whole;
  }
  return PETSC_TRUE;
}

static PetscBool OpenSource(Source *s, const MFGBlock *b) {
  hsize_t dims[1 + MFG_MAX_DIM];
  if (!OpenFile(s)) return PETSC_FALSE;
  if (!OpenDataset(s, "m", b->dim + 1, dims, &s->m) || !ReadTimes(s, dims[0])) return PETSC_FALSE;
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

static PetscErrorCode AppendError(MFGConfigErrors *errors, const char *file, const char *problem) {
  const size_t old = errors->text ? strlen(errors->text) : 0;
  const size_t size = old + strlen(file) + strlen(problem) + 12;
  char *text;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(size, &text));
  (void)snprintf(text, size, "%s%s: error: %s\n", old ? errors->text : "", file, problem);
  PetscCall(PetscFree(errors->text));
  errors->text = text;
  errors->count++;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0 fills the levels, all take their part. *good is false when the file has a problem. */
static PetscErrorCode ReadLevels(Source *s, const MFGGrid *grid, double horizon, int steps,
                                 double *M, PetscBool *good) {
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
  }
  PetscCall(PetscFree(whole));
  *good = (PetscBool)verdict;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGResultReadFlow(const char *file, const MFGGrid *grid, double horizon, int steps,
                                 double *M, char **parent_uuid, MFGConfigErrors *errors) {
  Source s;
  PetscBool good = PETSC_FALSE;

  PetscFunctionBeginUser;
  memset(&s, 0, sizeof s);
  s.path = file;
  s.file = s.m = -1;
  (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  *parent_uuid = NULL;
  PetscCall(ReadLevels(&s, grid, horizon, steps, M, &good));
  PetscCallMPI(MPI_Bcast(s.problem, sizeof s.problem, MPI_CHAR, 0, grid->world));
  PetscCallMPI(MPI_Bcast(s.uuid, sizeof s.uuid, MPI_CHAR, 0, grid->world));
  CloseSource(&s);
  if (good)
    PetscCall(PetscStrallocpy(s.uuid, parent_uuid));
  else
    PetscCall(AppendError(errors, file, s.problem));
  PetscFunctionReturn(PETSC_SUCCESS);
}
