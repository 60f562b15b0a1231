/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * CRC-32C (Castagnoli), the checksum of headers, region tables and log entries: [MS-VHDX] 2.2.2,
 * 2.2.3.1, 2.3.1.1. One function for the library; below it, the variants it chooses from, for the
 * tests and the benchmark.
 */
#ifndef UTIL_CRC32C_H
#define UTIL_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "util/endian.h"

/*
 * The CRC of what crc was the CRC of, followed by the len bytes at buf. 0 to start;
 * crc32c(0, "123456789", 9) == 0xE3069283. buf needs no alignment, and may be NULL when len is 0.
 * Any thread may call.
 */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/* The checksum of a structure that holds its own: the four bytes at offset field count as zero. */
uint32_t crc32c_without(const void *buf, size_t len, size_t field);

typedef uint32_t crc32c_fn(uint32_t crc, const void *buf, size_t len);

struct crc32c_variant {
    const char *name;
    bool (*supported)(void); /* can this machine run fn? */
    crc32c_fn *fn;           /* same contract as crc32c() */
};

/* Best first; the last one runs everywhere. */
extern const struct crc32c_variant crc32c_variants[];
extern const size_t crc32c_variants_count;

/* What the files crc32c-*.c contribute, each on the architecture that it is for. */
crc32c_fn crc32c_table, crc32c_sse42, crc32c_avx512, crc32c_armv8;
bool crc32c_sse42_supported(void);
bool crc32c_avx512_supported(void);
bool crc32c_armv8_supported(void);

/* The next 8 bytes; the first of them is the lowest, on every machine. */
static inline uint64_t crc32c_load64(const uint8_t *p)
{
    struct le64 x;

    memcpy(&x, p, sizeof x);
    return le64_get(x);
}

#endif
