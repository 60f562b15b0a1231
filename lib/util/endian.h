/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Integers as they stand on disk: little-endian byte arrays in a struct each, so that a structure
 * has alignment 1 without `packed` and a field read without le32_get() does not compile. The same
 * big-endian, for VHD.
 */
#ifndef UTIL_ENDIAN_H
#define UTIL_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

struct le16 { uint8_t bytes[2]; };
struct le32 { uint8_t bytes[4]; };
struct le64 { uint8_t bytes[8]; };

struct be16 { uint8_t bytes[2]; };
struct be32 { uint8_t bytes[4]; };
struct be64 { uint8_t bytes[8]; };

static inline uint16_t le16_get(struct le16 x)
{
    uint16_t v;
    memcpy(&v, x.bytes, sizeof v);
    return le16toh(v);
}

static inline uint32_t le32_get(struct le32 x)
{
    uint32_t v;
    memcpy(&v, x.bytes, sizeof v);
    return le32toh(v);
}

static inline uint64_t le64_get(struct le64 x)
{
    uint64_t v;
    memcpy(&v, x.bytes, sizeof v);
    return le64toh(v);
}

static inline struct le16 le16_make(uint16_t v)
{
    struct le16 x;
    v = htole16(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

static inline struct le32 le32_make(uint32_t v)
{
    struct le32 x;
    v = htole32(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

static inline struct le64 le64_make(uint64_t v)
{
    struct le64 x;
    v = htole64(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

static inline uint16_t be16_get(struct be16 x)
{
    uint16_t v;
    memcpy(&v, x.bytes, sizeof v);
    return be16toh(v);
}

static inline uint32_t be32_get(struct be32 x)
{
    uint32_t v;
    memcpy(&v, x.bytes, sizeof v);
    return be32toh(v);
}

static inline uint64_t be64_get(struct be64 x)
{
    uint64_t v;
    memcpy(&v, x.bytes, sizeof v);
    return be64toh(v);
}

static inline struct be16 be16_make(uint16_t v)
{
    struct be16 x;
    v = htobe16(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

static inline struct be32 be32_make(uint32_t v)
{
    struct be32 x;
    v = htobe32(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

static inline struct be64 be64_make(uint64_t v)
{
    struct be64 x;
    v = htobe64(v);
    memcpy(x.bytes, &v, sizeof v);
    return x;
}

#endif
