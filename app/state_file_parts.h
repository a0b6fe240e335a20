/* What app/state_file*.c share: how the items of a state lie in a file. */
#pragma once

#include "app/state_file.h"

#define MFG_STATE_GROUP "state"

/* Records of one call of HDF5, per rank; and room for the name of one of their arrays. */
#define MFG_BATCH_RECORDS ((int64_t)1 << 17)
#define MFG_RECORD_NAME 80

/* Shape of an item's dataset, and the type of its entries. */
typedef struct {
  int rank;
  hsize_t dims[1 + MFG_MAX_DIM];
  hid_t type;
  int64_t size; /* of an entry */
} MFGItemShape;

MFGItemShape MFGItemShapeOf(const MFGStateItem *item, const MFGBlock *block);
int64_t MFGItemShapeEntries(const MFGItemShape *shape);

PetscBool MFGItemIsFlow(const MFGStateItem *item);
/* A single number: an attribute, not a dataset. */
PetscBool MFGItemIsAttribute(const MFGStateItem *item);
/* Whether this rank writes its part of a flow: in 1D all ranks hold the same. */
PetscBool MFGItemWrites(const MFGGrid *grid, int rank);

/* An integer of 1, 4 or 8 bytes; and all numbers of an item as they are in the file, the caller's
 * (PetscFree). */
int64_t MFGItemInteger(const MFGStateItem *item, int64_t i);
PetscErrorCode MFGItemPack(const MFGStateItem *item, void **packed);

/* Selects levels first .. first + count - 1 of the block in the space of a flow, and rows of an
 * array, all of its columns. */
herr_t MFGSelectLevels(const MFGBlock *block, hid_t space, int64_t first, int64_t count);
herr_t MFGSelectRows(const MFGItemShape *shape, hid_t space, int64_t first, int64_t count);

/* Records in two arrays, as they are in the file: all words but the last, and the last. */
typedef struct {
  int words;
  double *record, *part; /* owned; [MFG_BATCH_RECORDS][words], [MFG_BATCH_RECORDS][words - 1] */
  int64_t *last;         /* owned; [MFG_BATCH_RECORDS] */
} MFGRecordBatch;

PetscErrorCode MFGRecordBatchCreate(int words, MFGRecordBatch *batch);
PetscErrorCode MFGRecordBatchDestroy(MFGRecordBatch *batch);
void MFGRecordBatchSplit(MFGRecordBatch *batch, int64_t count);
void MFGRecordShapes(const MFGStateItem *item, const MFGItemShape *shape, MFGItemShape shapes[2]);
/* Collective. Where this rank's records begin in the file, and how many calls the rank with most
 * needs. */
PetscErrorCode MFGRecordPlaces(MPI_Comm comm, int64_t local, int64_t *first, int64_t *rounds);
