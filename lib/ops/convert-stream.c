/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Streams and VHD; see convert-stream.h. */

#include "ops/convert-stream.h"

#define UNSUPPORTED(what) fail(err, VHDX_E_UNSUPPORTED, VHDX_OFFSET_NONE, what)

int convert_stream(struct vhdx_disk *from, int fd, const struct vhdx_convert_options *opts,
                   struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    (void)from, (void)fd, (void)opts, (void)ret;
    return UNSUPPORTED("streams are not written yet");
}

int convert_vhd_size(uint64_t size, uint32_t flags, uint64_t *ret, struct vhdx_error *err)
{
    (void)size, (void)flags, (void)ret;
    return UNSUPPORTED("VHDs are not written yet");
}

int convert_write_vhd_footer(struct outfile *out, uint64_t size, struct vhdx_error *err)
{
    (void)out, (void)size;
    return UNSUPPORTED("VHDs are not written yet");
}
