/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx cat: the disk, or a part of it, to standard output. Everything is written, holes as zeros;
 * but only what is stored is read.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "opening.h"
#include "options.h"
#include "report.h"
#include "scope.h"
#include "size.h"
#include "verb.h"

enum { OPTION_OFFSET = OPTION_OWN, OPTION_LENGTH };

#define BUFFER_LEN ((size_t)1 << 20)

/* The walk's return value after a failure that is not one of the walk; none of the library's. */
#define STOPPED 1

struct cat_run {
    uint64_t offset, length;
    bool length_given;
    struct vhdx *v;
    unsigned char *buffer; /* BUFFER_LEN bytes, for what is stored */
    unsigned char *zeros;  /* BUFFER_LEN bytes of zeros */
};

/* False: reported, except for a reader that has gone away, which is nobody's mistake. */
static bool write_all(const unsigned char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDOUT_FILENO, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            if (errno != EPIPE)
                report("standard output: %s", strerror(errno));
            return false;
        }
        data += written;
        len -= (size_t)written;
    }
    return true;
}

static int write_extent(const struct vhdx_extent *extent, void *opaque)
{
    struct cat_run *run = opaque;
    uint64_t done = 0;

    while (done < extent->length) {
        uint64_t left = extent->length - done;
        size_t len = left < BUFFER_LEN ? (size_t)left : BUFFER_LEN;
        const unsigned char *data = run->zeros;

        if (extent->kind == VHDX_EXTENT_DATA) {
            struct vhdx_error err;
            if (vhdx_pread(run->v, run->buffer, len, extent->offset + done, &err) < 0) {
                report_error(&err);
                report_error_hint(&err);
                return STOPPED;
            }
            data = run->buffer;
        }
        if (!write_all(data, len))
            return STOPPED;
        done += len;
    }
    return 0;
}

/* Checks the range; without --length it reaches to the end. What a program asked for in vain must
   not be missing silently: a range past the end is an error. */
static bool settle_range(struct cat_run *run, const char *path)
{
    uint64_t size = vhdx_size(run->v);

    if (run->offset > size) {
        report("%s: --offset %" PRIu64 " is past the end of the disk (%" PRIu64 " bytes)", path,
               run->offset, size);
        return false;
    }
    if (!run->length_given)
        run->length = size - run->offset;
    if (run->length > size - run->offset) {
        report("%s: --length %" PRIu64 " from offset %" PRIu64
               " is past the end of the disk (%" PRIu64 " bytes)", path, run->length, run->offset,
               size);
        return false;
    }
    return true;
}

/* An output that is itself read would never end. */
static bool check_output(struct vhdx *v)
{
    struct stat st;
    const char *path;

    if (fstat(STDOUT_FILENO, &st) < 0 || !S_ISREG(st.st_mode) ||
        !image_is_in_chain(v, &st, &path))
        return true;
    report("%s: is also standard output", path);
    return false;
}

static int cat(struct cat_run *run, const char *path)
{
    SCOPED_FREE unsigned char *buffer = malloc(BUFFER_LEN);
    SCOPED_FREE unsigned char *zeros = calloc(1, BUFFER_LEN);
    struct vhdx_error err;

    if (!buffer || !zeros) {
        report("out of memory");
        return EXIT_FAILED;
    }
    run->buffer = buffer;
    run->zeros = zeros;
    if (!settle_range(run, path) || !check_output(run->v))
        return EXIT_FAILED;
    int r = vhdx_extents(run->v, run->offset, run->length, write_extent, run, &err);
    if (r < 0) {
        report_error(&err);
        report_error_hint(&err);
    }
    return r == 0 ? EXIT_FINE : EXIT_FAILED;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct cat_run *run = own;

    if (option == OPTION_OFFSET)
        return size_parse_option("--offset", arg, &run->offset);
    run->length_given = true;
    return size_parse_option("--length", arg, &run->length);
}

static int run_cat(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct cat_run run = { 0 };
    int exit_code;

    if (!options_parse(argc, argv, &verb_cat, &common, &run, &exit_code))
        return exit_code;
    if (isatty(STDOUT_FILENO) == 1) {
        report("cat does not write a disk to a terminal");
        report_hint("send it to a file or a pipe: vhdx cat FILE | hexdump -C | less");
        return EXIT_FAILED;
    }
    v = image_open_content(common.operands[0], &common);
    if (!v)
        return EXIT_FAILED;
    run.v = v;
    return cat(&run, common.operands[0]);
}

static const struct option longs[] = {
    { "offset", required_argument, NULL, OPTION_OFFSET },
    { "length", required_argument, NULL, OPTION_LENGTH },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_cat = {
    .name = "cat",
    .operands = "FILE",
    .summary = "write the disk, or a part of it, to standard output",
    .help =
        "Writes the disk to standard output, for pipes: zeros and holes too.\n"
        "\n"
        "Options:\n"
        "      --offset SIZE        begin there\n"
        "      --length SIZE        write this much; a range past the end is an error\n",
    .shorts = "",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_cat,
};
