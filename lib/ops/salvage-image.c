/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Saving a disk into a new image; see salvage.h. */

#include "core/handle.h"
#include "ops/create.h"
#include "ops/salvage.h"

int salvage_image_begin(struct outfile *out, const struct metadata *m, struct vhdx **ret,
                        struct vhdx_error *err)
{
    static const struct vhdx_open_options defaults = VHDX_OPEN_OPTIONS_INIT;
    const struct vhdx_create_options opts = {
        .struct_size = sizeof opts,
        .type = VHDX_TYPE_DYNAMIC,
        .size = m->virtual_size,
        .block_size = m->block_size,
        .logical_sector_size = m->logical_sector_size,
        .physical_sector_size = m->physical_sector_size,
    };
    struct vhdx_io io;
    struct image *img;

    int r = outfile_io(out, &io, err);
    if (r < 0)
        return r;
    r = create_io(&io, &opts, err);
    if (r < 0) {
        io_close(&io);
        return r;
    }
    r = image_open_io(&io, &img, err);
    return r < 0 ? r : handle_open(img, VHDX_OPEN_RDWR, &defaults, ret, err);
}

int salvage_image_end(struct vhdx *v, bool finish, struct vhdx_error *err)
{
    int r = finish ? handle_finish(v, err) : 0;

    handle_close(v);
    return r;
}
