/* Agents that live with the cells of this rank's box and move to another rank when they leave it.
 */
#pragma once

#include "solvers/agents.h"
#include "solvers/exchange.h"
#include "solvers/grid.h"

typedef struct MFGResidents_ *MFGResidents;

/* Collective on grid->world. Sends every agent to the rank whose box it is in. All arguments are
 * borrowed; `deviation` = sqrt(2 nu dt) sizes the messages. */
PetscErrorCode MFGResidentsCreate(const MFGGrid *grid, const MFGBackend *backend,
                                  MFGExchange exchange, const MFGAgentRange *agents, int64_t total,
                                  double deviation, MFGResidents *residents);
PetscErrorCode MFGResidentsDestroy(MFGResidents *residents);

/* Messages for agents that cross a face with the speed of their noise; drifts may need more, then
 * they grow. */
MFGTravellers MFGTravellersFor(const MFGBlock *whole, const int divisions[MFG_MAX_DIM],
                               int64_t agents, double deviation);

/* Agents for whom a rank that starts with `here` has room. */
int64_t MFGResidentsRoom(int64_t here, const MFGTravellers *travellers);

/* How often arrays or messages have changed: what was recorded before may not be replayed. */
int64_t MFGResidentsChanges(MFGResidents residents);

/* The agents here now; borrowed until the next step. Not before MFGResidentsCheck after steps: on a
 * device only then it is known how many there are. */
MFGAgentRange MFGResidentsRange(MFGResidents residents);

/* Back to where they were at Create, or at the last Save. */
PetscErrorCode MFGResidentsReset(MFGResidents residents);
PetscErrorCode MFGResidentsSave(MFGResidents residents);
PetscErrorCode MFGResidentsRestore(MFGResidents residents);

/* The rank in whose box a position of the grid is. */
int MFGResidentsOwner(MFGResidents residents, const double *position);
/* Agents of this rank's box, on the host, take the places of those here now and at the last Save;
 * peak: the most that were on one rank since Reset. */
PetscErrorCode MFGResidentsPlace(MFGResidents residents, const MFGAgents *agents, int64_t peak);
int64_t MFGResidentsPeak(MFGResidents residents);

/* Collective. One step of scan->level_begin: push, leave, arrive, deposit all agents where they are
 * now. The range and leavers of the scan are set here. Agents may get lost when a buffer overflows:
 * ask MFGResidentsCheck before the result is used. */
PetscErrorCode MFGResidentsStep(MFGResidents residents, MFGScan *scan);

/* Room to sort as many agents as their arrays hold: a sort among steps that are recorded may not
 * allocate. */
PetscErrorCode MFGResidentsReserveSort(MFGResidents residents, MFGSortScratch *scratch);
/* The agents here now, or those that Reset brings back, into the order of their cells. */
PetscErrorCode MFGResidentsSort(MFGResidents residents, MFGSortScratch *scratch);
PetscErrorCode MFGResidentsSortInitial(MFGResidents residents, MFGSortScratch *scratch);

/* Integers that a check reduces. */
#define MFG_RESIDENTS_CHECKED (3 + MFG_MAX_DIM)

/* Collective. True on all ranks when some buffer of some rank overflowed since the last check: the
 * buffers have grown, and the steps since Reset, Save or Restore must be redone. */
PetscErrorCode MFGResidentsCheck(MFGResidents residents, PetscBool *redo);

/* Collective. Largest over mean number of agents per rank, over all steps since Reset. */
PetscErrorCode MFGResidentsImbalance(MFGResidents residents, double *imbalance);
