/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing a disk in one pass to a descriptor that need not seek. */
#ifndef OPS_CONVERT_STREAM_H
#define OPS_CONVERT_STREAM_H

#include "disk/disk.h"
#include "ops/convert-vhd.h"

/* Reads a stream to its end, into a file without a name, as which it is *ret. */
int convert_spool(struct vhdx_disk *from, const struct vhdx_progress *progress,
                  struct vhdx_disk **ret, struct vhdx_error *err);

/* vhdx_convert_to_stream(): options and result are verified. */
int convert_stream(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                   struct vhdx_convert_result *ret, struct vhdx_error *err);

#endif
