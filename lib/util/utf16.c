/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* UTF-16LE from and to UTF-8; see utf16.h. */

#include "util/utf16.h"

#define REPLACEMENT 0xfffdu

static uint32_t unit_at(const uint8_t *src, size_t i)
{
    return (uint32_t)src[2 * i] | (uint32_t)src[2 * i + 1] << 8;
}

/* The code point that begins at unit *i; moves *i past it. */
static uint32_t next_code_point(const uint8_t *src, size_t units, size_t *i)
{
    uint32_t high = unit_at(src, (*i)++);

    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || *i == units)
        return REPLACEMENT;
    uint32_t low = unit_at(src, *i);
    if (low < 0xdc00 || low > 0xdfff)
        return REPLACEMENT;
    (*i)++;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static char *put_utf8(char *p, uint32_t c)
{
    if (c < 0x80) {
        *p++ = (char)c;
        return p;
    }
    int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };

    *p++ = (char)(lead[tail] | c >> (6 * tail));
    while (tail-- > 0)
        *p++ = (char)(0x80 | (c >> (6 * tail) & 0x3f));
    return p;
}

size_t utf16le_to_utf8(const uint8_t *src, size_t units, char *ret)
{
    char *p = ret;

    for (size_t i = 0; i < units;) {
        uint32_t c = next_code_point(src, units, &i);
        if (c == 0)
            break;
        p = put_utf8(p, c);
    }
    *p = '\0';
    return (size_t)(p - ret);
}

/* How many bytes follow the first of a character; -1 if none begins with it. */
static int utf8_tail(unsigned char first)
{
    if (first < 0x80)
        return 0;
    if (first < 0xc2 || first > 0xf4)
        return -1;
    return first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
}

uint32_t utf8_next(const char **p)
{
    static const uint32_t smallest[] = { 0, 0x80, 0x800, 0x10000 };
    const unsigned char *s = (const unsigned char *)*p;
    int tail = utf8_tail(s[0]);

    if (tail < 0)
        return UTF8_INVALID;
    uint32_t c = tail == 0 ? s[0] : s[0] & (0x3fu >> tail);
    for (int i = 1; i <= tail; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return UTF8_INVALID;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < smallest[tail] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return UTF8_INVALID;
    *p += tail + 1;
    return c;
}

static void put_unit(uint8_t *ret, size_t i, uint32_t unit)
{
    ret[2 * i] = (uint8_t)unit;
    ret[2 * i + 1] = (uint8_t)(unit >> 8);
}

size_t utf8_to_utf16le(const char *text, uint8_t *ret, size_t max_units)
{
    size_t n = 0;

    while (*text) {
        uint32_t c = utf8_next(&text);
        size_t units = c < 0x10000 ? 1 : 2;
        if (c == UTF8_INVALID || units > max_units - n)
            return SIZE_MAX;
        if (units == 1) {
            put_unit(ret, n, c);
        } else {
            put_unit(ret, n, 0xd800 + ((c - 0x10000) >> 10));
            put_unit(ret, n + 1, 0xdc00 + ((c - 0x10000) & 0x3ff));
        }
        n += units;
    }
    return n;
}
