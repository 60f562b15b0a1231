/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Converting in one pass, to what cannot seek; and VHD, which is raw with a footer. */
#ifndef OPS_CONVERT_STREAM_H
#define OPS_CONVERT_STREAM_H

#include "disk/disk.h"
#include "io/outfile.h"

#define VHD_FOOTER_SIZE 512u

int convert_stream(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                   struct vhdx_convert_result *ret, struct vhdx_error *err);

/* The size of the VHD that holds a disk of size bytes. */
int convert_vhd_size(uint64_t size, uint32_t flags, uint64_t *ret, struct vhdx_error *err);

/* Writes the footer behind a disk of size bytes. */
int convert_write_vhd_footer(struct outfile *out, uint64_t size, struct vhdx_error *err);

#endif
