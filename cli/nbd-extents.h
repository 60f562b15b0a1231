/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * An NBD server's answer to what is data, what is zero and what is a hole (base:allocation), as
 * extents of the disk. The server is not trusted: its stretches are cut at the end of the disk, and
 * those beyond a limit are dropped.
 */
#ifndef VHDX_CLI_NBD_EXTENTS_H
#define VHDX_CLI_NBD_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#define EXTENTS_MAX 16384u /* that are kept of an answer */

/* Sorted and without gaps; neighbours are of different kinds. */
struct extents {
    struct vhdx_extent *items; /* room for EXTENTS_MAX */
    size_t count;
    uint64_t begin, end; /* what they cover: nothing at first */
    uint64_t size;       /* of the disk, bytes; end stays within */
};

/* An empty answer that begins at begin. */
void extents_restart(struct extents *extents, uint64_t begin, uint64_t size);

/* Adds a stretch of len bytes with NBD's flags (0: data). False: there is no room. */
bool extents_add(struct extents *extents, uint64_t len, uint32_t flags);

/* The extent at offset, which is covered, from there on. */
struct vhdx_extent extents_at(const struct extents *extents, uint64_t offset);

#endif /* VHDX_CLI_NBD_EXTENTS_H */
