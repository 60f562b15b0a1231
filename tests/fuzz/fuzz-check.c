/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A check of anything ends, writes nothing, and calls clean only what can be opened and read. */

#include <stdlib.h>

#include "fuzz.h"

static int refuse(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    (void)opaque, (void)buf, (void)len, (void)offset;
    fuzz_die("a check writes", NULL);
}

static int read_extent(const struct vhdx_extent *e, void *opaque)
{
    static uint8_t buf[1 << 20];
    struct vhdx_error err;
    struct vhdx *v = opaque;

    for (uint64_t at = 0; e->kind == VHDX_EXTENT_DATA && at < e->length; at += sizeof buf) {
        uint64_t n = e->length - at < sizeof buf ? e->length - at : sizeof buf;
        if (vhdx_pread(v, buf, (size_t)n, e->offset + at, &err) < 0)
            fuzz_die("what is clean cannot be read", &err);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vhdx_check_options o = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_check_result r = VHDX_CHECK_RESULT_INIT;
    struct vhdx_error err;
    struct vhdx_io io;
    struct vhdx *v;

    fuzz_file(data, size, &io);
    fuzz_seal(&io);
    struct vhdx_io guarded = io;
    guarded.pwrite = refuse;
    o.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    if (vhdx_check_io(&guarded, &o, &r, &err) < 0 || !r.complete || r.errors + r.fatals > 0) {
        io.close(io.opaque);
        return 0;
    }
    if (vhdx_open_io(&io, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v, &err) < 0)
        fuzz_die("what is clean cannot be opened", &err);
    if (vhdx_extents(v, 0, vhdx_size(v), read_extent, v, &err) < 0)
        fuzz_die("what is clean has no extents", &err);
    vhdx_close(v);
    return 0;
}
