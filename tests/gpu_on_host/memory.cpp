/* Device memory: pages that the host cannot touch but while a kernel or a copy runs. Addresses are
 * never used again, so that a use after free is seen. */
#include "tests/gpu_on_host/internal.h"

#include <map>

#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#endif

namespace standin {
namespace {

using Address = uintptr_t;

constexpr size_t page = 4096, huge = size_t(2) << 20, alignment = 256, reserved = size_t(1) << 38;
/* Bytes of all ones: a NaN in double and float, -1 in integers. */
constexpr int poison = 0xff;

struct Block {
  Address begin; /* of its pages */
  size_t pages;  /* bytes of them */
  Address data;
  size_t bytes;
};
using Blocks = std::map<Address, Block>; /* by the first page */

struct Memory {
  Address base = 0, top = 0;
  Blocks device, freed;
  std::map<Address, size_t> pinned; /* bytes */
  int64_t used = 0;
  int open = 0;
  struct sigaction before = {};
};
Memory m;

bool InArena(Address a) {
  return m.base && a >= m.base && a < m.base + reserved;
}

const Block *BlockOf(const Blocks &blocks, Address a) {
  auto next = blocks.upper_bound(a);
  if (next == blocks.begin()) return nullptr;
  const auto &[begin, block] = *std::prev(next);
  return a < begin + block.pages ? &block : nullptr;
}

/* One call for allocations that lie side by side. */
void ProtectAll(int protection) {
  for (auto i = m.device.begin(); i != m.device.end();) {
    const Address begin = i->first;
    Address end = begin;
    for (; i != m.device.end() && i->first == end; ++i) end += i->second.pages;
    if (mprotect(reinterpret_cast<void *>(begin), end - begin, protection))
      Fail("mprotect of device memory failed");
  }
}

void Describe(Address a, char *text, size_t size) {
  const Block *live = BlockOf(m.device, a), *b = live ? live : BlockOf(m.freed, a);
  if (!b)
    snprintf(text, size, "%p, which lies in no allocation of the device",
             reinterpret_cast<void *>(a));
  else
    snprintf(text, size, "%p, byte %td of an allocation of %zu bytes%s",
             reinterpret_cast<void *>(a), a - b->data, b->bytes, live ? "" : " that was freed");
}

void OnFault(int number, siginfo_t *info, void *context) {
  const Address a = reinterpret_cast<Address>(info->si_addr);
  if (InArena(a)) {
    char where[200];
    Describe(a, where, sizeof where);
    if (!running) {
      void *frames[30];
      backtrace_symbols_fd(frames, backtrace(frames, 30), STDERR_FILENO);
      Fail("the host touches device memory at %s; copy it with cudaMemcpy", where);
    }
    Fail("device memory is touched at %s", where);
  }
  if (m.before.sa_flags & SA_SIGINFO) {
    m.before.sa_sigaction(number, info, context);
  } else if (m.before.sa_handler == SIG_DFL || m.before.sa_handler == SIG_IGN) {
    signal(SIGSEGV, SIG_DFL); /* the same instruction runs again and ends the process */
  } else {
    m.before.sa_handler(number);
  }
}

/* Again each time device memory is closed: PETSc and others install handlers of their own. */
void InstallHandler() {
  struct sigaction ours = {}, before;
  ours.sa_sigaction = OnFault;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &ours, &before);
  if (!(before.sa_flags & SA_SIGINFO) || before.sa_sigaction != OnFault) m.before = before;
}

void CheckRim(const Block &b, Address begin, Address end) {
  for (Address a = begin; a < end; a++)
    if (*reinterpret_cast<unsigned char *>(a) != poison)
      Fail("something was written at byte %td of an allocation of %zu bytes", a - b.data, b.bytes);
}

/* What surrounds the data must be as it was made. */
void CheckRims(const Block &b) {
  Access access;
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void *>(b.begin), b.pages);
  CheckRim(b, b.begin, b.data);
  CheckRim(b, b.data + b.bytes, b.begin + b.pages);
}

void ReportLeaks() {
  int64_t count = 0, bytes = 0;
  for (const auto &[begin, b] : m.device) {
    CheckRims(b);
    count++;
    bytes += (int64_t)b.bytes;
  }
  if (count)
    Fail("%lld allocations of the device, %lld bytes, were never freed", (long long)count,
         (long long)bytes);
  for (const auto &[begin, size] : m.pinned) {
    count++;
    bytes += (int64_t)size;
  }
  if (count)
    Fail("%lld allocations of pinned memory, %lld bytes, were never freed", (long long)count,
         (long long)bytes);
  if (const int alive = ObjectsAlive())
    Fail("%d streams, events, graphs or communicators were never destroyed", alive);
}

/* Where the process ends in order; after an error what is left says nothing. */
void OnExit(int status, void *) {
  if (status == 0) ReportLeaks();
}

size_t RoundUp(size_t n, size_t unit) {
  return (n + unit - 1) / unit * unit;
}

void Start() {
  void *p = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) Fail("no addresses for device memory");
  m.base = m.top = RoundUp(reinterpret_cast<Address>(p), huge);
}

/* The next free pages. Large blocks take huge ones: to open and close those costs a thousandth. */
Block NewBlock(size_t bytes) {
  if (!m.base) Start();
  const size_t rounded = RoundUp(bytes, alignment);
  const size_t unit = bytes >= huge / 2 ? huge : page;
  Block b = {};
  b.begin = RoundUp(m.top, unit);
  /* At least one aligned unit before the data, so that a rim is there to be seen. */
  b.pages = RoundUp(rounded + alignment, unit);
  b.data = b.begin + b.pages - rounded;
  b.bytes = bytes;
  m.top = b.begin + b.pages;
  if (m.top > m.base + reserved - huge) Fail("the addresses for device memory are used up");
  if (unit == huge) madvise(reinterpret_cast<void *>(b.begin), b.pages, MADV_HUGEPAGE);
  return b;
}

} // namespace

void CheckAtExit() {
  static bool once;
  if (!once) on_exit(OnExit, nullptr);
  once = true;
}

Place PlaceOf(const void *address) {
  const Address a = reinterpret_cast<Address>(address);
  if (InArena(a)) return Place::Device;
  auto next = m.pinned.upper_bound(a);
  if (next != m.pinned.begin() && a < std::prev(next)->first + std::prev(next)->second)
    return Place::Pinned;
  return Place::Pageable;
}

bool InDevice(const void *address, size_t bytes) {
  const Address a = reinterpret_cast<Address>(address);
  const Block *b = BlockOf(m.device, a);
  return b && a >= b->data && a + bytes <= b->data + b->bytes;
}

Access::Access() {
  if (m.open++ == 0) ProtectAll(PROT_READ | PROT_WRITE);
}

Access::~Access() {
  if (--m.open > 0) return;
  ProtectAll(PROT_NONE);
  InstallHandler();
}

cudaError_t Allocate(void **pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (m.used + (int64_t)bytes > TheSettings().memory) return cudaErrorMemoryAllocation;
  const Block b = NewBlock(bytes);
  void *pages = reinterpret_cast<void *>(b.begin);
  Access access;
  mprotect(pages, b.pages, PROT_READ | PROT_WRITE);
  memset(pages, poison, b.pages);
  ASAN_POISON_MEMORY_REGION(pages, b.pages);
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void *>(b.data), bytes);
  m.device[b.begin] = b;
  m.used += (int64_t)bytes;
  Counts().allocations++;
  *pointer = reinterpret_cast<void *>(b.data);
  return cudaSuccess;
}

cudaError_t Free(void *pointer) {
  if (!pointer) return cudaSuccess;
  const Address a = reinterpret_cast<Address>(pointer);
  const Block *found = BlockOf(m.device, a), *before = BlockOf(m.freed, a);
  if (before && before->data == a) Fail("%p is freed twice", pointer);
  if (!found || found->data != a) return cudaErrorInvalidValue;
  const Block b = *found;
  void *pages = reinterpret_cast<void *>(b.begin);
  CheckRims(b);
  m.device.erase(b.begin);
  m.freed[b.begin] = b;
  m.used -= (int64_t)b.bytes;
  madvise(pages, b.pages, MADV_DONTNEED);
  mprotect(pages, b.pages, PROT_NONE);
  Counts().frees++;
  return cudaSuccess;
}

/* A word that is an address of the program's own memory; numbers hardly ever are, nor pairs of
 * small ones: programs, heaps and stacks lie high (ASan's own memory, lower, is none). */
static bool IsHostAddress(uint64_t word) {
  if (word < UINT64_C(0x5000) << 32 || word >= UINT64_C(1) << 48) return false;
  void *at = reinterpret_cast<void *>(word);
  if (PlaceOf(at) != Place::Pageable) return false;
  return msync(reinterpret_cast<void *>(word / page * page), page, MS_ASYNC) == 0;
}

} // namespace standin

using namespace standin;

void MFGStandinCheckArgument(const char *where, const void *words, size_t bytes) {
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, static_cast<const char *>(words) + i, sizeof word);
    if (IsHostAddress(word))
      Fail("%s: an argument holds %p, an address of the host's memory", where,
           reinterpret_cast<void *>(word));
  }
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  cudaError_t error = DeviceError();
  if (!error) error = RefuseInCapture();
  if (!error) error = Allocate(pointer, bytes);
  return Result(error);
}

cudaError_t cudaFree(void *pointer) {
  cudaError_t error = DeviceError();
  if (!error) error = RefuseInCapture();
  if (error) return Result(error);
  Drain();
  return Result(Free(pointer));
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  cudaError_t error = DeviceError();
  if (!error) error = RefuseInCapture();
  if (error) return Result(error);
  *pointer = malloc(bytes ? bytes : 1);
  if (!*pointer) return Result(cudaErrorMemoryAllocation);
  memset(*pointer, poison, bytes);
  m.pinned[reinterpret_cast<Address>(*pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned) {
  return cudaMallocHost(pointer, bytes);
}

cudaError_t cudaFreeHost(void *pointer) {
  const cudaError_t error = RefuseInCapture();
  if (error || !pointer) return Result(error);
  Drain();
  if (!m.pinned.erase(reinterpret_cast<Address>(pointer))) return Result(cudaErrorInvalidValue);
  free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  const cudaError_t error = DeviceError();
  if (error) return Result(error);
  *total = (size_t)TheSettings().memory;
  *available = *total - (size_t)m.used;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *p) {
  const cudaError_t error = DeviceError();
  if (error) return Result(error);
  void *address = const_cast<void *>(p);
  int device;
  cudaGetDevice(&device);
  switch (PlaceOf(p)) {
  case Place::Device:
    *attributes = {cudaMemoryTypeDevice, device, address, nullptr};
    break;
  case Place::Pinned:
    *attributes = {cudaMemoryTypeHost, device, address, address};
    break;
  case Place::Pageable:
    *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, address};
    break;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceReset(void) {
  Drain();
  ReportLeaks();
  return cudaSuccess;
}

int64_t MFGStandinMemoryUsed(void) {
  return m.used;
}
