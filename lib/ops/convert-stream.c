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
