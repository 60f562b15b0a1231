/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The metadata region; see metadata.h. */

#include "format/metadata.h"

#include <inttypes.h>
#include <stdlib.h>

#define DISK_FLAGS (METADATA_IS_VIRTUAL_DISK | METADATA_IS_REQUIRED)

static const struct {
    struct guid id;
    const char *name;
    uint32_t length;
    uint32_t flags;
} known_items[METADATA_KNOWN_COUNT] = {
    [METADATA_FILE_PARAMETERS] = { GUID(CAA16737, FA36, 4D43, B3B6, 33F0AA44E76B),
                                   "file parameters", 8, METADATA_IS_REQUIRED },
    [METADATA_LOGICAL_SECTOR_SIZE] = { GUID(8141BF1D, A96F, 4709, BA47, F233A8FAAB5F),
                                       "logical sector size", 4, DISK_FLAGS },
    [METADATA_PHYSICAL_SECTOR_SIZE] = { GUID(CDA348C7, 445D, 4471, 9CC9, E9885251C556),
                                        "physical sector size", 4, DISK_FLAGS },
    [METADATA_VIRTUAL_DISK_SIZE] = { GUID(2FA54224, CD1B, 4876, B211, 5DBED83BF4B8),
                                     "virtual disk size", 8, DISK_FLAGS },
    [METADATA_VIRTUAL_DISK_ID] = { GUID(BECA12AB, B2E6, 4523, 93EF, C309E000C746),
                                   "virtual disk id", 16, DISK_FLAGS },
    [METADATA_PARENT_LOCATOR] = { GUID(A8D35F2D, B30B, 454D, ABF7, D3D84834AB0C), "parent locator",
                                  0, METADATA_IS_REQUIRED },
};

/* Written by Windows while it creates an image, removed when it is done. */
static const struct guid incomplete_file = GUID(71CC85F0, 1B69, 4E28, 9558, C3BF83AE75D3);

const char *metadata_name(enum metadata_known k)
{
    return known_items[k].name;
}

uint32_t metadata_item_flags(enum metadata_known k)
{
    return known_items[k].flags;
}

uint32_t metadata_item_length(enum metadata_known k)
{
    return known_items[k].length;
}

static int verify_table_header(const struct metadata_header_disk *d, uint64_t at,
                               const struct problem_sink *sink, struct vhdx_error *err)
{
    static const uint8_t zero[sizeof d->reserved2];
    int r = 0;

    if (memcmp(d->signature, "metadata", 8) != 0)
        return problem_end(sink, VHDX_P_METADATA_SIGNATURE, err, VHDX_E_CORRUPT, at,
                           "metadata table: signature is not \"metadata\"");
    if (le16_get(d->reserved) != 0 || memcmp(d->reserved2, zero, sizeof zero) != 0)
        r = problem(sink, VHDX_P_METADATA_RESERVED, err, VHDX_E_CORRUPT,
                    at + offsetof(struct metadata_header_disk, reserved),
                    "metadata table: a reserved field is not 0");
    if (r < 0)
        return r;
    if (le16_get(d->entry_count) > LIMIT_METADATA_ITEMS)
        return problem_end(sink, VHDX_P_METADATA_COUNT, err, VHDX_E_CORRUPT,
                           at + offsetof(struct metadata_header_disk, entry_count),
                           "metadata table: entry count is %u, must be at most %d",
                           le16_get(d->entry_count), LIMIT_METADATA_ITEMS);
    return 0;
}

#define BAD(field, ...)                                                                            \
    problem_end(sink, VHDX_P_METADATA_ENTRY, err, VHDX_E_CORRUPT,                                  \
                at + offsetof(struct metadata_entry_disk, field), __VA_ARGS__)

static int decode_entry(const struct metadata_entry_disk *d, uint64_t at, uint32_t index,
                        uint32_t region_length, const struct problem_sink *sink,
                        struct metadata_item *ret, struct vhdx_error *err)
{
    int r = 0;
    const uint32_t flags_mask =
        METADATA_IS_USER | METADATA_IS_VIRTUAL_DISK | METADATA_IS_REQUIRED;
    struct metadata_item m = {
        .id = guid_get(d->item_id),
        .offset = le32_get(d->offset),
        .length = le32_get(d->length),
        .flags = le32_get(d->flags),
    };

    if ((m.flags & ~flags_mask) != 0 || le32_get(d->reserved) != 0)
        r = problem(sink, VHDX_P_METADATA_RESERVED, err, VHDX_E_CORRUPT,
                    at + offsetof(struct metadata_entry_disk, flags),
                    "metadata table, entry %" PRIu32 ": reserved bits are %#" PRIx32
                    " and %#" PRIx32 ", must be 0",
                    index, m.flags & ~flags_mask, le32_get(d->reserved));
    if (r < 0)
        return r;
    m.flags &= flags_mask;
    if (m.length > LIMIT_METADATA_ITEM_LENGTH)
        return BAD(length, "metadata table, entry %" PRIu32 ": length is %" PRIu32
                   ", must be at most 1 MiB", index, m.length);
    if (m.length == 0 && m.offset != 0)
        return BAD(offset, "metadata table, entry %" PRIu32 ": offset is %" PRIu32
                   ", must be 0 for length 0", index, m.offset);
    if (m.length != 0 && (m.offset < METADATA_TABLE_SIZE ||
                          !range_fits(m.offset, m.length, region_length)))
        return BAD(offset, "metadata table, entry %" PRIu32 ": offset %" PRIu32 " + length %" PRIu32
                   " must lie between 64 KiB and the region's end at %" PRIu32, index, m.offset,
                   m.length, region_length);
    *ret = m;
    return 0;
}

#undef BAD

/* By id and IsUser, so that two of a kind become neighbours. */
static int compare_identity(const void *a, const void *b)
{
    const struct metadata_item *x = a, *y = b;
    int c = memcmp(&x->id, &y->id, sizeof x->id);

    return c != 0 ? c : (int)(x->flags & METADATA_IS_USER) - (int)(y->flags & METADATA_IS_USER);
}

static int compare_offset(const void *a, const void *b)
{
    const struct metadata_item *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Uniqueness, overlap and the number of user items. Leaves the items in the order of offsets. */
static int verify_together(struct metadata_item *items, uint32_t count, uint64_t at,
                           const struct problem_sink *sink, struct vhdx_error *err)
{
    char text[GUID_TEXT_SIZE];
    uint32_t users = 0;

    qsort(items, count, sizeof *items, compare_identity);
    for (uint32_t i = 0; i < count; i++) {
        users += items[i].flags & METADATA_IS_USER;
        if (i > 0 && compare_identity(&items[i - 1], &items[i]) == 0) {
            guid_format(&items[i].id, text);
            return problem_end(sink, VHDX_P_METADATA_DUPLICATE, err, VHDX_E_CORRUPT, at,
                               "metadata table: item {%s} is listed twice, must be unique", text);
        }
    }
    if (users > LIMIT_METADATA_USER_ITEMS)
        return problem_end(sink, VHDX_P_METADATA_COUNT, err, VHDX_E_CORRUPT, at,
                           "metadata table: user item count is %" PRIu32 ", must be at most %d",
                           users, LIMIT_METADATA_USER_ITEMS);

    qsort(items, count, sizeof *items, compare_offset);
    for (uint32_t i = 1; i < count; i++) {
        if (items[i - 1].offset + items[i - 1].length > items[i].offset &&
            items[i].length != 0) {
            guid_format(&items[i].id, text);
            return problem_end(sink, VHDX_P_METADATA_OVERLAP, err, VHDX_E_CORRUPT, at,
                               "metadata table: item {%s} at offset %" PRIu32
                               " overlaps the item at "
                               "%" PRIu32,
                               text, items[i].offset, items[i - 1].offset);
        }
    }
    return 0;
}

/* The flags a known item has do not matter to a reader that knows it. */
static void note_flags(const struct metadata_item *m, enum metadata_known k, uint64_t at,
                       const struct problem_sink *sink)
{
    if (sink && m->flags != known_items[k].flags)
        problem(sink, VHDX_P_METADATA_FLAGS, NULL, VHDX_E_CORRUPT, at,
                "metadata table: item \"%s\": flags are %" PRIu32 ", must be %" PRIu32,
                metadata_name(k), m->flags, known_items[k].flags);
}

/* Notes the item if it is a known one; refuses a required stranger and an unfinished file. */
static int note_item(struct metadata_table *t, uint32_t index, uint64_t at,
                     const struct problem_sink *sink, struct vhdx_error *err)
{
    const struct metadata_item *m = &t->items[index];
    char text[GUID_TEXT_SIZE];

    if (!(m->flags & METADATA_IS_USER)) {
        for (int k = 0; k < METADATA_KNOWN_COUNT; k++) {
            if (guid_equal(&m->id, &known_items[k].id)) {
                t->known[k] = index;
                note_flags(m, (enum metadata_known)k, at, sink);
                return 0;
            }
        }
        if (guid_equal(&m->id, &incomplete_file))
            return problem(sink, VHDX_P_METADATA_INCOMPLETE, err, VHDX_E_CORRUPT, at,
                           "metadata table: item INCOMPLETE_FILE is there: "
                           "the image's creation was never finished");
    }
    if (m->flags & METADATA_IS_REQUIRED) {
        guid_format(&m->id, text);
        return problem(sink, VHDX_P_METADATA_UNKNOWN_REQUIRED, err, VHDX_E_UNSUPPORTED, at,
                       "metadata table: item {%s} is required, but not known", text);
    }
    if (sink && !(m->flags & METADATA_IS_USER)) { /* a user's items are nobody else's business */
        guid_format(&m->id, text);
        problem(sink, VHDX_P_METADATA_UNKNOWN, NULL, VHDX_E_CORRUPT, at,
                "metadata table: unknown item {%s} of %" PRIu32 " bytes", text, m->length);
    }
    return 0;
}

static int verify_known_present(const struct metadata_table *t, uint64_t at,
                                const struct problem_sink *sink, struct vhdx_error *err)
{
    for (int k = 0; k < METADATA_PARENT_LOCATOR; k++)
        if (t->known[k] == METADATA_NOT_THERE)
            return problem_end(sink, VHDX_P_METADATA_MISSING, err, VHDX_E_CORRUPT, at,
                               "metadata table: item \"%s\" is missing",
                               metadata_name((enum metadata_known)k));
    return 0;
}

int metadata_table_decode(const uint8_t *buf, uint64_t region_offset, uint32_t region_length,
                          const struct problem_sink *sink, struct metadata_table *ret,
                          struct vhdx_error *err)
{
    struct metadata_header_disk header;

    memcpy(&header, buf, sizeof header);
    int r = verify_table_header(&header, region_offset, sink, err);
    if (r < 0)
        return r;

    ret->count = le16_get(header.entry_count);
    for (uint32_t i = 0; i < ret->count; i++) {
        struct metadata_entry_disk entry;
        size_t at = sizeof header + i * sizeof entry;

        memcpy(&entry, buf + at, sizeof entry);
        r = decode_entry(&entry, region_offset + at, i, region_length, sink, &ret->items[i], err);
        if (r < 0)
            return r;
    }
    r = verify_together(ret->items, ret->count, region_offset, sink, err);
    if (r < 0)
        return r;

    for (int k = 0; k < METADATA_KNOWN_COUNT; k++)
        ret->known[k] = METADATA_NOT_THERE;
    for (uint32_t i = 0; i < ret->count; i++) {
        r = note_item(ret, i, region_offset, sink, err);
        if (r < 0)
            return r;
    }
    return verify_known_present(ret, region_offset, sink, err);
}

static int decode_file_parameters(const uint8_t *buf, uint64_t at, const struct problem_sink *sink,
                                  struct metadata *m, struct vhdx_error *err)
{
    struct file_parameters_disk d;

    memcpy(&d, buf, sizeof d);
    uint32_t size = le32_get(d.block_size), flags = le32_get(d.flags);
    uint32_t known_flags = FILE_PARAMETERS_LEAVE_ALLOCATED | FILE_PARAMETERS_HAS_PARENT;
    if (!is_pow2(size) || size < LIMIT_BLOCK_SIZE_MIN || size > LIMIT_BLOCK_SIZE_MAX)
        return problem_end(sink, VHDX_P_METADATA_VALUE, err, VHDX_E_CORRUPT, at,
                           "metadata item \"file parameters\": block size is %" PRIu32
                           ", must be a power of two from 1 MiB to 256 MiB",
                           size);
    if ((flags & ~known_flags) != 0) {
        int r = problem(sink, VHDX_P_METADATA_RESERVED, err, VHDX_E_CORRUPT,
                        at + offsetof(struct file_parameters_disk, flags),
                        "metadata item \"file parameters\": reserved bits are %#" PRIx32
                        ", must be 0",
                        flags & ~known_flags);
        if (r < 0)
            return r;
    }
    m->block_size = size;
    m->has_parent = (flags & FILE_PARAMETERS_HAS_PARENT) != 0;
    m->leave_allocated = !m->has_parent && (flags & FILE_PARAMETERS_LEAVE_ALLOCATED) != 0;
    return 0;
}

static int decode_sector_size(enum metadata_known k, const uint8_t *buf, uint64_t at,
                              const struct problem_sink *sink, uint32_t *ret,
                              struct vhdx_error *err)
{
    struct le32 d;

    memcpy(&d, buf, sizeof d);
    uint32_t size = le32_get(d);
    if (size != 512 && size != 4096)
        return problem_end(sink, VHDX_P_METADATA_VALUE, err, VHDX_E_CORRUPT, at,
                           "metadata item \"%s\": value is %" PRIu32 ", must be 512 or 4096",
                           metadata_name(k), size);
    *ret = size;
    return 0;
}

static int decode_virtual_size(const uint8_t *buf, uint64_t at, const struct problem_sink *sink,
                               struct metadata *m, struct vhdx_error *err)
{
    struct le64 d;

    memcpy(&d, buf, sizeof d);
    uint64_t size = le64_get(d);
    if (size > LIMIT_VIRTUAL_SIZE)
        return problem_end(sink, VHDX_P_METADATA_VALUE, err, VHDX_E_CORRUPT, at,
                           "metadata item \"virtual disk size\": value is %" PRIu64
                           ", must be at most 64 TiB",
                           size);
    if (!is_aligned(size, m->logical_sector_size))
        return problem_end(sink, VHDX_P_METADATA_VALUE, err, VHDX_E_CORRUPT, at,
                           "metadata item \"virtual disk size\": value is %" PRIu64
                           ", must be a multiple of the logical sector size %" PRIu32,
                           size, m->logical_sector_size);
    m->virtual_size = size;
    return 0;
}

int metadata_item_decode(enum metadata_known k, const uint8_t *buf, uint32_t length, uint64_t at,
                         const struct problem_sink *sink, struct metadata *m,
                         struct vhdx_error *err)
{
    struct guid_disk id;

    if (length != metadata_item_length(k))
        return problem_end(sink, VHDX_P_METADATA_VALUE, err, VHDX_E_CORRUPT, at,
                           "metadata item \"%s\": length is %" PRIu32 ", must be %" PRIu32,
                           metadata_name(k), length, metadata_item_length(k));
    switch (k) {
    case METADATA_FILE_PARAMETERS: return decode_file_parameters(buf, at, sink, m, err);
    case METADATA_LOGICAL_SECTOR_SIZE:
        return decode_sector_size(k, buf, at, sink, &m->logical_sector_size, err);
    case METADATA_PHYSICAL_SECTOR_SIZE:
        return decode_sector_size(k, buf, at, sink, &m->physical_sector_size, err);
    case METADATA_VIRTUAL_DISK_SIZE: return decode_virtual_size(buf, at, sink, m, err);
    case METADATA_VIRTUAL_DISK_ID:
        memcpy(&id, buf, sizeof id);
        m->virtual_disk_id = guid_get(id);
        return 0;
    case METADATA_PARENT_LOCATOR:
    case METADATA_KNOWN_COUNT:
        break;
    }
    __builtin_unreachable();
}

/* ---- Building ------------------------------------------------------------------------------- */

const struct guid *metadata_id(enum metadata_known k)
{
    return &known_items[k].id;
}

static void encode_header(struct metadata_encoder *e)
{
    struct metadata_header_disk d = { .signature = { 'm', 'e', 't', 'a', 'd', 'a', 't', 'a' },
                                      .entry_count = le16_make(e->count) };

    memcpy(e->buf, &d, sizeof d);
}

void metadata_encode_begin(struct metadata_encoder *e, uint8_t *buf, size_t size)
{
    *e = (struct metadata_encoder){ .buf = buf, .size = size, .end = METADATA_TABLE_SIZE };
    encode_header(e);
}

bool metadata_encode_item(struct metadata_encoder *e, const struct guid *id, uint32_t flags,
                          const void *content, uint32_t length)
{
    struct metadata_entry_disk d = { .item_id = guid_make(id),
                                     .offset = le32_make(length ? e->end : 0),
                                     .length = le32_make(length), .flags = le32_make(flags) };

    if (e->count == LIMIT_METADATA_ITEMS || !range_fits(e->end, length, e->size))
        return false;
    memcpy(e->buf + sizeof(struct metadata_header_disk) + e->count * sizeof d, &d, sizeof d);
    if (length > 0)
        memcpy(e->buf + e->end, content, length);
    e->end += (uint32_t)align_up(length, 8);
    e->count++;
    encode_header(e);
    return true;
}

bool metadata_encode_known(struct metadata_encoder *e, const struct metadata *m)
{
    struct file_parameters_disk parameters = {
        .block_size = le32_make(m->block_size),
        .flags = le32_make((m->leave_allocated ? FILE_PARAMETERS_LEAVE_ALLOCATED : 0) |
                           (m->has_parent ? FILE_PARAMETERS_HAS_PARENT : 0)),
    };
    struct le64 size = le64_make(m->virtual_size);
    struct le32 logical = le32_make(m->logical_sector_size);
    struct le32 physical = le32_make(m->physical_sector_size);
    struct guid_disk id = guid_make(&m->virtual_disk_id);
    const struct {
        enum metadata_known known;
        const void *content;
    } items[] = {
        { METADATA_FILE_PARAMETERS, &parameters },  { METADATA_VIRTUAL_DISK_SIZE, &size },
        { METADATA_LOGICAL_SECTOR_SIZE, &logical }, { METADATA_PHYSICAL_SECTOR_SIZE, &physical },
        { METADATA_VIRTUAL_DISK_ID, &id },
    };

    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        if (!metadata_encode_item(e, metadata_id(items[i].known), known_items[items[i].known].flags,
                                  items[i].content, metadata_item_length(items[i].known)))
            return false;
    return true;
}
