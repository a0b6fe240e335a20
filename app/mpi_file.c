#include "app/mpi_file.h"

#include <string.h>

/* The functions below have the signature of MPI's and so no other way to it. */
static struct {
  int watching;
  int code; /* MPI's, of the first failure */
} files;

void MFGFilesWatch(int watch) {
  files.watching = watch;
  files.code = MPI_SUCCESS;
}

int MFGFilesFailed(size_t size, char reason[]) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;

  if (files.code == MPI_SUCCESS) return 0;
  (void)MPI_Error_string(files.code, text, &length);
  /* MPICH names its own functions first. */
  const char *last = strrchr(text, ':');
  while (last && (last[1] == ' ' || last[1] == '\n')) last++;
  if (size) {
    const char *from = last && last[1] ? last + 1 : text;
    size_t n = strcspn(from, "\n");
    if (n >= size) n = size - 1;
    memcpy(reason, from, n);
    reason[n] = '\0';
  }
  return 1;
}

/* What the caller of MPI is told. */
static int Tell(int code) {
  if (!files.watching || code == MPI_SUCCESS) return code;
  if (files.code == MPI_SUCCESS) files.code = code;
  return MPI_SUCCESS;
}

/* HDF5 looks whether all bytes have gone. */
static int TellWritten(int code, int count, MPI_Datatype type, MPI_Status *status) {
  int size;
  if (!files.watching || code == MPI_SUCCESS) return code;
  if (status != MPI_STATUS_IGNORE && PMPI_Type_size(type, &size) == MPI_SUCCESS)
    (void)PMPI_Status_set_elements_x(status, MPI_BYTE, (MPI_Count)count * size);
  return Tell(code);
}

int MPI_File_write_at(MPI_File file, MPI_Offset offset, const void *data, int count,
                      MPI_Datatype type, MPI_Status *status) {
  return TellWritten(PMPI_File_write_at(file, offset, data, count, type, status), count, type,
                     status);
}

int MPI_File_write_at_all(MPI_File file, MPI_Offset offset, const void *data, int count,
                          MPI_Datatype type, MPI_Status *status) {
  return TellWritten(PMPI_File_write_at_all(file, offset, data, count, type, status), count, type,
                     status);
}

int MPI_File_set_size(MPI_File file, MPI_Offset size) {
  return Tell(PMPI_File_set_size(file, size));
}

int MPI_File_sync(MPI_File file) {
  return Tell(PMPI_File_sync(file));
}

int MPI_File_close(MPI_File *file) {
  return Tell(PMPI_File_close(file));
}
