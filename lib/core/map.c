/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The one lookup; see map.h. */

#include "core/map.h"

#include <stdlib.h>

/* ---- One image ------------------------------------------------------------------------------ */

static enum map_kind kind_of_state(uint32_t state)
{
    switch (state) {
    case BLOCK_NOT_PRESENT: return MAP_PARENT;
    case BLOCK_FULLY_PRESENT: return MAP_DATA;
    default: return MAP_ZERO; /* UNDEFINED, ZERO, UNMAPPED: never the parent's */
    }
}

/*
 * Lengthens what was found in a block over the blocks behind it that say the same; data must lie on
 * behind it in the file. A table that cannot be loaded ends it: the error is for who gets there.
 */
static void extend(struct image *img, struct table_window *window, uint64_t block, uint64_t entry,
                   uint64_t end, struct map_level *level)
{
    const struct geometry *g = &img->geometry;
    uint64_t step = level->kind == MAP_DATA ? UINT64_C(1) << g->block_shift : 0;
    uint64_t last = (end - 1) >> g->block_shift;
    uint64_t next;

    while (level->until < end) {
        block++;
        if (table_bat_entry(img, window, bat_index_of_block(g, block), &next, NULL) < 0)
            return;
        if (next == entry + step) { /* most blocks just go on, to the end of page or chunk */
            uint64_t chunk_end = ((block >> g->chunk_shift) + 1) << g->chunk_shift;
            uint64_t n = table_bat_run(img, window, bat_index_of_block(g, block),
                                       min_u64(last + 1, chunk_end) - block, next, step);
            n = max_u64(n, 1);
            block += n - 1;
            next += (n - 1) * step;
        } else if (bat_state(next) == BLOCK_PARTIALLY_PRESENT ||
                   kind_of_state(bat_state(next)) != level->kind ||
                   (level->kind == MAP_DATA &&
                    bat_file_offset(next) != bat_file_offset(entry) + step)) {
            return;
        }
        entry = next;
        level->until = (block + 1) << g->block_shift;
    }
}

/* A partially present block: the sector bitmap decides, sector by sector. */
static int look_up_partial(struct image *img, struct table_window *window, uint64_t block,
                           uint64_t entry, uint64_t position, uint64_t end,
                           struct map_level *ret, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;
    uint64_t block_start = block << g->block_shift;
    uint64_t stop = min_u64(end, block_start + (UINT64_C(1) << g->block_shift));
    uint64_t sector = position >> g->sector_shift;
    uint64_t max = div_ceil(stop, UINT64_C(1) << g->sector_shift) - sector;
    uint64_t bitmap, run;
    bool present;

    int r = table_bitmap_entry(img, window, block, &bitmap, err);
    if (r < 0)
        return r;
    r = table_bitmap_run(img, window, bat_file_offset(bitmap), sector, max, &present, &run, err);
    if (r < 0)
        return r;
    ret->kind = present ? MAP_DATA : MAP_PARENT;
    ret->shift = bat_file_offset(entry) - block_start;
    ret->until = (sector + run) << g->sector_shift;
    return 0;
}

/* What the image says of position; looks no further than end. */
static int look_up(struct image *img, struct table_window *window, uint64_t position, uint64_t end,
                   struct map_level *ret, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;
    uint64_t block = position >> g->block_shift;
    uint64_t entry;

    int r = table_bat_entry(img, window, bat_index_of_block(g, block), &entry, err);
    if (r < 0)
        return r;
    if (bat_state(entry) == BLOCK_PARTIALLY_PRESENT)
        return look_up_partial(img, window, block, entry, position, end, ret, err);

    ret->kind = kind_of_state(bat_state(entry));
    ret->shift = bat_file_offset(entry) - (block << g->block_shift);
    ret->until = (block + 1) << g->block_shift;
    extend(img, window, block, entry, end, ret);
    return 0;
}

/* ---- The chain ------------------------------------------------------------------------------ */

void map_begin(struct map_iter *it, const struct chain *chain, struct table_window *windows,
               uint64_t offset, uint64_t len)
{
    it->chain = chain;
    it->position = offset;
    it->end = offset + len;
    it->windows = windows;
    for (uint32_t i = 0; i < chain->count; i++)
        it->levels[i].until = 0;
}

/* The image that decides what position holds, chain->count if none does; *until: how far. */
static int find_depth(struct map_iter *it, uint32_t *ret_depth, uint64_t *ret_until,
                      struct vhdx_error *err)
{
    uint64_t until = it->end;
    uint32_t depth;

    for (depth = 0; depth < it->chain->count; depth++) {
        struct image *img = it->chain->images[depth];
        struct map_level *level = &it->levels[depth];
        uint64_t size = img->geometry.virtual_size;

        if (it->position >= size) { /* past the end of a smaller parent: zeros */
            depth = it->chain->count;
            break;
        }
        if (level->until <= it->position) {
            int r = look_up(img, it->windows ? &it->windows[depth] : NULL, it->position,
                            min_u64(it->end, size), level, err);
            if (r < 0) {
                fail_prefix(err, "%s: ", image_name(img));
                return r;
            }
            level->until = min_u64(level->until, size);
        }
        until = min_u64(until, level->until);
        if (level->kind != MAP_PARENT)
            break;
    }
    *ret_depth = depth;
    *ret_until = until;
    return 0;
}

int map_next(struct map_iter *it, struct vhdx_extent *ret, struct vhdx_error *err)
{
    uint32_t depth;
    uint64_t until;

    if (it->position == it->end)
        return 0;
    int r = find_depth(it, &depth, &until, err);
    if (r < 0)
        return r;

    *ret = (struct vhdx_extent){ .offset = it->position, .length = until - it->position,
                                 .kind = VHDX_EXTENT_HOLE, .depth = depth,
                                 .file_offset = VHDX_OFFSET_NONE };
    if (depth == it->chain->count) {
        ret->depth = depth - 1;
    } else if (it->levels[depth].kind == MAP_DATA) {
        ret->kind = VHDX_EXTENT_DATA;
        ret->file_offset = it->position + it->levels[depth].shift;
    } else {
        ret->kind = VHDX_EXTENT_ZERO;
    }
    it->position = until;
    return 1;
}

static bool continues(const struct vhdx_extent *a, const struct vhdx_extent *b)
{
    if (a->kind != b->kind || a->depth != b->depth)
        return false;
    return a->kind != VHDX_EXTENT_DATA || a->file_offset + a->length == b->file_offset;
}

static int walk(struct map_iter *it, int (*fn)(const struct vhdx_extent *, void *), void *opaque,
                struct vhdx_error *err)
{
    struct vhdx_extent pending = { 0 }, next;
    int r;

    while ((r = map_next(it, &next, err)) > 0) {
        if (pending.length > 0 && continues(&pending, &next)) {
            pending.length += next.length;
            continue;
        }
        if (pending.length > 0 && (r = fn(&pending, opaque)) != 0)
            return r;
        pending = next;
    }
    if (r == 0 && pending.length > 0)
        r = fn(&pending, opaque);
    return r;
}

int map_walk(const struct chain *chain, uint64_t offset, uint64_t len,
             int (*fn)(const struct vhdx_extent *extent, void *opaque), void *opaque,
             struct vhdx_error *err)
{
    struct table_window *windows = calloc(chain->count, sizeof *windows);
    struct map_iter *it = malloc(sizeof *it);
    int r;

    if (windows && it) {
        map_begin(it, chain, windows, offset, len);
        r = walk(it, fn, opaque, err);
    } else {
        r = fail_nomem(err);
    }
    for (uint32_t i = 0; windows && i < chain->count; i++)
        table_window_end(&windows[i]);
    free(windows);
    free(it);
    return r;
}
