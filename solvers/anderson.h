/* Anderson acceleration as a SNES type with a history that can be saved and restored.
 *
 * With f = -F(x), dx_j and df_j the differences of the last iterates and their f:
 *   gamma = argmin | f_k - sum_j gamma_j df_j |,   x_{k+1} = x_k + beta f_k - sum_j gamma_j (dx_j +
 * beta df_j) Source: Walker & Ni, SIAM J. Numer. Anal. 49(4), 2011. PETSc's own hides its history.
 * The history is kept in float: a rounding of 6e-8 relative to the differences, which vanish with
 * the residual. Dot products run in a fixed order on one rank, so that 1D runs have the same bits
 * on any rank count. */
#pragma once

#include <petscsnes.h>

#include "solvers/state.h"

#define MFGANDERSON "mfganderson"

/* Registers the type; once, after PetscInitialize. */
PetscErrorCode MFGAndersonRegister(void);

/* memory >= 0 differences are kept (0: damped Picard); damping beta in (0, 1]. Options: <prefix>
 * anderson_memory and anderson_damping override both. */
PetscErrorCode MFGAndersonSetParameters(SNES snes, int memory, double damping);

/* Collective. The history as state: numbers first, since they say how many columns the arrays hold,
 * [columns] blocks of `levels` levels. X is a vector of the kind that SNESSolve will get. Saved
 * within the function at an iterate, it goes on there: after MFGAndersonResume the next SNESSolve
 * starts at that iterate with the history before it. */
PetscErrorCode MFGAndersonNumbers(SNES snes, MFGState *state);
PetscErrorCode MFGAndersonArrays(SNES snes, Vec X, int64_t levels, MFGState *state);
PetscErrorCode MFGAndersonResume(SNES snes);
