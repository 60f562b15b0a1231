/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Streaming the whole virtual disk; see stream.h. */

#include "ops/stream.h"

#include <stdlib.h>

#include "core/map.h"

#define PIECE_SIZE (1 * MIB)

struct stream {
    const struct chain *chain;
    const struct vhdx_progress *progress;
    int (*read)(const struct chain *c, const struct vhdx_extent *piece, void *buf, void *opaque,
                struct vhdx_error *err);
    int (*fn)(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
              struct vhdx_error *err);
    void *opaque;
    uint8_t *buf; /* PIECE_SIZE bytes */
    struct vhdx_error *err;
};

static int report(const struct stream *s, uint64_t done)
{
    uint64_t total = s->chain->images[0]->geometry.virtual_size;

    if (s->progress->fn && s->progress->fn(done, total, s->progress->opaque) != 0)
        return fail(s->err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

static int stream_data(struct stream *s, const struct vhdx_extent *e)
{
    int r = 0;

    for (uint64_t done = 0; done < e->length && r == 0;) {
        struct vhdx_extent piece = *e;
        piece.offset += done;
        piece.file_offset += done;
        /* Pieces end at multiples of their size, so that reads are aligned. */
        piece.length = min_u64(PIECE_SIZE - piece.offset % PIECE_SIZE, e->length - done);
        r = s->read(s->chain, &piece, s->buf, s->opaque, s->err);
        if (r == 0)
            r = s->fn(s->buf, piece.length, piece.offset, s->opaque, s->err);
        done += piece.length;
        if (r == 0)
            r = report(s, e->offset + done);
    }
    return r;
}

static int stream_extent(const struct vhdx_extent *e, void *opaque)
{
    struct stream *s = opaque;

    if (e->kind == VHDX_EXTENT_DATA)
        return stream_data(s, e);
    int r = s->fn(NULL, e->length, e->offset, s->opaque, s->err);
    return r < 0 ? r : report(s, e->offset + e->length);
}

int stream_disk(const struct chain *c, const struct vhdx_progress *progress,
                int (*read)(const struct chain *c, const struct vhdx_extent *piece, void *buf,
                            void *opaque, struct vhdx_error *err),
                int (*fn)(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
                          struct vhdx_error *err),
                void *opaque, struct vhdx_error *err)
{
    struct stream s = { .chain = c,
                        .progress = progress,
                        .read = read,
                        .fn = fn,
                        .opaque = opaque,
                        .err = err,
                        .buf = malloc(PIECE_SIZE) };

    int r = s.buf ? report(&s, 0) : fail_nomem(err);
    if (r == 0)
        r = map_walk(c, 0, c->images[0]->geometry.virtual_size, stream_extent, &s, err);
    free(s.buf);
    return r;
}
