/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Where a disk is copied to: where in the output each part of it lies, and how it gets there. What
 * is not written must be zero already, or has_content is set.
 */
#ifndef OPS_CONVERT_TARGET_H
#define OPS_CONVERT_TARGET_H

#include <stdbool.h>

#include "disk/disk.h"
#include "io/outfile.h"

struct target {
    struct outfile *out;       /* the output, or */
    const struct vhdx_io *io;  /* the output */
    uint64_t io_size;          /* bytes: what it has room for */
    bool has_content;          /* what is there is not zeros: all of the disk is written */
    uint64_t base;             /* where the disk begins in the output, unless there is place() */

    /*
     * Where the unit of the disk at offset, a multiple of unit, lies in the output; called in the
     * disk's order, repeatedly perhaps, for units with data only.
     */
    uint64_t unit;
    int (*place)(struct target *t, uint64_t offset, uint64_t *ret_place, struct vhdx_error *err);
};

/* What came of a copy, in bytes of the disk. */
struct copy_result {
    uint64_t size; /* of the input: a stream's is known now */
    uint64_t read, copied, cloned;
};

struct hasher;

/* Copies the disk. hasher: NULL, or takes all of it, in order. */
int convert_copy(struct vhdx_disk *from, struct target *to,
                 const struct vhdx_convert_options *opts, struct hasher *hasher,
                 struct copy_result *ret, struct vhdx_error *err);

/*
 * Shares the disk's blocks with the input's files, and copies what cannot be shared: what a file
 * system's block does not cover. *ret_done is false, and nothing has been done, if these files
 * cannot share. It does not read, so there is no hasher.
 */
int convert_clone(struct vhdx_disk *from, struct target *to,
                  const struct vhdx_convert_options *opts, struct copy_result *ret,
                  bool *ret_done, struct vhdx_error *err);

/* Tells the caller of the library, who may want to cancel. */
int convert_report(const struct vhdx_convert_options *opts, uint64_t done, uint64_t total,
                   struct vhdx_error *err);

/* Where a place of the disk lies in the output. In the disk's order. */
int target_place(struct target *t, uint64_t offset, uint64_t *ret_place, struct vhdx_error *err);

/* Writes to a place of the output. */
int target_write(struct target *t, const void *buf, size_t len, uint64_t place,
                 struct vhdx_error *err);

#endif
