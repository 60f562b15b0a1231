/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * How much of a stretch of the disk is stored: what st_blocks says of a mounted file. cp and others
 * look for holes only in files that take less space than their size.
 */
#ifndef VHDX_FUSE_USAGE_H
#define VHDX_FUSE_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <vhdx.h>

/* What was counted last. Zeroed before first use; not for two threads at once. */
struct usage {
    bool known;
    uint64_t bytes;
    uint64_t change;  /* the count of changes at that time */
    double at, cost;  /* when it was counted, and how long that took: seconds */
};

/*
 * Bytes of [offset, offset + length) that are stored in a file of the chain. changes counts the
 * changes of the disk so far. An old figure may come back when counting takes long or fails.
 */
uint64_t usage_bytes(struct usage *usage, struct vhdx *v, uint64_t offset, uint64_t length,
                     uint64_t changes);

#endif /* VHDX_FUSE_USAGE_H */
