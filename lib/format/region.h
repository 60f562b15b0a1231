/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The region table: where the BAT and the metadata lie. [MS-VHDX] 2.2.3 */
#ifndef FORMAT_REGION_H
#define FORMAT_REGION_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/limits.h"
#include "util/fail.h"

struct region {
    struct guid guid;
    uint64_t offset; /* bytes from the start of the file */
    uint32_t length; /* bytes */
    bool required;
};

struct region_table {
    uint32_t count;
    uint32_t bat;      /* index of the BAT region */
    uint32_t metadata; /* index of the metadata region */
    struct region regions[LIMIT_REGIONS];
};

/*
 * Verifies and decodes one copy (0 or 1) from its REGION_TABLE_SIZE bytes: signature, checksum,
 * every entry, no two with one GUID or a byte in common, both known regions there, no unknown one
 * required. *ret is large: do not put it on the stack; on failure its content is undefined.
 */
int region_table_decode(const uint8_t *buf, int copy, const struct problem_sink *sink,
                        struct region_table *ret, struct vhdx_error *err);

/*
 * Writes a table of a BAT and a metadata region, both required, as Windows lists them, to the
 * REGION_TABLE_SIZE bytes at ret.
 */
void region_table_encode(uint64_t bat_offset, uint32_t bat_length, uint64_t metadata_offset,
                         uint32_t metadata_length, uint8_t *ret);

/* What a region is called in messages. */
const char *region_name(const struct region *r);

#endif
