/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A layer between an image and its file, which takes some of the file's calls away. Flushes do
   nothing: they cost time, and only a crash would notice. */
#ifndef TEST_LAYER_H
#define TEST_LAYER_H

#include <errno.h>
#include <vhdx.h>

/* What stands in a file's way. */
enum file_kind {
    PLAIN,   /* all calls */
    BARE,    /* neither zero nor discard: zeros are written */
    REFUSES, /* zero and discard say -EOPNOTSUPP */
    MEMORY,  /* vhdx_io_memory() */
};

static inline int layer_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct vhdx_io *file = opaque;

    return file->pread(file->opaque, buf, len, offset);
}

static inline int layer_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct vhdx_io *file = opaque;

    return file->pwrite(file->opaque, buf, len, offset);
}

static inline int layer_flush(void *opaque)
{
    (void)opaque;
    return 0;
}

static inline int layer_size(void *opaque, uint64_t *ret_size)
{
    struct vhdx_io *file = opaque;

    return file->size(file->opaque, ret_size);
}

static inline int layer_truncate(void *opaque, uint64_t size)
{
    struct vhdx_io *file = opaque;

    return file->truncate(file->opaque, size);
}

static inline int layer_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct vhdx_io *file = opaque;

    return file->zero(file->opaque, offset, len);
}

static inline int layer_discard(void *opaque, uint64_t offset, uint64_t len)
{
    struct vhdx_io *file = opaque;

    return file->discard(file->opaque, offset, len);
}

static inline int layer_refuse(void *opaque, uint64_t offset, uint64_t len)
{
    (void)opaque;
    (void)offset;
    (void)len;
    return -EOPNOTSUPP;
}

static inline struct vhdx_io layer_over(struct vhdx_io *file, enum file_kind kind)
{
    struct vhdx_io io = VHDX_IO_INIT;

    io.opaque = file;
    io.pread = layer_pread;
    io.pwrite = layer_pwrite;
    io.flush = layer_flush;
    io.size = layer_size;
    io.truncate = layer_truncate;
    if (kind != BARE) {
        io.zero = kind == REFUSES ? layer_refuse : layer_zero;
        io.discard = kind == REFUSES ? layer_refuse : layer_discard;
    }
    return io;
}

#endif
