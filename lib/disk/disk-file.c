/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Raw disks: a file or block device of the operating system, or a part of one; see disk.h. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/disk.h"

struct file_disk {
    struct vhdx_disk disk; /* first */
    struct vhdx_io io;     /* owned; without calls: the descriptor is borrowed */
    int fd;
    uint64_t base;         /* where the disk begins in the file */
    bool is_device;
    bool has_end;          /* the end of the disk is that of the file */
    struct file_id id;
};

static struct file_disk *file_disk(const struct vhdx_disk *d)
{
    return (struct file_disk *)(uintptr_t)d;
}

static int file_disk_read(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset,
                          struct vhdx_error *err)
{
    const struct file_disk *f = file_disk(d);
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(f->fd, p, len, (off_t)(f->base + offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, f->base + offset, "%s: reading %zu bytes at %" PRIu64,
                              d->name, len, offset);
        if (n == 0)
            return fail(err, VHDX_E_TRUNCATED, f->base + offset,
                        "%s: the file ends at %" PRIu64 " now, but was %" PRIu64
                        " bytes long: something changes it", d->name, offset, d->size);
        p += n;
        offset += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* The next extent by the holes of the file. What the file system cannot tell is data. */
static int file_walk_next(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err)
{
    const struct file_disk *f = file_disk(w->disk);
    uint64_t end = f->base + w->end, at = f->base + w->position;
    off_t data = f->is_device ? (off_t)at : lseek(f->fd, (off_t)at, SEEK_DATA);

    if (data < 0 && errno != ENXIO && errno != EINVAL)
        return fail_errno(err, errno, at, "%s: looking for data", w->disk->name);
    *ret = (struct disk_extent){ .offset = w->position, .fd = f->fd, .file = f->id };
    if (data < 0 && errno == ENXIO) {
        /* Only a hole is left, or the file ends here now: then reading is to tell. */
        struct stat st;
        bool is_there = fstat(f->fd, &st) == 0 && (uint64_t)st.st_size >= end;
        ret->kind = is_there ? VHDX_EXTENT_HOLE : VHDX_EXTENT_DATA;
        ret->length = w->end - w->position;
        return 1;
    }
    if (data > (off_t)at) {
        ret->kind = VHDX_EXTENT_HOLE;
        ret->length = min_u64((uint64_t)data, end) - at;
        return 1;
    }
    off_t hole = f->is_device ? -1 : lseek(f->fd, (off_t)at, SEEK_HOLE);
    ret->kind = VHDX_EXTENT_DATA;
    ret->length = (hole > (off_t)at ? min_u64((uint64_t)hole, end) : end) - at;
    ret->has_file = true;
    ret->file_offset = at;
    return 1;
}

static size_t file_disk_ids(const struct vhdx_disk *d, struct file_id ret_ids[LIMIT_CHAIN_LENGTH])
{
    ret_ids[0] = file_disk(d)->id;
    return 1;
}

static int file_verify_end(struct vhdx_disk *d, struct vhdx_error *err)
{
    const struct file_disk *f = file_disk(d);
    off_t end = f->has_end ? lseek(f->fd, 0, SEEK_END) : 0;

    if (!f->has_end || (end >= 0 && (uint64_t)end == f->base + d->size))
        return 0;
    return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                "%s: the file was %" PRIu64 " bytes long and is %" PRIu64
                " now: something changes it", d->name, d->size, (uint64_t)end);
}

static void file_disk_close(struct vhdx_disk *d)
{
    struct file_disk *f = file_disk(d);

    io_close(&f->io);
    free(f);
}

static const struct disk_kind file_kind = {
    .read = file_disk_read,
    .walk_next = file_walk_next,
    .file_ids = file_disk_ids,
    .verify_end = file_verify_end,
    .close = file_disk_close,
};

int disk_of_file(int fd, uint64_t base, uint64_t size, const char *name, struct vhdx_disk **ret,
                 struct vhdx_error *err)
{
    struct file_disk *f = calloc(1, sizeof *f);
    char *copy = strdup(name);
    struct stat st;

    if (!f || !copy || fstat(fd, &st) < 0) {
        int r = f && copy ? fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: reading the file's "
                                       "status", name) : fail_nomem(err);
        free(f);
        free(copy);
        return r;
    }
    f->disk = (struct vhdx_disk){ .kind = &file_kind, .size = size, .name = copy };
    f->fd = fd;
    f->base = base;
    f->is_device = S_ISBLK(st.st_mode);
    f->id = (struct file_id){ st.st_dev, st.st_ino };
    *ret = &f->disk;
    return 0;
}

int disk_take_file(struct vhdx_io *io, uint64_t size, const char *name, struct vhdx_disk **ret,
                   struct vhdx_error *err)
{
    int r = disk_of_file(file_descriptor(io), 0, size, name, ret, err);

    if (r < 0) {
        io_close(io);
        return r;
    }
    file_disk(*ret)->io = *io;
    file_disk(*ret)->has_end = true;
    return 0;
}

int disk_open_raw(const char *path, bool lock, struct vhdx_disk **ret, struct vhdx_error *err)
{
    struct vhdx_io io;
    uint64_t size;
    bool supported;

    int r = file_open(path, false, &io, err);
    if (r == 0) {
        if (lock)
            r = file_lock(&io, &supported, err);
        if (r == 0)
            r = io_size(&io, &size, err);
        if (r < 0)
            io_close(&io);
    }
    if (r < 0) {
        fail_prefix(err, "%s: ", path);
        return r;
    }
    return disk_take_file(&io, size, path, ret, err);
}
