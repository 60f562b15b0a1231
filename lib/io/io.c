/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The I/O seam; see io.h. */

#include "io/io.h"

int io_pread(const struct vhdx_io *io, void *buf, size_t len, uint64_t offset,
             struct vhdx_error *err)
{
    int r = io->pread(io->opaque, buf, len, offset);

    return r < 0 ? fail_errno(err, -r, offset, "reading %zu bytes", len) : 0;
}

int io_size(const struct vhdx_io *io, uint64_t *ret_size, struct vhdx_error *err)
{
    int r = io->size(io->opaque, ret_size);

    return r < 0 ? fail_errno(err, -r, VHDX_OFFSET_NONE, "reading the file's size") : 0;
}

void io_close(struct vhdx_io *io)
{
    if (io->close)
        io->close(io->opaque);
    *io = (struct vhdx_io){ 0 };
}
