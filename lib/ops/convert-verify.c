/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Reading back what a conversion wrote; see convert.h. The page cache is given up first where that
 * is possible, so that it is the disk that answers.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ops/compare.h"
#include "ops/convert.h"
#include "ops/hash.h"

/* A stream is gone: its digest is compared. */
static int verify_digest(struct vhdx_disk *output, const struct vhdx_convert_options *opts,
                         const struct vhdx_convert_result *result, uint64_t size,
                         struct vhdx_error *err)
{
    char digest[VHDX_HASH_TEXT];

    int r = hash_of_disk(output, size, opts->checksum, &opts->progress, digest, err);
    if (r == 0 && strcmp(digest, result->digest) != 0)
        r = fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                 "verifying: the output does not read back as it was written");
    return r;
}

int convert_verify_disk(struct vhdx_disk *from, struct vhdx_disk *output,
                        const struct vhdx_convert_options *opts,
                        const struct vhdx_convert_result *result, uint64_t size,
                        struct vhdx_error *err)
{
    const struct vhdx_compare_options options = {
        .struct_size = sizeof options,
        .threads = opts->threads,
        .progress = opts->progress,
    };
    struct vhdx_compare_result compared = VHDX_COMPARE_RESULT_INIT;

    if (disk_is_stream(from))
        return verify_digest(output, opts, result, size, err);
    int r = compare_disks(from, output, &options, &compared, err);
    if (r == 0 && compared.outcome != VHDX_COMPARE_SAME)
        r = fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                 "verifying: the output does not read back as the input does: they differ at "
                 "offset %" PRIu64 " of the disk", compared.offset);
    return r;
}

/* The output's image, which is not locked: nobody else knows its name. */
static int open_image(struct outfile *out, struct vhdx **ret, struct vhdx_error *err)
{
    static const struct vhdx_open_options defaults = VHDX_OPEN_OPTIONS_INIT;
    struct vhdx_io io;
    struct image *img;

    int r = outfile_io(out, &io, err);
    if (r == 0)
        r = image_open_io(&io, &img, err);
    if (r == 0)
        r = handle_open(img, VHDX_OPEN_RDONLY, &defaults, ret, err);
    return r;
}

int convert_verify(struct vhdx_disk *from, struct outfile *out,
                   const struct vhdx_convert_options *opts,
                   const struct vhdx_convert_result *result, uint64_t size,
                   struct vhdx_error *err)
{
    int fd = outfile_descriptor(out), r;
    struct vhdx_disk *output = NULL;
    struct vhdx *v = NULL;

    if (fdatasync(fd) == 0)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (opts->format == VHDX_FORMAT_VHDX) {
        r = open_image(out, &v, err);
        if (r == 0)
            r = disk_of_image(v, &output, err);
    } else {
        r = disk_of_file(fd, 0, result->disk_size, "the output", &output, err);
    }
    if (r == 0)
        r = convert_verify_disk(from, output, opts, result, size, err);
    disk_close(output);
    handle_close(v);
    return r;
}

/* The beginning of an output that may be larger than the disk. */
struct prefix {
    const struct vhdx_io *io;
    uint64_t size;
};

static int prefix_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct prefix *p = opaque;

    return p->io->pread(p->io->opaque, buf, len, offset);
}

static int prefix_size(void *opaque, uint64_t *ret_size)
{
    const struct prefix *p = opaque;

    *ret_size = p->size;
    return 0;
}

int convert_verify_io(struct vhdx_disk *from, const struct vhdx_io *io,
                      const struct vhdx_convert_options *opts,
                      const struct vhdx_convert_result *result, uint64_t size,
                      struct vhdx_error *err)
{
    struct prefix prefix = { io, size };
    struct vhdx_io part = { .struct_size = sizeof part, .opaque = &prefix, .pread = prefix_pread,
                            .size = prefix_size };
    struct vhdx_disk *output;

    int r = disk_open_custom(&part, NULL, "the output", &output, err);
    if (r < 0)
        return r;
    r = convert_verify_disk(from, output, opts, result, size, err);
    disk_close(output);
    return r;
}
