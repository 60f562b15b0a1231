/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public entry point of recovering; see api.c. */

#include "api/api.h"
#include "ops/recover.h"

static bool is_place(uint64_t offset)
{
    return offset == VHDX_OFFSET_NONE ||
           (offset >= MIB && offset < LIMIT_FILE_SIZE && is_aligned(offset, MIB));
}

/* Brings what may be 0 or NONE to one form, and verifies it. */
static int verify_options(struct vhdx_recover_options *o, struct vhdx_error *err)
{
    bool is_fixed = o->flags & VHDX_RECOVER_FIXED;

    if (o->bat_offset == 0)
        o->bat_offset = VHDX_OFFSET_NONE;
    if (o->payload_offset == 0)
        o->payload_offset = VHDX_OFFSET_NONE;
    if (o->format == 0)
        o->format = VHDX_FORMAT_RAW;
    if (o->flags & ~(VHDX_RECOVER_REPLACE | VHDX_RECOVER_FIXED | VHDX_RECOVER_ANY_PARENT))
        return api_fail(err, "flags");
    if (o->format > VHDX_FORMAT_VHDX)
        return api_fail(err, "format");
    if (o->block_size && (!is_pow2(o->block_size) || o->block_size < LIMIT_BLOCK_SIZE_MIN ||
                          o->block_size > LIMIT_BLOCK_SIZE_MAX))
        return api_fail(err, "block_size must be a power of two from 1 MiB to 256 MiB");
    if (o->logical_sector_size && o->logical_sector_size != 512 &&
        o->logical_sector_size != 4096)
        return api_fail(err, "logical_sector_size must be 512 or 4096");
    if (o->virtual_size > LIMIT_VIRTUAL_SIZE || !is_aligned(o->virtual_size, 512))
        return api_fail(err, "virtual_size must be a multiple of 512 and at most 64 TiB");
    if (!is_place(o->bat_offset))
        return api_fail(err, "bat_offset must be a multiple of 1 MiB");
    if (!is_place(o->payload_offset))
        return api_fail(err, "payload_offset must be a multiple of 1 MiB");
    if (o->payload_offset != VHDX_OFFSET_NONE &&
        (!is_fixed || o->bat_offset != VHDX_OFFSET_NONE))
        return api_fail(err, "payload_offset is for fixed images without a BAT");
    return 0;
}

int vhdx_recover(const char *path, const char *out_path, const struct vhdx_recover_options *opts,
                 struct vhdx_recover_result *ret, struct vhdx_error *err)
{
    struct vhdx_recover_options ours = VHDX_RECOVER_OPTIONS_INIT;
    struct vhdx_open_options open = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_recover_result result = VHDX_RECOVER_RESULT_INIT;

    if (!path || !ret)
        return api_fail(err, "vhdx_recover");
    int r = api_verify_result(ret, err);
    if (r == 0)
        r = api_take_options(&ours, sizeof ours, opts, err);
    if (r == 0)
        r = verify_options(&ours, err);
    if (r == 0)
        r = api_take_open_options(&open, ours.open_options, err);
    ours.open_options = &open;
    if (r == 0)
        r = recover_path(path, out_path, &ours, &result, err);
    return r < 0 ? r : api_give_result(ret, &result, sizeof result, err);
}
