/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Blocks and the block allocation table: the arithmetic of the virtual disk, and BAT entries.
 * [MS-VHDX] 2.4, 2.5
 *
 * A chunk is 2^23 sectors: what one sector bitmap block of 1 MiB describes. The BAT lists the
 * payload blocks of a chunk, then its sector bitmap block, then the next chunk's; also in images
 * that have no bitmaps.
 */
#ifndef FORMAT_BAT_H
#define FORMAT_BAT_H

#include <stdbool.h>

#include "format/metadata.h"
#include "format/ondisk.h"
#include "util/bits.h"
#include "util/fail.h"
#include "util/limits.h"

#define BAT_ENTRY_SIZE 8u
#define BITMAP_BLOCK_SIZE (1 * MIB)
#define CHUNK_SECTORS_SHIFT 23u

/* States of a payload block, [MS-VHDX] 2.5.1.1. */
#define BLOCK_NOT_PRESENT 0u       /* the parent's data, or zeros without one */
#define BLOCK_UNDEFINED 1u         /* zeros; may keep its place in the file */
#define BLOCK_ZERO 2u              /* zeros */
#define BLOCK_UNMAPPED 3u          /* zeros; may keep its place in the file */
#define BLOCK_UNMAPPED_V095 5u     /* the same, as specification 0.95 numbered it */
#define BLOCK_FULLY_PRESENT 6u     /* in this file */
#define BLOCK_PARTIALLY_PRESENT 7u /* in this file or the parent, by the sector bitmap */

/* States of a sector bitmap block, [MS-VHDX] 2.5.1.2: NOT_PRESENT, or this. */
#define BITMAP_PRESENT 6u

/* Derived from the metadata once, then only read. */
struct geometry {
    uint64_t virtual_size;   /* bytes */
    uint32_t block_shift;    /* log2 of the payload block's bytes */
    uint32_t sector_shift;   /* log2 of the logical sector's bytes: 9 or 12 */
    uint32_t chunk_shift;    /* log2 of the payload blocks in a chunk, the chunk ratio */
    bool has_parent;
    uint64_t payload_blocks;
    uint64_t bitmap_blocks;  /* = chunks */
    uint64_t bat_entries;
};

void geometry_init(struct geometry *g, const struct metadata *m);

static inline uint64_t bat_index_of_block(const struct geometry *g, uint64_t block)
{
    return block + (block >> g->chunk_shift);
}

static inline uint64_t bat_index_of_bitmap(const struct geometry *g, uint64_t chunk)
{
    return ((chunk + 1) << g->chunk_shift) + chunk;
}

/* The index of the first sector bitmap block's entry at or behind index. */
static inline uint64_t bat_next_bitmap_index(const struct geometry *g, uint64_t index)
{
    return bat_index_of_bitmap(g, index / ((UINT64_C(1) << g->chunk_shift) + 1));
}

/* Does this entry belong to a sector bitmap block? *ret_number: of the block or of the chunk. */
static inline bool bat_index_is_bitmap(const struct geometry *g, uint64_t index,
                                       uint64_t *ret_number)
{
    uint64_t ratio = UINT64_C(1) << g->chunk_shift;
    uint64_t chunk = index / (ratio + 1);
    bool is_bitmap = index % (ratio + 1) == ratio;

    *ret_number = is_bitmap ? chunk : index - chunk;
    return is_bitmap;
}

static inline uint32_t bat_state(uint64_t entry)
{
    return (uint32_t)(entry & 7);
}

static inline uint64_t bat_file_offset(uint64_t entry)
{
    return entry & ~(MIB - 1);
}

/* Do the bytes at the entry's offset count: payload, or a sector bitmap? */
static inline bool bat_is_present(uint64_t entry)
{
    return bat_state(entry) >= BLOCK_FULLY_PRESENT;
}

/* Does the block keep a place in the file without being present (a "soft anchor")? */
static inline bool bat_is_anchor(uint64_t entry)
{
    uint32_t state = bat_state(entry);

    return (state == BLOCK_UNDEFINED || state == BLOCK_UNMAPPED ||
            state == BLOCK_UNMAPPED_V095) && bat_file_offset(entry) != 0;
}

/* Bits 3 to 19 of an entry. */
#define BAT_RESERVED_BITS (MIB - 8)

/*
 * The first rule that the entry at index breaks by itself, or 0: state, reserved bits, and for a
 * present block a place behind the header section and below 256 TiB.
 */
uint32_t bat_entry_problem(const struct geometry *g, uint64_t index, uint64_t entry);

/*
 * Verifies the entry at index, which stood at file offset at: state, reserved bits, and for a
 * present block a place behind the header section and below 256 TiB. What else may lie there is not
 * known here. Offsets in the other states are reserved and ignored.
 */
int bat_entry_verify(const struct geometry *g, uint64_t index, uint64_t entry, uint64_t at,
                     struct vhdx_error *err);

/* Whether bat_entry_verify() passes a payload block's entry for sure; true for nearly all. */
static inline bool bat_payload_entry_is_plain(uint64_t entry)
{
    return entry == 0 || ((entry & (MIB - 1)) == BLOCK_FULLY_PRESENT &&
                          entry - HEADER_SECTION_SIZE < LIMIT_FILE_SIZE - HEADER_SECTION_SIZE);
}

/* "payload block 7" or "sector bitmap block 0", for messages. */
#define BAT_NAME_SIZE 48
void bat_entry_name(const struct geometry *g, uint64_t index, char ret_name[BAT_NAME_SIZE]);

#endif
