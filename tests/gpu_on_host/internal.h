/* What the parts of the stand-in share. One host thread uses it. */
#pragma once

#include <cuda_runtime.h>

#include "tests/gpu_on_host/standin.h"

#include <functional>

namespace standin {

/* ---- faults: what a device would punish, or a test would never see ---- */

/* Prints the message and what runs at the moment, and ends the process with exit code 1. */
[[noreturn]] void Fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The kernel that runs, or null. */
extern const char *running;

struct Settings {
  uint64_t seed;
  int devices;
  bool shared_device;
  int64_t memory;
};
Settings &TheSettings();
/* Whether enqueued work runs at once. */
bool Early();
MFGStandinCounts &Counts();

/* Remembers the error for cudaGetLastError and returns it. */
cudaError_t Result(cudaError_t error);
/* cudaSuccess, or why there is no device. */
cudaError_t DeviceError();

/* xorshift64*: the order of things. */
class Random {
public:
  explicit Random(uint64_t seed);
  unsigned Below(unsigned bound);
  template <class T> void Shuffle(T *items, unsigned count) {
    for (unsigned i = count; i > 1; i--) std::swap(items[i - 1], items[Below(i)]);
  }

private:
  uint64_t state;
};
/* The one of this process and seed. */
Random &Order();

/* ---- memory ---- */

enum class Place { Pageable, Pinned, Device };
/* Where an address lies. */
Place PlaceOf(const void *address);
/* Whether all bytes lie in one allocation of the device that is not freed. */
bool InDevice(const void *address, size_t bytes);
/* While one lives, device memory can be touched. */
class Access {
public:
  Access();
  ~Access();
};
cudaError_t Allocate(void **pointer, size_t bytes);
cudaError_t Free(void *pointer);
/* When the program ends in order, what was not given back ends it with an error. */
void CheckAtExit();

/* ---- work ---- */

/* What runs at the moment, for messages. */
class Running {
public:
  explicit Running(const char *what) { running = what; }
  ~Running() { running = nullptr; }
};

/* Does some; false when it must wait for other ranks and is to be called again. After true it can
 * be called anew: a node of a graph is. */
using Work = std::function<bool()>;
enum class Kind { Kernel, Copy, Set, Free, Event, Graph, Collective };
/* Adds to the stream, or to the graph that it captures. */
cudaError_t Enqueue(cudaStream_t stream, Kind kind, const MFGStandinCounts &cost, Work work);
/* Runs what is pending in the stream, or everywhere. */
void Drain(cudaStream_t stream);
void Drain();
/* What a capture that is under way makes of a call that concerns the whole device or waits; after
 * an error that capture is lost. */
cudaError_t RefuseInCapture();
/* The same for a call that concerns one stream. */
cudaError_t RefuseInCapture(cudaStream_t stream);
/* Waits, and meanwhile does what devices do by themselves for each other: NCCL's calls. */
void WaitFor(const std::function<bool()> &done);
/* Whether there are any; one more step of each. */
bool CollectivesPending();
void Progress();
/* Communicators that are being made. */
bool CommunicatorsPending();
void ProgressCommunicators();
/* Streams, events and graphs, and communicators, that were not destroyed. */
int ObjectsAlive();
int CommunicatorsAlive();
void AddCounts(MFGStandinCounts &to, const MFGStandinCounts &cost);

/* Runs all threads of a launch. */
void RunThreads(const MFGStandinKernel &launch);

/* Where the running thread is, for the order of what it does with what others do. */
struct Moment {
  uint32_t block, thread;        /* their ranks */
  uint32_t barriers, exchanges;  /* that it has passed, with its block and with its warp */
  uint64_t launches, blocks_run; /* so far */
};
/* False where no kernel runs. */
bool TheMoment(Moment *moment);
/* Whether the address is in the shared memory of a block. */
bool InShared(const void *address);
/* The limit that cudaFuncSetAttribute has set for a kernel, in bytes. */
size_t SharedLimit(const void *kernel);

} // namespace standin
