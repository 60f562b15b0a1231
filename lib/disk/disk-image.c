/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The flattened disk of an image; see disk.h. */

#include <stdlib.h>
#include <string.h>

#include "core/map.h"
#include "core/read.h"
#include "disk/disk.h"

struct image_disk {
    struct vhdx_disk disk; /* first */
    const struct chain *chain; /* borrowed */
};

/* A stretch of a file that has no hole. */
struct solid {
    const struct image *img;
    uint64_t start, end;
};

#define SOLIDS 16u

/* Some file systems look for a hole page by page. So much of a file is gone through for holes: so
   many times its size. Then the rest is read. */
#define SEEK_FACTOR 4u

/* A walk, over the whole BAT perhaps: through windows, past the page cache. */
struct image_walk {
    struct map_iter it;
    struct vhdx_extent rest;  /* of the extent that the last answer began; length 0: none */
    struct vhdx_extent ahead; /* the one after it, read already; length 0: none */
    struct solid solids[SOLIDS]; /* found last; blocks need not be in order in their file */
    unsigned next_solid;      /* the one that is forgotten next */
    uint64_t seeked;          /* bytes that were gone through for holes */
    struct table_window windows[];
};

/* Walks over less, and not over all, use the page cache: there may be many of them. */
#define WINDOW_FROM (1 * GIB)

static const struct chain *chain_of(const struct vhdx_disk *d)
{
    return ((const struct image_disk *)d)->chain;
}

static int image_disk_read(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset,
                           struct vhdx_error *err)
{
    return chain_read(chain_of(d), buf, len, offset, err);
}

static int image_walk_begin(struct vhdx_disk *d, struct disk_walk *w, struct vhdx_error *err)
{
    const struct chain *c = chain_of(d);
    uint64_t len = w->end - w->position;
    struct image_walk *walk = calloc(1, sizeof *walk + c->count * sizeof walk->windows[0]);

    if (!walk)
        return fail_nomem(err);
    bool is_long = len >= WINDOW_FROM || len == d->size;
    map_begin(&walk->it, c, is_long ? walk->windows : NULL, w->position, len);
    w->state = walk;
    return 0;
}

/* Bytes that a log holds, or that the end of the file cuts short, are not the file's own. */
static void find_file(const struct chain *c, const struct vhdx_extent *e, struct disk_extent *ret)
{
    const struct image *img = c->images[e->depth];

    ret->has_file = false;
    ret->fd = -1;
    if (e->kind != VHDX_EXTENT_DATA || img->overlay || !img->has_id ||
        e->file_offset > image_size(img) || e->length > image_size(img) - e->file_offset)
        return;
    ret->fd = file_descriptor(&img->io);
    ret->has_file = ret->fd >= 0;
    ret->file = img->id;
    ret->file_offset = e->file_offset;
}

/* Whether b goes on where a ends. */
static bool is_continuation(const struct vhdx_extent *a, const struct vhdx_extent *b)
{
    return a->kind == b->kind &&
           (a->kind != VHDX_EXTENT_DATA ||
            (a->depth == b->depth && a->file_offset + a->length == b->file_offset));
}

/* The next extent, with all that goes on where it ends: 1, 0 at the end, negative. */
static int next_joined(struct disk_walk *w, struct vhdx_extent *e, struct vhdx_error *err)
{
    struct image_walk *walk = w->state;
    int r = 1;

    *e = walk->ahead;
    walk->ahead.length = 0;
    if (e->length == 0)
        r = map_next(&walk->it, e, err);
    while (r > 0 && e->offset + e->length < w->end) {
        r = map_next(&walk->it, &walk->ahead, err);
        if (r <= 0 || !is_continuation(e, &walk->ahead))
            break;
        e->length += walk->ahead.length;
        walk->ahead.length = 0;
    }
    return r < 0 ? r : 1;
}

/* Where what is known to have no hole ends; 0: nothing is known of offset. */
static uint64_t solid_end(const struct image_walk *walk, const struct image *img, uint64_t offset)
{
    const struct solid *s = walk->solids;

    for (unsigned i = 0; i < SOLIDS; i++)
        if (s[i].img == img && offset >= s[i].start && offset < s[i].end)
            return s[i].end;
    return 0;
}

/* The next hole behind offset, where there is data. */
static uint64_t find_hole(struct image_walk *walk, const struct image *img, uint64_t offset)
{
    struct solid *s = walk->solids;
    uint64_t end = file_next_hole(&img->io, offset);

    walk->seeked += min_u64(end, image_size(img)) - min_u64(offset, image_size(img));
    for (unsigned i = 0; i < SOLIDS; i++)
        if (s[i].img == img && s[i].end == end) {
            s[i].start = offset;
            return end;
        }
    s[walk->next_solid++ % SOLIDS] = (struct solid){ img, offset, end };
    return end;
}

/*
 * Blocks are written to in parts, and fixed images hardly at all: what is a hole of the file in a
 * block is zeros that need not be read. Finding the next hole can cost as much as it is far away,
 * so what is known to have none is not asked for again, and not too much is asked for in all.
 */
static void cut_at_hole(struct image_walk *walk, const struct image *img, struct disk_extent *e)
{
    uint64_t at = e->file_offset, end = solid_end(walk, img, at);

    if (end == 0 && walk->seeked / SEEK_FACTOR >= image_size(img))
        return;
    if (end == 0) {
        end = file_next_data(&img->io, at);
        if (end > at) {
            e->kind = VHDX_EXTENT_ZERO;
            e->has_file = false;
        } else {
            end = find_hole(walk, img, at);
        }
    }
    if (end > at)
        e->length = min_u64(e->length, end - at);
}

static int image_walk_next(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err)
{
    struct image_walk *walk = w->state;
    const struct chain *c = chain_of(w->disk);
    struct vhdx_extent *e = &walk->rest;
    int r = 0;

    if (e->length == 0)
        r = next_joined(w, e, err);
    if (r < 0)
        return r;
    *ret = (struct disk_extent){ .offset = e->offset, .length = e->length, .kind = e->kind };
    find_file(c, e, ret);
    if (ret->has_file)
        cut_at_hole(walk, c->images[e->depth], ret);
    e->offset += ret->length;
    e->file_offset += ret->length;
    e->length -= ret->length;
    return 1;
}

static void image_walk_end(struct disk_walk *w)
{
    struct image_walk *walk = w->state;
    const struct chain *c = chain_of(w->disk);

    for (uint32_t i = 0; i < c->count; i++)
        table_window_end(&walk->windows[i]);
    free(walk);
}

static size_t image_disk_file_ids(const struct vhdx_disk *d,
                                  struct file_id ret_ids[LIMIT_CHAIN_LENGTH])
{
    return chain_file_ids(chain_of(d), ret_ids);
}

static void image_disk_close(struct vhdx_disk *d)
{
    free(d);
}

static const struct disk_kind image_kind = {
    .read = image_disk_read,
    .walk_begin = image_walk_begin,
    .walk_next = image_walk_next,
    .walk_end = image_walk_end,
    .file_ids = image_disk_file_ids,
    .close = image_disk_close,
};

int disk_of_image(struct vhdx *v, struct vhdx_disk **ret, struct vhdx_error *err)
{
    const struct image *img = v->chain.images[0];
    struct image_disk *d = malloc(sizeof *d);
    char *name = strdup(image_name(img));

    if (!d || !name) {
        free(d);
        free(name);
        return fail_nomem(err);
    }
    *d = (struct image_disk){
        .disk = { .kind = &image_kind,
                  .size = img->geometry.virtual_size,
                  .name = name,
                  .logical_sector_size = img->metadata.logical_sector_size,
                  .physical_sector_size = img->metadata.physical_sector_size },
        .chain = &v->chain,
    };
    *ret = &d->disk;
    return 0;
}
