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
 * Stretches of the tables read past the page cache, for walks over whole images: memory stays
 * constant however large the image. One walk of one image owns it.
 */
#define TABLE_WINDOW_SIZE (64 * KIB)

struct table_window {
    uint8_t *bat;             /* owned, TABLE_WINDOW_SIZE bytes; NULL until first used */
    uint64_t bat_first;       /* index of the first BAT page in it */
    uint64_t bat_count;       /* pages in it */
    const uint8_t *bat_page;  /* the page used last, which is verified, or NULL */
    uint64_t bat_page_index;

    uint8_t *bitmap;          /* owned, likewise */
    uint64_t bitmap_first;    /* index of the first bitmap page in it */
    uint64_t bitmap_count;

    bool has_bitmap_entry;    /* the BAT entry of a chunk's bitmap, far from the others */
    uint64_t chunk, bitmap_entry;
};

void table_window_end(struct table_window *w);

/* The BAT entry at index, if its page is cached: the reader's fast path. */
static inline bool table_bat_entry_cached(const struct image *img, uint64_t index,
                                          uint64_t *ret_entry)
{
    const uint8_t *page = pages_get(&img->bat, index / (PAGE_SIZE / BAT_ENTRY_SIZE));

    if (!page)
        return false;
    const uint64_t *entries = (const uint64_t *)(const void *)page;
    *ret_entry =
        le64toh(__atomic_load_n(&entries[index % (PAGE_SIZE / BAT_ENTRY_SIZE)], __ATOMIC_ACQUIRE));
    return true;
}

/* The slow half of table_bat_entry(): reads and verifies the page. */
int table_bat_load(struct image *img, struct table_window *window, uint64_t index,
                   uint64_t *ret_entry, struct vhdx_error *err);

/*
 * The BAT entry at index. window NULL: through the page cache. Otherwise a page that is not cached
 * is read into the window. VHDX_E_CORRUPT if the entry's page breaks a rule: a bad entry, or a
 * block that lies on another structure.
 */
static inline int table_bat_entry(struct image *img, struct table_window *window, uint64_t index,
                                  uint64_t *ret_entry, struct vhdx_error *err)
{
    const uint64_t per_page = PAGE_SIZE / BAT_ENTRY_SIZE;

    if (table_bat_entry_cached(img, index, ret_entry))
        return 0;
    if (!window || !window->bat_page || window->bat_page_index != index / per_page)
        return table_bat_load(img, window, index, ret_entry, err);
    const uint64_t *entries = (const uint64_t *)(const void *)window->bat_page;
    *ret_entry = le64toh(entries[index % per_page]);
    return 0;
}

/*
 * How many entries from index on, at most max, are entry, entry + step, entry + 2 * step and so on.
 * Looks only at what is loaded, and only at the page that index lies in: may be too few, also 0.
 */
uint64_t table_bat_run(const struct image *img, const struct table_window *window, uint64_t index,
                       uint64_t max, uint64_t entry, uint64_t step);

/* The BAT entry of the sector bitmap block of a partially present payload block; VHDX_E_CORRUPT if
   there is none. */
int table_bitmap_entry(struct image *img, struct table_window *window, uint64_t block,
                       uint64_t *ret_entry, struct vhdx_error *err);

/*
 * The sector bitmap's bits from a sector of the disk on: *ret_present is the bit of that sector,
 * *ret_run how many sectors from there have the same, at least 1 and at most max (> 0, within one
 * chunk). bitmap_offset: of the chunk's bitmap block in the file.
 */
int table_bitmap_run(struct image *img, struct table_window *window, uint64_t bitmap_offset,
                     uint64_t sector, uint64_t max, bool *ret_present, uint64_t *ret_run,
                     struct vhdx_error *err);

/*
 * Changes the BAT entry at index, whose page is cached because it has been read through the cache.
 * Its readers see the old or the new one. The caller holds the writer's lock.
 */
void table_set_bat_entry(struct image *img, uint64_t index, uint64_t entry);

/* Sets or clears the bits of count sectors of the disk, all of one chunk. The caller holds
   the writer's lock; readers see each bit's old or new value. */
int table_set_bitmap(struct image *img, uint64_t bitmap_offset, uint64_t sector, uint64_t count,
                     bool present, struct vhdx_error *err);

/*
 * Verifies the whole BAT if it is small (LIMIT_BAT_VERIFIED_ON_OPEN), also that every partially
 * present block has its bitmap. A larger one is verified page by page as it is used.
 */
int table_verify_small(struct image *img, struct vhdx_error *err);

#endif
