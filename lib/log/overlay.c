/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A replayed log that is not written; see overlay.h. */

#include "log/overlay.h"

#include <inttypes.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/limits.h"

#define IS_ZERO UINT32_MAX

/* A change to [start, end) of the file; both are multiples of 4 KiB. */
struct change {
    uint64_t start, end;
    uint32_t order;            /* a higher one hides a lower one */
    uint32_t data;             /* offset of the data sector in the log, or IS_ZERO */
    struct le64 leading_bytes; /* of the sector, which the log keeps in the descriptor */
    struct le32 trailing_bytes;
};

struct overlay {
    struct change *segments; /* sorted, not overlapping */
    size_t count;
    uint64_t log_offset;
    uint64_t file_size; /* as it is */
    uint64_t size;      /* as it would be */
};

struct collector {
    const struct log_ring *ring;
    const struct log_entry *entry;
    struct change *changes; /* in the order of application */
    size_t count, capacity;
};

static int collect(const struct log_descriptor *d, uint32_t data_offset, void *opaque,
                   struct vhdx_error *err)
{
    struct collector *c = opaque;

    int r = log_descriptor_verify(d, c->entry, c->ring->offset, c->ring->length, err);
    if (r < 0)
        return r;
    if (d->length == 0)
        return 0;
    if (c->count == LIMIT_LOG_DESCRIPTORS)
        return fail(err, VHDX_E_LIMIT, d->at,
                    "log: descriptor count of the active sequence must be at most %d",
                    (int)LIMIT_LOG_DESCRIPTORS);
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 64;
        struct change *changes = realloc(c->changes, capacity * sizeof *changes);
        if (!changes)
            return fail_nomem(err);
        c->changes = changes;
        c->capacity = capacity;
    }
    c->changes[c->count] = (struct change){
        .start = d->file_offset,
        .end = d->file_offset + d->length,
        .order = (uint32_t)c->count,
        .data = d->is_zero ? IS_ZERO : data_offset,
        .leading_bytes = d->leading_bytes,
        .trailing_bytes = d->trailing_bytes,
    };
    c->count++;
    return 0;
}

static int compare_start(const void *a, const void *b)
{
    const struct change *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

/* A binary heap of indices of changes, the latest change on top. */
struct heap {
    const struct change *changes;
    uint32_t *items;
    size_t count;
};

static bool is_later(const struct heap *h, uint32_t a, uint32_t b)
{
    return h->changes[a].order > h->changes[b].order;
}

static void heap_push(struct heap *h, uint32_t item)
{
    size_t i = h->count++;

    while (i > 0 && is_later(h, item, h->items[(i - 1) / 2])) {
        h->items[i] = h->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->items[i] = item;
}

static void heap_pop(struct heap *h)
{
    uint32_t item = h->items[--h->count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && is_later(h, h->items[child + 1], h->items[child]))
            child++;
        if (!is_later(h, h->items[child], item))
            break;
        h->items[i] = h->items[child];
        i = child;
    }
    if (h->count > 0)
        h->items[i] = item;
}

/* Appends [start, end) of change c, or lengthens the segment before if it is of the same change. */
static void emit(struct overlay *o, const struct change *c, uint64_t start, uint64_t end)
{
    struct change *last = o->count ? &o->segments[o->count - 1] : NULL;

    if (last && last->order == c->order && last->end == start) {
        last->end = end;
        return;
    }
    o->segments[o->count] = *c;
    o->segments[o->count].start = start;
    o->segments[o->count].end = end;
    o->count++;
}

/*
 * Sweeps over the changes, sorted by start, with those that reach the current position in a heap:
 * the latest on top is what is visible, until it ends or another begins. Each change starts once
 * and ends once, so there are fewer than 2 * count segments.
 */
static void flatten(struct overlay *o, const struct change *changes, size_t count,
                    uint32_t *heap_items)
{
    struct heap h = { .changes = changes, .items = heap_items };
    uint64_t position = 0;
    size_t next = 0;

    while (next < count || h.count > 0) {
        if (h.count == 0)
            position = max_u64(position, changes[next].start);
        while (next < count && changes[next].start <= position)
            heap_push(&h, (uint32_t)next++);

        const struct change *top = &changes[h.items[0]];
        if (top->end <= position) {
            heap_pop(&h);
            continue;
        }
        uint64_t end = next < count ? min_u64(top->end, changes[next].start) : top->end;
        emit(o, top, position, end);
        position = end;
    }
}

static int collect_all(struct log_ring *ring, const struct log_sequence *sequence,
                       struct collector *c, struct vhdx_error *err)
{
    for (uint32_t i = 0; i < sequence->count; i++) {
        c->entry = &sequence->entries[i];
        int r = log_entry_verify(c->entry, err);
        if (r == 0)
            r = log_entry_descriptors(ring, c->entry, collect, c, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int build_segments(struct overlay *o, struct collector *c, struct vhdx_error *err)
{
    CLEANUP_FREE uint32_t *heap_items = malloc((c->count + 1) * sizeof *heap_items);

    o->segments = malloc((2 * c->count + 1) * sizeof *o->segments);
    if (!heap_items || !o->segments)
        return fail_nomem(err);
    if (c->count > 0)
        qsort(c->changes, c->count, sizeof *c->changes, compare_start);
    flatten(o, c->changes, c->count, heap_items);
    for (size_t i = 0; i < o->count; i++)
        o->size = max_u64(o->size, o->segments[i].end);
    return 0;
}

int overlay_build(struct log_ring *ring, const struct log_sequence *sequence, uint64_t file_size,
                  struct overlay **ret, struct vhdx_error *err)
{
    const struct log_entry *head = &sequence->entries[sequence->count - 1];
    struct collector c = { .ring = ring };

    if (file_size < head->flushed_file_offset)
        return fail(err, VHDX_E_TRUNCATED,
                    head->at + offsetof(struct log_header_disk, flushed_file_offset),
                    "log entry at %#" PRIx32 ": flushed file offset is %" PRIu64
                    ", but the file is only %" PRIu64 " bytes long: it has been truncated",
                    head->offset, head->flushed_file_offset, file_size);

    struct overlay *o = calloc(1, sizeof *o);
    if (!o)
        return fail_nomem(err);
    o->log_offset = ring->offset;
    o->file_size = file_size;
    o->size = max_u64(file_size, head->last_file_offset);

    int r = collect_all(ring, sequence, &c, err);
    if (r == 0)
        r = build_segments(o, &c, err);
    free(c.changes);
    if (r < 0) {
        overlay_free(o);
        return r;
    }
    *ret = o;
    return 0;
}

void overlay_free(struct overlay *o)
{
    if (!o)
        return;
    free(o->segments);
    free(o);
}

uint64_t overlay_size(const struct overlay *o)
{
    return o->size;
}

/* What no segment covers: the file's own bytes, and zeros where the replay makes it longer. */
static int read_beneath(const struct overlay *o, const struct vhdx_io *io, uint8_t *buf,
                        size_t len, uint64_t offset, struct vhdx_error *err)
{
    size_t inside = offset < o->file_size ? (size_t)min_u64(len, o->file_size - offset) : 0;

    memset(buf + inside, 0, len - inside);
    return inside > 0 ? io_pread(io, buf, inside, offset, err) : 0;
}

/* len bytes from offset, which lie inside the segment. */
static int read_segment(const struct overlay *o, const struct change *s, const struct vhdx_io *io,
                        uint8_t *buf, size_t len, uint64_t offset, struct vhdx_error *err)
{
    struct log_data_disk disk;
    uint8_t sector[LOG_SECTOR_SIZE];

    if (s->data == IS_ZERO) {
        memset(buf, 0, len);
        return 0;
    }
    int r = io_pread(io, &disk, sizeof disk, o->log_offset + s->data, err);
    if (r < 0)
        return r;
    memcpy(sector, s->leading_bytes.bytes, 8);
    memcpy(sector + 8, disk.data, sizeof disk.data);
    memcpy(sector + 8 + sizeof disk.data, s->trailing_bytes.bytes, 4);
    memcpy(buf, sector + (offset - s->start), len);
    return 0;
}

/* The first segment that ends behind offset. */
static size_t find_segment(const struct overlay *o, uint64_t offset)
{
    size_t low = 0, high = o->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (o->segments[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int overlay_pread(const struct overlay *o, const struct vhdx_io *io, void *buf, size_t len,
                  uint64_t offset, struct vhdx_error *err)
{
    uint8_t *p = buf;

    for (size_t i = find_segment(o, offset); len > 0;) {
        const struct change *s = i < o->count ? &o->segments[i] : NULL;
        bool inside = s && s->start <= offset;
        uint64_t until = !s ? UINT64_MAX : inside ? s->end : s->start;
        size_t n = (size_t)min_u64(len, until - offset);

        int r = inside ? read_segment(o, s, io, p, n, offset, err)
                       : read_beneath(o, io, p, n, offset, err);
        if (r < 0)
            return r;
        p += n;
        offset += n;
        len -= n;
        i += inside;
    }
    return 0;
}

void overlay_totals(const struct overlay *o, uint64_t *ret_written, uint64_t *ret_zeroed)
{
    *ret_written = *ret_zeroed = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct change *s = &o->segments[i];
        *(s->data == IS_ZERO ? ret_zeroed : ret_written) += s->end - s->start;
    }
}

int overlay_apply(const struct overlay *o, const struct vhdx_io *io, struct vhdx_error *err)
{
    int r = o->size > o->file_size ? io_truncate(io, o->size, err) : 0;

    for (size_t i = 0; i < o->count && r == 0; i++) {
        const struct change *s = &o->segments[i];
        uint8_t sector[LOG_SECTOR_SIZE];
        if (s->data == IS_ZERO) {
            r = io_discard(io, s->start, s->end - s->start, true, err);
            continue;
        }
        r = read_segment(o, s, io, sector, sizeof sector, s->start, err);
        if (r == 0)
            r = io_pwrite(io, sector, sizeof sector, s->start, err);
    }
    return r < 0 ? r : io_flush(io, err);
}
