/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing the flattened virtual disk in another format. */
#ifndef OPS_CONVERT_H
#define OPS_CONVERT_H

#include "core/handle.h"

int convert_disk(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err);

/* Writes a piece of the disk, or nothing for one known to be zero, to the struct outfile opaque: a
   stream_disk() callback. Zeros within are left out. */
int convert_write_raw(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
                      struct vhdx_error *err);

#endif
