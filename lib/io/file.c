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
static int open_quietly(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = open(path, flags | O_NOATIME);

    if (fd < 0 && errno == EPERM)
        fd = open(path, flags);
    return fd;
}

/*
 * Opens what the path names only after looking at it: opening alone can rewind a tape, start a
 * watchdog or let the writer of a pipe run, and the path may come from an image.
 */
static int open_verified(const char *path, int *ret_fd, struct stat *ret_st,
                         struct vhdx_error *err)
{
    char proc[32];
    CLEANUP_CLOSE int place = open(path, O_PATH | O_CLOEXEC);

    if (place < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "opening");
    int r = verify_kind(place, ret_st, err);
    if (r < 0)
        return r;
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", place);
    CLEANUP_CLOSE int fd = open_quietly(proc);
    if (fd < 0 && errno == ENOENT) /* no /proc here */
        fd = open_quietly(path);
    if (fd < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "opening");
    r = verify_kind(fd, ret_st, err);
    if (r < 0)
        return r;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int file_open(const char *path, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct stat st;
    CLEANUP_CLOSE int fd = -1;

    int r = open_verified(path, &fd, &st, err);
    if (r < 0)
        return r;

    struct file *f = malloc(sizeof *f);
    if (!f)
        return fail_nomem(err);
    *f = (struct file){ .fd = fd, .id = { st.st_dev, st.st_ino } };
    fd = -1;
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = f, .pread = file_pread,
                             .size = file_size, .close = file_close };
    return 0;
}

int file_lock(const struct vhdx_io *io, bool *ret_supported, struct vhdx_error *err)
{
    const struct file *f = io->opaque;

    return lock_reader(f->fd, ret_supported, err);
}

bool file_get_id(const struct vhdx_io *io, struct file_id *ret)
{
    if (io->pread != file_pread)
        return false;
    *ret = ((const struct file *)io->opaque)->id;
    return true;
}
