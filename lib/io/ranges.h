/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Sets of byte ranges of a file. */
#ifndef IO_RANGES_H
#define IO_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bits.h"

/* Ranges of a set: in an undo file more than 256 GiB of scattered granules. Bounds the memory that
   a crafted file costs to 64 MiB. */
#define RANGES_COUNT_MAX (4 * MIB)

/* [start, end) */
struct range {
    uint64_t start, end;
};

/* Ranges, sorted and apart from one another. Zeroed is empty. */
struct ranges {
    struct range *items;
    size_t count, capacity;
};

/* Frees what the set holds. Harmless when repeated. */
void ranges_free(struct ranges *set);

/* Makes room for one more range. -ENOMEM, or -EFBIG when there are more than any file needs. */
int ranges_reserve(struct ranges *set);

/* Adds a range, with room reserved, joined with those that it touches or overlaps. */
void ranges_add(struct ranges *set, uint64_t start, uint64_t end);

/* The first part of [start, end) that the set does not have; false if it has all. */
bool ranges_gap(const struct ranges *set, uint64_t start, uint64_t end,
                     struct range *ret);

/* The first part of [start, end) that the set has; false if it has none of it. */
bool ranges_next(const struct ranges *set, uint64_t start, uint64_t end, struct range *ret);

#endif
