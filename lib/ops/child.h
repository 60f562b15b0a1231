/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a new differencing image takes from its parent. [MS-VHDX] 2.6.1.2, 2.6.2.6.3 */
#ifndef OPS_CHILD_H
#define OPS_CHILD_H

#include "core/handle.h"
#include "format/metadata.h"

/*
 * Appends the parent locator of a child at child_path to its metadata: all five keys in Windows'
 * order. The Windows paths of the parent come from the maps, backwards; where none covers it they
 * are made up of the local path, which Windows corrects when it opens the chain by relative_path.
 */
int child_add_locator(struct metadata_encoder *e, const char *child_path,
                      const struct image *parent, const struct vhdx_path_map *maps,
                      size_t maps_count, struct vhdx_error *err);

/* Appends the parent's items with IsVirtualDisk set, but for the known ones. */
int child_copy_items(struct metadata_encoder *e, const struct image *parent,
                     struct vhdx_error *err);

#endif
