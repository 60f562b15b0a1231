/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Disks behind a caller's own calls; see disk.h. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"

/* Extents are asked for in stretches of this length, and this many are kept from an answer. */
#define ASK_LENGTH (1 * GIB)
#define ASK_COUNT 256u

struct custom_disk {
    struct vhdx_disk disk; /* first */
    struct vhdx_io io;     /* owned */
    vhdx_io_extents *extents; /* or NULL */
};

/* What the last answer said and is not used yet. */
struct custom_walk {
    size_t count, next;
    uint64_t until; /* where the answer ends */
    bool is_wrong;  /* it breaks the rules of vhdx_io_extents */
    struct vhdx_extent extents[ASK_COUNT];
};

/* fn of the caller's call ends it when there is no more room. */
#define ENOUGH 1

static struct custom_disk *custom_disk(const struct vhdx_disk *d)
{
    return (struct custom_disk *)(uintptr_t)d;
}

static int custom_read(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset,
                       struct vhdx_error *err)
{
    int r = io_pread(&custom_disk(d)->io, buf, len, offset, err);

    if (r < 0)
        fail_prefix(err, "%s: ", d->name);
    return r;
}

static int custom_walk_begin(struct vhdx_disk *d, struct disk_walk *w, struct vhdx_error *err)
{
    struct custom_walk *walk = calloc(1, sizeof *walk);

    (void)d;
    if (!walk)
        return fail_nomem(err);
    walk->until = w->position;
    w->state = walk;
    return 0;
}

static int take_extent(const struct vhdx_extent *e, void *opaque)
{
    struct custom_walk *walk = opaque;

    if (walk->is_wrong || walk->count == ASK_COUNT) /* whoever calls was told to stop */
        return ENOUGH;
    if (e->offset != walk->until || e->length == 0 || e->kind > VHDX_EXTENT_HOLE ||
        e->length > UINT64_MAX - e->offset) {
        walk->is_wrong = true;
        return ENOUGH;
    }
    walk->until += e->length;
    walk->extents[walk->count++] = *e;
    return walk->count == ASK_COUNT ? ENOUGH : 0;
}

static int ask(struct disk_walk *w, struct vhdx_error *err)
{
    struct custom_disk *c = custom_disk(w->disk);
    struct custom_walk *walk = w->state;
    uint64_t len = min_u64(w->end - w->position, ASK_LENGTH);

    walk->count = walk->next = 0;
    walk->until = w->position;
    int r = c->extents(c->io.opaque, w->position, len, take_extent, walk);
    if (r < 0)
        return fail_errno(err, -r, w->position, "%s: asking for extents", w->disk->name);
    if (walk->is_wrong || walk->count == 0)
        return fail(err, VHDX_E_INVALID, w->position,
                    "%s: the extents from %" PRIu64 " on are not in order, or none", w->disk->name,
                    walk->until);
    return 0;
}

static int custom_walk_next(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err)
{
    struct custom_walk *walk = w->state;
    int r = 0;

    *ret = (struct disk_extent){ .offset = w->position, .fd = -1,
                                 .length = w->end - w->position, .kind = VHDX_EXTENT_DATA };
    if (!custom_disk(w->disk)->extents)
        return 1;
    if (walk->next == walk->count)
        r = ask(w, err);
    if (r < 0)
        return r;
    const struct vhdx_extent *e = &walk->extents[walk->next++];
    ret->length = min_u64(e->length, w->end - w->position);
    ret->kind = e->kind;
    return 1;
}

static void custom_walk_end(struct disk_walk *w)
{
    free(w->state);
}

static void custom_close(struct vhdx_disk *d)
{
    io_close(&custom_disk(d)->io);
    free(d);
}

static const struct disk_kind custom_kind = {
    .read = custom_read,
    .walk_begin = custom_walk_begin,
    .walk_next = custom_walk_next,
    .walk_end = custom_walk_end,
    .close = custom_close,
};

int disk_open_custom(struct vhdx_io *io, vhdx_io_extents *extents, const char *name,
                     struct vhdx_disk **ret, struct vhdx_error *err)
{
    struct custom_disk *c = calloc(1, sizeof *c);
    char *copy = strdup(name);
    uint64_t size = 0;

    int r = c && copy ? io_size(io, &size, err) : fail_nomem(err);
    if (r < 0) {
        fail_prefix(err, "%s: ", name);
        io_close(io);
        free(c);
        free(copy);
        return r;
    }
    c->disk = (struct vhdx_disk){ .kind = &custom_kind, .size = size, .name = copy };
    c->io = *io;
    c->extents = extents;
    *ret = &c->disk;
    return 0;
}
