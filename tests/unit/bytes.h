/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing the bytes of on-disk structures by offset, for tests: little-endian integers, GUIDs,
 * UTF-16, checksums. Written from [MS-VHDX]; shares nothing with lib/.
 */
#ifndef TEST_BYTES_H
#define TEST_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define K 1024ull
#define M (1024 * K)
#define G (1024 * M)
#define T (1024 * G)

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* width bytes, lowest first. */
static inline void put_int(uint8_t *p, uint64_t x, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

static inline void put16(uint8_t *p, uint32_t x)
{
    put_int(p, x, 2);
}

static inline void put32(uint8_t *p, uint32_t x)
{
    put_int(p, x, 4);
}

static inline void put64(uint8_t *p, uint64_t x)
{
    put_int(p, x, 8);
}

static inline uint64_t get_int(const uint8_t *p, unsigned width)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < width; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static inline unsigned nibble_of(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 0x20) - 'a' + 10;
}

/* The 16 bytes in the order of the text: of "2DC27766-...": 2d c2 77 66 ... */
static inline void put_guid_text_order(uint8_t *p, const char *text)
{
    for (int i = 0; i < 16; i++, text += 2) {
        if (*text == '-')
            text++;
        p[i] = (uint8_t)(nibble_of(text[0]) << 4 | nibble_of(text[1]));
    }
}

/* As on disk: the first three groups are little-endian integers. */
static inline void put_guid(uint8_t *p, const char *text)
{
    static const uint8_t from[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    uint8_t b[16];

    put_guid_text_order(b, text);
    for (int i = 0; i < 16; i++)
        p[i] = b[from[i]];
}

/* ASCII as UTF-16LE, without a NUL. Returns the bytes written. */
static inline size_t put_text16(uint8_t *p, const char *text)
{
    size_t n = 0;

    for (; *text; text++) {
        p[n++] = (uint8_t)*text;
        p[n++] = 0;
    }
    return n;
}

/* CRC-32C, a nibble at a time. 0 to start. */
static inline uint32_t test_crc(uint32_t crc, const void *buf, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *p = buf;

    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* Stores the checksum of a structure, whose field is at byte 4 in all that have one. */
static inline void put_crc(uint8_t *p, size_t len)
{
    put32(p + 4, 0);
    put32(p + 4, test_crc(0, p, len));
}

/* Pseudo-random numbers that are the same on every machine. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
