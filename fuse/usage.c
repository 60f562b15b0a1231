/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Counting stored bytes with the library's extents. While the disk is being written the count is
 * repeated, but takes no more than a tenth of the time.
 */
#include "usage.h"

#include <time.h>

#define REST 10 /* how many times as long as the last count the next one has to wait */

/* A disk of more blocks than this (16 MiB of BAT) is not counted when somebody types ls. */
#define BLOCKS_MAX 2097152

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int add_extent(const struct vhdx_extent *extent, void *opaque)
{
    uint64_t *bytes = opaque;

    if (extent->kind == VHDX_EXTENT_DATA)
        *bytes += extent->length;
    return 0;
}

/* No more than the files of the chain are large. */
static uint64_t estimate(struct vhdx *v, uint64_t length)
{
    uint64_t sum = 0;

    for (uint32_t depth = 0; sum < length; depth++) {
        struct vhdx_link link = VHDX_LINK_INIT;
        if (vhdx_get_link(v, depth, &link, NULL) < 0)
            break;
        sum += link.file_size;
    }
    return sum < length ? sum : length;
}

uint64_t usage_bytes(struct usage *usage, struct vhdx *v, uint64_t offset, uint64_t length,
                     uint64_t changes)
{
    double start = now_seconds();
    uint64_t bytes = 0;

    if (usage->known && (usage->change == changes || start < usage->at + REST * usage->cost))
        return usage->bytes;
    if (length / vhdx_block_size(v) > BLOCKS_MAX)
        bytes = estimate(v, length);
    else if (vhdx_extents(v, offset, length, add_extent, &bytes, NULL) < 0)
        return usage->known ? usage->bytes : length;
    usage->bytes = bytes;
    usage->change = changes;
    usage->at = now_seconds();
    usage->cost = usage->at - start;
    usage->known = true;
    return bytes;
}
