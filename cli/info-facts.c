/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Gathering what is known of an image, for `vhdx info` and for the info.json of a mounted one.
 */
#include "info.h"

#include <string.h>
#include <sys/stat.h>

#include "opening.h"

/* Reading this much of a BAT (16 MiB) for the truncation note is not felt. */
#define CHEAP_BAT_ENTRIES 2097152

const char *info_backing_name(const struct info_facts *facts)
{
    static const char *const keys[] = { "relative_path", "absolute_win32_path", "volume_path" };

    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
        for (size_t i = 0; i < facts->info.locator_count; i++)
            if (strcmp(facts->info.locator[i].key, keys[k]) == 0)
                return facts->info.locator[i].value;
    return NULL;
}

bool info_parent_is_open(const struct info_facts *facts)
{
    return facts->has_parent && facts->info.chain_length > 1;
}

bool info_is_truncated(const struct info_facts *facts)
{
    return facts->stats_known && facts->info.file_size < facts->stats.required_file_size;
}

/* err holds the text that facts points to. */
static void gather_stats(struct vhdx *v, struct info_facts *facts, struct vhdx_error *err)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;

    if (!facts->stats_wanted && facts->info.bat_entries > CHEAP_BAT_ENTRIES)
        return;
    if (vhdx_get_stats(v, &stats, err) < 0) {
        facts->stats_problem = err->message;
        return;
    }
    facts->stats = stats;
    facts->stats_known = true;
}

bool info_gather(struct vhdx *v, struct info_facts *facts, struct vhdx_error *err)
{
    struct stat st;

    if (!image_info(v, &facts->info))
        return false;
    if (stat(facts->path, &st) == 0)
        facts->disk_usage = (uint64_t)st.st_blocks * 512; /* whatever the block size is: stat(2) */
    facts->has_parent = image_link(v, 1, &facts->parent);
    facts->chain_ends_early = image_link(v, facts->info.chain_length, &facts->end);
    gather_stats(v, facts, err);
    return true;
}
