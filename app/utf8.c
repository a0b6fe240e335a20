#include "app/utf8.h"

unsigned MFGCodePoint(const char *text, int *length) {
  const unsigned char *c = (const unsigned char *)text;
  const int n = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
  static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned point = n == 1 ? *c : *c & (0x7f >> n);

  *length = 1;
  for (int i = 1; i < n; i++) {
    if ((c[i] & 0xc0) != 0x80) return 0;
    point = point << 6 | (c[i] & 0x3f);
  }
  if (!n || point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return 0;
  *length = n;
  return point;
}

PetscBool MFGIsPrintable(unsigned p) {
  return (PetscBool)(p >= 0x20 && !(p >= 0x7f && p < 0xa0) && p != 0x2028 && p != 0x2029 &&
                     p != 0xfeff && p != 0xfffe && p != 0xffff);
}

PetscBool MFGIsText(const char *text) {
  int length;
  for (; *text; text += length)
    if (!MFGIsPrintable(MFGCodePoint(text, &length))) return PETSC_FALSE;
  return PETSC_TRUE;
}

void MFGMakePrintable(char *text, char mark) {
  int length;
  for (; *text; text += length)
    if (!MFGIsPrintable(MFGCodePoint(text, &length))) memset(text, mark, (size_t)length);
}
