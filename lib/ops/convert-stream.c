/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing a disk in one pass; see convert-stream.h. The disk goes through a crew in pieces: they
 * are read by several threads at once, hashed and written in turns. What lies between pieces is
 * zeros. Where each piece has its place in the output is known before the first byte is written:
 * for a VHDX a first pass over the extents, which reads no data, says which blocks are present.
 */

#include "ops/convert-stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/crew.h"
#include "ops/convert-layout.h"
#include "ops/convert-sink.h"
#include "ops/convert.h"
#include "ops/hash.h"
#include "util/cleanup.h"

#define PIECE_SIZE (512 * KIB) /* divides every block */
#define SINK_STEP (64 * MIB)   /* of zeros, between reports */

struct stream {
    struct vhdx_disk *from;
    const struct vhdx_convert_options *opts;
    struct hasher *hasher; /* or NULL */
    struct sink *sink;
    const struct disk_wait *wait; /* whom to tell that it takes time */
    uint64_t size;         /* of the disk; a stream's so far */

    /* What next() knows. */
    struct disk_walk walk;
    struct disk_extent ahead; /* what of it is not handed out; length 0: none */
    uint64_t position;        /* atomic; all before is handed out */

    /* What turns know. */
    struct layout *layout; /* of a VHDX, or NULL */
    uint64_t block, rank;  /* rank present blocks come before block */
    uint64_t hashed, copied;

    uint64_t read; /* atomic */
};

/* A stretch of data within PIECE_SIZE aligned bytes of the disk. */
struct piece {
    uint64_t offset, length;
    uint8_t *buf; /* PIECE_SIZE bytes */
};

/* ---- Pieces ---------------------------------------------------------------------------------- */

static int report(void *opaque, struct vhdx_error *err)
{
    const struct stream *s = opaque;

    return convert_report(s->opts, __atomic_load_n(&s->position, __ATOMIC_RELAXED),
                          s->from->size, err);
}

static int next_of_stream(struct stream *s, struct piece *p, struct vhdx_error *err)
{
    const struct disk_wait wait = { report, s };
    size_t len = 0;

    int r = disk_read_next(s->from, p->buf, PIECE_SIZE, &wait, &len, err);
    p->offset = s->size;
    p->length = len;
    s->size += len;
    return r < 0 ? r : len > 0;
}

static int next_of_disk(struct stream *s, struct piece *p, struct vhdx_error *err)
{
    int r = 1;

    while (r > 0 && (s->ahead.length == 0 || s->ahead.kind != VHDX_EXTENT_DATA))
        r = disk_walk_next(&s->walk, &s->ahead, err);
    if (r <= 0)
        return r;
    p->offset = s->ahead.offset;
    p->length = min_u64(PIECE_SIZE - p->offset % PIECE_SIZE, s->ahead.length);
    s->ahead.offset += p->length;
    s->ahead.length -= p->length;
    return 1;
}

static int next(void *opaque, void *piece, struct vhdx_error *err)
{
    struct stream *s = opaque;
    struct piece *p = piece;

    if (!p->buf)
        p->buf = malloc(PIECE_SIZE);
    if (!p->buf)
        return fail_nomem(err);
    int r = disk_is_stream(s->from) ? next_of_stream(s, p, err) : next_of_disk(s, p, err);
    if (r > 0)
        __atomic_store_n(&s->position, p->offset + p->length, __ATOMIC_RELAXED);
    return r;
}

static void free_piece(void *piece)
{
    free(((struct piece *)piece)->buf);
}

/* Where the output has what the disk has at offset; in the disk's order. */
static int place_of(struct stream *s, uint64_t offset, uint64_t *ret, struct vhdx_error *err)
{
    const struct layout *l = s->layout;

    if (!l || l->plan.metadata.leave_allocated) {
        *ret = offset + (l ? l->plan.payload_offset : 0);
        return 0;
    }
    uint64_t shift = l->plan.geometry.block_shift, block = offset >> shift;
    for (; s->block < block; s->block++)
        s->rank += layout_has(l, s->block);
    if (!layout_has(l, block))
        return fail(err, VHDX_E_TRUNCATED, VHDX_OFFSET_NONE,
                    "%s: there is data at %" PRIu64 " now: something changes the input",
                    s->from->name, offset);
    *ret = l->plan.payload_offset + (s->rank << shift) + (offset - (block << shift));
    return 0;
}

/* Zeros up to a place, in steps; there may be terabytes of them. */
static int fill_to(struct stream *s, uint64_t place, struct vhdx_error *err)
{
    int r = 0;

    while (s->sink->position < place && r == 0) {
        r = sink_zeros_to(s->sink, min_u64(place, s->sink->position + SINK_STEP), err);
        if (r == 0)
            r = s->wait->fn(s->wait->opaque, err);
    }
    return r;
}

static int hash_to(struct stream *s, uint64_t end, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t n; s->hasher && s->hashed < end && r == 0; s->hashed += n) {
        n = min_u64(HASH_STEP, end - s->hashed);
        r = hash_zeros(s->hasher, n, err);
        if (r == 0)
            r = s->wait->fn(s->wait->opaque, err);
    }
    return r;
}

/* A piece whose turn it is. */
struct turn {
    struct crew *crew;
    uint64_t number;
};

/* The crew has the error. */
static int report_turn(void *opaque, struct vhdx_error *err)
{
    const struct turn *t = opaque;

    (void)err;
    return crew_turn(t->crew, t->number);
}

static void report_to(struct stream *s, const struct disk_wait *wait)
{
    s->wait = wait;
    s->sink->wait = wait;
}

static int work(void *opaque, void *piece, struct crew *crew, uint64_t number,
                struct vhdx_error *err)
{
    struct stream *s = opaque;
    const struct piece *p = piece;
    struct turn turn = { crew, number };
    const struct disk_wait wait = { report_turn, &turn };
    uint64_t place = 0;
    int r = 0;

    if (!disk_is_stream(s->from))
        r = disk_read(s->from, p->buf, (size_t)p->length, p->offset, err);
    if (r < 0)
        return r;
    __atomic_fetch_add(&s->read, p->length, __ATOMIC_RELAXED);
    r = crew_turn(crew, number);
    if (r < 0)
        return r;
    const struct disk_wait *before = s->wait;
    report_to(s, &wait);
    r = place_of(s, p->offset, &place, err);
    if (r == 0)
        r = fill_to(s, place, err);
    if (r == 0)
        r = hash_to(s, p->offset, err);
    if (r == 0)
        r = hash_update(s->hasher, p->buf, (size_t)p->length, err);
    if (r == 0)
        r = sink_write(s->sink, p->buf, (size_t)p->length, err);
    s->hashed = p->offset + p->length;
    s->copied += p->length;
    report_to(s, before);
    return r;
}

/* All that the disk has, and what it has not up to the output's end. */
static int write_payload(struct stream *s, struct vhdx_error *err)
{
    bool is_stream = disk_is_stream(s->from);
    const struct crew_job job = {
        .threads = is_stream ? 1 : s->opts->threads, /* next() waits, and reports meanwhile */
        .piece_size = sizeof(struct piece),
        .opaque = s,
        .next = next,
        .work = work,
        .report = report,
        .free_piece = free_piece,
    };
    int r = is_stream ? 0 : disk_walk_begin(s->from, 0, s->from->size, &s->walk, err);

    if (r == 0)
        r = crew_run(&job, err);
    disk_walk_end(&s->walk);
    if (r == 0)
        r = hash_to(s, s->size, err);
    return r == 0 ? disk_verify_end(s->from, err) : r;
}

/* ---- Formats --------------------------------------------------------------------------------- */

static int write_linear(struct stream *s, struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    bool is_vhd = s->opts->format == VHDX_FORMAT_VHD, is_stream = disk_is_stream(s->from);
    uint64_t size = s->size;
    uint8_t footer[VHD_FOOTER_SIZE];
    int r = 0;

    /* Before anything is written, if that can be. */
    if (is_vhd && !is_stream)
        r = convert_vhd_size(s->size, s->opts->flags, &size, err);
    if (r == 0)
        r = write_payload(s, err);
    if (r == 0 && is_stream)
        size = s->size;
    if (r == 0 && is_stream && is_vhd)
        r = convert_vhd_size(s->size, s->opts->flags, &size, err);
    if (r == 0)
        r = fill_to(s, size, err);
    if (r == 0 && is_vhd)
        r = convert_make_vhd_footer(size, footer, err);
    if (r == 0 && is_vhd)
        r = sink_write(s->sink, footer, sizeof footer, err);
    ret->disk_size = size;
    return r;
}

/* The first pass: which blocks have data. */
static int find_blocks(struct stream *s, struct layout *l, struct vhdx_error *err)
{
    uint64_t block_size = UINT64_C(1) << l->plan.geometry.block_shift;
    struct disk_walk walk;
    struct disk_extent e;

    int r = disk_walk_begin(s->from, 0, s->size, &walk, err);
    if (r < 0)
        return r;
    while ((r = disk_walk_next(&walk, &e, err)) > 0) {
        uint64_t at = align_down(e.offset, block_size);
        for (; e.kind == VHDX_EXTENT_DATA && at < e.offset + e.length && r > 0; at += block_size)
            if (layout_add(l, at, err) < 0)
                r = -VHDX_E_NOMEM;
        if (r > 0 && convert_report(s->opts, 0, s->size, err) < 0)
            r = -VHDX_E_CANCELLED;
        if (r < 0)
            break;
    }
    disk_walk_end(&walk);
    return r;
}

/* The tables are written in the order in which they lie in the file. */
static int write_head(struct stream *s, struct layout *l, struct vhdx_error *err)
{
    struct vhdx_io io;

    sink_io(s->sink, &io);
    int r = create_plan_write_identifier(&io, err);
    if (r == 0)
        r = layout_write_tables(l, &io, err);
    return r < 0 ? sink_failure(s->sink, r, err) : r;
}

static int write_vhdx(struct stream *s, struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct layout layout = { 0 };

    int r = layout_begin(&layout, s->from, s->opts, err);
    if (r == 0)
        r = find_blocks(s, &layout, err);
    if (r == 0)
        r = write_head(s, &layout, err);
    s->layout = &layout;
    if (r == 0)
        r = fill_to(s, layout.plan.payload_offset, err);
    if (r == 0)
        r = write_payload(s, err);
    if (r == 0)
        r = fill_to(s, layout_file_size(&layout), err);
    ret->disk_size = layout.plan.metadata.virtual_size;
    layout_free(&layout);
    s->layout = NULL;
    return r;
}

/* ---- Entry points ---------------------------------------------------------------------------- */

/* The disk in the output's format, but no VHDX of a stream. */
static int write_all(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                     struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    bool is_dense = (opts->flags & VHDX_CONVERT_NO_SPARSE) != 0 ||
                    (opts->create && opts->create->preallocation >= VHDX_PREALLOCATION_FALLOC);
    struct stream s = { .from = from, .opts = opts,
                        .size = disk_is_stream(from) ? 0 : from->size };

    const struct disk_wait wait = { report, &s };
    int r = sink_open(fd, is_dense, opts->sparse_size, &s.sink, err);
    if (r < 0)
        return r;
    report_to(&s, &wait);
    if (opts->checksum)
        r = hash_begin(opts->checksum, &s.hasher, err);
    if (r == 0)
        r = opts->format == VHDX_FORMAT_VHDX ? write_vhdx(&s, ret, err)
                                             : write_linear(&s, ret, err);
    if (r == 0)
        r = sink_end(s.sink, err);
    if (r == 0 && s.hasher)
        r = hash_finish(s.hasher, ret->digest, err);
    ret->file_size = s.sink->position;
    ret->read_bytes = s.read;
    ret->copied_bytes = s.copied;
    hash_free(s.hasher);
    sink_free(s.sink);
    return r;
}

/* Writes the disk into a file without a name; *ret_made, with one for messages, reads it there. */
static int write_unnamed(struct vhdx_disk *from, const struct vhdx_convert_options *opts,
                         const char *name, struct vhdx_convert_result *ret,
                         struct vhdx_disk **ret_made, struct vhdx_error *err)
{
    struct outfile *out;
    struct vhdx_io io;

    int r = outfile_open_unnamed(&out, err);
    if (r < 0)
        return r;
    r = convert_to_file(from, out, opts, ret, err);
    if (r == 0)
        r = outfile_io(out, &io, err);
    if (r == 0)
        r = disk_take_file(&io, ret->file_size, name, ret_made, err);
    outfile_discard(out);
    return r;
}

int convert_spool(struct vhdx_disk *from, const struct vhdx_progress *progress,
                  struct vhdx_disk **ret, struct vhdx_error *err)
{
    const struct vhdx_convert_options raw = { .struct_size = sizeof raw,
                                              .format = VHDX_FORMAT_RAW,
                                              .progress = *progress };
    struct vhdx_convert_result copied = VHDX_CONVERT_RESULT_INIT;

    return write_unnamed(from, &raw, from->name, &copied, ret, err);
}

/* A VHDX begins with what is known at the end of a stream only. */
static int write_through_file(struct vhdx_disk *from, int fd,
                              const struct vhdx_convert_options *opts,
                              struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    const struct vhdx_convert_options raw = { .struct_size = sizeof raw,
                                              .format = VHDX_FORMAT_RAW,
                                              .flags = opts->flags & VHDX_CONVERT_NO_SPARSE,
                                              .progress = opts->progress,
                                              .threads = opts->threads,
                                              .sparse_size = opts->sparse_size };
    struct vhdx_convert_options to_file = *opts;
    struct vhdx_convert_result copied = VHDX_CONVERT_RESULT_INIT;
    struct vhdx_disk *made = NULL;

    to_file.flags &= ~VHDX_CONVERT_NO_SPARSE; /* said of the output */
    int r = write_unnamed(from, &to_file, "the unnamed file", ret, &made, err);
    if (r == 0)
        r = write_all(made, fd, &raw, &copied, err);
    disk_close(made);
    return r;
}

int convert_stream(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                   struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t count = disk_file_ids(from, ids);

    int r = sink_verify(fd, ids, count, err);
    if (r < 0)
        return r;
    return disk_is_stream(from) && opts->format == VHDX_FORMAT_VHDX
               ? write_through_file(from, fd, opts, ret, err)
               : write_all(from, fd, opts, ret, err);
}
