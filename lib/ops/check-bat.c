/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The BAT and the sector bitmaps, looked at entry by entry; see check.h. One pass in the order of
 * the file, which claims the space of what is present; a second one, only if there are kept places
 * ("anchors") of blocks that are not present: these must not decide who owns a place.
 *
 * Of the rules that a present block breaks the first in this order is reported: state, reserved
 * bits, header section, end of the file, regions and log, other blocks.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "ops/check.h"
#include "util/cleanup.h"
#include "util/limits.h"

#define ENTRIES_PER_PAGE (PAGE_SIZE / BAT_ENTRY_SIZE)
#define ENTRIES_PER_WINDOW (64 * KIB / BAT_ENTRY_SIZE)

struct pass {
    struct check *c;
    struct image *img;
    struct vhdx_error *err;
    const struct geometry *g;
    uint64_t bat_offset;
    uint64_t *entries;      /* owned; host order; the window */
    bool anchors_only;      /* the second pass */
    uint64_t anchors;       /* seen in the first */
    uint64_t bitmap_index;  /* the next sector bitmap block's entry */
    uint64_t partial;       /* partially present blocks of this chunk so far */
    uint64_t partial_end;   /* where their bits end in its sector bitmap, in bytes */
    uint64_t expected;      /* where the next block lies if it follows the last one in the file */
    bool has_expected;
};

void check_block_range(const struct geometry *g, uint64_t index, uint64_t *ret_offset,
                       uint64_t *ret_length)
{
    uint64_t number;
    bool is_bitmap = bat_index_is_bitmap(g, index, &number);
    uint32_t shift = g->block_shift + (is_bitmap ? g->chunk_shift : 0);
    uint64_t count = is_bitmap ? g->bitmap_blocks : g->payload_blocks;

    *ret_offset = *ret_length = 0;
    if (number >= count)
        return; /* a differencing BAT is filled up to whole chunks */
    *ret_offset = number << shift;
    *ret_length = min_u64(UINT64_C(1) << shift, g->virtual_size - *ret_offset);
}

static uint64_t entry_at(const struct pass *p, uint64_t index)
{
    return p->bat_offset + index * BAT_ENTRY_SIZE;
}

static uint64_t block_length(const struct pass *p, bool is_bitmap)
{
    return is_bitmap ? BITMAP_BLOCK_SIZE : UINT64_C(1) << p->g->block_shift;
}

/* ---- Findings ------------------------------------------------------------------------------- */

/* Does a finding of this kind mean that the block's data cannot be read? */
static bool loses_data(enum vhdx_problem problem)
{
    switch (problem) {
    case VHDX_P_BAT_STATE:
    case VHDX_P_BAT_HEADER_SECTION:
    case VHDX_P_BAT_PAST_END:
    case VHDX_P_BAT_CUT:
    case VHDX_P_BAT_ON_REGION:
    case VHDX_P_BAT_OVERLAP:
    case VHDX_P_BITMAP_MISSING:
        return true;
    default:
        return false;
    }
}

/*
 * Reports what is wrong with an entry and lets a repair change it. text says what is found and
 * required.
 */
__attribute__((format(printf, 5, 6)))
static int entry_found(struct pass *p, uint64_t index, enum vhdx_problem problem, uint64_t *entry,
                       const char *fmt, ...)
{
    char name[BAT_NAME_SIZE];
    struct vhdx_error text;
    uint64_t offset, length, number;
    va_list args;

    check_block_range(p->g, index, &offset, &length);
    bool is_payload = !bat_index_is_bitmap(p->g, index, &number);
    if (problem == VHDX_P_BAT_CUT && is_payload) {
        uint64_t there = image_size(p->img) - bat_file_offset(*entry);
        offset += there;
        length -= there;
        p->c->cut_offset = offset;
        p->c->cut_length = length;
    }
    if (check_tells(p->c, problem)) {
        va_start(args, fmt);
        fail_va(&text, VHDX_E_CORRUPT, 0, fmt, args);
        va_end(args);
        bat_entry_name(p->g, index, name);
        check_found(p->c, problem, entry_at(p, index), offset, length,
                    "BAT entry %" PRIu64 " (%s): %s", index, name, text.message);
    } else {
        check_counted(p->c, problem);
    }
    if (loses_data(problem) && is_payload)
        p->c->result.lost_bytes += length;

    const struct check_hands *hands = p->c->hands;
    if (!hands || !hands->entry)
        return 0;
    return hands->entry(p->c, index, problem, entry, hands->opaque, p->err);
}

/* ---- One entry ------------------------------------------------------------------------------ */

/* Reports the rules that an entry breaks by itself. What is left is 0 if it cannot be used. */
static int check_itself(struct pass *p, uint64_t index, uint64_t *entry)
{
    uint32_t problem;
    int r = 0;

    while (r == 0 && (problem = bat_entry_problem(p->g, index, *entry)) != 0) {
        uint64_t before = *entry;
        struct vhdx_error what;
        bat_entry_verify(p->g, index, *entry, entry_at(p, index), &what);
        const char *text = strstr(what.message, "): ");
        r = entry_found(p, index, problem, entry, "%s", text ? text + 3 : what.message);
        if (r == 0 && *entry == before) {
            if (problem != VHDX_P_BAT_RESERVED) {
                *entry = 0;
                return 0;
            }
            *entry &= ~BAT_RESERVED_BITS;
        }
    }
    return r;
}

/* *ret_lost: the block cannot be used. What is missing of payload is zeros; but bits of a bitmap
   that are missing, and needed, would show what the parent has. */
static int check_end_of_file(struct pass *p, uint64_t index, bool is_bitmap, uint64_t *entry,
                             bool *ret_lost)
{
    uint64_t size = image_size(p->img), offset = bat_file_offset(*entry);
    uint64_t virtual_offset, needed = BITMAP_BLOCK_SIZE;

    if (!is_bitmap)
        check_block_range(p->g, index, &virtual_offset, &needed);
    *ret_lost = offset >= size ||
                (is_bitmap && p->partial > 0 && offset + p->partial_end > size);
    if (!*ret_lost && range_fits(offset, needed, size))
        return 0; /* of a block beyond the disk's end nothing is needed */
    return entry_found(p, index, *ret_lost ? VHDX_P_BAT_PAST_END : VHDX_P_BAT_CUT, entry,
                       "file offset is %#" PRIx64 ", but the file ends at %#" PRIx64 "%s", offset,
                       size, offset < size ? ", inside the block" : "");
}

/* A present block: does it lie in the file, and on nothing else? */
static int check_place(struct pass *p, uint64_t index, bool is_bitmap, uint64_t *entry)
{
    uint64_t before = *entry, offset = bat_file_offset(before);
    uint64_t len = block_length(p, is_bitmap);
    bool is_lost;

    int r = check_end_of_file(p, index, is_bitmap, entry, &is_lost);
    if (r < 0 || *entry != before)
        return r;
    if (is_lost) {
        p->c->first_lost = min_u64(p->c->first_lost, offset);
        *entry = 0;
        return 0;
    }
    if (image_claim(p->img, offset, len)) {
        p->c->last_end = max_u64(p->c->last_end, offset + len);
        return 0;
    }
    bool on_region = image_is_on_region(p->img, offset, len);
    r = entry_found(p, index, on_region ? VHDX_P_BAT_ON_REGION : VHDX_P_BAT_OVERLAP, entry,
                    "file range %#" PRIx64 " + %" PRIu64 " overlaps %s", offset, len,
                    on_region ? "the log or a region" : "another block");
    if (r == 0 && *entry == before)
        *entry = 0;
    return r;
}

static void count_block(struct pass *p, uint64_t offset)
{
    struct vhdx_check_result *r = &p->c->result;

    r->allocated_blocks++;
    r->fragmented_blocks += p->has_expected && offset != p->expected;
    p->expected = offset + block_length(p, false);
    p->has_expected = true;
}

static void count_partial(struct pass *p, uint64_t index)
{
    uint64_t offset, length, sector_mask = (UINT64_C(1) << CHUNK_SECTORS_SHIFT) - 1;

    check_block_range(p->g, index, &offset, &length);
    if (length > 0)
        p->partial_end = (((offset + length - 1) >> p->g->sector_shift) & sector_mask) / 8 + 1;
    p->partial++;
}

/* A block that is not present, but has an offset. */
static int check_idle(struct pass *p, uint64_t index, uint64_t *entry)
{
    uint64_t offset = bat_file_offset(*entry);

    if (bat_is_anchor(*entry)) {
        p->anchors++;
        return 0;
    }
    if (offset == 0)
        return 0;
    if (bat_state(*entry) == BLOCK_ZERO)
        return entry_found(p, index, VHDX_P_BAT_ZERO_OFFSET, entry,
                           "file offset is %#" PRIx64 ", must be 0 for state 2 (zero)", offset);
    return entry_found(p, index, VHDX_P_BAT_IDLE_OFFSET, entry,
                       "file offset is %#" PRIx64 ", must be 0 for state 0 (not present)", offset);
}

static int check_payload(struct pass *p, uint64_t index, uint64_t entry)
{
    int r = check_itself(p, index, &entry);

    if (r == 0 && bat_state(entry) == BLOCK_UNMAPPED_V095)
        r = entry_found(p, index, VHDX_P_BAT_OLD_STATE, &entry,
                        "state is 5, must be 3 (unmapped)");
    if (r == 0 && !bat_is_present(entry))
        r = check_idle(p, index, &entry);
    if (r == 0 && bat_is_present(entry))
        r = check_place(p, index, false, &entry);
    if (r == 0 && bat_is_present(entry)) {
        count_block(p, bat_file_offset(entry));
        if (bat_state(entry) == BLOCK_PARTIALLY_PRESENT)
            count_partial(p, index);
    }
    return r;
}

/* A kept place: behind all that is present. */
static int check_anchor(struct pass *p, uint64_t index, uint64_t entry)
{
    uint64_t offset = bat_file_offset(entry), len = block_length(p, false);

    if (!bat_is_anchor(entry) || bat_entry_problem(p->g, index, entry) != 0)
        return 0;
    if (offset >= image_size(p->img))
        return entry_found(p, index, VHDX_P_BAT_ANCHOR_PAST_END, &entry,
                           "kept file offset is %#" PRIx64 ", but the file ends at %#" PRIx64,
                           offset, image_size(p->img));
    if (!image_claim(p->img, offset, len))
        return entry_found(p, index, VHDX_P_BAT_ANCHOR_OVERLAP, &entry,
                           "kept file range %#" PRIx64 " + %" PRIu64
                           " overlaps another structure", offset, len);
    p->c->last_end = max_u64(p->c->last_end, offset + len);
    return 0;
}

/* ---- Sector bitmaps ------------------------------------------------------------------------- */

/* The bits of the disk's last chunk that are beyond its end. */
static int check_beyond(struct pass *p, uint64_t bitmap_offset)
{
    uint64_t sectors = p->g->virtual_size >> p->g->sector_shift;
    uint64_t first = sectors & ((UINT64_C(1) << CHUNK_SECTORS_SHIFT) - 1), set = 0;
    CLEANUP_FREE uint8_t *buf = malloc(BITMAP_BLOCK_SIZE);

    if (!buf)
        return fail_nomem(p->err);
    if (first == 0)
        return 0; /* the disk ends with its chunk */
    int r = image_pread(p->img, "sector bitmap block", buf, BITMAP_BLOCK_SIZE, bitmap_offset,
                        p->err);
    if (r < 0)
        return r == -VHDX_E_TRUNCATED ? 0 : r; /* found already */
    memset(buf, 0, first / 8);
    buf[first / 8] &= (uint8_t)(0xff << first % 8);
    for (uint64_t i = first / 64 * 8, word; i < BITMAP_BLOCK_SIZE; i += sizeof word) {
        memcpy(&word, buf + i, sizeof word);
        if (word != 0)
            set += (uint64_t)__builtin_popcountll(word);
    }
    if (set > 0)
        check_found(p->c, VHDX_P_BITMAP_BEYOND, bitmap_offset + first / 8, 0, 0,
                    "sector bitmap block %" PRIu64 ": %" PRIu64
                    " bits beyond the end of the disk are set", p->g->bitmap_blocks - 1, set);
    return 0;
}

/* The partially present blocks of a chunk without a bitmap, found by going through it again. */
static int report_missing(struct pass *p, uint64_t chunk)
{
    uint64_t index = chunk * ((UINT64_C(1) << p->g->chunk_shift) + 1);
    uint64_t end = bat_index_of_bitmap(p->g, chunk);
    CLEANUP_FREE struct le64 *page = malloc(PAGE_SIZE);
    int r = page ? 0 : fail_nomem(p->err);

    while (index < end && r == 0) {
        uint64_t count = min_u64(ENTRIES_PER_PAGE, end - index);
        r = image_pread(p->img, "BAT", page, count * BAT_ENTRY_SIZE, entry_at(p, index), p->err);
        for (uint64_t i = 0; i < count && r == 0; i++) {
            uint64_t entry = le64_get(page[i]);
            if (bat_state(entry) == BLOCK_PARTIALLY_PRESENT &&
                bat_entry_problem(p->g, index + i, entry) == 0)
                r = entry_found(p, index + i, VHDX_P_BITMAP_MISSING, &entry,
                                "state is 7 (partially present), but sector bitmap block %" PRIu64
                                " is not present", chunk);
        }
        index += count;
    }
    return r;
}

static int check_bitmap(struct pass *p, uint64_t index, uint64_t entry)
{
    uint64_t before = entry, chunk;
    bool is_last = bat_index_is_bitmap(p->g, index, &chunk) && chunk + 1 == p->g->bitmap_blocks;

    int r = check_itself(p, index, &entry);
    bool was_bad = entry != before;
    if (r == 0 && !bat_is_present(entry) && bat_file_offset(entry) != 0)
        r = check_idle(p, index, &entry);
    if (r == 0 && bat_is_present(entry)) {
        r = check_place(p, index, true, &entry);
        was_bad = was_bad || !bat_is_present(entry);
    }
    if (r == 0 && p->partial > 0 && !bat_is_present(entry) && !was_bad)
        r = report_missing(p, chunk);
    else if (r == 0 && p->partial > 0 && !bat_is_present(entry))
        p->c->result.lost_bytes += p->partial << p->g->block_shift;
    if (r == 0 && bat_is_present(entry) && is_last)
        r = check_beyond(p, bat_file_offset(entry));
    p->partial = 0;
    return r;
}

/* ---- The passes ----------------------------------------------------------------------------- */

static int check_entry(struct pass *p, uint64_t index, uint64_t entry)
{
    if (index == p->bitmap_index) {
        p->bitmap_index = bat_next_bitmap_index(p->g, index + 1);
        if (p->anchors_only)
            return 0;
        return entry == 0 && p->partial == 0 ? 0 : check_bitmap(p, index, entry);
    }
    return p->anchors_only ? check_anchor(p, index, entry) : check_payload(p, index, entry);
}

/* What stands behind the last entry of the BAT, in its page. */
static int read_behind(struct pass *p, uint64_t *ret)
{
    uint64_t at = entry_at(p, p->g->bat_entries);
    const struct region *region = image_bat_region(p->img);
    struct le64 entry = { { 0 } };
    int r = 0;

    if (at + sizeof entry <= min_u64(region->offset + region->length, image_size(p->img)))
        r = image_pread(p->img, "BAT", &entry, sizeof entry, at, p->err);
    *ret = le64_get(entry);
    return r;
}

/* Pages that QEMU moved: from here on as they were. */
static int check_shift(struct pass *p, uint64_t first, uint64_t count)
{
    uint64_t was[ENTRIES_PER_PAGE], offset, length, last_offset, last_length;

    for (uint64_t i = 0; i < count; i += ENTRIES_PER_PAGE) {
        uint64_t n = min_u64(ENTRIES_PER_PAGE, count - i), behind = 0;
        int r = n < ENTRIES_PER_PAGE ? read_behind(p, &behind) : 0;
        if (r < 0)
            return r;
        if (!check_page_is_shifted(p->c, first + i, p->entries + i, n, behind, was))
            continue;
        memcpy(p->entries + i, was, n * sizeof *was);
        if (p->anchors_only)
            continue;
        check_block_range(p->g, first + i, &offset, &length);
        check_block_range(p->g, first + i + n - 1, &last_offset, &last_length);
        check_found(p->c, VHDX_P_BAT_SHIFTED, entry_at(p, first + i), offset,
                    last_offset + last_length - offset,
                    "BAT entries %" PRIu64 " to %" PRIu64
                    ": a sector bitmap's entry is in use in an image without a parent: entries "
                    "were moved by one place (QEMU before 8.0)", first + i, first + i + n - 1);
        const struct check_hands *hands = p->c->hands;
        bool last_is_lost = n == ENTRIES_PER_PAGE;
        p->c->lost_entries += last_is_lost;
        r = hands && hands->page ? hands->page(p->c, first + i, was, n, last_is_lost,
                                               hands->opaque, p->err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_window(struct pass *p, uint64_t first, uint64_t count)
{
    int r = image_pread(p->img, "BAT", p->entries, count * BAT_ENTRY_SIZE, entry_at(p, first),
                        p->err);

    for (uint64_t i = 0; i < count && r == 0; i++)
        p->entries[i] = le64toh(p->entries[i]);
    if (r == 0 && !p->g->has_parent)
        r = check_shift(p, first, count);
    return r;
}

static int run_pass(struct pass *p)
{
    int r = 0;

    p->bitmap_index = bat_next_bitmap_index(p->g, 0);
    p->partial = 0;
    for (uint64_t first = 0; first < p->g->bat_entries && r == 0; first += ENTRIES_PER_WINDOW) {
        uint64_t count = min_u64(ENTRIES_PER_WINDOW, p->g->bat_entries - first);
        r = read_window(p, first, count);
        for (uint64_t i = 0; i < count && r == 0; i++)
            if (p->entries[i] != 0 || first + i == p->bitmap_index)
                r = check_entry(p, first + i, p->entries[i]);
        if (r == 0)
            r = check_progress(p->c, (first + count) << p->g->block_shift, p->err);
    }
    return r;
}

int check_bat(struct check *c, struct vhdx_error *err)
{
    CLEANUP_FREE uint64_t *entries = malloc(ENTRIES_PER_WINDOW * sizeof *entries);
    struct pass p = { .c = c, .img = c->image, .err = err, .g = &c->image->geometry,
                      .bat_offset = image_bat_region(c->image)->offset, .entries = entries };

    int r = entries ? run_pass(&p) : fail_nomem(err);
    if (r == 0 && p.anchors > 0) {
        p.anchors_only = true;
        r = run_pass(&p);
    }
    return r;
}
