/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The metadata region: its table and the known items. [MS-VHDX] 2.6 */
#ifndef FORMAT_METADATA_H
#define FORMAT_METADATA_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/limits.h"
#include "util/fail.h"

/* The known items, in the order in which they are decoded. */
enum metadata_known {
    METADATA_FILE_PARAMETERS,
    METADATA_LOGICAL_SECTOR_SIZE,
    METADATA_PHYSICAL_SECTOR_SIZE,
    METADATA_VIRTUAL_DISK_SIZE,
    METADATA_VIRTUAL_DISK_ID,
    METADATA_PARENT_LOCATOR,
    METADATA_KNOWN_COUNT
};

struct metadata_item {
    struct guid id;
    uint32_t offset; /* from the start of the region; 0 when length is 0 */
    uint32_t length; /* bytes, at most LIMIT_METADATA_ITEM_LENGTH */
    uint32_t flags;  /* METADATA_IS_... */
};

#define METADATA_NOT_THERE UINT32_MAX

struct metadata_table {
    uint32_t count;
    uint32_t known[METADATA_KNOWN_COUNT]; /* index into items, or METADATA_NOT_THERE */
    struct metadata_item items[LIMIT_METADATA_ITEMS]; /* in the order of their offsets */
};

/* What the known items say. */
struct metadata {
    uint32_t block_size;           /* bytes, a power of two, 1 .. 256 MiB */
    uint32_t logical_sector_size;  /* 512 or 4096 */
    uint32_t physical_sector_size; /* 512 or 4096 */
    bool leave_allocated;          /* fixed */
    bool has_parent;               /* differencing */
    uint64_t virtual_size;         /* bytes */
    struct guid virtual_disk_id;
};

/*
 * Verifies and decodes the table from the METADATA_TABLE_SIZE bytes at the start of the region,
 * which lies at region_offset and is region_length long: every entry, uniqueness, no overlap, no
 * unknown required item. *ret is large: do not put it on the stack.
 */
int metadata_table_decode(const uint8_t *buf, uint64_t region_offset, uint32_t region_length,
                          const struct problem_sink *sink, struct metadata_table *ret,
                          struct vhdx_error *err);

/* What a known item is called in messages. */
const char *metadata_name(enum metadata_known k);

/*
 * Verifies the content of one known item (length bytes at buf, which stood at file offset at) and
 * stores it in *m. Call in the order of the enum: the size is verified against the sector size. Not
 * for METADATA_PARENT_LOCATOR: see locator.h.
 */
int metadata_item_decode(enum metadata_known k, const uint8_t *buf, uint32_t length, uint64_t at,
                         const struct problem_sink *sink, struct metadata *m,
                         struct vhdx_error *err);

/*
 * Building a region: metadata_encode_begin() on a zeroed buffer of size bytes, then an item at a
 * time, the first behind the table. metadata_encode_item() returns false when the region is full.
 */
struct metadata_encoder {
    uint8_t *buf;  /* borrowed */
    size_t size;
    uint32_t end;  /* where the next item goes */
    uint16_t count;
};

void metadata_encode_begin(struct metadata_encoder *e, uint8_t *buf, size_t size);

bool metadata_encode_item(struct metadata_encoder *e, const struct guid *id, uint32_t flags,
                          const void *content, uint32_t length);

/* The fixed known items, in Windows' order; a parent locator follows as an item of its own. */
bool metadata_encode_known(struct metadata_encoder *e, const struct metadata *m);

/* The id of a known item. */
const struct guid *metadata_id(enum metadata_known k);

/* The flags that the format gives a known item. */
uint32_t metadata_item_flags(enum metadata_known k);

/* The length that a known item must have; 0 for METADATA_PARENT_LOCATOR, which varies. */
uint32_t metadata_item_length(enum metadata_known k);

#endif
