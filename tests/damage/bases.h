/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Small images in memory, to be damaged. */
#ifndef TESTS_DAMAGE_BASES_H
#define TESTS_DAMAGE_BASES_H

#include "io-record.h"

#define BITMAPS_MAX 4

struct base {
    struct memfile *file; /* owned */
    uint32_t sector_size, block_size;
    uint64_t log_offset, log_length, metadata_offset, bat_offset, bat_entries;
    uint64_t bitmaps[BITMAPS_MAX]; /* file offsets of sector bitmap blocks */
    uint32_t bitmap_count;
};

#define BASES 14

/* Makes base number i: fixed, dynamic, differencing; sectors of 512 and 4096 bytes; logs clean,
   dirty, and gone round. Always the same but for GUIDs. Ends the program if that fails. */
void base_make(struct base *b, uint32_t i);
void base_end(struct base *b);

#endif
