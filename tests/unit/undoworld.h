/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * An image and its undo file, both in memory, for tests of io/undo.h. Every call of either goes
 * through a layer that counts, fails the Nth, tears writes, knows what is stable, and checks at
 * each change of the image that the stable part of the undo file covers it. It reads the undo file
 * with code of its own.
 */
#ifndef TEST_UNDOWORLD_H
#define TEST_UNDOWORLD_H

#include <errno.h>

#include "expect.h"
#include "io/io.h"
#include "io/memory.h"
#include "io/undo.h"

#define GRANULE (64 * K)
#define HEADER 4144u /* bytes */
#define RECORD 56u
#define IMAGE_SIZE (20 * GRANULE + 777)
#define IMAGE_MAX (24 * GRANULE)
#define FILE_MAX (3 * M)

struct world;

struct layer {
    struct world *world;
    struct vhdx_io memory; /* what is below */
    struct vhdx_io io;     /* what the code under test gets */
};

struct world {
    struct layer image, file;
    uint8_t original[IMAGE_SIZE];
    uint8_t stable[FILE_MAX]; /* of the undo file: as of its last flush */
    uint64_t stable_size;
    uint64_t calls, fail_at;  /* fail_at: which call fails; 0 for none */
    bool stays_dead;          /* so do all after it */
    bool checks_order;
    bool image_is_dirty;      /* changed since its last flush */
    uint64_t changes;         /* of the image, that have been checked */
};

static inline uint64_t world_size(const struct vhdx_io *io)
{
    uint64_t size = 0;

    assert_int_equal(io->size(io->opaque, &size), 0);
    return size;
}

/* Is this the call that fails? */
static inline bool world_fails(struct world *w)
{
    w->calls++;
    return w->fail_at != 0 &&
           (w->stays_dead ? w->calls >= w->fail_at : w->calls == w->fail_at);
}

/* Does a record in the stable part of the undo file hold the granule at offset as it was? */
static inline bool world_is_saved(const struct world *w, uint64_t offset)
{
    uint64_t len = IMAGE_SIZE - offset < GRANULE ? IMAGE_SIZE - offset : GRANULE;
    static const uint8_t zeros[GRANULE];

    for (uint64_t at = HEADER; at + RECORD <= w->stable_size; at += RECORD) {
        const uint8_t *r = w->stable + at;
        uint64_t kind = get_int(r + 8, 4), start = get_int(r + 16, 8), n = get_int(r + 24, 8);
        bool has = kind <= 2 && start <= offset && offset + len <= start + n;
        if (has && kind == 1)
            return at + RECORD + n <= w->stable_size &&
                   memcmp(r + RECORD + (offset - start), w->original + offset, len) == 0;
        if (has)
            return memcmp(zeros, w->original + offset, len) == 0;
        at += kind == 1 ? n : 0;
    }
    return false;
}

static inline void world_check(struct layer *l, uint64_t offset, uint64_t end)
{
    if (l == &l->world->image)
        l->world->image_is_dirty = true;
    if (l != &l->world->image || !l->world->checks_order || offset == end ||
        offset >= IMAGE_SIZE)
        return;
    for (uint64_t at = offset / GRANULE * GRANULE; at < end && at < IMAGE_SIZE; at += GRANULE)
        if (!world_is_saved(l->world, at))
            fail_test("changed before it was saved: granule at %" PRIu64 "\n", at);
    l->world->changes++;
}

static inline int world_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct layer *l = opaque;

    return world_fails(l->world) ? -EIO : l->memory.pread(l->memory.opaque, buf, len, offset);
}

/* A write that fails leaves its first half. */
static inline int world_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct layer *l = opaque;
    bool was_dead = l->world->stays_dead && l->world->fail_at && l->world->calls >=
                    l->world->fail_at;
    bool fails = world_fails(l->world);

    if (was_dead)
        return -EIO;
    world_check(l, offset, offset + len);
    if (l == &l->world->file && len == RECORD && get_int((const uint8_t *)buf + 8, 4) == 3)
        assert_false(l->world->image_is_dirty); /* what is sealed must not get lost */
    int r = l->memory.pwrite(l->memory.opaque, buf, fails ? len / 2 : len, offset);
    return fails ? -EIO : r;
}

static inline int world_flush(void *opaque)
{
    struct layer *l = opaque;
    struct world *w = l->world;

    if (world_fails(w))
        return -EIO;
    if (l == &w->image)
        w->image_is_dirty = false;
    if (l == &w->file) {
        w->stable_size = world_size(&l->memory);
        assert_true(w->stable_size <= FILE_MAX);
        assert_int_equal(l->memory.pread(l->memory.opaque, w->stable, w->stable_size, 0), 0);
    }
    return 0;
}

static inline int world_get_size(void *opaque, uint64_t *ret_size)
{
    struct layer *l = opaque;

    return world_fails(l->world) ? -EIO : l->memory.size(l->memory.opaque, ret_size);
}

static inline int world_truncate(void *opaque, uint64_t size)
{
    struct layer *l = opaque;

    if (world_fails(l->world))
        return -EIO;
    if (size < world_size(&l->memory))
        world_check(l, size, UINT64_MAX);
    return l->memory.truncate(l->memory.opaque, size);
}

static inline int world_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct layer *l = opaque;

    if (world_fails(l->world))
        return -EIO;
    world_check(l, offset, offset + len);
    return l->memory.zero(l->memory.opaque, offset, len);
}

static inline void world_layer(struct world *w, struct layer *l, const void *data, size_t len)
{
    l->world = w;
    assert_int_equal(memory_open(data, len, &l->memory, NULL), 0);
    l->io = (struct vhdx_io){ .struct_size = sizeof l->io, .opaque = l, .pread = world_pread,
                              .pwrite = world_pwrite, .flush = world_flush,
                              .size = world_get_size, .truncate = world_truncate,
                              .zero = world_zero, .discard = world_zero };
}

/* An image of random bytes with runs of zero granules in it, and an empty undo file. */
static inline struct world *world_begin(void)
{
    struct world *w = calloc(1, sizeof *w);
    uint64_t random = 77;

    for (size_t i = 0; i < IMAGE_SIZE; i++)
        if (!(0xc3a4u >> (i / GRANULE) & 1))
            w->original[i] = (uint8_t)next_random(&random);
    world_layer(w, &w->image, w->original, IMAGE_SIZE);
    world_layer(w, &w->file, NULL, 0);
    return w;
}

static inline void world_end(struct world *w)
{
    io_close(&w->image.memory);
    io_close(&w->file.memory);
    free(w);
}

/* Makes what does not fail any more. */
static inline void world_revive(struct world *w)
{
    w->fail_at = 0;
    w->calls = 0;
}

/* Replaces the content of the undo file. */
static inline void world_set_file(struct world *w, const void *data, size_t len)
{
    const struct vhdx_io *m = &w->file.memory;

    assert_int_equal(m->truncate(m->opaque, 0), 0);
    assert_int_equal(m->pwrite(m->opaque, data, len, 0), 0);
}

/* A loss of power: of what was written to the undo file since its last flush, the first half is
   there, and then as much garbage as was written. */
static inline void world_tear(struct world *w)
{
    const struct vhdx_io *m = &w->file.memory;
    uint64_t size = world_size(m);
    uint8_t garbage[512];

    if (size < w->stable_size) { /* it was being cut */
        world_set_file(w, w->stable, w->stable_size);
        return;
    }
    memset(garbage, 0x5a, sizeof garbage);
    for (uint64_t at = w->stable_size + (size - w->stable_size) / 2, n; at < size; at += n) {
        n = size - at < sizeof garbage ? size - at : sizeof garbage;
        assert_int_equal(m->pwrite(m->opaque, garbage, n, at), 0);
    }
}

static inline bool world_is_restored(const struct world *w)
{
    const struct vhdx_io *m = &w->image.memory;
    static uint8_t found[IMAGE_SIZE];

    return world_size(m) == IMAGE_SIZE &&
           m->pread(m->opaque, found, IMAGE_SIZE, 0) == 0 &&
           memcmp(found, w->original, IMAGE_SIZE) == 0;
}

#endif
