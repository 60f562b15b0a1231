/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing the flattened virtual disk in another format. */
#ifndef OPS_CONVERT_H
#define OPS_CONVERT_H

#include "core/handle.h"

int convert_disk(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err);

#endif
