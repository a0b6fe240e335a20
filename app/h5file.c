#include "app/h5file.h"

#include <hdf5_hl.h>

#include "app/mpi_file.h"

/* The two innermost records say what the system said, for example "No space left on device". */
static herr_t AppendReason(unsigned n, const H5E_error2_t *record, void *context) {
  char *reason = context;
  if (n < 2 && record->desc && strlen(reason) + strlen(record->desc) + 3 < 512) {
    if (reason[0]) strcat(reason, "; ");
    strcat(reason, record->desc);
  }
  return 0;
}

PetscErrorCode MFGFileVerdict(MFGFile *f, long long status, const char *call) {
  char reason[512] = "";
  const PetscBool failed = (PetscBool)(MFGFilesFailed(sizeof reason, reason) || status < 0);
  PetscMPIInt first = failed ? f->rank : PETSC_MPI_INT_MAX;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, f->comm));
  if (first == PETSC_MPI_INT_MAX) PetscFunctionReturn(PETSC_SUCCESS);
  if (f->rank == first && !*reason)
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, AppendReason, reason);
  PetscCallMPI(MPI_Bcast(reason, sizeof reason, MPI_CHAR, first, f->comm));
  const size_t name = strcspn(call, "(=");
  SETERRQ(f->comm, PETSC_ERR_FILE_WRITE, "%s: cannot be written (rank %d, %.*s...): %s", f->path,
          (int)first, (int)(call[name] == '=' ? strcspn(call, "(") : name), call,
          reason[0] ? reason : "HDF5 gave no reason");
}

int64_t MFGFileBatchLevels(int64_t level_bytes) {
  return PetscMax(1, MFG_FILE_BATCH / level_bytes);
}

/* For ranks whose writes fail. One that gathers and writes for others hangs them where another part
 * of their call is still to come: its buffer must take all of a call, or nobody gathers. One that
 * reads, changes and writes keeps its lock on that part of the file, for which others wait. */
static PetscErrorCode Hints(int64_t call_bytes, MPI_Info *info) {
  char size[32];

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Info_create(info));
  (void)snprintf(size, sizeof size, "%lld", (long long)call_bytes);
  if (call_bytes <= INT_MAX)
    PetscCallMPI(MPI_Info_set(*info, "cb_buffer_size", size));
  else
    PetscCallMPI(MPI_Info_set(*info, "romio_cb_write", "disable"));
  PetscCallMPI(MPI_Info_set(*info, "romio_ds_write", "disable"));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileCreate(MPI_Comm comm, const char *path, int block, int64_t level_bytes,
                             MFGFile *f) {
  MPI_Info hints;

  PetscFunctionBeginUser;
  memset(f, 0, sizeof *f);
  f->comm = comm;
  PetscCallMPI(MPI_Comm_rank(comm, &f->rank));
  PetscCallMPI(MPI_Comm_size(comm, &f->size));
  PetscCall(PetscStrncpy(f->path, path, sizeof f->path));
  /* The library would print its stack of errors; ours says the same in one line. */
  MFGCallHDF5(f, H5Eset_auto2(H5E_DEFAULT, NULL, NULL));
  hid_t access, creation;
  MFGCallHDF5(f, creation = H5Pcreate(H5P_FILE_CREATE));
  MFGCallHDF5(f, H5Pset_userblock(creation, (hsize_t)block));
  MFGCallHDF5(f, access = H5Pcreate(H5P_FILE_ACCESS));
  MFGCallHDF5(f, H5Pset_fclose_degree(access, H5F_CLOSE_STRONG));
  MFGCallHDF5(f, f->transfer = H5Pcreate(H5P_DATASET_XFER));
  PetscCall(Hints(PetscMax(MFG_FILE_BATCH, level_bytes), &hints));
  MFGCallHDF5(f, H5Pset_fapl_mpio(access, comm, hints));
  PetscCallMPI(MPI_Info_free(&hints));
  MFGCallHDF5(f, H5Pset_coll_metadata_write(access, 1));
  MFGCallHDF5(f, H5Pset_dxpl_mpio(f->transfer, H5FD_MPIO_COLLECTIVE));
  MFGFilesWatch(1);
  f->file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
  const PetscErrorCode verdict = MFGFileVerdict(f, (long long)f->file, "H5Fcreate(");
  (void)H5Pclose(access);
  (void)H5Pclose(creation);
  if (verdict) (void)MFGFileClose(f, PETSC_TRUE);
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileClose(MFGFile *f, PetscBool failed) {
  PetscFunctionBeginUser;
  const herr_t closed = f->file < 0 ? -1 : H5Fclose(f->file);
  (void)H5Pclose(f->transfer);
  const PetscErrorCode verdict =
      failed ? PETSC_SUCCESS : MFGFileVerdict(f, (long long)closed, "H5Fclose(");
  MFGFilesWatch(0);
  PetscCall(verdict);
  PetscFunctionReturn(PETSC_SUCCESS);
}

herr_t MFGPutAttribute(hid_t object, const char *name, hid_t type, const void *value) {
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  const herr_t status = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
  if (attribute >= 0 && H5Aclose(attribute) < 0) return -1;
  return H5Sclose(space) < 0 ? -1 : status;
}

/* HDF5's old format keeps an attribute within 64 KiB; a longer text goes to the heap of the file as
 * a string of variable length. */
static herr_t PutText(hid_t object, const char *name, const char *text) {
  const size_t length = strlen(text);
  const PetscBool heap = (PetscBool)(length > 60000);
  const hid_t type = H5Tcopy(H5T_C_S1);
  if (type < 0 || H5Tset_size(type, heap ? H5T_VARIABLE : length + 1) < 0) return -1;
  if (H5Tset_cset(type, H5T_CSET_UTF8) < 0) return -1;
  const herr_t status =
      MFGPutAttribute(object, name, type, heap ? (const void *)&text : (const void *)text);
  return H5Tclose(type) < 0 ? -1 : status;
}

PetscErrorCode MFGFileAttributeText(MFGFile *f, hid_t object, const char *name, const char *text) {
  PetscFunctionBeginUser;
  MFGCallHDF5(f, PutText(object, name, text));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileAttributeDouble(MFGFile *f, hid_t object, const char *name, double value) {
  PetscFunctionBeginUser;
  MFGCallHDF5(f, MFGPutAttribute(object, name, H5T_NATIVE_DOUBLE, &value));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileAttributeInt(MFGFile *f, hid_t object, const char *name, int64_t value) {
  PetscFunctionBeginUser;
  MFGCallHDF5(f, MFGPutAttribute(object, name, H5T_NATIVE_INT64, &value));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileChunked(MFGFile *f, int rank, const hsize_t chunk[], hid_t *list) {
  PetscBool empty = PETSC_FALSE;

  PetscFunctionBeginUser;
  for (int k = 0; k < rank; k++)
    if (!chunk || !chunk[k]) empty = PETSC_TRUE;
  MFGCallHDF5(f, *list = H5Pcreate(H5P_DATASET_CREATE));
  /* Times of creation would make files of equal content differ. */
  MFGCallHDF5(f, H5Pset_obj_track_times(*list, 0));
  MFGCallHDF5(f, H5Pset_fill_time(*list, H5D_FILL_TIME_NEVER));
  if (empty) PetscFunctionReturn(PETSC_SUCCESS);
  MFGCallHDF5(f, H5Pset_chunk(*list, rank, chunk));
  MFGCallHDF5(f, H5Pset_fletcher32(*list));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileArray(MFGFile *f, hid_t parent, const char *name, hid_t type, int rank,
                            const hsize_t dims[], const void *data, hid_t *dataset) {
  hsize_t chunk[4];
  hid_t list, space;

  PetscFunctionBeginUser;
  for (int k = 0; k < rank; k++) chunk[k] = PetscMin(dims[k], (hsize_t)1 << 20);
  if (rank > 2) chunk[0] = PetscMin(dims[0], 1);
  PetscCall(MFGFileChunked(f, rank, chunk, &list));
  MFGCallHDF5(f, space = H5Screate_simple(rank, dims, NULL));
  MFGCallHDF5(f, *dataset = H5Dcreate2(parent, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT));
  if (H5Sget_simple_extent_npoints(space) > 0) {
    const double none = 0;
    if (f->rank)
      MFGCallHDF5(f, H5Sselect_none(space));
    else
      MFGCallHDF5(f, H5Sselect_all(space));
    MFGCallHDF5(f, H5Dwrite(*dataset, type, space, space, f->transfer, f->rank ? &none : data));
  }
  MFGCallHDF5(f, H5Sclose(space));
  MFGCallHDF5(f, H5Pclose(list));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGFileScale(MFGFile *f, hid_t parent, const char *name, hid_t type, hsize_t n,
                            const void *data, const char *description, hid_t *scale) {
  PetscFunctionBeginUser;
  PetscCall(MFGFileArray(f, parent, name, type, 1, &n, data, scale));
  MFGCallHDF5(f, H5DSset_scale(*scale, name));
  PetscCall(MFGFileAttributeText(f, *scale, "units", "1"));
  PetscCall(MFGFileAttributeText(f, *scale, "long_name", description));
  PetscFunctionReturn(PETSC_SUCCESS);
}
