/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Undo with anything for an undo file, over an image of 1 MiB: it ends; it refuses the file with
 * the image untouched, or it does the same when it is done again.
 */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "io/undo.h"
#include "io/undo-file.h"
#include "util/crc32c.h"

#define IMAGE (1u << 20)

/* Makes the checksums of the header and of the records behind it fit. */
static void seal_undo(const struct vhdx_io *io)
{
    struct undo_header_disk h;
    struct undo_record_disk r;
    static uint8_t data[UNDO_PIECE];
    uint64_t size = 0, at = sizeof h;

    io->size(io->opaque, &size);
    if (size < sizeof h || io->pread(io->opaque, &h, sizeof h, 0) < 0)
        return;
    h.checksum = le32_make(0);
    h.checksum = le32_make(crc32c(0, &h, sizeof h));
    io->pwrite(io->opaque, &h, sizeof h, 0);
    while (at + sizeof r <= size && io->pread(io->opaque, &r, sizeof r, at) == 0) {
        uint64_t len = le32_get(r.kind) == UNDO_DATA ? le64_get(r.length) : 0;
        if (len > sizeof data || len > size - at - sizeof r)
            return;
        memcpy(r.identity, h.identity, sizeof r.identity);
        if (len > 0 && io->pread(io->opaque, data, (size_t)len, at + sizeof r) == 0)
            r.data_checksum = le32_make(crc32c(0, data, (size_t)len));
        r.checksum = le32_make(0);
        r.checksum = le32_make(crc32c(0, &r, sizeof r));
        io->pwrite(io->opaque, &r, sizeof r, at);
        at += sizeof r + len;
    }
}

static uint32_t digest(const struct vhdx_io *io)
{
    static uint8_t buf[IMAGE];
    uint64_t size = 0;

    io->size(io->opaque, &size);
    size_t n = size < IMAGE ? (size_t)size : IMAGE;
    if (n > 0 && io->pread(io->opaque, buf, n, 0) < 0)
        fuzz_die("reading", NULL);
    return vhdx_crc32c((uint32_t)size, buf, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t pattern[IMAGE];
    struct vhdx_io undo, image;
    struct vhdx_error err;

    memset(pattern, 'p', sizeof pattern);
    fuzz_file(data, size, &undo);
    if (size > 0 && data[0] % 4 != 3)
        seal_undo(&undo);
    if (vhdx_io_memory(pattern, sizeof pattern, &image, &err) < 0)
        abort();
    uint32_t before = digest(&image);
    if (undo_apply(&undo, &image, false, &err) < 0) {
        if (err.code != VHDX_E_SYSTEM && err.code != VHDX_E_NOMEM && digest(&image) != before)
            fuzz_die("refused, and yet changed", &err);
    } else {
        uint32_t after = digest(&image);
        if (undo_apply(&undo, &image, false, &err) < 0)
            fuzz_die("a second time", &err);
        if (digest(&image) != after)
            fuzz_die("a second time it is something else", NULL);
    }
    image.close(image.opaque);
    undo.close(undo.opaque);
    return 0;
}
