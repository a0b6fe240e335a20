/* The point functions of the game: Hamiltonian and local couplings. Pure, host and device.
 *
 * With s = |p|^2:   quadratic  H = s / (2 c)      power  H = s^(b/2) / (b c), b > 1
 * so that H_p = 2 H_s p with H_s = dH/ds. A given drift b(t,x) enters as H - b.p and is not in
 * here. */
#pragma once

#include <math.h>

#include "solvers/stencil.h"

typedef enum { MFG_HAMILTONIAN_QUADRATIC, MFG_HAMILTONIAN_POWER } MFGHamiltonianType;

typedef struct {
  MFGHamiltonianType type;
  double control_cost; /* c > 0 */
  double exponent;     /* b > 1; 2 for the quadratic one */
} MFGHamiltonian;

typedef enum { MFG_COUPLING_NONE, MFG_COUPLING_POWER, MFG_COUPLING_LOG } MFGCouplingType;

typedef struct {
  MFGCouplingType type;
  double strength; /* kappa */
  double exponent; /* q, of the power coupling */
} MFGCoupling;

/* The density a coupling sees at the least: log m and negative powers need one, and a mixture of
 * densities made by an accelerated iteration can be below zero. */
#define MFG_DENSITY_FLOOR 1e-12

/* H as a function of s = |p|^2 >= 0. */
MFG_HD double MFGHamiltonianValue(const MFGHamiltonian *h, double s) {
  if (h->type == MFG_HAMILTONIAN_QUADRATIC) return s / (2 * h->control_cost);
  return pow(s, h->exponent / 2) / (h->exponent * h->control_cost);
}

/* dH/ds; H_p = 2 dH/ds p. At s = 0 with b < 2 it is infinite while H_p is 0: 0 is returned. */
MFG_HD double MFGHamiltonianSlope(const MFGHamiltonian *h, double s) {
  if (h->type == MFG_HAMILTONIAN_QUADRATIC) return 1 / (2 * h->control_cost);
  return s > 0 ? pow(s, h->exponent / 2 - 1) / (2 * h->control_cost) : 0;
}

/* d^2H/ds^2; at s = 0, where that of b < 4 is infinite but multiplies |p|^2: 0. */
MFG_HD double MFGHamiltonianCurvature(const MFGHamiltonian *h, double s) {
  if (h->type == MFG_HAMILTONIAN_QUADRATIC) return 0;
  return s > 0 ? (h->exponent / 2 - 1) * pow(s, h->exponent / 2 - 2) / (2 * h->control_cost) : 0;
}

/* Running cost L of the control alpha = -H_p, the Legendre transform L = p.H_p - H, as a function
 * of s = |alpha|^2: with |p| = (c |alpha|)^(1/(b-1)), L = (1 - 1/b) |p| |alpha|. */
MFG_HD double MFGControlCost(const MFGHamiltonian *h, double s) {
  if (h->type == MFG_HAMILTONIAN_QUADRATIC) return h->control_cost * s / 2;
  const double a = sqrt(s), p = pow(h->control_cost * a, 1 / (h->exponent - 1));
  return (1 - 1 / h->exponent) * p * a;
}

/* L(a) - L(b) - L'(b).(a - b) >= 0: what the control a costs more than b where b is the best. */
MFG_HD double MFGControlExcess(const MFGHamiltonian *h, int dim, const double a[],
                               const double b[]) {
  double aa = 0, bb = 0, ba = 0, distance = 0;
  for (int k = 0; k < dim; k++) {
    aa += a[k] * a[k];
    bb += b[k] * b[k];
    ba += b[k] * (a[k] - b[k]);
    distance += (a[k] - b[k]) * (a[k] - b[k]);
  }
  if (h->type == MFG_HAMILTONIAN_QUADRATIC) return h->control_cost * distance / 2;
  const double length = sqrt(bb); /* L' = |p| b / |b| */
  const double p = length > 0 ? pow(h->control_cost * length, 1 / (h->exponent - 1)) / length : 0;
  return MFGControlCost(h, aa) - MFGControlCost(h, bb) - p * ba;
}

/* f(m): power kappa m^q, log kappa log m, with m not below MFG_DENSITY_FLOOR. */
MFG_HD double MFGCouplingValue(const MFGCoupling *f, double m) {
  if (f->type == MFG_COUPLING_NONE) return 0;
  if (m < MFG_DENSITY_FLOOR) m = MFG_DENSITY_FLOOR;
  if (f->type == MFG_COUPLING_LOG) return f->strength * log(m);
  return f->strength * (f->exponent == 1 ? m : pow(m, f->exponent));
}

/* f'(m); 0 below MFG_DENSITY_FLOOR, where f is constant. */
MFG_HD double MFGCouplingSlope(const MFGCoupling *f, double m) {
  if (f->type == MFG_COUPLING_NONE || m < MFG_DENSITY_FLOOR) return 0;
  if (f->type == MFG_COUPLING_LOG) return f->strength / m;
  return f->strength * (f->exponent == 1 ? 1 : f->exponent * pow(m, f->exponent - 1));
}
