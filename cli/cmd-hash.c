/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx hash: digests of whole disks, in the format of sha256sum and its kin: a raw copy of the disk
 * can be checked against them with `sha256sum -c`.
 */
#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "interrupt.h"
#include "opening.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

enum { OPTION_ALGORITHM = 'a', OPTION_PROGRESS = 'p', OPTION_QUIET = 'q' };

struct hash_run {
    const char *algorithm;
    enum progress_mode progress_mode;
};

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return 0;
}

static bool hash_file(const char *path, const struct hash_run *run,
                      const struct common_options *common)
{
    SCOPED_IMAGE struct vhdx *v = image_open_content(path, common);
    struct vhdx_hash_options options = VHDX_HASH_OPTIONS_INIT;
    struct progress progress;
    struct vhdx_error err;
    char hex[VHDX_HASH_TEXT];

    if (!v)
        return false;
    progress_init(&progress, run->progress_mode);
    options.algorithm = run->algorithm;
    options.progress.fn = on_progress;
    options.progress.opaque = &progress;
    int r = vhdx_hash(v, &options, hex, &err);
    progress_finish(&progress);
    if (r < 0) {
        report_error(&err);
        report_error_hint(&err);
        return false;
    }
    digest_print(stdout, hex, path);
    return true;
}

static bool check_algorithm(const char *name)
{
    static const char *const known[] = { "sha256", "sha1", "sha512", "md5", "blake2b" };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    report("--algorithm: '%s' is not known", name);
    report_hint("known are sha256, sha1, sha512, md5 and blake2b");
    return false;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct hash_run *run = own;

    switch (option) {
    case OPTION_ALGORITHM:
        run->algorithm = arg;
        return check_algorithm(arg);
    case OPTION_PROGRESS:
        run->progress_mode = PROGRESS_ALWAYS;
        return true;
    default: /* OPTION_QUIET */
        run->progress_mode = PROGRESS_NEVER;
        return true;
    }
}

static int run_hash(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    struct hash_run run = { .algorithm = "sha256" };
    bool fine = true;
    int exit_code;

    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_hash, &common, &run, &exit_code))
        return exit_code;
    for (size_t i = 0; i < common.operands_count; i++)
        if (!hash_file(common.operands[i], &run, &common))
            fine = false;
    return fine ? EXIT_FINE : EXIT_FAILED;
}

static const struct option longs[] = {
    { "algorithm", required_argument, NULL, OPTION_ALGORITHM },
    { "progress", no_argument, NULL, OPTION_PROGRESS },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_hash = {
    .name = "hash",
    .operands = "FILE...",
    .summary = "print digests of the disks in images",
    .help =
        "Prints the digest of each image's whole virtual disk, as sha256sum prints that of a raw\n"
        "copy of it.\n"
        "\n"
        "Options:\n"
        "  -a, --algorithm NAME     sha256 (default), sha1, sha512, md5 or blake2b\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "  -q, --quiet              show no progress\n",
    .shorts = "a:pq",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .run = run_hash,
};
