/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The two headers; see header.h. */

#include "format/header.h"

#include <inttypes.h>

#include "util/crc32c.h"
#include "util/iszero.h"
#include "util/limits.h"

int header_decode(const struct header_disk *d, int copy, const struct problem_sink *sink,
                  struct header *ret, struct vhdx_error *err)
{
    uint64_t at = HEADER_OFFSET((unsigned)copy);
    int n = copy + 1;

    if (memcmp(d->signature, "head", 4) != 0)
        return problem_end(sink, VHDX_P_HEADER_SIGNATURE, err, VHDX_E_CORRUPT, at,
                           "header %d: signature is not \"head\"", n);

    uint32_t checksum =
        crc32c_without(d, sizeof *d, offsetof(struct header_disk, checksum));
    if (le32_get(d->checksum) != checksum)
        return problem_end(sink, VHDX_P_HEADER_CHECKSUM, err, VHDX_E_CHECKSUM,
                           at + offsetof(struct header_disk, checksum),
                           "header %d: checksum is %#010" PRIx32 ", must be %#010" PRIx32, n,
                           le32_get(d->checksum), checksum);
    if (le16_get(d->version) != 1)
        return problem_end(sink, VHDX_P_HEADER_VERSION, err, VHDX_E_UNSUPPORTED,
                           at + offsetof(struct header_disk, version),
                           "header %d: version is %u, must be 1", n, le16_get(d->version));
    /* Reserved and ignored, [MS-VHDX] 2.2.2. */
    if (sink && !is_zero(d->reserved, sizeof d->reserved))
        problem(sink, VHDX_P_HEADER_RESERVED, NULL, VHDX_E_CORRUPT,
                at + offsetof(struct header_disk, reserved), "header %d: a reserved byte is not 0",
                n);

    *ret = (struct header){
        .sequence_number = le64_get(d->sequence_number),
        .file_write_guid = guid_get(d->file_write_guid),
        .data_write_guid = guid_get(d->data_write_guid),
        .log_guid = guid_get(d->log_guid),
        .log_version = le16_get(d->log_version),
        .log_length = le32_get(d->log_length),
        .log_offset = le64_get(d->log_offset),
    };
    return 0;
}

void header_encode(const struct header *h, struct header_disk *ret)
{
    *ret = (struct header_disk){
        .signature = { 'h', 'e', 'a', 'd' },
        .sequence_number = le64_make(h->sequence_number),
        .file_write_guid = guid_make(&h->file_write_guid),
        .data_write_guid = guid_make(&h->data_write_guid),
        .log_guid = guid_make(&h->log_guid),
        .log_version = le16_make(h->log_version),
        .version = le16_make(1),
        .log_length = le32_make(h->log_length),
        .log_offset = le64_make(h->log_offset),
    };
    ret->checksum = le32_make(
        crc32c_without(ret, sizeof *ret, offsetof(struct header_disk, checksum)));
}

int header_choose(const struct header h[2], const bool valid[2], bool identical, int *ret_copy,
                  struct vhdx_error *err)
{
    if (valid[0] != valid[1]) {
        *ret_copy = valid[1];
        return 0;
    }
    if (h[0].sequence_number == h[1].sequence_number && !identical)
        return fail(err, VHDX_E_CORRUPT, HEADER_OFFSET(1) + 8,
                    "header 2: sequence number is %" PRIu64 " as in header 1, but the headers "
                    "differ: neither is current", h[1].sequence_number);
    *ret_copy = h[1].sequence_number > h[0].sequence_number;
    return 0;
}

int header_verify_log(const struct header *h, int copy, const struct problem_sink *sink,
                      struct vhdx_error *err)
{
    uint64_t at = HEADER_OFFSET((unsigned)copy);
    bool in_use = !guid_is_zero(&h->log_guid);
    int n = copy + 1;

    if (in_use && h->log_version != 0)
        return problem_end(sink, VHDX_P_HEADER_LOG_VERSION, err, VHDX_E_UNSUPPORTED,
                           at + offsetof(struct header_disk, log_version),
                           "header %d: log version is %u, must be 0", n, h->log_version);
    if (!is_aligned(h->log_length, MIB) || (in_use && h->log_length == 0))
        return problem_end(sink, VHDX_P_HEADER_LOG_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct header_disk, log_length),
                           "header %d: log length is %" PRIu32 ", must be a multiple of 1 MiB%s", n,
                           h->log_length, in_use ? " above 0" : "");
    if (h->log_length > LIMIT_LOG_LENGTH)
        return problem_end(sink, VHDX_P_HEADER_LOG_PLACE, err, VHDX_E_LIMIT,
                           at + offsetof(struct header_disk, log_length),
                           "header %d: log length is %" PRIu32 ", must be at most 1 GiB", n,
                           h->log_length);
    if (h->log_length != 0 && (!is_aligned(h->log_offset, MIB) || h->log_offset < MIB))
        return problem_end(sink, VHDX_P_HEADER_LOG_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct header_disk, log_offset),
                           "header %d: log offset is %#" PRIx64
                           ", must be a multiple of 1 MiB and at "
                           "least 1 MiB",
                           n, h->log_offset);
    if (!range_fits(h->log_offset, h->log_length, LIMIT_FILE_SIZE))
        return problem_end(sink, VHDX_P_HEADER_LOG_PLACE, err, VHDX_E_CORRUPT,
                           at + offsetof(struct header_disk, log_offset),
                           "header %d: log offset is %#" PRIx64 ", must be below 256 TiB", n,
                           h->log_offset);
    return 0;
}
