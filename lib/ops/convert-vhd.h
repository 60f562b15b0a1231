/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a fixed VHD has that a raw disk has not: rules for its size, and a footer. */
#ifndef OPS_CONVERT_VHD_H
#define OPS_CONVERT_VHD_H

#include "format/vhd.h"
#include "io/outfile.h"

/*
 * What size a VHD of a disk of size bytes has, by flags of VHDX_CONVERT_...: rounded up to whole
 * sectors, or with AZURE to whole MiB. VHDX_E_INVALID if no VHD, or none that Azure takes, is of
 * that size.
 */
int convert_vhd_size(uint64_t size, uint32_t flags, uint64_t *ret, struct vhdx_error *err);

/* The footer of a new VHD of such a size. */
int convert_make_vhd_footer(uint64_t size, uint8_t ret[VHD_FOOTER_SIZE], struct vhdx_error *err);

/* The same, written behind the disk. */
int convert_write_vhd_footer(struct outfile *out, uint64_t size, struct vhdx_error *err);

#endif
