/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The parser of sizes. It accepts what qemu-img accepts, and is strict about the rest: a typing
 * mistake in an offset must not read some other place of the disk.
 *
 *     size   = digits [ "." [ digits ] ] suffix      1.5G, 64k, 1.M
 *            | digits [ "b" ]                        512, 512b
 *            | "0x" hex-digits                       0x200; no suffix: b and e are digits there
 *     suffix = k M G T P E, powers of 1024           either case
 *
 * Nothing may stand before or after it: no sign, no space. Digits with a leading zero are decimal.
 * A fraction is rounded down to a whole byte. All arithmetic is in integers and exact.
 */
#include "size.h"

#include <stddef.h>
#include <string.h>

#include "report.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Consumes digits of a base at *text. False when there are none or the value does not fit. */
static bool take_number(const char **text, unsigned base, uint64_t *ret)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    uint64_t value = 0;
    const char *p = *text;

    for (; *p != '\0'; p++) {
        const char *digit = strchr(digits, *p);
        unsigned d = digit ? (unsigned)(digit - digits) % 16 : base;
        if (d >= base)
            break;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)d, &value))
            return false;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret = value;
    return true;
}

/* The power of two a suffix stands for; -1 when it is none. */
static int suffix_bits(char suffix)
{
    static const char suffixes[] = "bkmgtpeBKMGTPE";
    const char *found = suffix == '\0' ? NULL : strchr(suffixes, suffix);

    return found ? 10 * (int)((found - suffixes) % 7) : -1;
}

/*
 * The whole bytes of 0.DIGITS * unit, unit <= 2^60. From the last digit to the first, each step
 * divides by ten what the digits so far amount to; the sum stays below 10 * 2^60 and rounding down
 * at each step equals rounding down once at the end.
 */
static uint64_t fraction_of(const char *digits, size_t count, uint64_t unit)
{
    uint64_t bytes = 0;

    while (count > 0) {
        count--;
        bytes = ((uint64_t)(digits[count] - '0') * unit + bytes) / 10;
    }
    return bytes;
}

static bool parse_hexadecimal(const char *text, uint64_t *ret_bytes)
{
    uint64_t value;

    if (!take_number(&text, 16, &value) || *text != '\0')
        return false;
    *ret_bytes = value;
    return true;
}

bool size_parse(const char *text, uint64_t *ret_bytes)
{
    uint64_t whole;
    const char *fraction = NULL;
    size_t fraction_len = 0;
    int bits = 0;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return parse_hexadecimal(text + 2, ret_bytes);
    if (!take_number(&text, 10, &whole))
        return false;
    if (*text == '.') {
        fraction = ++text;
        while (is_digit(*text))
            text++;
        fraction_len = (size_t)(text - fraction);
    }
    if (*text != '\0') {
        bits = suffix_bits(*text++);
        if (bits < 0 || *text != '\0')
            return false;
    }
    if (fraction && bits == 0) /* there is no part of a byte */
        return false;

    uint64_t unit = (uint64_t)1 << bits;
    uint64_t bytes;
    if (__builtin_mul_overflow(whole, unit, &bytes) ||
        __builtin_add_overflow(bytes, fraction_of(fraction, fraction_len, unit), &bytes))
        return false;
    *ret_bytes = bytes;
    return true;
}

bool size_parse_option(const char *option, const char *text, uint64_t *ret_bytes)
{
    if (size_parse(text, ret_bytes))
        return true;
    report("%s: '%s' is not a size", option, text);
    report_hint("a size is a number of bytes below 2^64, or one with a suffix: 512, 64k, 1.5G, "
                "0x10000; k, M, G, T, P, E are powers of 1024");
    return false;
}
