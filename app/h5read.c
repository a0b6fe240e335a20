#include "app/h5read.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <sys/stat.h>

#define MAX_TEXT (1 << 20)
#define MAX_CHUNK (1 << 20) /* numbers; more only where the dataset itself has more */
#define MAX_PACKING 1040    /* gzip's limit is 1032 */

static hid_t Refuse(char problem[MFG_H5_PROBLEM], const char *format, ...)
    PETSC_ATTRIBUTE_FORMAT(2, 3);
static hid_t Refuse(char problem[MFG_H5_PROBLEM], const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(problem, MFG_H5_PROBLEM, format, arguments);
  va_end(arguments);
  return -1;
}

hid_t MFGH5Open(const char *path, char problem[MFG_H5_PROBLEM]) {
  struct stat status;
  problem[0] = 0;
  (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  if (stat(path, &status)) return Refuse(problem, "cannot be read: %s", strerror(errno));
  /* Opening a pipe would wait for its writer. */
  if (!S_ISREG(status.st_mode)) return Refuse(problem, "is not a file");
  FILE *f = fopen(path, "rb");
  if (!f) return Refuse(problem, "cannot be read: %s", strerror(errno));
  (void)fclose(f);
  if (H5Fis_hdf5(path) <= 0) return Refuse(problem, "is not an HDF5 file, or is cut short");
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  (void)H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
  (void)H5Pclose(access);
  return file < 0 ? Refuse(problem, "cannot be opened by HDF5: it is cut short or damaged") : file;
}

static herr_t RefuseExternal(const char *parent, const char *group, const char *child,
                             const char *object, unsigned *flags, hid_t access, void *data) {
  (void)parent, (void)group, (void)child, (void)object, (void)flags, (void)access, (void)data;
  return -1;
}

/* Points of a shape; as a double they do not overflow. */
static double Points(int rank, const hsize_t dims[]) {
  double points = 1;
  for (int k = 0; k < rank; k++) points *= (double)dims[k];
  return points;
}

/* A plug-in filter is code that the file chooses; the rarer ones that HDF5 brings are not needed.
 */
static PetscBool CheckFilters(hid_t list, char problem[MFG_H5_PROBLEM]) {
  for (int i = 0; i < H5Pget_nfilters(list); i++) {
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(list, (unsigned)i, NULL, &values, NULL, 0, NULL, NULL);
    if (filter == H5Z_FILTER_FLETCHER32 || filter == H5Z_FILTER_DEFLATE ||
        filter == H5Z_FILTER_SHUFFLE)
      continue;
    (void)Refuse(problem, "is packed by the HDF5 filter %d; store it with gzip or unpacked",
                 (int)filter);
    return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static PetscBool CheckStorage(hid_t dataset, char problem[MFG_H5_PROBLEM]) {
  const hid_t list = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
  const H5T_class_t class = H5Tget_class(type);
  PetscBool good = PETSC_FALSE;
  if ((class != H5T_FLOAT && class != H5T_INTEGER) || H5Tget_size(type) > 16)
    (void)Refuse(problem, "does not hold numbers; store doubles");
  else if (H5Pget_layout(list) == H5D_VIRTUAL || H5Pget_external_count(list) > 0)
    (void)Refuse(problem, "has its values in other files; store them in this one");
  else
    good = CheckFilters(list, problem);
  (void)H5Tclose(type);
  (void)H5Pclose(list);
  return good;
}

/* HDF5 takes memory for a whole chunk, whatever is asked for. */
static PetscBool CheckChunks(hid_t dataset, int rank, const hsize_t dims[],
                             char problem[MFG_H5_PROBLEM]) {
  const hid_t list = H5Dget_create_plist(dataset);
  hsize_t chunk[H5S_MAX_RANK];
  const int chunked = H5Pget_layout(list) == H5D_CHUNKED ? H5Pget_chunk(list, rank, chunk) : 0;
  (void)H5Pclose(list);
  const double points = chunked > 0 ? Points(rank, chunk) : 0;
  if (chunked >= 0 && points <= fmax(MAX_CHUNK, Points(rank, dims))) return PETSC_TRUE;
  (void)Refuse(problem,
               "is stored in chunks of %g numbers, more than it has; rewrite it with "
               "h5repack -l CONTI",
               points);
  return PETSC_FALSE;
}

hid_t MFGH5Dataset(hid_t file, const char *name, int *rank, hsize_t dims[H5S_MAX_RANK],
                   char problem[MFG_H5_PROBLEM]) {
  const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
  problem[0] = 0;
  (void)H5Pset_elink_cb(access, RefuseExternal, NULL);
  const hid_t dataset = H5Dopen2(file, name, access);
  (void)H5Pclose(access);
  if (dataset < 0)
    return Refuse(problem, "is not there, or a link to another file; 'h5ls -r' lists what is");
  PetscBool good = CheckStorage(dataset, problem);
  const hid_t space = good ? H5Dget_space(dataset) : -1;
  if (good) {
    *rank = H5Sget_simple_extent_ndims(space);
    good = (PetscBool)(*rank >= 0 && H5Sget_simple_extent_dims(space, dims, NULL) >= 0);
    if (!good) (void)Refuse(problem, "has no shape: the file is damaged; write it anew");
    (void)H5Sclose(space);
  }
  if (good) good = CheckChunks(dataset, *rank, dims, problem);
  if (good) return dataset;
  (void)H5Dclose(dataset);
  return -1;
}

PetscBool MFGH5HoldsEnough(hid_t file, hid_t dataset, int rank, const hsize_t dims[]) {
  hsize_t size = 0;
  if (H5Fget_filesize(file, &size) < 0) return PETSC_FALSE;
  const hsize_t stored = PetscMin(size, H5Dget_storage_size(dataset));
  return (PetscBool)(Points(rank, dims) * sizeof(double) <= MAX_PACKING * (double)stored);
}

void MFGH5Text(hid_t object, const char *name, size_t size, char text[]) {
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
      char *value = length <= MAX_TEXT ? calloc(length + 1, 1) : NULL;
      if (value && H5Aread(attribute, type, value) >= 0) (void)snprintf(text, size, "%s", value);
      free(value);
    }
  }
  (void)H5Sclose(space);
  (void)H5Tclose(type);
  (void)H5Aclose(attribute);
}

PetscBool MFGH5Number(hid_t object, const char *name, double *value) {
  if (H5Aexists(object, name) <= 0) return PETSC_FALSE;
  const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), space = H5Aget_space(attribute);
  const PetscBool good =
      (PetscBool)(H5Sget_simple_extent_npoints(space) == 1 &&
                  H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0 && isfinite(*value));
  (void)H5Sclose(space);
  (void)H5Aclose(attribute);
  return good;
}
