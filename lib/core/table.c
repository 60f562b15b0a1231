/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The tables of one image; see table.h. */

#include "core/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/writer.h"
#include "util/cleanup.h"
#include "util/limits.h"

#define ENTRIES_PER_PAGE (PAGE_SIZE / BAT_ENTRY_SIZE)
#define SECTORS_PER_PAGE (PAGE_SIZE * 8)
#define PAGES_PER_BITMAP (BITMAP_BLOCK_SIZE / PAGE_SIZE)

void table_window_end(struct table_window *w)
{
    free(w->bat);
    free(w->bitmap);
    *w = (struct table_window){ 0 };
}

/* Of a page that may be shared: a writer may be changing the entry. */
static uint64_t entry_in(const uint8_t *page, uint64_t i)
{
    const uint64_t *entries = (const uint64_t *)(const void *)page;

    return le64toh(__atomic_load_n(&entries[i], __ATOMIC_ACQUIRE));
}

/* ---- Verifying a page of the BAT ------------------------------------------------------------ */

static uint64_t block_length(const struct image *img, uint64_t index)
{
    uint64_t number;

    if (bat_index_is_bitmap(&img->geometry, index, &number))
        return BITMAP_BLOCK_SIZE;
    return UINT64_C(1) << img->geometry.block_shift;
}

/* Claims the block's space. What is not present may own space too (an anchor), but shows none. */
static int claim_block(struct image *img, uint64_t index, uint64_t entry, uint64_t at,
                       struct vhdx_error *err)
{
    uint64_t offset = bat_file_offset(entry), len = block_length(img, index);
    char name[BAT_NAME_SIZE];

    if (image_claim(img, offset, len))
        return 0;
    bat_entry_name(&img->geometry, index, name);
    return fail(err, VHDX_E_CORRUPT, at,
                "BAT entry %" PRIu64 " (%s): file range %#" PRIx64 " + %" PRIu64
                " overlaps the log, a region or another block", index, name, offset, len);
}

static void release_blocks(struct image *img, uint64_t first, uint64_t count, const uint8_t *page)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t entry = entry_in(page, i);
        if (bat_is_present(entry))
            space_release(&img->space, bat_file_offset(entry), block_length(img, first + i));
    }
}

/* How many payload blocks from entry i on, a present one, lie one behind the other in the file. */
static uint64_t joined_blocks(const struct image *img, uint64_t first, uint64_t i, uint64_t count,
                              const uint8_t *page)
{
    const struct geometry *g = &img->geometry;
    uint64_t entry = entry_in(page, i), n = 1;

    if (i + 1 == count || entry_in(page, i + 1) != entry + (n << g->block_shift))
        return 1; /* without a division */
    uint64_t end = min_u64(count, bat_next_bitmap_index(g, first + i) - first);
    while (i + n < end && entry_in(page, i + n) == entry + (n << g->block_shift))
        n++;
    return n;
}

/* Whether no block of the page lies on another structure. A page that fails claims nothing, so that
   it fails in the same way each time. */
static int claim_entries(struct image *img, uint64_t first, uint64_t count, uint64_t at,
                         const uint8_t *page, struct vhdx_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t entry = entry_in(page, i);
        if (!bat_is_present(entry))
            continue;
        uint64_t n = joined_blocks(img, first, i, count, page);
        if (n > 1 &&
            image_claim(img, bat_file_offset(entry), n << img->geometry.block_shift)) {
            i += n - 1;
            continue;
        }
        /* One of them may lie on something: block by block, to say which. */
        int r = claim_block(img, first + i, entry, at + i * BAT_ENTRY_SIZE, err);
        if (r < 0) {
            release_blocks(img, first, i, page);
            return r;
        }
    }
    return 0;
}

static int verify_entries(const struct image *img, uint64_t first, uint64_t count, uint64_t at,
                          const uint8_t *page, struct vhdx_error *err)
{
    uint64_t bitmap = bat_next_bitmap_index(&img->geometry, first);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t entry = entry_in(page, i);
        if (first + i == bitmap)
            bitmap = bat_next_bitmap_index(&img->geometry, bitmap + 1);
        else if (bat_payload_entry_is_plain(entry))
            continue;
        int r = bat_entry_verify(&img->geometry, first + i, entry, at + i * BAT_ENTRY_SIZE, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/*
 * Every copy of a page that is read is verified, since the file may change underneath. The blocks
 * of a page claim their space once.
 */
static int verify_page(struct image *img, uint64_t page_index, const uint8_t *page,
                       struct vhdx_error *err)
{
    uint64_t first = page_index * ENTRIES_PER_PAGE;
    uint64_t count = min_u64(ENTRIES_PER_PAGE, img->geometry.bat_entries - first);
    uint64_t at = image_bat_region(img)->offset + first * BAT_ENTRY_SIZE;
    uint64_t *word = &img->bat_claimed[page_index / 64];
    uint64_t bit = UINT64_C(1) << page_index % 64;

    int r = verify_entries(img, first, count, at, page, err);
    if (r < 0)
        return r;
    LOCK_FOR_SCOPE(&img->claim_lock);
    if (*word & bit)
        return 0;
    r = claim_entries(img, first, count, at, page, err);
    if (r == 0)
        *word |= bit;
    return r;
}

/* ---- BAT entries ---------------------------------------------------------------------------- */

/* Reads pages of the BAT; what the last one holds behind the BAT's end reads as zeros. */
static int read_bat(const struct image *img, uint64_t first, uint64_t count, uint8_t *buf,
                    struct vhdx_error *err)
{
    uint64_t total = img->geometry.bat_entries * BAT_ENTRY_SIZE;
    uint64_t start = first * PAGE_SIZE;
    size_t len = (size_t)min_u64(count * PAGE_SIZE, total - start);

    memset(buf + len, 0, (size_t)(count * PAGE_SIZE) - len);
    return image_pread(img, "BAT", buf, len, image_bat_region(img)->offset + start, err);
}

static int load_bat_page(struct image *img, uint64_t page_index, const uint8_t **ret_page,
                         struct vhdx_error *err)
{
    CLEANUP_FREE struct page *page = malloc(sizeof *page);

    if (!page)
        return fail_nomem(err);
    int r = read_bat(img, page_index, 1, page->bytes, err);
    if (r == 0)
        r = verify_page(img, page_index, page->bytes, err);
    if (r == 0)
        *ret_page = pages_install(&img->bat, page_index, steal_ptr(page));
    return r;
}

static bool window_buffer(uint8_t **buf)
{
    if (!*buf)
        *buf = malloc(TABLE_WINDOW_SIZE);
    return *buf != NULL;
}

/* Moves the window so that it begins with the page. */
static int fill_bat_window(struct image *img, struct table_window *w, uint64_t page_index,
                           struct vhdx_error *err)
{
    uint64_t count = min_u64(TABLE_WINDOW_SIZE / PAGE_SIZE, img->bat.count - page_index);

    if (!window_buffer(&w->bat))
        return fail_nomem(err);
    w->bat_count = 0;
    int r = read_bat(img, page_index, count, w->bat, err);
    if (r < 0)
        return r;
    w->bat_first = page_index;
    w->bat_count = count;
    return 0;
}

static int window_bat_page(struct image *img, struct table_window *w, uint64_t page_index,
                           const uint8_t **ret_page, struct vhdx_error *err)
{
    if (!w->bat_page || w->bat_page_index != page_index) {
        w->bat_page = NULL;
        if (page_index < w->bat_first || page_index - w->bat_first >= w->bat_count) {
            int r = fill_bat_window(img, w, page_index, err);
            if (r < 0)
                return r;
        }
        const uint8_t *page = w->bat + (page_index - w->bat_first) * PAGE_SIZE;
        int r = verify_page(img, page_index, page, err);
        if (r < 0)
            return r;
        w->bat_page = page;
        w->bat_page_index = page_index;
    }
    *ret_page = w->bat_page;
    return 0;
}

int table_bat_load(struct image *img, struct table_window *window, uint64_t index,
                   uint64_t *ret_entry, struct vhdx_error *err)
{
    uint64_t page_index = index / ENTRIES_PER_PAGE;
    const uint8_t *page = NULL;

    int r = window ? window_bat_page(img, window, page_index, &page, err)
                   : load_bat_page(img, page_index, &page, err);
    if (r == 0)
        *ret_entry = entry_in(page, index % ENTRIES_PER_PAGE);
    return r;
}

uint64_t table_bat_run(const struct image *img, const struct table_window *window, uint64_t index,
                       uint64_t max, uint64_t entry, uint64_t step)
{
    uint64_t page_index = index / ENTRIES_PER_PAGE, at = index % ENTRIES_PER_PAGE, n = 0;
    const uint8_t *page = pages_get(&img->bat, page_index);

    if (!page && window && window->bat_page && window->bat_page_index == page_index)
        page = window->bat_page;
    if (!page)
        return 0;
    const uint64_t *entries = (const uint64_t *)(const void *)page;
    max = min_u64(max, ENTRIES_PER_PAGE - at);
    while (n < max &&
           le64toh(__atomic_load_n(&entries[at + n], __ATOMIC_RELAXED)) == entry + n * step)
        n++;
    return n;
}

static int fail_no_bitmap(const struct image *img, uint64_t block, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;
    uint64_t index = bat_index_of_block(g, block);

    return fail(err, VHDX_E_CORRUPT, image_bat_region(img)->offset + index * BAT_ENTRY_SIZE,
                "BAT entry %" PRIu64 " (payload block %" PRIu64 "): state is 7 (partially "
                "present), but sector bitmap block %" PRIu64 " is not present", index, block,
                block >> g->chunk_shift);
}

/* An entry far ahead of a walk, read by itself so that the window stays where the walk is. */
static int read_far_entry(struct image *img, uint64_t index, uint64_t *ret_entry,
                          struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *page = malloc(PAGE_SIZE);

    if (!page)
        return fail_nomem(err);
    int r = read_bat(img, index / ENTRIES_PER_PAGE, 1, page, err);
    if (r == 0)
        r = verify_page(img, index / ENTRIES_PER_PAGE, page, err);
    if (r == 0)
        *ret_entry = entry_in(page, index % ENTRIES_PER_PAGE);
    return r;
}

int table_bitmap_entry(struct image *img, struct table_window *window, uint64_t block,
                       uint64_t *ret_entry, struct vhdx_error *err)
{
    uint64_t chunk = block >> img->geometry.chunk_shift, entry = 0;
    uint64_t index = bat_index_of_bitmap(&img->geometry, chunk);

    if (window && window->has_bitmap_entry && window->chunk == chunk) {
        *ret_entry = window->bitmap_entry;
        return 0;
    }
    bool is_far = window && index / ENTRIES_PER_PAGE - window->bat_first >= window->bat_count &&
                  !table_bat_entry_cached(img, index, &entry);
    int r = is_far ? read_far_entry(img, index, &entry, err)
                   : table_bat_entry(img, window, index, &entry, err);
    if (r == 0 && !bat_is_present(entry))
        r = fail_no_bitmap(img, block, err);
    if (r < 0)
        return r;
    if (window) {
        window->has_bitmap_entry = true;
        window->chunk = chunk;
        window->bitmap_entry = entry;
    }
    *ret_entry = entry;
    return 0;
}

int table_verify_small(struct image *img, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;

    if (g->bat_entries * BAT_ENTRY_SIZE > LIMIT_BAT_VERIFIED_ON_OPEN)
        return 0;
    for (uint64_t i = 0; i < g->bat_entries; i++) {
        uint64_t entry = 0, bitmap, number;
        int r = table_bat_entry(img, NULL, i, &entry, err);
        if (r == 0 && bat_state(entry) == BLOCK_PARTIALLY_PRESENT &&
            !bat_index_is_bitmap(g, i, &number))
            r = table_bitmap_entry(img, NULL, number, &bitmap, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Sector bitmaps ------------------------------------------------------------------------- */

/* Pages of a bitmap block, by their index among the bitmap pages of the image. */
static int read_bitmap(const struct image *img, uint64_t bitmap_offset, uint64_t page_index,
                       uint64_t count, uint8_t *buf, struct vhdx_error *err)
{
    return image_pread(img, "sector bitmap block", buf, (size_t)(count * PAGE_SIZE),
                       bitmap_offset + page_index % PAGES_PER_BITMAP * PAGE_SIZE, err);
}

static int load_bitmap_page(struct image *img, uint64_t bitmap_offset, uint64_t page_index,
                            const uint8_t **ret_page, struct vhdx_error *err)
{
    CLEANUP_FREE struct page *page = malloc(sizeof *page);

    if (!page)
        return fail_nomem(err);
    int r = read_bitmap(img, bitmap_offset, page_index, 1, page->bytes, err);
    if (r == 0)
        *ret_page = pages_install(&img->bitmaps, page_index, steal_ptr(page));
    return r;
}

static int window_bitmap_page(const struct image *img, struct table_window *w,
                              uint64_t bitmap_offset, uint64_t page_index,
                              const uint8_t **ret_page, struct vhdx_error *err)
{
    if (page_index < w->bitmap_first || page_index - w->bitmap_first >= w->bitmap_count) {
        uint64_t count = min_u64(TABLE_WINDOW_SIZE / PAGE_SIZE,
                                 PAGES_PER_BITMAP - page_index % PAGES_PER_BITMAP);
        if (!window_buffer(&w->bitmap))
            return fail_nomem(err);
        w->bitmap_count = 0;
        int r = read_bitmap(img, bitmap_offset, page_index, count, w->bitmap, err);
        if (r < 0)
            return r;
        w->bitmap_first = page_index;
        w->bitmap_count = count;
    }
    *ret_page = w->bitmap + (page_index - w->bitmap_first) * PAGE_SIZE;
    return 0;
}

static int bitmap_page(struct image *img, struct table_window *window, uint64_t bitmap_offset,
                       uint64_t page_index, const uint8_t **ret_page, struct vhdx_error *err)
{
    *ret_page = pages_get(&img->bitmaps, page_index);
    if (*ret_page)
        return 0;
    return window ? window_bitmap_page(img, window, bitmap_offset, page_index, ret_page, err)
                  : load_bitmap_page(img, bitmap_offset, page_index, ret_page, err);
}

/* The word of a bitmap that holds a bit, as bit % 64. Bit 0 is the lowest of byte 0. */
static uint64_t bitmap_word(const uint8_t *page, uint64_t bit)
{
    const uint64_t *words = (const uint64_t *)(const void *)page;

    return le64toh(__atomic_load_n(&words[bit / 64], __ATOMIC_RELAXED));
}

/* How many bits from bit on, below end, equal the one at bit. */
static uint64_t run_in_page(const uint8_t *page, uint64_t bit, uint64_t end)
{
    uint64_t word = bitmap_word(page, bit);
    uint64_t flip = word >> bit % 64 & 1 ? UINT64_MAX : 0;
    uint64_t start = bit;

    /* With every bit like the first cleared, the run ends at the lowest bit set. */
    word = (word ^ flip) >> bit % 64;
    while (word == 0) {
        bit = align_down(bit, 64) + 64;
        if (bit >= end)
            return end - start;
        word = bitmap_word(page, bit) ^ flip;
    }
    return min_u64(bit + (uint64_t)__builtin_ctzll(word), end) - start;
}

int table_bitmap_run(struct image *img, struct table_window *window, uint64_t bitmap_offset,
                     uint64_t sector, uint64_t max, bool *ret_present, uint64_t *ret_run,
                     struct vhdx_error *err)
{
    uint64_t end = sector + max, run = 0;
    bool present = false;

    for (uint64_t s = sector; s < end;) {
        const uint8_t *page;
        uint64_t bit = s % SECTORS_PER_PAGE;
        uint64_t page_end = min_u64(end - s + bit, SECTORS_PER_PAGE);

        int r = bitmap_page(img, window, bitmap_offset, s / SECTORS_PER_PAGE, &page, err);
        if (r < 0)
            return r;
        bool value = bitmap_word(page, bit) >> bit % 64 & 1;
        if (s == sector)
            present = value;
        else if (value != present)
            break;
        uint64_t n = run_in_page(page, bit, page_end);
        run += n;
        s += n;
        if (bit + n < page_end)
            break;
    }
    *ret_present = present;
    *ret_run = run;
    return 0;
}

/* ---- Changing ------------------------------------------------------------------------------- */

void table_set_bat_entry(struct image *img, uint64_t index, uint64_t entry)
{
    struct page *page = pages_get_page(&img->bat, index / ENTRIES_PER_PAGE);
    uint64_t *entries = (uint64_t *)(void *)page->bytes;
    uint64_t page_offset = index / ENTRIES_PER_PAGE * PAGE_SIZE;

    assert(page && bat_entry_verify(&img->geometry, index, entry, 0, NULL) == 0);
    __atomic_store_n(&entries[index % ENTRIES_PER_PAGE], htole64(entry), __ATOMIC_RELEASE);
    writer_mark_dirty(img, page, image_bat_region(img)->offset + page_offset);
}

static void set_bits_in_page(uint8_t *page, uint64_t bit, uint64_t end, bool present)
{
    uint64_t *words = (uint64_t *)(void *)page;

    while (bit < end) {
        uint64_t low = bit % 64, n = min_u64(64 - low, end - bit);
        uint64_t mask = htole64((n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << low);
        if (present)
            __atomic_fetch_or(&words[bit / 64], mask, __ATOMIC_RELEASE);
        else
            __atomic_fetch_and(&words[bit / 64], ~mask, __ATOMIC_RELEASE);
        bit += n;
    }
}

int table_set_bitmap(struct image *img, uint64_t bitmap_offset, uint64_t sector, uint64_t count,
                     bool present, struct vhdx_error *err)
{
    const uint8_t *bytes;

    uint64_t last_page = (sector + count - 1) / SECTORS_PER_PAGE;

    /* All pages first, so that a failure changes nothing. */
    for (uint64_t p = sector / SECTORS_PER_PAGE; p <= last_page; p++) {
        int r = bitmap_page(img, NULL, bitmap_offset, p, &bytes, err);
        if (r < 0)
            return r;
    }
    for (uint64_t s = sector, n; s < sector + count; s += n) {
        uint64_t index = s / SECTORS_PER_PAGE, bit = s % SECTORS_PER_PAGE;
        struct page *page = pages_get_page(&img->bitmaps, index);
        n = min_u64(SECTORS_PER_PAGE - bit, sector + count - s);
        set_bits_in_page(page->bytes, bit, bit + n, present);
        writer_mark_dirty(img, page, bitmap_offset +
                                         index % (BITMAP_BLOCK_SIZE / PAGE_SIZE) * PAGE_SIZE);
    }
    return 0;
}
