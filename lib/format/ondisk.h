/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The structures as they stand on disk, and where. Each is alignment 1 and of fixed size; the host
 * forms, which code computes with, are declared beside their verifiers in the other headers.
 */
#ifndef FORMAT_ONDISK_H
#define FORMAT_ONDISK_H

#include <stddef.h>

#include "util/bits.h"
#include "util/endian.h"
#include "util/guid.h"

/* [MS-VHDX] 2.2: the header section. */
#define IDENT_OFFSET 0
#define HEADER_OFFSET(copy) (64 * KIB * ((copy) + 1))        /* copy: 0 or 1 */
#define REGION_TABLE_OFFSET(copy) (192 * KIB + 64 * KIB * (copy))
#define REGION_TABLE_SIZE (64 * KIB)
#define HEADER_SECTION_SIZE (1 * MIB)
/* The log may change nothing below the region tables: headers are written directly. */
#define LOGGED_OFFSET_MIN REGION_TABLE_OFFSET(0)

/* [MS-VHDX] 2.2.1 */
struct ident_disk {
    uint8_t signature[8]; /* "vhdxfile" */
    uint8_t creator[512]; /* UTF-16LE, may end with a NUL */
};

/* [MS-VHDX] 2.2.2 */
struct header_disk {
    uint8_t signature[4]; /* "head" */
    struct le32 checksum;
    struct le64 sequence_number;
    struct guid_disk file_write_guid;
    struct guid_disk data_write_guid;
    struct guid_disk log_guid;
    struct le16 log_version;
    struct le16 version;
    struct le32 log_length;
    struct le64 log_offset;
    uint8_t reserved[4016];
};

/* [MS-VHDX] 2.2.3.1 */
struct region_header_disk {
    uint8_t signature[4]; /* "regi" */
    struct le32 checksum; /* over REGION_TABLE_SIZE */
    struct le32 entry_count;
    struct le32 reserved;
};

/* [MS-VHDX] 2.2.3.2 */
struct region_entry_disk {
    struct guid_disk guid;
    struct le64 file_offset;
    struct le32 length;
    struct le32 required; /* bit 0 */
};

#define LOG_SECTOR_SIZE 4096u

/* [MS-VHDX] 2.3.1.1 */
struct log_header_disk {
    uint8_t signature[4]; /* "loge" */
    struct le32 checksum; /* over entry_length */
    struct le32 entry_length;
    struct le32 tail;
    struct le64 sequence_number;
    struct le32 descriptor_count;
    struct le32 reserved;
    struct guid_disk log_guid;
    struct le64 flushed_file_offset;
    struct le64 last_file_offset;
};

/* [MS-VHDX] 2.3.1.2 and 2.3.1.3 */
struct log_descriptor_disk {
    uint8_t signature[4];       /* "desc" or "zero" */
    struct le32 trailing_bytes; /* zero: reserved */
    struct le64 leading_bytes;  /* zero: length */
    struct le64 file_offset;
    struct le64 sequence_number;
};

/* [MS-VHDX] 2.3.1.4 */
struct log_data_disk {
    uint8_t signature[4]; /* "data" */
    struct le32 sequence_high;
    uint8_t data[4084];
    struct le32 sequence_low;
};

#define METADATA_TABLE_SIZE (64 * KIB)

/* [MS-VHDX] 2.6.1.1 */
struct metadata_header_disk {
    uint8_t signature[8]; /* "metadata" */
    struct le16 reserved;
    struct le16 entry_count;
    uint8_t reserved2[20];
};

/* [MS-VHDX] 2.6.1.2 */
struct metadata_entry_disk {
    struct guid_disk item_id;
    struct le32 offset; /* from the start of the region */
    struct le32 length;
    struct le32 flags;  /* METADATA_... */
    struct le32 reserved;
};

#define METADATA_IS_USER 1u
#define METADATA_IS_VIRTUAL_DISK 2u
#define METADATA_IS_REQUIRED 4u

/* [MS-VHDX] 2.6.2.1 */
struct file_parameters_disk {
    struct le32 block_size;
    struct le32 flags;
};

#define FILE_PARAMETERS_LEAVE_ALLOCATED 1u
#define FILE_PARAMETERS_HAS_PARENT 2u

/* [MS-VHDX] 2.6.2.6.1 */
struct locator_header_disk {
    struct guid_disk type;
    struct le16 reserved;
    struct le16 count;
};

/* [MS-VHDX] 2.6.2.6.2 */
struct locator_entry_disk {
    struct le32 key_offset; /* from the start of the item */
    struct le32 value_offset;
    struct le16 key_length;
    struct le16 value_length;
};

_Static_assert(sizeof(struct ident_disk) == 520, "[MS-VHDX] 2.2.1");
_Static_assert(sizeof(struct header_disk) == 4096, "[MS-VHDX] 2.2.2");
_Static_assert(offsetof(struct header_disk, log_guid) == 48, "[MS-VHDX] 2.2.2");
_Static_assert(offsetof(struct header_disk, log_offset) == 72, "[MS-VHDX] 2.2.2");
_Static_assert(sizeof(struct region_header_disk) == 16, "[MS-VHDX] 2.2.3.1");
_Static_assert(sizeof(struct region_entry_disk) == 32, "[MS-VHDX] 2.2.3.2");
_Static_assert(sizeof(struct log_header_disk) == 64, "[MS-VHDX] 2.3.1.1");
_Static_assert(offsetof(struct log_header_disk, log_guid) == 32, "[MS-VHDX] 2.3.1.1");
_Static_assert(sizeof(struct log_descriptor_disk) == 32, "[MS-VHDX] 2.3.1.3");
_Static_assert(sizeof(struct log_data_disk) == LOG_SECTOR_SIZE, "[MS-VHDX] 2.3.1.4");
_Static_assert(offsetof(struct log_data_disk, sequence_low) == 4092, "[MS-VHDX] 2.3.1.4");
_Static_assert(sizeof(struct metadata_header_disk) == 32, "[MS-VHDX] 2.6.1.1");
_Static_assert(sizeof(struct metadata_entry_disk) == 32, "[MS-VHDX] 2.6.1.2");
_Static_assert(sizeof(struct locator_header_disk) == 20, "[MS-VHDX] 2.6.2.6.1");
_Static_assert(sizeof(struct locator_entry_disk) == 12, "[MS-VHDX] 2.6.2.6.2");
_Static_assert(_Alignof(struct header_disk) == 1, "disk structures have no alignment");

#endif
