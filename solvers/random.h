/* Random numbers without a state: Philox4x32-10 and the standard normal deviate made from it.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC11) maps a counter of four words and a key of two to
 * four random words. The counter is (id low, id high, block, stream), the key the seed. Normal
 * number n = step dim + axis of an agent is slot n mod 4 of block n / 4; slots 0, 1 are the
 * Box-Muller pair of words 0, 1 and slots 2, 3 that of words 2, 3:
 *
 *   u = (w + 1/2) 2^-32,   z_0 = sqrt(-2 log u_0) cos(2 pi u_1),   z_1 = sqrt(-2 log u_0) sin(2 pi
 * u_1)
 *
 * so |z| < 6.77. Only + - * / sqrt, explicit fma and integer operations are used: compiled without
 * contraction the bits are the same on every IEEE machine. Straight-line code: a loop over agents
 * vectorises. */
#pragma once

#include <math.h>
#include <string.h>

#include "solvers/stencil.h"

typedef enum { MFG_PURPOSE_POSITION = 0, MFG_PURPOSE_STEP = 1 } MFGRandomPurpose;

/* The fourth counter word: purpose in the upper 4 bits, outer iteration in the lower 28. */
MFG_HD uint32_t MFGRandomStream(MFGRandomPurpose purpose, uint32_t iteration) {
  return (uint32_t)purpose << 28 | (iteration & 0x0fffffffu);
}

MFG_HD uint64_t MFGBitsOfDouble(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

MFG_HD double MFGDoubleOfBits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Counter in, random words out. */
MFG_HD void MFGPhilox(uint32_t key0, uint32_t key1, uint32_t *c0, uint32_t *c1, uint32_t *c2,
                      uint32_t *c3) {
  uint32_t x0 = *c0, x1 = *c1, x2 = *c2, x3 = *c3;
#if !defined(__CUDACC__) /* nvcc unrolls it unasked */
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;
    x0 = (uint32_t)(b >> 32) ^ x1 ^ key0;
    x1 = (uint32_t)b;
    x2 = (uint32_t)(a >> 32) ^ x3 ^ key1;
    x3 = (uint32_t)a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  *c0 = x0;
  *c1 = x1;
  *c2 = x2;
  *c3 = x3;
}

/* Exact; unlike a cast it vectorises on every processor. */
MFG_HD double MFGDoubleOfWord(uint32_t w) {
  return MFGDoubleOfBits(UINT64_C(0x4330000000000000) | w) - 0x1p52;
}

/* u in (0, 1). */
MFG_HD double MFGUniform(uint32_t w) {
  return (MFGDoubleOfWord(w) + 0.5) * 0x1p-32;
}

/* log((w + 1/2) 2^-32), relative error below 3e-16. w + 1/2 = 2^k m with m in [sqrt 1/2, sqrt 2);
 * log m = 2 artanh s = 2 s (1 + s^2 Q(s^2)), s = (m - 1)/(m + 1). */
MFG_HD double MFGLogUniform(uint32_t w) {
  const uint64_t bits = MFGBitsOfDouble(MFGDoubleOfWord(w) + 0.5);
  /* Adding the distance from sqrt(1/2) to 1 makes the exponent field step at sqrt 2. */
  const uint64_t shifted = bits + (UINT64_C(0x3ff0000000000000) - UINT64_C(0x3fe6a09e667f3bcd));
  const uint64_t field = shifted >> 52;
  const double exponent = MFGDoubleOfWord((uint32_t)field) - (1023 + 32);
  const double m = MFGDoubleOfBits(bits - ((field - 1023) << 52));
  const double s = (m - 1) / (m + 1), z = s * s;
  double q = 0x1.2b5b5fb2eac92p-4;
  q = fma(q, z, 0x1.39fe208c33457p-4);
  q = fma(q, z, 0x1.7462b69705382p-4);
  q = fma(q, z, 0x1.c71c62debf86bp-4);
  q = fma(q, z, 0x1.2492492df6947p-3);
  q = fma(q, z, 0x1.99999999952b2p-3);
  q = fma(q, z, 0x1.5555555555558p-2);
  return fma(exponent, 0x1.62e42fefa39efp-1, fma(2 * s * z, q, 2 * s));
}

/* cos and sin of 2 pi (w + 1/2) 2^-32, error below 2e-16. The nearest quarter turn comes off the
 * integer, which leaves an angle of at most pi/4. */
MFG_HD void MFGTurn(uint32_t w, double *cosine, double *sine) {
  const uint32_t quarter = (w + 0x20000000u) >> 30;
  const int32_t rest = (int32_t)(w - (quarter << 30));
  const double a = ((double)rest + 0.5) * 0x1.921fb54442d18p-30, z = a * a;
  double s = 0x1.5e0b19f8b1451p-33;
  s = fma(s, z, -0x1.ae600b02b6262p-26);
  s = fma(s, z, 0x1.71de37968a100p-19);
  s = fma(s, z, -0x1.a01a019e83aaep-13);
  s = fma(s, z, 0x1.1111111110bb2p-7);
  s = fma(s, z, -0x1.5555555555555p-3);
  double c = -0x1.907da367a37cbp-37;
  c = fma(c, z, 0x1.1eeb68e93b64cp-29);
  c = fma(c, z, -0x1.27e4fa17da09ep-22);
  c = fma(c, z, 0x1.a01a019f4eb01p-16);
  c = fma(c, z, -0x1.6c16c16c16967p-10);
  c = fma(c, z, 0x1.5555555555555p-5);
  s = fma(a * z, s, a);
  c = fma(z * z, c, fma(z, -0.5, 1.0));
  const uint64_t swap = -(uint64_t)(quarter & 1), sb = MFGBitsOfDouble(s), cb = MFGBitsOfDouble(c);
  const uint64_t exchanged = (sb ^ cb) & swap;
  *cosine = MFGDoubleOfBits(cb ^ exchanged ^ (uint64_t)((quarter + 1) & 2) << 62);
  *sine = MFGDoubleOfBits(sb ^ exchanged ^ (uint64_t)(quarter & 2) << 62);
}

/* Two independent standard normal numbers. */
MFG_HD void MFGNormalPair(uint32_t w0, uint32_t w1, double *z0, double *z1) {
  const double r = sqrt(-2 * MFGLogUniform(w0));
  double c, s;
  MFGTurn(w1, &c, &s);
  *z0 = r * c;
  *z1 = r * s;
}

/* The four normal numbers of one block of an agent. */
MFG_HD void MFGNormals(uint64_t seed, uint64_t id, uint32_t block, uint32_t stream, double *z0,
                       double *z1, double *z2, double *z3) {
  uint32_t w0 = (uint32_t)id, w1 = (uint32_t)(id >> 32), w2 = block, w3 = stream;
  MFGPhilox((uint32_t)seed, (uint32_t)(seed >> 32), &w0, &w1, &w2, &w3);
  MFGNormalPair(w0, w1, z0, z1);
  MFGNormalPair(w2, w3, z2, z3);
}

/* Normal numbers 2 pair and 2 pair + 1 of an agent. */
MFG_HD void MFGNormalsOfPair(uint64_t seed, uint64_t id, uint64_t pair, uint32_t stream, double *z0,
                             double *z1) {
  uint32_t w0 = (uint32_t)id, w1 = (uint32_t)(id >> 32), w2 = (uint32_t)(pair / 2), w3 = stream;
  MFGPhilox((uint32_t)seed, (uint32_t)(seed >> 32), &w0, &w1, &w2, &w3);
  MFGNormalPair(pair & 1 ? w2 : w0, pair & 1 ? w3 : w1, z0, z1);
}
