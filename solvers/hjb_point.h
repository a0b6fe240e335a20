/* The scheme of the HJB equation at one cell: monotone upwind numerical Hamiltonian of Achdou &
 * Capuzzo-Dolcetta (SIAM J. Numer. Anal. 48(3), 2010), implicit Euler.
 *
 *   R = (u - next)/dt - nu sum_k (low_k - 2u + high_k)/h_k^2 + H(s) - sum_k (b+_k q+_k + b-_k q-_k)
 * - F q+_k = (high_k - u)/h_k,  q-_k = (u - low_k)/h_k,  s = sum_k min(q+_k,0)^2 + max(q-_k,0)^2 b+
 * = max(b,0),  b- = min(b,0)
 *
 * low_k and high_k are the neighbours' values along axis k; across a noflux wall the cell's own
 * value, so that q = 0 there. Every derivative of R to a neighbour is <= 0 and the row sums to
 * 1/dt: an M-matrix. Loops are over `dim` so that a constant dim unrolls them; the
 * Hamiltonian is a pointer to a copy whose type the caller may fix, which lets loops vectorise. */
#pragma once

#include "solvers/model.h"

/* Constants of a step, made once per call of a kernel. */
typedef struct {
  double inverse_dt;
  double inverse_h[MFG_MAX_DIM]; /* 1/h_k */
  double diffusion[MFG_MAX_DIM]; /* nu/h_k^2 */
} MFGHJBScheme;

MFG_HD MFGHJBScheme MFGHJBSchemeMake(const MFGBlock *block, double dt, double nu) {
  MFGHJBScheme c;
  c.inverse_dt = 1 / dt;
  for (int k = 0; k < MFG_MAX_DIM; k++) {
    c.inverse_h[k] = 1 / block->spacing[k];
    c.diffusion[k] = nu * c.inverse_h[k] * c.inverse_h[k];
  }
  return c;
}

MFG_HD double MFGPositivePart(double x) {
  return x > 0 ? x : 0;
}
MFG_HD double MFGNegativePart(double x) {
  return x < 0 ? x : 0;
}

/* |p|^2 of the upwind scheme. */
MFG_HD double MFGUpwindSquare(const MFGHJBScheme *c, int dim, double u, const double low[],
                              const double high[]) {
  double s = 0;
  for (int k = 0; k < dim; k++) {
    const double forward = MFGNegativePart((high[k] - u) * c->inverse_h[k]);
    const double backward = MFGPositivePart((u - low[k]) * c->inverse_h[k]);
    s += forward * forward + backward * backward;
  }
  return s;
}

/* R at one cell; b[dim] is the given drift or NULL. */
MFG_HD double MFGHJBPointResidual(const MFGHJBScheme *c, const MFGHamiltonian *h, int dim, double u,
                                  const double low[], const double high[], double next,
                                  double source, const double *b) {
  double r = (u - next) * c->inverse_dt - source;
  for (int k = 0; k < dim; k++) {
    r -= c->diffusion[k] * ((low[k] - u) + (high[k] - u));
    if (b)
      r -= c->inverse_h[k] *
           (MFGPositivePart(b[k]) * (high[k] - u) + MFGNegativePart(b[k]) * (u - low[k]));
  }
  return r + MFGHamiltonianValue(h, MFGUpwindSquare(c, dim, u, low, high));
}

/* dR/dlow_k and dR/dhigh_k, all <= 0; dR/du = 1/dt - their sum. */
MFG_HD void MFGHJBPointJacobian(const MFGHJBScheme *c, const MFGHamiltonian *h, int dim, double u,
                                const double low[], const double high[], const double *b,
                                double to_low[], double to_high[]) {
  const double slope = 2 * MFGHamiltonianSlope(h, MFGUpwindSquare(c, dim, u, low, high));
  for (int k = 0; k < dim; k++) {
    double forward = slope * MFGNegativePart((high[k] - u) * c->inverse_h[k]);
    double backward = slope * MFGPositivePart((u - low[k]) * c->inverse_h[k]);
    if (b) {
      forward -= MFGPositivePart(b[k]);
      backward -= MFGNegativePart(b[k]);
    }
    to_high[k] = forward * c->inverse_h[k] - c->diffusion[k];
    to_low[k] = -backward * c->inverse_h[k] - c->diffusion[k];
  }
}

/* How to_low and to_high of MFGHJBPointJacobian change where u, low and high change by du, dlow and
 * dhigh: the second derivative of R in this direction. R is smooth but where a difference is zero;
 * there the square's second derivative is taken as 0. */
MFG_HD void MFGHJBPointJacobianChange(const MFGHJBScheme *c, const MFGHamiltonian *h, int dim,
                                      double u, const double low[], const double high[], double du,
                                      const double dlow[], const double dhigh[], double to_low[],
                                      double to_high[]) {
  double q[MFG_MAX_DIM][2], dq[MFG_MAX_DIM][2], s = 0, ds = 0;
  for (int k = 0; k < dim; k++) {
    q[k][0] = MFGPositivePart((u - low[k]) * c->inverse_h[k]);
    q[k][1] = MFGNegativePart((high[k] - u) * c->inverse_h[k]);
    dq[k][0] = q[k][0] > 0 ? (du - dlow[k]) * c->inverse_h[k] : 0;
    dq[k][1] = q[k][1] < 0 ? (dhigh[k] - du) * c->inverse_h[k] : 0;
    s += q[k][0] * q[k][0] + q[k][1] * q[k][1];
    ds += 2 * (q[k][0] * dq[k][0] + q[k][1] * dq[k][1]);
  }
  const double slope = 2 * MFGHamiltonianSlope(h, s);
  const double change = 2 * MFGHamiltonianCurvature(h, s) * ds;
  for (int k = 0; k < dim; k++) {
    to_low[k] = -(change * q[k][0] + slope * dq[k][0]) * c->inverse_h[k];
    to_high[k] = (change * q[k][1] + slope * dq[k][1]) * c->inverse_h[k];
  }
}

/* b - H_p at the central differences (high_k - low_k)/(2 h_k): the drift of the agents. */
MFG_HD void MFGHJBPointDrift(const MFGHJBScheme *c, const MFGHamiltonian *h, int dim,
                             const double low[], const double high[], const double *b,
                             double drift[]) {
  double p[MFG_MAX_DIM], s = 0;
  for (int k = 0; k < dim; k++) {
    p[k] = (high[k] - low[k]) * (0.5 * c->inverse_h[k]);
    s += p[k] * p[k];
  }
  const double slope = 2 * MFGHamiltonianSlope(h, s);
  for (int k = 0; k < dim; k++) drift[k] = (b ? b[k] : 0) - slope * p[k];
}
