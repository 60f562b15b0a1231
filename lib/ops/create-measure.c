/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* How large the file of a conversion will be; see create-measure.h. Nothing is read but extents. */

#include "ops/create-measure.h"

#include "ops/convert-vhd.h"
#include "ops/create-plan.h"

#define INVALID(...) fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, __VA_ARGS__)

/* Blocks of the disk in which there is data. */
static int count_blocks(struct vhdx_disk *d, uint32_t block_shift, uint64_t *ret,
                        struct vhdx_error *err)
{
    struct disk_walk w;
    struct disk_extent e;
    uint64_t count = 0, next = 0; /* the first block that is not counted yet */

    int r = disk_walk_begin(d, 0, d->size, &w, err);
    if (r < 0)
        return r;
    while ((r = disk_walk_next(&w, &e, err)) > 0) {
        if (e.kind != VHDX_EXTENT_DATA)
            continue;
        uint64_t first = max_u64(next, e.offset >> block_shift);
        uint64_t end = ((e.offset + e.length - 1) >> block_shift) + 1;
        if (end > first)
            count += end - first;
        next = max_u64(next, end);
    }
    disk_walk_end(&w);
    if (r == 0)
        *ret = count;
    return r;
}

static int measure_vhdx(struct vhdx_disk *from, const struct vhdx_create_options *create,
                        struct vhdx_measure_result *ret, struct vhdx_error *err)
{
    struct vhdx_create_options o = *create;
    struct create_plan p = { 0 };
    uint64_t blocks;

    if (o.parent_path || o.type == VHDX_TYPE_DIFFERENCING)
        return INVALID("the size of a differencing image is not known before it is made");
    if (from) {
        create_options_of_disk(&o, from);
        o.size = from->size;
    }
    uint64_t sector = o.logical_sector_size ? o.logical_sector_size : 512;
    if (is_pow2(sector) && o.size <= LIMIT_VIRTUAL_SIZE)
        o.size = align_up(o.size, sector);
    int r = create_plan_make(&p, &o, NULL, NULL, err);
    if (r < 0)
        return r;
    blocks = p.metadata.leave_allocated ? p.geometry.payload_blocks : 0;
    if (from && !p.metadata.leave_allocated)
        r = count_blocks(from, p.geometry.block_shift, &blocks, err);
    if (r == 0) {
        ret->required = p.payload_offset + (blocks << p.geometry.block_shift);
        ret->fully_allocated =
            p.payload_offset + (p.geometry.payload_blocks << p.geometry.block_shift);
    }
    create_plan_free(&p);
    return r;
}

int create_measure(struct vhdx_disk *from, const struct vhdx_convert_options *opts,
                   struct vhdx_measure_result *ret, struct vhdx_error *err)
{
    uint64_t size = from ? from->size : opts->create->size;

    if (opts->format == VHDX_FORMAT_VHDX)
        return measure_vhdx(from, opts->create, ret, err);
    if (size > INT64_MAX - MIB)
        return INVALID("size is %llu, must be below 8 EiB", (unsigned long long)size);
    if (opts->format == VHDX_FORMAT_VHD) {
        int r = convert_vhd_size(size, opts->flags, &size, err);
        if (r < 0)
            return r;
        size += VHD_FOOTER_SIZE;
    }
    ret->required = ret->fully_allocated = size;
    return 0;
}
