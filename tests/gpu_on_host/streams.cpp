/* Streams, events and graphs. Work runs when someone synchronises, and no more of it than that call
 * waits for; with an odd seed as soon as it is enqueued. */
#include "tests/gpu_on_host/internal.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include <sched.h>
#include <time.h>

using standin::Kind;
using standin::Work;

namespace {

/* A place in a stream: everything up to it. */
struct Ticket {
  cudaStream *stream;
  uint64_t sequence;
};

struct Operation {
  uint64_t sequence;
  Kind kind;
  Work work;
  std::vector<Ticket> after;
};

struct Node {
  Kind kind;
  MFGStandinCounts cost;
  Work work;
  std::vector<size_t> after; /* nodes before it */
};
using Nodes = std::vector<Node>;

struct Capture {
  Nodes nodes;
  cudaStream *origin;
  cudaStreamCaptureMode mode;
  bool lost = false;
};

} // namespace

struct cudaStream {
  bool blocking; /* takes part in the implicit order with the legacy stream */
  bool alive = true;
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture;
  std::vector<size_t> tail; /* nodes that the next captured one comes after */
};

struct cudaEvent {
  bool timed;
  bool alive = true;
  std::vector<Ticket> recorded; /* none or one */
  double time = 0;
  std::shared_ptr<Capture> capture; /* of the last record, where that was captured */
  std::vector<size_t> tail;
};

struct cudaGraph {
  std::shared_ptr<Nodes> nodes;
};

struct cudaGraphExec {
  std::shared_ptr<Nodes> nodes;
};

namespace standin {
namespace {

struct Device {
  uint64_t clock = 0;
  std::vector<std::unique_ptr<cudaStream>> streams; /* the first one is the legacy stream */
  std::vector<std::unique_ptr<cudaEvent>> events;
  int graphs = 0;
};

Device &TheDevice() {
  static Device *d = new Device;
  if (d->streams.empty()) d->streams.emplace_back(new cudaStream{.blocking = true});
  return *d;
}

cudaStream *Find(cudaStream_t handle) {
  Device &d = TheDevice();
  if (handle == nullptr || handle == cudaStreamLegacy) return d.streams[0].get();
  for (auto &s : d.streams)
    if (s.get() == handle && s->alive) return s.get();
  return nullptr;
}

cudaEvent *Find(cudaEvent_t handle) {
  for (auto &e : TheDevice().events)
    if (e.get() == handle && e->alive) return e.get();
  return nullptr;
}

bool IsLegacy(const cudaStream *s) {
  return s == TheDevice().streams[0].get();
}

/* ---- running ---- */

/* Runs the stream up to a place; false where something in it waits for other ranks. */
bool Advance(cudaStream *s, uint64_t sequence) {
  while (!s->queue.empty() && s->queue.front().sequence <= sequence) {
    const uint64_t mine = s->queue.front().sequence;
    for (const Ticket &t : s->queue.front().after)
      if (!Advance(t.stream, t.sequence)) return false;
    if (IsLegacy(s)) {
      for (auto &other : TheDevice().streams)
        if (other.get() != s && other->blocking && !Advance(other.get(), mine)) return false;
    } else if (s->blocking && !Advance(TheDevice().streams[0].get(), mine)) {
      return false;
    }
    if (!s->queue.front().work()) return false;
    s->queue.pop_front();
  }
  return true;
}

bool AdvanceAll() {
  bool all = true;
  for (auto &s : TheDevice().streams) all = Advance(s.get(), UINT64_MAX) && all;
  return all;
}

void ProgressCollectives() {
  for (auto &s : TheDevice().streams)
    for (auto i = s->queue.rbegin(); i != s->queue.rend(); ++i)
      if (i->kind == Kind::Collective) {
        Advance(s.get(), i->sequence);
        break;
      }
}

template <class F> void WaitForWork(F done) {
  Access access;
  Counts().synchronizations++;
  while (!done()) {
    Progress();
    sched_yield();
  }
}

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- captures ---- */

cudaError_t Lose(Capture &capture, cudaError_t error) {
  capture.lost = true;
  return error;
}

std::vector<Capture *> ActiveCaptures() {
  std::vector<Capture *> active;
  for (auto &s : TheDevice().streams)
    if (s->capture && s->capture->origin == s.get() && !s->capture->lost)
      active.push_back(s->capture.get());
  return active;
}

/* The legacy stream would have to wait for what is only recorded. */
cudaError_t RefuseLegacy() {
  cudaError_t error = cudaSuccess;
  for (auto &s : TheDevice().streams)
    if (s->capture && s->blocking) error = Lose(*s->capture, cudaErrorStreamCaptureImplicit);
  return error;
}

void AddTail(std::vector<size_t> &tail, const std::vector<size_t> &more) {
  for (size_t node : more)
    if (std::find(tail.begin(), tail.end(), node) == tail.end()) tail.push_back(node);
}

cudaError_t AddNode(cudaStream *s, Kind kind, const MFGStandinCounts &cost, Work work) {
  Capture &c = *s->capture;
  if (c.lost) return cudaErrorStreamCaptureInvalidated;
  Node node = {kind, cost, std::move(work), s->tail};
  if (kind == Kind::Collective) /* NCCL's own order among its calls */
    for (size_t i = c.nodes.size(); i-- > 0;)
      if (c.nodes[i].kind == Kind::Collective) {
        AddTail(node.after, {i});
        break;
      }
  c.nodes.push_back(std::move(node));
  s->tail = {c.nodes.size() - 1};
  return cudaSuccess;
}

/* Whether all that other streams have captured is followed by something in the origin. */
bool Joined(const Capture &c) {
  std::vector<bool> reached(c.nodes.size());
  std::vector<size_t> open = c.origin->tail;
  while (!open.empty()) {
    const size_t i = open.back();
    open.pop_back();
    if (reached[i]) continue;
    reached[i] = true;
    open.insert(open.end(), c.nodes[i].after.begin(), c.nodes[i].after.end());
  }
  return std::find(reached.begin(), reached.end(), false) == reached.end();
}

/* An order that the dependencies allow, another one at each call. */
std::vector<size_t> OrderOf(const Nodes &nodes) {
  std::vector<size_t> order, ready, missing(nodes.size());
  std::vector<std::vector<size_t>> next(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    missing[i] = nodes[i].after.size();
    for (size_t j : nodes[i].after) next[j].push_back(i);
    if (!missing[i]) ready.push_back(i);
  }
  while (!ready.empty()) {
    std::swap(ready[Order().Below((unsigned)ready.size())], ready.back());
    const size_t i = ready.back();
    ready.pop_back();
    order.push_back(i);
    for (size_t j : next[i])
      if (--missing[j] == 0) ready.push_back(j);
  }
  return order;
}

/* Runs all nodes; can be called anew when done. */
Work WorkOf(std::shared_ptr<Nodes> nodes) {
  struct Progress {
    std::vector<size_t> order;
    size_t next = 0;
  };
  auto progress = std::make_shared<Progress>();
  return [nodes, progress] {
    if (progress->next == 0) progress->order = OrderOf(*nodes);
    for (; progress->next < progress->order.size(); progress->next++)
      if (!(*nodes)[progress->order[progress->next]].work()) return false;
    progress->next = 0;
    return true;
  };
}

/* ---- copies ---- */

struct Rows {
  char *to;
  const char *from;
  size_t to_pitch, from_pitch, width, height;

  size_t Span(size_t pitch) const { return (height - 1) * pitch + width; }
  void Copy() const {
    for (size_t i = 0; i < height; i++) memcpy(to + i * to_pitch, from + i * from_pitch, width);
  }
};

cudaError_t CheckDirection(const Rows &r, cudaMemcpyKind kind, Place from, Place to) {
  const bool from_device = from == Place::Device, to_device = to == Place::Device;
  const cudaMemcpyKind found = from_device
                                   ? to_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost
                               : to_device ? cudaMemcpyHostToDevice
                                           : cudaMemcpyHostToHost;
  if (kind != cudaMemcpyDefault && kind != found) return cudaErrorInvalidValue;
  if (r.width > r.to_pitch || r.width > r.from_pitch) return cudaErrorInvalidPitchValue;
  if (from_device && !InDevice(r.from, r.Span(r.from_pitch))) return cudaErrorInvalidValue;
  if (to_device && !InDevice(r.to, r.Span(r.to_pitch))) return cudaErrorInvalidValue;
  return cudaSuccess;
}

/* The source as it is now. */
Work CopyOfNow(const Rows &r) {
  auto staged = std::make_shared<std::vector<char>>(r.width * r.height);
  Rows in = r;
  in.to = staged->data();
  in.to_pitch = r.width;
  in.Copy();
  return [r, staged] {
    Running what("a copy from pageable memory");
    Rows out = r;
    out.from = staged->data();
    out.from_pitch = r.width;
    out.Copy();
    return true;
  };
}

/* `wait`: the call of the blocking kind. What blocks, and when pageable memory is read, is as the
 * runtime's manual says ("API synchronization behavior"). */
cudaError_t CopyRows(const Rows &r, cudaMemcpyKind kind, cudaStream_t stream, bool wait) {
  cudaError_t error = DeviceError();
  if (error) return error;
  cudaStream *s = Find(stream);
  if (!s) return cudaErrorInvalidResourceHandle;
  if (wait && (error = RefuseInCapture())) return error;
  if (r.width == 0 || r.height == 0) return cudaSuccess;
  const Place from = PlaceOf(r.from), to = PlaceOf(r.to);
  if ((error = CheckDirection(r, kind, from, to))) return error;
  const bool pageable = from == Place::Pageable || to == Place::Pageable;
  if (pageable && (error = RefuseInCapture(stream))) return error;

  MFGStandinCounts cost = {};
  cost.copies[from == Place::Device][to == Place::Device] = 1;
  cost.bytes[from == Place::Device][to == Place::Device] = (int64_t)(r.width * r.height);
  cost.pageable_copies = pageable;
  if (from != Place::Device && to != Place::Device) wait = true;
  if (from == Place::Pageable && to == Place::Device) {
    if (wait) Drain(stream);
    return Enqueue(stream, Kind::Copy, cost, CopyOfNow(r));
  }
  error = Enqueue(stream, Kind::Copy, cost, [r] {
    Running what("a copy");
    r.Copy();
    return true;
  });
  if (!error &&
      (to == Place::Pageable || (wait && !(from == Place::Device && to == Place::Device))))
    Drain(stream);
  return error;
}

cudaError_t Set(void *pointer, int value, size_t bytes, cudaStream_t stream) {
  const cudaError_t error = DeviceError();
  if (error || bytes == 0) return error;
  if (!InDevice(pointer, bytes)) return cudaErrorInvalidValue;
  return Enqueue(stream, Kind::Set, {.memsets = 1}, [=] {
    Running what("cudaMemset");
    memset(pointer, value, bytes);
    return true;
  });
}

cudaError_t CheckLaunch(const MFGStandinKernel &k) {
  const dim3 g = k.grid, b = k.block;
  if (const cudaError_t error = DeviceError()) return error;
  if (!g.x || !g.y || !g.z || !b.x || !b.y || !b.z) return cudaErrorInvalidConfiguration;
  if (g.x > 2147483647u || g.y > 65535 || g.z > 65535) return cudaErrorInvalidConfiguration;
  if (b.x > 1024 || b.y > 1024 || b.z > 64 || (uint64_t)b.x * b.y * b.z > 1024)
    return cudaErrorInvalidConfiguration;
  if (k.shared > SharedLimit(k.kernel)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

} // namespace

cudaError_t RefuseInCapture() {
  cudaError_t error = RefuseLegacy();
  for (Capture *c : ActiveCaptures())
    if (c->mode != cudaStreamCaptureModeRelaxed)
      error = Lose(*c, cudaErrorStreamCaptureUnsupported);
  return error;
}

cudaError_t RefuseInCapture(cudaStream_t stream) {
  const cudaStream *s = Find(stream);
  if (!s || !s->capture) return cudaSuccess;
  return Lose(*s->capture, cudaErrorStreamCaptureUnsupported);
}

void AddCounts(MFGStandinCounts &to, const MFGStandinCounts &cost) {
  const int64_t *more = reinterpret_cast<const int64_t *>(&cost);
  int64_t *sum = reinterpret_cast<int64_t *>(&to);
  for (size_t i = 0; i < sizeof cost / sizeof *more; i++) sum[i] += more[i];
}

cudaError_t Enqueue(cudaStream_t stream, Kind kind, const MFGStandinCounts &cost, Work work) {
  cudaStream *s = Find(stream);
  if (!s) return cudaErrorInvalidResourceHandle;
  if (s->capture) return AddNode(s, kind, cost, std::move(work));
  if (IsLegacy(s))
    if (const cudaError_t error = RefuseLegacy()) return error;
  const uint64_t sequence = ++TheDevice().clock;
  s->queue.push_back({sequence, kind, std::move(work), {}});
  AddCounts(Counts(), cost);
  if (Early()) {
    Access access;
    Advance(s, sequence);
  }
  return cudaSuccess;
}

void Progress() {
  Access access;
  ProgressCommunicators();
  ProgressCollectives();
}

void WaitFor(const std::function<bool()> &done) {
  while (!done()) {
    if (CollectivesPending()) Progress();
    sched_yield();
  }
}

bool CollectivesPending() {
  for (auto &s : TheDevice().streams)
    for (const Operation &operation : s->queue)
      if (operation.kind == Kind::Collective) return true;
  return CommunicatorsPending();
}

void Drain(cudaStream_t stream) {
  cudaStream *s = Find(stream);
  WaitForWork([s] { return Advance(s, UINT64_MAX); });
}

void Drain() {
  WaitForWork(AdvanceAll);
}

int ObjectsAlive() {
  int alive = TheDevice().graphs + CommunicatorsAlive() - 1; /* the legacy stream is nobody's */
  for (auto &s : TheDevice().streams) alive += s->alive;
  for (auto &e : TheDevice().events) alive += e->alive;
  return alive;
}

} // namespace standin

using namespace standin;

/* ---- kernels and copies ---- */

cudaError_t MFGStandinEnqueue(const MFGStandinKernel &launch, cudaStream_t stream) {
  if (const cudaError_t error = CheckLaunch(launch)) return Result(error);
  /* Aligned for whatever an argument is. */
  std::shared_ptr<void> body(operator new(launch.bytes), [](void *p) { operator delete(p); });
  memcpy(body.get(), launch.body, launch.bytes);
  MFGStandinKernel kept = launch;
  kept.body = body.get();
  return Result(Enqueue(stream, Kind::Kernel, {.kernels = 1}, [kept, body] {
    RunThreads(kept);
    return true;
  }));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind) {
  const Rows r = {(char *)to, (const char *)from, to_pitch, from_pitch, width, height};
  return Result(CopyRows(r, kind, nullptr, true));
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  const Rows r = {(char *)to, (const char *)from, to_pitch, from_pitch, width, height};
  return Result(CopyRows(r, kind, stream, false));
}

cudaError_t cudaMemset(void *pointer, int value, size_t bytes) {
  return Result(Set(pointer, value, bytes, nullptr));
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream) {
  return Result(Set(pointer, value, bytes, stream));
}

cudaError_t cudaMallocAsync(void **pointer, size_t bytes, cudaStream_t stream) {
  cudaError_t error = DeviceError();
  if (!error) error = RefuseInCapture(stream);
  if (!error) error = Allocate(pointer, bytes);
  return Result(error);
}

cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream) {
  cudaError_t error = RefuseInCapture(stream);
  if (!error && pointer)
    error = Enqueue(stream, Kind::Free, {}, [pointer] {
      if (standin::Free(pointer)) Fail("cudaFreeAsync of %p, which was not allocated", pointer);
      return true;
    });
  return Result(error);
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  if (const cudaError_t error = DeviceError()) return Result(error);
  auto &streams = TheDevice().streams;
  streams.emplace_back(new cudaStream{.blocking = !(flags & cudaStreamNonBlocking)});
  *stream = streams.back().get();
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  *least = 0;
  *greatest = -5;
  return Result(DeviceError());
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  cudaStream *s = Find(stream);
  if (!s || IsLegacy(s)) return Result(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = RefuseInCapture(stream)) return Result(error);
  Drain(stream);
  s->alive = false;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!Find(stream)) return Result(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = RefuseInCapture(stream)) return Result(error);
  Drain(stream);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
  cudaError_t error = DeviceError();
  if (!error) error = RefuseInCapture();
  if (error) return Result(error);
  Drain();
  return cudaSuccess;
}

/* One more step of the stream at each query, so that a loop of them ends. */
static cudaError_t Query(cudaStream *s, uint64_t sequence) {
  if (s->queue.empty() || s->queue.front().sequence > sequence) return cudaSuccess;
  Access access;
  Progress();
  if (s->queue.empty() || !Advance(s, s->queue.front().sequence)) sched_yield();
  return cudaErrorNotReady;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  cudaStream *s = Find(stream);
  if (!s) return Result(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = RefuseInCapture(stream)) return Result(error);
  return Query(s, UINT64_MAX);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  cudaStream *s = Find(stream);
  const cudaEvent *e = Find(event);
  if (!s || !e) return Result(cudaErrorInvalidResourceHandle);
  if (e->capture) {
    if (s->capture && s->capture != e->capture)
      return Result(Lose(*s->capture, cudaErrorStreamCaptureMerge));
    s->capture = e->capture;
    AddTail(s->tail, e->tail);
    return cudaSuccess;
  }
  if (e->recorded.empty()) return cudaSuccess;
  if (s->capture) return Result(Lose(*s->capture, cudaErrorStreamCaptureIsolation));
  const cudaError_t error = Enqueue(stream, Kind::Event, {}, [] { return true; });
  if (!error && !s->queue.empty()) s->queue.back().after = e->recorded;
  return Result(error);
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  if (const cudaError_t error = DeviceError()) return Result(error);
  auto &events = TheDevice().events;
  events.emplace_back(new cudaEvent{.timed = !(flags & cudaEventDisableTiming)});
  *event = events.back().get();
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  cudaEvent *e = Find(event);
  if (!e) return Result(cudaErrorInvalidResourceHandle);
  e->alive = false;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  cudaStream *s = Find(stream);
  cudaEvent *e = Find(event);
  if (!s || !e) return Result(cudaErrorInvalidResourceHandle);
  e->capture = s->capture;
  e->tail = s->tail;
  e->recorded.clear();
  if (s->capture) return cudaSuccess;
  const uint64_t sequence = TheDevice().clock + 1;
  const cudaError_t error = Enqueue(stream, Kind::Event, {}, [e] {
    e->time = Now();
    return true;
  });
  if (!error) e->recorded.push_back({s, sequence});
  return Result(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const cudaEvent *e = Find(event);
  if (!e) return Result(cudaErrorInvalidResourceHandle);
  if (e->capture) return Result(Lose(*e->capture, cudaErrorCapturedEvent));
  for (const Ticket &t : e->recorded) WaitForWork([t] { return Advance(t.stream, t.sequence); });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const cudaEvent *e = Find(event);
  if (!e) return Result(cudaErrorInvalidResourceHandle);
  if (e->capture) return Result(Lose(*e->capture, cudaErrorCapturedEvent));
  if (const cudaError_t error = RefuseInCapture()) return Result(error);
  return e->recorded.empty() ? cudaSuccess : Query(e->recorded[0].stream, e->recorded[0].sequence);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
  const cudaEvent *a = Find(begin), *b = Find(end);
  if (!a || !b || !a->timed || !b->timed || a->recorded.empty() || b->recorded.empty())
    return Result(cudaErrorInvalidResourceHandle);
  for (const cudaEvent *e : {a, b}) {
    const Ticket &t = e->recorded[0];
    if (!t.stream->queue.empty() && t.stream->queue.front().sequence <= t.sequence)
      return cudaErrorNotReady;
  }
  *ms = (float)(1e3 * (b->time - a->time));
  return cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  cudaStream *s = Find(stream);
  if (!s) return Result(cudaErrorInvalidResourceHandle);
  if (IsLegacy(s)) return Result(cudaErrorStreamCaptureUnsupported);
  if (s->capture) return Result(Lose(*s->capture, cudaErrorStreamCaptureInvalidated));
  s->capture = std::make_shared<Capture>();
  s->capture->origin = s;
  s->capture->mode = mode;
  s->tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  cudaStream *s = Find(stream);
  *graph = nullptr;
  if (!s) return Result(cudaErrorInvalidResourceHandle);
  if (!s->capture) return Result(cudaErrorInvalidValue);
  std::shared_ptr<Capture> c = s->capture;
  if (c->origin != s) return Result(Lose(*c, cudaErrorStreamCaptureUnmatched));
  const bool joined = Joined(*c);
  for (auto &other : TheDevice().streams)
    if (other->capture == c) {
      other->capture = nullptr;
      other->tail.clear();
    }
  for (auto &e : TheDevice().events)
    if (e->capture == c) e->capture = nullptr;
  if (c->lost) return Result(cudaErrorStreamCaptureInvalidated);
  if (!joined) return Result(cudaErrorStreamCaptureUnjoined);
  *graph = new cudaGraph{std::make_shared<Nodes>(std::move(c->nodes))};
  TheDevice().graphs++;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  const cudaStream *s = Find(stream);
  if (!s) return Result(cudaErrorInvalidResourceHandle);
  *status = !s->capture        ? cudaStreamCaptureStatusNone
            : s->capture->lost ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
  if (nodes) return Result(cudaErrorNotSupported);
  *count = graph->nodes->size();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  TheDevice().graphs--;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  *exec = new cudaGraphExec{graph->nodes};
  TheDevice().graphs++;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *info) {
  const Nodes &before = *exec->nodes, &after = *graph->nodes;
  *info = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
  if (before.size() != after.size()) info->result = cudaGraphExecUpdateErrorTopologyChanged;
  for (size_t i = 0; i < std::min(before.size(), after.size()); i++) {
    if (before[i].after != after[i].after) info->result = cudaGraphExecUpdateErrorTopologyChanged;
    if (before[i].kind != after[i].kind) info->result = cudaGraphExecUpdateErrorNodeTypeChanged;
  }
  if (info->result) return Result(cudaErrorGraphExecUpdateFailure);
  exec->nodes = graph->nodes;
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t stream) {
  return Result(Find(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t error = DeviceError()) return Result(error);
  MFGStandinCounts cost = {.graph_launches = 1};
  for (const Node &node : *exec->nodes) AddCounts(cost, node.cost);
  const Kind kind = cost.collectives ? Kind::Collective : Kind::Graph;
  return Result(Enqueue(stream, kind, cost, WorkOf(exec->nodes)));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  TheDevice().graphs--;
  return cudaSuccess;
}
