#include "app/state_file_parts.h"

#include <stdarg.h>

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

/* In the file itself, without chunks and filters, and of the expected type and size. */
static PetscBool GoodStorage(hid_t dataset, const MFGItemShape *s) {
  const hid_t list = H5Dget_create_plist(dataset), type = H5Dget_type(dataset),
              space = H5Dget_space(dataset);
  hsize_t dims[H5S_MAX_RANK] = {0};
  PetscBool good =
      (PetscBool)(H5Pget_layout(list) == H5D_CONTIGUOUS && !H5Pget_nfilters(list) &&
                  H5Pget_external_count(list) == 0 && H5Tequal(type, s->type) > 0 &&
                  H5Sget_simple_extent_ndims(space) == s->rank &&
                  H5Sget_simple_extent_dims(space, dims, NULL) == s->rank &&
                  H5Dget_storage_size(dataset) == (hsize_t)(s->size * MFGItemShapeEntries(s)));
  for (int k = 0; good && k < s->rank; k++) good = (PetscBool)(dims[k] == s->dims[k]);
  (void)H5Sclose(space);
  (void)H5Tclose(type);
  (void)H5Pclose(list);
  return good;
}

static hid_t OpenDataset(Reader *r, const char *name, const MFGItemShape *s) {
  H5L_info_t link;
  hid_t dataset = -1;

  if (H5Lget_info(r->group, name, &link, H5P_DEFAULT) < 0)
    Problem(r, "it has no /" MFG_STATE_GROUP "/%s", name);
  else if (link.type != H5L_TYPE_HARD)
    Problem(r, "/" MFG_STATE_GROUP "/%s is a link to elsewhere", name);
  else if ((dataset = H5Dopen2(r->group, name, H5P_DEFAULT)) < 0)
    Problem(r, "/" MFG_STATE_GROUP "/%s is no dataset that can be opened", name);
  else if (!GoodStorage(dataset, s))
    Problem(r, "/" MFG_STATE_GROUP "/%s has another type, shape or storage than this input's",
            name);
  if (*r->problem && dataset >= 0) {
    (void)H5Dclose(dataset);
    dataset = -1;
  }
  return dataset;
}

/* Reads what is selected in `space` into data, or compares it. */
static void ReadSelected(Reader *r, const char *name, hid_t dataset, const MFGItemShape *s,
                         hid_t space, int64_t entries, void *data) {
  const hsize_t count = (hsize_t)entries;
  const size_t bytes = (size_t)(entries * s->size);
  void *buffer = r->compare ? malloc(bytes) : data;
  const hid_t memory = H5Screate_simple(1, &count, NULL);

  if (!buffer || memory < 0 || H5Dread(dataset, s->type, memory, space, H5P_DEFAULT, buffer) < 0)
    Problem(r, "/" MFG_STATE_GROUP "/%s cannot be read", name);
  else if (r->compare && memcmp(buffer, data, bytes))
    Problem(r, "/" MFG_STATE_GROUP "/%s was not written as it is in memory", name);
  if (r->compare) free(buffer);
  (void)H5Sclose(memory);
}

static void ReadFlow(Reader *r, const MFGStateItem *item, hid_t dataset, const MFGItemShape *s,
                     hid_t space) {
  const MFGBlock *b = &r->grid->block;
  const int64_t owned = MFGBlockOwned(b),
                batch = MFGFileBatchLevels(MFGStateFileLevelBytes(r->grid));

  if (r->compare && !MFGItemWrites(r->grid, r->rank)) return;
  for (int64_t n = 0; n < item->count && !*r->problem; n += batch) {
    const int64_t levels = PetscMin(batch, item->count - n);
    if (MFGSelectLevels(b, space, n, levels) < 0)
      Problem(r, "/" MFG_STATE_GROUP "/%s cannot be read", item->name);
    else
      ReadSelected(r, item->name, dataset, s, space, levels * owned,
                   (char *)item->data + n * owned * s->size);
  }
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

/* An integer that was read, within its range. */
static void TakeInteger(Reader *r, const MFGStateItem *item, int64_t i, int64_t value) {
  if (value < item->low || value > item->high)
    Problem(r, "/" MFG_STATE_GROUP "/%s is %lld, not between %lld and %lld", item->name,
            (long long)value, (long long)item->low, (long long)item->high);
  else
    SetInteger(item, i, value);
}

static PetscErrorCode ReadNumbers(Reader *r, const MFGStateItem *item, hid_t dataset,
                                  const MFGItemShape *s, hid_t space) {
  int64_t *packed;

  PetscFunctionBeginUser;
  PetscCall(MFGItemPack(item, (void **)&packed));
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
  const MFGItemShape s = MFGItemShapeOf(item, &r->grid->block);
  const hid_t dataset = OpenDataset(r, item->name, &s);
  const hid_t space = dataset < 0 ? -1 : H5Dget_space(dataset);

  PetscFunctionBeginUser;
  if (dataset < 0) PetscFunctionReturn(PETSC_SUCCESS);
  if (MFGItemIsFlow(item))
    ReadFlow(r, item, dataset, &s, space);
  else if (!r->compare || r->rank == 0)
    PetscCall(ReadNumbers(r, item, dataset, &s, space));
  (void)H5Sclose(space);
  (void)H5Dclose(dataset);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Compares what this rank has written. Not collective. */
static PetscErrorCode CompareRecords(Reader *r, const MFGStateItem *item,
                                     const MFGItemShape shapes[2], const hid_t dataset[2],
                                     const hid_t space[2], int64_t first, MFGRecordBatch *b) {
  const MFGStateRecords *records = &item->records;

  PetscFunctionBeginUser;
  for (int64_t begin = 0; begin < records->local && !*r->problem; begin += MFG_BATCH_RECORDS) {
    const int64_t count = PetscMin(MFG_BATCH_RECORDS, records->local - begin);
    PetscCall(records->get(records->context, begin, count, b->record));
    MFGRecordBatchSplit(b, count);
    for (int k = 0; k < 2; k++) {
      (void)MFGSelectRows(&shapes[k], space[k], first + begin, count);
      ReadSelected(r, item->name, dataset[k], &shapes[k], space[k],
                   k ? count : count * (b->words - 1), k ? (void *)b->last : b->part);
    }
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static void BatchJoin(MFGRecordBatch *b, int64_t count) {
  const int width = b->words - 1;
  for (int64_t i = 0; i < count; i++) {
    double *record = b->record + i * b->words;
    memcpy(record, b->part + i * width, (size_t)width * sizeof *record);
    memcpy(record + width, b->last + i, sizeof *b->last);
  }
}

/* Every rank reads a share of the records and puts them. Collective: a rank that cannot read puts
 * none, which is found in the end. */
static PetscErrorCode PutRecords(Reader *r, const MFGStateItem *item, const MFGItemShape shapes[2],
                                 const hid_t dataset[2], const hid_t space[2], MFGRecordBatch *b) {
  const MFGStateRecords *records = &item->records;
  PetscMPIInt size;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_size(r->grid->world, &size));
  const int64_t share = (item->count - 1) / size + 1;
  const int64_t begin = PetscMin(r->rank * share, item->count);
  const int64_t end = PetscMin(begin + share, item->count);
  for (int64_t n = 0; n < share; n += MFG_BATCH_RECORDS) {
    const int64_t at = PetscMin(begin + n, end);
    int64_t count = PetscMin(MFG_BATCH_RECORDS, end - at);
    for (int k = 0; count && k < 2; k++) {
      (void)MFGSelectRows(&shapes[k], space[k], at, count);
      ReadSelected(r, item->name, dataset[k], &shapes[k], space[k],
                   k ? count : count * (b->words - 1), k ? (void *)b->last : b->part);
      if (*r->problem) count = 0;
    }
    BatchJoin(b, count);
    PetscCall(records->put(records->context, count, b->record,
                           (PetscBool)(n + MFG_BATCH_RECORDS >= share)));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Collective. */
static PetscErrorCode ReadRecords(Reader *r, const MFGStateItem *item) {
  const MFGItemShape s = MFGItemShapeOf(item, &r->grid->block);
  char name[MFG_RECORD_NAME];
  int64_t first, rounds;
  MFGItemShape shapes[2];
  MFGRecordBatch b;

  PetscFunctionBeginUser;
  MFGRecordShapes(item, &s, shapes);
  (void)snprintf(name, sizeof name, "%s_id", item->name);
  const hid_t dataset[] = {OpenDataset(r, item->name, &shapes[0]),
                           OpenDataset(r, name, &shapes[1])};
  PetscCall(ShareProblem(r));
  if (!*r->problem) {
    const hid_t space[] = {H5Dget_space(dataset[0]), H5Dget_space(dataset[1])};
    PetscCall(MFGRecordBatchCreate(item->records.words, &b));
    PetscCall(MFGRecordPlaces(r->grid->world, item->records.local, &first, &rounds));
    PetscCall(r->compare ? CompareRecords(r, item, shapes, dataset, space, first, &b)
                         : PutRecords(r, item, shapes, dataset, space, &b));
    PetscCall(MFGRecordBatchDestroy(&b));
    for (int k = 0; k < 2; k++) (void)H5Sclose(space[k]);
  }
  for (int k = 0; k < 2; k++)
    if (dataset[k] >= 0) (void)H5Dclose(dataset[k]);
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
    Problem(r, "/" MFG_STATE_GROUP " has no number %s", item->name);
  } else if (r->compare && r->rank == 0) {
    if (whole)
      own = MFGItemInteger(item, 0);
    else
      memcpy(&own, item->data, sizeof own);
    if (own != value)
      Problem(r, "/" MFG_STATE_GROUP " has another %s than was written", item->name);
  } else if (!r->compare && whole) {
    TakeInteger(r, item, 0, value);
  } else if (!r->compare) {
    memcpy(item->data, &value, sizeof value);
  }
}

static PetscErrorCode ReadState(Reader *r, const MFGState *state) {
  H5L_info_t link;

  PetscFunctionBeginUser;
  r->group = -1;
  if (r->file < 0)
    Problem(r, "it cannot be opened by HDF5");
  else if (H5Lget_info(r->file, MFG_STATE_GROUP, &link, H5P_DEFAULT) < 0 ||
           link.type != H5L_TYPE_HARD ||
           (r->group = H5Gopen2(r->file, MFG_STATE_GROUP, H5P_DEFAULT)) < 0)
    Problem(r, "it has no group /" MFG_STATE_GROUP);
  for (int i = 0; i < state->count && !*r->problem; i++) {
    const MFGStateItem *item = &state->item[i];
    if (MFGItemIsAttribute(item))
      ReadNumber(r, item);
    else if (item->count && item->kind != MFG_STATE_RECORDS)
      PetscCall(ReadItem(r, item));
  }
  PetscCall(ShareProblem(r));
  for (int i = 0; i < state->count && !*r->problem; i++)
    if (state->item[i].kind == MFG_STATE_RECORDS) PetscCall(ReadRecords(r, &state->item[i]));
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
