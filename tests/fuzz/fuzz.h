/* Targets of libFuzzer: run.sh makes inputs for them, replay.c tries the kept ones without it. */
#pragma once

#include <petscsys.h>

#include <stdint.h>
#include <stdlib.h>

/* Once, before the first input: MPI and PETSc. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* One input of a stranger. What must not happen ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise about any input whatever. */
#define MFG_PROMISE(condition, ...)                                                                \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "broken promise: " __VA_ARGS__);                                             \
      fprintf(stderr, " (%s:%d: %s)\n", __FILE__, __LINE__, #condition);                           \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)
