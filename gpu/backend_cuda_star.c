#include "gpu/check.h"
#include "gpu/device.h"

/* Largest first level of those that one block of threads does: of a level of 64 x 64 cells a pass
 * takes a multiprocessor about as long as a launch. */
#define FINISH_CELLS 4096

static PetscErrorCode Product_CUDA(const MFGBlock *block, const double *values, int transpose,
                                   const double *x, double *y) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarProduct(block, values, transpose, x, y, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Scale_CUDA(const double *values, const MFGStarLevel *level) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarScale(values, level, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Coarsen_CUDA(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                   const MFGStarLevel *coarse) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarCoarsen(level, transfer, coarse, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Transpose_CUDA(const MFGStarLevel *level, float *work,
                                     const MFGStarLevel *transposed) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarTranspose(level, work, transposed, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Invert_CUDA(const MFGStarLevel *level, double *inverse) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarInvert(level, inverse, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Convert_CUDA(const MFGStarLevel *level, double *vector, float *field,
                                   int back) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarConvert(level, vector, field, back, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Smooth_CUDA(const MFGStarLevel *level, float weight, const float *b,
                                  const float *x, float *next) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarSmooth(level, weight, b, x, next, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Restrict_CUDA(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                    const MFGStarLevel *coarse, const float *b, const float *x,
                                    float *coarse_b) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarRestrict(level, transfer, coarse, b, x, coarse_b, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Correct_CUDA(const MFGStarLevel *level, const MFGStarTransfer *transfer,
                                   const MFGStarLevel *coarse, const float *coarse_x, float *x) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarCorrect(level, transfer, coarse, coarse_x, x, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

static PetscErrorCode Finish_CUDA(const MFGStarFinish *job) {
  PetscFunctionBeginUser;
  MFGCallCUDA(MFGLaunchStarFinish(job, MFGDeviceHere()));
  PetscFunctionReturn(PETSC_SUCCESS);
}

const MFGStarOps MFGStarOps_CUDA = {.name = "cuda",
                                    .product = Product_CUDA,
                                    .scale = Scale_CUDA,
                                    .coarsen = Coarsen_CUDA,
                                    .transpose = Transpose_CUDA,
                                    .invert = Invert_CUDA,
                                    .convert = Convert_CUDA,
                                    .smooth = Smooth_CUDA,
                                    .restrict_residual = Restrict_CUDA,
                                    .correct = Correct_CUDA,
                                    .finish = Finish_CUDA,
                                    .finish_cells = FINISH_CELLS};
