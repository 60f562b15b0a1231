/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a server says about its disk's allocation; see nbd-extents.h. */
#include "nbd-extents.h"

#include <libnbd.h>

static uint32_t kind_of(uint32_t flags)
{
    if (!(flags & LIBNBD_STATE_ZERO))
        return VHDX_EXTENT_DATA;
    return flags & LIBNBD_STATE_HOLE ? VHDX_EXTENT_HOLE : VHDX_EXTENT_ZERO;
}

void extents_restart(struct extents *extents, uint64_t begin, uint64_t size)
{
    extents->count = 0;
    extents->begin = extents->end = begin;
    extents->size = size;
}

bool extents_add(struct extents *extents, uint64_t len, uint32_t flags)
{
    struct vhdx_extent *last = extents->count ? &extents->items[extents->count - 1] : NULL;
    uint32_t kind = kind_of(flags);

    if (len > extents->size - extents->end)
        len = extents->size - extents->end;
    if (len == 0)
        return true;
    if (!last || last->kind != kind) {
        if (extents->count == EXTENTS_MAX)
            return false;
        last = &extents->items[extents->count++];
        *last = (struct vhdx_extent){ .offset = extents->end, .kind = kind,
                                      .file_offset = VHDX_OFFSET_NONE };
    }
    last->length += len;
    extents->end += len;
    return true;
}

struct vhdx_extent extents_at(const struct extents *extents, uint64_t offset)
{
    size_t low = 0, high = extents->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (extents->items[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    struct vhdx_extent e = extents->items[low];
    e.length -= offset - e.offset;
    e.offset = offset;
    return e;
}
