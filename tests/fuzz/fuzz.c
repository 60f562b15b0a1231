/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A sparse file made of a fuzzer's bytes; see fuzz.h. */

#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io-record.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE_MAX_AT_FIRST (32 * MIB)
#define SIZE_MAX_EVER (256 * MIB)
#define SECTOR 4096u

struct fuzz {
    struct recorder recorder;
    struct vhdx_io inner;
};

void fuzz_die(const char *what, const struct vhdx_error *err)
{
    fprintf(stderr, "FAILED: %s: %s\n", what, err ? err->message : "");
    abort();
}

static int bound(void *opaque, enum op_kind kind, uint64_t offset, uint64_t len)
{
    (void)opaque;
    if (kind == OP_READ || kind == OP_SIZE || kind == OP_FLUSH)
        return 0;
    return offset > SIZE_MAX_EVER || len > SIZE_MAX_EVER - offset ? -EFBIG : 0;
}

/* The recorder's calls, found through a struct that close() can free. */
static int fuzz_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct fuzz *f = opaque;

    return f->inner.pread(f->inner.opaque, buf, len, offset);
}

static int fuzz_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct fuzz *f = opaque;

    return f->inner.pwrite(f->inner.opaque, buf, len, offset);
}

static int fuzz_flush(void *opaque)
{
    (void)opaque;
    return 0;
}

static int fuzz_size(void *opaque, uint64_t *ret_size)
{
    struct fuzz *f = opaque;

    return f->inner.size(f->inner.opaque, ret_size);
}

static int fuzz_truncate(void *opaque, uint64_t size)
{
    struct fuzz *f = opaque;

    return f->inner.truncate(f->inner.opaque, size);
}

static int fuzz_discard(void *opaque, uint64_t offset, uint64_t len)
{
    struct fuzz *f = opaque;

    return f->inner.discard(f->inner.opaque, offset, len);
}

static void fuzz_close(void *opaque)
{
    struct fuzz *f = opaque;

    memfile_free(f->recorder.file);
    free(f);
}

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t n = 0;

    for (size_t i = bytes; i-- > 0;)
        n = n << 8 | p[i];
    return n;
}

void fuzz_file(const uint8_t *data, size_t size, struct vhdx_io *ret)
{
    struct fuzz *f = calloc(1, sizeof *f);
    uint64_t file_size = size >= 8 ? number(data, 8) : 0;

    if (!f)
        abort();
    f->recorder = (struct recorder){ .file = memfile_new(), .before = bound };
    recorder_io(&f->recorder, &f->inner);
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = f, .pread = fuzz_pread,
                             .pwrite = fuzz_pwrite, .flush = fuzz_flush, .size = fuzz_size,
                             .truncate = fuzz_truncate, .discard = fuzz_discard,
                             .close = fuzz_close };
    if (file_size > SIZE_MAX_AT_FIRST)
        file_size = SIZE_MAX_AT_FIRST;
    memfile_truncate(f->recorder.file, file_size);
    for (size_t at = 8; at + 12 < size;) {
        uint64_t offset = number(data + at, 8), len = number(data + at + 8, 4);
        at += 12;
        len = len < size - at ? len : size - at;
        if (offset < file_size && len > 0)
            memfile_write(f->recorder.file, data + at,
                          (size_t)(len < file_size - offset ? len : file_size - offset), offset);
        at += len;
    }
}

/* Of a structure whose checksum stands behind its signature. */
static void seal(const struct vhdx_io *io, uint64_t offset, size_t len, const char *signature)
{
    static uint8_t buf[1 << 20];
    uint64_t size;

    if (len > sizeof buf || io->size(io->opaque, &size) < 0 || offset > size ||
        len > size - offset || io->pread(io->opaque, buf, len, offset) < 0 ||
        memcmp(buf, signature, 4) != 0)
        return;
    memset(buf + 4, 0, 4);
    uint32_t crc = vhdx_crc32c(0, buf, len);
    for (int i = 0; i < 4; i++)
        buf[4 + i] = (uint8_t)(crc >> 8 * i);
    io->pwrite(io->opaque, buf + 4, 4, offset + 4);
}

static void seal_log(const struct vhdx_io *io, uint64_t file_size)
{
    uint8_t h[80];

    if (file_size < 128 * 1024 + sizeof h || io->pread(io->opaque, h, sizeof h, 64 * 1024) < 0)
        return;
    uint64_t length = number(h + 68, 4), offset = number(h + 72, 8);
    for (uint64_t at = 0; at < length && at < MIB; at += SECTOR) {
        if (offset + at < offset || offset + at > file_size ||
            file_size - offset - at < SECTOR || io->pread(io->opaque, h, 16, offset + at) < 0)
            return;
        if (memcmp(h, "loge", 4) == 0)
            seal(io, offset + at, (size_t)number(h + 8, 4), "loge");
    }
}

void fuzz_seal(const struct vhdx_io *io)
{
    uint64_t size = 0;

    if (io->size(io->opaque, &size) < 0)
        return;
    seal(io, 64 * 1024, SECTOR, "head");
    seal(io, 128 * 1024, SECTOR, "head");
    seal(io, 192 * 1024, 64 * 1024, "regi");
    seal(io, 256 * 1024, 64 * 1024, "regi");
    seal_log(io, size);
}
