/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Which MiBs of the file belong to a structure; see space.h. */

#include "core/space.h"

#include "core/pages.h"
#include "util/bits.h"

static uint64_t map_bytes(const struct space *s)
{
    return (s->size_mib / 64 + 1) * sizeof *s->owned;
}

int space_init(struct space *s, uint64_t file_size, struct vhdx_error *err)
{
    s->size_mib = div_ceil(file_size, MIB);
    s->owned = zeros_reserve(map_bytes(s));
    return s->owned ? 0 : fail_nomem(err);
}

void space_end(struct space *s)
{
    zeros_release(s->owned, map_bytes(s));
    *s = (struct space){ 0 };
}

/* The bits of word first / 64 that [first, end) covers. */
static uint64_t mask_of(uint64_t first, uint64_t end)
{
    uint64_t low = first % 64, count = min_u64(64 - low, end - first);

    return (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << low;
}

static uint64_t end_of(const struct space *s, uint64_t offset, uint64_t len)
{
    return min_u64(offset / MIB + div_ceil(len, MIB), s->size_mib);
}

bool space_claim(struct space *s, uint64_t offset, uint64_t len)
{
    uint64_t first = offset / MIB, end = end_of(s, offset, len);

    if (first < end && first / 64 == (end - 1) / 64) { /* a small block */
        uint64_t *word = &s->owned[first / 64], mask = mask_of(first, end);
        bool is_free = (*word & mask) == 0;
        *word |= is_free ? mask : 0;
        return is_free;
    }
    for (uint64_t i = first; i < end; i = align_down(i, 64) + 64)
        if (s->owned[i / 64] & mask_of(i, end))
            return false;
    for (uint64_t i = first; i < end; i = align_down(i, 64) + 64)
        s->owned[i / 64] |= mask_of(i, end);
    return true;
}

void space_release(struct space *s, uint64_t offset, uint64_t len)
{
    uint64_t end = end_of(s, offset, len);

    for (uint64_t i = offset / MIB; i < end; i = align_down(i, 64) + 64)
        s->owned[i / 64] &= ~mask_of(i, end);
}
