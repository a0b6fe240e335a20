/* Games with a known solution: the answers `verify` and the tests hold the solver against. Written
 * down here independently of the input files, whose formulas they check. nu = sigma^2/2, H =
 * |p|^2/2. */
#pragma once

#include <petscsys.h>

#include "solvers/stencil.h"

typedef struct {
  double u, m;
} MFGExactPoint;

typedef struct {
  const char *name; /* of the input file, without .yaml */
  const char *about;
  int dim;
  double nu, horizon, coupling; /* kappa of the local coupling kappa (m - m_exact) */
  double half_width;            /* errors of u are judged where |x| is below; 0: everywhere */
  double width;                 /* of the box, on every axis */
  /* At n points x[n][dim] of one time. */
  void (*solution)(double t, int64_t n, const double *x, MFGExactPoint *values);
  /* Errors of the finite difference scheme with cells of the resolutions below (steps likewise), to
   * hold ours against: u in the maximum norm, m in L1. */
  int resolutions;
  int cells[4][MFG_MAX_DIM], steps[4];
  double u_error[4], m_error[4];
  /* With the density on the grid, to four digits; 0: those above. */
  double grid_u_error[4], grid_m_error[4];
  PetscBool grid_only;
} MFGExact;

int MFGExactCount(void);
const MFGExact *MFGExactCase(int index);

/* Mean and variance per axis of the LQ cases at time t, by their ordinary differential equations.
 */
void MFGExactGaussian(const char *name, double t, double *mean, double *variance);
