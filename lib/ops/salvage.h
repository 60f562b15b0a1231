/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Saving what is left of a damaged image's disk. */
#ifndef OPS_SALVAGE_H
#define OPS_SALVAGE_H

#include <vhdx.h>

#include "core/chain.h"
#include "io/outfile.h"
#include "io/ranges.h"

/* A salvage of a file of which an image has to be made first. */
struct salvage_job {
    const char *path, *out_path; /* out_path NULL: nothing is written */
    const struct vhdx_salvage_options *opts;
    uint32_t format;             /* of the output, VHDX_FORMAT_... */
    uint32_t open_flags;         /* VHDX_OPEN_ANY_PARENT or 0 */
    /*
     * NULL, or makes an image of scratch, which lies over file: its log is clean then. *ret_end:
     * where the file ended before what was added. *ret_lost, which stays the callee's: what of the
     * disk nothing tells of any more.
     */
    int (*prepare)(const struct vhdx_io *file, const struct vhdx_io *scratch, uint64_t *ret_end,
                   const struct ranges **ret_lost, void *opaque, struct vhdx_error *err);
    void *opaque;
};

/* The same as salvage_path(), with a job of one's own. */
int salvage_run(const struct salvage_job *job, struct vhdx_salvage_result *ret,
                struct vhdx_error *err);

/* ---- An image as the output ----------------------------------------------------------------- */

/* Makes the empty output a dynamic image with m's sizes. *ret is to be ended with
   salvage_image_end() before the output is committed or discarded. */
int salvage_image_begin(struct outfile *out, const struct metadata *m, struct vhdx **ret,
                        struct vhdx_error *err);

/* finish: what was written is to be kept. */
int salvage_image_end(struct vhdx *v, bool finish, struct vhdx_error *err);

/* vhdx_salvage(): raw, of an image that can be opened once it is mended. */
int salvage_path(const char *path, const char *out_path, const struct vhdx_salvage_options *opts,
                 struct vhdx_salvage_result *ret, struct vhdx_error *err);

#endif
