/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Log entries; see logentry.h. */

#include "format/logentry.h"

#include <inttypes.h>

#include "util/crc32c.h"
#include "util/limits.h"

#define DESCRIPTORS_FIRST_SECTOR 126u
#define DESCRIPTORS_PER_SECTOR 128u

uint32_t log_descriptor_sectors(uint32_t descriptor_count)
{
    if (descriptor_count <= DESCRIPTORS_FIRST_SECTOR)
        return 1;
    return 1 + (uint32_t)div_ceil(descriptor_count - DESCRIPTORS_FIRST_SECTOR,
                                  DESCRIPTORS_PER_SECTOR);
}

uint32_t log_header_checksum(const struct log_header_disk *d)
{
    return crc32c_without(d, sizeof *d, offsetof(struct log_header_disk, checksum));
}

#define ENTRY "log entry at %#" PRIx32 ": "
#define DESCRIPTOR "log entry at %#" PRIx32 ", descriptor %" PRIu32 ": "

static int verify_lengths(const struct log_entry *e, uint32_t log_length, struct vhdx_error *err)
{
    if (e->length == 0 || !is_aligned(e->length, LOG_SECTOR_SIZE) || e->length > log_length)
        return fail(err, VHDX_E_CORRUPT, e->at + offsetof(struct log_header_disk, entry_length),
                    ENTRY "entry length is %" PRIu32 ", must be a multiple of 4 KiB and at most "
                    "the log's %" PRIu32, e->offset, e->length, log_length);
    if (!is_aligned(e->tail, LOG_SECTOR_SIZE) || e->tail >= log_length)
        return fail(err, VHDX_E_CORRUPT, e->at + offsetof(struct log_header_disk, tail),
                    ENTRY "tail is %#" PRIx32 ", must be a multiple of 4 KiB below the log's "
                    "length %#" PRIx32, e->offset, e->tail, log_length);
    /* Each descriptor takes 32 bytes, so this also bounds the count before it is used. */
    if (e->descriptor_count > e->length / sizeof(struct log_descriptor_disk) ||
        log_descriptor_sectors(e->descriptor_count) > e->length / LOG_SECTOR_SIZE)
        return fail(err, VHDX_E_CORRUPT,
                    e->at + offsetof(struct log_header_disk, descriptor_count),
                    ENTRY "descriptor count is %" PRIu32 ", must fit the entry's length %" PRIu32,
                    e->offset, e->descriptor_count, e->length);
    return 0;
}

int log_header_decode(const struct log_header_disk *d, uint32_t offset, uint64_t log_offset,
                      uint32_t log_length, const struct guid *log_guid, struct log_entry *ret,
                      struct vhdx_error *err)
{
    struct guid guid = guid_get(d->log_guid);
    struct log_entry e = {
        .offset = offset,
        .at = log_offset + offset,
        .checksum = le32_get(d->checksum),
        .length = le32_get(d->entry_length),
        .tail = le32_get(d->tail),
        .descriptor_count = le32_get(d->descriptor_count),
        .reserved = le32_get(d->reserved),
        .sequence_number = le64_get(d->sequence_number),
        .flushed_file_offset = le64_get(d->flushed_file_offset),
        .last_file_offset = le64_get(d->last_file_offset),
    };

    if (memcmp(d->signature, "loge", 4) != 0)
        return fail(err, VHDX_E_CORRUPT, e.at, ENTRY "signature is not \"loge\"", offset);
    if (!guid_equal(&guid, log_guid))
        return fail(err, VHDX_E_CORRUPT, e.at + offsetof(struct log_header_disk, log_guid),
                    ENTRY "log GUID is not the header's", offset);
    if (e.sequence_number == 0)
        return fail(err, VHDX_E_CORRUPT, e.at + offsetof(struct log_header_disk, sequence_number),
                    ENTRY "sequence number is 0, must be above 0", offset);
    int r = verify_lengths(&e, log_length, err);
    if (r == 0)
        *ret = e;
    return r;
}

int log_descriptor_decode(const struct log_descriptor_disk *d, const struct log_entry *e,
                          uint32_t index, uint64_t at, struct log_descriptor *ret,
                          struct vhdx_error *err)
{
    struct log_descriptor x = {
        .is_zero = memcmp(d->signature, "zero", 4) == 0,
        .file_offset = le64_get(d->file_offset),
        .length = LOG_SECTOR_SIZE,
        .leading_bytes = d->leading_bytes,
        .trailing_bytes = d->trailing_bytes,
        .index = index,
        .at = at,
    };

    if (x.is_zero)
        x.length = le64_get(d->leading_bytes);
    if (!x.is_zero && memcmp(d->signature, "desc", 4) != 0)
        return fail(err, VHDX_E_CORRUPT, at,
                    DESCRIPTOR "signature is neither \"desc\" nor \"zero\"", e->offset, index);
    if (le64_get(d->sequence_number) != e->sequence_number)
        return fail(err, VHDX_E_CORRUPT,
                    at + offsetof(struct log_descriptor_disk, sequence_number),
                    DESCRIPTOR "sequence number is %" PRIu64 ", must be the entry's %" PRIu64,
                    e->offset, index, le64_get(d->sequence_number), e->sequence_number);
    if (!is_aligned(x.file_offset, LOG_SECTOR_SIZE))
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct log_descriptor_disk, file_offset),
                    DESCRIPTOR "file offset is %#" PRIx64 ", must be a multiple of 4 KiB",
                    e->offset, index, x.file_offset);
    if (!is_aligned(x.length, LOG_SECTOR_SIZE))
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct log_descriptor_disk, leading_bytes),
                    DESCRIPTOR "zero length is %#" PRIx64 ", must be a multiple of 4 KiB",
                    e->offset, index, x.length);
    *ret = x;
    return 0;
}

int log_data_verify(const struct log_data_disk *d, const struct log_entry *e, uint64_t at,
                    struct vhdx_error *err)
{
    uint64_t sequence_number =
        (uint64_t)le32_get(d->sequence_high) << 32 | le32_get(d->sequence_low);

    if (memcmp(d->signature, "data", 4) != 0)
        return fail(err, VHDX_E_CORRUPT, at, ENTRY "data sector signature is not \"data\"",
                    e->offset);
    if (sequence_number != e->sequence_number)
        return fail(err, VHDX_E_CORRUPT, at,
                    ENTRY "data sector sequence number is %" PRIu64 ", must be the entry's %"
                    PRIu64, e->offset, sequence_number, e->sequence_number);
    return 0;
}

int log_entry_verify(const struct log_entry *e, struct vhdx_error *err)
{
    if (e->reserved != 0)
        return fail(err, VHDX_E_CORRUPT, e->at + offsetof(struct log_header_disk, reserved),
                    ENTRY "reserved field is %#" PRIx32 ", must be 0", e->offset, e->reserved);
    if (e->last_file_offset > LIMIT_FILE_SIZE)
        return fail(err, VHDX_E_CORRUPT,
                    e->at + offsetof(struct log_header_disk, last_file_offset),
                    ENTRY "last file offset is %#" PRIx64 ", must be at most 256 TiB", e->offset,
                    e->last_file_offset);
    return 0;
}

int log_descriptor_verify(const struct log_descriptor *d, const struct log_entry *e,
                          uint64_t log_offset, uint32_t log_length, struct vhdx_error *err)
{
    uint64_t offset_at = d->at + offsetof(struct log_descriptor_disk, file_offset);

    if (d->is_zero && le32_get(d->trailing_bytes) != 0)
        return fail(err, VHDX_E_CORRUPT,
                    d->at + offsetof(struct log_descriptor_disk, trailing_bytes),
                    DESCRIPTOR "reserved field is %#" PRIx32 ", must be 0", e->offset, d->index,
                    le32_get(d->trailing_bytes));
    if (d->file_offset < LOGGED_OFFSET_MIN)
        return fail(err, VHDX_E_CORRUPT, offset_at,
                    DESCRIPTOR "file offset is %#" PRIx64 ", must be at least 192 KiB", e->offset,
                    d->index, d->file_offset);
    if (!range_fits(d->file_offset, d->length, LIMIT_FILE_SIZE))
        return fail(err, VHDX_E_CORRUPT, offset_at,
                    DESCRIPTOR "file range %#" PRIx64 " + %#" PRIx64 " must end below 256 TiB",
                    e->offset, d->index, d->file_offset, d->length);
    if (ranges_overlap(d->file_offset, d->length, log_offset, log_length))
        return fail(err, VHDX_E_CORRUPT, offset_at,
                    DESCRIPTOR "file offset is %#" PRIx64 ", must be outside the log itself",
                    e->offset, d->index, d->file_offset);
    return 0;
}

void log_header_encode(const struct log_entry *e, const struct guid *log_guid,
                       struct log_header_disk *ret)
{
    *ret = (struct log_header_disk){
        .signature = { 'l', 'o', 'g', 'e' },
        .entry_length = le32_make(e->length),
        .tail = le32_make(e->tail),
        .sequence_number = le64_make(e->sequence_number),
        .descriptor_count = le32_make(e->descriptor_count),
        .log_guid = guid_make(log_guid),
        .flushed_file_offset = le64_make(e->flushed_file_offset),
        .last_file_offset = le64_make(e->last_file_offset),
    };
}

void log_data_encode(const struct log_entry *e, uint64_t file_offset, const uint8_t *sector,
                     struct log_descriptor_disk *ret_descriptor, struct log_data_disk *ret_data)
{
    *ret_descriptor = (struct log_descriptor_disk){
        .signature = { 'd', 'e', 's', 'c' },
        .file_offset = le64_make(file_offset),
        .sequence_number = le64_make(e->sequence_number),
    };
    memcpy(ret_descriptor->leading_bytes.bytes, sector, 8);
    memcpy(ret_descriptor->trailing_bytes.bytes, sector + LOG_SECTOR_SIZE - 4, 4);
    memcpy(ret_data->signature, "data", 4);
    ret_data->sequence_high = le32_make((uint32_t)(e->sequence_number >> 32));
    memcpy(ret_data->data, sector + 8, sizeof ret_data->data);
    ret_data->sequence_low = le32_make((uint32_t)e->sequence_number);
}

void log_data_decode(const struct log_descriptor_disk *descriptor, const struct log_data_disk *data,
                     uint8_t *ret_sector)
{
    memcpy(ret_sector, descriptor->leading_bytes.bytes, 8);
    memcpy(ret_sector + 8, data->data, sizeof data->data);
    memcpy(ret_sector + LOG_SECTOR_SIZE - 4, descriptor->trailing_bytes.bytes, 4);
}

void log_entry_seal(uint8_t *entry, uint32_t length)
{
    struct log_header_disk header;

    memcpy(&header, entry, sizeof header);
    uint32_t crc = log_header_checksum(&header);
    crc = crc32c(crc, entry + sizeof header, length - sizeof header);
    header.checksum = le32_make(crc);
    memcpy(entry, &header, sizeof header);
}
