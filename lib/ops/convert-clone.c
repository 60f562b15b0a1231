/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Copying a disk without copying: the output shares blocks of the file system with the input's
 * files (FICLONERANGE: XFS, btrfs and others). Payload blocks lie at multiples of 1 MiB, so what is
 * aligned in the disk is aligned in the files. What is not is read and written.
 */

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "ops/convert-target.h"

#define BUFFER_SIZE (256 * KIB)

struct clone {
    struct vhdx_disk *from;
    struct target *to;
    const struct vhdx_convert_options *opts;
    uint64_t block;  /* of the file systems, bytes: what is shared is made of these */
    bool has_cloned; /* these files can share */
    bool is_refused; /* they cannot: known from the first attempt */
    uint8_t *buf;
    struct copy_result *result;
};

static int copy_bytes(struct clone *c, uint64_t offset, uint64_t length, uint64_t place,
                      struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t done = 0, n; done < length && r == 0; done += n) {
        n = min_u64(BUFFER_SIZE, length - done);
        r = disk_read(c->from, c->buf, (size_t)n, offset + done, err);
        if (r == 0)
            r = target_write(c->to, c->buf, (size_t)n, place + done, err);
        c->result->read += n;
        c->result->copied += n;
    }
    return r;
}

/* 1: shared; 0: these files do not share; negative: another failure, a full disk for one. */
static int share(struct clone *c, const struct disk_extent *e, uint64_t place,
                 struct vhdx_error *err)
{
    const struct file_clone_range range = {
        .src_fd = e->fd,
        .src_offset = e->file_offset,
        .src_length = e->length,
        .dest_offset = place,
    };

    if (outfile_clone(c->to->out, &range) == 0) {
        c->has_cloned = true;
        c->result->cloned += e->length;
        return 1;
    }
    switch (errno) {
    case EXDEV:
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
    case EINVAL:
    case EPERM:
    case ETXTBSY:
        return 0;
    default:
        return fail_errno(err, errno, place, "sharing %llu bytes with %s",
                          (unsigned long long)e->length, c->from->name);
    }
}

/* A part of an extent whose place is contiguous. */
static int clone_run(struct clone *c, const struct disk_extent *e, uint64_t place,
                     struct vhdx_error *err)
{
    uint64_t head = min_u64(align_up(e->offset, c->block) - e->offset, e->length);
    uint64_t body = align_down(e->length - head, c->block);
    struct disk_extent shared = *e;
    int r = 0;

    shared.offset += head;
    shared.file_offset += head;
    shared.length = body;
    if (e->has_file && body > 0 && (shared.file_offset | (place + head)) % c->block == 0)
        r = share(c, &shared, place + head, err);
    if (r < 0)
        return r;
    /* What cannot be shared at all is better copied by many threads. */
    if (r == 0 && !c->has_cloned && (!e->has_file || body > 0)) {
        c->is_refused = true;
        return 0;
    }
    if (r == 0)
        return copy_bytes(c, e->offset, e->length, place, err);
    r = copy_bytes(c, e->offset, head, place, err);
    if (r < 0)
        return r;
    return copy_bytes(c, e->offset + head + body, e->length - head - body, place + head + body,
                      err);
}

/* Units that lie one behind the other become one run. */
static int clone_extent(struct clone *c, const struct disk_extent *e, struct vhdx_error *err)
{
    const struct target *t = c->to;
    int r = 0;

    for (uint64_t done = 0, n; done < e->length && r == 0 && !c->is_refused; done += n) {
        struct disk_extent run = *e;
        uint64_t place, next;
        run.offset += done;
        run.file_offset += done;
        run.length = n = e->length - done;
        r = target_place(c->to, run.offset, &place, err);
        for (n = t->place ? min_u64(n, t->unit - run.offset % t->unit) : n;
             r == 0 && n < run.length; n += min_u64(t->unit, run.length - n)) {
            r = target_place(c->to, run.offset + n, &next, err);
            if (r < 0 || next != place + n)
                break;
        }
        run.length = n;
        if (r == 0)
            r = clone_run(c, &run, place, err);
    }
    return r;
}

static int clone_all(struct clone *c, struct vhdx_error *err)
{
    struct disk_walk walk;
    struct disk_extent e;

    int r = disk_walk_begin(c->from, 0, c->from->size, &walk, err);
    if (r < 0)
        return r;
    while (!c->is_refused && (r = disk_walk_next(&walk, &e, err)) > 0) {
        if (e.kind == VHDX_EXTENT_DATA)
            r = clone_extent(c, &e, err);
        if (r >= 0 && c->has_cloned) /* else all is still to be copied */
            r = convert_report(c->opts, e.offset + e.length, c->from->size, err);
        if (r < 0)
            break;
    }
    disk_walk_end(&walk);
    return r;
}

int convert_clone(struct vhdx_disk *from, struct target *to,
                  const struct vhdx_convert_options *opts, struct copy_result *ret,
                  bool *ret_done, struct vhdx_error *err)
{
    *ret = (struct copy_result){ .size = from->size };
    struct clone c = { .from = from, .to = to, .opts = opts, .result = ret,
                       .block = outfile_block_size(to->out), .buf = malloc(BUFFER_SIZE) };

    int r = c.buf ? clone_all(&c, err) : fail_nomem(err);
    free(c.buf);
    if (r == 0 && !c.is_refused)
        r = disk_verify_end(from, err);
    if (r == 0 && !c.is_refused)
        r = convert_report(opts, from->size, from->size, err);
    *ret_done = !c.is_refused;
    return r;
}
