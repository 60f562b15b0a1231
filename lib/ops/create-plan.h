/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a new image is to look like. */
#ifndef OPS_CREATE_PLAN_H
#define OPS_CREATE_PLAN_H

#include "core/image.h"
#include "disk/disk.h"

#define CREATE_METADATA_SIZE (1 * MIB) /* of the metadata region */

/* What is to be written, and where. Zeroed before. */
struct create_plan {
    struct metadata metadata;
    struct geometry geometry;
    uint32_t log_length;
    uint64_t metadata_offset, bat_offset, payload_offset;
    uint32_t bat_length;
    uint64_t file_size; /* of the image without payload; of a fixed one with it */
    uint8_t *metadata_region; /* owned, CREATE_METADATA_SIZE bytes */
    uint32_t metadata_length; /* of them in use; the rest is zeros */
};

/* Takes from a disk that is to be put into an image, not a child, what the options leave open: a
   partition table counts in sectors, so their size has to stay. */
void create_options_of_disk(struct vhdx_create_options *o, const struct vhdx_disk *d);

/* Verifies the options and fills the plan. path and parent: of a child, else NULL. */
int create_plan_make(struct create_plan *p, const struct vhdx_create_options *o, const char *path,
                     const struct image *parent, struct vhdx_error *err);

/* Harmless when repeated. */
void create_plan_free(struct create_plan *p);

/* Headers, region tables and metadata. */
int create_plan_write_head(const struct vhdx_io *io, const struct create_plan *p,
                           struct vhdx_error *err);

/* A fixed image's BAT: every block present, one behind the other. */
int create_plan_write_fixed_bat(const struct vhdx_io *io, const struct create_plan *p,
                                struct vhdx_error *err);

/* The identifier comes last, when all else is stable: without it the file is no VHDX. */
int create_plan_write_identifier(const struct vhdx_io *io, struct vhdx_error *err);

#endif
