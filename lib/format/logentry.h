/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Log entries: their header, descriptors and data sectors. [MS-VHDX] 2.3.1 */
#ifndef FORMAT_LOGENTRY_H
#define FORMAT_LOGENTRY_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/fail.h"

struct log_entry {
    uint32_t offset; /* of the entry in the log, bytes */
    uint64_t at;     /* of the entry in the file, bytes */
    uint32_t checksum;
    uint32_t length; /* bytes; LOG_SECTOR_SIZE * n */
    uint32_t tail;   /* offset in the log of the oldest entry of its sequence */
    uint32_t descriptor_count;
    uint32_t reserved;
    uint64_t sequence_number;
    uint64_t flushed_file_offset; /* bytes; QEMU writes the exact size, not a multiple of 1 MiB */
    uint64_t last_file_offset;
};

struct log_descriptor {
    bool is_zero;
    uint64_t file_offset;
    uint64_t length;           /* bytes; LOG_SECTOR_SIZE for data */
    struct le64 leading_bytes; /* data only: the first 8 bytes of the sector */
    struct le32 trailing_bytes;
    uint32_t index;            /* in its entry */
    uint64_t at;               /* of the descriptor in the file */
};

/* Sectors at the start of an entry that hold its header and descriptors: 126 in the first, 128 in
   each further one. */
uint32_t log_descriptor_sectors(uint32_t descriptor_count);

/* CRC-32C of an entry's header alone, the checksum field taken as zero; continue with the rest. */
uint32_t log_header_checksum(const struct log_header_disk *d);

/*
 * Verifies and decodes an entry's header, the checksum aside. A failure means that no entry of this
 * log begins here, which is normal. offset: of the entry in the log. log_offset, log_length and
 * log_guid are those of the file's header.
 */
int log_header_decode(const struct log_header_disk *d, uint32_t offset, uint64_t log_offset,
                      uint32_t log_length, const struct guid *log_guid, struct log_entry *ret,
                      struct vhdx_error *err);

/* Verifies and decodes descriptor index of the entry e, which stands at file offset at. */
int log_descriptor_decode(const struct log_descriptor_disk *d, const struct log_entry *e,
                          uint32_t index, uint64_t at, struct log_descriptor *ret,
                          struct vhdx_error *err);

/* Does this data sector, which stands at file offset at, belong to the entry e? */
int log_data_verify(const struct log_data_disk *d, const struct log_entry *e, uint64_t at,
                    struct vhdx_error *err);

/* The disk form of an entry's header; the checksum is set by log_entry_seal(). */
void log_header_encode(const struct log_entry *e, const struct guid *log_guid,
                       struct log_header_disk *ret);

/*
 * Splits a sector of 4 KiB that belongs at file_offset into the descriptor and the data sector by
 * which the log of entry e carries it.
 */
void log_data_encode(const struct log_entry *e, uint64_t file_offset, const uint8_t *sector,
                     struct log_descriptor_disk *ret_descriptor, struct log_data_disk *ret_data);

/* Puts the sector together again. */
void log_data_decode(const struct log_descriptor_disk *descriptor, const struct log_data_disk *data,
                     uint8_t *ret_sector);

/* Sets the checksum of an entry, whose bytes are complete but for it. */
void log_entry_seal(uint8_t *entry, uint32_t length);

/*
 * What makes the image corrupt when it stands in the active sequence, although the entry is beyond
 * doubt one that a program wrote: skipping it would silently show old data.
 */
int log_entry_verify(const struct log_entry *e, struct vhdx_error *err);

/* The same for a descriptor: a replay may not write below the region tables, into the log itself,
   or beyond the largest file. log_offset and log_length are those of the file's header. */
int log_descriptor_verify(const struct log_descriptor *d, const struct log_entry *e,
                          uint64_t log_offset, uint32_t log_length, struct vhdx_error *err);

#endif
