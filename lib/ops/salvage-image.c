/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Saving a disk into a new image; see salvage.h. */

#include "core/handle.h"
#include "core/write.h"
#include "ops/create.h"
#include "ops/salvage.h"
#include "util/iszero.h"

/* What is zero in data is left out at this granularity, the block of most file systems. */
#define GRAIN (4 * KIB)

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

int salvage_image_write(struct vhdx *v, const uint8_t *buf, uint64_t len, uint64_t offset,
                        struct vhdx_error *err)
{
    uint64_t start = 0; /* of the run of bytes to be written */
    int r = 0;

    for (uint64_t at = 0, n; at < len && r == 0; at += n) {
        n = min_u64(GRAIN - (offset + at) % GRAIN, len - at);
        if (!is_zero(buf + at, (size_t)n))
            continue;
        if (at > start)
            r = chain_write(&v->chain, buf + start, at - start, offset + start, err);
        start = at + n;
    }
    if (r == 0 && start < len)
        r = chain_write(&v->chain, buf + start, len - start, offset + start, err);
    return r;
}

int salvage_image_end(struct vhdx *v, bool finish, struct vhdx_error *err)
{
    int r = finish ? handle_finish(v, err) : 0;

    handle_close(v);
    return r;
}
