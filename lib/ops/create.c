/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Creating images; see create.h. The identifier is written last. */

#include "ops/create.h"

#include <inttypes.h>
#include <stdlib.h>

#include "ops/create-plan.h"
#include "util/limits.h"

#define PAYLOAD_STEP (64 * MIB) /* between reports of progress */

#define INVALID(...) fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, __VA_ARGS__)

static int report(const struct vhdx_progress *progress, uint64_t done, uint64_t total,
                  struct vhdx_error *err)
{
    if (progress->fn && progress->fn(done, total, progress->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

static int write_payload(const struct vhdx_io *io, const struct create_plan *p,
                         const struct vhdx_progress *progress, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t at = p->payload_offset, n; at < p->file_size && r == 0; at += n) {
        n = min_u64(p->file_size - at, PAYLOAD_STEP);
        r = io_write_zeros(io, at, n, err);
        if (r == 0)
            r = report(progress, at + n, p->file_size, err);
    }
    return r;
}

static int write_image(const struct vhdx_io *io, const struct create_plan *p,
                       const struct vhdx_create_options *o, struct vhdx_error *err)
{
    int r = io_truncate(io, p->file_size, err);

    if (r == 0)
        r = create_plan_write_head(io, p, err);
    if (r == 0 && p->metadata.leave_allocated)
        r = create_plan_write_fixed_bat(io, p, err);
    if (r == 0 && o->preallocation == VHDX_PREALLOCATION_FULL)
        r = write_payload(io, p, &o->progress, err);
    if (r == 0)
        r = io_flush(io, err);
    return r < 0 ? r : create_plan_write_identifier(io, err);
}

int create_verify(const struct vhdx_io *io, struct vhdx_error *err)
{
    struct vhdx_io borrowed = *io;
    struct image *img;

    borrowed.close = NULL;
    int r = image_open_io(&borrowed, &img, err);
    if (r < 0)
        return r;
    r = image_load(img, err);
    image_close(img);
    return r;
}

/* ---- Entry points --------------------------------------------------------------------------- */

int create_io(const struct vhdx_io *io, const struct vhdx_create_options *opts,
              struct vhdx_error *err)
{
    struct create_plan p = { 0 };
    uint64_t size;

    if (opts->parent_path || opts->type == VHDX_TYPE_DIFFERENCING)
        return INVALID("a differencing image is created at a path: its parent is found from there");
    if (opts->preallocation == VHDX_PREALLOCATION_FALLOC)
        return INVALID("a custom file has no space to set aside: preallocation must be another");
    int r = io_size(io, &size, err);
    if (r == 0 && size != 0)
        r = INVALID("the file is %" PRIu64 " bytes long, must be empty", size);
    if (r == 0)
        r = create_plan_make(&p, opts, NULL, NULL, err);
    if (r == 0)
        r = write_image(io, &p, opts, err);
    if (r == 0)
        r = io_flush(io, err);
    if (r == 0)
        r = create_verify(io, err);
    create_plan_free(&p);
    return r;
}

int create_set_aside_tables(struct outfile *out, const struct create_plan *p,
                            struct vhdx_error *err)
{
    int r = outfile_allocate(out, HEADER_SECTION_SIZE, p->log_length, err);

    if (r == 0 && p->bat_length == MIB)
        r = outfile_allocate(out, p->bat_offset, p->bat_length, err);
    return r;
}

static int set_aside_all(struct outfile *out, const struct create_plan *p,
                         const struct vhdx_progress *progress, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t at = 0, n; at < p->file_size && r == 0; at += n) {
        n = min_u64(p->file_size - at, PAYLOAD_STEP);
        r = outfile_allocate(out, at, n, err);
        if (r == 0)
            r = report(progress, at + n, p->file_size, err);
    }
    return r;
}

static int write_in(struct outfile *out, const struct create_plan *p,
                     const struct vhdx_create_options *opts, struct vhdx_error *err)
{
    struct vhdx_io io;

    int r = outfile_io(out, &io, err);
    if (r < 0)
        return r;
    if (opts->preallocation == VHDX_PREALLOCATION_FALLOC)
        r = set_aside_all(out, p, &opts->progress, err);
    else
        r = create_set_aside_tables(out, p, err);
    if (r == 0)
        r = write_image(&io, p, opts, err);
    if (r == 0)
        r = create_verify(&io, err);
    io_close(&io);
    return r;
}

/* With the parent's chain open, so that what is made can be used. */
static int create_with_parent(const char *path, const struct vhdx_create_options *opts,
                              const struct vhdx *parent, struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t ids_count = parent ? chain_file_ids(&parent->chain, ids) : 0;
    struct create_plan p = { 0 };
    struct outfile *out;

    int r = create_plan_make(&p, opts, path, parent ? parent->chain.images[0] : NULL, err);
    if (r < 0)
        fail_prefix(err, "%s: ", path);
    else
        r = outfile_open(path, 0, opts->flags & VHDX_CREATE_REPLACE, "the parent", ids, ids_count,
                         &out, err);
    if (r == 0) {
        r = write_in(out, &p, opts, err);
        if (r < 0)
            outfile_discard(out);
        else
            r = outfile_commit(out, err);
    }
    create_plan_free(&p);
    return r;
}

int create_open_parent(const struct vhdx_create_options *opts, struct vhdx **ret,
                       struct vhdx_error *err)
{
    static const struct vhdx_open_options no_options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx *parent;
    struct image *img;

    int r = image_open_path(opts->parent_path, false, &img, err);
    if (r == 0)
        r = handle_open(img, VHDX_OPEN_RDONLY,
                        opts->parent_options ? opts->parent_options : &no_options, &parent, err);
    if (r < 0)
        return r;
    if (parent->chain.count == LIMIT_CHAIN_LENGTH) {
        handle_close(parent);
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the chain has %d images already",
                    LIMIT_CHAIN_LENGTH);
    }
    *ret = parent;
    return 0;
}

int create_in_outfile(struct outfile *out, const char *path,
                      const struct vhdx_create_options *opts, const struct vhdx *parent,
                      struct vhdx_error *err)
{
    struct create_plan p = { 0 };

    int r = create_plan_make(&p, opts, path, parent ? parent->chain.images[0] : NULL, err);
    if (r < 0)
        fail_prefix(err, "%s: ", path);
    else
        r = write_in(out, &p, opts, err);
    create_plan_free(&p);
    return r;
}

int create_path(const char *path, const struct vhdx_create_options *opts, struct vhdx_error *err)
{
    struct vhdx *parent = NULL;

    int r = opts->parent_path ? create_open_parent(opts, &parent, err) : 0;
    if (r == 0)
        r = create_with_parent(path, opts, parent, err);
    handle_close(parent);
    return r;
}
