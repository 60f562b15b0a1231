/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Pages of 4 KiB that are loaded when they are first needed and then stay: the BAT, the sector
 * bitmaps. A page is found by one atomic load; nobody waits for anybody. Two threads that miss
 * together both read the page, and one of the copies is kept.
 */
#ifndef CORE_PAGES_H
#define CORE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "util/bits.h"
#include "util/fail.h"

#define PAGE_SIZE (4 * KIB)

struct page {
    struct page *next; /* of those that are loaded, so that ending costs nothing for the others */
    struct page *next_dirty; /* core/commit's */
    uint64_t file_offset;    /* where it belongs; set when it first becomes dirty */
    bool is_dirty;           /* changed since the last commit */
    _Alignas(16) uint8_t bytes[PAGE_SIZE];
};

struct pages {
    uint64_t count;
    struct page **directory; /* owned; atomic pointers, NULL: not loaded */
    struct page *loaded;     /* atomic head of the list of pages, which are owned */
};

/*
 * Address space for bytes that read as zeros and take no memory until they are written to. calloc()
 * does not promise that: space that the process has freed before, it clears, which for the tables
 * of a 64 TiB image costs milliseconds and 9 MiB. NULL when there is none.
 */
void *zeros_reserve(uint64_t bytes);

/* NULL is fine. */
void zeros_release(void *zeros, uint64_t bytes);

/* Address space for count pointers; no memory until they are touched. */
int pages_init(struct pages *p, uint64_t count, struct vhdx_error *err);

void pages_end(struct pages *p);

/* The page, or NULL when it is not loaded. For those who change pages: see core/commit.h. */
static inline struct page *pages_get_page(const struct pages *p, uint64_t index)
{
    return __atomic_load_n(&p->directory[index], __ATOMIC_ACQUIRE);
}

/* Its bytes, or NULL. Others may be changing them: read words atomically. */
static inline const uint8_t *pages_get(const struct pages *p, uint64_t index)
{
    const struct page *page = pages_get_page(p, index);

    return page ? page->bytes : NULL;
}

/* Publishes a loaded page, which must come from malloc, and returns the one to use: it, or that of
   another thread that was quicker. */
const uint8_t *pages_install(struct pages *p, uint64_t index, struct page *page);

#endif
