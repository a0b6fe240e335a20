#include "app/state_file_parts.h"

PetscBool MFGItemIsFlow(const MFGStateItem *item) {
  return (PetscBool)(item->kind == MFG_STATE_FLOW || item->kind == MFG_STATE_FLOW_SINGLE);
}

PetscBool MFGItemIsAttribute(const MFGStateItem *item) {
  return (PetscBool)(item->count == 1 &&
                     (item->kind == MFG_STATE_INTEGERS || item->kind == MFG_STATE_REALS));
}

MFGItemShape MFGItemShapeOf(const MFGStateItem *item, const MFGBlock *b) {
  const PetscBool single = (PetscBool)(item->kind == MFG_STATE_FLOW_SINGLE);
  MFGItemShape s = {.rank = 1,
                    .dims = {(hsize_t)item->count},
                    .type = item->kind == MFG_STATE_INTEGERS ? H5T_STD_I64LE
                            : single                         ? H5T_IEEE_F32LE
                                                             : H5T_IEEE_F64LE,
                    .size = single ? 4 : 8};
  if (MFGItemIsFlow(item))
    for (int k = 0; k < b->dim; k++) s.dims[s.rank++] = (hsize_t)b->cells[b->dim - 1 - k];
  if (item->kind == MFG_STATE_RECORDS) s.dims[s.rank++] = (hsize_t)item->records.words - 1;
  return s;
}

int64_t MFGItemShapeEntries(const MFGItemShape *s) {
  int64_t n = 1;
  for (int k = 0; k < s->rank; k++) n *= (int64_t)s->dims[k];
  return n;
}

double MFGStateFileBytes(const MFGGrid *grid, const MFGState *state) {
  double bytes = 8192;
  for (const MFGStateItem *item = state->item; item < state->item + state->count; item++) {
    const MFGItemShape s = MFGItemShapeOf(item, &grid->block);
    bytes += (double)s.size * (double)MFGItemShapeEntries(&s) + 512;
    if (item->kind == MFG_STATE_RECORDS) bytes += 8.0 * (double)item->count;
  }
  return bytes;
}

PetscBool MFGItemWrites(const MFGGrid *grid, int rank) {
  return (PetscBool)(grid->block.dim > 1 || rank == 0);
}

int64_t MFGStateFileLevelBytes(const MFGGrid *grid) {
  return 8 * MFGBlockCells(&grid->block);
}

herr_t MFGSelectLevels(const MFGBlock *b, hid_t space, int64_t first, int64_t count) {
  hsize_t start[1 + MFG_MAX_DIM] = {(hsize_t)first}, number[1 + MFG_MAX_DIM] = {(hsize_t)count};
  for (int k = 0; k < b->dim; k++) {
    start[1 + k] = (hsize_t)b->start[b->dim - 1 - k];
    number[1 + k] = (hsize_t)b->count[b->dim - 1 - k];
  }
  return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, number, NULL);
}

herr_t MFGSelectRows(const MFGItemShape *s, hid_t space, int64_t first, int64_t count) {
  const hsize_t start[] = {(hsize_t)first, 0}, number[] = {(hsize_t)count, s->dims[1]};
  return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, number, NULL);
}

int64_t MFGItemInteger(const MFGStateItem *item, int64_t i) {
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

PetscErrorCode MFGItemPack(const MFGStateItem *item, void **packed) {
  int64_t *numbers;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc1(item->count, &numbers));
  if (item->kind == MFG_STATE_REALS)
    PetscCall(PetscMemcpy(numbers, item->data, (size_t)item->count * sizeof(double)));
  for (int64_t i = 0; item->kind == MFG_STATE_INTEGERS && i < item->count; i++)
    numbers[i] = MFGItemInteger(item, i);
  *packed = numbers;
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGRecordShapes(const MFGStateItem *item, const MFGItemShape *s, MFGItemShape shapes[2]) {
  shapes[0] = *s;
  shapes[1] =
      (MFGItemShape){.rank = 1, .dims = {(hsize_t)item->count}, .type = H5T_STD_I64LE, .size = 8};
}

PetscErrorCode MFGRecordBatchCreate(int words, MFGRecordBatch *b) {
  PetscFunctionBeginUser;
  b->words = words;
  PetscCall(PetscMalloc3(MFG_BATCH_RECORDS * words, &b->record, MFG_BATCH_RECORDS * (words - 1),
                         &b->part, MFG_BATCH_RECORDS, &b->last));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGRecordBatchDestroy(MFGRecordBatch *b) {
  PetscFunctionBeginUser;
  PetscCall(PetscFree3(b->record, b->part, b->last));
  PetscFunctionReturn(PETSC_SUCCESS);
}

void MFGRecordBatchSplit(MFGRecordBatch *b, int64_t count) {
  const int width = b->words - 1;
  for (int64_t i = 0; i < count; i++) {
    const double *record = b->record + i * b->words;
    memcpy(b->part + i * width, record, (size_t)width * sizeof *record);
    memcpy(b->last + i, record + width, sizeof *b->last);
  }
}

PetscErrorCode MFGRecordPlaces(MPI_Comm comm, int64_t local, int64_t *first, int64_t *rounds) {
  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Scan(&local, first, 1, MPI_INT64_T, MPI_SUM, comm));
  *first -= local;
  *rounds = (local + MFG_BATCH_RECORDS - 1) / MFG_BATCH_RECORDS;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, rounds, 1, MPI_INT64_T, MPI_MAX, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}
