/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Log entries; see logentry.h. File offsets in errors are relative to the start of the log. */

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
    static const uint8_t zero[4];
    const uint8_t *p = (const uint8_t *)d;
    size_t field = offsetof(struct log_header_disk, checksum);

    uint32_t crc = crc32c(0, p, field);
    crc = crc32c(crc, zero, sizeof zero);
    return crc32c(crc, p + field + 4, sizeof *d - field - 4);
}

#define BAD(field, ...)                                                                            \
    fail(err, VHDX_E_CORRUPT, offset + offsetof(struct log_header_disk, field), __VA_ARGS__)

static int verify_lengths(const struct log_entry *e, uint32_t offset, uint32_t log_length,
                          struct vhdx_error *err)
{
    if (e->length == 0 || !is_aligned(e->length, LOG_SECTOR_SIZE) || e->length > log_length)
        return BAD(entry_length,
                   "log entry at %#" PRIx32 ": entry length is %" PRIu32 ", must be a multiple of "
                   "4 KiB and at most the log's %" PRIu32, offset, e->length, log_length);
    if (!is_aligned(e->tail, LOG_SECTOR_SIZE) || e->tail >= log_length)
        return BAD(tail, "log entry at %#" PRIx32 ": tail is %#" PRIx32 ", must be a multiple of "
                   "4 KiB below the log's length %#" PRIx32, offset, e->tail, log_length);
    /* Each descriptor takes 32 bytes, so this also bounds the count before it is used. */
    if (e->descriptor_count > e->length / sizeof(struct log_descriptor_disk) ||
        log_descriptor_sectors(e->descriptor_count) > e->length / LOG_SECTOR_SIZE)
        return BAD(descriptor_count,
                   "log entry at %#" PRIx32 ": descriptor count is %" PRIu32
                   ", must fit the entry's length %" PRIu32, offset, e->descriptor_count,
                   e->length);
    return 0;
}

int log_header_decode(const struct log_header_disk *d, uint32_t offset, uint32_t log_length,
                      const struct guid *log_guid, struct log_entry *ret, struct vhdx_error *err)
{
    struct guid guid = guid_get(d->log_guid);
    struct log_entry e = {
        .offset = offset,
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
        return BAD(signature, "log entry at %#" PRIx32 ": signature is not \"loge\"", offset);
    if (!guid_equal(&guid, log_guid))
        return BAD(log_guid, "log entry at %#" PRIx32 ": log GUID is not the header's", offset);
    if (e.sequence_number == 0)
        return BAD(sequence_number, "log entry at %#" PRIx32 ": sequence number is 0, must be "
                   "above 0", offset);
    int r = verify_lengths(&e, offset, log_length, err);
    if (r == 0)
        *ret = e;
    return r;
}

#undef BAD

#define BAD(field, ...)                                                                            \
    fail(err, VHDX_E_CORRUPT, e->offset + offsetof(struct log_descriptor_disk, field), __VA_ARGS__)

int log_descriptor_decode(const struct log_descriptor_disk *d, const struct log_entry *e,
                          struct log_descriptor *ret, struct vhdx_error *err)
{
    struct log_descriptor x = {
        .is_zero = memcmp(d->signature, "zero", 4) == 0,
        .file_offset = le64_get(d->file_offset),
        .length = LOG_SECTOR_SIZE,
        .leading_bytes = d->leading_bytes,
        .trailing_bytes = d->trailing_bytes,
    };

    if (!x.is_zero && memcmp(d->signature, "desc", 4) != 0)
        return BAD(signature, "log entry at %#" PRIx32 ": descriptor signature is neither "
                   "\"desc\" nor \"zero\"", e->offset);
    if (le64_get(d->sequence_number) != e->sequence_number)
        return BAD(sequence_number, "log entry at %#" PRIx32 ": descriptor sequence number is %"
                   PRIu64 ", must be the entry's %" PRIu64, e->offset,
                   le64_get(d->sequence_number), e->sequence_number);
    if (!is_aligned(x.file_offset, LOG_SECTOR_SIZE))
        return BAD(file_offset, "log entry at %#" PRIx32 ": descriptor file offset is %#" PRIx64
                   ", must be a multiple of 4 KiB", e->offset, x.file_offset);
    if (x.is_zero) {
        x.length = le64_get(d->leading_bytes);
        if (!is_aligned(x.length, LOG_SECTOR_SIZE))
            return BAD(leading_bytes, "log entry at %#" PRIx32 ": zero length is %#" PRIx64
                       ", must be a multiple of 4 KiB", e->offset, x.length);
    }
    *ret = x;
    return 0;
}

int log_data_verify(const struct log_data_disk *d, const struct log_entry *e,
                    struct vhdx_error *err)
{
    uint64_t sequence_number =
        (uint64_t)le32_get(d->sequence_high) << 32 | le32_get(d->sequence_low);

    if (memcmp(d->signature, "data", 4) != 0)
        return fail(err, VHDX_E_CORRUPT, e->offset,
                    "log entry at %#" PRIx32 ": data sector signature is not \"data\"", e->offset);
    if (sequence_number != e->sequence_number)
        return fail(err, VHDX_E_CORRUPT, e->offset,
                    "log entry at %#" PRIx32 ": data sector sequence number is %" PRIu64
                    ", must be the entry's %" PRIu64, e->offset, sequence_number,
                    e->sequence_number);
    return 0;
}

int log_entry_verify(const struct log_entry *e, struct vhdx_error *err)
{
    if (e->reserved != 0)
        return fail(err, VHDX_E_CORRUPT, e->offset + offsetof(struct log_header_disk, reserved),
                    "log entry at %#" PRIx32 ": reserved field is %#" PRIx32 ", must be 0",
                    e->offset, e->reserved);
    if (e->last_file_offset > LIMIT_FILE_SIZE)
        return fail(err, VHDX_E_CORRUPT,
                    e->offset + offsetof(struct log_header_disk, last_file_offset),
                    "log entry at %#" PRIx32 ": last file offset is %#" PRIx64
                    ", must be at most 256 TiB", e->offset, e->last_file_offset);
    return 0;
}

int log_descriptor_verify(const struct log_descriptor *d, const struct log_entry *e,
                          uint64_t log_offset, uint32_t log_length, struct vhdx_error *err)
{
    if (d->is_zero && le32_get(d->trailing_bytes) != 0)
        return BAD(trailing_bytes, "log entry at %#" PRIx32 ": zero descriptor's reserved field "
                   "is %#" PRIx32 ", must be 0", e->offset, le32_get(d->trailing_bytes));
    if (d->file_offset < LOGGED_OFFSET_MIN)
        return BAD(file_offset, "log entry at %#" PRIx32 ": descriptor file offset is %#" PRIx64
                   ", must be at least 192 KiB", e->offset, d->file_offset);
    if (!range_fits(d->file_offset, d->length, LIMIT_FILE_SIZE))
        return BAD(file_offset, "log entry at %#" PRIx32 ": descriptor file range %#" PRIx64
                   " + %#" PRIx64 " must end below 256 TiB", e->offset, d->file_offset,
                   d->length);
    if (ranges_overlap(d->file_offset, d->length, log_offset, log_length))
        return BAD(file_offset, "log entry at %#" PRIx32 ": descriptor file offset is %#" PRIx64
                   ", must be outside the log itself", e->offset, d->file_offset);
    return 0;
}
