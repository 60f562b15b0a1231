/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Files of the operating system; see file.h. */

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/lock.h"
#include "util/cleanup.h"

struct file {
    int fd;
    bool is_device;
    bool writable;
    struct file_id id;
};

static int file_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct file *f = opaque;
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(f->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* the file shrank since it was opened */
        p += n;
        offset += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int file_size(void *opaque, uint64_t *ret_size)
{
    const struct file *f = opaque;
    off_t end = lseek(f->fd, 0, SEEK_END); /* block devices too */

    if (end < 0)
        return -errno;
    *ret_size = (uint64_t)end;
    return 0;
}

static int file_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    const struct file *f = opaque;
    const char *p = buf;

    while (len > 0) {
        ssize_t n = pwrite(f->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        offset += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int file_flush(void *opaque)
{
    const struct file *f = opaque;

    return fdatasync(f->fd) < 0 ? -errno : 0;
}

/* A block device keeps its size: it is large enough, or full. */
static int file_truncate(void *opaque, uint64_t size)
{
    const struct file *f = opaque;
    uint64_t have = 0;

    if (f->is_device) {
        int r = file_size(opaque, &have);
        return r < 0 ? r : size <= have ? 0 : -ENOSPC;
    }
    return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

static int allocate(const struct file *f, int mode, uint64_t offset, uint64_t len)
{
    int r;

    do
        r = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    return errno == ENOSYS || errno == ENODEV || errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int file_zero(void *opaque, uint64_t offset, uint64_t len)
{
    return allocate(opaque, FALLOC_FL_ZERO_RANGE, offset, len);
}

static int file_discard(void *opaque, uint64_t offset, uint64_t len)
{
    return allocate(opaque, FALLOC_FL_PUNCH_HOLE, offset, len);
}

static void file_close(void *opaque)
{
    struct file *f = opaque;

    close(f->fd);
    free(f);
}

static int verify_kind(int fd, struct stat *ret, struct vhdx_error *err)
{
    if (fstat(fd, ret) < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "reading the file's status");
    if (S_ISDIR(ret->st_mode))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "is a directory, must be a file");
    if (!S_ISREG(ret->st_mode) && !S_ISBLK(ret->st_mode))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "is neither a regular file nor a block device");
    return 0;
}

/* O_NOATIME is permitted to the file's owner only. */
static int open_quietly(const char *path, bool writable)
{
    const int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = open(path, flags | O_NOATIME);

    if (fd < 0 && errno == EPERM)
        fd = open(path, flags);
    return fd;
}

/*
 * Opens what the path names only after looking at it: opening alone can rewind a tape, start a
 * watchdog or let the writer of a pipe run, and the path may come from an image.
 */
static int open_verified(const char *path, bool writable, int *ret_fd, struct vhdx_error *err)
{
    struct stat st;
    char proc[32];
    CLEANUP_CLOSE int place = open(path, O_PATH | O_CLOEXEC);

    if (place < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "opening");
    int r = verify_kind(place, &st, err);
    if (r < 0)
        return r;
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", place);
    int fd = open_quietly(proc, writable);
    if (fd < 0 && errno == ENOENT) /* no /proc here */
        fd = open_quietly(path, writable);
    if (fd < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "opening");
    *ret_fd = fd;
    return 0;
}

int file_adopt(int fd, bool writable, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct stat st;
    CLEANUP_CLOSE int owned = fd;

    int r = verify_kind(fd, &st, err);
    if (r < 0)
        return r;

    struct file *f = malloc(sizeof *f);
    if (!f)
        return fail_nomem(err);
    *f = (struct file){ .fd = owned, .is_device = S_ISBLK(st.st_mode), .writable = writable,
                        .id = { st.st_dev, st.st_ino } };
    owned = -1;
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = f, .pread = file_pread,
                             .size = file_size, .close = file_close };
    if (writable) {
        ret->pwrite = file_pwrite;
        ret->flush = file_flush;
        ret->truncate = file_truncate;
        ret->zero = file_zero;
        ret->discard = file_discard;
    }
    return 0;
}

int file_open(const char *path, bool writable, struct vhdx_io *ret, struct vhdx_error *err)
{
    int fd = -1;

    int r = open_verified(path, writable, &fd, err);
    return r < 0 ? r : file_adopt(fd, writable, ret, err);
}

int file_lock(const struct vhdx_io *io, bool *ret_supported, struct vhdx_error *err)
{
    const struct file *f = io->opaque;

    return f->writable ? lock_writer(f->fd, ret_supported, err)
                       : lock_reader(f->fd, ret_supported, err);
}

bool file_get_id(const struct vhdx_io *io, struct file_id *ret)
{
    if (io->pread != file_pread)
        return false;
    *ret = ((const struct file *)io->opaque)->id;
    return true;
}

int file_descriptor(const struct vhdx_io *io)
{
    return io->pread == file_pread ? ((const struct file *)io->opaque)->fd : -1;
}

bool file_is_device(const struct vhdx_io *io)
{
    return ((const struct file *)io->opaque)->is_device;
}

uint64_t file_next_data(const struct vhdx_io *io, uint64_t offset)
{
    const struct file *f = io->opaque;
    off_t next = lseek(f->fd, (off_t)offset, SEEK_DATA);

    if (next >= 0)
        return (uint64_t)next;
    return errno == ENXIO ? UINT64_MAX : offset;
}

uint64_t file_next_hole(const struct vhdx_io *io, uint64_t offset)
{
    const struct file *f = io->opaque;
    off_t next = lseek(f->fd, (off_t)offset, SEEK_HOLE);

    return next >= 0 ? (uint64_t)next : UINT64_MAX;
}
