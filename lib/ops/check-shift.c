/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Pages of the BAT that QEMU moved by one entry; see check.h.
 *
 * Before 8.0 QEMU, when it logged a change of the first entry of a 4 KiB page of the BAT, wrote the
 * rest of the page one place too far:
 *
 *     was:  e0  e1  e2 ... e510 e511
 *     is:   new e0  e1 ... e509 e510        new: the first entry's new value; e511 is lost
 *
 * Nothing is lost of a last page in which the BAT ends before the page does.
 *
 * An image without a parent gives it away where the page holds the entry of a sector bitmap, which
 * is always 0: now the block before it stands there, and the 0 stands one place further. Only a
 * page in which all of that agrees is taken for one that was moved:
 *
 *   1. the first entry is present: it was being allocated, so what it was before is not present;
 *   2. a bitmap's entry holds a present block, and the entry behind each one is 0;
 *   3. moved back, every entry is one that may stand in its place.
 */

#include "ops/check.h"

static bool is_slot(const struct geometry *g, uint64_t index)
{
    uint64_t number;

    return bat_index_is_bitmap(g, index, &number);
}

bool check_page_is_shifted(const struct check *c, uint64_t first_index, const uint64_t *entries,
                           uint64_t count, uint64_t behind, uint64_t *ret_entries)
{
    const struct geometry *g = &c->image->geometry;
    uint64_t slot = bat_next_bitmap_index(g, first_index) - first_index, used = 0;

    if (slot >= count || count < 3 || !bat_is_present(entries[0]) || bat_is_present(entries[1]))
        return false;
    for (; slot < count; slot = bat_next_bitmap_index(g, first_index + slot + 1) - first_index) {
        used += bat_is_present(entries[slot]);
        if (entries[slot] != 0 && slot + 1 < count && entries[slot + 1] != 0)
            return false;
    }
    if (used == 0)
        return false;

    ret_entries[0] = entries[0];
    for (uint64_t i = 1; i + 1 < count; i++)
        ret_entries[i] = entries[i + 1];
    ret_entries[count - 1] = behind;
    for (uint64_t i = 0; i < count; i++)
        if (bat_entry_problem(g, first_index + i, ret_entries[i]) != 0 ||
            (is_slot(g, first_index + i) && ret_entries[i] != 0))
            return false;
    return true;
}
