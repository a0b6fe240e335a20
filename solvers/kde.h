/* Gaussian kernel density estimates of agents on the grid.
 *
 *   rho(x) = 1/(N prod_k h_k (2 pi)^(d/2)) sum_j exp(-sum_k (x_k - X_jk)^2 / (2 h_k^2))  at cell
 * centres,
 *
 * by the fast Gauss transform (Greengard & Strain, SIAM J. Sci. Stat. Comput. 12, 1991) with the
 * cells, or equal parts of them, as boxes: agents deposit integer moments in their own box, the
 * grid convolves them with Hermite weights. Finer boxes need fewer terms. A plan holds bandwidths,
 * boxes, order, radius and weight tables of all levels of a flow. */
#pragma once

#include "solvers/backend.h"
#include "solvers/grid.h"

typedef enum { MFG_DENSITY_MOMENTS, MFG_DENSITY_DIRECT } MFGDensityMethod;
typedef enum { MFG_BANDWIDTH_SILVERMAN, MFG_BANDWIDTH_SCOTT, MFG_BANDWIDTH_FIXED } MFGBandwidthRule;

/* The narrowest kernel, in cells, that a grid can show. */
#define MFG_BANDWIDTH_MIN_CELLS 0.7

typedef struct MFGDensityPlan_ *MFGDensityPlan;

/* Collective on grid->world; one rank computes the tables, all get the same bits.
 * bandwidth[levels][dim] in units of length, each from 0.7 cells to 10 lengths of its axis (else
 * an error with the remedy);
 * tolerance relative to the largest density of a crowd: order p is the smallest with
 * r^p / sqrt(p!) < tolerance / 3, r = max width of a box / (2 h). One agent alone in the corner of
 * a box can reach d^(p/2) times the tolerance. Boxes and order are those of MFGDensityShape. */
PetscErrorCode MFGDensityPlanCreate(const MFGGrid *grid, const MFGBackend *backend,
                                    MFGDensityMethod method, int64_t agents, double tolerance,
                                    int levels, const double *bandwidth, MFGDensityPlan *plan);
/* The same with cells halved as asked for, the order following from it; NULL: by MFGDensityShape.
 */
PetscErrorCode MFGDensityPlanCreateHalved(const MFGGrid *grid, const MFGBackend *backend,
                                          MFGDensityMethod method, int64_t agents, double tolerance,
                                          int levels, const double *bandwidth,
                                          const int halvings[MFG_MAX_DIM], MFGDensityPlan *plan);
/* The same with the boxes, order and radius[levels][dim] of another plan of these bandwidths,
 * perhaps made on another machine. Error: PETSC_ERR_FILE_READ where they are not. */
PetscErrorCode MFGDensityPlanCreateAs(const MFGGrid *grid, const MFGBackend *backend,
                                      MFGDensityMethod method, int64_t agents, double tolerance,
                                      int levels, const double *bandwidth,
                                      const MFGMomentShape *shape, const int *radius,
                                      MFGDensityPlan *plan);
PetscErrorCode MFGDensityPlanDestroy(MFGDensityPlan *plan);

MFGMomentShape MFGDensityPlanShape(MFGDensityPlan plan);
MFGDensityMethod MFGDensityPlanMethod(MFGDensityPlan plan);
/* [levels][dim]; borrowed. */
const int *MFGDensityPlanRadii(MFGDensityPlan plan);
/* Smallest p >= 3 with r^p / sqrt(p!) < tolerance / 3: mean and variance need 3. */
int MFGDensityOrder(double r, double tolerance);
/* Cells on each side that a kernel of so many cells of width reaches. */
int MFGDensityRadius(double cells, double tolerance);
/* The cheapest boxes and their order, by a model of the cost of one level with fixed figures. All
 * that it looks at: cells and dimension of the domain, agents of all ranks, tolerance, and the
 * narrowest and widest bandwidth of any level, per axis in cells. So the bits of a density depend
 * on nothing else. Goes through exp and log, which differ between machines. */
MFGMomentShape MFGDensityShape(const MFGBlock *domain, int64_t agents, double tolerance,
                               const double narrowest[], const double widest[]);
/* The shape with these halvings. */
MFGMomentShape MFGDensityShapeOf(int dim, int64_t agents, double tolerance,
                                 const double narrowest[], const int halvings[]);

/* The largest radius of any level, in cells per axis: moments that reach so far beyond a box on
 * each side are enough for its density. 0 on unused axes and for the direct method. */
void MFGDensityPlanRadius(MFGDensityPlan plan, int radius[MFG_MAX_DIM]);

/* Not collective. In the backend's memory, of the levels first .. first + levels - 1: moments
 * [levels][extent][boxes][terms] of all agents -> the density of `block`, [levels][owned], in a
 * fixed order of summation per cell: the same bits for any block and extent, and of how many levels
 * at a time. block NULL: the grid's own block; extent NULL: the whole grid, else as
 * MFGConvolution.extent says. */
PetscErrorCode MFGDensityEvaluate(MFGDensityPlan plan, int first, int levels, const MFGBlock *block,
                                  const MFGExtent *extent, const int64_t *moments, double *density);

/* Collective on grid->world. Agents and density in the host's memory. The exact sum over the agents
 * of all ranks, in the order of their ids,
 * which are 0 .. N - 1, each on one rank: the same bits wherever an agent is. */
PetscErrorCode MFGDensityDirect(MFGDensityPlan plan, int level, const MFGAgentRange *agents,
                                double *density);

/* Mean and variance per axis from the integer moments of one level, the same bits everywhere. On a
 * periodic axis the variance is the smallest over the faces of boxes where the circle can be cut,
 * the mean that of this cut. */
typedef struct {
  double mean[MFG_MAX_DIM], variance[MFG_MAX_DIM];
} MFGSampleStatistics;
/* Not collective. From the marginals of all agents (MFGExchangeSumInt64 adds those of ranks) and
 * their sums[dim]. Only periodic axes need the marginals themselves: else they may be NULL. */
PetscErrorCode MFGMarginalStatistics(const MFGBlock *domain, const MFGMomentShape *shape,
                                     int64_t agents, const MFGAxisSums *sums,
                                     const int64_t *marginals, MFGSampleStatistics *statistics);
/* Both for moments of all agents on the whole grid, in the memory of a backend of the host. */
PetscErrorCode MFGMomentStatistics(const MFGBackend *backend, const MFGBlock *domain,
                                   const MFGMomentShape *shape, int64_t agents,
                                   const int64_t *moments, MFGSampleStatistics *statistics);

/* Scott  h = sd N^(-1/(d+4));  Silverman  h = sd (4/((d+2) N))^(1/(d+4)).  A result below 0.7 cells
 * is raised to 0.7 cells and *raised set. */
double MFGBandwidth(MFGBandwidthRule rule, int dim, int64_t agents, double variance, double spacing,
                    PetscBool *raised);

/* Seconds spent in MFGDensityEvaluate and MFGDensityDirect with this plan, on this rank. */
double MFGDensityPlanSeconds(MFGDensityPlan plan);
