/* One HDF5 file written by all ranks of a communicator together; used by the result's writers. */
#pragma once

#include <hdf5.h>
#include <petscsys.h>

typedef struct {
  MPI_Comm comm; /* borrowed; its ranks make the same calls in the same order */
  PetscMPIInt rank, size;
  hid_t file, transfer; /* owned; transfer: the property list of every write */
  char path[PETSC_MAX_PATH_LEN];
} MFGFile;

/* Every HDF5 call of a writer goes through this. One rank's failure is all ranks' failure, so none
 * waits in a collective call for another that has given up. On error PETSC_ERR_FILE_WRITE with the
 * file, the call, the rank and HDF5's own reason. */
#define MFGCallHDF5(f, call) PetscCall(MFGFileVerdict((f), (long long)(call), #call))
PetscErrorCode MFGFileVerdict(MFGFile *f, long long status, const char *call);

/* What one call writes of a flow whose levels take so many bytes, all ranks together: some levels,
 * or one that is larger. */
#define MFG_FILE_BATCH ((int64_t)64 << 20)
int64_t MFGFileBatchLevels(int64_t level_bytes);

/* Collective on comm, like all that follows but PutAttribute. Creates or truncates `path`, with
 * `block` bytes (0, or a power of two from 512 on) for the caller before what HDF5 writes; on error
 * nothing is left open. level_bytes: of the largest level of a flow that will be written. */
PetscErrorCode MFGFileCreate(MPI_Comm comm, const char *path, int block, int64_t level_bytes,
                             MFGFile *f);

/* Closes the file with everything that is still open in it. After a failed write the verdict of
 * the close is of no interest; pass failed = PETSC_TRUE and it is not an error again. */
PetscErrorCode MFGFileClose(MFGFile *f, PetscBool failed);

/* A scalar attribute. Metadata: all ranks do the same and none waits, so that one verdict serves
 * many calls. */
herr_t MFGPutAttribute(hid_t object, const char *name, hid_t type, const void *value);

PetscErrorCode MFGFileAttributeText(MFGFile *f, hid_t object, const char *name, const char *text);
PetscErrorCode MFGFileAttributeDouble(MFGFile *f, hid_t object, const char *name, double value);
PetscErrorCode MFGFileAttributeInt(MFGFile *f, hid_t object, const char *name, int64_t value);

/* A dataset of shape dims[rank] of H5T_NATIVE_DOUBLE or H5T_NATIVE_INT64 with checksums. The data
 * of rank 0 count; the others may pass NULL. *dataset is the caller's (H5Dclose). */
PetscErrorCode MFGFileArray(MFGFile *f, hid_t parent, const char *name, hid_t type, int rank,
                            const hsize_t dims[], const void *data, hid_t *dataset);

/* An array of one dimension that is its own dimension scale, with units and a description. */
PetscErrorCode MFGFileScale(MFGFile *f, hid_t parent, const char *name, hid_t type, hsize_t n,
                            const void *data, const char *description, hid_t *scale);

/* Creation properties of a dataset in chunks with fletcher32 and no fill values; without chunks
 * when chunk is NULL or would be empty. *list is the caller's (H5Pclose). */
PetscErrorCode MFGFileChunked(MFGFile *f, int rank, const hsize_t chunk[], hid_t *list);
