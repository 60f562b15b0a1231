/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert: the flattened disk as a raw, sparse file. The library writes under a temporary name
 * and renames; a signal therefore must not end the program, but the conversion.
 */
#include <string.h>

#include "interrupt.h"
#include "opening.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

enum {
    OPTION_TARGET_FORMAT = 'O',
    OPTION_PROGRESS = 'p',
    OPTION_QUIET = 'q',
    OPTION_REPLACE = 'y',
};

struct convert_run {
    enum progress_mode progress_mode;
    uint32_t flags; /* VHDX_CONVERT_... */
};

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

static void report_failure(struct vhdx *v, const char *output, const struct convert_run *run,
                           const struct vhdx_error *err)
{
    report_error(err);
    if (err->code == VHDX_E_INVALID && !(run->flags & VHDX_CONVERT_REPLACE) &&
        output_is_replaceable(output, v))
        report_hint("-y replaces an existing file");
    else
        report_error_hint(err);
}

static int convert(struct vhdx *v, const char *output, const struct convert_run *run)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct progress progress;
    struct vhdx_error err;

    progress_init(&progress, run->progress_mode);
    options.format = VHDX_FORMAT_RAW;
    options.flags = run->flags;
    options.progress.fn = on_progress;
    options.progress.opaque = &progress;
    interrupt_catch();
    int r = vhdx_convert(v, output, &options, &err);
    progress_finish(&progress);
    if (r == 0)
        return EXIT_FINE;
    if (err.code == VHDX_E_CANCELLED)
        interrupt_die();
    report_failure(v, output, run, &err);
    return EXIT_FAILED;
}

static bool check_target_format(const char *format)
{
    if (strcmp(format, "raw") == 0)
        return true;
    report("-O: '%s' is not supported: vhdx converts to raw only", format);
    report_hint("for other formats convert to raw first and that with 'qemu-img convert -f raw'");
    return false;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct convert_run *run = own;

    switch (option) {
    case OPTION_TARGET_FORMAT:
        return check_target_format(arg);
    case OPTION_PROGRESS:
        run->progress_mode = PROGRESS_ALWAYS;
        return true;
    case OPTION_QUIET:
        run->progress_mode = PROGRESS_NEVER;
        return true;
    default: /* OPTION_REPLACE */
        run->flags |= VHDX_CONVERT_REPLACE;
        return true;
    }
}

static int run_convert(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct convert_run run = { .progress_mode = PROGRESS_ON_TERMINAL };
    int exit_code;

    if (!options_parse(argc, argv, &verb_convert, &common, &run, &exit_code))
        return exit_code;
    if (strcmp(common.operands[1], "-") == 0) {
        report("convert cannot write to standard output");
        report_hint("'vhdx cat FILE' does; a file named '-' is './-'");
        return EXIT_FAILED;
    }
    v = image_open_content(common.operands[0], &common);
    if (!v)
        return EXIT_FAILED;
    return convert(v, common.operands[1], &run);
}

static const struct option longs[] = {
    { "target-format", required_argument, NULL, OPTION_TARGET_FORMAT },
    { "progress", no_argument, NULL, OPTION_PROGRESS },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { "replace", no_argument, NULL, OPTION_REPLACE },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_convert = {
    .name = "convert",
    .operands = "FILE OUT",
    .summary = "write the disk to a raw file",
    .help =
        "Writes the disk, with what its parents supply, to the raw and sparse file OUT. OUT\n"
        "appears when it is complete; after a failure everything is as it was before.\n"
        "\n"
        "Options:\n"
        "  -O, --target-format raw  the format of OUT; there is no other\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "  -q, --quiet              show no progress\n"
        "  -y, --replace            replace OUT if it exists\n",
    .shorts = "O:pqy",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_convert,
};
