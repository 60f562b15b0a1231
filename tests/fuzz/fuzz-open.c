/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Opens anything, asks for all that can be asked for, and reads what there is. */

#include <stdlib.h>

#include "fuzz.h"

struct reading {
    struct vhdx *v;
    uint64_t left; /* bytes to read at most */
};

static int read_extent(const struct vhdx_extent *e, void *opaque)
{
    static uint8_t buf[1 << 20];
    struct reading *r = opaque;

    for (uint64_t at = 0; e->kind == VHDX_EXTENT_DATA && at < e->length; at += sizeof buf) {
        uint64_t n = e->length - at < sizeof buf ? e->length - at : sizeof buf;
        if (r->left < n)
            return 1;
        r->left -= n;
        vhdx_pread(r->v, buf, (size_t)n, e->offset + at, NULL);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct reading reading = { .left = 64 << 20 };
    struct vhdx_error err;
    struct vhdx_io io;
    uint8_t sector[512];

    fuzz_file(data, size, &io);
    fuzz_seal(&io);
    if (vhdx_open_io(&io, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &reading.v, &err) < 0)
        return 0;
    vhdx_get_info(reading.v, &info, &err);
    vhdx_get_stats(reading.v, &stats, &err);
    vhdx_extents(reading.v, 0, vhdx_size(reading.v), read_extent, &reading, &err);
    vhdx_pread(reading.v, sector, sizeof sector, vhdx_size(reading.v) - sizeof sector, &err);
    vhdx_close(reading.v);
    return 0;
}
