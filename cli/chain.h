/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What the two writers of `vhdx chain`, for people and JSON, share.
 */
#ifndef VHDX_CLI_CHAIN_H
#define VHDX_CLI_CHAIN_H

#include <stdbool.h>

#include <vhdx.h>

struct json_object;

/*
 * True when no parent is missing: the last image that is open is not a differencing one. A parent
 * that does not match counts if --any-parent made it acceptable.
 */
bool chain_is_whole(struct vhdx *v);

/* True when the image of the link is open, so that its own facts are set. */
bool chain_link_is_open(const struct vhdx_link *link);

struct json_object *chain_to_json(struct vhdx *v, const char *path);

#endif /* VHDX_CLI_CHAIN_H */
