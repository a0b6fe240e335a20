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

static PetscErrorCode Accept_CPU(const MFGLevelAccept *job, MFGLevelRange *range) {
  const int64_t count = job->count;
  const double *restrict u = job->u, factor = job->factor;
  double *restrict level = job->level, *restrict shift = job->shift;
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
      const double v = factor * u[i + l], s = v - level[i + l], a = fabs(s);
      shift[i + l] = s;
      level[i + l] = v;
      low[l] = v < low[l] ? v : low[l];
      high[l] = v > high[l] ? v : high[l];
      change[l] = a > change[l] ? a : change[l];
    }
  for (int l = 0; l < LANES; l++) MFGLevelRangeAdd(range, low[l], high[l], change[l]);
  for (; i < count; i++) {
    const double v = factor * u[i];
    shift[i] = v - level[i];
    level[i] = v;
    MFGLevelRangeAdd(range, v, v, fabs(shift[i]));
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode RightSide_CPU(const MFGLevelRight *job, double *restrict right) {
  const double *restrict level = job->level, *restrict source = job->source;
  const double dt = job->dt, weight = job->weight;

  PetscFunctionBeginUser;
  if (source)
    for (int64_t i = 0; i < job->count; i++) right[i] = level[i] / dt + weight * source[i];
  else
    for (int64_t i = 0; i < job->count; i++) right[i] = level[i] / dt;
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Add_CPU(int64_t count, const double *x, double weight, const double *y,
                              double *sum) {
  PetscFunctionBeginUser;
  for (int64_t i = 0; i < count; i++) sum[i] = x[i] + weight * y[i];
  PetscFunctionReturn(PETSC_SUCCESS);
}

static double SumOfLanes(double *lane) {
  for (int half = MFG_SUM_LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[half + l];
  return lane[0];
}

static PetscErrorCode Sum_CPU(int64_t count, const double *x, const double *weight, double *sum) {
  double parts[MFG_SUM_LANES] = {0};

  PetscFunctionBeginUser;
  for (int64_t part = 0; part * MFG_SUM_PART < count; part++) {
    const int64_t begin = part * MFG_SUM_PART, left = count - begin,
                  end = begin + (left < MFG_SUM_PART ? left : MFG_SUM_PART);
    double lane[MFG_SUM_LANES] = {0};
    for (int64_t row = begin; row < end; row += MFG_SUM_LANES) {
      const int width = end - row < MFG_SUM_LANES ? (int)(end - row) : MFG_SUM_LANES;
      if (weight)
        for (int l = 0; l < width; l++) lane[l] += x[row + l] * weight[row + l];
      else
        for (int l = 0; l < width; l++) lane[l] += x[row + l];
    }
    parts[part % MFG_SUM_LANES] += SumOfLanes(lane);
  }
  *sum = SumOfLanes(parts);
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGLevelOps MFG_VARIANT_NAME(MFGLevelOps_CPU) = {.name = "cpu",
                                                       .guess = Guess_CPU,
                                                       .accept = Accept_CPU,
                                                       .right_side = RightSide_CPU,
                                                       .add = Add_CPU,
                                                       .sum = Sum_CPU};
