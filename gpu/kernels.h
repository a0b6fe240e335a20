/* Launchers of the kernels, one for each operation of solvers/backend.h: what they do is said
 * there.
 *
 * Arrays of the jobs lie in device memory; the jobs themselves are read before a launcher returns.
 * Kernels run on the device's stream, in order, and nothing waits for them. Every launcher returns
 * the first error of its launches (cudaGetLastError), an error of an earlier kernel among them.
 *
 * Results are those of the CPU to the bit: the same point formulas compiled without contraction,
 * sums of integers, and of floating point numbers in the CPU's order for each element. Where a
 * point formula calls pow or log (power Hamiltonian, couplings) the last bits are the library's. */
#pragma once

#include <cuda_runtime.h>

#include "solvers/backend_jobs.h"
#include "solvers/level_point.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where kernels run. */
typedef struct {
  cudaStream_t stream;
  int multiprocessors;
  int shared;        /* bytes of shared memory that a block may have */
  int64_t portion;   /* agents whose boxes are listed at a time, a multiple of 32 */
  void *work;        /* device memory, at least what the Work function of the operation says */
  int *drift_broken; /* device address; set to 1 when an agent meets a drift that is not finite */
  MFGLevelRange *range; /* device address, in the host's memory, as the next one */
  double *sum;
} MFGDevice;

/* Bytes of device->work that an operation needs. */
int64_t MFGScanWork(const MFGScan *job, const MFGDevice *device);
int64_t MFGDepositWork(const MFGBlock *domain, const MFGAgentRange *agents,
                       const MFGMomentShape *shape, const MFGExtent *extent,
                       const MFGDevice *device);
int64_t MFGSortWork(const MFGSort *job);
int64_t MFGConvolveWork(const MFGConvolution *job);

cudaError_t MFGLaunchSample(const MFGSample *job, const MFGDevice *device);
cudaError_t MFGLaunchScan(const MFGScan *job, const MFGDevice *device);
cudaError_t MFGLaunchDeposit(const MFGBlock *domain, const MFGAgentRange *agents,
                             const MFGMomentShape *shape, const MFGExtent *extent, int64_t *moments,
                             const MFGDevice *device);
cudaError_t MFGLaunchSort(const MFGSort *job, const MFGDevice *device);

/* The operations of MFGTransitOps. Of these only pack needs work memory. */
int64_t MFGPackWork(const MFGTransit *transit);
cudaError_t MFGLaunchCopySlabs(int count, const MFGSlab slabs[], void *fields,
                               void *const buffers[], int back, const MFGDevice *device);
cudaError_t MFGLaunchDepart(const MFGTransit *transit, const MFGAgentRange *agents,
                            const int64_t *leavers, const MFGDevice *device);
cudaError_t MFGLaunchPack(const MFGTransit *transit, int axis, void *const message[2],
                          const MFGDevice *device);
cudaError_t MFGLaunchUnpack(const MFGTransit *transit, const void *const message[2],
                            const MFGDevice *device);
cudaError_t MFGLaunchCountStrays(const MFGTransit *transit, int axis, const MFGDevice *device);
cudaError_t MFGLaunchArrive(const MFGTransit *transit, const MFGAgentRange *agents,
                            const MFGDevice *device);

cudaError_t MFGLaunchConvolve(const MFGConvolution *job, const int64_t *moments, double *density,
                              const MFGDevice *device);
cudaError_t MFGLaunchMarginals(const MFGMarginals *job, const int64_t *moments, int64_t *marginals,
                               const MFGDevice *device);
cudaError_t MFGLaunchAxisSums(const MFGMarginals *job, const int64_t *marginals, MFGAxisSums *sums,
                              const MFGDevice *device);
cudaError_t MFGLaunchDirect(const MFGBlock *block, int64_t count, const double *const position[],
                            const double bandwidth[], double *density, const MFGDevice *device);

cudaError_t MFGLaunchHJBResidual(const MFGHJBStep *step, const double *u, double *residual,
                                 const MFGDevice *device);
cudaError_t MFGLaunchHJBJacobian(const MFGHJBStep *step, const double *u, double *values,
                                 const MFGDevice *device);
cudaError_t MFGLaunchHJBJacobianChange(const MFGHJBStep *step, const double *u, const double *w,
                                       double *values, const MFGDevice *device);
cudaError_t MFGLaunchHJBCoefficients(const MFGHJBStep *step, const double *u,
                                     const MFGStarLevel *level, const MFGDevice *device);
cudaError_t MFGLaunchDriftFromValue(const MFGHJBStep *step, const double *u, double *drift,
                                    const MFGDevice *device);
cudaError_t MFGLaunchCoupling(const MFGCoupling *f, int64_t n, const double *m, double *value,
                              const MFGDevice *device);

cudaError_t MFGLaunchGhosts(const MFGBlock *block, int fields, int mirror, const double *owned,
                            double *ghosted, const MFGDevice *device);

cudaError_t MFGLaunchMirrorDrift(const MFGBlock *box, int levels, double *drift,
                                 const MFGDevice *device);

cudaError_t MFGLaunchLevelGuess(const MFGLevelGuess *job, double *u, const MFGDevice *device);
/* The range goes to device->range. */
int64_t MFGLevelAcceptWork(int64_t count);
cudaError_t MFGLaunchLevelAccept(const MFGLevelAccept *job, const MFGDevice *device);
cudaError_t MFGLaunchLevelRight(const MFGLevelRight *job, double *right, const MFGDevice *device);
cudaError_t MFGLaunchLevelAdd(int64_t count, const double *x, double weight, const double *y,
                              double *sum, const MFGDevice *device);
/* The sum goes to device->sum. */
int64_t MFGLevelSumWork(int64_t count);
cudaError_t MFGLaunchLevelSum(int64_t count, const double *x, const double *weight,
                              const MFGDevice *device);

cudaError_t MFGLaunchStarSmooth(const MFGStarLevel *level, float weight, const float *b,
                                const float *x, float *next, const MFGDevice *device);
cudaError_t MFGLaunchStarRestrict(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                  const MFGStarLevel *coarse, const float *b, const float *x,
                                  float *coarse_b, const MFGDevice *device);
cudaError_t MFGLaunchStarCorrect(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const float *coarse_x, float *x,
                                 const MFGDevice *device);
cudaError_t MFGLaunchStarCoarsen(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                 const MFGStarLevel *coarse, const MFGDevice *device);
cudaError_t MFGLaunchStarProduct(const MFGBlock *block, const double *values, int transpose,
                                 const double *x, double *y, const MFGDevice *device);
cudaError_t MFGLaunchStarScale(const double *values, const MFGStarLevel *level,
                               const MFGDevice *device);
cudaError_t MFGLaunchStarTranspose(const MFGStarLevel *level, float *work,
                                   const MFGStarLevel *transposed, const MFGDevice *device);
cudaError_t MFGLaunchStarConvert(const MFGStarLevel *level, double *vector, float *field, int back,
                                 const MFGDevice *device);
cudaError_t MFGLaunchStarInvert(const MFGStarLevel *level, double *inverse,
                                const MFGDevice *device);
cudaError_t MFGLaunchStarFinish(const MFGStarFinish *job, const MFGDevice *device);

#ifdef __cplusplus
}
#endif
