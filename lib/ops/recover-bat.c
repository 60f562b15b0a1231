/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* How well a stretch of the file fits as a BAT; see recover.h. */

#include <stdlib.h>

#include "ops/recover.h"
#include "util/cleanup.h"
#include "util/iszero.h"

#define WINDOW_SIZE (64 * KIB)
#define WINDOW_ENTRIES (WINDOW_SIZE / BAT_ENTRY_SIZE)

struct fitting {
    struct recover *rc;
    const struct recover_bat *bat;
    struct recover_fit *f;
    struct geometry g;     /* only what the interleaving needs */
    struct space space;    /* claimed by the blocks */
    struct le64 *window;   /* owned, WINDOW_ENTRIES */
    uint64_t limit;        /* entries up to the next structure */
    uint64_t last_used;    /* index + 1 */
    bool was_present;      /* the last payload entry was */
    uint64_t partial;      /* partially present blocks of this chunk so far */
    bool slot_is_open;     /* an empty slot stands behind one */
};

static uint64_t block_size(const struct fitting *t, bool is_bitmap)
{
    return is_bitmap ? BITMAP_BLOCK_SIZE : UINT64_C(1) << t->bat->block_shift;
}

static bool is_owned(const struct space *s, uint64_t offset)
{
    uint64_t mib = offset / MIB;

    return mib < s->size_mib && (s->owned[mib / 64] >> mib % 64 & 1);
}

/* ---- Entries -------------------------------------------------------------------------------- */

static bool entry_is_bad(const struct fitting *t, uint64_t index, uint64_t entry)
{
    return bat_entry_problem(&t->g, index, entry) != 0;
}

/* A block that is present takes its place. */
static void place(struct fitting *t, uint64_t entry, bool is_bitmap)
{
    struct recover_fit *f = t->f;
    uint64_t offset = bat_file_offset(entry), len = block_size(t, is_bitmap);

    /* The BAT ends before the first block behind it. */
    if (offset > t->bat->offset)
        t->limit = min_u64(t->limit, (offset - t->bat->offset) / BAT_ENTRY_SIZE);
    if (offset + len <= LIMIT_FILE_SIZE - GIB)
        f->highest_end = max_u64(f->highest_end, offset + len);
    if (offset >= t->rc->size)
        f->past++;
    else if (space_claim(&t->space, offset, len))
        f->present++;
    else
        f->overlaps++;
}

static void take_entry(struct fitting *t, uint64_t index, uint64_t entry)
{
    struct recover_fit *f = t->f;
    uint64_t number;
    bool is_bitmap = bat_index_is_bitmap(&t->g, index, &number);

    if (is_bitmap) {
        f->bad += bat_is_present(entry) ? 0 : t->partial; /* they need it */
        t->partial = 0;
        t->slot_is_open = entry == 0 && t->was_present;
    } else {
        bool present = bat_is_present(entry) && (entry & BAT_RESERVED_BITS) == 0;
        f->witnessed += t->slot_is_open && present;
        t->slot_is_open = false;
        t->was_present = present;
    }
    if (entry == 0)
        return;
    f->used++;
    t->last_used = index + 1;
    bool is_partial = !is_bitmap && (entry & (MIB - 1)) == BLOCK_PARTIALLY_PRESENT;
    f->partial += is_partial;
    t->partial += is_partial && t->bat->has_parent;
    if (entry_is_bad(t, index, entry) ||
        (!is_bitmap && t->bat->blocks != 0 && number >= t->bat->blocks)) {
        f->bad++;
        return;
    }
    if (!is_bitmap)
        f->last_block = number;
    if (bat_is_present(entry))
        place(t, entry, is_bitmap);
}

/* ---- Going through them --------------------------------------------------------------------- */

static int read_window(struct fitting *t, uint64_t first, uint64_t count, struct vhdx_error *err)
{
    if (t->rc->entries_left < count)
        return fail(err, VHDX_E_LIMIT, t->bat->offset,
                    "too much in this file looks like a BAT: bat_offset and block_size must be "
                    "given");
    t->rc->entries_left -= count;
    return io_pread(t->rc->io, t->window, (size_t)count * BAT_ENTRY_SIZE,
                    t->bat->offset + first * BAT_ENTRY_SIZE, err);
}

/* Where nothing says how long the BAT is, it ends with what can be no part of one. */
static bool is_foreign(const struct fitting *t, uint64_t first, uint64_t count)
{
    uint64_t used = 0, bad = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t entry = le64_get(t->window[i]);
        used += entry != 0;
        bad += entry != 0 && entry_is_bad(t, first + i, entry);
    }
    return bad > used / 2;
}

static int first_pass(struct fitting *t, struct vhdx_error *err)
{
    for (uint64_t first = 0, count; first < t->limit; first += count) {
        count = min_u64(WINDOW_ENTRIES, t->limit - first);
        int r = read_window(t, first, count, err);
        if (r < 0)
            return r;
        if (t->bat->wanted == 0 && first > 0 && is_foreign(t, first, count)) {
            t->limit = first;
            break;
        }
        for (uint64_t i = 0; i < count && first + i < t->limit; i++)
            take_entry(t, first + i, le64_get(t->window[i]));
    }
    t->f->bad += t->partial; /* their chunk's bitmap was not reached */
    t->f->entries = t->limit;
    return 0;
}

/* Behind the last entry of a BAT whose length is known nothing should stand in its MiB. */
static int look_behind(struct fitting *t, struct vhdx_error *err)
{
    uint64_t end = align_up(t->limit * BAT_ENTRY_SIZE, MIB) / BAT_ENTRY_SIZE;
    uint64_t left = (t->rc->size - t->bat->offset) / BAT_ENTRY_SIZE;

    if (t->bat->wanted == 0 || t->limit < t->bat->wanted)
        return 0;
    end = min_u64(end, left);
    for (uint64_t first = t->limit, count; first < end; first += count) {
        count = min_u64(WINDOW_ENTRIES, end - first);
        int r = read_window(t, first, count, err);
        if (r < 0)
            return r;
        for (uint64_t i = 0; i < count; i++) {
            bool is_used = le64_get(t->window[i]) != 0;
            t->f->bad += is_used;
            t->f->used += is_used;
        }
    }
    return 0;
}

/* Which blocks end where another begins? Only now all of them are known. */
static int second_pass(struct fitting *t, struct vhdx_error *err)
{
    uint64_t end_of_file = align_up(t->rc->size, MIB);

    for (uint64_t first = 0, count; first < t->last_used; first += count) {
        count = min_u64(WINDOW_ENTRIES, t->last_used - first);
        int r = read_window(t, first, count, err);
        if (r < 0)
            return r;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t entry = le64_get(t->window[i]), number;
            if (!bat_is_present(entry) || entry_is_bad(t, first + i, entry))
                continue;
            bool is_bitmap = bat_index_is_bitmap(&t->g, first + i, &number);
            uint64_t end = bat_file_offset(entry) + block_size(t, is_bitmap);
            t->f->adjacent += end == end_of_file || is_owned(&t->space, end);
        }
    }
    return 0;
}

/* ---- What else lies in its blocks ----------------------------------------------------------- */

static void look_at_owned(struct fitting *t)
{
    const struct recover *rc = t->rc;
    struct recover_fit *f = t->f;
    uint64_t length = (t->bat->wanted ? f->entries : t->last_used) * BAT_ENTRY_SIZE;
    uint64_t end = t->bat->offset + max_u64(length, 1);

    for (uint64_t at = t->bat->offset; at < end; at += MIB)
        f->owns_itself = f->owns_itself || is_owned(&t->space, at);
    for (uint32_t i = 0; i < rc->bats_count; i++) {
        uint64_t at = rc->bats[i];
        if (is_owned(&t->space, at) || (at > t->bat->offset && at < end))
            f->owned_candidates |= UINT64_C(1) << i;
    }
    for (uint32_t i = 0; i < rc->metadata_count; i++) {
        uint64_t at = rc->metadata[i].offset;
        if (is_owned(&t->space, at) || (at >= t->bat->offset && at < end))
            f->owned_metadata |= 1u << i;
    }
    if (!rc->data.owned)
        return;
    for (uint64_t at = t->bat->offset; at < end; at += MIB)
        f->data -= recover_has_data(rc, at / MIB); /* given back below */
    for (uint64_t i = 0; i <= (rc->data.size_mib - 1) / 64; i++) {
        f->data += (uint64_t)__builtin_popcountll(rc->data.owned[i]);
        f->covered += (uint64_t)__builtin_popcountll(rc->data.owned[i] & t->space.owned[i]);
    }
}

int recover_fit(struct recover *rc, const struct recover_bat *bat, struct recover_fit *ret,
                struct vhdx_error *err)
{
    CLEANUP_FREE struct le64 *window = malloc(WINDOW_SIZE);
    struct recover_fit f = { .last_block = UINT64_MAX };
    struct fitting t = {
        .rc = rc, .bat = bat, .f = &f, .window = window,
        .g = { .block_shift = bat->block_shift, .sector_shift = bat->sector_shift,
               .chunk_shift = bat->chunk_shift, .has_parent = bat->has_parent },
        .limit = min_u64(bat->entries, (rc->size - bat->offset) / BAT_ENTRY_SIZE),
    };

    if (!window)
        return fail_nomem(err);
    int r = space_init(&t.space, rc->size, err);
    if (r == 0)
        r = first_pass(&t, err);
    if (r == 0)
        r = look_behind(&t, err);
    if (r == 0)
        r = second_pass(&t, err);
    if (r == 0) {
        look_at_owned(&t);
        *ret = f;
    }
    space_end(&t.space);
    return r;
}
