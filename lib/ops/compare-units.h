/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Cutting two disks into units that are compared as one. Stretches that need no look are skipped at
 * no cost, however long: where neither disk has data, and where both have theirs from the same
 * place of one file.
 */
#ifndef OPS_COMPARE_UNITS_H
#define OPS_COMPARE_UNITS_H

#include "disk/disk.h"

/* Largest unit; units do not cross its multiples. */
#define COMPARE_UNIT (2 * MIB)

/* One of the two disks. */
struct compare_side {
    struct vhdx_disk *disk;
    struct disk_walk walk;
    struct disk_extent extent; /* the one that position is in */
};

struct compare_units {
    struct compare_side sides[2];
    uint64_t size;     /* bytes that are compared */
    uint64_t position; /* atomic: all before it was handed out or skipped */
    uint32_t grain;    /* units begin and end at its multiples; the last may be shorter */
};

/* Sides: bit 0 the first disk, bit 1 the second. */
#define COMPARE_A 1u
#define COMPARE_B 2u

struct compare_unit {
    uint64_t offset, length;
    uint32_t with_data; /* sides; of the others all is zero */
    bool is_mismatch;   /* one side has an extent of data here, the other has not */
    bool is_local;      /* all data lies in files: small reads cost no more than large ones */
};

/* For the first size bytes; a disk may end before. End it with compare_units_end(), also after a
   failure. */
int compare_units_begin(struct vhdx_disk *a, struct vhdx_disk *b, uint64_t size, uint32_t grain,
                        struct compare_units *ret, struct vhdx_error *err);

/* 1, or 0 after the last unit, or negative. */
int compare_units_next(struct compare_units *u, struct compare_unit *ret, struct vhdx_error *err);

void compare_units_end(struct compare_units *u);

#endif
