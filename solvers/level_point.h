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

/* Sums of fields have one order everywhere: a field is cut into parts of so many rows of so many
 * lanes. Each lane of a part adds its numbers, one of each row; then the upper half of the lanes is
 * added to the lower one, until one is left. The parts' sums are added in the same way, part p in
 * lane p mod MFG_SUM_LANES, of as many rows as there are. */
#define MFG_SUM_LANES 256
#define MFG_SUM_PART (16 * MFG_SUM_LANES)

#define MFG_LEVEL_RANGE_NONE                                                                       \
  { DBL_MAX, -DBL_MAX, 0 }
