/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What `vhdx info` knows of one image, gathered by info-facts.c and written by info-text.c or
 * info-json.c. Strings belong to the open image.
 */
#ifndef VHDX_CLI_INFO_H
#define VHDX_CLI_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include <vhdx.h>

struct json_object;

struct info_facts {
    const char *path;
    struct vhdx_info info;
    uint64_t disk_usage;      /* bytes that the file system has given the file */
    bool parent_ignored;      /* --no-parent */
    bool has_parent;          /* parent is set */
    struct vhdx_link parent;  /* depth 1, open or not */
    bool chain_ends_early;    /* end is set */
    struct vhdx_link end;     /* the parent, at any depth, that could not be opened */
    bool stats_wanted;        /* --stats */
    bool stats_known;
    struct vhdx_stats stats;
    const char *stats_problem; /* why they are not known; NULL also when not asked */
};

/*
 * Fills in all but path, parent_ignored and stats_wanted, which are given; the rest is zeroed. *err
 * holds text that *facts points to. False: the reason was reported.
 */
bool info_gather(struct vhdx *v, struct info_facts *facts, struct vhdx_error *err);

/* The parent's path as the image records it: the one that is most useful here. NULL if none. */
const char *info_backing_name(const struct info_facts *facts);

/* True when the parent is open, whether it matches or not. */
bool info_parent_is_open(const struct info_facts *facts);

/* True when the file is shorter than what its tables describe. */
bool info_is_truncated(const struct info_facts *facts);

void info_print_text(const struct info_facts *facts);

struct json_object *info_to_json(const struct info_facts *facts);

#endif /* VHDX_CLI_INFO_H */
