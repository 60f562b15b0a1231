/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What is on the disk: its partitions, numbered as the kernel numbers them, and what each of them
 * holds.
 */
#ifndef VHDX_FUSE_PARTITIONS_H
#define VHDX_FUSE_PARTITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARTITIONS_MAX 256 /* the kernel shows as many of a disk; a GPT usually has 128 at most */
#define CONTENT_TYPE 32
#define CONTENT_LABEL 128

/* What stands at the beginning of a partition, or of a disk without partitions, in blkid's words.
   Empty texts: nothing known. The label is anybody's text. */
struct content {
    char type[CONTENT_TYPE];   /* "ext4", "ntfs", "LVM2_member", ... */
    char label[CONTENT_LABEL];
};

struct partition {
    uint32_t number;         /* 1, 2, ...; logical partitions of an MBR from 5 */
    uint64_t offset, length; /* bytes, within the disk */
    struct content content;
};

struct partition_table {
    char scheme[CONTENT_TYPE]; /* "gpt", "dos", ...; empty without a table */
    struct content content;    /* of the disk itself */
    size_t count;
    struct partition items[PARTITIONS_MAX]; /* in the order of their numbers */
};

/* True in a build with libblkid. */
bool partitions_supported(void);

/*
 * Reads what is on the disk that fd shows: a regular file of disk_size bytes. Extended partitions,
 * mere containers of logical ones, are left out; what reaches past the end of the disk is cut off.
 * False: the disk could not be read.
 */
bool partitions_read(int fd, uint64_t disk_size, uint32_t sector_size,
                     struct partition_table *ret);

#endif /* VHDX_FUSE_PARTITIONS_H */
