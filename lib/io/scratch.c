/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Copy-on-write in memory; see scratch.h. Changes are a sorted array of segments, each either bytes
 * or zeros; what no segment covers is read from the file below.
 *
 * Invariants:
 * 1. Segments are sorted, not empty, and do not overlap.
 * 2. A segment of bytes lies inside one window of 64 KiB, and no two of them touch in a window:
 *    many small writes in a row become few segments, and no change copies more than a window.
 * 3. Segments of zeros do not touch one another: zeros cost what their neighbours cost.
 * 4. Segments cover all from the smallest size that the file has had: growth is a segment of zeros.
 *    So what was cut off never shows again, and the file below is never read past its end.
 * 5. No segment reaches past size.
 * 6. held is what the segments cost, and at most memory.
 *
 * A change first gets the memory it needs, then splices its segments in, which cannot fail. Finding
 * is binary search; inserting moves what lies behind, so that changes in ascending order are cheap
 * and a hundred thousand scattered ones still take seconds only.
 */

#include "io/scratch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "util/limits.h"

/* Memory for changes. A repair rewrites tables and headers: a full BAT has 512 MiB (64 TiB of
   1 MiB blocks), a replayed log's sectors come to that at most again. */
#define MEMORY_MAX (1 * GIB)

#define WINDOW (64 * KIB)

/* What a segment costs besides its bytes: its place in an array that doubles, and what the
   allocator adds. */
#define SEGMENT_COST (2 * sizeof(struct segment) + 16)

struct segment {
    uint64_t offset;
    uint64_t length;
    uint8_t *bytes;    /* owned; NULL: zeros */
    uint32_t capacity; /* of bytes, <= WINDOW */
};

struct scratch {
    pthread_rwlock_t lock;    /* guards what follows */
    struct vhdx_io below;     /* not owned */
    uint64_t below_size;
    uint64_t size;
    uint64_t memory;          /* bound on held */
    uint64_t held;
    struct segment *segments;
    size_t count, capacity;
};

static uint64_t end_of(const struct segment *seg)
{
    return seg->offset + seg->length;
}

static uint64_t cost_of(const struct segment *seg)
{
    return SEGMENT_COST + seg->capacity;
}

/* The first segment that ends behind offset; count if none does. */
static size_t find(const struct scratch *s, uint64_t offset)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (end_of(&s->segments[middle]) > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* ---- Reading -------------------------------------------------------------------------------- */

static int read_locked(const struct scratch *s, uint8_t *buf, uint64_t len, uint64_t offset)
{
    if (!range_fits(offset, len, s->size))
        return -EIO;
    for (size_t i = find(s, offset); len > 0;) {
        const struct segment *seg = i < s->count ? &s->segments[i] : NULL;
        uint64_t n;
        if (!seg || seg->offset > offset) {
            n = seg ? min_u64(len, seg->offset - offset) : len;
            int r = s->below.pread(s->below.opaque, buf, (size_t)n, offset);
            if (r < 0)
                return r;
        } else {
            n = min_u64(len, end_of(seg) - offset);
            if (seg->bytes)
                memcpy(buf, seg->bytes + (offset - seg->offset), (size_t)n);
            else
                memset(buf, 0, (size_t)n);
            i++;
        }
        buf += n;
        offset += n;
        len -= n;
    }
    return 0;
}

static int scratch_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct scratch *s = opaque;

    pthread_rwlock_rdlock(&s->lock);
    int r = read_locked(s, buf, len, offset);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

static int scratch_size(void *opaque, uint64_t *ret_size)
{
    struct scratch *s = opaque;

    pthread_rwlock_rdlock(&s->lock);
    *ret_size = s->size;
    pthread_rwlock_unlock(&s->lock);
    return 0;
}

/* ---- Segments ------------------------------------------------------------------------------- */

/* Makes sure that extra segments and bytes may be held besides what is held. */
static int afford(struct scratch *s, size_t extra, uint64_t bytes)
{
    uint64_t held = s->held + extra * SEGMENT_COST;

    if (held > s->memory || bytes > s->memory - held)
        return -ENOMEM;
    if (s->count + extra <= s->capacity)
        return 0;
    size_t capacity = 2 * s->capacity + extra + 16;
    struct segment *segments = realloc(s->segments, capacity * sizeof *segments);
    if (!segments)
        return -ENOMEM;
    s->segments = segments;
    s->capacity = capacity;
    return 0;
}

/* Puts count segments in the place of [first, last), whose bytes somebody else owns or frees. The
   room is there. */
static void splice(struct scratch *s, size_t first, size_t last, const struct segment *with,
                   size_t count)
{
    assert(s->count - (last - first) + count <= s->capacity);
    for (size_t i = first; i < last; i++)
        s->held -= cost_of(&s->segments[i]);
    if (s->count > last)
        memmove(s->segments + first + count, s->segments + last,
                (s->count - last) * sizeof *s->segments);
    for (size_t i = 0; i < count; i++) {
        s->segments[first + i] = with[i];
        s->held += cost_of(&with[i]);
    }
    s->count = s->count - (last - first) + count;
}

/* ---- Zeros ---------------------------------------------------------------------------------- */

/* The part of a segment behind offset, with bytes of its own. */
static int copy_tail(const struct segment *seg, uint64_t offset, struct segment *ret)
{
    struct segment tail = { .offset = offset, .length = end_of(seg) - offset };

    if (seg->bytes) {
        tail.bytes = malloc((size_t)tail.length);
        if (!tail.bytes)
            return -ENOMEM;
        memcpy(tail.bytes, seg->bytes + (offset - seg->offset), (size_t)tail.length);
        tail.capacity = (uint32_t)tail.length;
    }
    *ret = tail;
    return 0;
}

/*
 * Takes [start, end) out of the segments, and puts zeros there if they are to stay. Zeros swallow
 * the zeros that they overlap or touch, so only a segment of bytes can be cut at either end; cut in
 * the middle, it becomes two.
 */
static int replace_by_zeros(struct scratch *s, uint64_t start, uint64_t end, bool stay)
{
    struct segment with[3], tail;
    size_t first = find(s, start), count = 0, last;
    bool has_tail = false;

    if (stay && first > 0 && !s->segments[first - 1].bytes &&
        end_of(&s->segments[first - 1]) == start)
        first--;
    int r = stay ? afford(s, 2, WINDOW) : 0; /* a cut leaves no more than there was */
    if (r < 0)
        return r;
    for (last = first; last < s->count && s->segments[last].offset < end; last++)
        ;
    if (stay && last < s->count && !s->segments[last].bytes && s->segments[last].offset == end)
        last++;

    if (last > first && end_of(&s->segments[last - 1]) > end) {
        const struct segment *seg = &s->segments[last - 1];
        if (stay && !seg->bytes)
            end = end_of(seg);
        else if ((r = copy_tail(seg, end, &tail)) < 0)
            return r;
        else
            has_tail = true;
    }
    if (last > first && s->segments[first].offset < start) {
        struct segment *seg = &s->segments[first];
        if (stay && !seg->bytes) {
            start = seg->offset;
        } else {
            with[count] = *seg;
            with[count++].length = start - seg->offset;
            seg->bytes = NULL; /* handed over */
        }
    }
    if (stay)
        with[count++] = (struct segment){ .offset = start, .length = end - start };
    if (has_tail)
        with[count++] = tail;
    for (size_t i = first; i < last; i++)
        free(s->segments[i].bytes);
    splice(s, first, last, with, count);
    return 0;
}

static int zero_locked(struct scratch *s, uint64_t offset, uint64_t len)
{
    if (!range_fits(offset, len, s->size))
        return -EINVAL;
    return len > 0 ? replace_by_zeros(s, offset, offset + len, true) : 0;
}

static int scratch_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct scratch *s = opaque;

    pthread_rwlock_wrlock(&s->lock);
    int r = zero_locked(s, offset, len);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

static int set_size(struct scratch *s, uint64_t size)
{
    int r = 0;

    if (size > s->size && size > LIMIT_FILE_SIZE)
        return -EFBIG;
    if (size != s->size)
        r = replace_by_zeros(s, min_u64(size, s->size), max_u64(size, s->size), size > s->size);
    if (r < 0)
        return r;
    s->size = size;
    return 0;
}

static int scratch_truncate(void *opaque, uint64_t size)
{
    struct scratch *s = opaque;

    pthread_rwlock_wrlock(&s->lock);
    int r = set_size(s, size);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

/* A write inside one window, and the segments that it changes. */
struct piece {
    const uint8_t *buf;
    uint64_t start, end;
    size_t first, last;   /* the segments that it overlaps, or joins */
    struct segment *left; /* bytes that go on in front of it, or NULL */
    struct segment *right; /* bytes that go on behind it, or NULL; may be left */
};

static void look_around(struct scratch *s, struct piece *p)
{
    uint64_t window = align_down(p->start, WINDOW);
    size_t i = find(s, p->start);

    p->left = p->right = NULL;
    if (i > 0 && p->start > window && s->segments[i - 1].bytes &&
        end_of(&s->segments[i - 1]) == p->start)
        i--;
    p->first = i;
    for (; i < s->count && s->segments[i].offset < p->end; i++)
        ;
    if (i < s->count && p->end < window + WINDOW && s->segments[i].bytes &&
        s->segments[i].offset == p->end)
        i++;
    p->last = i;
    if (p->last == p->first)
        return;
    struct segment *left = &s->segments[p->first], *right = &s->segments[p->last - 1];
    if (left->bytes && left->offset < p->start)
        p->left = left;
    if (right->bytes && end_of(right) > p->end)
        p->right = right;
}

/*
 * The bytes of the new segment [start, end): those of left if they have room, else new ones. What
 * left had stands in them; what right has behind the piece is put there.
 */
static int make_room(struct scratch *s, const struct piece *p, struct segment *ret)
{
    const struct segment *left = p->left, *right = p->right;
    struct segment made = { .offset = left ? left->offset : p->start };

    made.length = (right ? end_of(right) : p->end) - made.offset;
    if (left && left->capacity >= made.length) {
        made.bytes = left->bytes;
        made.capacity = left->capacity;
    } else {
        /* Who is written behind once may be so again: double. */
        uint64_t wanted = left ? min_u64(WINDOW, 2 * made.length) : made.length;
        int r = afford(s, 3, wanted);
        made.bytes = r == 0 ? malloc((size_t)wanted) : NULL;
        if (!made.bytes)
            return -ENOMEM;
        made.capacity = (uint32_t)wanted;
        if (left)
            memcpy(made.bytes, left->bytes, (size_t)min_u64(left->length, made.length));
    }
    if (right && right != left)
        memcpy(made.bytes + (p->end - made.offset), right->bytes + (p->end - right->offset),
               (size_t)(end_of(right) - p->end));
    *ret = made;
    return 0;
}

/* The piece's neighbours of zeros that it cuts stay as far as it leaves them. */
static int write_piece(struct scratch *s, struct piece *p)
{
    struct segment with[3], made;
    size_t count = 0;

    int r = afford(s, 3, 0); /* from here on the array does not move */
    if (r < 0)
        return r;
    look_around(s, p);
    if ((r = make_room(s, p, &made)) < 0)
        return r;
    memcpy(made.bytes + (p->start - made.offset), p->buf, (size_t)(p->end - p->start));

    if (p->first < p->last) {
        const struct segment *a = &s->segments[p->first], *b = &s->segments[p->last - 1];
        if (!a->bytes && a->offset < p->start)
            with[count++] = (struct segment){ .offset = a->offset,
                                              .length = p->start - a->offset };
        with[count++] = made;
        if (!b->bytes && end_of(b) > p->end)
            with[count++] = (struct segment){ .offset = p->end, .length = end_of(b) - p->end };
    } else {
        with[count++] = made;
    }
    for (size_t i = p->first; i < p->last; i++)
        if (s->segments[i].bytes != made.bytes)
            free(s->segments[i].bytes);
    splice(s, p->first, p->last, with, count);
    return 0;
}

static int write_locked(struct scratch *s, const uint8_t *buf, uint64_t len, uint64_t offset)
{
    uint64_t end;

    if (__builtin_add_overflow(offset, len, &end) || (end > s->size && end > LIMIT_FILE_SIZE))
        return -EFBIG;
    while (offset < end) {
        uint64_t n = min_u64(end - offset, WINDOW - (offset & (WINDOW - 1)));
        struct piece p = { .buf = buf, .start = offset, .end = offset + n };
        int r = offset > s->size ? set_size(s, offset) : 0;
        if (r == 0)
            r = write_piece(s, &p);
        if (r < 0)
            return r;
        s->size = max_u64(s->size, p.end);
        buf += n;
        offset += n;
    }
    return 0;
}

static int scratch_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct scratch *s = opaque;

    pthread_rwlock_wrlock(&s->lock);
    int r = write_locked(s, buf, len, offset);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

static int scratch_flush(void *opaque)
{
    (void)opaque;
    return 0;
}

/* ---- Looking at the changes ----------------------------------------------------------------- */

static struct scratch *scratch_of(const struct vhdx_io *io)
{
    assert(io->pread == scratch_pread);
    return io->opaque;
}

bool scratch_is_changed(const struct vhdx_io *scratch)
{
    struct scratch *s = scratch_of(scratch);

    pthread_rwlock_rdlock(&s->lock);
    bool changed = s->count > 0 || s->size != s->below_size;
    pthread_rwlock_unlock(&s->lock);
    return changed;
}

static int add_length(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    uint64_t *sum = opaque;

    (void)offset;
    (void)zero;
    *sum += length;
    return 0;
}

uint64_t scratch_changed_bytes(const struct vhdx_io *scratch)
{
    uint64_t sum = 0;

    scratch_changes(scratch, add_length, &sum);
    return sum;
}

uint64_t scratch_next_data(const struct vhdx_io *io, uint64_t offset)
{
    if (io->pread != scratch_pread)
        return offset;
    struct scratch *s = io->opaque;

    pthread_rwlock_rdlock(&s->lock);
    for (size_t i = find(s, offset); i < s->count; i++) {
        const struct segment *seg = &s->segments[i];
        if (seg->bytes || seg->offset > offset)
            break;
        offset = end_of(seg);
    }
    if (offset >= s->size)
        offset = UINT64_MAX;
    pthread_rwlock_unlock(&s->lock);
    return offset;
}

int scratch_changes(const struct vhdx_io *scratch,
                    int (*fn)(uint64_t offset, uint64_t length, bool zero, void *opaque),
                    void *opaque)
{
    struct scratch *s = scratch_of(scratch);
    int r = 0;

    pthread_rwlock_rdlock(&s->lock);
    for (size_t i = 0, next; i < s->count && r == 0; i = next) {
        const struct segment *seg = &s->segments[i];
        uint64_t end = end_of(seg);
        for (next = i + 1; next < s->count && s->segments[next].offset == end &&
                           !s->segments[next].bytes == !seg->bytes; next++)
            end = end_of(&s->segments[next]);
        r = fn(seg->offset, end - seg->offset, !seg->bytes, opaque);
    }
    pthread_rwlock_unlock(&s->lock);
    return r;
}

/* ---- Beginning and end ---------------------------------------------------------------------- */

static void scratch_close(void *opaque)
{
    struct scratch *s = opaque;

    for (size_t i = 0; i < s->count; i++)
        free(s->segments[i].bytes);
    free(s->segments);
    pthread_rwlock_destroy(&s->lock);
    free(s);
}

int scratch_open_bounded(const struct vhdx_io *below, uint64_t memory, struct vhdx_io *ret,
                         struct vhdx_error *err)
{
    uint64_t size;

    int r = io_size(below, &size, err);
    if (r < 0)
        return r;
    struct scratch *s = malloc(sizeof *s);
    if (!s)
        return fail_nomem(err);
    *s = (struct scratch){ .below = *below, .below_size = size, .size = size,
                           .memory = memory };
    pthread_rwlock_init(&s->lock, NULL);
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = s, .pread = scratch_pread,
                             .pwrite = scratch_pwrite, .flush = scratch_flush,
                             .size = scratch_size, .truncate = scratch_truncate,
                             .zero = scratch_zero, .discard = scratch_zero,
                             .close = scratch_close };
    return 0;
}

int scratch_open(const struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err)
{
    return scratch_open_bounded(below, MEMORY_MAX, ret, err);
}
