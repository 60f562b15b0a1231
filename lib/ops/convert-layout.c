/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* An image written in bulk; see convert-layout.h. */

#include "ops/convert-layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

#define ENTRIES_PER_WRITE 512u /* 4 KiB */
#define WORD_BITS 64u
#define WORDS_MIN 64u

static int place(struct target *t, uint64_t offset, uint64_t *ret_place, struct vhdx_error *err)
{
    struct layout *l = (struct layout *)t;

    int r = layout_add(l, offset, err);
    if (r == 0)
        *ret_place = l->plan.payload_offset + ((l->count - 1) << l->plan.geometry.block_shift);
    return r;
}

static int make_plan(struct layout *l, uint64_t size, struct vhdx_error *err)
{
    uint32_t sector = l->options.logical_sector_size == 4096 ? 4096 : 512;

    create_plan_free(&l->plan);
    l->plan = (struct create_plan){ 0 };
    if (size > LIMIT_VIRTUAL_SIZE)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "the disk is %llu bytes large, a VHDX "
                    "image's is at most 64 TiB", (unsigned long long)size);
    l->options.size = align_up(size, sector);
    return create_plan_make(&l->plan, &l->options, NULL, NULL, err);
}

int layout_begin(struct layout *l, const struct vhdx_disk *from,
                 const struct vhdx_convert_options *opts, struct vhdx_error *err)
{
    if (opts->create)
        l->options = *opts->create;
    l->options.flags = 0;
    create_options_of_disk(&l->options, from);
    /* For a size that is not known one is taken whose BAT takes the least; it may move later. */
    int r = make_plan(l, disk_is_stream(from) ? MIB : from->size, err);
    if (r < 0)
        return r;
    l->target.unit = UINT64_C(1) << l->plan.geometry.block_shift;
    l->target.base = l->plan.payload_offset;
    if (!l->plan.metadata.leave_allocated)
        l->target.place = place;
    return 0;
}

void layout_free(struct layout *l)
{
    create_plan_free(&l->plan);
    free(l->present);
    l->present = NULL;
}

int layout_set_size(struct layout *l, uint64_t size, struct vhdx_error *err)
{
    uint64_t payload = l->plan.payload_offset;

    int r = make_plan(l, size, err);
    if (r < 0 || l->plan.payload_offset == payload)
        return r;
    /* The BAT does not fit before the payload: it goes behind it. */
    uint64_t blocks = l->plan.metadata.leave_allocated ? l->plan.geometry.payload_blocks
                                                       : l->count;
    l->plan.payload_offset = payload;
    l->plan.bat_offset = payload + (blocks << l->plan.geometry.block_shift);
    l->plan.file_size = l->plan.bat_offset + l->plan.bat_length;
    return 0;
}

int layout_add(struct layout *l, uint64_t offset, struct vhdx_error *err)
{
    uint64_t block = offset >> l->plan.geometry.block_shift, word = block / WORD_BITS;

    if (l->count > 0 && l->last == block)
        return 0;
    if (word >= l->words) {
        uint64_t words = max_u64(max_u64(WORDS_MIN, word + 1), 2 * l->words);
        uint64_t *grown = realloc(l->present, words * sizeof *grown);
        if (!grown)
            return fail_nomem(err);
        memset(grown + l->words, 0, (words - l->words) * sizeof *grown);
        l->present = grown;
        l->words = words;
    }
    l->present[word] |= UINT64_C(1) << block % WORD_BITS;
    l->last = block;
    l->count++;
    return 0;
}

void layout_reset(struct layout *l)
{
    if (l->words > 0)
        memset(l->present, 0, l->words * sizeof *l->present);
    l->count = 0;
}

uint64_t layout_file_size(const struct layout *l)
{
    uint64_t end = l->plan.payload_offset + (l->count << l->plan.geometry.block_shift);

    if (l->plan.metadata.leave_allocated)
        return l->plan.file_size;
    return max_u64(end, l->plan.bat_offset + l->plan.bat_length);
}

bool layout_has(const struct layout *l, uint64_t block)
{
    return block / WORD_BITS < l->words &&
           (l->present[block / WORD_BITS] >> block % WORD_BITS & 1) != 0;
}

void layout_fill_bat(const struct layout *l, uint64_t first, uint64_t count,
                     uint64_t *block_count, struct le64 *ret)
{
    const struct geometry *g = &l->plan.geometry;

    for (uint64_t i = 0, block; i < count; i++) {
        bool is_bitmap = bat_index_is_bitmap(g, first + i, &block);
        if (is_bitmap || !layout_has(l, block)) {
            ret[i] = le64_make(0);
            continue;
        }
        uint64_t at = l->plan.payload_offset + (*block_count << g->block_shift);
        ret[i] = le64_make(at | BLOCK_FULLY_PRESENT);
        ++*block_count;
    }
}

/* Whether no payload block of these BAT entries is present: most of a large disk, at a word's
   cost. */
static bool is_empty(const struct layout *l, uint64_t first, uint64_t count)
{
    uint64_t chunk_entries = (UINT64_C(1) << l->plan.geometry.chunk_shift) + 1;
    uint64_t block = first - first / chunk_entries; /* or an earlier one */
    uint64_t end = block + count;                   /* or a later one */

    for (uint64_t word = block / WORD_BITS; word <= end / WORD_BITS && word < l->words; word++)
        if (l->present[word] != 0)
            return false;
    return true;
}

/* The file is zeros so far: entries of blocks without a place are there already. */
static int write_bat(const struct layout *l, const struct vhdx_io *io, struct vhdx_error *err)
{
    struct le64 entries[ENTRIES_PER_WRITE];
    uint64_t done = 0;
    int r = 0;

    for (uint64_t first = 0, n; done < l->count && r == 0; first += n) {
        assert(first < l->plan.geometry.bat_entries);
        n = min_u64(ENTRIES_PER_WRITE, l->plan.geometry.bat_entries - first);
        if (is_empty(l, first, n))
            continue;
        layout_fill_bat(l, first, n, &done, entries);
        r = io_pwrite(io, entries, (size_t)n * BAT_ENTRY_SIZE,
                      l->plan.bat_offset + first * BAT_ENTRY_SIZE, err);
    }
    return r;
}

int layout_write_tables(const struct layout *l, const struct vhdx_io *io, struct vhdx_error *err)
{
    int r = create_plan_write_head(io, &l->plan, err);

    if (r < 0)
        return r;
    return l->plan.metadata.leave_allocated ? create_plan_write_fixed_bat(io, &l->plan, err)
                                            : write_bat(l, io, err);
}
