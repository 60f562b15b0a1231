/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* One image file: the log, the regions, the metadata, the tables; see image.h. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/image-parts.h"
#include "util/cleanup.h"
#include "util/limits.h"

/* ---- Loading -------------------------------------------------------------------------------- */

/* The active sequence was found: what it would change. */
static int lay_over(struct image *img, struct log_ring *ring, const struct log_sequence *sequence,
                    struct vhdx_error *err)
{
    struct vhdx_error what;

    img->log = (struct log_facts){
        .state = VHDX_LOG_DIRTY,
        .entries = sequence->count,
        .first_sequence_number = sequence->entries[0].sequence_number,
        .last_sequence_number = sequence->entries[sequence->count - 1].sequence_number,
    };
    int r = overlay_build(ring, sequence, img->file_size, &img->overlay, &what);
    if (r == -VHDX_E_TRUNCATED)
        return image_report(img, VHDX_P_LOG_FILE_TRUNCATED, r, &what, err);
    if (r == -VHDX_E_CORRUPT || r == -VHDX_E_LIMIT)
        return image_report(img, VHDX_P_LOG_FORBIDDEN, r, &what, err);
    if (r < 0) {
        if (err)
            *err = what;
        return r;
    }
    FOUND(img, VHDX_P_LOG_DIRTY, img->header.log_offset,
          "log: %" PRIu32 " entries, numbers %" PRIu64 " to %" PRIu64 ", wait to be replayed",
          img->log.entries, img->log.first_sequence_number, img->log.last_sequence_number);
    if (sequence->is_torn)
        FOUND(img, VHDX_P_LOG_TORN, log_ring_at(ring, sequence->end),
              "log entry at %#" PRIx32 ": is damaged; the sequence ends before it", sequence->end);
    return 0;
}

/* The log GUID is set, but nothing can be replayed. */
static int no_sequence(struct image *img, const struct log_sequence *sequence,
                       struct vhdx_error *err)
{
    uint64_t at = img->header.log_offset;
    int n = img->header_copy + 1;

    if (sequence->log_is_zero) {
        img->log.state = VHDX_LOG_EMPTY;
        NOTE(img, "the log GUID is set, but the log holds nothing but zeros: taken as empty");
        FOUND(img, VHDX_P_LOG_EMPTY, at,
              "log: holds nothing but zeros, but header %d says that there is a sequence", n);
        return 0;
    }
    if (!sequence->has_own)
        return problem(img->sink, VHDX_P_LOG_STALE, err, VHDX_E_CORRUPT, at,
                       "log: no valid sequence of entries, but header %d says that there is one",
                       n);
    return problem_end(img->sink, VHDX_P_LOG_BROKEN, err, VHDX_E_CORRUPT, at,
                       "log: no valid sequence of entries, but header %d says that there is one",
                       n);
}

static int build_overlay(struct image *img, struct log_ring *ring, struct vhdx_error *err)
{
    struct log_sequence sequence = { 0 };
    struct vhdx_error what;

    int r = log_scan(ring, &img->header.log_guid, &sequence, &what);
    if (r == -VHDX_E_LIMIT)
        return image_report(img, VHDX_P_LOG_BROKEN, r, &what, err);
    if (r < 0) {
        if (err)
            *err = what;
        return r;
    }
    r = sequence.count > 0 ? lay_over(img, ring, &sequence, err)
                           : no_sequence(img, &sequence, err);
    log_sequence_end(&sequence);
    return r;
}

/* A clean log holds nothing; the check looks all the same. */
static int look_at_clean_log(struct image *img, struct vhdx_error *err)
{
    const struct header *h = &img->header;
    struct log_ring ring;
    uint64_t left = 0, first = 0;

    if (!range_fits(h->log_offset, h->log_length, img->file_size)) {
        FOUND(img, VHDX_P_LOG_CUT, h->log_offset,
              "log: file is %" PRIu64 " bytes long, must reach to %" PRIu64, img->file_size,
              h->log_offset + h->log_length);
        return 0;
    }
    if (h->log_length == 0)
        return 0;
    int r = log_ring_init(&ring, &img->io, h->log_offset, h->log_length, err);
    for (uint32_t at = 0; r == 0 && at < h->log_length; at += LOG_SECTOR_SIZE) {
        const uint8_t *sector;
        r = log_ring_sector(&ring, at, &sector, err);
        if (r == 0 && memcmp(sector, "loge", 4) == 0 && left++ == 0)
            first = log_ring_at(&ring, at);
    }
    log_ring_end(&ring);
    if (r == 0 && left > 0)
        FOUND(img, VHDX_P_LOG_LEFTOVER, first,
              "log: %" PRIu64 " entries of an earlier session are left; the log is clean", left);
    return r;
}

static int replay_log(struct image *img, struct vhdx_error *err)
{
    const struct header *h = &img->header;
    struct log_ring ring;

    int r = header_verify_log(h, img->header_copy, img->sink, err);
    if (r < 0)
        return r;
    img->log.state = VHDX_LOG_CLEAN;
    if (guid_is_zero(&h->log_guid))
        return img->sink ? look_at_clean_log(img, err) : 0;
    if (!range_fits(h->log_offset, h->log_length, img->file_size))
        return problem_end(img->sink, VHDX_P_LOG_LOST, err, VHDX_E_TRUNCATED, h->log_offset,
                           "log: file is %" PRIu64 " bytes long, must reach to %" PRIu64,
                           img->file_size, h->log_offset + h->log_length);

    r = log_ring_init(&ring, &img->io, h->log_offset, h->log_length, err);
    if (r == 0)
        r = build_overlay(img, &ring, err);
    log_ring_end(&ring);
    if (img->overlay)
        img->size = overlay_size(img->overlay);
    return r;
}

/* One copy stands in for the other. */
static void note_headers(struct image *img)
{
    for (int i = 0; i < 2; i++)
        if (img->headers[i].problem)
            NOTE(img, "%s (header %d is used)", img->headers[i].problem, 2 - i);
}

static bool same_regions(const struct region_table *a, const struct region_table *b)
{
    bool same = a->count == b->count;

    for (uint32_t i = 0; same && i < a->count; i++) {
        const struct region *x = &a->regions[i], *y = &b->regions[i];
        same = guid_equal(&x->guid, &y->guid) && x->offset == y->offset &&
               x->length == y->length && x->required == y->required;
    }
    return same;
}

/* What the check says of the two copies. buf holds REGION_TABLE_SIZE bytes. */
static int report_region_tables(struct image *img, const struct copy_problem problems[2],
                                const struct region_table *other, uint8_t *buf,
                                struct vhdx_error *err)
{
    int used = img->region_tables[0].valid ? 0 : 1;

    if (img->region_tables[!used].problem)
        img->sink->fn(problems[!used].problem, &problems[!used].what, img->sink->opaque);
    else if (!same_regions(img->regions, other))
        FOUND(img, VHDX_P_REGION_TABLES_DIFFER, REGION_TABLE_OFFSET(1),
              "region table 2: differs from region table 1");
    /* Once more, for what does not matter to others. */
    int r = image_pread(img, "region table", buf, REGION_TABLE_SIZE,
                        REGION_TABLE_OFFSET((unsigned)used), err);
    return r < 0 ? r : region_table_decode(buf, used, img->sink, img->regions, err);
}

static int read_region_tables(struct image *img, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *buf = malloc(REGION_TABLE_SIZE);
    CLEANUP_FREE struct region_table *other = malloc(sizeof *other);
    struct copy_problem problems[2] = { 0 };

    img->regions = malloc(sizeof *img->regions);
    if (!buf || !other || !img->regions)
        return fail_nomem(err);
    for (int i = 0; i < 2; i++) {
        bool is_first = i == 0 || !img->region_tables[0].valid;
        int r = image_pread(img, i == 0 ? "region table 1" : "region table 2", buf,
                            REGION_TABLE_SIZE, REGION_TABLE_OFFSET((unsigned)i), err);
        if (r < 0)
            return r;
        const struct problem_sink keep = { image_keep_problem, &problems[i] };
        r = region_table_decode(buf, i, &keep, is_first ? img->regions : other, NULL);
        image_set_copy(&img->region_tables[i], r, &problems[i].what);
        if (r == 0 && is_first)
            img->region_tables[i].in_use = true;
        /* A copy that is intact, but asks for what is not known, is not to be got round. */
        if (r == -VHDX_E_UNSUPPORTED && is_first)
            return image_report(img, problems[i].problem, r, &problems[i].what, err);
    }
    if (!img->region_tables[0].valid && !img->region_tables[1].valid)
        return image_fail_both(img, VHDX_P_REGION_TABLES_LOST, problems, err);
    for (int i = 0; i < 2; i++)
        if (img->region_tables[i].problem)
            NOTE(img, "%s (region table %d is used)", img->region_tables[i].problem, 2 - i);
    if (img->region_tables[0].valid && img->region_tables[1].valid &&
        !same_regions(img->regions, other))
        NOTE(img, "the two region tables differ (region table 1 is used)");
    return img->sink ? report_region_tables(img, problems, other, buf, err) : 0;
}

bool image_is_on_region(const struct image *img, uint64_t offset, uint64_t len)
{
    if (ranges_overlap(offset, len, img->header.log_offset, img->header.log_length))
        return true;
    for (uint32_t i = 0; i < img->regions->count; i++) {
        const struct region *g = &img->regions->regions[i];
        if (ranges_overlap(offset, len, g->offset, g->length))
            return true;
    }
    return false;
}

bool image_claim(struct image *img, uint64_t offset, uint64_t len)
{
    uint64_t size = image_size(img);

    if (offset < size && size - offset < len && image_is_on_region(img, offset, len))
        return false;
    return space_claim(&img->space, offset, len);
}

/* The header section, the log and the regions own their space; nothing else may lie there. */
static int claim_regions(struct image *img, struct vhdx_error *err)
{
    int r = space_init(&img->space, img->size, err);

    if (r < 0)
        return r;
    space_claim(&img->space, 0, HEADER_SECTION_SIZE);
    space_claim(&img->space, img->header.log_offset, img->header.log_length);
    for (uint32_t i = 0; i < img->regions->count; i++) {
        const struct region *g = &img->regions->regions[i];
        if (ranges_overlap(g->offset, g->length, img->header.log_offset, img->header.log_length))
            return problem_end(img->sink, VHDX_P_REGION_ON_LOG, err, VHDX_E_CORRUPT, g->offset,
                               "%s: file range %#" PRIx64 " + %" PRIu32 " overlaps the log",
                               region_name(g), g->offset, g->length);
        space_claim(&img->space, g->offset, g->length);
        if (!range_fits(g->offset, g->length, img->size))
            NOTE(img, "the file ends before the end of the %s", region_name(g));
    }
    return 0;
}

static void note_regions(struct image *img)
{
    const struct region *bat = image_bat_region(img), *metadata = image_metadata_region(img);

    if (!bat->required || !metadata->required)
        NOTE(img, "the %s not marked as required (QEMU writes that; VirtualBox refuses it)",
             bat->required ? "metadata region is"
                           : metadata->required ? "BAT region is" : "known regions are");
    for (uint32_t i = 0; i < img->regions->count; i++) {
        char text[GUID_TEXT_SIZE];
        if (i == img->regions->bat || i == img->regions->metadata)
            continue;
        guid_format(&img->regions->regions[i].guid, text);
        NOTE(img, "unknown region {%s} of %" PRIu32 " bytes", text,
             img->regions->regions[i].length);
    }
    if (!is_aligned(img->file_size, MIB))
        NOTE(img, "the file's size is not a multiple of 1 MiB");
    if (!is_aligned(img->size, MIB))
        FOUND(img, VHDX_P_FILE_SIZE_UNALIGNED, VHDX_OFFSET_NONE,
              "file is %" PRIu64 " bytes long, must be a multiple of 1 MiB", img->size);
    for (uint32_t i = 0; i < img->regions->count; i++) {
        const struct region *g = &img->regions->regions[i];
        if (!range_fits(g->offset, g->length, img->size))
            FOUND(img, VHDX_P_REGION_CUT, g->offset,
                  "%s: file is %" PRIu64 " bytes long, must reach to %" PRIu64, region_name(g),
                  img->size, g->offset + g->length);
    }
}

/* Reads what an image cannot be opened without. */
static int read_region(struct image *img, const char *name, void *buf, size_t len, uint64_t offset,
                       struct vhdx_error *err)
{
    struct vhdx_error what;

    int r = image_pread(img, name, buf, len, offset, &what);
    if (r == -VHDX_E_TRUNCATED)
        return image_report(img, VHDX_P_REGION_LOST, r, &what, err);
    if (r < 0 && err)
        *err = what;
    return r;
}

static int read_item(struct image *img, const struct metadata_item *item, const char *name,
                     uint8_t *buf, struct vhdx_error *err)
{
    char what[64];

    snprintf(what, sizeof what, "metadata item \"%s\"", name);
    return read_region(img, what, buf, item->length,
                       image_metadata_region(img)->offset + item->offset, err);
}

/* Appends UTF-16 text as UTF-8 and a NUL; moves *end past it. */
static const char *keep_text(const uint8_t *src, size_t units, char **end)
{
    const char *text = *end;

    *end += utf16le_to_utf8(src, units, *end) + 1;
    return text;
}

/* Keeps the pairs as text, all of it in one allocation. */
static int keep_locator(struct image *img, const struct locator *l, struct vhdx_error *err)
{
    size_t size = 1;

    for (uint32_t i = 0; i < l->count; i++)
        size += UTF16_MAX_UTF8((size_t)l->pairs[i].key_units) +
                UTF16_MAX_UTF8((size_t)l->pairs[i].value_units);
    img->locator = calloc(l->count, sizeof *img->locator);
    char *end = img->locator_text = malloc(size);
    if (!img->locator || !end)
        return fail_nomem(err);
    for (uint32_t i = 0; i < l->count; i++) {
        img->locator[i].key = keep_text(l->pairs[i].key, l->pairs[i].key_units, &end);
        img->locator[i].value = keep_text(l->pairs[i].value, l->pairs[i].value_units, &end);
    }
    img->locator_count = l->count;
    return 0;
}

static int read_locator(struct image *img, const struct metadata_item *item,
                        struct vhdx_error *err)
{
    static const char *const keys[2] = { "parent_linkage", "parent_linkage2" };
    uint64_t at = image_metadata_region(img)->offset + item->offset;
    CLEANUP_FREE uint8_t *buf = malloc(item->length + 1);
    CLEANUP_FREE struct locator *locator = malloc(sizeof *locator);

    if (!buf || !locator)
        return fail_nomem(err);
    int r = read_item(img, item, metadata_name(METADATA_PARENT_LOCATOR), buf, err);
    if (r == 0)
        r = locator_decode(buf, item->length, at, img->sink, locator, err);
    if (r == 0)
        r = keep_locator(img, locator, err);
    if (r < 0)
        return r;
    for (int i = 0; i < 2; i++) {
        const char *text = image_locator_value(img, keys[i]);
        if (text && !guid_parse(text, &img->linkage[i]))
            return problem_end(img->sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                        "parent locator: %s is \"%s\", must be a GUID in braces", keys[i], text);
    }
    return 0;
}

static int read_items(struct image *img, const struct metadata_table *t, struct vhdx_error *err)
{
    uint64_t region = image_metadata_region(img)->offset;
    uint8_t buf[16];

    for (int k = 0; k < METADATA_PARENT_LOCATOR; k++) {
        const struct metadata_item *item = &t->items[t->known[k]];
        const char *name = metadata_name((enum metadata_known)k);
        int r = 0;
        if (item->length <= sizeof buf)
            r = read_item(img, item, name, buf, err);
        if (r == 0)
            r = metadata_item_decode((enum metadata_known)k, buf, item->length,
                                     region + item->offset, img->sink, &img->metadata, err);
        if (r < 0)
            return r;
    }

    uint32_t locator = t->known[METADATA_PARENT_LOCATOR];
    if (img->metadata.has_parent && locator == METADATA_NOT_THERE)
        return problem_end(img->sink, VHDX_P_LOCATOR_MISSING, err, VHDX_E_CORRUPT, region,
                           "metadata table: item \"parent locator\" is missing, but HasParent is "
                           "set");
    if (!img->metadata.has_parent && locator != METADATA_NOT_THERE)
        return problem_end(img->sink, VHDX_P_LOCATOR_UNEXPECTED, err, VHDX_E_CORRUPT, region,
                           "metadata table: item \"parent locator\" is there, but HasParent is "
                           "not set");
    return img->metadata.has_parent ? read_locator(img, &t->items[locator], err) : 0;
}

static int read_metadata(struct image *img, struct vhdx_error *err)
{
    const struct region *region = image_metadata_region(img);
    CLEANUP_FREE uint8_t *buf = malloc(METADATA_TABLE_SIZE);
    CLEANUP_FREE struct metadata_table *table = malloc(sizeof *table);

    if (!buf || !table)
        return fail_nomem(err);
    if (region->length < METADATA_TABLE_SIZE)
        return problem_end(img->sink, VHDX_P_METADATA_SIGNATURE, err, VHDX_E_CORRUPT,
                           region->offset,
                           "metadata region: length is %" PRIu32 ", must be at least 1 MiB",
                           region->length);
    int r = read_region(img, "metadata table", buf, METADATA_TABLE_SIZE, region->offset, err);
    if (r == 0)
        r = metadata_table_decode(buf, region->offset, region->length, img->sink, table, err);
    if (r == 0)
        r = read_items(img, table, err);
    if (r == 0)
        geometry_init(&img->geometry, &img->metadata);
    return r;
}

static int prepare_tables(struct image *img, struct vhdx_error *err)
{
    const struct geometry *g = &img->geometry;
    const struct region *bat = image_bat_region(img);
    uint64_t bytes = g->bat_entries * BAT_ENTRY_SIZE;
    uint64_t page_count = div_ceil(bytes, PAGE_SIZE);

    if (bytes > bat->length)
        return problem_end(img->sink, VHDX_P_BAT_SMALL, err, VHDX_E_CORRUPT, bat->offset,
                    "BAT region: length is %" PRIu32 ", must be at least %" PRIu64
                    " for %" PRIu64 " entries", bat->length, bytes, g->bat_entries);
    if (!range_fits(bat->offset, bytes, img->size))
        return problem_end(img->sink, VHDX_P_REGION_LOST, err, VHDX_E_TRUNCATED, bat->offset,
                    "BAT region: file is %" PRIu64 " bytes long, must reach to %" PRIu64,
                    img->size, bat->offset + bytes);
    img->bat_claimed = calloc(page_count / 64 + 1, sizeof *img->bat_claimed);
    if (!img->bat_claimed)
        return fail_nomem(err);
    int r = pages_init(&img->bat, page_count, err);
    if (r == 0 && g->has_parent)
        r = pages_init(&img->bitmaps, g->bitmap_blocks * (BITMAP_BLOCK_SIZE / PAGE_SIZE), err);
    return r;
}

int image_load(struct image *img, struct vhdx_error *err)
{
    int r = replay_log(img, err);

    if (r == 0) {
        note_headers(img);
        r = read_region_tables(img, err);
    }
    if (r == 0)
        r = claim_regions(img, err);
    if (r == 0)
        r = read_metadata(img, err);
    if (r == 0)
        r = prepare_tables(img, err);
    if (r == 0)
        note_regions(img);
    return r;
}
