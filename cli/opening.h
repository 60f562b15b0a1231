/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Opening images as the common options say, and telling the user what came of it.
 */
#ifndef VHDX_CLI_OPENING_H
#define VHDX_CLI_OPENING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <vhdx.h>

#include "options.h"

/*
 * Opens path with the flags of the common options and these. NULL: the reason was reported, with
 * every place where a missing parent was looked for.
 */
struct vhdx *image_open(const char *path, uint32_t flags, const struct common_options *common);

/* The same for verbs that hand out the disk's content: warns when it may not be the real one. */
struct vhdx *image_open_content(const char *path, const struct common_options *common);

/* vhdx_get_info. False: the reason was reported. */
bool image_info(struct vhdx *v, struct vhdx_info *ret);

/* vhdx_get_link. False when there is no image and no failed parent at this depth. */
bool image_link(struct vhdx *v, uint32_t depth, struct vhdx_link *ret);

/* True when the file that st describes is one of the chain; its path then is *ret_path. */
bool image_is_in_chain(struct vhdx *v, const struct stat *st, const char **ret_path);

#endif /* VHDX_CLI_OPENING_H */
