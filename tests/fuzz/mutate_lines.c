/* How libFuzzer changes an input of lines: half the time within the value of one line, or by whole
 * lines, so that what is around it stays valid. */
#include <stdint.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t max_size, unsigned seed);

typedef struct {
  size_t start, end; /* end: behind the line's break */
} Line;

static unsigned Next(unsigned *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static Line PickLine(const uint8_t *data, size_t size, unsigned *state) {
  const size_t at = Next(state) % size;
  Line l = {at, at};
  while (l.start && data[l.start - 1] != '\n') l.start--;
  while (l.end < size && data[l.end++] != '\n') continue;
  return l;
}

/* The part of a line behind its first colon, equals sign or comma after `at`. */
static Line Value(const uint8_t *data, Line l, unsigned *state) {
  size_t at = l.start + Next(state) % (l.end - l.start);
  while (at > l.start && !strchr(":=,[{", data[at])) at--;
  Line v = {at > l.start ? at + 1 : at, l.end};
  if (v.end > v.start && data[v.end - 1] == '\n') v.end--;
  for (size_t i = v.start; i < v.end && v.end == l.end - 1; i++)
    if (strchr(",]}", data[i]) && Next(state) % 2) v.end = i;
  return v;
}

/* data[0..at) + piece + data[at..size) */
static size_t Insert(uint8_t *data, size_t size, size_t at, const uint8_t *piece, size_t length) {
  memmove(data + at + length, data + at, size - at);
  memcpy(data + at, piece, length);
  return size + length;
}

static size_t MutateValue(uint8_t *data, size_t size, size_t max_size, unsigned *state) {
  uint8_t copy[512];
  const Line v = Value(data, PickLine(data, size, state), state);
  const size_t length = v.end - v.start, room = max_size - size + length;
  if (length > sizeof copy) return LLVMFuzzerMutate(data, size, max_size);
  memcpy(copy, data + v.start, length);
  const size_t made = LLVMFuzzerMutate(copy, length, room < sizeof copy ? room : sizeof copy);
  memmove(data + v.start, data + v.end, size - v.end);
  return Insert(data, size - length, v.start, copy, made);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  uint8_t copy[512];
  unsigned state = seed;
  const unsigned kind = Next(&state) % 8;
  if (!size || kind < 3) return LLVMFuzzerMutate(data, size, max_size);
  if (kind < 6) return MutateValue(data, size, max_size, &state);
  const Line l = PickLine(data, size, &state), to = PickLine(data, size, &state);
  const size_t length = l.end - l.start;
  if (kind == 6 && length < size) {
    memmove(data + l.start, data + l.end, size - l.end);
    return size - length;
  }
  if (length > sizeof copy || size + length > max_size)
    return LLVMFuzzerMutate(data, size, max_size);
  memcpy(copy, data + l.start, length);
  return Insert(data, size, to.start, copy, length);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t max_size, unsigned seed) {
  unsigned state = seed;
  if (!one_size || !other_size || one_size > max_size) return 0;
  memcpy(out, one, one_size);
  const Line l = PickLine(other, other_size, &state), to = PickLine(one, one_size, &state);
  const size_t length = l.end - l.start;
  return one_size + length > max_size ? one_size
                                      : Insert(out, one_size, to.start, other + l.start, length);
}
