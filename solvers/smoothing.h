/* The kernel of the density estimate as a map between densities on the grid:
 *
 *   (K m)_i = sum_j m_j prod_k w_k(i_k - j_k),   w(s) = dx/(h sqrt(2 pi)) exp(-(s dx)^2 / (2 h^2))
 *
 * over all cells j and their images: periodic axes wrap, walls mirror. The estimate from agents
 * with density m tends to it as they become many and cells small. */
#pragma once

#include "solvers/grid.h"

/* Collective on grid->comm. field[owned] <- K field; bandwidth[dim] in units of length, > 0. Each
 * rank works on the whole field. */
PetscErrorCode MFGSmooth(const MFGGrid *grid, const double *bandwidth, double *field);
