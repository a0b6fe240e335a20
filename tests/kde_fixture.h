/* Crowds and boxes that the tests of the density share. */
#pragma once

#include "tests/agents_fixture.h"

#define AGENTS 3000
#define W MFG_BOUNDARY_NOFLUX
#define P MFG_BOUNDARY_PERIODIC

static const Box divided[] = {{1, {37, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {W, P, P}},
                              {1, {37, 1, 1}, {-1, 0, 0}, {2, 1, 1}, {P, P, P}},
                              {2, {19, 26, 1}, {0, -1, 0}, {1, 2, 1}, {W, P, P}},
                              {2, {19, 26, 1}, {0, -1, 0}, {1, 2, 1}, {P, W, P}},
                              {3, {9, 13, 11}, {0, -1, 2}, {1, 2, 4}, {W, P, W}},
                              {3, {17, 5, 7}, {0, -1, 2}, {1, 2, 4}, {P, W, P}}};
#define DIVIDED (sizeof divided / sizeof divided[0])

static inline MFGAgentRange Crowd(const MFGBlock *b, int64_t count, uint64_t seed) {
  MFGAgentRange a = {.id_stride = 1, .count = count};
  for (int k = 0; k < b->dim; k++) {
    a.position[k] = malloc(count * sizeof(double));
    assert_non_null(a.position[k]);
  }
  for (int64_t i = 0; i < count; i++)
    for (int k = 0; k < b->dim; k++) {
      const double length = b->upper[k] - b->lower[k];
      /* A third of the crowd lies against the lower wall, a third spreads over the box. */
      double s =
          i % 3 == 0 ? TestUniform(&seed) : 0.13 * fabs(TestNormal(&seed)) + (i % 3 == 1 ? 0 : 0.4);
      s -= floor(s);
      a.position[k][i] = b->lower[k] + s * length;
    }
  return a;
}

static inline void Release(MFGAgentRange *a) {
  for (int k = 0; k < MFG_MAX_DIM; k++) free(a->position[k]);
}

/* In 3D by the definition, so that the density there does not rest on the kernel. */
static inline void Deposit(const MFGBlock *b, const MFGAgentRange *agents,
                           const MFGMomentShape *shape, int64_t *moments) {
  const MFGBackend *backend;
  MFG_OK(MFGTestBackend(PETSC_COMM_SELF, &backend));
  if (b->dim == 3)
    DepositByDefinition(b, agents, shape, moments);
  else
    MFG_OK(MFGBackendDeposit(backend, b, agents, shape, NULL, moments));
}
