#include "app/state_file_parts.h"

static PetscErrorCode CreateDataset(MFGFile *f, hid_t group, const char *name,
                                    const MFGItemShape *s, hid_t *dataset, hid_t *space) {
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

/* MFGItemWrites `entries` from memory to what is selected in `space`; 0: this rank writes nothing.
 */
static PetscErrorCode WriteSelected(MFGFile *f, hid_t dataset, const MFGItemShape *s, hid_t space,
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

static PetscErrorCode WriteFlow(MFGFile *f, hid_t dataset, const MFGItemShape *s, hid_t space,
                                const MFGGrid *grid, const MFGStateItem *item) {
  const int64_t owned = MFGBlockOwned(&grid->block),
                batch = MFGFileBatchLevels(MFGStateFileLevelBytes(grid));
  const PetscBool writes = MFGItemWrites(grid, f->rank);

  PetscFunctionBeginUser;
  for (int64_t n = 0; n < item->count; n += batch) {
    const int64_t levels = PetscMin(batch, item->count - n);
    MFGCallHDF5(f, MFGSelectLevels(&grid->block, space, n, levels));
    PetscCall(WriteSelected(f, dataset, s, space, writes ? levels * owned : 0,
                            (const char *)item->data + n * owned * s->size));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteNumbers(MFGFile *f, hid_t dataset, const MFGItemShape *s, hid_t space,
                                   const MFGStateItem *item) {
  void *packed;

  PetscFunctionBeginUser;
  PetscCall(MFGItemPack(item, &packed));
  const PetscErrorCode verdict =
      WriteSelected(f, dataset, s, space, f->rank ? 0 : item->count, packed);
  PetscCall(PetscFree(packed));
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteBatches(MFGFile *f, hid_t dataset, const MFGItemShape *s, hid_t space,
                                   const MFGStateRecords *r, int which, MFGRecordBatch *b) {
  int64_t first, rounds;

  PetscFunctionBeginUser;
  PetscCall(MFGRecordPlaces(f->comm, r->local, &first, &rounds));
  for (int64_t k = 0; k < rounds; k++) {
    const int64_t begin = PetscMin(k * MFG_BATCH_RECORDS, r->local);
    const int64_t count = PetscMin(MFG_BATCH_RECORDS, r->local - begin);
    PetscCall(r->get(r->context, begin, count, b->record));
    MFGRecordBatchSplit(b, count);
    MFGCallHDF5(f, count ? MFGSelectRows(s, space, first + begin, count) : 0);
    PetscCall(WriteSelected(f, dataset, s, space, which ? count : count * (r->words - 1),
                            which ? (const void *)b->last : b->part));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteRows(MFGFile *f, hid_t group, const char *name, const MFGItemShape *s,
                                const MFGStateItem *item, int which) {
  hid_t dataset, space;
  MFGRecordBatch b;

  PetscFunctionBeginUser;
  PetscCall(CreateDataset(f, group, name, s, &dataset, &space));
  PetscCall(MFGRecordBatchCreate(item->records.words, &b));
  const PetscErrorCode verdict = WriteBatches(f, dataset, s, space, &item->records, which, &b);
  PetscCall(MFGRecordBatchDestroy(&b));
  PetscCall(verdict);
  MFGCallHDF5(f, H5Sclose(space));
  MFGCallHDF5(f, H5Dclose(dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteRecords(MFGFile *f, hid_t group, const MFGItemShape *s,
                                   const MFGStateItem *item) {
  char name[MFG_RECORD_NAME];
  MFGItemShape shapes[2];

  PetscFunctionBeginUser;
  MFGRecordShapes(item, s, shapes);
  (void)snprintf(name, sizeof name, "%s_id", item->name);
  PetscCall(WriteRows(f, group, item->name, &shapes[0], item, 0));
  PetscCall(WriteRows(f, group, name, &shapes[1], item, 1));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode WriteItem(MFGFile *f, hid_t group, const MFGGrid *grid,
                                const MFGStateItem *item) {
  const MFGItemShape s = MFGItemShapeOf(item, &grid->block);
  hid_t dataset, space;

  PetscFunctionBeginUser;
  if (item->kind == MFG_STATE_RECORDS) {
    PetscCall(WriteRecords(f, group, &s, item));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(CreateDataset(f, group, item->name, &s, &dataset, &space));
  PetscCall(MFGItemIsFlow(item) ? WriteFlow(f, dataset, &s, space, grid, item)
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
    if (!MFGItemIsAttribute(item)) continue;
    if (item->kind == MFG_STATE_INTEGERS)
      value[i] = MFGItemInteger(item, 0);
    else
      memcpy(&value[i], item->data, sizeof *value);
  }
  PetscCallMPI(MPI_Bcast(value, state->count, MPI_INT64_T, 0, f->comm));
  for (int i = 0; i < state->count; i++) {
    const MFGStateItem *item = &state->item[i];
    const hid_t type = item->kind == MFG_STATE_INTEGERS ? H5T_STD_I64LE : H5T_IEEE_F64LE;
    if (MFGItemIsAttribute(item) && MFGPutAttribute(group, item->name, type, &value[i]) < 0)
      status = -1;
  }
  MFGCallHDF5(f, status);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGStateFileWrite(MFGFile *f, const MFGGrid *grid, const MFGState *state) {
  hid_t group;

  PetscFunctionBeginUser;
  MFGCallHDF5(f,
              group = H5Gcreate2(f->file, MFG_STATE_GROUP, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  PetscCall(WriteAttributes(f, group, state));
  for (int i = 0; i < state->count; i++)
    if (state->item[i].count && !MFGItemIsAttribute(&state->item[i]))
      PetscCall(WriteItem(f, group, grid, &state->item[i]));
  MFGCallHDF5(f, H5Gclose(group));
  PetscFunctionReturn(PETSC_SUCCESS);
}
