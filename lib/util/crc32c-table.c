/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * CRC-32C for machines without an instruction for it: eight bytes per step, through eight tables
 * ("slicing by 8"). Table k holds the remainder of each byte followed by k zero bytes; as the
 * remainder of a sum is the sum of the remainders, eight independent lookups replace eight that
 * would wait for each other. Bytes are taken in file order, so byte order does not matter.
 */

#include "util/crc32c.h"

#include "util/crc32c-slices.h"

static uint32_t eight_bytes(uint32_t crc, const uint8_t *p)
{
    uint64_t x = crc32c_load64(p) ^ crc;

    return crc32c_slices[7][x & 0xff] ^ crc32c_slices[6][x >> 8 & 0xff] ^
           crc32c_slices[5][x >> 16 & 0xff] ^ crc32c_slices[4][x >> 24 & 0xff] ^
           crc32c_slices[3][x >> 32 & 0xff] ^ crc32c_slices[2][x >> 40 & 0xff] ^
           crc32c_slices[1][x >> 48 & 0xff] ^ crc32c_slices[0][x >> 56];
}

uint32_t crc32c_table(uint32_t crc, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8)
        crc = eight_bytes(crc, p);
    for (; len > 0; len--, p++)
        crc = crc >> 8 ^ crc32c_slices[0][(crc ^ *p) & 0xff];
    return ~crc;
}
