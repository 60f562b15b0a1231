/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* UTF-16LE, as VHDX stores text, from and to UTF-8. */
#ifndef UTIL_UTF16_H
#define UTIL_UTF16_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of UTF-8, with the NUL, that units UTF-16 code units can become at most. */
#define UTF16_MAX_UTF8(units) ((units) * 3 + 1)

/*
 * Writes the units code units at src as UTF-8 and a NUL to ret, which holds
 * UTF16_MAX_UTF8(units) bytes, and returns the length without the NUL. Stops at a NUL unit. A lone
 * surrogate becomes U+FFFD.
 */
size_t utf16le_to_utf8(const uint8_t *src, size_t units, char *ret);

/*
 * The other way: writes the UTF-8 text as at most max_units code units to ret, without a NUL, and
 * returns how many. SIZE_MAX if text is not valid UTF-8 or does not fit.
 */
size_t utf8_to_utf16le(const char *text, uint8_t *ret, size_t max_units);

#define UTF8_INVALID 0x110000u /* one past the last code point */

/* The code point that begins at *p, which is not the end; moves *p past it. UTF8_INVALID, and *p
   stays, where none does. */
uint32_t utf8_next(const char **p);

#endif
