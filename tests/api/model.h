/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A disk behind a test's own calls, with data, holes and zeros, that can fail and lie. */
#ifndef API_MODEL_H
#define API_MODEL_H

#include <errno.h>
#include <sched.h>

#include "expect.h"

#define MODEL_SIZE (9 * M + 512)

struct model_stretch {
    uint64_t offset, end;
};

/* Short, across pieces, long, and at the end. */
static const struct model_stretch model_data[] = {
    { 0, 64 * K + 512 },
    { 512 * K - 1024, 512 * K + 1024 },
    { 3 * M, 5 * M },
    { 9 * M, MODEL_SIZE },
};

/* Whole pieces, and a part of one, of the long stretch: zeros that only reading finds. */
static const struct model_stretch model_zeros = { 3 * M + 512 * K, 4 * M + 512 * K + 4096 };

enum model_lie {
    HONEST,
    TOO_LONG, /* true, but beyond the end of the disk */
    DEAF,     /* in many small extents, and goes on when it is told to stop */
    BEGINS_LATE,
    LEAVES_A_GAP,
    REPEATS,
    ZERO_LENGTH,
    WRAPS,
    NO_EXTENTS,
    UNKNOWN_KIND,
    ERRNO,
    LATE_ERRNO,
};

struct model {
    enum model_lie lie;
    bool is_slow;       /* later pieces come earlier */
    uint64_t fails_at;  /* reading this byte fails, if it is not 0 */
    uint64_t failed_at; /* where the read began that failed */
};

/* The bytes of the disk from offset on. */
static inline void model_fill(uint8_t *buf, size_t len, uint64_t offset)
{
    memset(buf, 0, len);
    for (size_t i = 0; i < COUNT(model_data); i++) {
        const struct model_stretch *s = &model_data[i];
        uint64_t end = s->end < offset + len ? s->end : offset + len;
        for (uint64_t at = s->offset > offset ? s->offset : offset; at < end; at++)
            if (at < model_zeros.offset || at >= model_zeros.end)
                buf[at - offset] = (uint8_t)(1 + at % 251);
    }
}

static inline int model_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct model *m = opaque;

    for (unsigned i = 0; m->is_slow && i < offset / (512 * K) * 7 % 11; i++)
        sched_yield();
    if (m->fails_at && m->fails_at >= offset && m->fails_at < offset + len) {
        __atomic_store_n(&m->failed_at, offset, __ATOMIC_RELAXED);
        return -EIO;
    }
    model_fill(buf, len, offset);
    return 0;
}

static inline int model_size(void *opaque, uint64_t *ret)
{
    (void)opaque;
    *ret = MODEL_SIZE;
    return 0;
}

/* The extent at a place of the disk, up to its real end. */
static inline struct vhdx_extent model_extent(uint64_t at)
{
    struct vhdx_extent e = { .offset = at, .kind = VHDX_EXTENT_HOLE };

    for (size_t i = 0; i < COUNT(model_data); i++) {
        e.length = model_data[i].offset - at;
        if (at < model_data[i].offset) {
            e.kind = i % 2 == 0 ? VHDX_EXTENT_HOLE : VHDX_EXTENT_ZERO;
            break;
        }
        e.length = model_data[i].end - at;
        e.kind = VHDX_EXTENT_DATA;
        if (at < model_data[i].end)
            break;
    }
    return e;
}

/* What a lie makes of the extent number n of an answer. */
static inline void model_bend(enum model_lie lie, unsigned n, struct vhdx_extent *e)
{
    if (lie == TOO_LONG && e->offset + e->length == MODEL_SIZE)
        e->length += 4096;
    if (lie == BEGINS_LATE || (lie == LEAVES_A_GAP && n == 1))
        e->offset += 512;
    if (lie == REPEATS && n == 1)
        e->offset = 0;
    if (lie == ZERO_LENGTH && n == 1)
        e->length = 0;
    if (lie == WRAPS && n == 1)
        e->length = UINT64_MAX - 511;
    if (lie == UNKNOWN_KIND)
        e->kind = VHDX_EXTENT_HOLE + 1;
}

static inline int model_extents(void *opaque, uint64_t offset, uint64_t len,
                         int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                         void *fn_opaque)
{
    const struct model *m = opaque;
    uint64_t end = offset + len, length;
    unsigned n = 0;

    if (m->lie == NO_EXTENTS)
        return 0;
    if (m->lie == ERRNO)
        return -ENODEV;
    for (uint64_t at = offset; at < end; at += length, n++) {
        struct vhdx_extent e = model_extent(at);
        if (m->lie == DEAF && e.length > 4096)
            e.length = 4096;
        if (e.length > end - at)
            e.length = end - at;
        length = e.length;
        if (m->lie == LATE_ERRNO && n == 2)
            return -ENODEV;
        model_bend(m->lie, n, &e);
        int r = fn(&e, fn_opaque);
        if (r != 0 && m->lie != DEAF)
            return r;
    }
    return 0;
}

static inline struct vhdx_disk *model_open(struct model *m, vhdx_io_extents *extents)
{
    const struct vhdx_io io = { .struct_size = sizeof io, .opaque = m, .pread = model_pread,
                                .size = model_size };
    struct vhdx_disk *d;

    assert_int_equal(vhdx_disk_custom(&io, extents, "the model", &d, NULL), 0);
    return d;
}

/* All of the disk, wherever it was written. */
static inline void model_expect(const uint8_t *found)
{
    uint8_t *expected = malloc(MODEL_SIZE);

    model_fill(expected, MODEL_SIZE, 0);
    for (uint64_t i = 0; i < MODEL_SIZE; i++)
        if (found[i] != expected[i])
            fail_test("byte %" PRIu64 " is %#x, must be %#x\n", i, found[i], expected[i]);
    free(expected);
}

#endif
