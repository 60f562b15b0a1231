/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing the flattened virtual disk; see convert.h. A format is a function that is handed the
 * pieces of the disk in order; the output begins as zeros.
 */

#include "ops/convert.h"

#include "io/outfile.h"
#include "ops/stream.h"
#include "util/iszero.h"

/* What is zero in data is left out at this granularity, the block of most file systems. */
#define SPARSE_GRAIN (4 * KIB)

int convert_write_raw(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
                      struct vhdx_error *err)
{
    struct outfile *out = opaque;
    uint64_t start = 0; /* of the run of bytes to be written */
    int r = 0;

    if (!buf)
        return 0;
    for (uint64_t at = 0, n; at < len && r == 0; at += n) {
        n = min_u64(SPARSE_GRAIN - (offset + at) % SPARSE_GRAIN, len - at);
        if (!is_zero(buf + at, (size_t)n))
            continue;
        if (at > start)
            r = outfile_pwrite(out, buf + start, (size_t)(at - start), offset + start, err);
        start = at + n;
    }
    if (r == 0 && start < len)
        r = outfile_pwrite(out, buf + start, (size_t)(len - start), offset + start, err);
    return r;
}

int convert_disk(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err)
{
    struct file_id ids[LIMIT_CHAIN_LENGTH];
    size_t count = chain_file_ids(&v->chain, ids);
    struct outfile *out;

    int r = outfile_open(path, v->chain.images[0]->geometry.virtual_size,
                         opts->flags & VHDX_CONVERT_REPLACE, "the input", ids, count, &out, err);
    if (r < 0)
        return r;
    r = stream_disk(&v->chain, &opts->progress, convert_write_raw, out, err);
    if (r < 0) {
        outfile_discard(out);
        return r;
    }
    return outfile_commit(out, err);
}
