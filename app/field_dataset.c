#include "app/field_source.h"

#include <hdf5.h>
#include <stdio.h>

struct MFGDataset_ {
  const MFGConfig *config;   /* borrowed */
  const MFGFormula *formula; /* borrowed */
  hid_t file, set, space;
  int rank, levels;
};

static PetscErrorCode Refuse(const MFGFormula *f, MFGConfigErrors *errors, const char *what) {
  PetscFunctionBeginUser;
  PetscCall(MFGConfigErrorsAdd(errors, f->where, "%s: dataset '%.200s' of '%.400s' %s", f->key,
                               f->dataset, f->file, what));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* An input file must not make the program open other files. */
static herr_t RefuseExternal(const char *parent, const char *group, const char *child,
                             const char *object, unsigned *flags, hid_t access, void *data) {
  (void)parent, (void)group, (void)child, (void)object, (void)flags, (void)access, (void)data;
  return -1;
}

/* HDF5 prints its own error stack unless told not to; ours says what matters. */
static void OpenQuietly(MFGDataset d) {
  H5E_auto2_t print;
  void *data;
  const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);

  H5Eget_auto2(H5E_DEFAULT, &print, &data);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  d->file = H5Fopen(d->formula->file, H5F_ACC_RDONLY, H5P_DEFAULT);
  H5Pset_elink_cb(access, RefuseExternal, NULL);
  if (d->file >= 0) d->set = H5Dopen2(d->file, d->formula->dataset, access);
  if (d->set >= 0) d->space = H5Dget_space(d->set);
  H5Pclose(access);
  H5Eset_auto2(H5E_DEFAULT, print, data);
}

/* Only filters that HDF5 itself brings: a plug-in is code that the file chooses. */
static const char *CheckStorage(MFGDataset d) {
  const hid_t type = H5Dget_type(d->set), creation = H5Dget_create_plist(d->set);
  const H5T_class_t class = H5Tget_class(type);
  const int filters = H5Pget_nfilters(creation);
  const char *problem = NULL;

  if (class != H5T_FLOAT && class != H5T_INTEGER)
    problem = "does not hold numbers; store doubles";
  else if (H5Pget_layout(creation) == H5D_VIRTUAL || H5Pget_external_count(creation) > 0)
    problem = "has its values in other files; store them in this one";
  for (int i = 0; !problem && i < filters; i++) {
    unsigned flags;
    size_t values = 0;
    if (H5Pget_filter2(creation, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL) > 255)
      problem = "is packed by a plug-in filter; store it with gzip or unpacked";
  }
  H5Tclose(type);
  H5Pclose(creation);
  return problem;
}

/* The grid's shape is (nz, ny, nx), without the axes that are not there. */
static PetscErrorCode CheckShape(MFGDataset d, PetscBool time_allowed, PetscBool *good,
                                 MFGConfigErrors *errors) {
  const MFGConfig *c = d->config;
  hsize_t got[H5S_MAX_RANK] = {0}, need[4] = {0};
  static const char *const names[] = {"", "(y, x) = ", "(z, y, x) = "};
  char shape[100] = "", cells[60] = "", text[400], levels[60] = "";
  int used = 0;

  PetscFunctionBeginUser;
  d->rank = H5Sget_simple_extent_ndims(d->space);
  if (d->rank > 0) H5Sget_simple_extent_dims(d->space, got, NULL);
  const int extra = time_allowed && d->rank == c->dim + 1;
  need[0] = (hsize_t)c->time.steps + 1;
  for (int k = 0; k < c->dim; k++) need[extra + k] = (hsize_t)c->domain.cells[c->dim - 1 - k];
  *good = (PetscBool)(d->rank == c->dim + extra);
  for (int k = 0; *good && k < d->rank; k++)
    if (got[k] != need[k]) *good = PETSC_FALSE;
  d->levels = extra ? c->time.steps + 1 : 1;
  if (*good) PetscFunctionReturn(PETSC_SUCCESS);
  for (int k = 0; k < d->rank && used < 80; k++)
    used += snprintf(shape + used, sizeof shape - used, "%s%llu", k ? ", " : "",
                     (unsigned long long)got[k]);
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
  const char *problem = NULL;

  PetscFunctionBeginUser;
  PetscCall(PetscNew(&d));
  d->config = config;
  d->formula = formula;
  d->file = d->set = d->space = -1;
  OpenQuietly(d);
  if (d->file < 0)
    problem = "cannot be opened: the file is not there or not HDF5; its path starts at the input "
              "file's directory";
  else if (d->space < 0)
    problem = "cannot be opened: no such dataset in the file, or a link to another file; 'h5ls -r' "
              "lists what is there";
  else
    problem = CheckStorage(d);
  if (problem)
    PetscCall(Refuse(formula, errors, problem));
  else
    PetscCall(CheckShape(d, time_allowed, &good, errors));
  if (!good) PetscCall(MFGDatasetClose(&d));
  *dataset = d;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDatasetClose(MFGDataset *dataset) {
  PetscFunctionBeginUser;
  if (!dataset || !*dataset) PetscFunctionReturn(PETSC_SUCCESS);
  if ((*dataset)->space >= 0) H5Sclose((*dataset)->space);
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
  const hid_t memory = H5Screate_simple(1, &cells, NULL);
  H5Sselect_hyperslab(d->space, H5S_SELECT_SET, start, NULL, count, NULL);
  H5E_BEGIN_TRY {
    *good =
        (PetscBool)(H5Dread(d->set, H5T_NATIVE_DOUBLE, memory, d->space, H5P_DEFAULT, values) >= 0);
  }
  H5E_END_TRY
  H5Sclose(memory);
  if (!*good)
    PetscCall(Refuse(d->formula, errors, "cannot be read: the file is damaged; write it anew"));
  PetscFunctionReturn(PETSC_SUCCESS);
}
