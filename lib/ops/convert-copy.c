/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Copying a disk by reading and writing; see convert-target.h. The disk goes through a crew in
 * pieces. Each is read and searched for zeros; in its turn it is hashed and gets its place in the
 * output, so that the output does not depend on the number of threads; then it is written. What the
 * input knows to be zero makes no piece.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/crew.h"
#include "ops/convert-target.h"
#include "ops/hash.h"
#include "util/iszero.h"

/* A piece: what is read stays in the processor's cache until it is written. Divides every unit. */
#define PIECE_SIZE (512 * KIB)
#define PIECE_SIZE_MAX (1 * MIB)
#define THREADS_LARGE 40u /* with pieces of that size */
#define PIECE_EXTENTS 64u
#define SPARSE_DEFAULT (4 * KIB)
#define ZERO_STEP (32 * MIB) /* zeroed at once, where the output has to be told */
#define ZERO_PIECE (1 * GIB)

struct copy {
    struct vhdx_disk *from;
    struct target *to;
    const struct vhdx_convert_options *opts;
    struct hasher *hasher;
    uint32_t grain;
    size_t piece_size; /* PIECE_SIZE, or as much as the largest grain needs */
    bool by_kernel; /* it copies, where it can: zeros in data are not searched for */
    uint64_t size; /* of the disk; a stream's only when it has ended */

    /* What next() knows. */
    struct disk_walk walk;
    struct disk_extent ahead; /* read already, not yet or not wholly handed out; length 0: none */
    bool is_walked;           /* no extent is left */
    uint64_t position;        /* atomic; all before is handed out */

    uint64_t hashed; /* in turns */
    uint64_t read, copied; /* atomic */
};

/* A stretch of the disk with data in it; without buf_used a stretch of zeros. */
struct piece {
    uint64_t offset, length;
    bool is_zero;
    bool is_read; /* a stream's: it is in buf already */
    size_t count; /* stretches with data, in order */
    struct stretch {
        uint64_t offset, length;
        int fd; /* the file that has it, at file_offset; or -1 */
        uint64_t file_offset;
    } data[PIECE_EXTENTS];
    uint8_t *buf; /* piece_size bytes; the disk at offset */
};

int convert_report(const struct vhdx_convert_options *opts, uint64_t done, uint64_t total,
                   struct vhdx_error *err)
{
    const struct vhdx_progress *p = &opts->progress;

    if (p->fn && p->fn(done, total, p->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

int target_place(struct target *t, uint64_t offset, uint64_t *ret_place, struct vhdx_error *err)
{
    uint64_t within = t->place ? offset % t->unit : 0;

    if (!t->place) {
        *ret_place = t->base + offset;
        return 0;
    }
    int r = t->place(t, offset - within, ret_place, err);
    *ret_place += within;
    return r;
}

int target_write(struct target *t, const void *buf, size_t len, uint64_t place,
                 struct vhdx_error *err)
{
    return t->out ? outfile_pwrite(t->out, buf, len, place, err)
                  : io_pwrite(t->io, buf, len, place, err);
}

/* ---- Handing out pieces ---------------------------------------------------------------------- */

static int make_buffer(const struct copy *c, struct piece *p, struct vhdx_error *err)
{
    if (!p->buf)
        p->buf = malloc(c->piece_size);
    return p->buf ? 0 : fail_nomem(err);
}

/* Fills c->ahead if it is empty: 1, 0 at the end, negative. */
static int look_ahead(struct copy *c, struct vhdx_error *err)
{
    if (c->ahead.length > 0)
        return 1;
    if (c->is_walked)
        return 0;
    int r = disk_walk_next(&c->walk, &c->ahead, err);
    if (r <= 0) {
        c->ahead.length = 0;
        c->is_walked = true;
    }
    return r;
}

/* Takes the beginning of the extent ahead. */
static uint64_t take_ahead(struct copy *c, uint64_t end)
{
    uint64_t n = min_u64(c->ahead.length, end - c->ahead.offset);

    c->ahead.offset += n;
    c->ahead.file_offset += n;
    c->ahead.length -= n;
    return n;
}

/* Adds a stretch with data. When there is no room the last one grows over what lies between: to
   read zeros is allowed. */
static void add_data(struct piece *p, struct stretch s)
{
    struct stretch *last = &p->data[PIECE_EXTENTS - 1];

    if (p->count < PIECE_EXTENTS) {
        p->data[p->count++] = s;
    } else {
        last->length = s.offset + s.length - last->offset;
        last->fd = -1;
    }
}

/* A piece of zeros, where they have to be written. */
static int next_zeros(struct copy *c, struct piece *p)
{
    p->is_zero = true;
    p->offset = c->ahead.offset;
    p->length = take_ahead(c, c->ahead.offset + min_u64(c->ahead.length, ZERO_PIECE));
    return 1;
}

static int next_piece(struct copy *c, struct piece *p, struct vhdx_error *err)
{
    uint64_t end = 0;
    int r;

    p->count = 0;
    p->is_zero = p->is_read = false;
    while ((r = look_ahead(c, err)) > 0 && (p->count == 0 || c->ahead.offset < end)) {
        if (c->ahead.kind != VHDX_EXTENT_DATA) {
            if (c->to->has_content)
                break;
            take_ahead(c, p->count > 0 ? end : UINT64_MAX);
            continue;
        }
        if (p->count == 0)
            end = align_down(c->ahead.offset, c->piece_size) + c->piece_size;
        struct stretch s = { .offset = c->ahead.offset, .file_offset = c->ahead.file_offset,
                             .fd = c->ahead.has_file ? c->ahead.fd : -1 };
        s.length = take_ahead(c, end);
        add_data(p, s);
    }
    if (r < 0)
        return r;
    if (p->count == 0)
        return r == 0 ? 0 : next_zeros(c, p);
    p->offset = p->data[0].offset;
    p->length = p->data[p->count - 1].offset + p->data[p->count - 1].length - p->offset;
    return make_buffer(c, p, err) < 0 ? -VHDX_E_NOMEM : 1;
}

static int report_wait(void *opaque, struct vhdx_error *err)
{
    const struct copy *c = opaque;

    return convert_report(c->opts, __atomic_load_n(&c->position, __ATOMIC_RELAXED),
                          c->from->size, err);
}

/* A stream is read here, in order. */
static int next_of_stream(struct copy *c, struct piece *p, struct vhdx_error *err)
{
    const struct disk_wait wait = { report_wait, c };
    size_t len = 0;

    int r = make_buffer(c, p, err);
    if (r == 0)
        r = disk_read_next(c->from, p->buf, c->piece_size, &wait, &len, err);
    if (r < 0)
        return r;
    p->offset = c->size;
    p->length = len;
    p->is_zero = false;
    p->is_read = true;
    p->count = 1;
    p->data[0] = (struct stretch){ .offset = p->offset, .length = len, .fd = -1 };
    c->size += len;
    if (c->to->out || c->size <= c->to->io_size)
        return len > 0;
    return fail(err, VHDX_E_NOSPACE, VHDX_OFFSET_NONE,
                "%s has more than the %" PRIu64 " bytes that the output has", c->from->name,
                c->to->io_size);
}

static int next(void *opaque, void *piece, struct vhdx_error *err)
{
    struct copy *c = opaque;
    struct piece *p = piece;

    int r = disk_is_stream(c->from) ? next_of_stream(c, p, err) : next_piece(c, p, err);
    if (r > 0)
        __atomic_store_n(&c->position, p->offset + p->length, __ATOMIC_RELAXED);
    return r;
}

/* ---- Working on a piece ---------------------------------------------------------------------- */

static uint8_t *bytes_at(const struct piece *p, uint64_t offset)
{
    return p->buf + (offset - p->offset);
}

static int read_piece(struct copy *c, struct piece *p, struct vhdx_error *err)
{
    int r = 0;

    for (size_t i = 0; i < p->count && r == 0; i++) {
        const struct stretch *s = &p->data[i];
        if (!p->is_read)
            r = disk_read(c->from, bytes_at(p, s->offset), (size_t)s->length, s->offset, err);
        __atomic_fetch_add(&c->read, s->length, __ATOMIC_RELAXED);
    }
    return r;
}

static bool has_only_zeros(const struct piece *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (!is_zero(bytes_at(p, p->data[i].offset), (size_t)p->data[i].length))
            return false;
    return true;
}

/* A hole of terabytes takes its time. */
static int hash_gap(struct copy *c, uint64_t end, struct crew *crew, uint64_t number,
                    struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t n; c->hashed < end && r == 0; c->hashed += n) {
        n = min_u64(HASH_STEP, end - c->hashed);
        r = hash_zeros(c->hasher, n, err);
        if (r == 0)
            r = crew_turn(crew, number);
    }
    return r;
}

/* In the piece's turn: with the zeros before it. */
static int hash_piece(struct copy *c, const struct piece *p, struct crew *crew, uint64_t number,
                      struct vhdx_error *err)
{
    int r = 0;

    for (size_t i = 0; i < p->count && r == 0; i++) {
        const struct stretch *s = &p->data[i];
        r = hash_gap(c, s->offset, crew, number, err);
        if (r == 0)
            r = hash_update(c->hasher, bytes_at(p, s->offset), (size_t)s->length, err);
        c->hashed = s->offset + s->length;
    }
    return r;
}

static int write_run(struct copy *c, const uint8_t *buf, uint64_t len, uint64_t place,
                     struct vhdx_error *err)
{
    __atomic_fetch_add(&c->copied, len, __ATOMIC_RELAXED);
    return target_write(c->to, buf, (size_t)len, place, err);
}

/* Writes what is not zeros, at the granularity of the grain. */
static int write_stretch(struct copy *c, const struct piece *p, const struct stretch *s,
                         uint64_t place, struct vhdx_error *err)
{
    const uint8_t *buf = bytes_at(p, s->offset);
    size_t start, end = 0;
    int r = 0;

    if (c->to->has_content)
        return write_run(c, buf, s->length, place, err);
    while (r == 0 && next_nonzero(buf, (size_t)s->length, s->offset, c->grain, &start, &end))
        r = write_run(c, buf + start, end - start, place + start, err);
    return r;
}

static int zero_range(struct copy *c, uint64_t offset, uint64_t length, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t done = 0, n; done < length && r == 0; done += n) {
        n = min_u64(ZERO_STEP, length - done);
        r = io_zero(c->to->io, c->to->base + offset + done, n, err);
    }
    return r;
}

/* The piece's turn: only what has bytes other than zero gets a place. */
static int take_turn(struct copy *c, struct piece *p, bool is_needed, uint64_t *ret_place,
                     struct crew *crew, uint64_t number, struct vhdx_error *err)
{
    int r = 0;

    if (!c->hasher && (!c->to->place || !is_needed))
        return is_needed ? target_place(c->to, p->offset, ret_place, err) : 0;
    r = crew_turn(crew, number);
    if (r == 0 && c->hasher)
        r = hash_piece(c, p, crew, number, err);
    if (r == 0 && is_needed)
        r = target_place(c->to, p->offset, ret_place, err);
    if (r == 0)
        crew_pass(crew, number);
    return r;
}

/* What the kernel does not copy is read and written. */
static int copy_stretch(struct copy *c, const struct piece *p, const struct stretch *s,
                        uint64_t place, struct vhdx_error *err)
{
    uint64_t done = 0;
    size_t n = 1;
    int r = 0;

    while (r == 0 && s->fd >= 0 && done < s->length && n > 0) {
        r = outfile_copy_range(c->to->out, s->fd, s->file_offset + done,
                               (size_t)(s->length - done), place + done, &n, err);
        done += n;
    }
    __atomic_fetch_add(&c->copied, done, __ATOMIC_RELAXED);
    struct stretch rest = { .offset = s->offset + done, .length = s->length - done };
    if (r < 0 || rest.length == 0)
        return r;
    r = disk_read(c->from, bytes_at(p, rest.offset), (size_t)rest.length, rest.offset, err);
    __atomic_fetch_add(&c->read, rest.length, __ATOMIC_RELAXED);
    return r < 0 ? r : write_stretch(c, p, &rest, place + done, err);
}

static int work_by_kernel(struct copy *c, struct piece *p, struct crew *crew, uint64_t number,
                          struct vhdx_error *err)
{
    uint64_t place = 0;
    int r = take_turn(c, p, true, &place, crew, number, err);

    for (size_t i = 0; i < p->count && r == 0; i++)
        r = copy_stretch(c, p, &p->data[i], place + (p->data[i].offset - p->offset), err);
    return r;
}

static int work(void *opaque, void *piece, struct crew *crew, uint64_t number,
                struct vhdx_error *err)
{
    struct copy *c = opaque;
    struct piece *p = piece;
    uint64_t place = 0;

    if (p->is_zero)
        return zero_range(c, p->offset, p->length, err);
    if (c->by_kernel)
        return work_by_kernel(c, p, crew, number, err);
    int r = read_piece(c, p, err);
    if (r < 0)
        return r;
    bool is_needed = !has_only_zeros(p);
    r = take_turn(c, p, is_needed, &place, crew, number, err);
    for (size_t i = 0; i < p->count && r == 0; i++) {
        const struct stretch *s = &p->data[i];
        if (is_needed)
            r = write_stretch(c, p, s, place + (s->offset - p->offset), err);
        else if (c->to->has_content)
            r = zero_range(c, s->offset, s->length, err);
    }
    return r;
}

static int report(void *opaque, struct vhdx_error *err)
{
    const struct copy *c = opaque;

    return convert_report(c->opts, __atomic_load_n(&c->position, __ATOMIC_RELAXED),
                          c->from->size, err);
}

static void free_piece(void *piece)
{
    free(((struct piece *)piece)->buf);
}

/* ---- Entry point ----------------------------------------------------------------------------- */

static int hash_rest(struct copy *c, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t n; c->hasher && c->hashed < c->size && r == 0; c->hashed += n) {
        n = min_u64(HASH_STEP, c->size - c->hashed);
        r = hash_zeros(c->hasher, n, err);
        if (r == 0)
            r = convert_report(c->opts, c->hashed + n, c->from->size, err);
    }
    return r;
}

/*
 * Whether the kernel is to copy: where zeros in data are wanted as they are, and where the files
 * lie with a server, which then moves nothing through this machine. Elsewhere reading and writing
 * is as fast, and finds zeros.
 */
static bool wants_kernel(const struct copy *c)
{
    bool is_dense = (c->opts->flags & VHDX_CONVERT_NO_SPARSE) != 0 && !c->to->place;

    return c->to->out && !c->hasher && !disk_is_stream(c->from) &&
           (c->opts->flags & VHDX_CONVERT_NO_CLONE) == 0 && /* which this may well do */
           (is_dense || outfile_is_remote(c->to->out));
}

int convert_copy(struct vhdx_disk *from, struct target *to,
                 const struct vhdx_convert_options *opts, struct hasher *hasher,
                 struct copy_result *ret, struct vhdx_error *err)
{
    bool is_stream = disk_is_stream(from);
    struct copy c = { .from = from, .to = to, .opts = opts, .hasher = hasher,
                      .grain = opts->sparse_size ? opts->sparse_size : SPARSE_DEFAULT,
                      .size = is_stream ? 0 : from->size };
    c.piece_size = c.grain > PIECE_SIZE ? PIECE_SIZE_MAX : PIECE_SIZE;
    unsigned most = c.piece_size == PIECE_SIZE ? opts->threads : THREADS_LARGE;
    const struct crew_job job = {
        /* A stream's next() waits, and reports meanwhile. */
        .threads = is_stream ? 1 : opts->threads < most ? opts->threads : most,
        .piece_size = sizeof(struct piece),
        .opaque = &c,
        .next = next,
        .work = work,
        .report = report,
        .free_piece = free_piece,
    };
    int r = is_stream ? 0 : disk_walk_begin(from, 0, from->size, &c.walk, err);

    c.by_kernel = wants_kernel(&c);
    if (r == 0)
        r = crew_run(&job, err);
    disk_walk_end(&c.walk);
    if (r == 0)
        r = hash_rest(&c, err);
    if (r == 0)
        r = disk_verify_end(from, err);
    if (r == 0 && !is_stream)
        r = convert_report(opts, from->size, from->size, err);
    if (r == 0)
        *ret = (struct copy_result){ .size = c.size, .read = c.read, .copied = c.copied };
    return r;
}
