/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file in memory; see memory.h. Grows by doubling; readers share a lock, writers exclude. */

#include "io/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/bits.h"

struct memory {
    pthread_rwlock_t lock; /* guards the rest */
    unsigned char *bytes;
    size_t size;
    size_t capacity; /* bytes between size and capacity are zero */
};

static int memory_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct memory *m = opaque;
    int r = -EIO;

    pthread_rwlock_rdlock(&m->lock);
    if (range_fits(offset, len, m->size)) {
        memcpy(buf, m->bytes + offset, len);
        r = 0;
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

static int reserve(struct memory *m, uint64_t size)
{
    if (size <= m->capacity)
        return 0;
    if (size > SIZE_MAX / 2)
        return -EFBIG;

    size_t capacity = (size_t)max_u64(size, 2 * (uint64_t)m->capacity);
    unsigned char *bytes = realloc(m->bytes, capacity);
    if (!bytes)
        return -ENOSPC;
    memset(bytes + m->capacity, 0, capacity - m->capacity);
    m->bytes = bytes;
    m->capacity = capacity;
    return 0;
}

static int memory_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct memory *m = opaque;

    if (offset > UINT64_MAX - len)
        return -EFBIG;
    pthread_rwlock_wrlock(&m->lock);
    int r = reserve(m, offset + len);
    if (r == 0) {
        memcpy(m->bytes + offset, buf, len);
        m->size = (size_t)max_u64(m->size, offset + len);
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

static int memory_flush(void *opaque)
{
    (void)opaque;
    return 0;
}

static int memory_size(void *opaque, uint64_t *ret_size)
{
    struct memory *m = opaque;

    pthread_rwlock_rdlock(&m->lock);
    *ret_size = m->size;
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

static int memory_truncate(void *opaque, uint64_t size)
{
    struct memory *m = opaque;

    pthread_rwlock_wrlock(&m->lock);
    int r = reserve(m, size);
    if (r == 0) {
        if (size < m->size)
            memset(m->bytes + size, 0, m->size - (size_t)size);
        m->size = (size_t)size;
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

static int memory_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct memory *m = opaque;
    int r = -EINVAL;

    pthread_rwlock_wrlock(&m->lock);
    if (range_fits(offset, len, m->size)) {
        if (len > 0)
            memset(m->bytes + offset, 0, (size_t)len);
        r = 0;
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

static void memory_close(void *opaque)
{
    struct memory *m = opaque;

    pthread_rwlock_destroy(&m->lock);
    free(m->bytes);
    free(m);
}

int memory_open(const void *data, size_t len, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct memory *m = calloc(1, sizeof *m);

    if (!m)
        return fail_nomem(err);
    m->bytes = malloc(len ? len : 1);
    if (!m->bytes) {
        free(m);
        return fail_nomem(err);
    }
    if (len > 0)
        memcpy(m->bytes, data, len);
    m->size = m->capacity = len;
    pthread_rwlock_init(&m->lock, NULL);
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = m, .pread = memory_pread,
                             .pwrite = memory_pwrite, .flush = memory_flush, .size = memory_size,
                             .truncate = memory_truncate, .zero = memory_zero,
                             .discard = memory_zero, .close = memory_close };
    return 0;
}
