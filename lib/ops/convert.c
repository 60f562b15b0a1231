/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Converting a disk; see convert.h. The output is written under a temporary name: the payload by
 * convert-clone.c or convert-copy.c, then what a format has around it, then it is read back if that
 * was asked for, made stable and given its name.
 */

#include "ops/convert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ops/convert-child.h"
#include "ops/convert-layout.h"
#include "ops/convert-stream.h"
#include "ops/create.h"
#include "ops/hash.h"
#include "util/cleanup.h"
#include "util/iszero.h"

/* One conversion to a file. */
struct conversion {
    struct vhdx_disk *from;
    const struct vhdx_convert_options *opts;
    struct outfile *out;
    struct hasher *hasher;     /* or NULL */
    struct copy_result copied;
    struct layout layout;      /* of a VHDX */
    struct vhdx_convert_result *result;
};

/* ---- Progress -------------------------------------------------------------------------------- */

/* Writing and reading back are two passes over the disk, of which the caller sees one. */
struct passes {
    const struct vhdx_progress *progress; /* the caller's */
    unsigned count, now;
    uint64_t total; /* the first one's: an output may be larger, rounded up; 0: not known */
    uint64_t last; /* told to the caller, who sees no way back */
};

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    struct passes *p = opaque;

    if (total != VHDX_SIZE_UNKNOWN) {
        bool is_all = p->now + 1 == p->count && done == total;
        p->total = p->total ? p->total : total;
        total = p->total;
        uint64_t part = done / p->count + (p->now > 0 ? total - total / p->count : 0);
        p->last = max_u64(p->last, is_all ? total : min_u64(part, total));
        done = p->last;
    }
    return p->progress->fn(done, total, p->progress->opaque);
}

/* The options, with a progress that knows of the passes. */
static struct vhdx_convert_options begin_passes(struct passes *p, bool has_two,
                                                const struct vhdx_convert_options *opts)
{
    struct vhdx_convert_options mine = *opts;

    *p = (struct passes){ .progress = &opts->progress, .count = has_two ? 2 : 1 };
    if (opts->progress.fn)
        mine.progress = (struct vhdx_progress){ on_progress, p };
    return mine;
}

/* ---- Payload --------------------------------------------------------------------------------- */

static bool may_clone(const struct conversion *c, const struct target *to)
{
    return to->out && !disk_is_stream(c->from) &&
           (c->opts->flags & (VHDX_CONVERT_NO_CLONE | VHDX_CONVERT_NO_SPARSE)) == 0;
}

static int copy_payload(struct conversion *c, struct target *to, struct vhdx_error *err)
{
    bool is_done = false;

    int r = convert_report(c->opts, 0, c->from->size, err);
    if (r == 0 && may_clone(c, to))
        r = convert_clone(c->from, to, c->opts, &c->copied, &is_done, err);
    if (r == 0 && is_done && c->hasher) {
        r = hash_of_disk(c->from, c->from->size, c->opts->checksum, &c->opts->progress,
                         c->result->digest, err);
        hash_free(steal_ptr(c->hasher));
    }
    if (r < 0 || is_done)
        return r;
    layout_reset(&c->layout);
    return convert_copy(c->from, to, c->opts, c->hasher, &c->copied, err);
}

/* What the disk's size becomes in a format without a layout. */
static int linear_size(const struct conversion *c, uint64_t size, uint64_t *ret,
                       struct vhdx_error *err)
{
    if (c->opts->format == VHDX_FORMAT_VHD)
        return convert_vhd_size(size, c->opts->flags, ret, err);
    *ret = size;
    return 0;
}

/* Space for all of the output, if it is to be had before anything is written. */
static int set_aside(const struct conversion *c, uint64_t size, struct vhdx_error *err)
{
    const struct vhdx_create_options *o = c->opts->create;

    if (!o || o->preallocation < VHDX_PREALLOCATION_FALLOC || size == 0)
        return 0;
    return outfile_allocate(c->out, 0, size, err);
}

static int write_linear(struct conversion *c, struct vhdx_error *err)
{
    struct target to = { .out = c->out };
    uint64_t size = c->from->size;
    int r = 0;

    if (!disk_is_stream(c->from)) {
        r = linear_size(c, size, &size, err);
        if (r == 0)
            r = outfile_truncate(c->out, size, err);
        if (r == 0)
            r = set_aside(c, size, err);
    }
    if (r == 0)
        r = copy_payload(c, &to, err);
    if (r == 0)
        r = linear_size(c, c->copied.size, &size, err);
    if (r == 0)
        r = outfile_truncate(c->out, size, err);
    c->result->disk_size = size;
    if (r == 0 && c->opts->format == VHDX_FORMAT_VHD)
        r = convert_write_vhd_footer(c->out, size, err);
    c->result->file_size = size + (c->opts->format == VHDX_FORMAT_VHD ? VHD_FOOTER_SIZE : 0);
    return r;
}

/* Around the payload, when all of it has its place. */
static int write_around(struct conversion *c, struct vhdx_error *err)
{
    struct layout *l = &c->layout;
    struct vhdx_io io;

    int r = outfile_truncate(c->out, layout_file_size(l), err);
    if (r == 0)
        r = outfile_io(c->out, &io, err);
    if (r < 0)
        return r;
    r = layout_write_tables(l, &io, err);
    if (r == 0)
        r = create_set_aside_tables(c->out, &l->plan, err);
    if (r == 0)
        r = create_plan_write_identifier(&io, err);
    if (r == 0)
        r = create_verify(&io, err);
    io_close(&io);
    c->result->disk_size = l->plan.metadata.virtual_size;
    c->result->file_size = layout_file_size(l);
    return r;
}

static int write_vhdx(struct conversion *c, struct vhdx_error *err)
{
    struct layout *l = &c->layout;

    int r = layout_begin(l, c->from, c->opts, err);
    l->target.out = c->out;
    if (r == 0 && !disk_is_stream(c->from) && l->plan.metadata.leave_allocated) {
        r = outfile_truncate(c->out, l->plan.file_size, err);
        if (r == 0)
            r = set_aside(c, l->plan.file_size, err);
    }
    if (r == 0)
        r = copy_payload(c, &l->target, err);
    if (r == 0 && disk_is_stream(c->from))
        r = layout_set_size(l, c->copied.size, err);
    return r < 0 ? r : write_around(c, err);
}

/* ---- Entry points ---------------------------------------------------------------------------- */

/* Whoever verifies a stream compares digests. */
static int begin_hash(struct conversion *c, struct vhdx_error *err)
{
    bool is_needed = c->opts->checksum ||
                     (disk_is_stream(c->from) && (c->opts->flags & VHDX_CONVERT_VERIFY) != 0);

    return is_needed ? hash_begin(c->opts->checksum, &c->hasher, err) : 0;
}

static int end_hash(struct conversion *c, struct vhdx_error *err)
{
    return c->hasher ? hash_finish(c->hasher, c->result->digest, err) : 0;
}

static int write_output(struct conversion *c, struct vhdx_error *err)
{
    const struct vhdx_create_options *o = c->opts->create;
    bool is_full = o && o->preallocation == VHDX_PREALLOCATION_FULL;

    int r = c->opts->format == VHDX_FORMAT_VHDX ? write_vhdx(c, err) : write_linear(c, err);
    if (r == 0)
        r = end_hash(c, err);
    if (r == 0 && (is_full || (c->opts->flags & VHDX_CONVERT_NO_SPARSE) != 0))
        r = outfile_fill_holes(c->out, err);
    return r;
}

static void give_counts(const struct conversion *c)
{
    c->result->read_bytes = c->copied.read;
    c->result->copied_bytes = c->copied.copied;
    c->result->cloned_bytes = c->copied.cloned;
}

int convert_to_file(struct vhdx_disk *from, struct outfile *out,
                    const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                    struct vhdx_error *err)
{
    bool is_verified = (opts->flags & VHDX_CONVERT_VERIFY) != 0;
    struct passes passes;
    const struct vhdx_convert_options mine = begin_passes(&passes, is_verified, opts);
    struct conversion c = { .from = from, .opts = &mine, .out = out, .result = ret };

    int r = begin_hash(&c, err);
    if (r == 0)
        r = write_output(&c, err);
    passes.now++;
    if (r == 0 && is_verified)
        r = convert_verify(from, out, &mine, ret, c.copied.size, err);
    give_counts(&c);
    hash_free(c.hasher);
    layout_free(&c.layout);
    return r;
}

/* What differs from the parent is not all of the disk: the digest is made before. */
static int convert_to_child(struct vhdx_disk *from, const char *path,
                            const struct vhdx_convert_options *opts,
                            struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    bool is_hashed = opts->checksum && !disk_is_stream(from);
    char digest[VHDX_HASH_TEXT] = "";
    struct passes passes;
    const struct vhdx_convert_options mine = begin_passes(&passes, is_hashed, opts);

    int r = convert_report(&mine, 0, from->size, err);
    if (r == 0 && is_hashed) {
        r = hash_of_disk(from, from->size, opts->checksum, &mine.progress, digest, err);
        passes.now++;
    }
    if (r == 0)
        r = convert_child(from, path, &mine, ret, err);
    if (r == 0)
        memcpy(ret->digest, digest, sizeof digest);
    return r;
}

int convert_to_path(struct vhdx_disk *from, const char *path,
                    const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                    struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t count = disk_file_ids(from, ids);
    struct outfile *out;

    if (opts->create && opts->create->parent_path)
        return convert_to_child(from, path, opts, ret, err);
    int r = outfile_open(path, 0, opts->flags & VHDX_CONVERT_REPLACE, "the input", ids, count,
                         &out, err);
    if (r < 0)
        return r;
    r = convert_to_file(from, out, opts, ret, err);
    if (r < 0) {
        outfile_discard(out);
        return r;
    }
    return outfile_commit(out, err);
}

/* All of it, since nothing is known of what is there. */
static int write_io(struct conversion *c, struct target *to, struct vhdx_error *err)
{
    int r = io_size(to->io, &to->io_size, err);

    if (r == 0 && !disk_is_stream(c->from) && c->from->size > to->io_size)
        r = fail(err, VHDX_E_NOSPACE, VHDX_OFFSET_NONE,
                 "the disk is %" PRIu64 " bytes large, the output only %" PRIu64, c->from->size,
                 to->io_size);
    if (r == 0)
        r = copy_payload(c, to, err);
    if (r == 0)
        r = io_flush(to->io, err);
    if (r == 0)
        r = end_hash(c, err);
    c->result->disk_size = c->result->file_size = c->copied.size;
    return r;
}

int convert_to_io(struct vhdx_disk *from, const struct vhdx_io *io,
                  const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                  struct vhdx_error *err)
{
    bool is_verified = (opts->flags & VHDX_CONVERT_VERIFY) != 0;
    struct passes passes;
    const struct vhdx_convert_options mine = begin_passes(&passes, is_verified, opts);
    struct conversion c = { .from = from, .opts = &mine, .result = ret };
    struct target to = { .io = io, .has_content = true };

    int r = begin_hash(&c, err);
    if (r == 0)
        r = write_io(&c, &to, err);
    passes.now++;
    if (r == 0 && is_verified)
        r = convert_verify_io(from, io, &mine, ret, c.copied.size, err);
    give_counts(&c);
    hash_free(c.hasher);
    return r;
}

int convert_disk(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err)
{
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    struct vhdx_disk *from;

    int r = disk_of_image(v, &from, err);
    if (r < 0)
        return r;
    r = convert_to_path(from, path, opts, &result, err);
    disk_close(from);
    return r;
}
