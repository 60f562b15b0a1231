/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * An image written in bulk: the payload of its blocks one behind the other, in the disk's order, so
 * that one bit for each block says what the BAT is; the tables at the end. Without a log: until the
 * identifier is there the file is no image.
 */
#ifndef OPS_CONVERT_LAYOUT_H
#define OPS_CONVERT_LAYOUT_H

#include "ops/convert-target.h"
#include "ops/create-plan.h"

struct layout {
    struct target target;    /* first */
    struct vhdx_create_options options;
    struct create_plan plan;
    uint64_t *present;       /* owned; bit i: block i has a place */
    uint64_t words;          /* of present */
    uint64_t count;          /* blocks with a place */
    uint64_t last;           /* the block that got the last one */
};

/*
 * Plans a dynamic or fixed image by opts->create for a disk, or a stream, its size rounded up to
 * whole sectors. Zeroed before; ends with layout_free(). Set target.out or .io.
 */
int layout_begin(struct layout *l, const struct vhdx_disk *from,
                 const struct vhdx_convert_options *opts, struct vhdx_error *err);
void layout_free(struct layout *l);

/* The size was not known when the layout began: now it is. */
int layout_set_size(struct layout *l, uint64_t size, struct vhdx_error *err);

/* Gives the block that holds the disk's offset a place behind those that have one. In order. */
int layout_add(struct layout *l, uint64_t offset, struct vhdx_error *err);

/* Whether a block has a place. */
bool layout_has(const struct layout *l, uint64_t block);

/* Takes all places back. */
void layout_reset(struct layout *l);

/* Where the file ends. */
uint64_t layout_file_size(const struct layout *l);

/* Writes everything but payload and identifier. */
int layout_write_tables(const struct layout *l, const struct vhdx_io *io, struct vhdx_error *err);

/* The BAT entries from first on; of the layout's order ([MS-VHDX] 2.5). *block_count is how many
   present blocks come before first, and is moved on. */
void layout_fill_bat(const struct layout *l, uint64_t first, uint64_t count,
                     uint64_t *block_count, struct le64 *ret);

#endif
