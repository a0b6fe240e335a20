#include "solvers/backend_cpu.h"

/* As many ranges side by side, so that the loop over them vectorises. */
#define LANES 16

static PetscErrorCode Guess_CPU(const MFGLevelGuess *job, double *u) {
  const double *restrict base = job->base, *restrict shift = job->shift;
  const double *second = job->second, *third = job->third, curvature = job->curvature;

  PetscFunctionBeginUser;
  if (shift)
    for (int64_t i = 0; i < job->count; i++) u[i] = base[i] + shift[i];
  else
    for (int64_t i = 0; i < job->count; i++)
      u[i] = MFGLevelExtrapolate(base[i], second[i], third[i], curvature);
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Accept_CPU(int64_t count, const double *restrict u, double *restrict level,
                                 double *restrict shift, MFGLevelRange *range) {
  double low[LANES], high[LANES], change[LANES];
  int64_t i = 0;

  PetscFunctionBeginUser;
  *range = (MFGLevelRange)MFG_LEVEL_RANGE_NONE;
  for (int l = 0; l < LANES; l++) {
    low[l] = range->minimum;
    high[l] = range->maximum;
    change[l] = range->change;
  }
  for (; i + LANES <= count; i += LANES)
    for (int l = 0; l < LANES; l++) {
      const double v = u[i + l], s = v - level[i + l], a = fabs(s);
      shift[i + l] = s;
      level[i + l] = v;
      low[l] = v < low[l] ? v : low[l];
      high[l] = v > high[l] ? v : high[l];
      change[l] = a > change[l] ? a : change[l];
    }
  for (int l = 0; l < LANES; l++) MFGLevelRangeAdd(range, low[l], high[l], change[l]);
  for (; i < count; i++) {
    shift[i] = u[i] - level[i];
    level[i] = u[i];
    MFGLevelRangeAdd(range, u[i], u[i], fabs(shift[i]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGLevelOps MFG_VARIANT_NAME(MFGLevelOps_CPU) = {
    .name = "cpu", .guess = Guess_CPU, .accept = Accept_CPU};
