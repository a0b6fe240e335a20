#include "app/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BLOCK (1 << 20)
#define LANES 4
/* Blocks of a rank before it is asked whether to go on. */
#define ASK_BLOCKS 256

static uint64_t Rotate(uint64_t v, int bits) {
  return v << bits | v >> (64 - bits);
}

/* A permutation of 64 bits (the finaliser of MurmurHash3, A. Appleby). */
static uint64_t Mix(uint64_t v) {
  v = (v ^ v >> 33) * 0xff51afd7ed558ccdu;
  v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53u;
  return v ^ v >> 33;
}

/* Every step is a permutation of its lane for a given word, and of the word for a given lane. The
 * bytes are followed by room for PADDING, which is filled with zeros. */
#define PADDING (8 * LANES)
static uint64_t BlockDigest(unsigned char *bytes, size_t length, uint64_t number) {
  uint64_t lane[LANES] = {number, 1, 2, 3}, h = length;

  memset(bytes + length, 0, PADDING);
  for (size_t i = 0; i < length; i += PADDING)
    for (int k = 0; k < LANES; k++) {
      uint64_t word;
      memcpy(&word, bytes + i + 8 * k, sizeof word);
      lane[k] = Rotate(lane[k] ^ word, 29) * 0x9e3779b97f4a7c15u;
    }
  for (int k = 0; k < LANES; k++) h = Mix(h ^ lane[k]);
  return h;
}

/* errno, 0 when all bytes came. */
static int ReadAll(int file, unsigned char *bytes, size_t length, off_t offset) {
  while (length) {
    const ssize_t got = pread(file, bytes, length, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got ? errno : ENODATA;
    bytes += got;
    length -= (size_t)got;
    offset += got;
  }
  return 0;
}

PetscErrorCode MFGFileDigest(MPI_Comm comm, const char *path, int64_t begin, int64_t end,
                             MFGWatch *watch, uint64_t *digest, int *reason) {
  const int file = open(path, O_RDONLY);
  PetscMPIInt rank, size;
  unsigned char *bytes;
  uint64_t sum = 0;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCall(PetscMalloc1(BLOCK + PADDING, &bytes));
  *reason = file < 0 ? errno : 0;
  for (int64_t round = 0; begin + round * size * BLOCK < end; round++) {
    const int64_t b = round * size + rank, from = begin + b * BLOCK;
    const size_t length = (size_t)PetscMax(0, PetscMin(BLOCK, end - from));
    if (!*reason && length) *reason = ReadAll(file, bytes, length, (off_t)from);
    if (!*reason && length) sum += BlockDigest(bytes, length, (uint64_t)b);
    if (round % ASK_BLOCKS == ASK_BLOCKS - 1) PetscCall(MFGWatchSetup(watch));
  }
  if (file >= 0) (void)close(file);
  PetscCall(PetscFree(bytes));
  PetscCallMPI(MPI_Allreduce(&sum, digest, 1, MPI_UINT64_T, MPI_SUM, comm));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, reason, 1, MPI_INT, MPI_MAX, comm));
  PetscFunctionReturn(PETSC_SUCCESS);
}
