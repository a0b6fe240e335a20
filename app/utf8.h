/* Text of UTF-8 from input files, file names and other programs. */
#pragma once

#include <petscsys.h>

/* The code point at `text` and its bytes; 0 and one byte where it is not UTF-8 (too long forms and
 * surrogates included), or the end. */
unsigned MFGCodePoint(const char *text, int *length);

/* Neither a control character, which a terminal would obey, nor a break of a line, nor what YAML
 * does not take. */
PetscBool MFGIsPrintable(unsigned point);

/* All of it is printable. */
PetscBool MFGIsText(const char *text);

/* Puts `mark` for each byte that is not of a printable character. */
void MFGMakePrintable(char *text, char mark);
