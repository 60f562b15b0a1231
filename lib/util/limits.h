/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Every limit on what a file may make the library do, with its reason. A crafted file costs memory
 * and time bounded by these, whatever it claims.
 */
#ifndef UTIL_LIMITS_H
#define UTIL_LIMITS_H

#include "util/bits.h"

/* Largest virtual disk: [MS-VHDX] 2.6.2.2. */
#define LIMIT_VIRTUAL_SIZE (64 * TIB)

/* Smallest and largest payload block: [MS-VHDX] 2.6.2.1. */
#define LIMIT_BLOCK_SIZE_MIN (1 * MIB)
#define LIMIT_BLOCK_SIZE_MAX (256 * MIB)

/* Largest file: four times what a full 64 TiB image needs. Bounds the map of owned MiBs (one bit
   each) to 32 MiB of address space. */
#define LIMIT_FILE_SIZE (256 * TIB)

/* Longest log: that of the Windows driver. Bounds the time to scan it. */
#define LIMIT_LOG_LENGTH (1 * GIB)

/* Bytes read while looking for the active sequence, for a log of this length. In a log that a
   program wrote entries do not overlap, but for a few old headers whose bodies have been
   overwritten; a crafted one could make every sector begin an entry that reaches to the end. */
#define LIMIT_LOG_SCAN(length) (64 * MIB + 8 * (uint64_t)(length))

/* Descriptors in an active sequence: what a full log of LIMIT_LOG_LENGTH can hold as data
   descriptors, about. Bounds the memory of the overlay to 24 MiB, and twice that while it is
   built. */
#define LIMIT_LOG_DESCRIPTORS (256 * KIB)

/* Longest log entry that is written, however long the log: a commit's buffer. */
#define LIMIT_COMMIT_LENGTH (4 * MIB)

/* Entries of a region table and of a metadata table: [MS-VHDX] 2.2.3.1, 2.6.1.1. */
#define LIMIT_REGIONS 2047
#define LIMIT_METADATA_ITEMS 2047
#define LIMIT_METADATA_USER_ITEMS 1024

/* Largest metadata item: [MS-VHDX] 2.6.1.2. */
#define LIMIT_METADATA_ITEM_LENGTH (1 * MIB)

/* Keys of a parent locator. The format defines five. */
#define LIMIT_LOCATOR_KEYS 64

/* Images in a chain, the newest child included. Hyper-V's own limit on checkpoints is 50. */
#define LIMIT_CHAIN_LENGTH 256

/* Folder entries looked at while searching for a parent in one folder. */
#define LIMIT_FOLDER_ENTRIES 65536

/* Remarks kept about one image, and steps recorded while searching for one parent. */
#define LIMIT_NOTES 64
#define LIMIT_STEPS 256

/* Findings of one problem that a check reports; all are counted. A damaged BAT of 64 TiB could have
   67 million. */
#define LIMIT_FINDINGS_REPORTED 1000

/* Rounds of a repair: each ends a kind of problem, so that a few are enough. */
#define LIMIT_REPAIR_ROUNDS 64

/* Bytes of the BAT that are verified when an image is opened: all of it for most images (8192
   entries), a constant cost for the rest, which is verified as it is loaded. */
#define LIMIT_BAT_VERIFIED_ON_OPEN (64 * KIB)

#endif
