/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing what is missing into the scratch file; see recover.h. What stays, stays in its place;
 * what is made up is put behind everything that the file holds, or that a block past its end would
 * hold.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "ops/recover.h"
#include "util/cleanup.h"

#define NEW_LOG_LENGTH (1 * MIB)
#define NEW_METADATA_LENGTH (4 * MIB) /* holds the largest locator too */
#define LOCATOR_SIZE 1024
#define ENTRIES_PER_STEP 8192u

struct build {
    struct recover *rc;
    struct geometry g;
    uint64_t place;  /* where the next structure that is made up goes */
    struct region bat, metadata;
};

static uint64_t take_place(struct build *b, uint64_t length)
{
    uint64_t at = b->place;

    b->place += align_up(length, MIB);
    return at;
}

/* ---- Metadata ------------------------------------------------------------------------------- */

/* A parent of which only is known that there was one: no file matches it by its GUID. */
static int add_unknown_parent(struct metadata_encoder *e, struct vhdx_error *err)
{
    char braced[GUID_TEXT_SIZE + 2] = "{", *text = braced + 1;
    uint8_t item[LOCATOR_SIZE];
    struct guid linkage;

    if (!guid_random(&linkage))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    guid_format(&linkage, text);
    text[GUID_TEXT_SIZE - 1] = '}';
    text[GUID_TEXT_SIZE] = '\0';
    const struct vhdx_key_value pairs[] = { { "parent_linkage", braced },
                                            { "relative_path", ".\\the lost parent" } };
    uint32_t length = locator_encode(pairs, ARRAY_LEN(pairs), item, sizeof item);
    if (length == 0 || !metadata_encode_item(e, metadata_id(METADATA_PARENT_LOCATOR),
                                             METADATA_IS_REQUIRED, item, length))
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the metadata region is full");
    return 0;
}

static int add_locator(struct build *b, struct metadata_encoder *e, struct vhdx_error *err)
{
    const struct recover_metadata *m = b->rc->source;

    if (!m || m->locator_length == 0) {
        recover_found(b->rc, VHDX_RECOVER_PARENT, VHDX_SOURCE_LOST, 100, VHDX_OFFSET_NONE, 0,
                      "the image has a parent, but nothing tells which");
        return add_unknown_parent(e, err);
    }
    CLEANUP_FREE uint8_t *item = malloc(m->locator_length);
    if (!item)
        return fail_nomem(err);
    int r = io_pread(b->rc->io, item, m->locator_length, m->locator_offset, err);
    if (r == 0 && !metadata_encode_item(e, metadata_id(METADATA_PARENT_LOCATOR),
                                        METADATA_IS_REQUIRED, item, m->locator_length))
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the metadata region is full");
    return r;
}

static int make_metadata(struct build *b, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *buf = calloc(1, NEW_METADATA_LENGTH);
    struct metadata m = b->rc->chosen;
    struct metadata_encoder e;
    int r = 0;

    if (!buf)
        return fail_nomem(err);
    if (guid_is_zero(&m.virtual_disk_id) && !guid_random(&m.virtual_disk_id))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    m.leave_allocated = m.leave_allocated && !m.has_parent;
    metadata_encode_begin(&e, buf, NEW_METADATA_LENGTH);
    if (!metadata_encode_known(&e, &m))
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the metadata region is full");
    if (r == 0 && m.has_parent)
        r = add_locator(b, &e, err);
    if (r < 0)
        return r;
    b->metadata.length = (uint32_t)align_up(e.end, MIB);
    b->metadata.offset = take_place(b, b->metadata.length);
    return io_pwrite(b->rc->io, buf, e.end, b->metadata.offset, err);
}

static int build_metadata(struct build *b, struct vhdx_error *err)
{
    const struct recover *rc = b->rc;
    const struct recover_metadata *m = rc->source;
    const struct metadata *c = &rc->chosen;

    if (!m || !m->is_intact || m->m.block_size != c->block_size ||
        m->m.logical_sector_size != c->logical_sector_size ||
        m->m.virtual_size != c->virtual_size || m->m.has_parent != c->has_parent)
        return make_metadata(b, err);
    b->metadata.offset = m->offset;
    b->metadata.length = m->length;
    return 0;
}

/* ---- BAT ------------------------------------------------------------------------------------ */

static void contiguous_entries(const struct build *b, uint64_t first, uint64_t count,
                               struct le64 *ret)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t block;
        bool is_bitmap = bat_index_is_bitmap(&b->g, first + i, &block);
        uint64_t at = b->rc->payload_offset + (block << b->g.block_shift);
        bool is_there = b->rc->payload_offset != 0 && !is_bitmap;
        ret[i] = le64_make(is_there ? at | BLOCK_FULLY_PRESENT : 0);
    }
}

/* A BAT behind the file: that of a contiguous payload, or what there is of one that has no room. */
static int make_bat(struct build *b, struct vhdx_error *err)
{
    const struct recover *rc = b->rc;
    CLEANUP_FREE struct le64 *entries = malloc(ENTRIES_PER_STEP * sizeof *entries);
    bool is_copy = rc->bat_offset != VHDX_OFFSET_NONE;
    uint64_t end = is_copy ? min_u64(rc->bat_available, b->g.bat_entries) : b->g.bat_entries;
    int r = entries ? 0 : fail_nomem(err);

    if (!is_copy && rc->payload_offset != 0) /* what was cut off the payload stays behind it */
        b->place = max_u64(b->place, rc->payload_offset +
                                         (b->g.payload_blocks << b->g.block_shift));
    b->bat.length = (uint32_t)align_up(b->g.bat_entries * BAT_ENTRY_SIZE, MIB);
    b->bat.offset = take_place(b, b->bat.length);
    for (uint64_t first = 0, count; first < end && r == 0; first += count) {
        count = min_u64(ENTRIES_PER_STEP, end - first);
        if (is_copy)
            r = io_pread(rc->io, entries, (size_t)count * BAT_ENTRY_SIZE,
                         rc->bat_offset + first * BAT_ENTRY_SIZE, err);
        else
            contiguous_entries(b, first, count, entries);
        if (r == 0)
            r = io_pwrite(rc->io, entries, (size_t)count * BAT_ENTRY_SIZE,
                          b->bat.offset + first * BAT_ENTRY_SIZE, err);
    }
    return r;
}

/* The blocks whose entries are gone. */
static int lose_rest(struct build *b, struct vhdx_error *err)
{
    uint64_t number, index = b->rc->bat_available;
    bool is_bitmap = bat_index_is_bitmap(&b->g, index, &number);
    uint64_t block = is_bitmap ? (number + 1) << b->g.chunk_shift : number;

    if (block >= b->g.payload_blocks)
        return 0;
    if (ranges_reserve(&b->rc->lost) < 0)
        return fail_nomem(err);
    ranges_add(&b->rc->lost, block << b->g.block_shift, b->g.virtual_size);
    return 0;
}

static int build_bat(struct build *b, struct vhdx_error *err)
{
    struct recover *rc = b->rc;

    if (rc->bat_offset == VHDX_OFFSET_NONE)
        return make_bat(b, err);
    if (rc->bat_available < b->g.bat_entries) {
        int r = lose_rest(b, err);
        return r < 0 ? r : make_bat(b, err);
    }
    b->bat.offset = rc->bat_offset;
    b->bat.length = (uint32_t)align_up(b->g.bat_entries * BAT_ENTRY_SIZE, MIB);
    return 0;
}

/* ---- The header section --------------------------------------------------------------------- */

static bool log_is_in_the_way(const struct build *b)
{
    const struct header *h = &b->rc->header;

    return !b->rc->has_header || header_verify_log(h, 0, NULL, NULL) < 0 ||
           ranges_overlap(h->log_offset, h->log_length, b->bat.offset, b->bat.length) ||
           ranges_overlap(h->log_offset, h->log_length, b->metadata.offset, b->metadata.length);
}

static int write_headers(struct build *b, struct vhdx_error *err)
{
    struct recover *rc = b->rc;
    struct header h = rc->header;
    struct header_disk disk;
    int r = 0;

    if (log_is_in_the_way(b)) {
        h.log_length = NEW_LOG_LENGTH;
        h.log_offset = take_place(b, NEW_LOG_LENGTH);
    }
    h.log_guid = (struct guid){ { 0 } };
    h.log_version = 0;
    if (!guid_random(&h.file_write_guid) ||
        (!rc->has_header && !guid_random(&h.data_write_guid)))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        h.sequence_number = i + 1;
        header_encode(&h, &disk);
        r = io_pwrite(rc->io, &disk, sizeof disk, HEADER_OFFSET(i), err);
    }
    return r;
}

static int write_regions(struct build *b, struct vhdx_error *err)
{
    const struct recover *rc = b->rc;
    CLEANUP_FREE uint8_t *table = malloc(REGION_TABLE_SIZE);
    int r = 0;

    if (!table)
        return fail_nomem(err);
    region_table_encode(b->bat.offset, b->bat.length, b->metadata.offset, b->metadata.length,
                        table);
    for (unsigned i = 0; i < 2 && r == 0; i++)
        r = io_pwrite(rc->io, table, REGION_TABLE_SIZE, REGION_TABLE_OFFSET(i), err);
    return r;
}

static int write_beginning(struct build *b, struct vhdx_error *err)
{
    struct ident_disk ident;
    int r = 0;

    if (!b->rc->has_ident) {
        ident_encode("vhdx " VHDX_VERSION, &ident);
        r = io_pwrite(b->rc->io, &ident, sizeof ident, IDENT_OFFSET, err);
    }
    if (r == 0)
        r = write_headers(b, err);
    return r < 0 ? r : write_regions(b, err);
}

int recover_build(struct recover *rc, struct vhdx_error *err)
{
    struct build b = { .rc = rc, .place = align_up(max_u64(rc->size, rc->highest_end), MIB) };

    if (!is_aligned(rc->chosen.virtual_size, rc->chosen.logical_sector_size) ||
        rc->chosen.virtual_size == 0)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "virtual size is %" PRIu64 ", must be a multiple of %" PRIu32 " above 0",
                    rc->chosen.virtual_size, rc->chosen.logical_sector_size);
    geometry_init(&b.g, &rc->chosen);
    int r = build_bat(&b, err);
    if (r == 0)
        r = build_metadata(&b, err);
    if (r == 0)
        b.place = max_u64(b.place, align_up(b.bat.offset + b.bat.length, MIB));
    if (r == 0)
        r = write_beginning(&b, err);
    return r < 0 ? r : io_truncate(rc->io, b.place, err);
}
