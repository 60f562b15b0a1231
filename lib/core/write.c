/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing, zeroing and trimming, block by block; see write.h. The rules that make it safe are the
 * top comment of log/journal.c. What a write does to a payload block, by its state:
 *
 *     state                  without a parent          with a parent
 *     ---------------------  ------------------------  ------------------------------------------
 *     0 NOT_PRESENT          fresh space -> 6          whole block: fresh space -> 6
 *                                                      part: fresh space, its sectors' bits -> 7
 *     1, 2, 3 (zeros)        fresh space, or the place it keeps, emptied -> 6
 *     6 FULLY_PRESENT        in place
 *     7 PARTIALLY_PRESENT                              in place, its sectors' bits; all set -> 6
 *
 * Zeroing is a write without bytes: space is punched instead of written, and where the block
 * already reads as zeros nothing is allocated. A trimmed block becomes 3 and keeps its place.
 */

#include "core/write.h"

#include <inttypes.h>

#include "core/map.h"
#include "core/read.h"
#include "core/table.h"
#include "core/writer.h"
#include "util/rules.h"

/* The part of a change that falls into one payload block. */
struct piece {
    const struct chain *chain;
    struct image *img;
    const uint8_t *buf; /* NULL: zeros */
    uint64_t block;
    uint64_t within;    /* offset in the block */
    uint64_t len;
    uint64_t block_len; /* of the block as far as the disk reaches */
};

static uint64_t sector_size(const struct image *img)
{
    return UINT64_C(1) << img->geometry.sector_shift;
}

static bool is_whole(const struct piece *p)
{
    return p->within == 0 && p->len == p->block_len;
}

static uint64_t virtual_offset(const struct piece *p)
{
    return (p->block << p->img->geometry.block_shift) + p->within;
}

static int entry_of(const struct piece *p, uint64_t *ret, struct vhdx_error *err)
{
    return table_bat_entry(p->img, NULL, bat_index_of_block(&p->img->geometry, p->block), ret, err);
}

/* ---- Payload -------------------------------------------------------------------------------- */

/*
 * Writes bytes, or zeros for buf NULL, to the file. What a flush has yet to cover is noted when it
 * is done, whether or not it succeeded: a flush that began before must not take the note away.
 */
static int put(struct image *img, const uint8_t *buf, uint64_t len, uint64_t file_offset,
               struct vhdx_error *err)
{
    int r = 0;

    if (len == 0)
        return 0;
    if (buf)
        r = io_pwrite(&img->io, buf, (size_t)len, file_offset, err);
    else if (img->metadata.leave_allocated)
        r = io_zero(&img->io, file_offset, len, err);
    else
        r = io_discard(&img->io, file_offset, len, true, err);
    writer_set_unflushed(img);
    return r;
}

/* Frees the space of a range. A mapped one must then read as zeros, also where nothing is freed. */
static int punch(struct image *img, uint64_t len, uint64_t file_offset, bool is_mapped,
                 struct vhdx_error *err)
{
    int r = io_discard(&img->io, file_offset, len, is_mapped, err);

    writer_set_unflushed(img);
    return r;
}

/* One whole sector of which only [from, to) changes: the rest is what the disk holds there. */
static int put_part_of_sector(const struct piece *p, uint64_t file_block, uint64_t from,
                              uint64_t to, const uint8_t *buf, struct vhdx_error *err)
{
    uint64_t size = sector_size(p->img), start = align_down(from, size);
    uint8_t sector[4096];

    int r = chain_read(p->chain, sector, (size_t)size,
                       (p->block << p->img->geometry.block_shift) + start, err);
    if (r < 0)
        return r;
    if (buf)
        memcpy(sector + (from - start), buf, (size_t)(to - from));
    else
        memset(sector + (from - start), 0, (size_t)(to - from));
    return put(p->img, sector, size, file_block + start, err);
}

/*
 * Writes the piece to a block at file_block in whole sectors: where it begins or ends inside one,
 * the sector is filled up with what the disk holds there, which may be the parent's.
 */
static int put_sectors(const struct piece *p, uint64_t file_block, struct vhdx_error *err)
{
    uint64_t size = sector_size(p->img), from = p->within, to = p->within + p->len;
    const uint8_t *buf = p->buf;
    int r = 0;

    if (from % size != 0 || to - from < size) {
        uint64_t part_end = min_u64(align_down(from, size) + size, to);
        r = put_part_of_sector(p, file_block, from, part_end, buf, err);
        buf = buf ? buf + (part_end - from) : NULL;
        from = part_end;
    }
    if (r == 0 && to % size != 0 && from < to) {
        uint64_t part = align_down(to, size);
        r = put_part_of_sector(p, file_block, part, to, buf ? buf + (part - from) : NULL, err);
        to = part;
    }
    return r < 0 || from >= to ? r : put(p->img, buf, to - from, file_block + from, err);
}

/* ---- Mapping -------------------------------------------------------------------------------- */

/* With meta_lock held. */
static void set_entry(const struct piece *p, uint32_t state, uint64_t file_block)
{
    table_set_bat_entry(p->img, bat_index_of_block(&p->img->geometry, p->block),
                        file_block | state);
}

static int set_entry_locked(const struct piece *p, uint32_t state, uint64_t file_block,
                            bool payload_first, struct vhdx_error *err)
{
    int r = writer_lock(p->img, err);

    if (r < 0)
        return r;
    set_entry(p, state, file_block);
    p->img->writer->payload_first |= payload_first;
    writer_unlock(p->img);
    return 0;
}

static int allocate(const struct piece *p, uint64_t *ret_file_block, bool *ret_recycled,
                    struct vhdx_error *err)
{
    int r = writer_lock(p->img, err);

    if (r < 0)
        return r;
    r = writer_allocate(p->img, UINT64_C(1) << p->img->geometry.block_shift, ret_file_block,
                        ret_recycled, err);
    writer_unlock(p->img);
    return r;
}

static int empty_place(const struct piece *p, uint64_t file_block, struct vhdx_error *err)
{
    return put(p->img, NULL, UINT64_C(1) << p->img->geometry.block_shift, file_block, err);
}

/* The block reads as zeros: it moves into fresh space, or into the place it keeps, and is whole. */
static int fill_zero_block(const struct piece *p, uint64_t entry, struct vhdx_error *err)
{
    uint64_t file_block = bat_file_offset(entry);
    bool reuse = bat_is_anchor(entry), recycled = true;
    int r = 0;

    if (!reuse)
        r = allocate(p, &file_block, &recycled, err);
    else if (RULE_HOLDS(RULE_PLACE_EMPTIED))
        r = empty_place(p, file_block, err);
    if (r < 0)
        return r;
    r = put(p->img, p->buf, p->len, file_block + p->within, err);
    if (r == 0)
        r = set_entry_locked(p, BLOCK_FULLY_PRESENT, file_block, recycled, err);
    if (r < 0 && !reuse)
        writer_give_back(p->img, file_block);
    return r;
}

/* Where the bits of the chunk of the block are; allocates the bitmap block. With meta_lock held. */
static int bitmap_of(const struct piece *p, uint64_t *ret_bitmap, struct vhdx_error *err)
{
    const struct geometry *g = &p->img->geometry;
    uint64_t index = bat_index_of_bitmap(g, p->block >> g->chunk_shift);
    uint64_t entry, offset;
    bool recycled; /* of no interest: in a child payload is always made stable first */

    int r = table_bat_entry(p->img, NULL, index, &entry, err);
    if (r < 0)
        return r;
    if (!bat_is_present(entry)) {
        r = writer_allocate(p->img, BITMAP_BLOCK_SIZE, &offset, &recycled, err);
        if (r < 0)
            return r;
        entry = offset | BITMAP_PRESENT;
        table_set_bat_entry(p->img, index, entry);
    }
    *ret_bitmap = bat_file_offset(entry);
    return 0;
}

/* The block's first sector. */
static uint64_t disk_sector(const struct piece *p)
{
    return p->block << (p->img->geometry.block_shift - p->img->geometry.sector_shift);
}

/* Are all of the block's bits set, as far as the disk reaches? Looks from the end: a block that is
   being filled in order is found unfinished at once. */
static int all_present(const struct piece *p, uint64_t bitmap, bool *ret, struct vhdx_error *err)
{
    uint64_t count = p->block_len >> p->img->geometry.sector_shift, run;
    bool present;

    int r = table_bitmap_run(p->img, NULL, bitmap, disk_sector(p) + count - 1, 1, &present, &run,
    err); if (r == 0 && present)
        r = table_bitmap_run(p->img, NULL, bitmap, disk_sector(p), count, &present, &run, err);
    if (r == 0)
        *ret = present && run == count;
    return r;
}

/* Marks the piece's sectors as this file's. With meta_lock held. */
static int map_sectors(const struct piece *p, uint64_t entry, uint64_t file_block,
                       struct vhdx_error *err)
{
    const struct geometry *g = &p->img->geometry;
    uint64_t first = p->within >> g->sector_shift;
    uint64_t end = div_ceil(p->within + p->len, sector_size(p->img));
    uint64_t bitmap;
    bool whole = false;

    int r = bitmap_of(p, &bitmap, err);
    /* While a block is not partially present its bits mean nothing and may be anything. */
    if (r == 0 && bat_state(entry) != BLOCK_PARTIALLY_PRESENT)
        r = table_set_bitmap(p->img, bitmap, disk_sector(p),
                             UINT64_C(1) << (g->block_shift - g->sector_shift), false, err);
    if (r == 0)
        r = table_set_bitmap(p->img, bitmap, disk_sector(p) + first, end - first, true, err);
    if (r == 0)
        r = all_present(p, bitmap, &whole, err);
    if (r < 0)
        return r;
    if (whole)
        set_entry(p, BLOCK_FULLY_PRESENT, file_block);
    else if (bat_state(entry) != BLOCK_PARTIALLY_PRESENT)
        set_entry(p, BLOCK_PARTIALLY_PRESENT, file_block);
    return 0;
}

static int map_sectors_locked(const struct piece *p, uint64_t entry, uint64_t file_block,
                              struct vhdx_error *err)
{
    int r = writer_lock(p->img, err);

    if (r < 0)
        return r;
    r = map_sectors(p, entry, file_block, err);
    writer_unlock(p->img);
    return r;
}

/* A child's block of which nothing is in this file yet. */
static int fill_absent_block(const struct piece *p, uint64_t entry, struct vhdx_error *err)
{
    uint64_t file_block;
    bool recycled; /* likewise */

    if (is_whole(p) && !p->buf)
        return set_entry_locked(p, BLOCK_ZERO, 0, false, err);
    int r = allocate(p, &file_block, &recycled, err);
    if (r < 0)
        return r;
    r = put_sectors(p, file_block, err);
    if (r == 0 && is_whole(p))
        r = set_entry_locked(p, BLOCK_FULLY_PRESENT, file_block, true, err);
    else if (r == 0)
        r = map_sectors_locked(p, entry, file_block, err);
    if (r < 0)
        writer_give_back(p->img, file_block);
    return r;
}

static int fill_partial_block(const struct piece *p, uint64_t entry, struct vhdx_error *err)
{
    int r = put_sectors(p, bat_file_offset(entry), err);

    return r < 0 ? r : map_sectors_locked(p, entry, bat_file_offset(entry), err);
}

/* ---- Writing -------------------------------------------------------------------------------- */

/*
 * Zeros onto a block that reads as zeros here. [MS-VHDX] 2.5.1.1 lets another reader show what an
 * UNDEFINED or UNMAPPED block held before: so the place it keeps is emptied, and what may be
 * anything becomes UNMAPPED, which then is zero, or ZERO where there is no place to empty.
 */
static int zero_zero_block(const struct piece *p, uint64_t entry, struct vhdx_error *err)
{
    bool is_undefined = bat_state(entry) == BLOCK_UNDEFINED;

    if (!bat_is_anchor(entry))
        return is_undefined ? set_entry_locked(p, BLOCK_ZERO, 0, false, err) : 0;
    int r = empty_place(p, bat_file_offset(entry), err);
    if (r == 0 && is_undefined)
        r = set_entry_locked(p, BLOCK_UNMAPPED, bat_file_offset(entry), false, err);
    return r;
}

/* Does zeroing change nothing? */
static bool is_zero_already(const struct piece *p, uint64_t entry)
{
    uint32_t state = bat_state(entry);

    return !p->buf && (state == BLOCK_ZERO ||
                       (state == BLOCK_NOT_PRESENT && !p->img->geometry.has_parent));
}

static int write_exclusively(const struct piece *p, struct vhdx_error *err)
{
    uint64_t entry;

    int r = entry_of(p, &entry, err);
    if (r < 0 || is_zero_already(p, entry))
        return r;
    r = writer_begin_change(p->img, err);
    if (r == 0)
        r = entry_of(p, &entry, err); /* the session's beginning may have changed it */
    if (r < 0)
        return r;
    switch (bat_state(entry)) {
    case BLOCK_FULLY_PRESENT:
        return put(p->img, p->buf, p->len, bat_file_offset(entry) + p->within, err);
    case BLOCK_PARTIALLY_PRESENT:
        return fill_partial_block(p, entry, err);
    case BLOCK_NOT_PRESENT:
        if (p->img->geometry.has_parent)
            return fill_absent_block(p, entry, err);
        break;
    default:
        break;
    }
    return p->buf ? fill_zero_block(p, entry, err) : zero_zero_block(p, entry, err);
}

/* Is all of the piece mapped to this file already, so that writing it changes no table? */
static int is_mapped(const struct piece *p, uint64_t entry, bool *ret, struct vhdx_error *err)
{
    const struct geometry *g = &p->img->geometry;
    uint64_t first = p->within >> g->sector_shift;
    uint64_t count = div_ceil(p->within + p->len, sector_size(p->img)) - first;
    uint64_t bitmap, run;
    bool present;

    *ret = bat_state(entry) == BLOCK_FULLY_PRESENT;
    if (bat_state(entry) != BLOCK_PARTIALLY_PRESENT)
        return 0;
    int r = table_bitmap_entry(p->img, NULL, p->block, &bitmap, err);
    if (r == 0)
        r = table_bitmap_run(p->img, NULL, bat_file_offset(bitmap), disk_sector(p) + first, count,
                             &present, &run, err);
    if (r == 0)
        *ret = present && run == count;
    return r;
}

static int write_piece(const struct piece *p, struct vhdx_error *err)
{
    pthread_rwlock_t *stripe = writer_stripe(p->img, p->block);
    bool mapped = false;
    uint64_t entry;

    pthread_rwlock_rdlock(stripe);
    int r = entry_of(p, &entry, err);
    if (r == 0)
        r = is_mapped(p, entry, &mapped, err);
    if (r == 0 && mapped)
        r = writer_begin_change(p->img, err);
    if (r == 0 && mapped)
        r = put(p->img, p->buf, p->len, bat_file_offset(entry) + p->within, err);
    pthread_rwlock_unlock(stripe);
    if (r < 0 || mapped)
        return r;

    pthread_rwlock_wrlock(stripe);
    r = write_exclusively(p, err);
    pthread_rwlock_unlock(stripe);
    return r;
}

/* ---- Trimming ------------------------------------------------------------------------------- */

/* Punches what of the piece is in this file; the tables stay. */
static int trim_part(const struct piece *p, struct vhdx_error *err)
{
    struct map_iter it;
    struct vhdx_extent e;
    int r;

    map_begin(&it, p->chain, NULL, virtual_offset(p), p->len);
    while ((r = map_next(&it, &e, err)) > 0) {
        if (e.kind != VHDX_EXTENT_DATA || e.depth != 0)
            continue;
        r = punch(p->img, e.length, e.file_offset, true, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int trim_whole(const struct piece *p, uint64_t entry, struct vhdx_error *err)
{
    uint64_t at = bat_file_offset(entry);

    int r = set_entry_locked(p, BLOCK_UNMAPPED, at, false, err);
    return r < 0 ? r : punch(p->img, UINT64_C(1) << p->img->geometry.block_shift, at, false,
                              err);
}

static int trim_piece(const struct piece *p, struct vhdx_error *err)
{
    pthread_rwlock_t *stripe = writer_stripe(p->img, p->block);
    uint64_t entry;

    pthread_rwlock_wrlock(stripe);
    int r = entry_of(p, &entry, err);
    if (r == 0 && bat_is_present(entry))
        r = writer_begin_change(p->img, err);
    if (r == 0 && bat_is_present(entry))
        r = is_whole(p) && bat_state(entry) == BLOCK_FULLY_PRESENT &&
                    !p->img->metadata.leave_allocated
                ? trim_whole(p, entry, err) : trim_part(p, err);
    pthread_rwlock_unlock(stripe);
    return r;
}

/* ---- The disk ------------------------------------------------------------------------------- */

static int for_each_piece(const struct chain *c, const uint8_t *buf, uint64_t len, uint64_t offset,
                          int (*fn)(const struct piece *p, struct vhdx_error *err),
                          struct vhdx_error *err)
{
    struct image *img = c->images[0];
    const struct geometry *g = &img->geometry;
    uint64_t block_size = UINT64_C(1) << g->block_shift;

    int r = writer_verify(img, err);
    for (uint64_t done = 0; done < len && r == 0;) {
        uint64_t at = offset + done, block = at >> g->block_shift;
        struct piece p = {
            .chain = c,
            .img = img,
            .buf = buf ? buf + done : NULL,
            .block = block,
            .within = at & (block_size - 1),
            .block_len = min_u64(block_size, g->virtual_size - (block << g->block_shift)),
        };
        p.len = min_u64(block_size - p.within, len - done);
        r = fn(&p, err);
        done += p.len;
    }
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    return r;
}

int chain_write(const struct chain *c, const void *buf, uint64_t len, uint64_t offset,
                struct vhdx_error *err)
{
    return for_each_piece(c, buf, len, offset, write_piece, err);
}

int chain_trim(const struct chain *c, uint64_t len, uint64_t offset, struct vhdx_error *err)
{
    return for_each_piece(c, NULL, len, offset, trim_piece, err);
}
