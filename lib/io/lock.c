/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* QEMU-compatible locks; see lock.h. */

#include "io/lock.h"

#include <errno.h>
#include <fcntl.h>

#define PERM_CONSISTENT_READ 0
#define PERM_WRITE 1
#define PERM_RESIZE 3
#define PERM_COUNT 4

#define HELD_BASE 100     /* + permission: held */
#define UNSHARED_BASE 200 /* + permission: not left to others */

static int lock_byte(int fd, int byte)
{
    struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* 1 when somebody else has a lock on the byte, else 0 or -errno. */
static int byte_is_locked(int fd, int byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    if (fcntl(fd, F_OFD_GETLK, &l) < 0)
        return -errno;
    return l.l_type != F_UNLCK;
}

static bool is_unsupported(int r)
{
    return r == -EINVAL || r == -ENOLCK || r == -EOPNOTSUPP || r == -ENOSYS;
}

/* held, unshared: bit p for permission p. Lock first, then look: of two that come together at least
   one sees the other. Returns as byte_is_locked(). */
static int take(int fd, unsigned held, unsigned unshared)
{
    int r = 0;

    for (int p = 0; p < PERM_COUNT && r == 0; p++) {
        if (held >> p & 1)
            r = lock_byte(fd, HELD_BASE + p);
        if (r == 0 && (unshared >> p & 1))
            r = lock_byte(fd, UNSHARED_BASE + p);
    }
    for (int p = 0; p < PERM_COUNT && r == 0; p++) {
        if (held >> p & 1)
            r = byte_is_locked(fd, UNSHARED_BASE + p);
        if (r == 0 && (unshared >> p & 1))
            r = byte_is_locked(fd, HELD_BASE + p);
    }
    return r;
}

static int lock(int fd, unsigned held, unsigned unshared, const char *use, bool *ret_supported,
                struct vhdx_error *err)
{
    int r = take(fd, held, unshared);

    if (r < 0 && !is_unsupported(r) && r != -EAGAIN && r != -EACCES)
        return fail_errno(err, -r, VHDX_OFFSET_NONE, "locking");
    if (r == 1 || r == -EAGAIN || r == -EACCES)
        return fail(err, VHDX_E_LOCKED, VHDX_OFFSET_NONE,
                    "another process has the image open%s (lsof or lslocks shows which)", use);
    *ret_supported = r == 0;
    return 0;
}

int lock_reader(int fd, bool *ret_supported, struct vhdx_error *err)
{
    return lock(fd, 1u << PERM_CONSISTENT_READ, 1u << PERM_WRITE | 1u << PERM_RESIZE,
                " for writing", ret_supported, err);
}

int lock_writer(int fd, bool *ret_supported, struct vhdx_error *err)
{
    return lock(fd, 1u << PERM_CONSISTENT_READ | 1u << PERM_WRITE | 1u << PERM_RESIZE,
                1u << PERM_WRITE | 1u << PERM_RESIZE, "", ret_supported, err);
}
