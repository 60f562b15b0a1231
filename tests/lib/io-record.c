/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A recording file in memory; see io-record.h. */

#include "io-record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

/* ---- The file ------------------------------------------------------------------------------- */

struct slot {
    uint8_t *bytes; /* NULL: zeros */
    uint64_t epoch; /* the mark since which the page is this one */
};

struct undo {
    size_t index;
    struct slot old;
};

struct mark {
    size_t undo_count;
    uint64_t epoch, size;
};

struct memfile {
    struct slot *slots;
    size_t slots_count;
    uint64_t size;
    struct undo *undo; /* newest last */
    size_t undo_count, undo_capacity;
    struct mark marks[8];
    size_t mark_count;
    uint64_t epoch, last_epoch;
    uint8_t **spare; /* pages for reuse */
    size_t spare_count, spare_capacity;
};

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory\n");
        abort();
    }
    return p;
}

static void *grown(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 64;
    return must(realloc(array, *capacity * size));
}

struct memfile *memfile_new(void)
{
    return must(calloc(1, sizeof(struct memfile)));
}

static uint8_t *page_new(struct memfile *m)
{
    return m->spare_count > 0 ? m->spare[--m->spare_count] : must(malloc(PAGE));
}

static void page_drop(struct memfile *m, uint8_t *page)
{
    if (!page)
        return;
    m->spare = grown(m->spare, &m->spare_capacity, m->spare_count, sizeof *m->spare);
    m->spare[m->spare_count++] = page;
}

void memfile_free(struct memfile *m)
{
    if (!m)
        return;
    while (m->mark_count > 0)
        memfile_back(m);
    for (size_t i = 0; i < m->slots_count; i++)
        free(m->slots[i].bytes);
    while (m->spare_count > 0)
        free(m->spare[--m->spare_count]);
    free(m->spare);
    free(m->undo);
    free(m->slots);
    free(m);
}

uint64_t memfile_size(const struct memfile *m)
{
    return m->size;
}

void memfile_read(const struct memfile *m, void *buf, size_t len, uint64_t offset)
{
    uint8_t *p = buf;

    for (size_t n; len > 0; p += n, offset += n, len -= n) {
        size_t index = (size_t)(offset / PAGE), within = (size_t)(offset % PAGE);
        n = len < PAGE - within ? len : PAGE - within;
        if (index < m->slots_count && m->slots[index].bytes)
            memcpy(p, m->slots[index].bytes + within, n);
        else
            memset(p, 0, n);
    }
}

static void reach(struct memfile *m, uint64_t size)
{
    size_t wanted = (size_t)((size + PAGE - 1) / PAGE);

    if (wanted > m->slots_count) {
        m->slots = must(realloc(m->slots, wanted * sizeof *m->slots));
        memset(m->slots + m->slots_count, 0, (wanted - m->slots_count) * sizeof *m->slots);
        m->slots_count = wanted;
    }
    if (size > m->size)
        m->size = size;
}

/* Keeps the page's old state for memfile_back(), if this is its first change since the mark, and
   lets go of the bytes if they are not needed for that. */
static void replace(struct memfile *m, size_t index, uint8_t *bytes)
{
    struct slot *s = &m->slots[index];

    if (m->mark_count > 0 && s->epoch != m->epoch) {
        m->undo = grown(m->undo, &m->undo_capacity, m->undo_count, sizeof *m->undo);
        m->undo[m->undo_count++] = (struct undo){ index, *s };
    } else if (s->bytes != bytes) {
        page_drop(m, s->bytes);
    }
    *s = (struct slot){ bytes, m->epoch };
}

static uint8_t *writable(struct memfile *m, size_t index)
{
    const struct slot *s = &m->slots[index];

    if (s->bytes && (m->mark_count == 0 || s->epoch == m->epoch))
        return s->bytes;
    uint8_t *page = page_new(m);
    if (s->bytes)
        memcpy(page, s->bytes, PAGE);
    else
        memset(page, 0, PAGE);
    replace(m, index, page);
    return page;
}

void memfile_write(struct memfile *m, const void *buf, size_t len, uint64_t offset)
{
    const uint8_t *p = buf;

    if (len > 0)
        reach(m, offset + len);
    for (size_t n; len > 0; offset += n, len -= n) {
        size_t index = (size_t)(offset / PAGE), within = (size_t)(offset % PAGE);
        n = len < PAGE - within ? len : PAGE - within;
        if (p) {
            memcpy(writable(m, index) + within, p, n);
            p += n;
        } else if (m->slots[index].bytes && n == PAGE) {
            replace(m, index, NULL);
        } else if (m->slots[index].bytes) {
            memset(writable(m, index) + within, 0, n);
        }
    }
}

void memfile_truncate(struct memfile *m, uint64_t size)
{
    uint64_t old = m->size;

    if (size < old)
        memfile_write(m, NULL, (size_t)(old - size), size);
    reach(m, size);
    m->size = size;
}

static bool is_zero_page(const uint8_t *p)
{
    return p[0] == 0 && memcmp(p, p + 1, PAGE - 1) == 0;
}

bool memfile_equal(const struct memfile *a, const struct memfile *b)
{
    size_t pages = (size_t)((a->size + PAGE - 1) / PAGE);

    if (a->size != b->size)
        return false;
    for (size_t i = 0; i < pages; i++) {
        const uint8_t *p = a->slots[i].bytes, *q = b->slots[i].bytes;
        if (p != q && !(p && q ? memcmp(p, q, PAGE) == 0 : is_zero_page(p ? p : q)))
            return false;
    }
    return true;
}

void memfile_mark(struct memfile *m)
{
    if (m->mark_count == sizeof m->marks / sizeof *m->marks)
        abort();
    m->marks[m->mark_count++] = (struct mark){ m->undo_count, m->epoch, m->size };
    m->epoch = ++m->last_epoch;
}

void memfile_back(struct memfile *m)
{
    struct mark k = m->marks[--m->mark_count];

    while (m->undo_count > k.undo_count) {
        struct undo *u = &m->undo[--m->undo_count];
        page_drop(m, m->slots[u->index].bytes);
        m->slots[u->index] = u->old;
    }
    m->epoch = k.epoch;
    m->size = k.size;
}

/* ---- The record ----------------------------------------------------------------------------- */

void record_clear(struct record *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->ops[i].data);
    free(r->ops);
    *r = (struct record){ 0 };
}

static void add(const struct recorder *recorder, enum op_kind kind, uint64_t offset, uint64_t len,
                const void *data)
{
    struct record *r = recorder->record;

    if (!r)
        return;
    r->ops = grown(r->ops, &r->capacity, r->count, sizeof *r->ops);
    struct op *op = &r->ops[r->count++];
    *op = (struct op){ .kind = kind, .offset = offset, .len = len, .file = recorder->file };
    if (data) {
        op->data = must(malloc((size_t)len));
        memcpy(op->data, data, (size_t)len);
    }
}

void op_apply_part(const struct op *op, struct memfile *m, uint64_t from, uint64_t len)
{
    if (op->kind == OP_WRITE)
        memfile_write(m, op->data + from, (size_t)len, op->offset + from);
    else if (op->kind == OP_ZERO)
        memfile_write(m, NULL, (size_t)len, op->offset + from);
    else if (op->kind == OP_DISCARD && op->offset + from < memfile_size(m)) {
        uint64_t rest = memfile_size(m) - op->offset - from;
        memfile_write(m, NULL, (size_t)(len < rest ? len : rest), op->offset + from);
    }
}

void op_apply(const struct op *op, struct memfile *m)
{
    if (op->kind == OP_TRUNCATE)
        memfile_truncate(m, op->offset);
    else
        op_apply_part(op, m, 0, op->len);
}

/* ---- The I/O table -------------------------------------------------------------------------- */

static int before(struct recorder *r, enum op_kind kind, uint64_t offset, uint64_t len)
{
    if (r->frozen && kind != OP_READ && kind != OP_SIZE) {
        fprintf(stderr, "a file that is open read-only was changed\n");
        abort();
    }
    return r->before ? r->before(r->before_opaque, kind, offset, len) : 0;
}

static int record_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct recorder *r = opaque;
    int e = before(r, OP_READ, offset, len);

    if (e < 0)
        return e;
    if (offset > r->file->size || len > r->file->size - offset)
        return -EIO;
    memfile_read(r->file, buf, len, offset);
    return 0;
}

static int record_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct recorder *r = opaque;
    int e = before(r, OP_WRITE, offset, len);

    if (e < 0)
        return e;
    add(r, OP_WRITE, offset, len, buf);
    memfile_write(r->file, buf, len, offset);
    return 0;
}

static int record_flush(void *opaque)
{
    struct recorder *r = opaque;
    int e = before(r, OP_FLUSH, 0, 0);

    if (e == 0)
        add(r, OP_FLUSH, 0, 0, NULL);
    return e;
}

static int record_size(void *opaque, uint64_t *ret_size)
{
    struct recorder *r = opaque;
    int e = before(r, OP_SIZE, 0, 0);

    if (e == 0)
        *ret_size = r->file->size;
    return e;
}

static int record_truncate(void *opaque, uint64_t size)
{
    struct recorder *r = opaque;
    int e = before(r, OP_TRUNCATE, size, 0);

    if (e < 0)
        return e;
    add(r, OP_TRUNCATE, size, 0, NULL);
    memfile_truncate(r->file, size);
    return 0;
}

static int record_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct recorder *r = opaque;
    int e = before(r, OP_ZERO, offset, len);

    if (e < 0 || r->no_zero)
        return e < 0 ? e : -EOPNOTSUPP;
    add(r, OP_ZERO, offset, len, NULL);
    memfile_write(r->file, NULL, (size_t)len, offset);
    return 0;
}

static int record_discard(void *opaque, uint64_t offset, uint64_t len)
{
    struct recorder *r = opaque;
    int e = before(r, OP_DISCARD, offset, len);

    if (e < 0 || r->no_discard)
        return e < 0 ? e : -EOPNOTSUPP;
    if (offset > r->file->size || len > r->file->size - offset)
        return -EINVAL;
    add(r, OP_DISCARD, offset, len, NULL);
    memfile_write(r->file, NULL, (size_t)len, offset);
    return 0;
}

static void record_close(void *opaque)
{
    (void)opaque;
}

void recorder_io(struct recorder *r, struct vhdx_io *ret)
{
    *ret = (struct vhdx_io){ sizeof *ret,   r,           record_pread,    record_pwrite,
                             record_flush,  record_size, record_truncate, record_zero,
                             record_discard, record_close };
}
