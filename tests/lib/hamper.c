/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Makes reading and writing hard for a program, to be preloaded:
 *   HAMPER_FLIP=TEXT   a write whose data contains TEXT is changed on its way: bit 0 of its first
 *                      byte
 *   HAMPER_SHORT=1     reads and writes of more than 512 bytes do a part of what was asked for, a
 *                      different part each time
 *   HAMPER_DELAY=USEC  reads of 4096 bytes and more take so much longer
 * The kernel's own copying between files is refused where data must pass through here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct hamper {
    const char *flip;
    int cut;
    useconds_t delay;
    atomic_uint calls;
    ssize_t (*pread)(int, void *, size_t, off64_t);
    ssize_t (*pwrite)(int, const void *, size_t, off64_t);
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*copy)(int, off64_t *, int, off64_t *, size_t, unsigned);
};

static struct hamper hamper;

static void find(const char *name, void *ret)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    if (!symbol)
        abort();
    memcpy(ret, &symbol, sizeof(symbol));
}

__attribute__((constructor)) static void begin(void)
{
    const char *delay = getenv("HAMPER_DELAY");
    unsigned usec = 0;

    find("pread64", &hamper.pread);
    find("pwrite64", &hamper.pwrite);
    find("read", &hamper.read);
    find("write", &hamper.write);
    find("copy_file_range", &hamper.copy);
    hamper.flip = getenv("HAMPER_FLIP");
    hamper.cut = getenv("HAMPER_SHORT") != NULL;
    if (delay && sscanf(delay, "%u", &usec) == 1)
        hamper.delay = usec;
}

/* How much of a call is done. */
static size_t part(size_t len)
{
    if (!hamper.cut || len <= 512)
        return len;
    return 1 + (atomic_fetch_add(&hamper.calls, 1) * 2654435761u) % (unsigned)(len - 1);
}

static void wait_before(size_t len)
{
    if (hamper.delay > 0 && len >= 4096)
        usleep(hamper.delay);
}

/* The data to be written: buf, or a changed copy, which the caller frees. */
static char *flipped(const void *buf, size_t len)
{
    const char *found = hamper.flip ? memmem(buf, len, hamper.flip, strlen(hamper.flip)) : NULL;
    char *copy;

    if (!found)
        return NULL;
    copy = malloc(len);
    if (!copy)
        abort();
    memcpy(copy, buf, len);
    copy[found - (const char *)buf] ^= 1;
    return copy;
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
    wait_before(len);
    return hamper.pread(fd, buf, part(len), offset);
}

ssize_t read(int fd, void *buf, size_t len)
{
    wait_before(len);
    return hamper.read(fd, buf, part(len));
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
    char *copy = flipped(buf, len);
    ssize_t done = hamper.pwrite(fd, copy ? copy : buf, part(len), offset);

    free(copy);
    return done;
}

ssize_t write(int fd, const void *buf, size_t len)
{
    char *copy = flipped(buf, len);
    ssize_t done = hamper.write(fd, copy ? copy : buf, part(len));

    free(copy);
    return done;
}

/* Short as well, which its callers are used to. */
ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    return count > 0 ? pwrite64(fd, iov[0].iov_base, iov[0].iov_len, offset) : 0;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return count > 0 ? write(fd, iov[0].iov_base, iov[0].iov_len) : 0;
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len,
                        unsigned flags)
{
    wait_before(len);
    if (!hamper.flip)
        return hamper.copy(from, from_at, to, to_at, part(len), flags);
    errno = EXDEV;
    return -1;
}
