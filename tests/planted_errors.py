#!/usr/bin/env python3
"""Errors a programmer could make, planted one at a time: some test must turn red each time.

    planted_errors.py SOURCE_DIR [-DCMAKE_OPTION=...] [NAME ...]

Builds a copy of the sources, plants an error, rebuilds, runs the quick tests, takes it out again. NAME
picks plants by a part of their name. A test that only compares bits with a committed checksum does not
count: whoever changes the code would renew the checksum. Exit code 1 if nothing saw an error.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TESTS = (r"^(anderson\.linear|coupling\.cost|hjb\.(scheme|sweep)|kde\.(accuracy|bits|statistics)"
         r"|particles\.(point|physics|sweep)|random\.(normal|philox)|verification\.(scheme|lq_1d)"
         r"|run\.(discrete_equations|given_drift|step_length|torus_residual|ranks_2d))\.cpu\.np[12]$")
# cmocka test whose only answer is a checksum
CHECKSUMS = {"SameBitsForAnyPiecesAndVariant"}

# name, file, text, replacement, and the test that must see it where that is none of TESTS, or only one
PLANTS = [
    ("sign of H in the residual", "solvers/hjb_point.h",
     "return r + MFGHamiltonianValue(", "return r - MFGHamiltonianValue("),
    ("sign of H in residual and Jacobian", "solvers/model.h",
     "return s / (2 * h->control_cost);", "return -s / (2 * h->control_cost);"),
    ("upwinding from the wrong side", "solvers/hjb_point.h",
     "const double forward = MFGNegativePart((high[k] - u) * c->inverse_h[k]);\n"
     "    const double backward = MFGPositivePart((u - low[k]) * c->inverse_h[k]);",
     "const double forward = MFGPositivePart((high[k] - u) * c->inverse_h[k]);\n"
     "    const double backward = MFGNegativePart((u - low[k]) * c->inverse_h[k]);"),
    ("sign of the control", "solvers/hjb_point.h",
     "(b ? b[k] : 0) - slope * p[k]", "(b ? b[k] : 0) + slope * p[k]"),
    ("factor 1/2 of the central difference lost", "solvers/hjb_point.h",
     "(0.5 * c->inverse_h[k])", "c->inverse_h[k]"),
    ("control cost ignored", "solvers/model.h",
     "return 1 / (2 * h->control_cost);", "return 1 / 2.;"),

    ("value equation: prediction by the first sweep", "solvers/hints_value.c",
     "if (i) *seconds", "*seconds", "hints.value"),
    ("value equation: prediction of the fastest rank", "solvers/hints_value.c",
     "&now, 1, MPI_DOUBLE, MPI_MAX", "&now, 1, MPI_DOUBLE, MPI_MIN", "hints.value"),
    ("value equation: slope of the prediction from the origin", "solvers/hints_value.c",
     "/ (cells[1] - cells[0])", "/ cells[1]", "hints.value"),
    ("value equation: large grids tried on slow backends", "solvers/hints_value.c",
     "t[0] * LEVELS > PATIENCE", "t[0] > PATIENCE", "hints.value"),
    ("value equation: grids of few cells to a rank tried", "solvers/hints_value.c",
     "most * size) {", "most) {", "hints.value"),

    ("half of a sum over the ranks forgotten", "solvers/decomposition.c",
     "replicated ? 2 * (ranks - 1)", "replicated ? (ranks - 1)", "hints.choice"),
    ("sum over the ranks in an estimate forgotten", "solvers/decomposition.c",
     "2 * (ranks - 1) / ranks * reduced / h->reduce_bandwidth +", "0 * reduced +", "hints.choice"),
    ("messages of domain forgotten", "solvers/decomposition.c",
     "axes * h->message_seconds + ", "", "hints.choice"),
    ("rows in reach of the kernel forgotten", "solvers/hints.c",
     "return reach[1] * x * pairs", "return y * x * pairs", "hints.choice"),

    ("numbers of a vector left on the device", "solvers/vectors.c",
     "PetscCall(MFGMemoryCopy(b->memory, count, sizeof *host, MFG_COPY_TO_HOST, *array, host));", "",
     "vectors.staging"),

    ("local coupling dropped", "solvers/coupling.c",
     "if (cost->coupling.type == MFG_COUPLING_NONE) {", "if (cost) {"),
    ("mean of the crowd ignored", "solvers/coupling.c",
     "if (cost->mean_strength != 0) {", "if (!cost) {"),
    ("factor of the mean ignored", "solvers/coupling.c",
     "target[axis] = cost->mean_factor * mu[axis];", "target[axis] = mu[axis];"),
    ("coupling dropped from the problem", "app/problem.c",
     ".coupling = config->coupling,", ".coupling = {0},"),
    ("coupling dropped from the running cost of the game", "solvers/equilibrium_map.c",
     "PetscCall(MFGCostEvaluate(e->grid, e->fields, &e->spec.running, level, m, source));",
     "MFGCost alone = e->spec.running;\n  alone.coupling.type = MFG_COUPLING_NONE;\n"
     "  PetscCall(MFGCostEvaluate(e->grid, e->fields, &alone, level, m, source));"),
    ("terminal coupling and mean dropped", "app/problem.c",
     "MakeCost(&c->terminal_cost, terminal, p->terminal);",
     "(MFGCost){.potential_levels = terminal, .potential = p->terminal};"),
    ("terminal density a level early", "solvers/equilibrium_map.c",
     "x + (s->steps - 1) * e->owned, e->source", "x + (s->steps - 2) * e->owned, e->source"),

    ("nu = sigma^2", "app/problem.c", "c->dynamics.sigma * c->dynamics.sigma / 2,",
     "c->dynamics.sigma * c->dynamics.sigma,"),
    ("nu = sigma", "app/problem.c", "c->dynamics.sigma * c->dynamics.sigma / 2,", "c->dynamics.sigma,"),
    ("agents with sqrt(nu dt)", "solvers/backend_cpu_agents.c",
     "sqrt(2 * job->nu * job->dt)", "sqrt(job->nu * job->dt)"),
    ("HJB with nu/2", "solvers/hjb_point.h",
     "nu * c.inverse_h[k] * c.inverse_h[k]", "nu / 2 * c.inverse_h[k] * c.inverse_h[k]"),
    ("1/h for 1/h^2 in the diffusion", "solvers/hjb_point.h",
     "nu * c.inverse_h[k] * c.inverse_h[k]", "nu * c.inverse_h[k]"),

    ("axes swapped in the agents' drift", "solvers/backend_cpu_agents.c",
     "tile->drift[0][i] = MFGInterpolate(v[0], v[2], wx);\n"
     "    tile->drift[1][i] = MFGInterpolate(v[1], v[3], wx);",
     "tile->drift[1][i] = MFGInterpolate(v[0], v[2], wx);\n"
     "    tile->drift[0][i] = MFGInterpolate(v[1], v[3], wx);"),
    ("axes swapped in the agents' interpolation", "solvers/backend_cpu_agents.c",
     "wy = tile->weight[1][i], wx = tile->weight[0][i]", "wy = tile->weight[0][i], wx = tile->weight[1][i]"),
    ("axes swapped in the drift from the value", "solvers/backend_cpu_grid.c",
     "drift[k * field + i] = value[k]", "drift[(dim - 1 - k) * field + i] = value[k]"),
    ("axes swapped in the given drift", "solvers/backend_cpu_grid.c",
     "row->b[d] = step->drift + d * owned", "row->b[d] = step->drift + (b->dim - 1 - d) * owned"),
    ("both ghost signs from the first axis", "solvers/backend_cpu_agents.c",
     "MFGDriftGhost(&w->axis[1], 1, component, j - 1, &sy)", "MFGDriftGhost(&w->axis[1], 0, component, j - 1, &sy)"),
    ("axes swapped in the agents' drift, 3D", "solvers/backend_cpu_agents.c",
     "for (int c = 0; c < 3; c++) tile->drift[c][i] =", "for (int c = 0; c < 3; c++) tile->drift[2 - c][i] ="),

    ("M^n in the HJB step", "solvers/equilibrium_map.c",
     "e->x + (level - 1) * e->owned;", "e->x + PetscMax(level - 2, 0) * e->owned;"),
    ("V of t_n in the HJB step", "solvers/coupling.c",
     "cost->potential_levels > 1 ? level * owned : 0", "cost->potential_levels > 1 ? (level - 1) * owned : 0"),
    ("V and M of level n in the HJB step", "solvers/hjb_levels.c",
     "source(context, n + 1, l->source)", "source(context, PetscMax(n, 1), l->source)"),
    ("agents with the control of t_{n+1}", "solvers/hjb.c",
     "U + n * owned, &hjb->u_room", "U + PetscMin(n + 1, hjb->spec.steps) * owned, &hjb->u_room"),
    ("agents with the given drift of t_{n+1}", "solvers/hjb.c",
     "*given = MFGHJBSpecDrift(&hjb->spec, b, n),",
     "*given = MFGHJBSpecDrift(&hjb->spec, b, PetscMin(n + 1, hjb->spec.steps)),"),
    ("HJB with the given drift of t_{n+1}", "solvers/hjb.c",
     "MFGLevelChunkAt(&hjb->levels.drift, n)", "MFGLevelChunkAt(&hjb->levels.drift, n + 1)"),
    ("density of the level before", "solvers/particles_levels.c",
     "double *density = s->M + first *", "double *density = s->M + PetscMax(first - 1, 0) *"),
    ("agents go on from the last sweep", "solvers/particles.c",
     "  PetscCall(MFGAgentsCopy(&p->initial, &p->now));\n", ""),

    ("images wrap at walls", "solvers/kde_point.h",
     "const int period = periodic ? cells : 2 * cells;", "const int period = periodic ? cells : cells;"),
    ("no sign of odd moments in the mirror, x", "solvers/backend_cpu_density.c",
     "const double odd = mirrored[e] ? -unit : unit;", "const double odd = unit + 0 * mirrored[e];"),
    ("no sign of odd moments in the mirror, y and z", "solvers/backend_cpu_density.c",
     "weight[q] = mirrored && (l & 1) ? -table[q] : table[q];", "weight[q] = table[q];"),
    ("no images at walls", "solvers/backend_cpu_density.c",
     "(k & 1 ? odd : unit)", "(mirrored[e] ? 0 : k & 1 ? odd : unit)"),
    ("negative images at walls", "solvers/backend_cpu_density.c",
     "weight[q] = mirrored && (l & 1) ? -table[q] : table[q];", "weight[q] = mirrored ? -table[q] : table[q];"),
    ("no images at walls, direct", "solvers/kde_point.h",
     "if (image % 2 && b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC) return 0;", "if (image % 2) return 0;"),
    ("images of the wrong wall, direct", "solvers/kde_point.h",
     "return b->boundary[axis][0] == MFG_BOUNDARY_PERIODIC ? length : 2 * length;", "return length;"),
    ("agents walk through walls", "solvers/particle_point.h",
     "return x >= a->lower && x <= a->upper ? x : y;", "return x;"),
    ("agents wrap at walls", "solvers/particle_point.h",
     "double y = a->lower + fabs(z - folds * (2 * a->length));",
     "double y = a->lower + (z - floor(z / a->length) * a->length) + 0 * folds;"),
    ("normal drift even at walls", "solvers/particle_point.h",
     "if (axis == component) *sign = -1;", "if (axis == component) *sign = 1;"),
    ("no mirror of the value at walls", "solvers/backend_cpu_ghosts.c",
     "if (periodic ? !whole : !(mirror && at_wall)) continue;", "if (periodic ? !whole : mirror && at_wall) continue;"),

    ("given drift ignored by the agents", "solvers/hjb.c",
     "hjb->step.drift = there;", "hjb->step.drift = NULL;"),
    ("given drift ignored by the HJB step", "solvers/hjb.c",
     "hjb->step.drift = MFGLevelChunkAt(&hjb->levels.drift, n);", "hjb->step.drift = NULL;"),
    ("given drift not passed on", "app/problem.c", "p->spec.drift = p->drift;", "p->spec.drift_levels = 0;"),
    ("sign of the given drift in the HJB step", "solvers/hjb_point.h",
     "      r -= c->inverse_h[k] *\n", "      r += c->inverse_h[k] *\n"),
    ("damping of Anderson ignored", "solvers/anderson.c",
     "x[i] -= a->damping * f[i];", "x[i] -= f[i];"),
    ("damping of Picard ignored", "solvers/equilibrium.c",
     "? 1.0 / k : s->damping;", "? 1.0 / k : 1;"),
    ("random numbers drawn anew in every sweep", "solvers/equilibrium_map.c",
     "e->spec.fresh ? (uint32_t)e->outcome.iterations : 0,", "(uint32_t)e->outcome.iterations,"),
    ("same random numbers in every step", "solvers/backend_cpu_agents.c",
     "c2 = (uint32_t)b,", "c2 = (uint32_t)(b - first / 4),"),
    ("same random numbers on both axes", "solvers/backend_cpu_agents.c",
     "tile->normal[draw % 4 + (n - begin) * dim + k]", "tile->normal[draw % 4 + (n - begin) * dim]"),
    ("initial density ignored", "solvers/particles.c",
     "total += (int64_t)nearbyint(m0[c] / sum * SAMPLING_WEIGHT);",
     "total += (int64_t)nearbyint(1. / cells * SAMPLING_WEIGHT);"),

    ("edges and corners of a rim not sent", "solvers/exchange.c",
     "    s.begin[k] = k < axis ? 0 : width[k];\n"
     "    s.count[k] = k < axis ? s.size[k] : k == axis ? width[k] : box->count[k];",
     "    s.begin[k] = width[k];\n    s.count[k] = k == axis ? width[k] : box->count[k];", "exchange.halo"),
    ("agents migrate the wrong way", "solvers/backend_jobs.h",
     "if (!periodic) return to > from ? 1 : -1;", "if (!periodic) return to > from ? -1 : 1;", "exchange.halo"),
    ("drift beyond a wall of a box without its sign", "solvers/particle_point.h",
     "return factor * drift[place];", "return drift[place];", "particles.domain"),
    ("drift of some ranks counted twice on the device", "solvers/agent_drift.c",
     "MFGMemoryZero(d->backend->memory, fields * MFGBlockCells(b), sizeof(double), d->fetched));",
     "PETSC_SUCCESS);", "run.value"),
    ("shift of the level forgotten on the device", "gpu/level.cu",
     "shift[i] = change;", "shift[i] = 0;", "level.operations"),
    ("halves of a sum folded on the device", "gpu/level.cu",
     "lane[half + threadIdx.x]", "lane[2 * half - 1 - threadIdx.x]", "level.operations"),
    ("parts of a sum in one lane", "solvers/backend_cpu_level.c",
     "parts[part % MFG_SUM_LANES] +=", "parts[0] +=", "level.operations"),
    ("weights of a sum dropped on the device", "gpu/level.cu",
     "weight ? x[i] * weight[i] : x[i]", "x[i]", "level.operations"),
    ("right side without its source on the device", "gpu/level.cu",
     "job.source ? job.level[i]", "!job.dt ? job.level[i]", "level.operations"),
    ("change of a density that goes on forgotten", "solvers/fp_grid.c",
     "MFGMemoryCopy(m, p->flow.count, sizeof *M, MFG_COPY_FROM_HOST, p->change, p->shift)",
     "MFGMemoryZero(m, p->flow.count, sizeof *M, p->shift)", "fp_grid.device"),
    ("last density of a chunk left on the device", "solvers/fp_grid.c",
     "MFGLevelChunkStore(&p->flow, M, begin + 1, p->solved)",
     "MFGLevelChunkStore(&p->flow, M, begin + 1, p->solved - 1)", "fp_grid.device"),
    ("value of the sweep before on the device", "solvers/linear_step.c",
     "  MFGLevelChunkForget(&s->own_value);\n", "", "fp_grid.device"),
    ("density of the product before on the device", "solvers/linearised.c",
     "  MFGLevelChunkForget(&l->density);\n", "", "fp_grid.device"),
    ("value copied though it is there", "solvers/linear_step.c",
     "*found = shared && MFGLevelChunkHas(shared, flow, begin, end - 1) ? shared : own;",
     "*found = shared && !flow ? shared : own;", "fp_grid.device"),
    ("solution left in the vector", "solvers/vectors.c",
     "PetscCall(MFGMemoryCopy(b->memory, count, sizeof *own, MFG_COPY_WITHIN, own, array));", "", "fp_grid.device"),
    ("a level read without the table of the memory", "gpu/backend_cuda.c",
     "  *range = gpu.seen->range;\n",
     "  double x;\n"
     "  MFGCallCUDA(cudaMemcpyAsync(&x, job->level, sizeof x, cudaMemcpyDeviceToHost, gpu.device.stream));\n"
     "  *range = gpu.seen->range;\n", "hjb.device"),
    ("costs of a chunk all to its lowest level", "solvers/hjb_levels.c",
     "(double *)MFGHJBLevelsCost(l, n)", "(double *)MFGHJBLevelsCost(l, l->first)", "hjb.device"),
    ("drift around a box not exchanged", "solvers/agent_drift.c",
     "PetscCall(MFGExchangeHalo(exchange, &halo, d->fetched));", "(void)halo;", "particles.domain"),
    ("rim of the moments one cell too narrow", "solvers/particles_sweep.c",
     "if (k >= p->domain.dim || grid->divisions[k] == 1) s->halo[k] = 0;",
     "s->halo[k] = k >= p->domain.dim || grid->divisions[k] == 1 ? 0 : s->halo[k] - 1;", "particles.domain"),
    ("rim of the moments not exchanged", "solvers/particles_levels.c",
     "if (p->residents) PetscCall(MFGExchangeHalo(p->exchange, &halo, moments));", "(void)halo;",
     "particles.domain"),
    ("agents that arrive not deposited", "solvers/residents.c",
     "if (scan->shape.order && arrived.count)", "if (scan->shape.order && arrived.count < 0)", "particles.domain"),
    ("random numbers by place instead of id", "solvers/backend_cpu_agents.c",
     "if (agents->id)\n", "if (agents->id && !count)\n", "particles.domain"),
    ("full buffers not noticed", "solvers/residents.c",
     "*redo = (PetscBool)(most[0] > t->message || most[1] > t->capacity || most[2] > 0);",
     "*redo = PETSC_FALSE;", "particles.domain"),
    ("marginals of y and z swapped", "solvers/backend_cpu_marginals.c",
     "first[k] += m[term[k][0]];", "first[k] += m[term[dim - k][0]];", "kde.statistics"),
    ("kernel of the first level taken for all", "solvers/backend_cpu_density.c",
     "&job->kernel[n]", "&job->kernel[0]", "kde.bits"),
    ("kernel of the first level taken for all on a device", "gpu/density.cu",
     "kernels.level[a.level]", "kernels.level[0]", "kde.bits"),
    ("second batch of levels like the first on a device", "gpu/density.cu",
     "job->kernel[first + n]", "job->kernel[n]", "kde.bits"),
    ("boxes of a cell not reversed in the mirror, x", "solvers/backend_cpu_density.c",
     "const int box = mirrored[e] ? boxes - 1 - s : s;", "const int box = s;", "kde.accuracy"),
    ("boxes of a cell not reversed in the mirror, y and z", "solvers/backend_cpu_density.c",
     "box = mirrored ? boxes - 1 - s : s;", "box = s;", "kde.accuracy"),
    ("boxes as if in the middle of their cell", "solvers/kde.c",
     "(j - q) * spacing / h, r, h, value", "j * spacing / h, r, h, value", "kde.accuracy"),
    ("tail of the weights added on one side only", "solvers/kde.c",
     "= k & 1 ? -v : v;", "= k & 1 ? -value[k] : value[k];", "kde.accuracy"),
    ("boxes of y and z swapped in the deposit", "solvers/backend_cpu_deposit.c",
     "part[i] << halvings | (b & ((1 << halvings) - 1));",
     "part[i] | (b & ((1 << halvings) - 1)) << (k ? w->halvings[0] : 0);", "kde.accuracy"),
    ("single precision leaves the box", "solvers/particle_point.h",
     "return x < a->upper ? x : a->upper;", "return x;", "particles.single"),
    ("single precision rounded only in memory", "solvers/backend_cpu_agents.c",
     "x[i] = MFGPositionOf(&axis, offset[i]);", "x[i] += 0 * offset[i];", "particles.single"),
    ("single precision of the coordinate, not the offset", "solvers/particle_point.h",
     "return (float)(x - a->lower);", "return (float)x - (float)a->lower;", "particles.single"),
    ("travellers in single precision truncated", "solvers/backend_jobs.h",
     "record[k] = MFGAgentPosition(a, &axis[k], k, i);",
     "record[k] = a->offset[k] ? (float)MFGAgentPosition(a, &axis[k], k, i)\n"
     "                           : MFGAgentPosition(a, &axis[k], k, i);", "particles.domain"),
    ("ids stay where they are in a sort", "solvers/backend_cpu_sort.c",
     "  MoveWords(a->count, job->place, job->column, a->id);\n", "", "particles.domain"),
    ("first axis ignored in a sort", "solvers/backend_cpu_sort.c",
     "for (int k = b->dim - 1; k >= 0; k--)", "for (int k = b->dim - 1; k >= (b->dim > 1); k--)", "particles.sort"),
    ("sort that is not stable", "solvers/backend_cpu_sort.c",
     "job->place[i] = job->start[job->place[i]]++;", "job->place[i] = --job->start[job->place[i] + 1];",
     "particles.sort"),
    ("moments of one level counted for all", "solvers/sweep_layout.c",
     "((chunk + 1) * numbers * whole +", "(numbers * whole +", "run.memory"),
    ("agents counted once", "solvers/sweep_layout.c",
     "return 2 * here * agent + sorted", "return here * agent + sorted", "run.memory"),
    ("messages of the rims not counted", "solvers/exchange.c",
     "return 2 * (most[0] + most[1]);", "return 0 * (most[0] + most[1]);", "run.memory"),
    ("a rank at the wall taken for the middle", "app/dry_run_ranks.c",
     "const int middle = d[0] / 2 +", "const int middle = 0 +", "run.dry_run"),
    ("bytes of one rank told of another", "app/dry_run_ranks.c",
     "ValueGhostBytes(l, rank)}", "ValueGhostBytes(l, 0)}", "run.dry_run"),
    ("ids stay where the agents started", "solvers/agents.c",
     "  if (from->with_ids) PetscCall(MFGMemoryCopy(m, f->count, sizeof(int64_t), way, f->id, t->id));",
     "  if (from->with_ids && !t->count)\n    PetscCall(MFGMemoryCopy(m, f->count, sizeof(int64_t), way, f->id, t->id));", "particles.domain"),
    ("Fokker-Planck with J instead of its transpose", "solvers/fp_grid.c",
     "MFGLinearStepSolve(step, PETSC_TRUE, tolerance", "MFGLinearStepSolve(step, PETSC_FALSE, tolerance", "fp_grid.adjoint"),
    ("Fokker-Planck with the control of t_{n+1}", "solvers/fp_grid.c",
     "MFGLinearStepSet(step, n)", "MFGLinearStepSet(step, n + 1)", "fp_grid.adjoint"),
    ("given drift of t_{n+1} in the Fokker-Planck step", "solvers/linear_step.c",
     "MFGLevelChunkAt(s->drift, level)", "MFGLevelChunkAt(s->drift, level + 1)", "fp_grid.adjoint"),
    ("variance on a circle not cut at its best place", "solvers/fp_grid.c",
     "if (v < least) {", "if (c == 0) {", "fp_grid.adjoint"),
    ("transposed elimination without the corner", "solvers/tridiagonal.c",
     "right[i] - scalars[1] * weight : right[i]", "right[i] : right[i]", "hjb.tridiagonal"),
    ("linearised: sign of the change of the drift", "solvers/linearised.c",
     ".weight = -1,", ".weight = 1,", "newton.derivative"),
    ("linearised: coupling a level early", "solvers/linearised.c",
     "l->M + n * owned,\n                                dM + n * owned",
     "l->M + PetscMax(n - 1, 0) * owned, dM + PetscMax(n - 1, 0) * owned", "newton.derivative"),
    ("linearised: backward with the transpose", "solvers/linearised.c",
     "MFGLinearStepSolve(l->step, PETSC_FALSE", "MFGLinearStepSolve(l->step, PETSC_TRUE", "newton.derivative"),
    ("linearised: density of the iterate's level before", "solvers/linearised.c",
     "MFGLevelChunkAt(&l->density, n)", "MFGLevelChunkAt(&l->density, n) - (n > 0) * owned", "newton.derivative"),
    ("curvature of the power Hamiltonian dropped", "solvers/hjb_point.h",
     "2 * MFGHamiltonianCurvature(h, s) * ds", "0 * MFGHamiltonianCurvature(h, s) * ds", "newton.derivative"),
    ("derivative of the mean's attraction without its factor", "solvers/coupling.c",
     "*value++ -= cost->mean_strength * factor * s;", "*value++ -= cost->mean_strength * s;", "newton.derivative"),
    ("slope of the power coupling", "solvers/model.h",
     "f->exponent * pow(m, f->exponent - 1)", "pow(m, f->exponent - 1)", "newton.derivative"),
    ("kernel without its width", "solvers/smoothing.c",
     "step / sqrt(2 * PETSC_PI) * exp(-(s * step) * (s * step) / 2)", "s == 0", "smoothing.modes"),
    ("images of the kernel left out", "solvers/smoothing.c",
     "to[i] += weight[reach + s] * from[i]", "to[i] += (c + s < 0 ? 0 : weight[reach + s]) * from[i]", "smoothing.modes"),
    ("Newton about the image in place of the iterate", "solvers/equilibrium_newton.c",
     "e->iterate, e->U, e->iterate);", "e->iterate, e->U, e->phi + e->owned);", "run.newton"),
    ("agents' Newton without the grid's derivative", "solvers/equilibrium.c",
     "if (e->precondition && ", "if (0 && ", "run.newton_agents"),
    ("agents' Newton without the kernel", "solvers/equilibrium_newton.c",
     "!e->on_grid && n <= e->spec.steps", "0 && n <= e->spec.steps", "run.newton_agents"),
    ("agents' Newton from where it began, not from the grid", "solvers/continuation.c",
     "(!last && StartsOnGrid(spec))", "0", "run.newton_agents"),
    ("residuals without bound not noticed", "solvers/equilibrium_stop.c",
     "it->density_residual > DIVERGED_RESIDUAL &&", "0 &&", "run.diverged"),
    ("a stall called success", "solvers/equilibrium_stop.c",
     "e->outcome.reason = MFG_STOP_STALLED;", "e->outcome.reason = MFG_STOP_CONVERGED;", "run.stalled"),
    ("stages all of the full coupling", "solvers/continuation.c",
     "s.running.coupling.strength *= stage->coupling;", "", "run.continuation"),
    ("stages all of the given viscosity", "solvers/continuation.c",
     "s.nu *= stage->viscosity;", "", "run.continuation"),
    ("exploitability with the density of t_n", "solvers/exploitability.c",
     "MFGLevelChunkAt(&p, n + 1)", "MFGLevelChunkAt(&p, n + 1) - owned", "run.exploitability"),
    ("best response to the iterate in place of its image", "solvers/equilibrium_map.c",
     "e->x = e->phi + e->owned;", "(void)e->phi;", "run.exploitability"),
    ("advection divided by 4 on coarse grids", "solvers/backend_cpu_star.c",
     "c[i] += diffusion[face < 2 ? i : face < 4 ? J : K];",
     "c[i] = c[i] / 2 + diffusion[face < 2 ? i : face < 4 ? J : K];", "multigrid.cycles"),
    ("diffusion divided by 2 on coarse grids", "solvers/multigrid_levels.c",
     "(width * Distance(l, k, cell, j))", "Distance(l, k, cell, j)", "multigrid.cycles"),
    ("a wall taken for a periodic end in the prolongation", "solvers/multigrid_levels.c",
     "if (other >= 0 && beyond", "if (beyond", "multigrid.operator"),
    ("transposed coefficients mixed up", "solvers/backend_cpu_levels.c",
     "wd * level->c[s ^ 1][at + i]", "wd * level->c[s][at + i]", "multigrid.operator"),
    ("transposed coefficients without the widths", "solvers/backend_cpu_levels.c",
     "(float)(wd * level->c", "(float)(level->d[at + i] * level->c", "multigrid.operator"),
    ("transposed product in the other direction", "solvers/backend_cpu_star.c",
     "transpose ? s ^ 1 : s", "s", "multigrid.operator"),
    ("buffers of a recorded cycle given back", "solvers/multigrid_levels.c",
     "  PetscCall(ForgetRecordings(m));\n  for (int i = 0; i < m->count; i++) {\n    MFGMultigridLevel *l = &m->level[i];\n"
     "    const int64_t", "  for (int i = 0; i < m->count; i++) {\n    MFGMultigridLevel *l = &m->level[i];\n    const int64_t",
     "multigrid.operator"),
    ("weights of the interpolation mixed up", "solvers/backend_cpu_star.c",
     "weight[0] = used ? transfer->slope[axis][j]", "weight[0] = used ? transfer->slope[axis][n + j]", "multigrid.passes"),
    ("restriction without the widths", "solvers/backend_cpu_star.c",
     "sum[i] += weight * d[i] * MFGStarDefect", "sum[i] += (weight > 0) * d[i] * MFGStarDefect", "multigrid.passes"),
    ("corners of a field not wrapped on the device", "gpu/star_pass.h",
     "dim == 1 ? 3 : dim == 2 ? 9 : 27", "3", "multigrid.passes"),
    ("a missing barrier in the last levels of a cycle", "gpu/star_finish.cu",
     "i, s.b, s.x, next.b);\n    __syncthreads();", "i, s.b, s.x, next.b);", "gpu.cycle"),
    ("a cycle on the device waits for it", "solvers/multigrid_cycle.c",
     "  PetscCall(m->backend->star->finish(&job));\n",
     "  PetscCall(m->backend->star->finish(&job));\n  PetscCall(MFGMemorySynchronize(m->backend->memory));\n",
     "gpu.cycle"),
    ("numbers of before in a gathered level", "solvers/multigrid_cycle.c",
     "  PetscCall(MFGMemoryZero(m->backend->memory, words, sizeof(int64_t), whole));\n", "", "multigrid.operator"),
    ("no wall in the coefficients of a cycle", "solvers/backend_cpu_grid.c",
     "  FoldScaledWalls(level);\n", "  (void)FoldScaledWalls;\n", "multigrid.cycles"),
    ("HDF5 sees a write that failed", "app/mpi_file.c", "  return MPI_SUCCESS;", "  return code;", "disk.failure"),
    ("a buffer for a part of a collective write", "app/h5file.c",
     'PetscCallMPI(MPI_Info_set(*info, "cb_buffer_size", size));', ";", "disk.failure"),
    ("a lock kept by a rank that could not write", "app/h5file.c",
     '  PetscCallMPI(MPI_Info_set(*info, "romio_ds_write", "disable"));\n', "", "disk.failure"),
    ("a checkpoint that failed stays", "app/checkpoint.c", "    (void)unlink(path);\n  }\n  PetscCall(verdict)",
     "  }\n  PetscCall(verdict)", "disk.failure"),
    ("a NaN that the ranks do not all see", "solvers/grid.c", "partial[k] = INFINITY;", ";", "grid.layout"),
    ("a stop while agents are sampled not heard", "solvers/particles.c",
     "    if (p->spec.go_on) PetscCall(p->spec.go_on(p->spec.go_on_context));\n", "", "checkpoint.early"),

    ("a lost rank does not end the job", "jobs/nashflow.sbatch", "--kill-on-bad-exit=1 ", "", "slurm.killed_rank"),
    ("requeue after TERM", "jobs/slurm.sh", "for_time && [ -z \"$term\" ]", '[ -n "$usr1$term" ]', "slurm.cancel"),
    ("requeue whatever stopped the run", "jobs/slurm.sh", '[ -n "$usr1" ] || ', "true || ", "slurm.walltime"),
    ("USR1 not passed on to the run", "jobs/slurm.sh", 'kill -USR1 "$launcher" 2>/dev/null || true', "true", "slurm.early"),
    ("USR1 passed on before the run has begun", "jobs/slurm.sh", ' 2>/dev/null && ! has_begun; do', " && false; do",
     "slurm.early"),
    ("USR1 in the first lines of a script ends it", "jobs/nashflow.sbatch", "trap 'usr1=yes' USR1", ": ", "slurm.early"),
    ("no requeue after USR1", "jobs/slurm.sh", 'scontrol requeue "$SLURM_JOB_ID" || ', "", "slurm.requeue"),
    ("a failed part does not end the chain", "jobs/chain.sh", "=afterok:", "=afterany:", "slurm.chain"),
    ("a flow's neighbours across the seam of a circle", "app/read_flow.c",
     "((int)whole % n + n) % n", "((int)whole + n) % n == n - 1 ? 0 : (int)whole % n", "output.read_flow"),
    ("values of any number in a small file", "app/h5read.c",
     "Points(rank, dims) * sizeof(double) <= MAX_PACKING", "0 <= MAX_PACKING", "output.read_flow"),
    ("links into other files followed", "app/h5read.c",
     "  (void)H5Pset_elink_cb(access, RefuseExternal, NULL);\n", "  (void)RefuseExternal;\n", "fields.dataset"),

    ("shared memory keeps its values", "tests/gpu_on_host/threads.cpp",
     "if (fixed) memset(fixed, 0xff, bytes);", "(void)bytes;", "gpu_on_host.faults"),
    ("threads in the order of their numbers", "tests/gpu_on_host/threads.cpp",
     "Order().Shuffle(block.order.data(), (unsigned)block.order.size());", "", "gpu_on_host.faults"),
    ("threads may miss a barrier", "tests/gpu_on_host/threads.cpp",
     "t.state != State::AtBarrier ||", "t.state == State::InWarp ||", "gpu_on_host.faults"),
    ("work runs at once", "tests/gpu_on_host/device.cpp",
     "return TheSettings().seed % 2 == 1;", "return true;", "gpu_on_host.faults"),
    ("device memory is open to the host", "tests/gpu_on_host/memory.cpp",
     "  ProtectAll(PROT_NONE);\n", "", "gpu_on_host.faults"),
    ("new device memory holds zeros", "tests/gpu_on_host/memory.cpp",
     "memset(pages, poison, b.pages);",
     "memset(pages, poison, b.pages);\n  memset(reinterpret_cast<void *>(b.data), 0, bytes);", "gpu_on_host.faults"),
    ("freed device memory stays", "tests/gpu_on_host/memory.cpp",
     "  m.device.erase(b.begin);\n", "", "gpu_on_host.faults"),
    ("a graph in the order of its capture", "tests/gpu_on_host/streams.cpp",
     "std::swap(ready[Order().Below((unsigned)ready.size())], ready.back());",
     "std::sort(ready.rbegin(), ready.rend());", "gpu_on_host.faults"),
    ("pageable memory is captured", "tests/gpu_on_host/streams.cpp",
     "if (pageable && (error = RefuseInCapture(stream))) return error;", "", "gpu_on_host.runtime"),
    ("pinned memory is read at once", "tests/gpu_on_host/streams.cpp",
     "if (from == Place::Pageable && to == Place::Device) {", "if (from != Place::Device && to == Place::Device) {",
     "gpu_on_host.faults"),
    ("a warp's exchanges order nothing", "tests/gpu_on_host/races.cpp",
     "return a.thread / 32 == b.thread / 32 && a.exchanges != b.exchanges;", "return false;", "gpu_on_host.races"),
    ("reads race with nothing", "tests/gpu_on_host/races.cpp",
     "return a.use == Write || b.use == Write || a.use != b.use;", "return a.use == Write && b.use == Write;",
     "gpu_on_host.races"),
    ("an atomic of the marginals forgotten", "gpu/marginals.cu",
     "if (along[k]) atomicAdd(&x[k], along[k]);", "if (along[k]) x[k] += along[k];",
     "kde.statistics"),
    ("bias of the terms taken off once a list", "gpu/agents_lists.cu",
     "(unsigned long long)(sum.term[l][k] - sum.members * MFG_MOMENT_BIAS)",
     "(unsigned long long)(sum.term[l][k] - MFG_MOMENT_BIAS)", "particles.moments"),
    ("agents beyond a portion forgotten", "gpu/agents_lists.cu",
     "p * lists->most < s->agents.count && !error; p++", "p < 1 && !error; p++", "particles.moments"),
    ("sums of a warp's boxes put in the place of what was there", "gpu/agents_lists.cu",
     "if (v) moments[box * terms + k] += v;", "if (v) moments[box * terms + k] = v;", "particles.moments"),
    ("a thread's second agent forgotten", "gpu/agents_lists.cu",
     "const int64_t i = begin + a * blockDim.x + threadIdx.x;\n      list[a]",
     "const int64_t i = begin + threadIdx.x;\n      list[a]", "particles.moments"),
    ("an agent's list taken without an atomic", "gpu/agents_lists.cu",
     "if (list[a] >= 0) next[a] = atomicExch(&lists.head[list[a]], (uint32_t)(i - first) + 1);",
     "if (list[a] >= 0) next[a] = lists.head[list[a]], lists.head[list[a]] = (uint32_t)(i - first) + 1;",
     "particles.moments"),
    ("one side's cells packed for both", "gpu/transit.cu",
     "*begin = slabs.begin[which];", "*begin = slabs.begin[0];", "exchange.halo"),
    ("both sides' cells in one buffer", "solvers/exchange.c",
     "x->buffer[(back ? 2 : 0) + side]", "x->buffer[back ? 2 : 0]", "exchange.halo"),
    ("an agent put on the place of another one's leaver", "gpu/transit.cu",
     "MFGAgentFromRecord(&agents, axes.axis, dim, leavers[1 + k], record);",
     "MFGAgentFromRecord(&agents, axes.axis, dim, leavers[1 + k / 2], record);", "exchange.transit"),
    ("records from one side over those from the other", "gpu/transit.cu",
     "    before += room;\n", "", "exchange.transit"),
    ("more records announced than a message has", "gpu/transit.cu",
     "*(int64_t *)out.message[side] = Least((int64_t)counters[side], t.message);",
     "*(int64_t *)out.message[side] = (int64_t)counters[side];", "exchange.transit"),
    ("who arrives takes the first places", "gpu/transit.cu",
     "MFGAgentFromRecord(&agents, axes.axis, dim, here + i, t.record + i * (dim + 1));",
     "MFGAgentFromRecord(&agents, axes.axis, dim, i, t.record + i * (dim + 1));", "exchange.transit"),
    ("agents lost in a full message not told", "solvers/residents.c",
     "*redo = (PetscBool)(most[0] > t->message || most[1]", "*redo = (PetscBool)(most[1]", "exchange.transit"),
    ("a place taken in a message without an atomic", "gpu/transit.cu",
     "if (lane == leader) first = atomicAdd(counter, (unsigned long long)__popc(lanes));",
     "if (lane == leader) {\n    first = *counter;\n    *counter += (unsigned long long)__popc(lanes);\n  }",
     "exchange.transit"),
    ("no room to sort before steps are recorded", "solvers/particles_sweep.c",
     "    if (s->sort_every) PetscCall(MFGResidentsReserveSort(p->residents, &p->scratch));\n", "", "gpu.sweep"),
    ("work memory of a device forgotten", "solvers/sweep_layout.c",
     "         WorkBytes(l, backend, &box, room);", "         0 * WorkBytes(l, backend, &box, room);", "gpu.sweep"),
    ("component of a mirrored drift mistaken on the device", "gpu/grid_hjb.cu",
     "(int)(i / cells % box.dim), at, drift + (i - cell));", "(int)(i / cells / box.dim), at, drift + (i - cell));",
     "particles.drift"),
    ("normal component of a mirrored drift not turned round", "solvers/particle_point.h",
     "    factor *= sign;\n", "", "particles.drift"),
    ("drift of a box copied beside its cells", "solvers/agent_drift.c",
     "slab.begin[k] = box->start[k] - rim->start[k];", "slab.begin[k] = 0;", "particles.drift"),
    ("agents copied to the host between steps", "solvers/particles_sweep.c",
     "    s->scan.agents = p->now.range;\n",
     "    s->scan.agents = p->now.range;\n    double x;\n"
     "    PetscCall(MFGMemoryCopy(p->backend->memory, 1, sizeof x, MFG_COPY_TO_HOST,\n"
     "                            p->now.range.position[0], &x));\n", "gpu.sweep"),
    ("moments copied to the host between steps", "solvers/particles_sweep.c",
     "    PetscCall(MFGResidentsStep(p->residents, &s->scan));\n",
     "    PetscCall(MFGResidentsStep(p->residents, &s->scan));\n    int64_t x;\n"
     "    PetscCall(MFGMemoryCopy(p->backend->memory, 1, sizeof x, MFG_COPY_TO_HOST, s->scan.moments, &x));\n",
     "gpu.sweep"),
    ("ranks record each for itself", "solvers/recording.c",
     "  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &fresh, 1, MPI_INT, MPI_MAX, comm));\n", "  (void)comm;\n", "gpu.sweep"),
    ("buffers for neighbours that are not there", "solvers/exchange.c",
     "if (x->neighbor[k][side] >= 0) PetscCall(Reserve(x, side, bytes));",
     "PetscCall(Reserve(x, side, bytes));", "run.memory"),
    ("a clock that does not wait for the device", "app/bench_clock.c",
     "  PetscCall(MFGMemorySynchronize(bench_clock.given->memory));\n  PetscCall(PetscTime(&now));",
     "  PetscCall(PetscTime(&now));", "bench.clock"),
    ("the host's own time clocked as the density's", "app/bench_clock.c",
     "density->convolve(job, moments, density));\n  PetscCall(Turn(IDLE));\n",
     "density->convolve(job, moments, density));\n", "bench.clock"),
    ("GPU's row of the bench computed on the host", "app/bench_hjb.c",
     "  b->backend = device;\n", "  (void)device;\n", "bench.hjb"),
    ("steps never replayed", "solvers/recording.c", "if (!m->record_begin) {", "if (m) {", "gpu.sweep"),
    ("devices wait for their hosts", "tests/gpu_on_host/streams.cpp",
     "    if (CollectivesPending()) Progress();\n", "", "gpu_on_host.nccl"),
]


def programs(directory, tests):
    """Targets that these tests start, and what is loaded before several ranks."""
    started = rf'"({re.escape(str(directory / "build"))}/[^"]*)"'
    commands = re.findall(r"^add_test\(\[=\[(.*?)\]=\] (.*)\)$", (directory / "build/tests/CTestTestfile.cmake").read_text(), re.M)
    files = {pathlib.Path(file) for name, command in commands if re.match(tests, name)
             for file in re.findall(started, command)}
    return ["mfg_yield", *sorted(file.name for file in files if not file.is_dir())]


def build(directory, tests):
    """False when the planted error does not compile: then the compiler has caught it."""
    done = subprocess.run(["cmake", "--build", directory / "build", "-j2", "--target", *programs(directory, tests)],
                          capture_output=True, text=True)
    (directory / "build.log").write_text(done.stdout + done.stderr)
    return done.returncode == 0


def red_tests(directory, tests=TESTS, skipped=None):
    """Test -> names of its failed parts, for the tests that fail. Those that cannot run here go to `skipped`."""
    report = directory / "report.xml"
    report.unlink(missing_ok=True)
    subprocess.run(["ctest", "--test-dir", directory / "build", "-R", tests, "-j2", "--timeout", "40",
                    "--output-junit", report], capture_output=True)
    red, cases = {}, list(xml.etree.ElementTree.parse(report).iter("testcase"))
    assert len(cases) > (15 if tests == TESTS else 0), f"only {len(cases)} tests ran"
    for case in cases:
        skip = case.find("skipped")
        if skip is not None and skip.get("message", "").startswith("SKIP_RETURN_CODE"):
            if skipped is not None:
                skipped.add(case.get("name"))
        elif case.get("status") != "run":
            output = case.findtext("system-out") or ""
            red[case.get("name")] = sorted(set(re.findall(r"\[  FAILED  \] (\w*[a-z]\w*)$", output, re.M)))
    return red


def all_red_tests(directory, skipped=None):
    red = {}
    for tests in (TESTS, *sorted({tests_named(item[4]) for item in PLANTS if len(item) > 4})):
        assert build(directory, tests), (directory / "build.log").read_text()[-3000:]
        red |= red_tests(directory, tests, skipped)
    return red


def checks(red):
    """Those that state an answer: a test whose failed parts are checksums is left out."""
    return {name: parts for name, parts in red.items() if not parts or set(parts) - CHECKSUMS}


def tests_named(name):
    return rf"^{re.escape(name)}\.(cpu|standin|watched)\.np[12]$"


def plant(directory, name, file, text, replacement, test=None):
    """Tests that see the error, or None when it does not compile."""
    path = directory / "source" / file
    clean = path.read_text()
    assert clean.count(text) == 1, f"'{name}': the text to replace is there {clean.count(text)} times in {file}"
    path.write_text(clean.replace(text, replacement))
    try:
        tests = tests_named(test) if test else TESTS
        return red_tests(directory, tests) if build(directory, tests) else None
    finally:
        path.write_text(clean)


def stale(source):
    """Plants whose text is not there exactly once any more."""
    return [f"{file}: '{name}': the text to replace is there {count} times" for name, file, text, *_ in PLANTS
            if (count := (source / file).read_text().count(text)) != 1]


def describe(red):
    short = [re.sub(r"\.cpu", "", n) + (" (checksum)" if n not in checks(red) else "") for n in sorted(red)]
    return ", ".join(short) or "NONE"


def main():
    source, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
    if found := stale(source):
        sys.exit("\n".join(found))
    if arguments == ["--check"]:
        sys.exit(0)
    options = [a for a in arguments if a.startswith("-D")]
    names = [a for a in arguments if not a.startswith("-D")]
    missed, skipped = [], set()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        shutil.copytree(source, tmp / "source", ignore=shutil.ignore_patterns("build*", ".git", "results"))
        ninja = ["-G", "Ninja"] if shutil.which("ninja") else []  # much faster where little is to build
        subprocess.run(["cmake", "-S", tmp / "source", "-B", tmp / "build", "-DCMAKE_BUILD_TYPE=Release", *ninja,
                        *options], check=True, capture_output=True)
        red = all_red_tests(tmp, skipped)
        assert not red, f"red without a planted error: {describe(red)}"
        for item in PLANTS:
            if names and not any(n in item[0] for n in names):
                continue
            if len(item) > 4 and any(re.match(tests_named(item[4]), test) for test in skipped):
                print(f"{item[0]}: not tried, {item[4]} cannot run here")
                continue
            start = time.time()
            red = plant(tmp, *item)
            if red is None:
                print((tmp / "build.log").read_text()[-2000:])
                missed.append(f"{item[0]} (does not compile)")
                continue
            if not checks(red):
                missed.append(" ".join((item[0], *(f"(by {n})" for n in item[4:]))))
            print(f"{item[0]} [{item[1]}, {time.time() - start:.0f} s]\n    {describe(red)}", flush=True)
        red = all_red_tests(tmp)
        assert not red, f"red after the last error was taken out: {describe(red)}"
    for name in missed:
        print(f"NOT SEEN: {name}")
    sys.exit(1 if missed else 0)


main()
