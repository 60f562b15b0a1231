/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Sets of byte ranges of a file; see ranges.h. */

#include "io/ranges.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ranges_free(struct ranges *set)
{
    free(set->items);
    *set = (struct ranges){ 0 };
}

int ranges_reserve(struct ranges *set)
{
    if (set->count < set->capacity)
        return 0;
    if (set->count >= RANGES_COUNT_MAX)
        return -EFBIG;
    size_t capacity = set->capacity ? 2 * set->capacity : 64;
    struct range *items = realloc(set->items, capacity * sizeof *items);
    if (!items)
        return -ENOMEM;
    set->items = items;
    set->capacity = capacity;
    return 0;
}

/* The first range that ends at offset or behind it. */
static size_t find_range(const struct ranges *set, uint64_t offset)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].end >= offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void ranges_add(struct ranges *set, uint64_t start, uint64_t end)
{
    size_t first = find_range(set, start), last = first;

    for (; last < set->count && set->items[last].start <= end; last++) {
        start = min_u64(start, set->items[last].start);
        end = max_u64(end, set->items[last].end);
    }
    assert(last > first || set->count < set->capacity);
    if (set->count > last)
        memmove(set->items + first + 1, set->items + last,
                (set->count - last) * sizeof *set->items);
    set->items[first] = (struct range){ start, end };
    set->count = set->count - (last - first) + 1;
}

bool ranges_gap(const struct ranges *set, uint64_t start, uint64_t end,
                     struct range *ret)
{
    size_t i = find_range(set, start);

    if (i < set->count && set->items[i].start <= start)
        start = set->items[i++].end;
    if (start >= end)
        return false;
    if (i < set->count)
        end = min_u64(end, set->items[i].start);
    *ret = (struct range){ start, end };
    return true;
}

bool ranges_next(const struct ranges *set, uint64_t start, uint64_t end, struct range *ret)
{
    size_t i = find_range(set, start);

    if (start >= end)
        return false;
    if (i < set->count && set->items[i].end <= start)
        i++;
    if (i == set->count || set->items[i].start >= end)
        return false;
    *ret = (struct range){ max_u64(start, set->items[i].start), min_u64(end, set->items[i].end) };
    return true;
}
