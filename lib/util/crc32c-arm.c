/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * CRC-32C with the CRC instructions of ARMv8. An instruction takes 8 bytes and may start every
 * cycle, but its result takes two or three cycles: three streams run side by side, over three
 * adjoining pieces a, b, c of the same length. With S the linear map "followed by one piece of
 * zeros", the CRC of the whole is S(S(a) + b) + c. S is four table lookups: not every ARMv8
 * machine with CRC instructions has carry-less multiplication too.
 */

#include "util/crc32c.h"

#if defined(__aarch64__)

#include "util/crc32c-shifts.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__clang__)
#define CRC __attribute__((target("crc")))
#define crc_u64 __builtin_arm_crc32cd
#define crc_u8 __builtin_arm_crc32cb
#else
#define CRC __attribute__((target("+crc")))
#define crc_u64 __builtin_aarch64_crc32cx
#define crc_u8 __builtin_aarch64_crc32cb
#endif

static uint32_t shift(const uint32_t table[4][256], uint32_t crc)
{
    return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
           table[3][crc >> 24];
}

/* The three pieces at p, of piece bytes each; table is the S of that length. */
CRC static uint32_t three_streams(uint32_t crc, const uint8_t *p, size_t piece,
                                  const uint32_t table[4][256])
{
    uint32_t a = crc, b = 0, c = 0;

    for (const uint8_t *end = p + piece; p < end; p += 8) {
        a = crc_u64(a, crc32c_load64(p));
        b = crc_u64(b, crc32c_load64(p + piece));
        c = crc_u64(c, crc32c_load64(p + 2 * piece));
    }
    return shift(table, shift(table, a) ^ b) ^ c;
}

CRC uint32_t crc32c_armv8(uint32_t crc, const void *buf, size_t len)
{
    const size_t long_step = 3 * CRC32C_LONG_BYTES, short_step = 3 * CRC32C_SHORT_BYTES;
    const uint8_t *p = buf;

    crc = ~crc;
    for (; len >= long_step; len -= long_step, p += long_step)
        crc = three_streams(crc, p, CRC32C_LONG_BYTES, crc32c_shift_long);
    for (; len >= short_step; len -= short_step, p += short_step)
        crc = three_streams(crc, p, CRC32C_SHORT_BYTES, crc32c_shift_short);
    for (; len >= 8; len -= 8, p += 8)
        crc = crc_u64(crc, crc32c_load64(p));
    for (; len > 0; len--, p++)
        crc = crc_u8(crc, *p);
    return ~crc;
}

bool crc32c_armv8_supported(void)
{
#if defined(__ARM_FEATURE_CRC32)
    return true; /* the compiler was told so */
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
    return false;
#endif
}

#endif
