/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Reading the virtual disk; see read.h. The common case, a range inside one present block whose BAT
 * page is cached, takes two atomic loads and one pread.
 */

#include "core/read.h"

#include <inttypes.h>

#include "core/map.h"

/* Where the range lies in the first image's file, if that is all there is to know. */
static bool find_quickly(const struct image *img, size_t len, uint64_t offset,
                         uint64_t *ret_file_offset)
{
    const struct geometry *g = &img->geometry;
    uint64_t block = offset >> g->block_shift;
    uint64_t within = offset - (block << g->block_shift);
    uint64_t entry;

    if (len > (UINT64_C(1) << g->block_shift) - within || img->overlay ||
        !table_bat_entry_cached(img, bat_index_of_block(g, block), &entry) ||
        bat_state(entry) != BLOCK_FULLY_PRESENT)
        return false;
    *ret_file_offset = bat_file_offset(entry) + within;
    return range_fits(*ret_file_offset, len, image_size(img));
}

/*
 * Reads data that reaches past the end of the file, block by block: the last block of a file may be
 * cut short (old QEMU wrote such files), but a block that begins behind the end is lost.
 */
static int read_past_end(const struct image *img, const struct vhdx_extent *e, uint8_t *buf,
                         struct vhdx_error *err)
{
    uint64_t block_size = UINT64_C(1) << img->geometry.block_shift;
    uint64_t size = image_size(img);

    for (uint64_t done = 0, n; done < e->length; done += n) {
        uint64_t within = (e->offset + done) & (block_size - 1);
        uint64_t at = e->file_offset + done;
        n = min_u64(block_size - within, e->length - done);
        if (at - within >= size)
            return fail(err, VHDX_E_TRUNCATED, at - within,
                        "payload block %" PRIu64 ": file is %" PRIu64 " bytes long, but the block "
                        "begins at %" PRIu64, (e->offset + done) / block_size, size,
                        at - within);
        uint64_t inside = at < size ? min_u64(n, size - at) : 0;
        memset(buf + done + inside, 0, (size_t)(n - inside));
        if (inside > 0) {
            int r = image_pread(img, "payload block", buf + done, (size_t)inside, at, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int chain_read_extent(const struct chain *c, const struct vhdx_extent *e, void *buf,
                      struct vhdx_error *err)
{
    const struct image *img = c->images[e->depth];
    int r;

    if (range_fits(e->file_offset, e->length, image_size(img)))
        r = image_pread(img, "payload block", buf, (size_t)e->length, e->file_offset, err);
    else
        r = read_past_end(img, e, buf, err);
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    return r;
}

int chain_read(const struct chain *c, void *buf, size_t len, uint64_t offset,
               struct vhdx_error *err)
{
    const struct image *img = c->images[0];
    uint64_t file_offset;
    struct map_iter it;
    struct vhdx_extent e;
    uint8_t *p = buf;
    int r;

    if (find_quickly(img, len, offset, &file_offset)) {
        r = io_pread(&img->io, buf, len, file_offset, err);
        if (r < 0)
            fail_prefix(err, "%s: ", image_name(img));
        return r;
    }

    map_begin(&it, c, NULL, offset, len);
    while ((r = map_next(&it, &e, err)) > 0) {
        if (e.kind == VHDX_EXTENT_DATA)
            r = chain_read_extent(c, &e, p, err);
        else
            memset(p, 0, (size_t)e.length);
        if (r < 0)
            return r;
        p += e.length;
    }
    return r;
}
