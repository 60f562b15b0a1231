/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Cutting two disks into units; see compare-units.h. */

#include "ops/compare-units.h"

/* Behind the end of a disk. */
static const struct disk_extent nothing = { .length = UINT64_MAX, .kind = VHDX_EXTENT_HOLE };

static uint64_t end_of(const struct disk_extent *e)
{
    return e->offset + e->length;
}

/* Moves on to the extent that offset is in. */
static int side_move(struct compare_side *s, uint64_t offset, struct vhdx_error *err)
{
    while (end_of(&s->extent) <= offset) {
        int r = disk_walk_next(&s->walk, &s->extent, err);
        if (r < 0)
            return r;
        if (r == 0)
            s->extent = nothing;
    }
    return 0;
}

static bool is_data(const struct disk_extent *e)
{
    return e->kind == VHDX_EXTENT_DATA;
}

/* Whether two extents, at an offset that both reach over, are the same bytes of one file. */
static bool is_same_place(const struct disk_extent *a, const struct disk_extent *b,
                          uint64_t offset)
{
    return a->has_file && b->has_file && file_id_equal(&a->file, &b->file) &&
           a->file_offset + (offset - a->offset) == b->file_offset + (offset - b->offset);
}

/* Whether nothing needs a look up to the end of the shorter one of the extents. */
static bool is_skipped(const struct compare_units *u)
{
    const struct disk_extent *a = &u->sides[0].extent, *b = &u->sides[1].extent;

    return is_data(a) ? is_data(b) && is_same_place(a, b, u->position) : !is_data(b);
}

static void make_unit(const struct compare_units *u, uint64_t end, struct compare_unit *ret)
{
    const struct disk_extent *a = &u->sides[0].extent, *b = &u->sides[1].extent;
    uint64_t limit = min_u64(u->size, align_down(u->position, COMPARE_UNIT) + COMPARE_UNIT);

    *ret = (struct compare_unit){
        .offset = u->position,
        .with_data = (is_data(a) ? COMPARE_A : 0) | (is_data(b) ? COMPARE_B : 0),
        .is_mismatch = is_data(a) != is_data(b),
        .is_local = (!is_data(a) || a->has_file) && (!is_data(b) || b->has_file),
    };
    end = min_u64(end, limit);
    if (end < u->size)
        end = align_down(end, u->grain);
    if (end == u->position) {
        /* An extent ends within this grain: whatever is in it, it is read. */
        end = min_u64(limit, u->position + u->grain);
        ret->with_data = COMPARE_A | COMPARE_B;
    }
    ret->length = end - u->position;
}

/* Only whole grains are skipped, or up to the end. */
static uint64_t skip_end(const struct compare_units *u, uint64_t end)
{
    return end >= u->size ? u->size : align_down(end, u->grain);
}

int compare_units_next(struct compare_units *u, struct compare_unit *ret, struct vhdx_error *err)
{
    uint64_t position = u->position;

    while (position < u->size) {
        int r = side_move(&u->sides[0], position, err);
        if (r == 0)
            r = side_move(&u->sides[1], position, err);
        if (r < 0)
            return r;
        uint64_t end = min_u64(end_of(&u->sides[0].extent), end_of(&u->sides[1].extent));
        bool skip = is_skipped(u) && skip_end(u, end) > position;
        if (!skip) {
            make_unit(u, end, ret);
            position = ret->offset + ret->length;
        } else {
            position = skip_end(u, end);
        }
        __atomic_store_n(&u->position, position, __ATOMIC_RELAXED);
        if (!skip)
            return 1;
    }
    return 0;
}

int compare_units_begin(struct vhdx_disk *a, struct vhdx_disk *b, uint64_t size, uint32_t grain,
                        struct compare_units *ret, struct vhdx_error *err)
{
    *ret = (struct compare_units){ .sides = { { .disk = a }, { .disk = b } },
                                   .size = size,
                                   .grain = grain };

    int r = disk_walk_begin(a, 0, a->size, &ret->sides[0].walk, err);
    return r < 0 ? r : disk_walk_begin(b, 0, b->size, &ret->sides[1].walk, err);
}

void compare_units_end(struct compare_units *u)
{
    disk_walk_end(&u->sides[0].walk);
    disk_walk_end(&u->sides[1].walk);
}
