#include "app/field_source.h"

#include <stdio.h>

#include "app/h5read.h"

struct MFGDataset_ {
  const MFGConfig *config;   /* borrowed */
  const MFGFormula *formula; /* borrowed */
  hid_t file, set;
  int rank, levels;
  hsize_t shape[H5S_MAX_RANK]; /* [rank] */
};

static PetscErrorCode Refuse(const MFGFormula *f, MFGConfigErrors *errors, const char *what) {
  PetscFunctionBeginUser;
  PetscCall(MFGConfigErrorsAdd(errors, f->where, "%s: dataset '%.200s' of '%.400s' %s", f->key,
                               f->dataset, f->file, what));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The grid's shape is (nz, ny, nx), without the axes that are not there. */
static PetscErrorCode CheckShape(MFGDataset d, PetscBool time_allowed, PetscBool *good,
                                 MFGConfigErrors *errors) {
  const MFGConfig *c = d->config;
  hsize_t need[4] = {0};
  static const char *const names[] = {"", "(y, x) = ", "(z, y, x) = "};
  char shape[100] = "", cells[60] = "", text[400], levels[60] = "";
  int used = 0;

  PetscFunctionBeginUser;
  const int extra = time_allowed && d->rank == c->dim + 1;
  need[0] = (hsize_t)c->time.steps + 1;
  for (int k = 0; k < c->dim; k++) need[extra + k] = (hsize_t)c->domain.cells[c->dim - 1 - k];
  *good = (PetscBool)(d->rank == c->dim + extra);
  for (int k = 0; *good && k < d->rank; k++)
    if (d->shape[k] != need[k]) *good = PETSC_FALSE;
  d->levels = extra ? c->time.steps + 1 : 1;
  if (*good) PetscFunctionReturn(PETSC_SUCCESS);
  for (int k = 0; k < d->rank && used < 80; k++)
    used += snprintf(shape + used, sizeof shape - used, "%s%llu", k ? ", " : "",
                     (unsigned long long)d->shape[k]);
  if (time_allowed)
    snprintf(levels, sizeof levels, ", or with %d time levels before", c->time.steps + 1);
  used = 0;
  for (int k = c->dim - 1; k >= 0; k--)
    used += snprintf(cells + used, sizeof cells - used, "%d%s", c->domain.cells[k], k ? ", " : "");
  snprintf(text, sizeof text,
           "has the shape (%s); domain.cells asks for %s(%s)%s: store it so, or change the grid",
           shape, names[c->dim - 1], cells, levels);
  PetscCall(Refuse(d->formula, errors, text));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDatasetOpen(const MFGConfig *config, const MFGFormula *formula,
                              PetscBool time_allowed, MFGDataset *dataset,
                              MFGConfigErrors *errors) {
  MFGDataset d;
  PetscBool good = PETSC_FALSE;
  char problem[MFG_H5_PROBLEM];

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&d));
  d->config = config;
  d->formula = formula;
  d->set = -1;
  d->file = MFGH5Open(formula->file, problem);
  if (d->file < 0) {
    PetscCall(MFGConfigErrorsAdd(errors, formula->where,
                                 "%s: the file '%.400s' %s; its path starts at the input file's "
                                 "directory",
                                 formula->key, formula->file, problem));
  } else {
    d->set = MFGH5Dataset(d->file, formula->dataset, &d->rank, d->shape, problem);
    if (d->set < 0)
      PetscCall(Refuse(formula, errors, problem));
    else
      PetscCall(CheckShape(d, time_allowed, &good, errors));
  }
  if (!good) PetscCall(MFGDatasetClose(&d));
  *dataset = d;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDatasetClose(MFGDataset *dataset) {
  PetscFunctionBeginUser;
  if (!dataset || !*dataset) PetscFunctionReturn(PETSC_SUCCESS);
  if ((*dataset)->set >= 0) H5Dclose((*dataset)->set);
  if ((*dataset)->file >= 0) H5Fclose((*dataset)->file);
  PetscCall(PetscFree(*dataset));
  PetscFunctionReturn(PETSC_SUCCESS);
}

int MFGDatasetLevels(MFGDataset dataset) {
  return dataset->levels;
}

PetscErrorCode MFGDatasetRead(MFGDataset d, int level, double *values, PetscBool *good,
                              MFGConfigErrors *errors) {
  const MFGConfig *c = d->config;
  hsize_t start[4] = {0}, count[4], cells = 1;
  const int extra = d->rank - c->dim;

  PetscFunctionBeginUser;
  start[0] = extra ? (hsize_t)level : 0;
  count[0] = 1;
  for (int k = 0; k < c->dim; k++) {
    count[extra + k] = (hsize_t)c->domain.cells[c->dim - 1 - k];
    cells *= count[extra + k];
  }
  const hid_t memory = H5Screate_simple(1, &cells, NULL), space = H5Dget_space(d->set);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  *good = (PetscBool)(H5Dread(d->set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values) >= 0);
  H5Sclose(space);
  H5Sclose(memory);
  if (!*good)
    PetscCall(Refuse(d->formula, errors, "cannot be read: the file is damaged; write it anew"));
  PetscFunctionReturn(PETSC_SUCCESS);
}
