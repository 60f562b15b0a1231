/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What can be read of an image; see content.h. */

#include "content.h"

#include <stdlib.h>
#include <string.h>

#define PIECES_MAX 65536u
#define PIECE_MIN 65536u
#define BUFFER (1u << 20)

struct reader {
    struct vhdx *v;
    struct content *c;
    uint8_t *buf;
    uint32_t unit; /* extents begin and end at multiples of it, but for the end of the disk */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a + UINT64_C(0x9e3779b97f4a7c15)) ^ b * UINT64_C(0xff51afd7ed558ccd);

    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 29;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Adds to a piece's digest, which thus does not depend on the order. */
static void add(struct content *c, uint64_t offset, uint64_t value)
{
    uint64_t *d = &c->digests[offset / c->piece];

    if (*d != CONTENT_UNREADABLE)
        *d += value;
    if (*d == CONTENT_UNREADABLE - 1)
        *d = 1;
}

static void add_data(struct reader *r, uint64_t offset, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < r->unit ? len - at : r->unit;
        if (!is_zero(r->buf + at, n))
            add(r->c, offset + at,
                mix(offset + at, vhdx_crc32c(0, r->buf + at, n)) & ~(UINT64_C(1) << 63));
    }
}

static void lose(struct content *c, uint64_t offset)
{
    uint64_t *d = &c->digests[offset / c->piece];

    c->unreadable += *d != CONTENT_UNREADABLE;
    *d = CONTENT_UNREADABLE;
}

/* However a hole is cut into extents, the sum over it is the same. */
static void add_hole(struct content *c, uint64_t offset, uint64_t end)
{
    add(c, offset, mix(end, 77) - mix(offset, 77));
}

static int on_extent(const struct vhdx_extent *e, void *opaque)
{
    struct reader *r = opaque;
    uint64_t at = e->offset, end = e->offset + e->length;

    if (e->kind != VHDX_EXTENT_DATA && !(e->kind == VHDX_EXTENT_HOLE && r->c->is_child))
        return 0;
    while (at < end) {
        uint64_t stop = (at / r->c->piece + 1) * r->c->piece;
        stop = stop < end ? stop : end;
        if (e->kind == VHDX_EXTENT_HOLE) {
            add_hole(r->c, at, stop);
            at = stop;
            continue;
        }
        size_t n = (size_t)(stop - at < BUFFER ? stop - at : BUFFER);
        if (vhdx_pread(r->v, r->buf, n, at, &r->c->err) < 0)
            lose(r->c, at);
        else
            add_data(r, at, n);
        at += n;
    }
    return 0;
}

void content_read_open(struct vhdx *v, struct content *ret)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct reader r = { .v = v, .c = ret, .buf = malloc(BUFFER) };

    if (!r.buf || vhdx_get_info(v, &info, NULL) < 0)
        abort();
    ret->is_open = true;
    ret->is_child = info.type == VHDX_TYPE_DIFFERENCING;
    ret->log_state = info.log_state;
    ret->size = info.virtual_size;
    memcpy(ret->data_write_guid, info.data_write_guid, sizeof ret->data_write_guid);
    r.unit = ret->is_child ? 512 : 4096;
    for (ret->piece = PIECE_MIN; ret->size / ret->piece >= PIECES_MAX;)
        ret->piece *= 2;
    ret->count = (size_t)((ret->size + ret->piece - 1) / ret->piece);
    ret->digests = calloc(ret->count + 1, sizeof *ret->digests);
    if (!ret->digests)
        abort();
    if (vhdx_extents(v, 0, ret->size, on_extent, &r, &ret->err) < 0) {
        memset(ret->digests, 0, ret->count * sizeof *ret->digests);
        ret->unreadable = 0;
        for (size_t i = 0; i < ret->count; i++) {
            uint64_t at = i * ret->piece, len = ret->size - at;
            if (vhdx_extents(v, at, len < ret->piece ? len : ret->piece, on_extent, &r,
                             &ret->err) < 0)
                lose(ret, at);
        }
    }
    free(r.buf);
}

void content_read(const struct vhdx_io *io, uint32_t flags, struct content *ret)
{
    struct vhdx_io own = *io;
    struct vhdx *v;

    *ret = (struct content){ 0 };
    own.close = NULL;
    flags |= VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK;
    if (vhdx_open_io(&own, flags, NULL, &v, &ret->err) < 0)
        return;
    content_read_open(v, ret);
    vhdx_close(v);
}

void content_end(struct content *c)
{
    free(c->digests);
    *c = (struct content){ 0 };
}

bool content_keeps(const struct content *a, const struct content *b, size_t *ret_piece)
{
    size_t i;

    *ret_piece = 0;
    if (!a->is_open)
        return true;
    if (!b->is_open || a->size != b->size || a->is_child != b->is_child)
        return false;
    for (i = 0; i < a->count; i++)
        if (a->digests[i] != CONTENT_UNREADABLE && a->digests[i] != b->digests[i])
            break;
    *ret_piece = i;
    return i == a->count;
}

bool content_equal(const struct content *a, const struct content *b)
{
    if (!a->is_open || !b->is_open)
        return a->is_open == b->is_open;
    return a->size == b->size && a->is_child == b->is_child &&
           memcmp(a->digests, b->digests, a->count * sizeof *a->digests) == 0;
}
