/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What is written in one pass; see convert-sink.h. */

#include "ops/convert-sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/iszero.h"

#define ZEROS_SIZE (256 * KIB)
#define GRAIN_DEFAULT (4 * KIB)
#define PIPE_STEP PIPE_BUF /* goes into a pipe that has room */
#define WAIT_MS 100        /* between reports */

int sink_verify(int fd, const struct file_id *forbidden, size_t count, struct vhdx_error *err)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    if (flags < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "the output stream");
    if ((flags & O_ACCMODE) == O_RDONLY)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "the output stream is open for reading only");
    struct file_id id = { st.st_dev, st.st_ino };
    for (size_t i = 0; i < count && S_ISREG(st.st_mode); i++)
        if (file_id_equal(&id, &forbidden[i]))
            return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                        i == 0 ? "the output stream is the input itself"
                               : "the output stream is a parent of the input");
    return 0;
}

/* Whether what is skipped in the file will read as zeros. */
static bool is_empty_file(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    return flags >= 0 && (flags & O_APPEND) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size == 0 && lseek(fd, 0, SEEK_CUR) == 0;
}

/*
 * Nobody who waits in write() can be told to stop. The caller's descriptor keeps its flags, which
 * others may share: a pipe is opened once more, and a socket is told with each call.
 */
static void avoid_blocking(struct sink *s)
{
    char path[64];
    struct stat st;

    if (fstat(s->fd, &st) < 0)
        return;
    s->is_socket = S_ISSOCK(st.st_mode);
    s->is_pipe = S_ISFIFO(st.st_mode);
    if (!s->is_pipe)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd);
    s->own_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

int sink_open(int fd, bool is_dense, uint32_t grain, struct sink **ret, struct vhdx_error *err)
{
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return fail_nomem(err);
    s->zeros = calloc(1, ZEROS_SIZE);
    if (!s->zeros) {
        free(s);
        return fail_nomem(err);
    }
    s->fd = fd;
    s->own_fd = -1;
    s->grain = grain ? grain : GRAIN_DEFAULT;
    avoid_blocking(s);
    s->has_holes = !is_dense && is_empty_file(fd);
    *ret = s;
    return 0;
}

static int record(struct sink *s, int r, struct vhdx_error *err)
{
    s->code = r;
    if (err)
        *err = s->error;
    return r;
}

static int fail_write(struct sink *s, int errnum, size_t len, struct vhdx_error *err)
{
    if (errnum == EPIPE)
        return record(s, fail_errno(&s->error, errnum, s->position,
                                    "the output stream's reader has gone"), err);
    return record(s, fail_errno(&s->error, errnum, s->position,
                                "writing %zu bytes to the output stream", len), err);
}

static bool has_room(const struct sink *s, int timeout_ms)
{
    struct pollfd p = { .fd = s->fd, .events = POLLOUT };

    return poll(&p, 1, timeout_ms) > 0;
}

/* Writes what goes in; EAGAIN: nothing does. */
static ssize_t write_once(const struct sink *s, const void *buf, size_t len)
{
    if (s->is_socket)
        return send(s->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (s->own_fd >= 0)
        return write(s->own_fd, buf, len);
    if (!s->is_pipe)
        return write(s->fd, buf, len);
    if (has_room(s, 0))
        return write(s->fd, buf, min_u64(len, PIPE_STEP));
    errno = EAGAIN;
    return -1;
}

/* Until something goes in, or for so long that whoever waits should hear of it. */
static int wait_for_room(struct sink *s, struct vhdx_error *err)
{
    has_room(s, WAIT_MS);
    int r = s->wait ? s->wait->fn(s->wait->opaque, &s->error) : 0;
    return r < 0 ? record(s, r, err) : 0;
}

static int write_whole(struct sink *s, const void *buf, size_t len, struct vhdx_error *err)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = write_once(s, p, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail_write(s, errno, len, err);
        if (n < 0) {
            int r = wait_for_room(s, err);
            if (r < 0)
                return r;
            continue;
        }
        p += n;
        s->position += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* A program that has not asked for it must not die of SIGPIPE. */
static int write_quietly(struct sink *s, const void *buf, size_t len, struct vhdx_error *err)
{
    const struct timespec now = { 0, 0 };
    sigset_t pipe_set, old, pending;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    int r = write_whole(s, buf, len, err);
    if (r == -VHDX_E_SYSTEM && s->error.sys_errno == EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

static int skip(struct sink *s, uint64_t len, struct vhdx_error *err)
{
    if (lseek(s->fd, (off_t)len, SEEK_CUR) < 0)
        return fail_write(s, errno, 0, err);
    s->position += len;
    return 0;
}

/* What is zeros becomes holes. */
static int write_sparse(struct sink *s, const uint8_t *buf, size_t len, struct vhdx_error *err)
{
    int r = 0;

    for (size_t at = 0, n; at < len && r == 0; at += n) {
        bool is_hole = is_zero(buf + at, min_u64(s->grain, len - at));
        for (n = min_u64(s->grain, len - at); at + n < len; n += min_u64(s->grain, len - at - n))
            if (is_zero(buf + at + n, min_u64(s->grain, len - at - n)) != is_hole)
                break;
        r = is_hole ? skip(s, n, err) : write_quietly(s, buf + at, n, err);
    }
    return r;
}

int sink_write(struct sink *s, const void *buf, size_t len, struct vhdx_error *err)
{
    return s->has_holes ? write_sparse(s, buf, len, err) : write_quietly(s, buf, len, err);
}

int sink_zeros_to(struct sink *s, uint64_t position, struct vhdx_error *err)
{
    int r = 0;

    if (s->has_holes)
        return skip(s, position - s->position, err);
    while (s->position < position && r == 0)
        r = write_quietly(s, s->zeros, (size_t)min_u64(ZEROS_SIZE, position - s->position), err);
    return r;
}

int sink_end(struct sink *s, struct vhdx_error *err)
{
    if (s->has_holes && ftruncate(s->fd, (off_t)s->position) < 0)
        return fail_write(s, errno, 0, err);
    return 0;
}

static int io_write(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct sink *s = opaque;

    if (offset < s->position)
        return -EINVAL;
    int r = sink_zeros_to(s, offset, NULL);
    if (r == 0)
        r = sink_write(s, buf, len, NULL);
    return r < 0 ? -EIO : 0;
}

void sink_io(struct sink *s, struct vhdx_io *ret)
{
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = s, .pwrite = io_write };
}

int sink_failure(const struct sink *s, int r, struct vhdx_error *err)
{
    if (s->code == 0)
        return r;
    if (err)
        *err = s->error;
    return s->code;
}

void sink_free(struct sink *s)
{
    if (!s)
        return;
    if (s->own_fd >= 0)
        close(s->own_fd);
    free(s->zeros);
    free(s);
}
