/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The tables of one image, loaded as needed and verified as they are loaded: BAT entries and sector
 * bitmaps. Only core/map, which interprets them, and what counts them use this.
 */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include <stdbool.h>

#include "core/image.h"

/*
 * A stretch of the BAT read past the page cache, for walks over whole images: memory stays constant
 * however large the BAT. One walk of one image owns it.
 */
#define BAT_WINDOW_SIZE (64 * KIB)

struct bat_window {
    uint8_t *bytes; /* owned, BAT_WINDOW_SIZE; NULL until first used */
    uint64_t first; /* index of the first page in it */
    uint64_t count; /* pages in it */
    const uint8_t *page; /* the page used last, which is verified, or NULL */
    uint64_t page_index; /* its index */
};

void bat_window_end(struct bat_window *w);

/*
 * The BAT entry at index. window NULL: through the page cache. Otherwise a page that is not cached
 * is read into the window. VHDX_E_CORRUPT if the entry's page breaks a rule: a bad entry, or a
 * block that lies on another structure.
 */
int table_bat_entry(struct image *img, struct bat_window *window, uint64_t index,
                    uint64_t *ret_entry, struct vhdx_error *err);

/* The same for the reader's fast path: false when the page is not cached. */
static inline bool table_bat_entry_cached(const struct image *img, uint64_t index,
                                          uint64_t *ret_entry)
{
    const uint8_t *page = pages_get(&img->bat, index / (PAGE_SIZE / BAT_ENTRY_SIZE));

    if (!page)
        return false;
    const uint64_t *entries = (const uint64_t *)(const void *)page;
    *ret_entry =
        le64toh(__atomic_load_n(&entries[index % (PAGE_SIZE / BAT_ENTRY_SIZE)], __ATOMIC_RELAXED));
    return true;
}

/*
 * The sector bitmap's bits from a sector on: *ret_present is the bit of that sector, *ret_run how
 * many sectors from there have the same, at least 1 and at most max (> 0, within one chunk).
 * bitmap_offset: of the chunk's bitmap block in the file.
 */
int table_bitmap_run(struct image *img, uint64_t bitmap_offset, uint64_t sector, uint64_t max,
                     bool *ret_present, uint64_t *ret_run, struct vhdx_error *err);

/*
 * Verifies the whole BAT if it is small (LIMIT_BAT_VERIFIED_ON_OPEN), also that every partially
 * present block has its bitmap. A larger one is verified page by page as it is used.
 */
int table_verify_small(struct image *img, struct vhdx_error *err);

/* A partially present payload block whose bitmap block is not present. */
int table_fail_no_bitmap(const struct image *img, uint64_t block, struct vhdx_error *err);

#endif
