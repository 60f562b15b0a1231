/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The I/O seam; see io.h. */

#include "io/io.h"

#include <errno.h>

#include "util/bits.h"

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

int io_pwrite(const struct vhdx_io *io, const void *buf, size_t len, uint64_t offset,
              struct vhdx_error *err)
{
    int r = io->pwrite(io->opaque, buf, len, offset);

    return r < 0 ? fail_errno(err, -r, offset, "writing %zu bytes", len) : 0;
}

int io_flush(const struct vhdx_io *io, struct vhdx_error *err)
{
    int r = io->flush(io->opaque);

    return r < 0 ? fail_errno(err, -r, VHDX_OFFSET_NONE, "flushing") : 0;
}

int io_truncate(const struct vhdx_io *io, uint64_t size, struct vhdx_error *err)
{
    int r = io->truncate(io->opaque, size);

    return r < 0 ? fail_errno(err, -r, size, "setting the file's size") : 0;
}

int io_write_zeros(const struct vhdx_io *io, uint64_t offset, uint64_t len,
                   struct vhdx_error *err)
{
    static const uint8_t zeros[64 * KIB];

    for (uint64_t done = 0, n; done < len; done += n) {
        n = min_u64(len - done, sizeof zeros);
        int r = io_pwrite(io, zeros, (size_t)n, offset + done, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int io_zero(const struct vhdx_io *io, uint64_t offset, uint64_t len, struct vhdx_error *err)
{
    int r = io->zero ? io->zero(io->opaque, offset, len) : -EOPNOTSUPP;

    if (r == -EOPNOTSUPP)
        return io_write_zeros(io, offset, len, err);
    return r < 0 ? fail_errno(err, -r, offset, "zeroing %llu bytes", (unsigned long long)len) : 0;
}

int io_discard(const struct vhdx_io *io, uint64_t offset, uint64_t len, bool must_zero,
               struct vhdx_error *err)
{
    int r = io->discard ? io->discard(io->opaque, offset, len) : -EOPNOTSUPP;

    if (r == -EOPNOTSUPP)
        return must_zero ? io_zero(io, offset, len, err) : 0;
    return r < 0 ? fail_errno(err, -r, offset, "freeing %llu bytes", (unsigned long long)len) : 0;
}

void io_close(struct vhdx_io *io)
{
    if (io->close)
        io->close(io->opaque);
    *io = (struct vhdx_io){ 0 };
}
