/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The steps that mend region tables, metadata and BAT, all of it through the log; see repair.h. */

#include <inttypes.h>
#include <stdlib.h>

#include "ops/repair.h"
#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/limits.h"

static bool any_applies(const struct repair *r, const enum vhdx_problem *problems, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (repair_may(r, problems[i]))
            return true;
    return false;
}

/* Is there a log to carry the changes? */
static bool has_log(const struct repair *r)
{
    return r->check->image && r->header.log_length >= MIB &&
           range_fits(r->header.log_offset, r->header.log_length, image_size(r->check->image));
}

/* A table became what it should be. Fails if that is what it was already. */
static int end_patches(struct patches *p, const char *what, struct vhdx_error *err)
{
    bool changed = false;
    int c = repair_patches_end(p, &changed, err);

    if (c == 0 && !changed)
        c = fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE, "%s: nothing could be mended", what);
    return c;
}

/* ---- Region tables -------------------------------------------------------------------------- */

static const enum vhdx_problem table_problems[] = {
    VHDX_P_REGION_TABLE_SIGNATURE, VHDX_P_REGION_TABLE_CHECKSUM, VHDX_P_REGION_COUNT,
    VHDX_P_REGION_PLACE,           VHDX_P_REGION_DUPLICATE,      VHDX_P_REGION_OVERLAP,
    VHDX_P_REGION_MISSING,         VHDX_P_REGION_TABLES_DIFFER,  VHDX_P_REGION_NOT_REQUIRED,
    VHDX_P_REGION_RESERVED,
};

/* A table that is right by itself is overwritten only by one that leads to an image. */
bool repair_tables_apply(const struct repair *r)
{
    return has_log(r) && r->check->image->regions &&
           (r->check->has_tables || check_count(r->check, VHDX_P_REGION_TABLES_DIFFER) == 0) &&
           (r->check->image->region_tables[0].valid || r->check->image->region_tables[1].valid) &&
           any_applies(r, table_problems, ARRAY_LEN(table_problems));
}

/* The table in use, as it should be. buf holds REGION_TABLE_SIZE bytes. */
static void correct_table(const struct image *img, uint8_t *buf)
{
    struct region_header_disk header;

    memcpy(&header, buf, sizeof header);
    header.reserved = le32_make(0);
    for (uint32_t i = 0; i < img->regions->count; i++) {
        uint8_t *at = buf + sizeof header + i * sizeof(struct region_entry_disk);
        struct region_entry_disk d;
        memcpy(&d, at, sizeof d);
        bool is_required = i == img->regions->bat || i == img->regions->metadata;
        d.required = le32_make(is_required ? 1 : le32_get(d.required) & 1);
        memcpy(at, &d, sizeof d);
    }
    memcpy(buf, &header, sizeof header);
    header.checksum = le32_make(
        crc32c_without(buf, REGION_TABLE_SIZE, offsetof(struct region_header_disk, checksum)));
    memcpy(buf, &header, sizeof header);
}

static void tell_tables(struct repair *r, int used)
{
    for (size_t i = 0; i < ARRAY_LEN(table_problems); i++) {
        enum vhdx_problem p = table_problems[i];
        if (!repair_may(r, p))
            continue;
        if (p == VHDX_P_REGION_NOT_REQUIRED)
            repair_done(r, p, REGION_TABLE_OFFSET((unsigned)used), 0, 0,
                        "region tables: the known regions marked as required");
        else if (p == VHDX_P_REGION_RESERVED)
            repair_done(r, p, REGION_TABLE_OFFSET((unsigned)used), 0, 0,
                        "region tables: reserved bits cleared");
        else
            repair_done(r, p, REGION_TABLE_OFFSET((unsigned)!used), 0, 0,
                        "region table %d: rewritten from region table %d", !used + 1, used + 1);
    }
}

int repair_tables(struct repair *r, struct vhdx_error *err)
{
    const struct image *img = r->check->image;
    int used = img->region_tables[0].valid ? 0 : 1;
    CLEANUP_FREE uint8_t *buf = malloc(REGION_TABLE_SIZE);
    struct patches *p = NULL;

    if (!buf)
        return fail_nomem(err);
    int c = io_pread(r->io, buf, REGION_TABLE_SIZE, REGION_TABLE_OFFSET((unsigned)used), err);
    if (c == 0)
        c = repair_patches_begin(r, &p, err);
    if (c < 0)
        return c;
    correct_table(img, buf);
    for (unsigned i = 0; i < 2 && c == 0; i++)
        c = repair_patch(p, buf, REGION_TABLE_SIZE, REGION_TABLE_OFFSET(i), err);
    if (c < 0) {
        repair_patches_drop(p);
        return c;
    }
    c = end_patches(p, "region tables", err);
    if (c == 0)
        tell_tables(r, used);
    return c;
}

/* ---- Metadata ------------------------------------------------------------------------------- */

static const enum vhdx_problem metadata_problems[] = {
    VHDX_P_METADATA_RESERVED, VHDX_P_METADATA_FLAGS, VHDX_P_LOCATOR_RESERVED,
};

bool repair_metadata_apply(const struct repair *r)
{
    return has_log(r) && any_applies(r, metadata_problems, ARRAY_LEN(metadata_problems)) &&
           check_count(r->check, VHDX_P_METADATA_COUNT) == 0;
}

/* Which known item is this? METADATA_KNOWN_COUNT: none. */
static enum metadata_known known_item(const struct metadata_entry_disk *d)
{
    struct guid id = guid_get(d->item_id);
    int k = 0;

    if (le32_get(d->flags) & METADATA_IS_USER)
        return METADATA_KNOWN_COUNT;
    while (k < METADATA_KNOWN_COUNT && !guid_equal(&id, metadata_id((enum metadata_known)k)))
        k++;
    return (enum metadata_known)k;
}

/* The bits inside an item, if it is one that has such bits. at: of the item in the file. */
static int correct_item(struct repair *r, struct patches *p, enum metadata_known k, uint64_t at,
                        uint32_t length, struct vhdx_error *err)
{
    const uint32_t known_flags = FILE_PARAMETERS_LEAVE_ALLOCATED | FILE_PARAMETERS_HAS_PARENT;
    const struct le16 zero = le16_make(0);
    struct file_parameters_disk d;

    if (k == METADATA_PARENT_LOCATOR && length >= sizeof(struct locator_header_disk))
        return repair_patch(p, &zero, sizeof zero,
                            at + offsetof(struct locator_header_disk, reserved), err);
    if (k != METADATA_FILE_PARAMETERS || length != sizeof d)
        return 0;
    int c = io_pread(r->io, &d, sizeof d, at, err);
    d.flags = le32_make(le32_get(d.flags) & known_flags);
    return c < 0 ? c : repair_patch(p, &d, sizeof d, at, err);
}

static int correct_metadata(struct repair *r, struct patches *p, uint8_t *buf,
                            struct vhdx_error *err)
{
    const struct region *region = image_metadata_region(r->check->image);
    struct metadata_header_disk header;

    memcpy(&header, buf, sizeof header);
    header.reserved = le16_make(0);
    memset(header.reserved2, 0, sizeof header.reserved2);
    memcpy(buf, &header, sizeof header);
    for (uint32_t i = 0; i < le16_get(header.entry_count); i++) {
        uint8_t *at = buf + sizeof header + i * sizeof(struct metadata_entry_disk);
        struct metadata_entry_disk d;
        memcpy(&d, at, sizeof d);
        enum metadata_known k = known_item(&d);
        d.flags = le32_make(k < METADATA_KNOWN_COUNT ? metadata_item_flags(k)
                                                     : le32_get(d.flags) & 7);
        d.reserved = le32_make(0);
        memcpy(at, &d, sizeof d);
        if (!range_fits(le32_get(d.offset), le32_get(d.length), region->length))
            continue;
        int c = correct_item(r, p, k, region->offset + le32_get(d.offset), le32_get(d.length),
                             err);
        if (c < 0)
            return c;
    }
    return repair_patch(p, buf, METADATA_TABLE_SIZE, region->offset, err);
}

int repair_metadata(struct repair *r, struct vhdx_error *err)
{
    static const char *const texts[] = { "reserved bits cleared",
                                         "flags of known items set as the format has them",
                                         "reserved field of the parent locator cleared" };
    const struct region *region = image_metadata_region(r->check->image);
    CLEANUP_FREE uint8_t *buf = malloc(METADATA_TABLE_SIZE);
    struct patches *p = NULL;

    if (!buf)
        return fail_nomem(err);
    int c = io_pread(r->io, buf, METADATA_TABLE_SIZE, region->offset, err);
    if (c == 0)
        c = repair_patches_begin(r, &p, err);
    if (c < 0)
        return c;
    c = correct_metadata(r, p, buf, err);
    if (c < 0) {
        repair_patches_drop(p);
        return c;
    }
    c = end_patches(p, "metadata", err);
    for (size_t i = 0; i < ARRAY_LEN(metadata_problems) && c == 0; i++)
        if (repair_may(r, metadata_problems[i]))
            repair_done(r, metadata_problems[i], region->offset, 0, 0, "metadata: %s", texts[i]);
    return c;
}

/* ---- BAT ------------------------------------------------------------------------------------ */

static const enum vhdx_problem bat_problems[] = {
    VHDX_P_BAT_STATE,       VHDX_P_BAT_RESERVED,    VHDX_P_BAT_HEADER_SECTION,
    VHDX_P_BAT_PAST_END,    VHDX_P_BAT_ON_REGION,   VHDX_P_BAT_OVERLAP,
    VHDX_P_BAT_SHIFTED,     VHDX_P_BAT_SLOT,        VHDX_P_BAT_ZERO_OFFSET,
    VHDX_P_BAT_IDLE_OFFSET, VHDX_P_BAT_ANCHOR_OVERLAP, VHDX_P_BAT_ANCHOR_PAST_END,
    VHDX_P_BAT_OLD_STATE,   VHDX_P_BITMAP_MISSING,
};

struct bat_repair {
    struct repair *r;
    struct patches *patches;
};

bool repair_bat_apply(const struct repair *r)
{
    return r->check->has_tables && has_log(r) &&
           any_applies(r, bat_problems, ARRAY_LEN(bat_problems));
}

static int put_entry(struct bat_repair *b, const struct check *c, uint64_t index, uint64_t entry,
                     struct vhdx_error *err)
{
    struct le64 d = le64_make(entry);

    return repair_patch(b->patches, &d, sizeof d,
                        image_bat_region(c->image)->offset + index * BAT_ENTRY_SIZE, err);
}

/*
 * A payload block is given up: it reads as zeros, also in a child, where the parent's old data
 * would pass for the block's.
 */
static uint64_t lost_entry(const struct geometry *g, uint64_t index)
{
    uint64_t number;

    return g->has_parent && !bat_index_is_bitmap(g, index, &number) ? BLOCK_ZERO
                                                                    : BLOCK_NOT_PRESENT;
}

/*
 * Only the state is damaged if the place lies whole in the file and nothing else claims it. What a
 * child has in a block of its own depends on the state, so there it says too little. ret: the entry
 * that it was, probably.
 */
static bool keeps_place(struct bat_repair *b, const struct check *c, uint64_t index,
                        uint64_t entry, uint64_t *ret)
{
    struct check *seen = b->r->check;
    uint64_t offset = bat_file_offset(entry), virtual_offset, length, number;
    bool is_bitmap = bat_index_is_bitmap(&c->image->geometry, index, &number);

    check_block_range(&c->image->geometry, index, &virtual_offset, &length);
    if (length == 0 || (!is_bitmap && c->image->geometry.has_parent))
        return false;
    length = is_bitmap ? BITMAP_BLOCK_SIZE : UINT64_C(1) << c->image->geometry.block_shift;
    if (offset < HEADER_SECTION_SIZE || !range_fits(offset, length, image_size(c->image)) ||
        !space_claim(&seen->image->space, offset, length))
        return false;
    *ret = offset | (is_bitmap ? BITMAP_PRESENT : BLOCK_FULLY_PRESENT);
    return true;
}

static void tell_entry(struct bat_repair *b, const struct check *c, uint64_t index,
                       enum vhdx_problem problem, const char *what, bool is_lost)
{
    const struct geometry *g = &c->image->geometry;
    uint64_t offset, length, number;
    char name[BAT_NAME_SIZE];

    bat_entry_name(g, index, name);
    check_block_range(g, index, &offset, &length);
    if (!is_lost || bat_index_is_bitmap(g, index, &number))
        offset = length = 0;
    repair_done(b->r, problem, image_bat_region(c->image)->offset + index * BAT_ENTRY_SIZE, offset,
                length, "BAT entry %" PRIu64 " (%s): %s", index, name, what);
}

static int mend_entry(struct check *c, uint64_t index, enum vhdx_problem problem, uint64_t *entry,
                      void *opaque, struct vhdx_error *err)
{
    struct bat_repair *b = opaque;
    uint64_t now = *entry;
    const char *what = "offset cleared";
    bool is_lost = false;

    if (!repair_may(b->r, problem))
        return 0;
    switch (problem) {
    case VHDX_P_BAT_RESERVED:
        now &= ~BAT_RESERVED_BITS;
        what = "reserved bits cleared";
        break;
    case VHDX_P_BAT_OLD_STATE:
        now = bat_file_offset(now) | BLOCK_UNMAPPED;
        what = "state 5 became 3 (unmapped)";
        break;
    case VHDX_P_BAT_SLOT:
        now = 0;
        what = "cleared";
        break;
    case VHDX_P_BAT_ZERO_OFFSET:
    case VHDX_P_BAT_IDLE_OFFSET:
    case VHDX_P_BAT_ANCHOR_OVERLAP:
    case VHDX_P_BAT_ANCHOR_PAST_END:
        now = bat_state(now);
        break;
    case VHDX_P_BAT_CUT:
        return 0; /* the end of the file is another step's */
    case VHDX_P_BAT_STATE:
        if (keeps_place(b, c, index, now, &now)) {
            what = "state became 6 (present): its place is in the file, and nothing else's";
            break;
        }
        /* fall through */
    default:
        now = lost_entry(&c->image->geometry, index);
        what = "given up";
        is_lost = true;
    }
    int e = put_entry(b, c, index, now, err);
    if (e == 0) {
        tell_entry(b, c, index, problem, what, is_lost);
        *entry = now;
    }
    return e;
}

/*
 * The last entry of a page that was moved is lost. If it was of a block that is present, that block
 * lies where nothing else does: one page that was moved and one block without an owner belong
 * together.
 */
static uint64_t last_entry(const struct bat_repair *b)
{
    const struct check *seen = b->r->check;

    return seen->has_orphan ? seen->orphan_offset | BLOCK_FULLY_PRESENT : BLOCK_NOT_PRESENT;
}

static int mend_page(struct check *c, uint64_t first_index, const uint64_t *entries,
                     uint64_t count, bool last_is_lost, void *opaque, struct vhdx_error *err)
{
    struct bat_repair *b = opaque;
    uint64_t offset = 0, length = 0, last = first_index + count - 1, number;
    uint64_t at = image_bat_region(c->image)->offset + first_index * BAT_ENTRY_SIZE;
    bool is_bitmap = bat_index_is_bitmap(&c->image->geometry, last, &number);

    if (!repair_may(b->r, VHDX_P_BAT_SHIFTED))
        return 0;
    uint64_t entry = !last_is_lost ? entries[count - 1] : is_bitmap ? 0 : last_entry(b);
    for (uint64_t i = 0; i < count; i++) {
        int e = put_entry(b, c, first_index + i, i + 1 < count ? entries[i] : entry, err);
        if (e < 0)
            return e;
    }
    int e = last_is_lost ? 0 : put_entry(b, c, last + 1, 0, err); /* where the last one had gone */
    if (e < 0)
        return e;
    /* Otherwise space without an owner says that there may have been one, but not which. */
    bool may_be_lost = last_is_lost && !is_bitmap && entry == 0 && b->r->check->orphans > 0;
    if (may_be_lost)
        check_block_range(&c->image->geometry, last, &offset, &length);
    repair_done(b->r, VHDX_P_BAT_SHIFTED, at, offset, length,
                "BAT entries %" PRIu64 " to %" PRIu64 ": moved back%s", first_index, last,
                !last_is_lost ? "" : entry != 0 ? "; the last one was found again"
                : may_be_lost ? "; the last one may be lost" : "; the last one was not in use");
    return 0;
}

int repair_bat(struct repair *r, struct vhdx_error *err)
{
    struct bat_repair b = { .r = r };
    const struct check_hands hands = { .entry = mend_entry, .page = mend_page, .opaque = &b };

    int c = repair_patches_begin(r, &b.patches, err);
    if (c < 0)
        return c;
    c = repair_look_again(r, &hands, err);
    if (c < 0) {
        repair_patches_drop(b.patches);
        return c;
    }
    return end_patches(b.patches, "BAT", err);
}

/* ---- Blocks given up without a log ---------------------------------------------------------- */

static const enum vhdx_problem lost_problems[] = {
    VHDX_P_BAT_PAST_END, VHDX_P_BAT_ON_REGION, VHDX_P_BAT_OVERLAP,
};

/* A page that was moved holds other entries than the check sees. */
bool repair_states_apply(const struct repair *r)
{
    return r->check->has_tables && !has_log(r) && r->level == VHDX_REPAIR_ALL &&
           any_applies(r, lost_problems, ARRAY_LEN(lost_problems)) &&
           check_count(r->check, VHDX_P_BAT_SHIFTED) == 0;
}

static int give_up_in_place(struct check *c, uint64_t index, enum vhdx_problem problem,
                            uint64_t *entry, void *opaque, struct vhdx_error *err)
{
    struct bat_repair *b = opaque;
    bool is_lost = false;

    for (size_t i = 0; i < ARRAY_LEN(lost_problems); i++)
        is_lost = is_lost || problem == lost_problems[i];
    if (!is_lost)
        return 0;
    *entry = (*entry - bat_state(*entry)) | lost_entry(&c->image->geometry, index);
    uint8_t state = (uint8_t)*entry; /* the first byte in the file */
    int e = io_pwrite(b->r->io, &state, sizeof state,
                      image_bat_region(c->image)->offset + index * BAT_ENTRY_SIZE, err);
    if (e == 0)
        tell_entry(b, c, index, problem, "given up", true);
    return e;
}

int repair_states(struct repair *r, struct vhdx_error *err)
{
    struct bat_repair b = { .r = r };
    const struct check_hands hands = { .entry = give_up_in_place, .opaque = &b };

    int c = repair_look_again(r, &hands, err);
    return c < 0 ? c : io_flush(r->io, err);
}
