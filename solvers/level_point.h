/* Levels of a sweep in time at one cell: first guesses and what is known of a level that is solved.
 */
#pragma once

#include <float.h>

#include "solvers/stencil.h"

/* One step beyond `next` on the parabola through it and the two levels before it, or with curvature
 * 0 on the line through it and `second`. */
MFG_HD double MFGLevelExtrapolate(double next, double second, double third, double curvature) {
  return next + (next - second + curvature * (next - 2 * second + third));
}

/* Smallest and largest value, largest change; a NaN is neither. */
typedef struct {
  double minimum, maximum, change;
} MFGLevelRange;

MFG_HD void MFGLevelRangeAdd(MFGLevelRange *r, double minimum, double maximum, double change) {
  r->minimum = minimum < r->minimum ? minimum : r->minimum;
  r->maximum = maximum > r->maximum ? maximum : r->maximum;
  r->change = change > r->change ? change : r->change;
}

#define MFG_LEVEL_RANGE_NONE                                                                       \
  { DBL_MAX, -DBL_MAX, 0 }
