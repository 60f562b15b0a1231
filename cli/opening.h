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

/* Where parents may be found. What *ret points to belongs to common. */
void common_open_options(const struct common_options *common, struct vhdx_open_options *ret);

/*
 * Opens path with the flags of the common options and these. NULL: the reason was reported, with
 * every place where a missing parent was looked for.
 */
struct vhdx *image_open(const char *path, uint32_t flags, const struct common_options *common);

/* The same for verbs that hand out the disk's content: warns when it may not be the real one. */
struct vhdx *image_open_content(const char *path, const struct common_options *common);

/* The same; *ret_err, which is set on failure only, is for further hints. */
struct vhdx *image_open_content_or(const char *path, const struct common_options *common,
                                   struct vhdx_error *ret_err);

/* vhdx_get_info. False: the reason was reported. */
bool image_info(struct vhdx *v, struct vhdx_info *ret);

/* vhdx_get_link. False when there is no image and no failed parent at this depth. */
bool image_link(struct vhdx *v, uint32_t depth, struct vhdx_link *ret);

/* True when the file that st describes is one of the chain; its path then is *ret_path. */
bool image_is_in_chain(struct vhdx *v, const struct stat *st, const char **ret_path);

/* True when the library would replace what stands at path if it was allowed to: a file that is not
   empty and not of the chain of v, which may be NULL. An error does not tell. */
bool output_is_replaceable(const char *path, struct vhdx *v);

#endif /* VHDX_CLI_OPENING_H */
