/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file on a failing disk; see tolerant.h. */

#include "io/tolerant.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "util/cleanup.h"

/* A read that fails is done again in pieces of the first size, and where one of these fails, in
   pieces of the second. */
#define PIECE (64 * KIB)
#define SECTOR 512u

struct tolerant {
    struct vhdx_io below;
    bool is_owner; /* of below */
    pthread_mutex_t lock;
    struct ranges bad; /* under lock */
};

static int read_below(const struct tolerant *t, uint8_t *buf, uint64_t len, uint64_t offset)
{
    return t->below.pread(t->below.opaque, buf, (size_t)len, offset);
}

static int add_bad(struct tolerant *t, uint64_t offset, uint64_t len)
{
    LOCK_FOR_SCOPE(&t->lock);
    int r = ranges_reserve(&t->bad);
    if (r == 0)
        ranges_add(&t->bad, offset, offset + len);
    return r < 0 ? -ENOMEM : 0;
}

/* Sector by sector. */
static int read_sectors(struct tolerant *t, uint8_t *buf, uint64_t len, uint64_t offset)
{
    for (uint64_t n; len > 0; buf += n, offset += n, len -= n) {
        n = min_u64(SECTOR - offset % SECTOR, len);
        int r = read_below(t, buf, n, offset);
        if (r < 0 && r != -ENOMEM) {
            memset(buf, 0, (size_t)n);
            r = add_bad(t, offset, n);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int tolerant_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct tolerant *t = opaque;
    uint8_t *to = buf;
    uint64_t left = len;

    int r = read_below(t, to, left, offset);
    if (r == 0 || r == -ENOMEM)
        return r;
    for (uint64_t n; left > 0; to += n, offset += n, left -= n) {
        n = min_u64(PIECE - offset % PIECE, left);
        r = read_below(t, to, n, offset);
        if (r < 0 && r != -ENOMEM)
            r = read_sectors(t, to, n, offset);
        if (r < 0)
            return r;
    }
    return 0;
}

static int tolerant_size(void *opaque, uint64_t *ret_size)
{
    const struct tolerant *t = opaque;

    return t->below.size(t->below.opaque, ret_size);
}

static void tolerant_close(void *opaque)
{
    struct tolerant *t = opaque;

    if (t->is_owner)
        io_close(&t->below);
    ranges_free(&t->bad);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int tolerant_open(const struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct tolerant *t = calloc(1, sizeof *t);

    if (!t)
        return fail_nomem(err);
    t->below = *below;
    pthread_mutex_init(&t->lock, NULL);
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = t, .pread = tolerant_pread,
                             .size = tolerant_size, .close = tolerant_close };
    return 0;
}

int tolerant_adopt(struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err)
{
    int r = tolerant_open(below, ret, err);

    if (r < 0)
        io_close(below);
    else
        ((struct tolerant *)ret->opaque)->is_owner = true;
    return r;
}

bool tolerant_is(const struct vhdx_io *io)
{
    return io->pread == tolerant_pread;
}

bool tolerant_next_bad(const struct vhdx_io *tolerant, uint64_t start, uint64_t end,
                       struct range *ret)
{
    struct tolerant *t = tolerant->opaque;

    LOCK_FOR_SCOPE(&t->lock);
    return ranges_next(&t->bad, start, end, ret);
}
