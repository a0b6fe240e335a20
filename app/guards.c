#include "app/guards.h"

#include <sys/stat.h>
#include <unistd.h>

#include "app/checkpoint_parts.h"
#include "app/disk.h"

/* The number behind the name in a file of lines "name number"; below 0: not there. A file of one
 * number has the name "". */
static double ReadNumber(const char *path, const char *name) {
  FILE *f = fopen(path, "r");
  char line[256];
  double value = -1;
  const size_t length = strlen(name);

  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, name, length) && sscanf(line + length, "%lf", &value) == 1) break;
  if (f) (void)fclose(f);
  return value;
}

/* Free below the limit of a control group, whose page cache can go; without one infinite. */
static double GroupFree(const char *directory, const char *limit, const char *used,
                        const char *cache) {
  char path[3][PETSC_MAX_PATH_LEN];
  (void)snprintf(path[0], sizeof path[0], "%s/%s", directory, limit);
  (void)snprintf(path[1], sizeof path[1], "%s/%s", directory, used);
  (void)snprintf(path[2], sizeof path[2], "%s/memory.stat", directory);
  const double most = ReadNumber(path[0], ""), now = ReadNumber(path[1], "");
  if (most < 0 || now < 0) return PETSC_MAX_REAL;
  return most - now + PetscMax(0, ReadNumber(path[2], cache));
}

/* The limit of any group on the way to the process's own, of either version of the kernel's
 * interface. */
static double GroupsFree(void) {
  FILE *f = fopen("/proc/self/cgroup", "r");
  char line[1024], directory[2048];
  double least = PETSC_MAX_REAL;

  while (f && fgets(line, sizeof line, f)) {
    const PetscBool new = (PetscBool)!strncmp(line, "0::", 3);
    char *path = strrchr(line, ':');
    if (!path || (!new && !strstr(line, ":memory:"))) continue;
    path[strcspn(path, "\n")] = '\0';
    for (path++; *path; *strrchr(path, '/') = '\0') {
      (void)snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s", new ? "" : "/memory", path);
      least = PetscMin(least,
                       new ? GroupFree(directory, "memory.max", "memory.current", "inactive_file ")
                           : GroupFree(directory, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                       "total_inactive_file "));
      if (*path != '/') break;
    }
  }
  if (f) (void)fclose(f);
  return least;
}

double MFGHostMemoryFree(void) {
  const double system = ReadNumber("/proc/meminfo", "MemAvailable:");
  return PetscMin(system < 0 ? PETSC_MAX_REAL : system * 1024, GroupsFree());
}

/* What this rank will take beyond what it has taken. */
static PetscErrorCode StillNeeded(const MFGProblem *p, double *bytes) {
  const MFGSweepLayout *l = &p->layout;
  const int ranks = l->divisions[0] * l->divisions[1] * l->divisions[2];
  PetscMPIInt rank;
  double *agents;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid.world, &rank));
  PetscCall(PetscMalloc1(ranks, &agents));
  MFGSweepShares(l, &l->whole, p->initial_density, agents);
  const MFGFootprint f = MFGProblemFootprint(p, l, rank, agents[rank]);
  PetscCall(PetscFree(agents));
  *bytes = (double)(f.total - (MFGMemoryHeld() - p->memory_before));
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGuardMemory(const MFGProblem *p) {
  const MPI_Comm world = p->grid.world;
  char host[256] = "";
  PetscMPIInt rank, on_host;
  MPI_Comm node;
  struct {
    double lack;
    int rank;
  } worst;
  double needed, figures[3];

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(world, &rank));
  PetscCallMPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node));
  PetscCallMPI(MPI_Comm_size(node, &on_host));
  PetscCall(StillNeeded(p, &needed));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &needed, 1, MPI_DOUBLE, MPI_SUM, node));
  PetscCallMPI(MPI_Comm_free(&node));
  figures[0] = needed;
  figures[1] = MFGHostMemoryFree();
  figures[2] = on_host;
  worst.lack = figures[0] - figures[1];
  worst.rank = rank;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world));
  if (gethostname(host, sizeof host - 1)) strcpy(host, "unknown");
  PetscCallMPI(MPI_Bcast(figures, 3, MPI_DOUBLE, worst.rank, world));
  PetscCallMPI(MPI_Bcast(host, sizeof host, MPI_CHAR, worst.rank, world));
  PetscCheck(worst.lack <= 0, world, PETSC_ERR_ARG_OUTOFRANGE,
             "the %d ranks on host %s will need %.1f GB of memory and %.1f GB are free; take more "
             "hosts, or fewer agents, cells, steps or equilibrium.memory; 'nashflow run CASE.yaml "
             "--dry-run' shows what needs how much",
             (int)figures[2], host, figures[0] / 1e9, figures[1] / 1e9);
  PetscFunctionReturn(PETSC_SUCCESS);
}

/* Rank 0. */
static PetscErrorCode CheckDisk(const MFGProblem *p) {
  const MFGConfig *c = p->config;
  const char *directory = c->output.directory;
  const double checkpoint = (double)MFGProblemCheckpointBytes(p);
  char path[PETSC_MAX_PATH_LEN];
  double room, there = 0;
  int count, *numbers;
  MFGFootprint f;

  PetscFunctionBeginUser;
  PetscCall(MFGProblemLargest(p, &f));
  PetscCall(MFGCheckpointList(directory, &count, &numbers));
  for (int i = 0; i < count; i++) {
    struct stat about;
    MFGCheckpointPath(directory, numbers[i], path);
    if (!stat(path, &about)) there += (double)about.st_blocks * 512;
  }
  PetscCall(PetscFree(numbers));
  const int files = c->checkpoint.keep + 1;
  const double needed = (double)f.disk + PetscMax(0, files * checkpoint - there);
  PetscCall(MFGDiskFree(directory, &room));
  PetscCheck(needed <= room, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             "%s: the result (%.1f MB) and %d checkpoints (%.1f MB each) will need %.1f MB more "
             "and %.1f MB are free; make room, lower checkpoint.keep, raise output.every, or "
             "choose another output.directory",
             directory, (double)f.disk / 1e6, files, checkpoint / 1e6, needed / 1e6, room / 1e6);
  PetscFunctionReturn(PETSC_SUCCESS);
}

PetscErrorCode MFGGuardDisk(const MFGProblem *p) {
  PetscMPIInt rank;

  PetscFunctionBeginUser;
  PetscCallMPI(MPI_Comm_rank(p->grid.world, &rank));
  PetscCall(MFGShareVerdict(p->grid.world, rank ? PETSC_SUCCESS : CheckDisk(p)));
  PetscFunctionReturn(PETSC_SUCCESS);
}
