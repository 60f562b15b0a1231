/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Saving what is left of a damaged image's disk. */
#ifndef OPS_SALVAGE_H
#define OPS_SALVAGE_H

#include <vhdx.h>

/* vhdx_salvage(). */
int salvage_path(const char *path, const char *out_path, const struct vhdx_salvage_options *opts,
                 struct vhdx_salvage_result *ret, struct vhdx_error *err);

#endif
