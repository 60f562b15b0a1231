/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The region table; see region.h. */

#include "format/region.h"

#include <inttypes.h>

#include "util/crc32c.h"

static const struct guid bat_guid = GUID(2DC27766, F623, 4200, 9D64, 115E9BFD4A08);
static const struct guid metadata_guid = GUID(8B7CA206, 4790, 4B9A, B8FE, 575F050F886E);

const char *region_name(const struct region *r)
{
    if (guid_equal(&r->guid, &bat_guid))
        return "BAT region";
    if (guid_equal(&r->guid, &metadata_guid))
        return "metadata region";
    return "unknown region";
}

static int verify_table_header(const struct region_header_disk *d, const uint8_t *buf, int copy,
                               const struct problem_sink *sink, struct vhdx_error *err)
{
    uint64_t at = REGION_TABLE_OFFSET((unsigned)copy);
    int n = copy + 1;

    if (memcmp(d->signature, "regi", 4) != 0)
        return problem_end(sink, VHDX_P_REGION_TABLE_SIGNATURE, err, VHDX_E_CORRUPT, at,
                           "region table %d: signature is not \"regi\"", n);

    uint32_t checksum =
        crc32c_without(buf, REGION_TABLE_SIZE, offsetof(struct region_header_disk, checksum));
    if (le32_get(d->checksum) != checksum)
        return problem_end(sink, VHDX_P_REGION_TABLE_CHECKSUM, err, VHDX_E_CHECKSUM,
                           at + offsetof(struct region_header_disk, checksum),
                           "region table %d: checksum is %#010" PRIx32 ", must be %#010" PRIx32, n,
                           le32_get(d->checksum), checksum);
    if (le32_get(d->entry_count) > LIMIT_REGIONS)
        return problem_end(sink, VHDX_P_REGION_COUNT, err, VHDX_E_CORRUPT,
                           at + offsetof(struct region_header_disk, entry_count),
                           "region table %d: entry count is %" PRIu32 ", must be at most %d", n,
                           le32_get(d->entry_count), LIMIT_REGIONS);
    return 0;
}

static int decode_entry(const struct region_entry_disk *d, uint64_t at, int n, uint32_t index,
                        const struct problem_sink *sink, struct region *ret, struct vhdx_error *err)
{
    *ret = (struct region){
        .guid = guid_get(d->guid),
        .offset = le64_get(d->file_offset),
        .length = le32_get(d->length),
        .required = le32_get(d->required) & 1,
    };
    if (!is_aligned(ret->offset, MIB) || ret->offset < MIB)
        return problem_end(sink, VHDX_P_REGION_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct region_entry_disk, file_offset),
                           "region table %d, entry %" PRIu32 " (%s): file offset is %#" PRIx64
                           ", must be a multiple of 1 MiB and at least 1 MiB",
                           n, index, region_name(ret), ret->offset);
    if (!is_aligned(ret->length, MIB))
        return problem_end(sink, VHDX_P_REGION_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct region_entry_disk, length),
                           "region table %d, entry %" PRIu32 " (%s): length is %" PRIu32
                           ", must be a multiple of 1 MiB",
                           n, index, region_name(ret), ret->length);
    if (!range_fits(ret->offset, ret->length, LIMIT_FILE_SIZE))
        return problem_end(sink, VHDX_P_REGION_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct region_entry_disk, file_offset),
                           "region table %d, entry %" PRIu32 " (%s): file offset is %#" PRIx64
                           ", must be below 256 TiB",
                           n, index, region_name(ret), ret->offset);
    return 0;
}

/* Entry index against those before it. */
static int verify_apart(const struct region_table *t, uint32_t index, uint64_t at, int n,
                        const struct problem_sink *sink, struct vhdx_error *err)
{
    const struct region *r = &t->regions[index];

    for (uint32_t i = 0; i < index; i++) {
        const struct region *other = &t->regions[i];
        if (guid_equal(&r->guid, &other->guid))
            return problem_end(sink, VHDX_P_REGION_DUPLICATE, err, VHDX_E_CORRUPT, at,
                               "region table %d, entry %" PRIu32
                               " (%s): GUID is that of entry %" PRIu32 ", must be unique",
                               n, index, region_name(r), i);
        if (ranges_overlap(r->offset, r->length, other->offset, other->length))
            return problem_end(sink, VHDX_P_REGION_OVERLAP, err, VHDX_E_CORRUPT,
                               at + offsetof(struct region_entry_disk, file_offset),
                               "region table %d, entry %" PRIu32 " (%s): file range %#" PRIx64
                               " + %" PRIu32 " overlaps entry %" PRIu32 " (%s)",
                               n, index, region_name(r), r->offset, r->length, i,
                               region_name(other));
    }
    return 0;
}

/* Notes the entry if it is one of the two that must be there; refuses a required stranger. */
static int note_region(struct region_table *t, uint32_t index, uint64_t at, int n,
                       const struct problem_sink *sink, struct vhdx_error *err)
{
    const struct region *r = &t->regions[index];
    char text[GUID_TEXT_SIZE];

    if (guid_equal(&r->guid, &bat_guid)) {
        t->bat = index;
    } else if (guid_equal(&r->guid, &metadata_guid)) {
        t->metadata = index;
    } else if (r->required) {
        guid_format(&r->guid, text);
        return problem_end(sink, VHDX_P_REGION_UNKNOWN_REQUIRED, err, VHDX_E_UNSUPPORTED, at,
                           "region table %d, entry %" PRIu32
                           ": region {%s} is required, but not known",
                           n, index, text);
    }
    return 0;
}

/* What does not matter to a reader. */
static void note_oddities(const struct region_entry_disk *d, const struct region *r, uint64_t at,
                          int n, uint32_t index, const struct problem_sink *sink)
{
    bool is_known = guid_equal(&r->guid, &bat_guid) || guid_equal(&r->guid, &metadata_guid);
    uint32_t reserved = le32_get(d->required) & ~1u;
    char text[GUID_TEXT_SIZE];

    guid_format(&r->guid, text);
    if (!is_known)
        problem(sink, VHDX_P_REGION_UNKNOWN, NULL, VHDX_E_UNSUPPORTED, at,
                "region table %d, entry %" PRIu32 ": unknown region {%s} of %" PRIu32 " bytes", n,
                index, text, r->length);
    else if (!r->required)
        problem(sink, VHDX_P_REGION_NOT_REQUIRED, NULL, VHDX_E_CORRUPT,
                at + offsetof(struct region_entry_disk, required),
                "region table %d, entry %" PRIu32 " (%s): Required is 0, must be 1", n, index,
                region_name(r));
    if (reserved != 0)
        problem(sink, VHDX_P_REGION_RESERVED, NULL, VHDX_E_CORRUPT,
                at + offsetof(struct region_entry_disk, required),
                "region table %d, entry %" PRIu32 " (%s): reserved bits are %#" PRIx32
                ", must be 0",
                n, index, region_name(r), reserved);
}

int region_table_decode(const uint8_t *buf, int copy, const struct problem_sink *sink,
                        struct region_table *ret, struct vhdx_error *err)
{
    uint64_t table_at = REGION_TABLE_OFFSET((unsigned)copy);
    struct region_header_disk header;
    int n = copy + 1;

    memcpy(&header, buf, sizeof header);
    int r = verify_table_header(&header, buf, copy, sink, err);
    if (r < 0)
        return r;

    if (sink && le32_get(header.reserved) != 0)
        problem(sink, VHDX_P_REGION_RESERVED, NULL, VHDX_E_CORRUPT,
                table_at + offsetof(struct region_header_disk, reserved),
                "region table %d: reserved field is %#" PRIx32 ", must be 0", n,
                le32_get(header.reserved));
    ret->count = le32_get(header.entry_count);
    ret->bat = ret->metadata = UINT32_MAX;
    for (uint32_t i = 0; i < ret->count; i++) {
        struct region_entry_disk entry;
        size_t at = sizeof header + i * sizeof entry;

        memcpy(&entry, buf + at, sizeof entry);
        r = decode_entry(&entry, table_at + at, n, i, sink, &ret->regions[i], err);
        if (r == 0)
            r = verify_apart(ret, i, table_at + at, n, sink, err);
        if (r == 0)
            r = note_region(ret, i, table_at + at, n, sink, err);
        if (r < 0)
            return r;
        if (sink)
            note_oddities(&entry, &ret->regions[i], table_at + at, n, i, sink);
    }
    if (ret->bat == UINT32_MAX || ret->metadata == UINT32_MAX)
        return problem_end(sink, VHDX_P_REGION_MISSING, err, VHDX_E_CORRUPT, table_at,
                           "region table %d: %s region is missing", n,
                           ret->bat == UINT32_MAX ? "BAT" : "metadata");
    return 0;
}

static void encode_entry(const struct guid *guid, uint64_t offset, uint32_t length, uint8_t *ret)
{
    struct region_entry_disk d = { .guid = guid_make(guid), .file_offset = le64_make(offset),
                                   .length = le32_make(length), .required = le32_make(1) };

    memcpy(ret, &d, sizeof d);
}

void region_table_encode(uint64_t bat_offset, uint32_t bat_length, uint64_t metadata_offset,
                         uint32_t metadata_length, uint8_t *ret)
{
    struct region_header_disk header = { .signature = { 'r', 'e', 'g', 'i' },
                                         .entry_count = le32_make(2) };
    size_t entry = sizeof(struct region_entry_disk);

    memset(ret, 0, REGION_TABLE_SIZE);
    memcpy(ret, &header, sizeof header);
    encode_entry(&bat_guid, bat_offset, bat_length, ret + sizeof header);
    encode_entry(&metadata_guid, metadata_offset, metadata_length, ret + sizeof header + entry);
    header.checksum = le32_make(
        crc32c_without(ret, REGION_TABLE_SIZE, offsetof(struct region_header_disk, checksum)));
    memcpy(ret, &header, sizeof header);
}
