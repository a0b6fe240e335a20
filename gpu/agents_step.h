/* A step of an agent and the box it comes to: what the kernels that carry agents share. */
#pragma once

#include "gpu/threads.h"

#define MFG_WARP 32
#define MFG_ALL_LANES 0xffffffffu

/* What a launch does to all agents. */
typedef struct {
  MFGAxis axis[MFG_MAX_DIM];
  MFGExtent box, extent; /* cells of the agents, and of the moments */
  MFGAgentRange agents;
  uint64_t seed;
  uint32_t stream;
  int moves; /* else agents are deposited where they are */
  double dt, deviation;
  int level_begin, level_end;
  const double *drift;
  int ghosted, wide[MFG_MAX_DIM]; /* cells along the axes of the drift */
  int64_t component;              /* cells of one component of it */
  int order, terms, boxes, halvings[MFG_MAX_DIM];
  double scale; /* 2^S */
  unsigned long long *moments;
  int64_t field;     /* integers of one level */
  uint32_t *outside; /* bit i % 32 of word i / 32: agent i has left the box; or NULL */
  int *drift_broken;
} MFGSweep;

/* The drift of level n at x: interpolated along the last axis first, as on the CPU. */
template <int dim>
__device__ void MFGDriftAt(const MFGSweep &s, int n, const double x[], double drift[]) {
  const double *level = s.drift + (n - s.level_begin) * dim * s.component;
  int at[MFG_MAX_DIM][2] = {{0, 0}, {0, 0}, {0, 0}};
  double sign[MFG_MAX_DIM][2], weight[MFG_MAX_DIM];
#pragma unroll
  for (int k = 0; k < dim; k++) {
    const int interval = MFGIntervalOf(&s.axis[k], x[k], &weight[k]);
#pragma unroll
    for (int side = 0; side < 2; side++) {
      sign[k][side] = 1;
      at[k][side] = s.ghosted
                        ? MFGNearestIndex(interval - s.box.start[k], s.box.count[k] + 1) + side
                        : MFGDriftGhost(&s.axis[k], k, k, interval - 1 + side, &sign[k][side]);
    }
  }
#pragma unroll
  for (int c = 0; c < dim; c++) {
    double along_x[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      double along_y[2];
#pragma unroll
      for (int j = 0; j < (dim > 1 ? 2 : 1); j++) {
        double along_z[2];
#pragma unroll
        for (int k = 0; k < (dim > 2 ? 2 : 1); k++) {
          const int side[MFG_MAX_DIM] = {i, j, k};
          const int64_t cell = ((int64_t)at[2][k] * s.wide[1] + at[1][j]) * s.wide[0] + at[0][i];
          along_z[k] = sign[c][side[c]] * level[c * s.component + cell];
        }
        along_y[j] = dim > 2 ? MFGInterpolate(along_z[0], along_z[1], weight[2]) : along_z[0];
      }
      along_x[i] = dim > 1 ? MFGInterpolate(along_y[0], along_y[1], weight[1]) : along_y[0];
    }
    drift[c] = MFGInterpolate(along_x[0], along_x[1], weight[0]);
    if (!(fabs(drift[c]) <= 1.7976931348623157e308)) atomicOr(s.drift_broken, 1);
  }
}

/* The normal numbers n dim .. n dim + dim - 1 of an agent. They come in pairs; in 1D a pair serves
 * two steps, the caller keeps it. */
template <int dim>
__device__ void MFGNormalsOfStep(const MFGSweep &s, uint64_t id, int n, bool first, double pair[2],
                                 double normal[]) {
  const int64_t begin = (int64_t)n * dim;
  if (dim == 1) {
    if (first || !(n & 1)) MFGNormalsOfPair(s.seed, id, begin / 2, s.stream, &pair[0], &pair[1]);
    normal[0] = n & 1 ? pair[1] : pair[0];
  } else if (dim == 2) {
    MFGNormalsOfPair(s.seed, id, n, s.stream, &normal[0], &normal[1]);
  } else {
    double next[2];
    MFGNormalsOfPair(s.seed, id, begin / 2, s.stream, &pair[0], &pair[1]);
    MFGNormalsOfPair(s.seed, id, begin / 2 + 1, s.stream, &next[0], &next[1]);
    normal[0] = n & 1 ? pair[1] : pair[0];
    normal[1] = n & 1 ? next[0] : pair[1];
    normal[2] = n & 1 ? next[1] : next[0];
  }
}

/* Step n of agent `id`, from x to x; `first`: of those that this thread takes. */
template <int dim>
__device__ void MFGTakeStep(const MFGSweep &s, uint64_t id, int n, bool first, double pair[2],
                            double x[]) {
  double drift[dim], normal[dim];
  MFGDriftAt<dim>(s, n, x, drift);
  MFGNormalsOfStep<dim>(s, id, n, first, pair, normal);
#pragma unroll
  for (int k = 0; k < dim; k++) {
    x[k] = MFGBoundaryRule(&s.axis[k], MFGStep(x[k], drift[k], s.dt, s.deviation, normal[k]));
    if (s.agents.offset[0]) x[k] = MFGPositionOf(&s.axis[k], MFGOffsetOf(&s.axis[k], x[k]));
  }
}

/* The number of the box of an agent at x among those of the moments, and t in it; -1: it has left
 * the cells that are its rank's. */
template <int dim> __device__ int64_t MFGBoxAt(const MFGSweep &s, const double x[], double t[]) {
  int64_t cell = 0;
  int part = 0;
#pragma unroll
  for (int k = dim - 1; k >= 0; k--) {
    const int box = MFGBoxOf(&s.axis[k], s.halvings[k], x[k], &t[k]), c = box >> s.halvings[k];
    if (s.outside && (unsigned)(c - s.box.start[k]) >= (unsigned)s.box.count[k]) return -1;
    part = part << s.halvings[k] | (box & ((1 << s.halvings[k]) - 1));
    cell = cell * s.extent.count[k] + MFGNearestIndex(c - s.extent.start[k], s.extent.count[k]);
  }
  return cell * s.boxes + part;
}
