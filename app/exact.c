#include "app/exact.h"

/* Torus: phi = 1 + eps e^{-L(T-t)} P, psi = 1 + delta e^{-Lt} P, P = prod cos 2 pi x, L = 4 pi^2 d
 * nu; u = -2 nu log phi, m = phi psi / (1 + eps delta e^{-LT} / 2^d). */
static MFGExactPoint Torus(int dim, double t, const double x[]) {
  const double nu = 0.05, T = 0.5, eps = 0.8, delta = 0.8;
  const double L = 4 * PETSC_PI * PETSC_PI * dim * nu;
  double P = 1, two = 1;
  for (int k = 0; k < dim; k++) P *= cos(2 * PETSC_PI * x[k]), two *= 2;
  const double phi = 1 + eps * exp(-L * (T - t)) * P, psi = 1 + delta * exp(-L * t) * P;
  return (MFGExactPoint){-2 * nu * log(phi), phi * psi / (1 + eps * delta * exp(-L * T) / two)};
}

static void Torus1D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  for (int64_t i = 0; i < n; i++) values[i] = Torus(1, t, x + i);
}

static void Torus2D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  for (int64_t i = 0; i < n; i++) values[i] = Torus(2, t, x + 2 * i);
}

static void Torus3D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  for (int64_t i = 0; i < n; i++) values[i] = Torus(3, t, x + 3 * i);
}

/* Box with walls: phi = 1 + eps e^{-pi^2 nu (T-t)} cos pi x + delta e^{-4 pi^2 nu (T-t)} cos 2 pi
 * y, psi = 1 + beta e^{-2 pi^2 nu t} cos pi x cos pi y; u = -2 nu log phi, m = phi psi. */
static MFGExactPoint NoFlux(double t, const double x[]) {
  const double nu = 0.1, T = 0.5, eps = 0.4, delta = 0.3, beta = 0.5, pi = PETSC_PI;
  const double phi = 1 + eps * exp(-pi * pi * nu * (T - t)) * cos(pi * x[0]) +
                     delta * exp(-4 * pi * pi * nu * (T - t)) * cos(2 * pi * x[1]);
  const double psi = 1 + beta * exp(-2 * pi * pi * nu * t) * cos(pi * x[0]) * cos(pi * x[1]);
  return (MFGExactPoint){-2 * nu * log(phi), phi * psi};
}

static void NoFlux2D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  for (int64_t i = 0; i < n; i++) values[i] = NoFlux(t, x + 2 * i);
}

/* Heat flow: m = prod 1 + a e^{-kappa k^2 t} cos k x over the axes, u = (kappa - nu) log m; k is 2
 * pi n on a periodic axis and pi n between walls. */
static MFGExactPoint HeatFlow(int dim, double t, const double x[], const double k[],
                              const double a[]) {
  const double nu = 0.05, kappa = 0.15;
  double m = 1;
  for (int i = 0; i < dim; i++) m *= 1 + a[i] * exp(-kappa * k[i] * k[i] * t) * cos(k[i] * x[i]);
  return (MFGExactPoint){(kappa - nu) * log(m), m};
}

static void HeatFlow2D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  const double k[] = {2 * PETSC_PI, 3 * PETSC_PI}, a[] = {0.5, 0.4};
  for (int64_t i = 0; i < n; i++) values[i] = HeatFlow(2, t, x + 2 * i, k, a);
}

static void HeatFlow3D(double t, int64_t n, const double *x, MFGExactPoint *values) {
  const double k[] = {2 * PETSC_PI, 3 * PETSC_PI, PETSC_PI}, a[] = {0.4, 0.3, 0.5};
  for (int64_t i = 0; i < n; i++) values[i] = HeatFlow(3, t, x + 3 * i, k, a);
}

/* Linear-quadratic, F = q x^2/2 + qbar (x - s mu)^2/2, G = c (x - xT)^2/2, m = N(mu, v),
 * u = a x^2/2 + b x + e. Backward:  a' = a^2 - q - qbar,  b' = a b + qbar s mu,
 * -e' = nu a - b^2/2 + qbar s^2 mu^2/2.  Forward:  mu' = -a mu - b,  v' = -2 a v + 2 nu. */
typedef struct {
  double qbar, target, mean0;
} LQ;

typedef struct {
  double a, b, e, mu, v;
} LQState;

static const double lqNu = 0.125, lqHorizon = 1;

/* a in closed form; with p = a mu + b:  p' = -q mu = -mu and mu' = -p, so mu = A cosh t + B sinh t
 * with A = mean0 and p(T) = mu(T) - xT. For LQ-1 mu = b = 0. */
static LQState LQAt(const LQ *lq, double t) {
  const double r = sqrt(1 + lq->qbar), T = lqHorizon, theta = atanh(1 / r);
  const double A = lq->mean0, B = lq->target * exp(-T) - A;
  LQState s = {.a = 1};
  if (lq->qbar > 0) s.a = r * tanh(r * (T - t) + theta);
  s.mu = A * cosh(t) + B * sinh(t);
  s.b = -(A * sinh(t) + B * cosh(t)) - s.a * s.mu;
  return s;
}

/* e and v by Simpson's rule and RK4: smooth, 2000 intervals leave an error below 1e-13. */
static LQState LQSolve(const LQ *lq, double t) {
  const int n = 2000;
  LQState s = LQAt(lq, t);
  double h = (lqHorizon - t) / n;

  s.e = lq->target * lq->target / 2;
  for (int i = 0; i <= n; i++) {
    const LQState p = LQAt(lq, t + i * h);
    const double w = i == 0 || i == n ? 1 : i % 2 ? 4 : 2;
    s.e += w * h / 3 * (lqNu * p.a - p.b * p.b / 2 + lq->qbar * p.mu * p.mu / 2);
  }
  h = t / n;
  s.v = 0.25;
  for (int i = 0; i < n; i++) {
    const double a0 = LQAt(lq, i * h).a, a1 = LQAt(lq, (i + 0.5) * h).a,
                 a2 = LQAt(lq, (i + 1) * h).a;
    const double k1 = 2 * lqNu - 2 * a0 * s.v, k2 = 2 * lqNu - 2 * a1 * (s.v + h / 2 * k1),
                 k3 = 2 * lqNu - 2 * a1 * (s.v + h / 2 * k2),
                 k4 = 2 * lqNu - 2 * a2 * (s.v + h * k3);
    s.v += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return s;
}

static const LQ lq1 = {.qbar = 0, .target = 0, .mean0 = 0},
                lq2 = {.qbar = 1, .target = 0.5, .mean0 = -0.5};

static void LQPoints(const LQ *lq, double t, int64_t n, const double *x, MFGExactPoint *values) {
  const LQState s = LQSolve(lq, t);
  for (int64_t i = 0; i < n; i++)
    values[i] =
        (MFGExactPoint){s.a * x[i] * x[i] / 2 + s.b * x[i] + s.e,
                        exp(-(x[i] - s.mu) * (x[i] - s.mu) / (2 * s.v)) / sqrt(2 * PETSC_PI * s.v)};
}

static void LQ1(double t, int64_t n, const double *x, MFGExactPoint *values) {
  LQPoints(&lq1, t, n, x, values);
}

static void LQ2(double t, int64_t n, const double *x, MFGExactPoint *values) {
  LQPoints(&lq2, t, n, x, values);
}

void MFGExactGaussian(const char *name, double t, double *mean, double *variance) {
  const LQState s = LQSolve(strcmp(name, "lq_1d") ? &lq2 : &lq1, t);
  *mean = s.mu;
  *variance = s.v;
}

/* LQ-3, F = x^2/2 + gamma log m, G = 0: a' = a^2 - 1 + gamma/v, v' = -2 a v + 2 nu,
 * e' = -nu a + gamma/2 log(2 pi v) with a(0) and e(0) for which a(T) = e(T) = 0; RK4. */
static void LQ3Rate(const double y[3], double rate[3]) {
  const double gamma = 0.1;
  rate[0] = y[0] * y[0] - 1 + gamma / y[1];
  rate[1] = -2 * y[0] * y[1] + 2 * lqNu;
  rate[2] = -lqNu * y[0] + gamma / 2 * log(2 * PETSC_PI * y[1]);
}

static void LQ3State(double t, double y[3]) {
  const int n = 2000;
  const double h = t / n, weight[] = {0, 0.5, 0.5, 1};
  y[0] = 0.524091781560;
  y[1] = 0.25;
  y[2] = 0.009632509917;
  for (int i = 0; i < n; i++) {
    double k[4][3];
    for (int stage = 0; stage < 4; stage++) {
      double at[3];
      for (int j = 0; j < 3; j++) at[j] = y[j] + (stage ? h * weight[stage] * k[stage - 1][j] : 0);
      LQ3Rate(at, k[stage]);
    }
    for (int j = 0; j < 3; j++) y[j] += h / 6 * (k[0][j] + 2 * k[1][j] + 2 * k[2][j] + k[3][j]);
  }
}

static void LQ3(double t, int64_t n, const double *x, MFGExactPoint *values) {
  double y[3];
  LQ3State(t, y);
  for (int64_t i = 0; i < n; i++)
    values[i] = (MFGExactPoint){y[0] * x[i] * x[i] / 2 + y[2],
                                exp(-x[i] * x[i] / (2 * y[1])) / sqrt(2 * PETSC_PI * y[1])};
}

/* Reference errors: T1 and T2 of the finite difference scheme with the exact adjoint; LQ-1 upwind
 * for u, half the allowed error of the variance for m; LQ-2 by
 * tests/reference/scheme_lq_mean_field.py, LQ-1 and LQ-3 on the grid by scheme_lq_log.py beside it;
 * T5 by tests/reference/scheme_heat_flow.py. */
static const MFGExact cases[] = {
    {.name = "torus_1d",
     .about = "T1: periodic, local coupling",
     .dim = 1,
     .nu = 0.05,
     .horizon = 0.5,
     .coupling = 1,
     .width = 1,
     .solution = Torus1D,
     .resolutions = 4,
     .cells = {{20}, {40}, {80}, {160}},
     .steps = {20, 40, 80, 160},
     .u_error = {5.157e-3, 2.597e-3, 1.296e-3, 6.466e-4},
     .m_error = {3.521e-2, 1.864e-2, 9.654e-3, 4.907e-3}},
    {.name = "torus_2d",
     .about = "T1: periodic, local coupling",
     .dim = 2,
     .nu = 0.05,
     .horizon = 0.5,
     .coupling = 1,
     .width = 1,
     .solution = Torus2D,
     .resolutions = 3,
     .cells = {{10, 10}, {20, 20}, {40, 40}},
     .steps = {10, 20, 40},
     .u_error = {9.956e-3, 5.645e-3, 2.878e-3},
     .m_error = {4.488e-2, 2.627e-2, 1.415e-2}},
    {.name = "noflux_2d",
     .about = "T2: walls, local coupling",
     .dim = 2,
     .nu = 0.1,
     .horizon = 0.5,
     .coupling = 1,
     .width = 1,
     .solution = NoFlux2D,
     .resolutions = 3,
     .cells = {{10, 14}, {20, 28}, {40, 56}},
     .steps = {10, 20, 40},
     .u_error = {9.379e-3, 4.706e-3, 2.330e-3},
     .m_error = {2.102e-2, 1.141e-2, 5.948e-3}},
    {.name = "lq_1d",
     .about = "LQ-1: linear-quadratic",
     .dim = 1,
     .nu = 0.125,
     .horizon = 1,
     .half_width = 1.5,
     .width = 6,
     .solution = LQ1,
     .resolutions = 3,
     .cells = {{60}, {120}, {240}},
     .steps = {30, 60, 120},
     .u_error = {4.5e-2, 2.3e-2, 1.2e-2},
     .m_error = {1.0e-2, 5.0e-3, 4.0e-3},
     .grid_u_error = {4.511e-2, 2.314e-2, 1.172e-2},
     .grid_m_error = {6.167e-2, 3.243e-2, 1.670e-2}},
    {.name = "lq_mean_field_1d",
     .about = "LQ-2: attraction to the mean",
     .dim = 1,
     .nu = 0.125,
     .horizon = 1,
     .half_width = 1.5,
     .width = 8,
     .solution = LQ2,
     .resolutions = 3,
     .cells = {{80}, {160}, {320}},
     .steps = {30, 60, 120},
     .u_error = {9.532e-2, 4.868e-2, 2.460e-2},
     .m_error = {4.294e-2, 2.125e-2, 1.057e-2},
     .grid_u_error = {8.166e-2, 4.191e-2, 2.123e-2},
     .grid_m_error = {9.544e-2, 5.092e-2, 2.645e-2}},
    {.name = "lq_log_1d",
     .about = "LQ-3: logarithmic coupling",
     .dim = 1,
     .nu = 0.125,
     .horizon = 1,
     .half_width = 1.5,
     .width = 8,
     .solution = LQ3,
     .grid_only = PETSC_TRUE,
     .resolutions = 3,
     .cells = {{80}, {160}, {320}},
     .steps = {40, 80, 160},
     .grid_u_error = {1.495e-2, 7.872e-3, 4.042e-3},
     .grid_m_error = {1.456e-2, 7.506e-3, 3.809e-3}},
    {.name = "torus_3d",
     .about = "T1: periodic, local coupling",
     .dim = 3,
     .nu = 0.05,
     .horizon = 0.5,
     .coupling = 1,
     .width = 1,
     .solution = Torus3D,
     .resolutions = 3,
     .cells = {{8, 8, 8}, {16, 16, 16}, {24, 24, 24}},
     .steps = {8, 16, 24},
     .u_error = {1.176e-2, 8.383e-3, 6.098e-3},
     .m_error = {3.927e-2, 2.276e-2, 1.604e-2}},
    {.name = "heat_flow_2d",
     .about = "T5: one periodic axis, one with walls, local coupling",
     .dim = 2,
     .nu = 0.05,
     .horizon = 0.25,
     .coupling = 1,
     .width = 1,
     .solution = HeatFlow2D,
     .resolutions = 3,
     .cells = {{20, 28}, {40, 56}, {80, 112}},
     .steps = {10, 20, 40},
     .u_error = {1.929e-2, 1.052e-2, 5.484e-3},
     .m_error = {5.496e-3, 2.568e-3, 1.243e-3}},
    {.name = "heat_flow_3d",
     .about = "T5: one periodic axis, two with walls, local coupling",
     .dim = 3,
     .nu = 0.05,
     .horizon = 0.25,
     .coupling = 1,
     .width = 1,
     .solution = HeatFlow3D,
     .resolutions = 2,
     .cells = {{10, 14, 8}, {20, 28, 16}},
     .steps = {5, 10},
     .u_error = {2.527e-2, 1.473e-2},
     .m_error = {1.038e-2, 4.588e-3}},
};

int MFGExactCount(void) {
  return PETSC_STATIC_ARRAY_LENGTH(cases);
}

const MFGExact *MFGExactCase(int index) {
  return &cases[index];
}
