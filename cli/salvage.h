/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert --salvage: what cmd-convert.c hands over, and what the two writers of the result,
 * for people and JSON, share.
 */
#ifndef VHDX_CLI_SALVAGE_H
#define VHDX_CLI_SALVAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <vhdx.h>

#include "lost.h"
#include "options.h"
#include "progress.h"

struct json_object;

struct salvage_run {
    const struct common_options *common;
    const char *path, *output;
    const char *map_path; /* NULL: the output's with ".map" */
    uint32_t flags;       /* VHDX_CONVERT_... */
    bool json, quiet;
    enum progress_mode progress_mode;
};

/* What was saved, and where the list of what was not is. */
struct salvage_report {
    const char *path, *output, *map_path;
    struct vhdx_salvage_result result;
    struct lost_list lost;
};

/* Returns the exit code. */
int salvage_image(const struct salvage_run *run);

struct json_object *salvage_to_json(const struct salvage_report *report);

#endif /* VHDX_CLI_SALVAGE_H */
