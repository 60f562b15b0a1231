/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What the two writers of `vhdx replay`, for people and JSON, share.
 */
#ifndef VHDX_CLI_REPLAY_H
#define VHDX_CLI_REPLAY_H

#include <stdbool.h>

#include <vhdx.h>

struct json_object;

struct json_object *replay_to_json(const char *path, bool is_dry_run,
                                   const struct vhdx_replay_result *result);

#endif /* VHDX_CLI_REPLAY_H */
