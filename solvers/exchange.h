/* Communication between ranks: what agents and densities need. MPI implementation in exchange.c. */
#pragma once

#include <petscsys.h>

/* Collective on comm. Sum of `count` int64 in place; exact, so independent of order. Any count. */
PetscErrorCode MFGExchangeSumInt64(MPI_Comm comm, int64_t count, int64_t *values);
