/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* One image file: opening, the headers, the log, the tables; see image.h. */

#include "core/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/writer.h"
#include "util/cleanup.h"
#include "util/limits.h"

#define NOTE(img, ...) lines_add(&(img)->notes, LIMIT_NOTES, __VA_ARGS__)

const char *image_name(const struct image *img)
{
    return img->path ? img->path : "(custom file)";
}

uint32_t image_type(const struct image *img)
{
    if (img->metadata.has_parent)
        return VHDX_TYPE_DIFFERENCING;
    return img->metadata.leave_allocated ? VHDX_TYPE_FIXED : VHDX_TYPE_DYNAMIC;
}

const char *image_locator_value(const struct image *img, const char *key)
{
    for (uint32_t i = 0; i < img->locator_count; i++)
        if (strcmp(img->locator[i].key, key) == 0)
            return img->locator[i].value;
    return NULL;
}

int image_pread(const struct image *img, const char *what, void *buf, size_t len, uint64_t offset,
                struct vhdx_error *err)
{
    if (!range_fits(offset, len, image_size(img)))
        return fail(err, VHDX_E_TRUNCATED, offset,
                    "%s: file is %" PRIu64 " bytes long, must reach to %" PRIu64, what,
                    image_size(img), offset + len);
    if (img->overlay)
        return overlay_pread(img->overlay, &img->io, buf, len, offset, err);
    return io_pread(&img->io, buf, len, offset, err);
}

/* ---- Headers -------------------------------------------------------------------------------- */

static int read_ident(struct image *img, struct vhdx_error *err)
{
    struct ident_disk d = { 0 };
    size_t len = (size_t)min_u64(sizeof d, img->file_size);

    int r = io_pread(&img->io, &d, len, IDENT_OFFSET, err);
    if (r == 0)
        r = ident_verify(&d, len, err);
    if (r < 0)
        return r;
    img->creator = malloc(CREATOR_TEXT_SIZE);
    if (!img->creator)
        return fail_nomem(err);
    ident_creator(&d, img->creator);
    return 0;
}

static void set_copy(struct copy_state *c, int r, const struct vhdx_error *problem)
{
    free(c->problem);
    *c = (struct copy_state){ .valid = r == 0 };
    if (r < 0)
        c->problem = strdup(problem->message);
}

/*
 * Both copies of a structure are unusable: which error tells most? That of the first, unless only
 * the second says more than that its bytes are wrong.
 */
static int fail_both(struct vhdx_error *err, const struct vhdx_error problems[2])
{
    bool second = problems[1].code == VHDX_E_UNSUPPORTED ||
                  (problems[0].code == VHDX_E_CHECKSUM && problems[1].code != VHDX_E_CHECKSUM);
    const struct vhdx_error *p = &problems[second];

    return fail(err, p->code, p->file_offset, "%s; and %s", problems[0].message,
                problems[1].message);
}

static int read_headers(struct image *img, struct vhdx_error *err)
{
    struct header_disk disk[2];
    struct header headers[2];
    struct vhdx_error problems[2];
    bool valid[2];

    for (int i = 0; i < 2; i++) {
        uint64_t at = HEADER_OFFSET((unsigned)i);
        if (!range_fits(at, sizeof disk[i], img->file_size))
            return fail(err, VHDX_E_TRUNCATED, at,
                        "header %d: file is %" PRIu64 " bytes long, must be at least 1 MiB", i + 1,
                        img->file_size);
        int r = io_pread(&img->io, &disk[i], sizeof disk[i], at, err);
        if (r < 0)
            return r;
        r = header_decode(&disk[i], i, &headers[i], &problems[i]);
        valid[i] = r == 0;
        set_copy(&img->headers[i], r, &problems[i]);
        if (valid[i])
            img->headers[i].sequence_number = headers[i].sequence_number;
    }
    if (!valid[0] && !valid[1])
        return fail_both(err, problems);

    bool identical = memcmp(&disk[0], &disk[1], sizeof disk[0]) == 0;
    int r = header_choose(headers, valid, identical, &img->header_copy, err);
    if (r < 0)
        return r;
    img->header = headers[img->header_copy];
    img->headers[img->header_copy].in_use = true;
    return 0;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int read_size(struct image *img, struct vhdx_error *err)
{
    int r = io_size(&img->io, &img->file_size, err);

    img->size = img->file_size;
    if (r == 0 && img->file_size > LIMIT_FILE_SIZE)
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                 "file is %" PRIu64 " bytes long, must be at most 256 TiB", img->file_size);
    return r;
}

static int read_beginning(struct image *img, struct vhdx_error *err)
{
    int r = read_size(img, err);

    if (r == 0)
        r = read_ident(img, err);
    if (r == 0)
        r = read_headers(img, err);
    return r;
}

int image_open_io(const struct vhdx_io *io, struct image **ret, struct vhdx_error *err)
{
    struct image *img = calloc(1, sizeof *img);

    if (!img) {
        if (io->close)
            io->close(io->opaque);
        return fail_nomem(err);
    }
    img->io = *io;
    img->has_id = file_get_id(io, &img->id);
    pthread_mutex_init(&img->claim_lock, NULL);
    int r = read_beginning(img, err);
    if (r < 0) {
        image_close(img);
        return r;
    }
    *ret = img;
    return 0;
}

int image_open_path(const char *path, bool writable, struct image **ret, struct vhdx_error *err)
{
    CLEANUP_FREE char *copy = strdup(path);
    struct image *img = NULL;
    struct vhdx_io io;

    if (!copy)
        return fail_nomem(err);
    int r = file_open(path, writable, &io, err);
    if (r == 0)
        r = image_open_io(&io, &img, err);
    if (r < 0) {
        fail_prefix(err, "%s: ", path);
        return r;
    }
    img->path = steal_ptr(copy);
    *ret = img;
    return 0;
}

int image_lock(struct image *img, struct vhdx_error *err)
{
    bool supported;

    if (!img->has_id)
        return 0;
    int r = file_lock(&img->io, &supported, err);
    if (r == 0 && !supported)
        NOTE(img, "the file system has no locks: nothing keeps a writer away");
    if (r == 0)
        r = read_size(img, err);
    if (r == 0)
        r = read_headers(img, err);
    return r;
}

void image_close(struct image *img)
{
    if (!img)
        return;
    writer_close(img);
    for (int i = 0; i < 2; i++) {
        free(img->headers[i].problem);
        free(img->region_tables[i].problem);
    }
    free(img->locator);
    free(img->locator_text);
    pages_end(&img->bat);
    pages_end(&img->bitmaps);
    space_end(&img->space);
    free(img->bat_claimed);
    lines_end(&img->notes);
    overlay_free(img->overlay);
    free(img->regions);
    free(img->creator);
    free(img->path);
    pthread_mutex_destroy(&img->claim_lock);
    io_close(&img->io);
    free(img);
}

/* ---- Loading -------------------------------------------------------------------------------- */

static int build_overlay(struct image *img, struct log_ring *ring, struct vhdx_error *err)
{
    struct log_sequence sequence = { 0 };

    int r = log_scan(ring, &img->header.log_guid, &sequence, err);
    if (r < 0)
        return r;
    if (sequence.count > 0) {
        img->log = (struct log_facts){
            .state = VHDX_LOG_DIRTY,
            .entries = sequence.count,
            .first_sequence_number = sequence.entries[0].sequence_number,
            .last_sequence_number = sequence.entries[sequence.count - 1].sequence_number,
        };
        r = overlay_build(ring, &sequence, img->file_size, &img->overlay, err);
    } else if (sequence.log_is_zero) {
        img->log.state = VHDX_LOG_EMPTY;
        NOTE(img, "the log GUID is set, but the log holds nothing but zeros: taken as empty");
    } else {
        r = fail(err, VHDX_E_CORRUPT, img->header.log_offset,
                 "log: no valid sequence of entries, but header %d says that there is one",
                 img->header_copy + 1);
    }
    log_sequence_end(&sequence);
    return r;
}

static int replay_log(struct image *img, struct vhdx_error *err)
{
    const struct header *h = &img->header;
    struct log_ring ring;

    int r = header_verify_log(h, img->header_copy, err);
    if (r < 0)
        return r;
    img->log.state = VHDX_LOG_CLEAN;
    if (guid_is_zero(&h->log_guid))
        return 0;
    if (!range_fits(h->log_offset, h->log_length, img->file_size))
        return fail(err, VHDX_E_TRUNCATED, h->log_offset,
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

static int read_region_tables(struct image *img, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *buf = malloc(REGION_TABLE_SIZE);
    CLEANUP_FREE struct region_table *other = malloc(sizeof *other);
    struct vhdx_error problems[2];

    img->regions = malloc(sizeof *img->regions);
    if (!buf || !other || !img->regions)
        return fail_nomem(err);
    for (int i = 0; i < 2; i++) {
        bool is_first = i == 0 || !img->region_tables[0].valid;
        int r = image_pread(img, i == 0 ? "region table 1" : "region table 2", buf,
                            REGION_TABLE_SIZE, REGION_TABLE_OFFSET((unsigned)i), err);
        if (r < 0)
            return r;
        r = region_table_decode(buf, i, is_first ? img->regions : other, &problems[i]);
        set_copy(&img->region_tables[i], r, &problems[i]);
        if (r == 0 && is_first)
            img->region_tables[i].in_use = true;
        /* A copy that is intact, but asks for what is not known, is not to be got round. */
        if (r == -VHDX_E_UNSUPPORTED && is_first) {
            if (err)
                *err = problems[i];
            return r;
        }
    }
    if (!img->region_tables[0].valid && !img->region_tables[1].valid)
        return fail_both(err, problems);
    for (int i = 0; i < 2; i++)
        if (img->region_tables[i].problem)
            NOTE(img, "%s (region table %d is used)", img->region_tables[i].problem, 2 - i);
    if (img->region_tables[0].valid && img->region_tables[1].valid &&
        !same_regions(img->regions, other))
        NOTE(img, "the two region tables differ (region table 1 is used)");
    return 0;
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
            return fail(err, VHDX_E_CORRUPT, g->offset,
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
}

static int read_item(struct image *img, const struct metadata_item *item, const char *name,
                     uint8_t *buf, struct vhdx_error *err)
{
    char what[64];

    snprintf(what, sizeof what, "metadata item \"%s\"", name);
    return image_pread(img, what, buf, item->length,
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
        r = locator_decode(buf, item->length, at, locator, err);
    if (r == 0)
        r = keep_locator(img, locator, err);
    if (r < 0)
        return r;
    for (int i = 0; i < 2; i++) {
        const char *text = image_locator_value(img, keys[i]);
        if (text && !guid_parse(text, &img->linkage[i]))
            return fail(err, VHDX_E_CORRUPT, at,
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
                                     region + item->offset, &img->metadata, err);
        if (r < 0)
            return r;
    }

    uint32_t locator = t->known[METADATA_PARENT_LOCATOR];
    if (img->metadata.has_parent != (locator != METADATA_NOT_THERE))
        return fail(err, VHDX_E_CORRUPT, region,
                    img->metadata.has_parent
                        ? "metadata table: item \"parent locator\" is missing, but HasParent is set"
                        : "metadata table: item \"parent locator\" is there, but HasParent is not "
                          "set");
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
        return fail(err, VHDX_E_CORRUPT, region->offset,
                    "metadata region: length is %" PRIu32 ", must be at least 1 MiB",
                    region->length);
    int r = image_pread(img, "metadata table", buf, METADATA_TABLE_SIZE, region->offset, err);
    if (r == 0)
        r = metadata_table_decode(buf, region->offset, region->length, table, err);
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
        return fail(err, VHDX_E_CORRUPT, bat->offset,
                    "BAT region: length is %" PRIu32 ", must be at least %" PRIu64
                    " for %" PRIu64 " entries", bat->length, bytes, g->bat_entries);
    if (!range_fits(bat->offset, bytes, img->size))
        return fail(err, VHDX_E_TRUNCATED, bat->offset,
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
