/* The memory in which a backend's arrays live: the host's, or that of a device.
 *
 * Work on a backend's arrays is done in the order in which it was asked for; of these operations
 * only a copy to the host and
 * a synchronisation wait until all of it is done. */
#pragma once

#include <petscsys.h>

typedef enum { MFG_COPY_WITHIN, MFG_COPY_FROM_HOST, MFG_COPY_TO_HOST } MFGCopyDirection;

typedef struct {
  const char *name;  /* "host", "device" */
  PetscBool is_host; /* the host's own: its arrays may be read and written directly */
  PetscErrorCode (*allocate)(size_t bytes, void **memory);
  PetscErrorCode (*release)(void *memory);
  PetscErrorCode (*zero)(void *memory, size_t bytes);
  PetscErrorCode (*copy)(void *to, const void *from, size_t bytes, MFGCopyDirection direction);
  PetscErrorCode (*synchronize)(void); /* waits for all work; NULL: none is ever pending */
  /* Work asked for between begin and end is recorded and not done; replay does it in one call, as
   * often as wanted. Nothing may be allocated or copied to or from the host in between. NULL: not
   * to be had. */
  PetscErrorCode (*record_begin)(void);
  PetscErrorCode (*record_end)(void **recording);
  PetscErrorCode (*replay)(void *recording);
  PetscErrorCode (*forget)(void *recording);
  /* Bytes that can still be had; NULL: as many as the system gives. */
  PetscErrorCode (*available)(size_t *bytes);
} MFGMemoryOps;

extern const MFGMemoryOps MFGMemoryOps_Host;

/* `array` is the address of a pointer to a type of `size` bytes. Contents are undefined. Error: too
 * little memory, with the bytes wanted. */
PetscErrorCode MFGMemoryAllocate(const MFGMemoryOps *memory, int64_t count, size_t size,
                                 void *array);
/* Room for at least `count` in an array that has room for *room; contents are not kept. */
PetscErrorCode MFGMemoryReserve(const MFGMemoryOps *memory, int64_t count, size_t size,
                                int64_t *room, void *array);
/* The address of a pointer, which becomes NULL; may be NULL before. */
PetscErrorCode MFGMemoryFree(const MFGMemoryOps *memory, void *array);
PetscErrorCode MFGMemoryZero(const MFGMemoryOps *memory, int64_t count, size_t size, void *array);
PetscErrorCode MFGMemoryCopy(const MFGMemoryOps *memory, int64_t count, size_t size,
                             MFGCopyDirection direction, const void *from, void *to);
/* Waits until all work asked for is done. */
PetscErrorCode MFGMemorySynchronize(const MFGMemoryOps *memory);

/* An array of the host's, in the memory: on the host it is the array itself, elsewhere a copy in
 * *room_of, which has room for *room. */
PetscErrorCode MFGMemoryStage(const MFGMemoryOps *memory, int64_t count, size_t size,
                              const void *host, int64_t *room, void *copy, const void **there);
