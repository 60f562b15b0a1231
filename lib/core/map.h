/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The one lookup: what lies at an offset of the virtual disk, and in which file of the chain.
 * Reading, extents, converting, hashing all walk the disk with a map_iter; nobody else interprets a
 * BAT entry or a sector bitmap.
 *
 * A walk keeps, for each image of the chain, how far the last thing it found there reaches. So each
 * image's tables are gone through once per walk, however finely its children are cut up.
 */
#ifndef CORE_MAP_H
#define CORE_MAP_H

#include <stdbool.h>

#include "core/chain.h"
#include "core/table.h"

/* What an image says of a stretch of the disk. */
enum map_kind {
    MAP_DATA,   /* it lies in this file */
    MAP_ZERO,   /* it is zero, whatever the parent holds */
    MAP_PARENT, /* this file says nothing of it: the parent's, or zeros without one */
};

struct map_level {
    enum map_kind kind;
    uint64_t until; /* virtual offset where it ends; at or before the position: unknown */
    uint64_t shift; /* DATA: file offset minus virtual offset, modulo 2^64 */
};

struct map_iter {
    const struct chain *chain;
    uint64_t position, end; /* virtual offsets */
    struct table_window *windows; /* one per image, or NULL: through the page cache */
    struct map_level levels[LIMIT_CHAIN_LENGTH];
};

/*
 * Begins a walk over [offset, offset + len) of the chain's disk, which must lie inside it. windows:
 * NULL, or an array of chain->count zeroed windows, for walks that touch the whole BAT.
 */
void map_begin(struct map_iter *it, const struct chain *chain, struct table_window *windows,
               uint64_t offset, uint64_t len);

/*
 * The extent at the position; the position moves past it. Extents are as long as one image's answer
 * goes: neighbours may be of one kind. 1 with *ret filled, 0 at the end, negative on failure.
 */
int map_next(struct map_iter *it, struct vhdx_extent *ret, struct vhdx_error *err);

/*
 * A walk over the disk with joined neighbours: calls fn for each extent of [offset, offset + len).
 * Its memory does not depend on the size of the disk. Returns what fn returned if not 0.
 */
int map_walk(const struct chain *chain, uint64_t offset, uint64_t len,
             int (*fn)(const struct vhdx_extent *extent, void *opaque), void *opaque,
             struct vhdx_error *err);

#endif
