/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The two headers: the roots of the file. [MS-VHDX] 2.2.2 */
#ifndef FORMAT_HEADER_H
#define FORMAT_HEADER_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/fail.h"

struct header {
    uint64_t sequence_number;
    struct guid file_write_guid;
    struct guid data_write_guid; /* children identify their parent by it */
    struct guid log_guid;        /* zero: nothing to replay */
    uint16_t log_version;
    uint32_t log_length;         /* bytes */
    uint64_t log_offset;         /* bytes from the start of the file */
};

/*
 * Verifies and decodes one copy (0 or 1): signature, checksum, version. What a copy says of the log
 * is verified by header_verify_log() once the copy is chosen: a header that is current but wrong
 * must not make an older one current.
 */
int header_decode(const struct header_disk *d, int copy, const struct problem_sink *sink,
                  struct header *ret, struct vhdx_error *err);

/* The disk form of a header, with its checksum. */
void header_encode(const struct header *h, struct header_disk *ret);

/*
 * Which copy is current? valid[i] says whether copy i was decoded into h[i]. Of two valid copies
 * the one with the higher sequence number; the same number is accepted only on identical copies
 * (Disk2vhd and MakeVHDX write such files). At least one is valid.
 */
int header_choose(const struct header h[2], const bool valid[2], bool identical, int *ret_copy,
                  struct vhdx_error *err);

/* Verifies the log's version and place: LogVersion only where a log is to be replayed. */
int header_verify_log(const struct header *h, int copy, const struct problem_sink *sink,
                      struct vhdx_error *err);

#endif
