/* CUDA's language in kernels, on the host. Included by the stand-in's cuda_runtime.h. */
#pragma once

#include <type_traits>

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
/* Static storage, one instance since blocks run one after the other. Thread-local because the
 * program's block of thread-local memory can be found and poisoned at the start of a block, which
 * a section could not in templates; kernels are its only users. */
#define __shared__ static thread_local

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define MFG_STANDIN_VECTORS(type, name)                                                            \
  struct alignas(2 * sizeof(type)) name##2 {                                                       \
    type x, y;                                                                                     \
  };                                                                                               \
  struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 {                          \
    type x, y, z, w;                                                                               \
  };                                                                                               \
  static inline name##2 make_##name##2(type x, type y) {                                           \
    return {x, y};                                                                                 \
  }                                                                                                \
  static inline name##4 make_##name##4(type x, type y, type z, type w) {                           \
    return {x, y, z, w};                                                                           \
  }
MFG_STANDIN_VECTORS(int, int)
MFG_STANDIN_VECTORS(unsigned, uint)
MFG_STANDIN_VECTORS(float, float)
MFG_STANDIN_VECTORS(double, double)

/* ---- the running thread ---- */

struct MFGStandinPlace {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern MFGStandinPlace mfg_standin_place;
#define threadIdx (static_cast<const uint3 &>(mfg_standin_place.thread))
#define blockIdx (static_cast<const uint3 &>(mfg_standin_place.block))
#define blockDim (static_cast<const dim3 &>(mfg_standin_place.block_size))
#define gridDim (static_cast<const dim3 &>(mfg_standin_place.grid_size))
static const int warpSize = 32;

/* ---- launches ---- */

/* `body` is what one thread does, with the arguments in it: `bytes` of plain data for `call`. */
struct MFGStandinKernel {
  const char *where;
  const void *kernel;
  dim3 grid, block;
  size_t shared; /* bytes of dynamic shared memory */
  size_t bytes;
  const void *body;
  void (*call)(const void *body);
};
cudaError_t MFGStandinEnqueue(const MFGStandinKernel &launch, cudaStream_t stream);
/* Ends the process when one of the words is an address of the host's memory. */
void MFGStandinCheckArgument(const char *where, const void *words, size_t bytes);
void *MFGStandinDynamicShared();

/* Static: types of different .cu files may have the same name, and the linker would take one
 * instance of a template for both. */
template <class T> static void MFGStandinCheck(const char *where, T argument) {
  static_assert(std::is_trivially_copyable_v<T>, "parameters of a kernel are plain data");
  if constexpr (std::is_class_v<T>) __builtin_clear_padding(&argument);
  if constexpr (std::is_class_v<T> || std::is_pointer_v<T>)
    MFGStandinCheckArgument(where, &argument, sizeof argument);
}

template <class F>
static cudaError_t MFGStandinBody(MFGStandinKernel launch, cudaStream_t stream, F body) {
  launch.bytes = sizeof body;
  launch.body = &body;
  launch.call = [](const void *data) { (*static_cast<const F *>(data))(); };
  return MFGStandinEnqueue(launch, stream);
}

template <class... P, class... A>
static cudaError_t MFGStandinLaunch(const char *where, void (*kernel)(P...), dim3 grid, dim3 block,
                                    size_t shared, cudaStream_t stream, A... args) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel takes as many arguments as parameters");
  static_assert((sizeof(P) + ... + 0) <= 32764, "parameters of a kernel fit into 32764 bytes");
  (MFGStandinCheck<P>(where, args), ...);
  return MFGStandinBody(
      {where, reinterpret_cast<const void *>(kernel), grid, block, shared, 0, nullptr, nullptr},
      stream, [=] { kernel(static_cast<P>(args)...); });
}

#define MFG_STANDIN_TEXT_(x) #x
#define MFG_STANDIN_TEXT(x) MFG_STANDIN_TEXT_(x)
#define MFG_STANDIN_HERE __FILE__ ":" MFG_STANDIN_TEXT(__LINE__)
#define MFG_STANDIN_LAUNCH(...)                                                                    \
  MFGStandinLaunch(MFG_STANDIN_HERE ": MFGLaunch(" #__VA_ARGS__ ")", __VA_ARGS__)

/* ---- what the threads of a block and of a warp do together ---- */

enum MFGStandinVote { MFG_STANDIN_NONE, MFG_STANDIN_COUNT, MFG_STANDIN_AND, MFG_STANDIN_OR };
int MFGStandinBarrier(const char *where, MFGStandinVote vote, int predicate);
/* Waits for the lanes of the mask; their words, [32], valid until the thread's next exchange. */
const uint64_t *MFGStandinExchange(const char *where, unsigned mask, uint64_t word);
unsigned MFGStandinLane();

#define __syncthreads()                                                                            \
  static_cast<void>(MFGStandinBarrier(MFG_STANDIN_HERE ": __syncthreads", MFG_STANDIN_NONE, 0))
#define __syncthreads_count(p)                                                                     \
  MFGStandinBarrier(MFG_STANDIN_HERE ": __syncthreads_count", MFG_STANDIN_COUNT, !!(p))
#define __syncthreads_and(p)                                                                       \
  MFGStandinBarrier(MFG_STANDIN_HERE ": __syncthreads_and", MFG_STANDIN_AND, !!(p))
#define __syncthreads_or(p)                                                                        \
  MFGStandinBarrier(MFG_STANDIN_HERE ": __syncthreads_or", MFG_STANDIN_OR, !!(p))

template <class T> uint64_t MFGStandinPack(T value) {
  static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>, "shuffles take numbers");
  uint64_t word = 0;
  memcpy(&word, &value, sizeof value);
  return word;
}

template <class T> T MFGStandinUnpack(uint64_t word) {
  T value;
  memcpy(&value, &word, sizeof value);
  return value;
}

/* The value of lane `source`; one that is not in the mask has none that is defined. */
template <class T> T MFGStandinLaneValue(const uint64_t *words, unsigned mask, unsigned source) {
  return MFGStandinUnpack<T>(mask >> source & 1 ? words[source] : ~UINT64_C(0));
}

template <class T>
T MFGStandinShuffle(const char *where, unsigned mask, T value, int lane, int width) {
  const uint64_t *words = MFGStandinExchange(where, mask, MFGStandinPack(value));
  const unsigned begin = MFGStandinLane() / width * width;
  return MFGStandinLaneValue<T>(words, mask, begin + (unsigned)lane % width);
}

template <class T>
T MFGStandinShuffleUp(const char *where, unsigned mask, T value, unsigned delta, int width) {
  const uint64_t *words = MFGStandinExchange(where, mask, MFGStandinPack(value));
  const unsigned lane = MFGStandinLane();
  return lane % width < delta ? value : MFGStandinLaneValue<T>(words, mask, lane - delta);
}

template <class T>
T MFGStandinShuffleDown(const char *where, unsigned mask, T value, unsigned delta, int width) {
  const uint64_t *words = MFGStandinExchange(where, mask, MFGStandinPack(value));
  const unsigned lane = MFGStandinLane();
  return lane % width + delta >= (unsigned)width
             ? value
             : MFGStandinLaneValue<T>(words, mask, lane + delta);
}

template <class T>
T MFGStandinShuffleXor(const char *where, unsigned mask, T value, int bits, int width) {
  const uint64_t *words = MFGStandinExchange(where, mask, MFGStandinPack(value));
  const unsigned lane = MFGStandinLane(), source = lane ^ (unsigned)bits;
  return source / width > lane / width ? value : MFGStandinLaneValue<T>(words, mask, source);
}

static inline unsigned MFGStandinBallot(const char *where, unsigned mask, int predicate) {
  const uint64_t *words = MFGStandinExchange(where, mask, predicate != 0);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; lane++)
    if (mask >> lane & 1 && words[lane]) votes |= 1u << lane;
  return votes;
}

template <class T, class F> T MFGStandinReduce(const char *where, unsigned mask, T value, F f) {
  const uint64_t *words = MFGStandinExchange(where, mask, MFGStandinPack(value));
  T result = value;
  bool first = true;
  for (unsigned lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    const T other = MFGStandinUnpack<T>(words[lane]);
    result = first ? other : f(result, other);
    first = false;
  }
  return result;
}

#define MFG_STANDIN_WIDTH(mask, value, lane, width, ...) mask, value, lane, width
#define __shfl_sync(...)                                                                           \
  MFGStandinShuffle(MFG_STANDIN_HERE ": __shfl_sync", MFG_STANDIN_WIDTH(__VA_ARGS__, 32, 32))
#define __shfl_up_sync(...)                                                                        \
  MFGStandinShuffleUp(MFG_STANDIN_HERE ": __shfl_up_sync", MFG_STANDIN_WIDTH(__VA_ARGS__, 32, 32))
#define __shfl_down_sync(...)                                                                      \
  MFGStandinShuffleDown(MFG_STANDIN_HERE ": __shfl_down_sync",                                     \
                        MFG_STANDIN_WIDTH(__VA_ARGS__, 32, 32))
#define __shfl_xor_sync(...)                                                                       \
  MFGStandinShuffleXor(MFG_STANDIN_HERE ": __shfl_xor_sync", MFG_STANDIN_WIDTH(__VA_ARGS__, 32, 32))
#define __ballot_sync(mask, p) MFGStandinBallot(MFG_STANDIN_HERE ": __ballot_sync", mask, p)
#define __any_sync(mask, p) (MFGStandinBallot(MFG_STANDIN_HERE ": __any_sync", mask, p) != 0)
#define __all_sync(mask, p) (MFGStandinBallot(MFG_STANDIN_HERE ": __all_sync", mask, !(p)) == 0)
#define __reduce_add_sync(mask, value)                                                             \
  MFGStandinReduce(MFG_STANDIN_HERE ": __reduce_add_sync", mask, value,                            \
                   [](auto a, auto b) { return static_cast<decltype(a)>(a + b); })
#define __reduce_max_sync(mask, value)                                                             \
  MFGStandinReduce(MFG_STANDIN_HERE ": __reduce_max_sync", mask, value,                            \
                   [](auto a, auto b) { return a > b ? a : b; })
#define __reduce_min_sync(mask, value)                                                             \
  MFGStandinReduce(MFG_STANDIN_HERE ": __reduce_min_sync", mask, value,                            \
                   [](auto a, auto b) { return a < b ? a : b; })
#define MFG_STANDIN_SYNCWARP(mask, ...)                                                            \
  static_cast<void>(MFGStandinExchange(MFG_STANDIN_HERE ": __syncwarp", mask, 0))
#define __syncwarp(...) MFG_STANDIN_SYNCWARP(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu)

template <class T> unsigned MFGStandinMatch(const char *where, unsigned mask, T value) {
  const uint64_t word = MFGStandinPack(value), *words = MFGStandinExchange(where, mask, word);
  unsigned same = 0;
  for (unsigned lane = 0; lane < 32; lane++)
    if (mask >> lane & 1 && words[lane] == word) same |= 1u << lane;
  return same;
}
#define __match_any_sync(mask, value)                                                              \
  MFGStandinMatch(MFG_STANDIN_HERE ": __match_any_sync", mask, value)

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

/* ---- atomics: threads run one at a time ---- */

/* Where accesses are watched (races.cpp), that of an atomic is told as such. */
void MFGStandinTouchAtomic(const void *address, size_t bytes);
#if defined(__SANITIZE_THREAD__)
#define MFG_STANDIN_TOUCH(address, bytes) MFGStandinTouchAtomic(address, bytes)
#define MFG_STANDIN_UNWATCHED __attribute__((no_sanitize("thread"), noinline))
#else
#define MFG_STANDIN_TOUCH(address, bytes) static_cast<void>(0)
#define MFG_STANDIN_UNWATCHED
#endif

/* *address becomes f(*address); returns what it was. */
template <class T, class F> MFG_STANDIN_UNWATCHED T MFGStandinSwap(T *address, F f) {
  MFG_STANDIN_TOUCH(address, sizeof(T));
  const T old = *address;
  *address = f(old);
  return old;
}

#define MFG_STANDIN_ATOMIC(T, name, expression)                                                    \
  static inline T name(T *a, T v) {                                                                \
    return MFGStandinSwap(a, [v]([[maybe_unused]] T old)                                           \
                                 MFG_STANDIN_UNWATCHED { return static_cast<T>(expression); });    \
  }
#define MFG_STANDIN_ATOMICS(T)                                                                     \
  MFG_STANDIN_ATOMIC(T, atomicAdd, old + v)                                                        \
  MFG_STANDIN_ATOMIC(T, atomicExch, v)
#define MFG_STANDIN_INTEGER_ATOMICS(T)                                                             \
  MFG_STANDIN_ATOMICS(T)                                                                           \
  MFG_STANDIN_ATOMIC(T, atomicSub, old - v)                                                        \
  MFG_STANDIN_ATOMIC(T, atomicMax, old > v ? old : v)                                              \
  MFG_STANDIN_ATOMIC(T, atomicMin, old < v ? old : v)                                              \
  MFG_STANDIN_ATOMIC(T, atomicAnd, old &v)                                                         \
  MFG_STANDIN_ATOMIC(T, atomicOr, old | v)                                                         \
  MFG_STANDIN_ATOMIC(T, atomicXor, old ^ v)                                                        \
  static inline T atomicCAS(T *a, T compare, T v) {                                                \
    return MFGStandinSwap(a,                                                                       \
                          [=](T old) MFG_STANDIN_UNWATCHED { return old == compare ? v : old; });  \
  }
MFG_STANDIN_INTEGER_ATOMICS(int)
MFG_STANDIN_INTEGER_ATOMICS(unsigned)
MFG_STANDIN_INTEGER_ATOMICS(unsigned long long)
MFG_STANDIN_ATOMICS(float)
MFG_STANDIN_ATOMICS(double)

/* ---- functions of one thread ---- */

template <class T> T __ldg(const T *address) {
  return *address;
}
template <class T> T __ldcs(const T *address) {
  return *address;
}
template <class T> void __stcs(T *address, T value) {
  *address = value;
}

static inline double __fma_rn(double a, double b, double c) {
  return fma(a, b, c);
}
static inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b) {
  return a + b;
}
static inline double __dsub_rn(double a, double b) {
  return a - b;
}
static inline double __dmul_rn(double a, double b) {
  return a * b;
}
static inline double __ddiv_rn(double a, double b) {
  return a / b;
}
static inline double __dsqrt_rn(double a) {
  return sqrt(a);
}
static inline float __fadd_rn(float a, float b) {
  return a + b;
}
static inline float __fmul_rn(float a, float b) {
  return a * b;
}

static inline long long __double_as_longlong(double x) {
  return MFGStandinUnpack<long long>(MFGStandinPack(x));
}
static inline double __longlong_as_double(long long x) {
  return MFGStandinUnpack<double>(MFGStandinPack(x));
}
static inline int __float_as_int(float x) {
  return MFGStandinUnpack<int>(MFGStandinPack(x));
}
static inline float __int_as_float(int x) {
  return MFGStandinUnpack<float>(MFGStandinPack(x));
}

static inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
static inline int __ffs(int x) {
  return __builtin_ffs(x);
}
static inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
static inline int __clz(int x) {
  return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __clzll(long long x) {
  return x ? __builtin_clzll((unsigned long long)x) : 64;
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)((unsigned long long)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#define MFG_STANDIN_MIN_MAX(T)                                                                     \
  static inline T min(T a, T b) {                                                                  \
    return a < b ? a : b;                                                                          \
  }                                                                                                \
  static inline T max(T a, T b) {                                                                  \
    return a > b ? a : b;                                                                          \
  }
MFG_STANDIN_MIN_MAX(int)
MFG_STANDIN_MIN_MAX(unsigned)
MFG_STANDIN_MIN_MAX(long)
MFG_STANDIN_MIN_MAX(unsigned long)
MFG_STANDIN_MIN_MAX(long long)
MFG_STANDIN_MIN_MAX(unsigned long long)
static inline float min(float a, float b) {
  return fminf(a, b);
}
static inline float max(float a, float b) {
  return fmaxf(a, b);
}
static inline double min(double a, double b) {
  return fmin(a, b);
}
static inline double max(double a, double b) {
  return fmax(a, b);
}
