#include "app/exact.h"
#include "app/problem.h"
#include "app/progress.h"
#include "app/run.h"

/* Errors against the exact solution, largest over all levels, and what they may be. */
typedef struct {
  double u, m;             /* max |U - u|; L1 norm of M - m */
  double u_bound, m_bound; /* scheme + kernel bias + sampling noise, each computed */
  double seconds;
  MFGStopReason reason;
} Verdict;

/* Exact values at the owned cells of one level. */
static PetscErrorCode Exact(const MFGExact *exact, const MFGBlock *b, double t, double *x,
                            MFGExactPoint *values) {
  int64_t i = 0;

  PetscFunctionBeginUser;
  for (int c[3] = {0}; c[2] < b->count[2]; c[2]++)
    for (c[1] = 0; c[1] < b->count[1]; c[1]++)
      for (c[0] = 0; c[0] < b->count[0]; c[0]++, i++)
        for (int k = 0; k < b->dim; k++)
          x[i * b->dim + k] = MFGCellCenter(b, k, b->start[k] + c[k]);
  exact->solution(t, i, x, values);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* One level's shares of the errors: max |U - u|, and sums of |M - m|, |kernel bias|, mean noise. */
typedef struct {
  double u, m, bias, noise, bias_max, noise_max;
} LevelErrors;

/* Second derivative of the exact density along an axis, by its values half a cell away. */
static void CurvatureBias(const MFGExact *exact, const MFGBlock *b, double t, const double *h,
                          int64_t n, double *x, MFGExactPoint *shifted, double *bias) {
  for (int64_t i = 0; i < n; i++) bias[i] = 0;
  for (int k = 0; k < b->dim; k++) {
    const double d = b->spacing[k] / 2;
    for (int s = -1; s <= 1; s++) {
      for (int64_t i = 0; i < n; i++) x[i * b->dim + k] += s * d;
      exact->solution(t, n, x, shifted);
      for (int64_t i = 0; i < n; i++) {
        bias[i] += h[k] * h[k] / 2 * (s ? 1 : -2) * shifted[i].m / (d * d);
        x[i * b->dim + k] -= s * d;
      }
    }
  }
}

static PetscErrorCode MeasureLevel(const MFGExact *exact, const MFGProblem *p, const MFGSolution *s,
                                   int level, const double *h, LevelErrors *e) {
  const MFGBlock *b = &p->grid.block;
  const int64_t n = MFGBlockOwned(b);
  const double t = p->spec.horizon * level / p->spec.steps;
  const double *U = s->U + level * n, *M = s->M + level * n;
  double *x, *bias, kernel = 1, sums[3] = {0}, tops[3] = {0};
  MFGExactPoint *values, *shifted;

  PetscFunctionBeginUser;
  PetscCall(PetscMalloc4(n * b->dim, &x, n, &values, n, &shifted, n, &bias));
  PetscCall(Exact(exact, b, t, x, values));
  CurvatureBias(exact, b, t, h, n, x, shifted, bias);
  for (int k = 0; k < b->dim; k++) kernel /= 2 * h[k] * sqrt(PETSC_PI);
  for (int64_t i = 0; i < n; i++) {
    const double noise = sqrt(kernel * values[i].m / (double)p->spec.agents);
    const PetscBool judged =
        (PetscBool)(exact->half_width == 0 || fabs(x[i * b->dim]) < exact->half_width);
    if (judged) tops[0] = PetscMax(tops[0], fabs(U[i] - values[i].u));
    tops[1] = PetscMax(tops[1], fabs(bias[i]));
    tops[2] = PetscMax(tops[2], noise);
    sums[0] += fabs(M[i] - values[i].m);
    sums[1] += fabs(bias[i]);
    sums[2] += sqrt(2 / PETSC_PI) * noise;
  }
  PetscCall(MFGGridSum(&p->grid, 3, sums));
  PetscCall(MFGGridMax(&p->grid, 3, tops));
  const double volume = MFGCellVolume(b);
  *e = (LevelErrors){tops[0],          sums[0] * volume, sums[1] * volume,
                     sums[2] * volume, tops[1],          tops[2]};
  PetscCall(PetscFree4(x, values, shifted, bias));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* On the grid the scheme has known errors, to meet; with agents the bounds are: these errors, the
 * kernel's bias h^2 Lap m / 2, and the sampling noise. A local coupling carries bias and noise of m
 * into u, at most kappa T times. */
static PetscErrorCode Judge(const MFGExact *exact, int resolution, const MFGProblem *p,
                            const MFGSolution *s, Verdict *v) {
  const int dim = p->grid.block.dim;
  double h[MFG_MAX_DIM], carried = 0;
  LevelErrors e = {0};

  PetscFunctionBeginUser;
  for (int k = 0; k < dim; k++) h[k] = p->spec.bandwidth[k];
  v->u = v->m = v->m_bound = 0;
  for (int n = 0; n <= p->spec.steps; n++) {
    PetscCall(MeasureLevel(exact, p, s, n, h, &e));
    v->u = PetscMax(v->u, e.u);
    v->m = PetscMax(v->m, e.m);
    v->m_bound = PetscMax(v->m_bound, e.bias + 1.5 * e.noise);
    carried += p->spec.horizon / p->spec.steps * (e.bias_max + e.noise_max);
  }
  v->m_bound += exact->m_error[resolution];
  v->u_bound = 1.02 * exact->u_error[resolution] + exact->coupling * carried;
  if (!MFGProblemOnGrid(p)) PetscFunctionReturn(PETSC_SUCCESS);
  v->u_bound = exact->grid_u_error[resolution];
  v->m_bound = exact->grid_m_error[resolution];
  if (v->u_bound == 0) v->u_bound = exact->u_error[resolution];
  if (v->m_bound == 0) v->m_bound = exact->m_error[resolution];
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* The command: where it computes, how many grids of each case. */
typedef struct {
  const char *backend;
  int resolutions;
} Verification;

static PetscErrorCode SolveCase(MPI_Comm comm, const Verification *on, const MFGExact *exact,
                                PetscBool grid, int r, Verdict *v, MFGConfigErrors *errors) {
  char path[PETSC_MAX_PATH_LEN], backend[32], cells[64] = "domain.cells=", steps[64];
  char bandwidth[120] = "density.bandwidth=";
  const char *sets[] = {cells,
                        steps,
                        bandwidth,
                        "density.tolerance=1e-5",
                        grid ? "equilibrium.tolerance=1e-8" : "equilibrium.tolerance=1e-6",
                        "agents.count=200000",
                        grid ? "fokker_planck.method=grid" : "fokker_planck.method=particles",
                        backend};
  MFGConfig *config = NULL;
  MFGProblem problem;
  MFGSolution solution;
  PetscLogDouble t0, t1;
  const MFGStageCallbacks silent = {0};

  PetscFunctionBeginUser;
  PetscCall(MFGInputPath(exact->name, path));
  const int *c = exact->cells[r];
  PetscCall(PetscSNPrintf(steps, sizeof steps, "time.steps=%d", exact->steps[r]));
  PetscCall(PetscSNPrintf(backend, sizeof backend, "backend=%s", on->backend));
  for (int k = 0; k < exact->dim; k++) {
    char *end = cells + strlen(cells);
    snprintf(end, cells + sizeof cells - end, "%c%d", k ? ',' : '[', c[k]);
    end = bandwidth + strlen(bandwidth);
    snprintf(end, bandwidth + sizeof bandwidth - end, "%c%.17g", k ? ',' : '[',
             exact->width / c[k]);
  }
  strcat(cells, "]");
  strcat(bandwidth, "]");
  PetscCall(PetscTime(&t0));
  PetscCall(MFGConfigRead(comm, path, PETSC_STATIC_ARRAY_LENGTH(sets), sets, &config, errors));
  if (!errors->count) PetscCall(MFGProblemCreate(comm, config, NULL, &problem, errors));
  if (errors->count) {
    PetscCall(MFGConfigDestroy(&config));
    PetscFunctionReturn(PETSC_SUCCESS);
  }
  PetscCall(MFGSolutionCreate(&problem, PETSC_TRUE, &solution, errors));
  PetscCall(MFGProblemSolve(&problem, &silent, &solution));
  PetscCall(PetscTime(&t1));
  *v = (Verdict){.reason = solution.outcome.reason, .seconds = t1 - t0};
  PetscCall(Judge(exact, r, &problem, &solution, v));
  PetscCall(MFGSolutionDestroy(&solution));
  PetscCall(MFGProblemDestroy(&problem));
  PetscCall(MFGConfigDestroy(&config));
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Below the bounds; on the grid, equal to the reference errors in all their digits. */
static PetscBool Passes(const Verdict *v, PetscBool grid) {
  if (v->reason != MFG_STOP_CONVERGED) return PETSC_FALSE;
  if (!grid) return (PetscBool)(v->u <= v->u_bound && v->m <= v->m_bound);
  return (PetscBool)(fabs(v->u / v->u_bound - 1) < 1e-3 && fabs(v->m / v->m_bound - 1) < 1e-3);
}

static PetscErrorCode VerifyCase(MPI_Comm comm, const Verification *on, const MFGExact *exact,
                                 PetscBool grid, int *failures, MFGConfigErrors *errors) {
  Verdict v = {0}, before = {0};

  PetscFunctionBeginUser;
  const int resolutions =
      on->resolutions ? PetscMin(on->resolutions, exact->resolutions) : exact->resolutions;
  for (int r = 0; r < resolutions && !errors->count; r++) {
    char size[64], order[16] = "";
    before = v;
    PetscCall(SolveCase(comm, on, exact, grid, r, &v, errors));
    if (errors->count) break;
    const PetscBool pass = Passes(&v, grid);
    const int *c = exact->cells[r];
    MFGCellsText(exact->dim, c, sizeof size, size);
    if (r)
      snprintf(order, sizeof order, "%.2f",
               log(before.u / v.u) / log((double)c[0] / exact->cells[r - 1][0]));
    PetscCall(MFGSay(comm, "%-17s %-6s %12s %5d  %9.3e %9.3e %6s  %9.3e %9.3e  %6.1f  %s\n",
                     exact->name, grid ? "grid" : "agents", size, exact->steps[r], v.u, v.u_bound,
                     order, v.m, v.m_bound, v.seconds,
                     pass                             ? "pass"
                     : v.reason == MFG_STOP_CONVERGED ? "FAIL"
                                                      : "FAIL (not converged)"));
    *failures += !pass;
  }
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* -1 when there is no case of that name. */
static int FindCase(const char *name) {
  for (int i = 0; i < MFGExactCount(); i++)
    if (!strcmp(MFGExactCase(i)->name, name)) return i;
  return -1;
}

PetscErrorCode MFGVerify(MPI_Comm comm, const MFGCommandLine *cli, MFGExitCode *exit_code) {
  const Verification on = {cli->backend ? cli->backend : "auto", cli->resolutions};
  MFGConfigErrors errors = {0};
  int failures = 0;

  PetscFunctionBeginUser;
  for (int i = 0; i < cli->name_count; i++)
    if (FindCase(cli->names[i]) < 0) {
      PetscCall(PetscFPrintf(comm, stderr,
                             "nashflow: error: no exact case '%s'; there are:", cli->names[i]));
      for (int k = 0; k < MFGExactCount(); k++)
        PetscCall(PetscFPrintf(comm, stderr, " %s", MFGExactCase(k)->name));
      PetscCall(PetscFPrintf(comm, stderr, "\n"));
      *exit_code = MFG_EXIT_USAGE;
      PetscFunctionReturn(PETSC_SUCCESS);
    }
  PetscCall(MFGSay(comm, "Errors against exact solutions, largest over all time levels: u in the "
                         "maximum norm, m in L1.\nBounds: the scheme's reference errors, plus the "
                         "kernel's bias and the sampling noise of 200,000 agents; with the density "
                         "on the grid\nthe reference errors themselves, to be met to 1e-3 of "
                         "them.\n\n"));
  PetscCall(MFGSay(
      comm, "case              m by          cells steps    u error     bound  order    m error"
            "     bound  seconds\n"));
  const int n = cli->name_count ? cli->name_count : MFGExactCount();
  for (int i = 0; i < n && !errors.count; i++) {
    const MFGExact *exact = MFGExactCase(cli->name_count ? FindCase(cli->names[i]) : i);
    if (!exact->grid_only) PetscCall(VerifyCase(comm, &on, exact, PETSC_FALSE, &failures, &errors));
    if (!errors.count) PetscCall(VerifyCase(comm, &on, exact, PETSC_TRUE, &failures, &errors));
  }
  *exit_code = failures ? MFG_EXIT_NUMERICAL : MFG_EXIT_SUCCESS;
  if (errors.count) PetscCall(MFGInputErrorsReport(comm, &errors, exit_code));
  PetscFunctionReturn(PETSC_SUCCESS);
}
