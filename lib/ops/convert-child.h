/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Converting to a differencing image. */
#ifndef OPS_CONVERT_CHILD_H
#define OPS_CONVERT_CHILD_H

#include "disk/disk.h"

/*
 * Makes, at path, the child of opts->create->parent_path that shows the disk from, which is no
 * stream: it holds what differs from the parent. Of opts->create all but size, flags and progress
 * counts; opts->checksum does not, and is the caller's.
 */
int convert_child(struct vhdx_disk *from, const char *path,
                  const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                  struct vhdx_error *err);

#endif
