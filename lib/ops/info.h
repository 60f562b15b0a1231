/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Facts about an image and its chain, for the queries of the public API. */
#ifndef OPS_INFO_H
#define OPS_INFO_H

#include "core/handle.h"

/* Fills everything but struct_size. */
void info_get(const struct vhdx *v, struct vhdx_info *ret);

/* Counts the first image's own blocks, in constant memory. Fills everything but struct_size. */
int info_stats(struct vhdx *v, struct vhdx_stats *ret, struct vhdx_error *err);

/* depth is below the chain's link_count. Fills everything but struct_size. */
void info_link(const struct vhdx *v, uint32_t depth, struct vhdx_link *ret);

#endif
