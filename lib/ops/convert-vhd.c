/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Fixed VHDs; see convert-vhd.h. */

#include "ops/convert-vhd.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "util/bits.h"

#define INVALID(...) fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, __VA_ARGS__)

int convert_vhd_size(uint64_t size, uint32_t flags, uint64_t *ret, struct vhdx_error *err)
{
    bool is_azure = (flags & VHDX_CONVERT_AZURE) != 0;

    if (size == 0)
        return INVALID("disk size is 0, a VHD's is at least one sector");
    if (size > VHD_SIZE_MAX)
        return INVALID("disk size is %" PRIu64 ", a VHD's is at most 2040 GiB", size);
    *ret = align_up(size, is_azure ? MIB : VHD_SECTOR_SIZE);
    return 0;
}

int convert_make_vhd_footer(uint64_t size, uint8_t ret[VHD_FOOTER_SIZE], struct vhdx_error *err)
{
    uint8_t buf[VHD_FOOTER_SIZE];
    struct vhd_footer f, found;
    struct guid id;

    if (!guid_random(&id))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no random numbers for a new GUID");
    f = vhd_footer_for(size, &id, time(NULL));
    vhd_footer_encode(&f, buf);
    int r = vhd_footer_decode(buf, size, &found, err);
    if (r == 0)
        memcpy(ret, buf, sizeof buf);
    return r;
}

int convert_write_vhd_footer(struct outfile *out, uint64_t size, struct vhdx_error *err)
{
    uint8_t buf[VHD_FOOTER_SIZE];

    int r = convert_make_vhd_footer(size, buf, err);
    return r < 0 ? r : outfile_pwrite(out, buf, sizeof buf, size, err);
}
