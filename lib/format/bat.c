/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Blocks and the block allocation table; see bat.h. */

#include "format/bat.h"

#include <inttypes.h>
#include <stdio.h>

#include "util/limits.h"

void geometry_init(struct geometry *g, const struct metadata *m)
{
    *g = (struct geometry){
        .virtual_size = m->virtual_size,
        .block_shift = log2_exact(m->block_size),
        .sector_shift = log2_exact(m->logical_sector_size),
        .has_parent = m->has_parent,
        .payload_blocks = div_ceil(m->virtual_size, m->block_size),
    };
    g->chunk_shift = CHUNK_SECTORS_SHIFT + g->sector_shift - g->block_shift;

    uint64_t ratio = UINT64_C(1) << g->chunk_shift;
    g->bitmap_blocks = div_ceil(g->payload_blocks, ratio);
    if (g->has_parent)
        g->bat_entries = g->bitmap_blocks * (ratio + 1);
    else if (g->payload_blocks > 0)
        g->bat_entries = g->payload_blocks + (g->payload_blocks - 1) / ratio;
}

void bat_entry_name(const struct geometry *g, uint64_t index, char ret_name[BAT_NAME_SIZE])
{
    uint64_t number;
    bool is_bitmap = bat_index_is_bitmap(g, index, &number);

    snprintf(ret_name, BAT_NAME_SIZE, "%s block %" PRIu64,
             is_bitmap ? "sector bitmap" : "payload", number);
}

static bool state_is_valid(const struct geometry *g, bool is_bitmap, uint32_t state)
{
    if (is_bitmap)
        return state == BLOCK_NOT_PRESENT || (state == BITMAP_PRESENT && g->has_parent);
    return state != 4 && (state != BLOCK_PARTIALLY_PRESENT || g->has_parent);
}

static int bad_state(const struct geometry *g, uint64_t index, uint64_t entry, uint64_t at,
                     const char *name, struct vhdx_error *err)
{
    uint64_t number;
    bool is_bitmap = bat_index_is_bitmap(g, index, &number);

    if (is_bitmap && !g->has_parent)
        return fail(err, VHDX_E_CORRUPT, at,
                    "BAT entry %" PRIu64 " (%s): state is %u, must be 0 in an image without a "
                    "parent (QEMU before 8.0 could shift BAT entries like this)", index, name,
                    bat_state(entry));
    return fail(err, VHDX_E_CORRUPT, at, "BAT entry %" PRIu64 " (%s): state is %u, must be %s",
                index, name, bat_state(entry),
                is_bitmap ? "0 or 6" : g->has_parent ? "0 to 3 or 5 to 7" : "0 to 3, 5 or 6");
}

uint32_t bat_entry_problem(const struct geometry *g, uint64_t index, uint64_t entry)
{
    uint64_t number, offset = bat_file_offset(entry);
    bool is_bitmap = bat_index_is_bitmap(g, index, &number);

    if (!state_is_valid(g, is_bitmap, bat_state(entry)))
        return is_bitmap && !g->has_parent ? VHDX_P_BAT_SLOT : VHDX_P_BAT_STATE;
    if ((entry & BAT_RESERVED_BITS) != 0)
        return VHDX_P_BAT_RESERVED;
    if (!bat_is_present(entry))
        return 0;
    if (offset < HEADER_SECTION_SIZE)
        return VHDX_P_BAT_HEADER_SECTION;
    return offset < LIMIT_FILE_SIZE ? 0 : VHDX_P_BAT_PAST_END;
}

int bat_entry_verify(const struct geometry *g, uint64_t index, uint64_t entry, uint64_t at,
                     struct vhdx_error *err)
{
    char name[BAT_NAME_SIZE];

    if (entry == 0)
        return 0;
    switch (bat_entry_problem(g, index, entry)) {
    case 0: return 0;
    case VHDX_P_BAT_SLOT:
    case VHDX_P_BAT_STATE:
        bat_entry_name(g, index, name);
        return bad_state(g, index, entry, at, name, err);
    case VHDX_P_BAT_RESERVED:
        bat_entry_name(g, index, name);
        return fail(err, VHDX_E_CORRUPT, at,
                    "BAT entry %" PRIu64 " (%s): reserved bits are %#" PRIx64 ", must be 0", index,
                    name, entry & BAT_RESERVED_BITS);
    default:
        bat_entry_name(g, index, name);
        return fail(err, VHDX_E_CORRUPT, at,
                    "BAT entry %" PRIu64 " (%s): file offset is %#" PRIx64
                    ", must be behind the header section and below 256 TiB",
                    index, name, bat_file_offset(entry));
    }
}
