/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Building the entries of a log in memory, from [MS-VHDX] 2.3.1; shares nothing with lib/. */
#ifndef TEST_LOGBUILD_H
#define TEST_LOGBUILD_H

#include <stdbool.h>
#include <stdlib.h>

#include "bytes.h"

#define LOG_GUID "01234567-89ab-cdef-0123-456789abcdef"
#define OTHER_GUID "01234567-89ab-cdef-0123-456789abcdee"
#define SECTOR 4096u

/* One descriptor. */
struct log_change {
    uint64_t offset; /* in the file */
    uint64_t length; /* zero descriptors only */
    uint32_t seed;   /* data: what is written, see sector_content(); 0: a zero descriptor */
};

struct log_spec {
    uint32_t at, tail; /* offsets in the log */
    uint64_t sequence;
    const char *guid;  /* NULL: LOG_GUID */
    uint64_t flushed, last;
    const struct log_change *changes;
    unsigned count;
    unsigned extra; /* sectors behind the last data sector */
    bool no_crc;    /* leave the checksum 0 */
};

/* The 4 KiB that a data descriptor with this seed writes. */
static inline void sector_content(uint8_t *out, uint32_t seed)
{
    uint64_t state = seed;

    for (unsigned i = 0; i < SECTOR; i += 4)
        put32(out + i, next_random(&state));
}

static inline unsigned spec_descriptor_sectors(const struct log_spec *e)
{
    return 1 + (e->count > 126 ? (e->count - 126 + 127) / 128 : 0);
}

/* The entry's length in bytes. */
static inline uint32_t spec_length(const struct log_spec *e)
{
    unsigned sectors = spec_descriptor_sectors(e) + e->extra;

    for (unsigned i = 0; i < e->count; i++)
        sectors += e->changes[i].seed != 0;
    return sectors * SECTOR;
}

static inline void put_log_header(uint8_t *p, const struct log_spec *e, uint32_t length)
{
    memcpy(p, "loge", 4);
    put32(p + 8, length);
    put32(p + 12, e->tail);
    put64(p + 16, e->sequence);
    put32(p + 24, e->count);
    put_guid(p + 32, e->guid ? e->guid : LOG_GUID);
    put64(p + 48, e->flushed);
    put64(p + 56, e->last);
}

/* The descriptor, and its data sector if it has one. Returns the bytes of data sectors written. */
static inline uint32_t put_log_change(uint8_t *d, uint8_t *data, const struct log_change *c,
                                      uint64_t sequence)
{
    uint8_t content[SECTOR];

    memcpy(d, c->seed ? "desc" : "zero", 4);
    put64(d + 8, c->length);
    put64(d + 16, c->offset);
    put64(d + 24, sequence);
    if (!c->seed)
        return 0;
    sector_content(content, c->seed);
    memcpy(d + 4, content + 4092, 4);
    memcpy(d + 8, content, 8);
    memcpy(data, "data", 4);
    put32(data + 4, (uint32_t)(sequence >> 32));
    memcpy(data + 8, content + 8, 4084);
    put32(data + 4092, (uint32_t)sequence);
    return SECTOR;
}

/* Writes the entry into the ring, round its end if need be. Returns where the next one begins. */
static inline uint32_t put_log_entry(uint8_t *log, uint32_t log_length, const struct log_spec *e)
{
    uint32_t length = spec_length(e);
    uint32_t data = spec_descriptor_sectors(e) * SECTOR;
    uint8_t *p = calloc(1, length);
    uint32_t first = length < log_length - e->at ? length : log_length - e->at;

    put_log_header(p, e, length);
    for (unsigned i = 0; i < e->count; i++)
        data += put_log_change(p + 64 + 32 * i, p + data, &e->changes[i], e->sequence);
    if (!e->no_crc)
        put_crc(p, length);
    memcpy(log + e->at, p, first);
    memcpy(log, p + first, length - first);
    free(p);
    return (e->at + length) % log_length;
}

#endif
