/* What a solver needs to go on later to the bit: a list of named items. Whoever saves reads them,
 * whoever restores fills them; the memory stays the solver's. A list is good until the solver works
 * on. */
#pragma once

#include <petscsys.h>

typedef enum {
  MFG_STATE_INTEGERS,    /* of `size` bytes each; the first rank's become all ranks' */
  MFG_STATE_REALS,       /* double, likewise */
  MFG_STATE_FLOW,        /* double [count][owned], levels of a field */
  MFG_STATE_FLOW_SINGLE, /* float [count][owned] */
  MFG_STATE_RECORDS      /* see MFGStateRecords */
} MFGStateKind;

/* Records that some rank or other holds, [count] of them on all ranks together, each of `words`
 * words of eight bytes: doubles, the last one an int64_t that tells it from all others. */
typedef struct {
  int words;
  int64_t local; /* that this rank holds */
  /* Not collective. Number `first` and those after it of this rank into record[count][words]. */
  PetscErrorCode (*get)(void *context, int64_t first, int64_t count, double *record);
  /* Collective; a rank may have none. Records that no rank has put yet; after the last call with
   * done = PETSC_TRUE. Errors: PETSC_ERR_FILE_READ where they are not what get() gave. */
  PetscErrorCode (*put)(void *context, int64_t count, const double *record, PetscBool done);
  void *context;
} MFGStateRecords;

typedef struct {
  const char *name; /* a word, unique in its list */
  MFGStateKind kind;
  int64_t count; /* numbers, levels or records */
  void *data;    /* borrowed */
  size_t size;
  int64_t low, high; /* what integers may be */
  MFGStateRecords records;
} MFGStateItem;

#define MFG_STATE_MAX 64

typedef struct {
  int count;
  MFGStateItem item[MFG_STATE_MAX];
} MFGState;

static inline void MFGStateAdd(MFGState *state, MFGStateItem item) {
  if (state->count < MFG_STATE_MAX) state->item[state->count++] = item;
}

static inline void MFGStateIntegers(MFGState *state, const char *name, int64_t count, size_t size,
                                    void *data, int64_t low, int64_t high) {
  MFGStateAdd(state, (MFGStateItem){.name = name,
                                    .kind = MFG_STATE_INTEGERS,
                                    .count = count,
                                    .data = data,
                                    .size = size,
                                    .low = low,
                                    .high = high});
}
#define MFGStateInteger(state, name, variable, low, high)                                          \
  MFGStateIntegers(state, name, 1, sizeof(variable), &(variable), low, high)

static inline void MFGStateReals(MFGState *state, const char *name, int64_t count, double *data) {
  MFGStateAdd(state,
              (MFGStateItem){.name = name, .kind = MFG_STATE_REALS, .count = count, .data = data});
}

static inline void MFGStateFlow(MFGState *state, const char *name, int64_t levels, double *data) {
  MFGStateAdd(state,
              (MFGStateItem){.name = name, .kind = MFG_STATE_FLOW, .count = levels, .data = data});
}

/* Fills the items of the list, by their names, with what was saved; collective. */
typedef PetscErrorCode (*MFGRestoreFunction)(void *context, const MFGState *state);

/* Asked between the pieces of a preparation; collective. Its error ends it. */
typedef PetscErrorCode (*MFGGoOnFunction)(void *context);

/* Asked by a sweep between two of its pieces, where its state is whole; collective. With *stop the
 * sweep ends there. */
typedef PetscErrorCode (*MFGPauseFunction)(void *context, PetscBool *stop);
