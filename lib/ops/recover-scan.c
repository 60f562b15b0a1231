/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The search of a file for its structures, which begin at multiples of 1 MiB; see recover.h. Of
 * most MiBs a page tells that they are payload; only one that may be a BAT is read whole, as far as
 * it may be one.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "io/file.h"
#include "ops/recover.h"
#include "util/cleanup.h"
#include "util/iszero.h"

#define STEP (4 * KIB)
#define BATS_IN_A_ROW 8 /* candidates in neighbouring MiBs: a long BAT goes on */
#define METADATA_LENGTH_MAX (64 * MIB)
#define REPORT_MIBS 64

/* ---- Metadata ------------------------------------------------------------------------------- */

struct table_view {
    const struct recover *rc;
    uint64_t offset;
    const uint8_t *buf; /* METADATA_TABLE_SIZE bytes */
};

static uint64_t region_max(const struct recover *rc, uint64_t offset)
{
    return min_u64(rc->size - offset, METADATA_LENGTH_MAX);
}

/* The item with the id of k in a table that may be damaged; false if the region has none. */
static bool find_item(const struct table_view *v, enum metadata_known k,
                      struct metadata_item *ret)
{
    const struct guid_disk id = guid_make(metadata_id(k));
    struct metadata_entry_disk d;

    for (uint32_t i = 1; i <= LIMIT_METADATA_ITEMS; i++) {
        memcpy(&d, v->buf + i * sizeof d, sizeof d);
        if (memcmp(&d.item_id, &id, sizeof id) != 0)
            continue;
        *ret = (struct metadata_item){ .offset = le32_get(d.offset),
                                       .length = le32_get(d.length) };
        return ret->offset >= METADATA_TABLE_SIZE && ret->length > 0 &&
               ret->length <= LIMIT_METADATA_ITEM_LENGTH &&
               range_fits(ret->offset, ret->length, region_max(v->rc, v->offset));
    }
    return false;
}

static bool read_locator(const struct table_view *v, const struct metadata_item *item)
{
    CLEANUP_FREE uint8_t *buf = malloc(item->length);
    CLEANUP_FREE struct locator *locator = malloc(sizeof *locator);

    return buf && locator &&
           io_pread(v->rc->io, buf, item->length, v->offset + item->offset, NULL) == 0 &&
           locator_decode(buf, item->length, 0, NULL, locator, NULL) == 0;
}

static void read_item(const struct table_view *v, enum metadata_known k,
                      struct recover_metadata *m)
{
    struct metadata_item item;
    uint8_t buf[16];

    if (!find_item(v, k, &item))
        return;
    uint64_t at = v->offset + item.offset;
    if (k == METADATA_PARENT_LOCATOR) {
        if (!read_locator(v, &item))
            return;
        m->locator_offset = at;
        m->locator_length = item.length;
    } else if (item.length > sizeof buf || io_pread(v->rc->io, buf, item.length, at, NULL) < 0 ||
               metadata_item_decode(k, buf, item.length, at, NULL, &m->m, NULL) < 0) {
        return;
    }
    if (k == METADATA_VIRTUAL_DISK_SIZE && m->m.virtual_size == 0)
        return; /* one that was never filled in */
    m->known |= 1u << k;
    m->length = (uint32_t)max_u64(m->length, align_up((uint64_t)item.offset + item.length, MIB));
}

/* May the region stay as it is? */
static bool is_intact(const struct table_view *v, const struct recover_metadata *m)
{
    const uint32_t fixed_items = (1u << METADATA_PARENT_LOCATOR) - 1;
    CLEANUP_FREE struct metadata_table *table = malloc(sizeof *table);

    if ((m->known & fixed_items) != fixed_items ||
        m->m.has_parent != recover_knows(m, METADATA_PARENT_LOCATOR))
        return false;
    return table && metadata_table_decode(v->buf, v->offset, m->length, NULL, table, NULL) == 0;
}

bool recover_read_metadata(const struct recover *rc, uint64_t offset,
                           struct recover_metadata *ret)
{
    CLEANUP_FREE uint8_t *buf = calloc(1, METADATA_TABLE_SIZE);
    const struct table_view v = { .rc = rc, .offset = offset, .buf = buf };

    if (!buf || offset >= rc->size ||
        io_pread(rc->io, buf, (size_t)min_u64(METADATA_TABLE_SIZE, rc->size - offset), offset,
                 NULL) < 0)
        return false;
    /* The size is verified against the sector size, which may be lost. */
    *ret = (struct recover_metadata){ .offset = offset, .length = MIB,
                                      .m.logical_sector_size = 512 };
    for (int k = 0; k < METADATA_KNOWN_COUNT; k++)
        read_item(&v, (enum metadata_known)k, ret);
    ret->is_intact = is_intact(&v, ret);
    return ret->known != 0;
}

/* Does a metadata table begin like this? One known id is enough: 16 bytes do not come by chance. */
static bool looks_like_metadata(const uint8_t *page)
{
    if (memcmp(page, "metadata", 8) == 0)
        return true;
    for (size_t at = sizeof(struct metadata_header_disk);
         at + sizeof(struct metadata_entry_disk) <= STEP; at += sizeof(struct metadata_entry_disk))
        for (int k = 0; k < METADATA_KNOWN_COUNT; k++) {
            const struct guid_disk id = guid_make(metadata_id((enum metadata_known)k));
            if (memcmp(page + at, &id, sizeof id) == 0)
                return true;
        }
    return false;
}

/* ---- One MiB -------------------------------------------------------------------------------- */

enum mib_kind { MIB_ZERO, MIB_DATA, MIB_METADATA, MIB_BAT, MIB_LOG };

/* Counts of a MiB's entries, if they are some. */
struct counts {
    uint64_t used, present, bad;
};

static void count_page(const uint8_t *page, struct counts *c)
{
    for (size_t at = 0; at < STEP; at += BAT_ENTRY_SIZE) {
        struct le64 d;
        memcpy(&d, page + at, sizeof d);
        uint64_t entry = le64_get(d), offset = bat_file_offset(entry);
        if (entry == 0)
            continue;
        bool is_bad = bat_state(entry) == 4 || (entry & BAT_RESERVED_BITS) != 0 ||
                      offset >= LIMIT_FILE_SIZE ||
                      (bat_is_present(entry) && offset < HEADER_SECTION_SIZE);
        c->used++;
        c->bad += is_bad;
        c->present += !is_bad && bat_is_present(entry);
    }
}

/* A few bad entries in a BAT are damage; mostly bad ones are something else. */
static bool may_be_bat(const struct counts *c)
{
    return c->bad <= c->used / 64;
}

static int look_at(const struct recover *rc, uint64_t offset, uint8_t *page,
                   enum mib_kind *ret, struct vhdx_error *err)
{
    uint64_t end = min_u64(offset + MIB, rc->size);
    struct counts c = { 0 };

    *ret = MIB_DATA;
    for (uint64_t at = offset; at < end; at += STEP) {
        memset(page, 0, STEP);
        int r = io_pread(rc->io, page, (size_t)min_u64(STEP, end - at), at, err);
        if (r < 0)
            return r;
        if (at == offset && (memcmp(page, "loge", 4) == 0 || memcmp(page, "data\0", 4) == 0)) {
            *ret = MIB_LOG;
            return 0;
        }
        if (at == offset && looks_like_metadata(page)) {
            *ret = MIB_METADATA;
            return 0;
        }
        if (!is_zero(page, STEP))
            count_page(page, &c);
        /* Damage of a page's worth may stand at the front; much more of it is no BAT. */
        if (c.bad > c.used / 64 + 8)
            return 0;
    }
    *ret = c.used == 0 ? MIB_ZERO : c.present > 0 && may_be_bat(&c) ? MIB_BAT : MIB_DATA;
    return 0;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void add_metadata(struct recover *rc, uint64_t offset)
{
    if (rc->metadata_count == RECOVER_METADATA_MAX)
        rc->is_full = true;
    else if (recover_read_metadata(rc, offset, &rc->metadata[rc->metadata_count]))
        rc->metadata_count++;
}

static void add_bat(struct recover *rc, uint64_t offset)
{
    for (uint32_t i = 0; i < rc->bats_count; i++)
        if (rc->bats[i] == offset)
            return;
    if (rc->bats_count == RECOVER_BATS_MAX)
        rc->is_full = true;
    else
        rc->bats[rc->bats_count++] = offset;
}

static void take(struct recover *rc, uint64_t offset, enum mib_kind kind, enum mib_kind before,
                 uint64_t *in_a_row)
{
    *in_a_row = kind == MIB_BAT ? *in_a_row + 1 : 0;
    if (kind == MIB_METADATA)
        add_metadata(rc, offset);
    else if (kind == MIB_BAT && *in_a_row <= BATS_IN_A_ROW)
        add_bat(rc, offset);
    else if (kind == MIB_LOG && before != MIB_LOG && rc->logs_count < ARRAY_LEN(rc->logs))
        rc->logs[rc->logs_count++] = offset;
    /* The log and metadata are no payload; nor is a BAT, but that is for the plan to say. */
    if (kind == MIB_DATA || kind == MIB_BAT)
        space_claim(&rc->data, offset, 1);
}

/* Where there may be something next: in the file, or brought by the log. */
static uint64_t next_data(const struct recover *rc, uint64_t offset)
{
    uint64_t next = rc->file ? file_next_data(rc->file, offset) : offset;
    struct range brought;

    if (ranges_next(&rc->brought, offset, rc->size, &brought))
        next = min_u64(next, brought.start);
    return next;
}

int recover_scan(struct recover *rc, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *page = malloc(STEP);
    enum mib_kind kind = MIB_ZERO, before;
    uint64_t in_a_row = 0, reported = 0;

    if (!page)
        return fail_nomem(err);
    rc->is_scanned = true;
    rc->is_full = false;
    rc->metadata_count = rc->bats_count = rc->logs_count = 0;
    space_end(&rc->data);
    int r = space_init(&rc->data, rc->size, err);
    for (uint64_t at = HEADER_SECTION_SIZE; at < rc->size && r == 0; at += MIB) {
        uint64_t next = next_data(rc, at);
        if (next >= rc->size)
            break;
        if (next - at >= MIB) {
            at = align_down(next, MIB);
            in_a_row = 0;
            kind = MIB_ZERO;
        }
        before = kind;
        r = look_at(rc, at, page, &kind, err);
        if (r == 0)
            take(rc, at, kind, before, &in_a_row);
        if (r == 0 && (at - reported) / MIB >= REPORT_MIBS) {
            reported = at;
            r = recover_progress(rc, at, err);
        }
    }
    return r;
}
