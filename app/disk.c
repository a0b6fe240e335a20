/* For fallocate. */
#define _GNU_SOURCE
#include "app/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/run_directory.h"

PetscErrorCode MFGDiskFree(const char *directory, double *bytes) {
  struct statvfs disk;

  PetscFunctionBeginUser;
  PetscCheck(!statvfs(directory, &disk), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: %s", directory,
             strerror(errno));
  *bytes = (double)disk.f_bavail * (double)disk.f_frsize;
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDiskSync(const char *path) {
  PetscFunctionBeginUser;
  const int fd = open(path, O_RDONLY);
  const int failed = fd < 0 || fsync(fd);
  const int reason = errno;
  if (fd >= 0) (void)close(fd);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot be synchronised: %s", path,
             strerror(reason));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDiskRename(const char *from, const char *to, int64_t *bytes) {
  struct stat about;

  PetscFunctionBeginUser;
  PetscCall(MFGDiskSync(from));
  PetscCheck(!stat(from, &about) && !rename(from, to), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
  *bytes += about.st_size;
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Without it a quota or a limit would be met in the midst of a collective call, where HDF5 1.10
 * leaves the other ranks waiting (seen in H5Dcreate2 with filters). */
static PetscErrorCode Reserve(const char *path, double bytes, const char *what,
                              const char *remedy) {
  PetscFunctionBeginUser;
  const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0666);
  PetscCheck(fd >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot be created: %s", path,
             strerror(errno));
  int reason = fallocate(fd, 0, 0, (off_t)bytes) ? errno : 0;
  if (reason == EOPNOTSUPP || reason == ENOSYS || reason == EINVAL) reason = 0;
  (void)close(fd);
  if (reason)
    (void)unlink(path);
  else
    PetscCheck(!truncate(path, 0), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: %s", path,
               strerror(errno));
  PetscCheck(!reason, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             "%s: no room for the %.1f MB of the %s: %s; %s", path, bytes / 1e6, what,
             strerror(reason), remedy);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGDiskReserve(const char *directory, const char *path, double bytes,
                              const char *what, const char *remedy) {
  double room;

  PetscFunctionBeginUser;
  PetscCheck(!(errno = MFGMakeDirectories(directory)), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             "%s: cannot be created: %s; output.directory names another", directory,
             strerror(errno));
  PetscCall(MFGDiskFree(directory, &room));
  PetscCheck(bytes < room, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             "%s: the %s needs %.1f MB and %.1f MB are free; %s", directory, what, bytes / 1e6,
             room / 1e6, remedy);
  PetscCall(Reserve(path, bytes, what, remedy));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGShareVerdict(MPI_Comm comm, PetscErrorCode verdict) {
  PetscMPIInt code = (PetscMPIInt)verdict;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Bcast(&code, 1, MPI_INT, 0, comm));
  PetscFunctionReturn((PetscErrorCode)code);
}
