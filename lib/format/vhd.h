/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The footer of a fixed VHD, the format before VHDX: the disk's bytes come first, the footer behind
 * them says how many they are. Microsoft's "Virtual Hard Disk Image Format Specification" 1.0;
 * unlike in a VHDX its integers are big-endian.
 */
#ifndef FORMAT_VHD_H
#define FORMAT_VHD_H

#include "util/fail.h"
#include "util/guid.h"

#define VHD_FOOTER_SIZE 512u
#define VHD_SECTOR_SIZE 512u
#define VHD_SIZE_MAX (2040 * GIB)

struct vhd_geometry {
    uint16_t cylinders;
    uint8_t heads, sectors; /* sectors of a track */
};

/* The largest there is. */
#define VHD_GEOMETRY_MAX ((struct vhd_geometry){ 65535, 16, 255 })

struct vhd_footer {
    uint64_t size; /* of the disk, bytes: a multiple of 512 above 0, at most VHD_SIZE_MAX */
    uint32_t time; /* of creation, seconds since the year 2000 began (UTC) */
    struct vhd_geometry geometry;
    struct guid id;
};

/* The geometry that the specification's algorithm gives for so many sectors; its product may be
   less than they are. */
struct vhd_geometry vhd_geometry_of(uint64_t sectors);

/* How many sectors a geometry has. */
uint64_t vhd_geometry_sectors(struct vhd_geometry g);

/*
 * A footer for a disk of size bytes, as Windows writes it. The geometry is mostly a little less
 * than the disk, so readers must go by the size; QEMU does so only if the creator is "win " or
 * another that it knows, and would else cut off the end, where GPT's second table lies.
 */
struct vhd_footer vhd_footer_for(uint64_t size, const struct guid *id, int64_t unix_time);

void vhd_footer_encode(const struct vhd_footer *f, uint8_t ret[VHD_FOOTER_SIZE]);

/* Verifies and decodes the footer of a fixed VHD that lies at offset in the file. */
int vhd_footer_decode(const uint8_t buf[VHD_FOOTER_SIZE], uint64_t offset, struct vhd_footer *ret,
                      struct vhdx_error *err);

#endif
