/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Disks whose bytes come once, in order, and until they end; see disk.h. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/disk.h"

struct stream_disk {
    struct vhdx_disk disk; /* first */
    int fd;                /* borrowed */
    uint64_t position;
    struct file_id id;
};

static struct stream_disk *stream_disk_of(const struct vhdx_disk *d)
{
    return (struct stream_disk *)(uintptr_t)d;
}

#define WAIT_MS 100

/* Until there is something to read, or the end. A terminal or a pipe may take forever. */
static int wait_for_data(int fd, const struct disk_wait *wait, struct vhdx_error *err)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    int r = 0;

    while (r == 0 && poll(&p, 1, WAIT_MS) <= 0)
        r = wait->fn ? wait->fn(wait->opaque, err) : 0;
    return r;
}

static int stream_read_next(struct vhdx_disk *d, void *buf, size_t len,
                            const struct disk_wait *wait, size_t *ret_len,
                            struct vhdx_error *err)
{
    struct stream_disk *s = stream_disk_of(d);
    char *p = buf;
    size_t done = 0;

    while (done < len) {
        int r = wait_for_data(s->fd, wait, err);
        if (r < 0)
            return r;
        ssize_t n = read(s->fd, p + done, len - done);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return fail_errno(err, errno, s->position, "%s: reading", d->name);
        if (n == 0)
            break;
        done += (size_t)n;
        s->position += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

static size_t stream_file_ids(const struct vhdx_disk *d,
                              struct file_id ret_ids[LIMIT_CHAIN_LENGTH])
{
    ret_ids[0] = stream_disk_of(d)->id;
    return 1;
}

static void stream_close(struct vhdx_disk *d)
{
    free(d);
}

static const struct disk_kind stream_kind = {
    .read_next = stream_read_next,
    .file_ids = stream_file_ids,
    .close = stream_close,
};

#define STREAM_NAME "standard input"

int disk_open_stream(int fd, struct vhdx_disk **ret, struct vhdx_error *err)
{
    const char *name = fd == STDIN_FILENO ? STREAM_NAME : "the stream";
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s", name);
    if (S_ISDIR(st.st_mode))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "%s is a directory", name);
    /* A file is read as a stream from where it stands; at its beginning it is a raw disk. */
    if (S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0)
        return disk_of_file(fd, 0, (uint64_t)st.st_size, name, ret, err);

    struct stream_disk *s = calloc(1, sizeof *s);
    char *copy = strdup(name);
    if (!s || !copy) {
        free(s);
        free(copy);
        return fail_nomem(err);
    }
    s->disk = (struct vhdx_disk){ .kind = &stream_kind, .size = VHDX_SIZE_UNKNOWN, .name = copy };
    s->fd = fd;
    s->id = (struct file_id){ st.st_dev, st.st_ino };
    *ret = &s->disk;
    return 0;
}
