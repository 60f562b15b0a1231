/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Converting to a differencing image; see convert-child.h. The child is created empty, as
 * vhdx_create() makes it, and then written to like any other: whatever differs from the parent's
 * disk, in order.
 */

#include "ops/convert-child.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/write.h"
#include "io/io.h"
#include "io/outfile.h"
#include "ops/compare.h"
#include "ops/convert.h"
#include "ops/create.h"
#include "util/cleanup.h"

struct conversion {
    struct vhdx_disk *from;
    const struct vhdx_convert_options *opts;
    struct vhdx_create_options create;
    struct vhdx *parent;
    struct vhdx_disk *parent_disk;
    struct outfile *out;
    const char *path;
    unsigned passes, pass;   /* of progress: comparing, and verifying */
    struct vhdx_convert_result *result;

    /* The child while it is written to. */
    struct vhdx *child;
    uint64_t size, block_size;
    uint64_t zeros, zeros_end; /* differ and are zero, but are not written yet; they may go on */
    uint64_t zeroed_end;       /* all that differs before it was written */
};

/* ---- The output ----------------------------------------------------------------------------- */

static int refuse_input(const struct vhdx_disk *from, const char *path, struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t count = disk_file_ids(from, ids);
    struct stat st;

    if (stat(path, &st) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        struct file_id id = { st.st_dev, st.st_ino };
        if (file_id_equal(&id, &ids[i]))
            return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                        i == 0 ? "%s: output is the input itself"
                               : "%s: output is a parent of the input", path);
    }
    return 0;
}

static int open_output(struct conversion *c, struct vhdx_error *err)
{
    struct file_id ids[2 * LIMIT_CHAIN_LENGTH];
    size_t count = chain_file_ids(&c->parent->chain, ids);

    /* Once for the message; the second look is at what then is replaced. */
    int r = refuse_input(c->from, c->path, err);
    if (r < 0)
        return r;
    count += disk_file_ids(c->from, ids + count);
    return outfile_open(c->path, 0, c->opts->flags & VHDX_CONVERT_REPLACE, "the parent", ids,
                        count, &c->out, err);
}

/* The child in the output: its parent is at hand, and its parents where the caller said. */
static int open_child(struct conversion *c, uint32_t flags, struct vhdx **ret,
                      struct vhdx_error *err)
{
    const struct vhdx_open_options *where = c->create.parent_options;
    struct vhdx_open_options options = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_io io;
    struct image *img;

    if (where)
        options = *where;
    CLEANUP_FREE const char **parents = calloc(options.parents_count + 1, sizeof *parents);
    if (!parents)
        return fail_nomem(err);
    parents[0] = c->create.parent_path;
    for (size_t i = 0; i < options.parents_count; i++)
        parents[i + 1] = options.parents[i];
    options.parents = parents;
    options.parents_count++;

    int r = outfile_io(c->out, &io, err);
    if (r == 0)
        r = image_open_io(&io, &img, err);
    if (r < 0)
        return r;
    img->path = strdup(c->path); /* for messages */
    return handle_open(img, flags, &options, ret, err);
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* Whether the disk to be shown has nothing but known zeros in [offset, end). */
static int is_known_zero(const struct conversion *c, uint64_t offset, uint64_t end, bool *ret,
                         struct vhdx_error *err)
{
    struct disk_walk w;
    struct disk_extent e;
    int r = 0;

    *ret = true;
    end = min_u64(end, c->from->size);
    if (offset >= end)
        return 0;
    r = disk_walk_begin(c->from, offset, end - offset, &w, err);
    while (r >= 0 && *ret && (r = disk_walk_next(&w, &e, err)) > 0)
        *ret = e.kind != VHDX_EXTENT_DATA;
    disk_walk_end(&w);
    return r < 0 ? r : 0;
}

/*
 * Writes the zeros that have come together. A whole block of zeros takes no space, but part of one
 * takes a block; so they are made whole where the rest is known to be zero, whatever the parent
 * has there.
 */
static int write_zeros(struct conversion *c, struct vhdx_error *err)
{
    uint64_t start = c->zeros, end = c->zeros_end;
    uint64_t from = align_down(start, c->block_size);
    uint64_t to = min_u64(align_up(end, c->block_size), c->size);
    bool zero;
    int r = 0;

    if (end == start || end <= c->zeroed_end)
        return 0;
    r = is_known_zero(c, from, start, &zero, err);
    if (r == 0 && zero)
        start = from;
    if (r == 0)
        r = is_known_zero(c, end, to, &zero, err);
    if (r == 0 && zero)
        end = to;
    c->zeroed_end = end;
    return r < 0 ? r : chain_write(&c->child->chain, NULL, end - start, start, err);
}

static int write_difference(void *opaque, uint64_t offset, uint64_t len, const uint8_t *bytes,
                            struct vhdx_error *err)
{
    struct conversion *c = opaque;
    int r = 0;

    if (bytes || offset != c->zeros_end) {
        r = write_zeros(c, err);
        c->zeros = c->zeros_end = offset;
    }
    c->zeros_end += len;
    if (r < 0 || !bytes)
        return r;
    c->zeros = c->zeros_end;
    c->result->copied_bytes += len;
    return chain_write(&c->child->chain, bytes, len, offset, err);
}

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    const struct conversion *c = opaque;
    const struct vhdx_progress *progress = &c->opts->progress;
    uint64_t part = done / c->passes + (c->pass > 0 ? total - total / c->passes : 0);

    if (!progress->fn)
        return 0;
    return progress->fn(min_u64(part, total), total, progress->opaque);
}

static int write_child(struct conversion *c, struct vhdx_error *err)
{
    const struct vhdx_progress progress = { on_progress, c };
    const struct metadata *m;

    int r = open_child(c, VHDX_OPEN_RDWR | VHDX_OPEN_NO_LOCK, &c->child, err);
    if (r < 0)
        return r;
    m = &c->child->chain.images[0]->metadata;
    c->size = m->virtual_size;
    c->block_size = m->block_size;
    const struct compare_sink sink = { .size = c->size,
                                       .grain = m->logical_sector_size,
                                       .fn = write_difference,
                                       .opaque = c };
    r = compare_each(c->parent_disk, c->from, c->opts->threads, &progress, &sink,
                     &c->result->read_bytes, err);
    if (r == 0)
        r = write_zeros(c, err);
    if (r == 0)
        r = handle_finish(c->child, err);
    handle_close(steal_ptr(c->child));
    return r;
}

/* Reads the child as it is in the file. */
static int verify_child(struct conversion *c, struct vhdx_error *err)
{
    struct vhdx_convert_options options = *c->opts;
    struct vhdx *child = NULL;
    struct vhdx_disk *disk = NULL;

    options.progress = (struct vhdx_progress){ on_progress, c };
    c->pass++;
    int r = open_child(c, VHDX_OPEN_RDONLY | VHDX_OPEN_NO_LOCK, &child, err);
    if (r == 0)
        r = disk_of_image(child, &disk, err);
    if (r == 0)
        r = convert_verify_disk(c->from, disk, &options, c->result, c->from->size, err);
    disk_close(disk);
    handle_close(child);
    return r;
}

static int note_file_size(struct conversion *c, struct vhdx_error *err)
{
    struct vhdx_io io;

    int r = outfile_io(c->out, &io, err);
    if (r < 0)
        return r;
    r = io_size(&io, &c->result->file_size, err);
    io_close(&io);
    return r;
}

/* ---- All of it ------------------------------------------------------------------------------ */

static int convert(struct conversion *c, struct vhdx_error *err)
{
    uint64_t sector = c->parent->chain.images[0]->metadata.logical_sector_size;

    /* 0 would mean the parent's. */
    if (c->from->size == 0 || c->from->size > LIMIT_VIRTUAL_SIZE)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "%s: size is %" PRIu64 ", must be above 0 and at most 64 TiB", c->from->name,
                    c->from->size);
    c->create.size = align_up(c->from->size, sector);
    int r = disk_of_image(c->parent, &c->parent_disk, err);
    if (r == 0)
        r = open_output(c, err);
    if (r == 0)
        r = create_in_outfile(c->out, c->path, &c->create, c->parent, err);
    if (r == 0)
        r = write_child(c, err);
    if (r == 0 && (c->opts->flags & VHDX_CONVERT_VERIFY))
        r = verify_child(c, err);
    if (r == 0)
        r = note_file_size(c, err);
    if (r < 0)
        outfile_discard(steal_ptr(c->out));
    else
        r = outfile_commit(steal_ptr(c->out), err);
    return r;
}

int convert_child(struct vhdx_disk *from, const char *path,
                  const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                  struct vhdx_error *err)
{
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    struct conversion c = { .from = from,
                            .opts = opts,
                            .create = *opts->create,
                            .path = path,
                            .passes = opts->flags & VHDX_CONVERT_VERIFY ? 2 : 1,
                            .result = &result };

    if (disk_is_stream(from))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "a differencing image is not made of a stream, which is read only once");
    c.create.flags = 0;
    c.create.progress = (struct vhdx_progress){ 0 };
    int r = create_open_parent(&c.create, &c.parent, err);
    if (r == 0)
        r = convert(&c, err);
    disk_close(c.parent_disk);
    handle_close(c.parent);
    if (r < 0)
        return r;
    result.disk_size = c.size;
    *ret = result;
    return 0;
}
