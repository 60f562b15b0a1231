/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert: the flattened disk as a raw, sparse file. The library writes under a temporary name
 * and renames; a signal therefore must not end the program, but the conversion. What --salvage
 * makes of a damaged image is in salvage.c.
 */
#include <errno.h>
#include <string.h>

#include "interrupt.h"
#include "opening.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "salvage.h"
#include "scope.h"
#include "verb.h"

enum {
    OPTION_TARGET_FORMAT = 'O',
    OPTION_PROGRESS = 'p',
    OPTION_QUIET = 'q',
    OPTION_REPLACE = 'y',
    OPTION_SALVAGE = OPTION_OWN,
    OPTION_MAP_FILE,
    OPTION_OUTPUT,
};

struct convert_run {
    enum progress_mode progress_mode;
    uint32_t flags; /* VHDX_CONVERT_... */
    bool salvage, quiet;
    bool json, has_output; /* --output was given */
    const char *map_path;
};

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

/* After the error: the image itself is hurt, and something can be done about it. */
static void report_damage_hint(const struct vhdx_error *err)
{
    bool is_unreadable = err->code == VHDX_E_SYSTEM && err->sys_errno == EIO &&
                         !strstr(err->message, ": writing ");

    if (is_unreadable || err->code == VHDX_E_CORRUPT || err->code == VHDX_E_CHECKSUM ||
        err->code == VHDX_E_TRUNCATED)
        report_hint("'vhdx check' tells all that is wrong; 'vhdx convert --salvage' saves what can "
                    "still be read");
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
    report_damage_hint(err);
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
        run->quiet = true;
        return true;
    case OPTION_SALVAGE:
        run->salvage = true;
        return true;
    case OPTION_MAP_FILE:
        run->map_path = arg;
        return true;
    case OPTION_OUTPUT:
        run->has_output = true;
        return options_parse_output(arg, &run->json);
    default: /* OPTION_REPLACE */
        run->flags |= VHDX_CONVERT_REPLACE;
        return true;
    }
}

/* A row: when it is true, the command line makes no sense, and why. */
struct mistake {
    bool made;
    const char *what, *hint;
};

static bool check_options(const struct convert_run *run, const struct common_options *common)
{
    uint32_t open = common->open_flags;
    const struct mistake mistakes[] = {
        { run->map_path && !run->salvage, "--map-file needs --salvage",
          "without --salvage the disk is written whole or not at all" },
        { run->has_output && !run->salvage, "--output needs --salvage",
          "without --salvage there is nothing to print" },
        { run->map_path && (strcmp(run->map_path, "-") == 0 || run->map_path[0] == '\0'),
          "--map-file needs the name of a file", "a file named '-' is './-'" },
        { run->salvage && (open & VHDX_OPEN_NO_PARENT), "--salvage and --no-parent exclude "
          "each other",
          "leave --no-parent out: what a parent should supply is lost if none is found" },
        { run->salvage && (open & VHDX_OPEN_ANY_PARENT), "--salvage and --any-parent exclude "
          "each other",
          "another parent's data would be taken for what was saved; without --salvage, "
          "--any-parent reads it" },
        { run->salvage && (open & VHDX_OPEN_NO_LOCK), "--salvage and -U exclude each other",
          "an image that is being written to looks damaged without being so: stop the program "
          "that has it open" },
    };

    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        if (!mistakes[i].made)
            continue;
        report("convert: %s", mistakes[i].what);
        report_hint("%s", mistakes[i].hint);
        return false;
    }
    return true;
}

static int salvage(const struct convert_run *run, const struct common_options *common)
{
    const struct salvage_run salvage_run = {
        .common = common,
        .path = common->operands[0],
        .output = common->operands[1],
        .map_path = run->map_path,
        .flags = run->flags,
        .json = run->json,
        .quiet = run->quiet,
        .progress_mode = run->progress_mode,
    };

    return salvage_image(&salvage_run);
}

static int run_convert(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct convert_run run = { .progress_mode = PROGRESS_ON_TERMINAL };
    struct vhdx_error err;
    int exit_code;

    if (!options_parse(argc, argv, &verb_convert, &common, &run, &exit_code))
        return exit_code;
    if (!check_options(&run, &common))
        return EXIT_FAILED;
    if (strcmp(common.operands[1], "-") == 0) {
        report("convert cannot write to standard output");
        report_hint("'vhdx cat FILE' does; a file named '-' is './-'");
        return EXIT_FAILED;
    }
    if (run.salvage)
        return salvage(&run, &common);
    v = image_open_content_or(common.operands[0], &common, &err);
    if (!v) {
        report_damage_hint(&err);
        return EXIT_FAILED;
    }
    return convert(v, common.operands[1], &run);
}

static const struct option longs[] = {
    { "target-format", required_argument, NULL, OPTION_TARGET_FORMAT },
    { "progress", no_argument, NULL, OPTION_PROGRESS },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { "replace", no_argument, NULL, OPTION_REPLACE },
    { "salvage", no_argument, NULL, OPTION_SALVAGE },
    { "map-file", required_argument, NULL, OPTION_MAP_FILE },
    { "output", required_argument, NULL, OPTION_OUTPUT },
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
        "With --salvage the image may be damaged: what cannot be read becomes zeros, is listed,\n"
        "and is marked as bad in a map file of GNU ddrescue's format. The image itself is not\n"
        "changed. Exits with 0 when nothing is lost, 3 when something is, 1 when nothing could\n"
        "be saved.\n"
        "\n"
        "Options:\n"
        "  -O, --target-format raw  the format of OUT; there is no other\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "  -q, --quiet              show no progress, and no list of what is lost\n"
        "  -y, --replace            replace OUT, and the map file, if they exist\n"
        "      --salvage            save what is left of a damaged image\n"
        "      --map-file PATH      with --salvage: write the map file there, not to OUT.map\n"
        "      --output human|json  with --salvage: text for people (default) or JSON\n"
        "Of the options of all verbs, --no-parent, --any-parent and -U exclude --salvage.\n",
    .shorts = "O:pqy",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_convert,
};
