#include "app/state_file.h"

#include <stdarg.h>

#define GROUP "state"
/* Of one call of HDF5, per rank. */
#define BATCH_BYTES ((int64_t)64 << 20)

/* Shape of an item's dataset, and the type of its entries. */
typedef struct {
  int rank;
  hsize_t dims[1 + MFG_MAX_DIM];
  hid_t type;
  int64_t size; /* of an entry */
} Shape;

static PetscBool IsFlow(const MFGStateItem *item) {
  return (PetscBool)(item->kind == MFG_STATE_FLOW || item->kind == MFG_STATE_FLOW_SINGLE);
}

static PetscBool IsAttribute(const MFGStateItem *item) {
  return (PetscBool)(item->count == 1 &&
                     (item->kind == MFG_STATE_INTEGERS || item->kind == MFG_STATE_REALS));
}

static Shape ShapeOf(const MFGStateItem *item, const MFGBlock *b) {
  const PetscBool single = (PetscBool)(item->kind == MFG_STATE_FLOW_SINGLE);
  Shape s = {.rank = 1,
             .dims = {(hsize_t)item->count},
             .type = item->kind == MFG_STATE_INTEGERS ? H5T_STD_I64LE
                     : single                         ? H5T_IEEE_F32LE
                                                      : H5T_IEEE_F64LE,
             .size = single ? 4 : 8};
  if (IsFlow(item))
    for (int k = 0; k < b->dim; k++) s.dims[s.rank++] = (hsize_t)b->cells[b->dim - 1 - k];
  if (item->kind == MFG_STATE_RECORDS) s.dims[s.rank++] = (hsize_t)item->records.words - 1;
  return s;
}

static int64_t Entries(const Shape *s) {
  int64_t n = 1;
  for (int k = 0; k < s->rank; k++) n *= (int64_t)s->dims[k];
  return n;
}

double MFGStateFileBytes(const MFGGrid *grid, const MFGState *state) {
  double bytes = 8192;
  for (const MFGStateItem *item = state->item; item < state->item + state->count; item++) {
    const Shape s = ShapeOf(item, &grid->block);
    bytes += (double)s.size * (double)Entries(&s) + 512;
    if (item->kind == MFG_STATE_RECORDS) bytes += 8.0 * (double)item->count;
  }
  return bytes;
}

/* Whether this rank writes its part of a flow: in 1D all ranks hold the same. */
static PetscBool Writes(const MFGGrid *grid, int rank) {
  return (PetscBool)(grid->block.dim > 1 || rank == 0);
}

/* Levels of a call, the same on all ranks. */
static int64_t BatchLevels(const MFGGrid *grid, const Shape *s) {
  int64_t most = MFGBlockOwned(&grid->block);
  PetscMPIInt size;
  MPI_Comm_size(grid->world, &size);
  for (PetscMPIInt r = 0; grid->block.dim > 1 && r < size; r++)
    most = PetscMax(most, MFGBlockOwned(&grid->boxes[r]));
  return PetscMax(1, BATCH_BYTES / (s->size * most));
}

/* Selects levels first .. first + count - 1 of the block in the space of a flow. */
static herr_t SelectLevels(const MFGBlock *b, hid_t space, int64_t first, int64_t count) {
  hsize_t start[1 + MFG_MAX_DIM] = {(hsize_t)first}, number[1 + MFG_MAX_DIM] = {(hsize_t)count};
  for (int k = 0; k < b->dim; k++) {
    start[1 + k] = (hsize_t)b->start[b->dim - 1 - k];
    number[1 + k] = (hsize_t)b->count[b->dim - 1 - k];
  }
  return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, number, NULL);
}

static PetscErrorCode CreateDataset(MFGFile *f, hid_t group, const char *name, const Shape *s,
                                    hid_t *dataset, hid_t *space) {
  hid_t list;

  PetscFunctionBeginUser;
  *dataset = *space = -1;
  PetscCall(MFGFileChunked(f, s->rank, NULL, &list));
  MFGCallHDF5(f, *space = H5Screate_simple(s->rank, s->dims, NULL));
  MFGCallHDF5(f,
              *dataset = H5Dcreate2(group, name, s->type, *space, H5P_DEFAULT, list, H5P_DEFAULT));
  MFGCallHDF5(f, H5Pclose(list));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Writes `entries` from memory to what is selected in `space`; 0: this rank writes nothing. */
static PetscErrorCode WriteSelected(MFGFile *f, hid_t dataset, const Shape *s, hid_t space,
                                    int64_t entries, const void *data) {
  const hsize_t count = (hsize_t)PetscMax(entries, 1);
  const double none = 0;
  hid_t memory;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, memory = H5Screate_simple(1, &count, NULL));
  if (!entries) {
    (void)H5Sselect_none(space);
    (void)H5Sselect_none(memory);
  }
  MFGCallHDF5(f, H5Dwrite(dataset, s->type, memory, space, f->transfer, entries ? data : &none));
  MFGCallHDF5(f, H5Sclose(memory));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteFlow(MFGFile *f, hid_t dataset, const Shape *s, hid_t space,
                                const MFGGrid *grid, const MFGStateItem *item) {
  const int64_t owned = MFGBlockOwned(&grid->block), batch = BatchLevels(grid, s);
  const PetscBool writes = Writes(grid, f->rank);

  PetscFunctionBeginUser;
  for (int64_t n = 0; n < item->count; n += batch) {
    const int64_t levels = PetscMin(batch, item->count - n);
    MFGCallHDF5(f, SelectLevels(&grid->block, space, n, levels));
    PetscCall(WriteSelected(f, dataset, s, space, writes ? levels * owned : 0,
                            (const char *)item->data + n * owned * s->size));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An integer of 1, 4 or 8 bytes. */
static int64_t GetInteger(const MFGStateItem *item, int64_t i) {
  const char *at = (const char *)item->data + (size_t)i * item->size;
  int64_t wide;
  int32_t narrow;
  if (item->size == 1) return *(const signed char *)at;
  if (item->size == 4) {
    memcpy(&narrow, at, sizeof narrow);
    return narrow;
  }
  memcpy(&wide, at, sizeof wide);
  return wide;
}

static void SetInteger(const MFGStateItem *item, int64_t i, int64_t value) {
  char *at = (char *)item->data + (size_t)i * item->size;
  const int32_t narrow = (int32_t)value;
  if (item->size == 1)
    *at = (char)value;
  else if (item->size == 4)
    memcpy(at, &narrow, sizeof narrow);
  else
    memcpy(at, &value, sizeof value);
}

/* The numbers of an item as they are in the file; the caller's (PetscFree). */
static PetscErrorCode PackNumbers(const MFGStateItem *item, void **packed) {
  int64_t *numbers;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(item->count, &numbers));
  if (item->kind == MFG_STATE_REALS)
    PetscCall(PetscMemcpy(numbers, item->data, (size_t)item->count * sizeof(double)));
  for (int64_t i = 0; item->kind == MFG_STATE_INTEGERS && i < item->count; i++)
    numbers[i] = GetInteger(item, i);
  *packed = numbers;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteNumbers(MFGFile *f, hid_t dataset, const Shape *s, hid_t space,
                                   const MFGStateItem *item) {
  void *packed;

  PetscFunctionBeginUser;
  PetscCall(PackNumbers(item, &packed));
  const PetscErrorCode verdict =
      WriteSelected(f, dataset, s, space, f->rank ? 0 : item->count, packed);
  PetscCall(PetscFree(packed));
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteItem(MFGFile *f, hid_t group, const MFGGrid *grid,
                                const MFGStateItem *item) {
  const Shape s = ShapeOf(item, &grid->block);
  hid_t dataset, space;

  PetscFunctionBeginUser;
  PetscCall(CreateDataset(f, group, item->name, &s, &dataset, &space));
  PetscCall(IsFlow(item) ? WriteFlow(f, dataset, &s, space, grid, item)
                         : WriteNumbers(f, dataset, &s, space, item));
  MFGCallHDF5(f, H5Sclose(space));
  MFGCallHDF5(f, H5Dclose(dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The single numbers of rank 0: metadata must have the same bytes on all ranks. */
static PetscErrorCode WriteAttributes(MFGFile *f, hid_t group, const MFGState *state) {
  int64_t value[MFG_STATE_MAX] = {0};
  herr_t status = 0;

  PetscFunctionBeginUser;
  for (int i = 0; i < state->count; i++) {
    const MFGStateItem *item = &state->item[i];
    if (!IsAttribute(item)) continue;
    if (item->kind == MFG_STATE_INTEGERS)
      value[i] = GetInteger(item, 0);
    else
      memcpy(&value[i], item->data, sizeof *value);
  }
  PetscCallMPI(MPI_Bcast(value, state->count, MPI_INT64_T, 0, f->comm));
  for (int i = 0; i < state->count; i++) {
    const MFGStateItem *item = &state->item[i];
    const hid_t type = item->kind == MFG_STATE_INTEGERS ? H5T_STD_I64LE : H5T_IEEE_F64LE;
    if (IsAttribute(item) && MFGPutAttribute(group, item->name, type, &value[i]) < 0) status = -1;
  }
  MFGCallHDF5(f, status);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStateFileWrite(MFGFile *f, const MFGGrid *grid, const MFGState *state) {
  hid_t group;

  PetscFunctionBeginUser;
  MFGCallHDF5(f, group = H5Gcreate2(f->file, GROUP, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  PetscCall(WriteAttributes(f, group, state));
  for (int i = 0; i < state->count; i++)
    if (state->item[i].count && !IsAttribute(&state->item[i]))
      PetscCall(WriteItem(f, group, grid, &state->item[i]));
  MFGCallHDF5(f, H5Gclose(group));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A file being read by each rank for itself, into the items or to compare with them. */
typedef struct {
  const MFGGrid *grid;
  PetscBool compare;
  hid_t file, group;
  int rank;
  char problem[256]; /* "" : none so far */
} Reader;

static void Problem(Reader *r, const char *format, ...) PETSC_ATTRIBUTE_FORMAT(2, 3);
static void Problem(Reader *r, const char *format, ...) {
  va_list arguments;
  if (*r->problem) return;
  va_start(arguments, format);
  (void)vsnprintf(r->problem, sizeof r->problem, format, arguments);
  va_end(arguments);
}

/* In the file itself, without chunks and filters, and of the expected type and size. */
static PetscBool GoodStorage(hid_t dataset, const Shape *s) {
  const hid_t list = H5Dget_create_plist(dataset), type = H5Dget_type(dataset),
              space = H5Dget_space(dataset);
  hsize_t dims[H5S_MAX_RANK] = {0};
  PetscBool good = (PetscBool)(H5Pget_layout(list) == H5D_CONTIGUOUS && !H5Pget_nfilters(list) &&
                               H5Pget_external_count(list) == 0 && H5Tequal(type, s->type) > 0 &&
                               H5Sget_simple_extent_ndims(space) == s->rank &&
                               H5Sget_simple_extent_dims(space, dims, NULL) == s->rank &&
                               H5Dget_storage_size(dataset) == (hsize_t)(s->size * Entries(s)));
  for (int k = 0; good && k < s->rank; k++) good = (PetscBool)(dims[k] == s->dims[k]);
  (void)H5Sclose(space);
  (void)H5Tclose(type);
  (void)H5Pclose(list);
  return good;
}

static hid_t OpenDataset(Reader *r, const char *name, const Shape *s) {
  H5L_info_t link;
  hid_t dataset = -1;

  if (H5Lget_info(r->group, name, &link, H5P_DEFAULT) < 0)
    Problem(r, "it has no /" GROUP "/%s", name);
  else if (link.type != H5L_TYPE_HARD)
    Problem(r, "/" GROUP "/%s is a link to elsewhere", name);
  else if ((dataset = H5Dopen2(r->group, name, H5P_DEFAULT)) < 0)
    Problem(r, "/" GROUP "/%s is no dataset that can be opened", name);
  else if (!GoodStorage(dataset, s))
    Problem(r, "/" GROUP "/%s has another type, shape or storage than this input's", name);
  if (*r->problem && dataset >= 0) {
    (void)H5Dclose(dataset);
    dataset = -1;
  }
  return dataset;
}

/* Reads what is selected in `space` into data, or compares it. */
static void ReadSelected(Reader *r, const char *name, hid_t dataset, const Shape *s, hid_t space,
                         int64_t entries, void *data) {
  const hsize_t count = (hsize_t)entries;
  const size_t bytes = (size_t)(entries * s->size);
  void *buffer = r->compare ? malloc(bytes) : data;
  const hid_t memory = H5Screate_simple(1, &count, NULL);

  if (!buffer || memory < 0 || H5Dread(dataset, s->type, memory, space, H5P_DEFAULT, buffer) < 0)
    Problem(r, "/" GROUP "/%s cannot be read", name);
  else if (r->compare && memcmp(buffer, data, bytes))
    Problem(r, "/" GROUP "/%s was not written as it is in memory", name);
  if (r->compare) free(buffer);
  (void)H5Sclose(memory);
}

static void ReadFlow(Reader *r, const MFGStateItem *item, hid_t dataset, const Shape *s,
                     hid_t space) {
  const MFGBlock *b = &r->grid->block;
  const int64_t owned = MFGBlockOwned(b), batch = BatchLevels(r->grid, s);

  if (r->compare && !Writes(r->grid, r->rank)) return;
  for (int64_t n = 0; n < item->count && !*r->problem; n += batch) {
    const int64_t levels = PetscMin(batch, item->count - n);
    if (SelectLevels(b, space, n, levels) < 0)
      Problem(r, "/" GROUP "/%s cannot be read", item->name);
    else
      ReadSelected(r, item->name, dataset, s, space, levels * owned,
                   (char *)item->data + n * owned * s->size);
  }
}

/* An integer that was read, within its range. */
static void TakeInteger(Reader *r, const MFGStateItem *item, int64_t i, int64_t value) {
  if (value < item->low || value > item->high)
    Problem(r, "/" GROUP "/%s is %lld, not between %lld and %lld", item->name, (long long)value,
            (long long)item->low, (long long)item->high);
  else
    SetInteger(item, i, value);
}

static PetscErrorCode ReadNumbers(Reader *r, const MFGStateItem *item, hid_t dataset,
                                  const Shape *s, hid_t space) {
  int64_t *packed;

  PetscFunctionBeginUser;
  PetscCall(PackNumbers(item, (void **)&packed));
  ReadSelected(r, item->name, dataset, s, space, item->count, packed);
  if (!r->compare && !*r->problem && item->kind == MFG_STATE_REALS)
    PetscCall(PetscMemcpy(item->data, packed, (size_t)item->count * sizeof(double)));
  for (int64_t i = 0;
       !r->compare && !*r->problem && item->kind == MFG_STATE_INTEGERS && i < item->count; i++)
    TakeInteger(r, item, i, packed[i]);
  PetscCall(PetscFree(packed));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadItem(Reader *r, const MFGStateItem *item) {
  const Shape s = ShapeOf(item, &r->grid->block);
  const hid_t dataset = OpenDataset(r, item->name, &s);
  const hid_t space = dataset < 0 ? -1 : H5Dget_space(dataset);

  PetscFunctionBeginUser;
  if (dataset < 0) PetscFunctionReturn(PETSC_SUCCESS);
  if (IsFlow(item))
    ReadFlow(r, item, dataset, &s, space);
  else if (!r->compare || r->rank == 0)
    PetscCall(ReadNumbers(r, item, dataset, &s, space));
  (void)H5Sclose(space);
  (void)H5Dclose(dataset);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* A single number; compared as bits. */
static void ReadNumber(Reader *r, const MFGStateItem *item) {
  const PetscBool whole = (PetscBool)(item->kind == MFG_STATE_INTEGERS);
  const hid_t type = whole ? H5T_STD_I64LE : H5T_IEEE_F64LE;
  int64_t value = 0, own = 0;
  herr_t status = -1;

  if (H5Aexists(r->group, item->name) > 0) {
    const hid_t attribute = H5Aopen(r->group, item->name, H5P_DEFAULT);
    const hid_t found = H5Aget_type(attribute), space = H5Aget_space(attribute);
    if (H5Tequal(found, type) > 0 && H5Sget_simple_extent_npoints(space) == 1)
      status = H5Aread(attribute, type, &value);
    (void)H5Sclose(space);
    (void)H5Tclose(found);
    (void)H5Aclose(attribute);
  }
  if (status < 0) {
    Problem(r, "/" GROUP " has no number %s", item->name);
  } else if (r->compare && r->rank == 0) {
    if (whole)
      own = GetInteger(item, 0);
    else
      memcpy(&own, item->data, sizeof own);
    if (own != value) Problem(r, "/" GROUP " has another %s than was written", item->name);
  } else if (!r->compare && whole) {
    TakeInteger(r, item, 0, value);
  } else if (!r->compare) {
    memcpy(item->data, &value, sizeof value);
  }
}

/* All ranks know the problem of the first that has one. */
static PetscErrorCode ShareProblem(Reader *r) {
  PetscMPIInt first = *r->problem ? r->rank : PETSC_MPI_INT_MAX;
  MPI_Comm comm = r->grid->world;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm));
  if (first != PETSC_MPI_INT_MAX)
    PetscCallMPI(MPI_Bcast(r->problem, sizeof r->problem, MPI_CHAR, first, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode ReadState(Reader *r, const MFGState *state) {
  H5L_info_t link;

  PetscFunctionBeginUser;
  r->group = -1;
  if (r->file < 0)
    Problem(r, "it cannot be opened by HDF5");
  else if (H5Lget_info(r->file, GROUP, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD ||
           (r->group = H5Gopen2(r->file, GROUP, H5P_DEFAULT)) < 0)
    Problem(r, "it has no group /" GROUP);
  for (int i = 0; i < state->count && !*r->problem; i++) {
    const MFGStateItem *item = &state->item[i];
    if (IsAttribute(item))
      ReadNumber(r, item);
    else if (item->count)
      PetscCall(ReadItem(r, item));
  }
  PetscCall(ShareProblem(r));
  if (r->group >= 0) (void)H5Gclose(r->group);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStateFileCompare(MFGFile *f, const MFGGrid *grid, const MFGState *state) {
  Reader r = {.grid = grid,
              .compare = PETSC_TRUE,
              .file = H5Fopen(f->path, H5F_ACC_RDONLY, H5P_DEFAULT),
              .rank = f->rank};

  PetscFunctionBeginUser;
  PetscCall(ReadState(&r, state));
  if (r.file >= 0) (void)H5Fclose(r.file);
  PetscCheck(!*r.problem, f->comm, PETSC_ERR_FILE_WRITE, "%s: %s", f->path, r.problem);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStateFileRead(const char *path, hid_t file, const MFGGrid *grid,
                                const MFGState *state) {
  Reader r = {.grid = grid, .file = file};

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(grid->world, &r.rank));
  PetscCall(ReadState(&r, state));
  PetscCheck(!*r.problem, grid->world, PETSC_ERR_FILE_READ,
             "%s: %s: damaged, or made by another program; take an older checkpoint", path,
             r.problem);
  PetscFunctionReturn(PETSC_SUCCESS);
}
