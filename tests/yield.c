/* Preloaded into tests of several ranks: a rank that finds nothing to receive hands its core to the
 * others. MPICH's ranks spin while they wait (its device polls UCX), and where ranks outnumber the
 * cores each spins through a whole time slice before the one it waits for may go on. Yields are
 * quick where only ranks want the cores; beside other work who yields often waits long, so that a
 * longer wait sleeps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <time.h>

#define YIELDS 50

unsigned ucp_worker_progress(void *worker);

unsigned ucp_worker_progress(void *worker) {
  static unsigned (*progress)(void *);
  static int idle;
  const struct timespec nap = {0, 20000};

  if (!progress) *(void **)&progress = dlsym(RTLD_NEXT, "ucp_worker_progress");
  const unsigned events = progress(worker);
  idle = events ? 0 : idle + 1;
  if (idle > YIELDS)
    nanosleep(&nap, NULL);
  else if (idle)
    sched_yield();
  return events;
}
