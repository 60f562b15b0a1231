/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert: any disk into any format. The library writes under a temporary name and renames; a
 * signal therefore must not end the program, but the conversion. What --salvage makes of a damaged
 * image is in salvage.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "convert-run.h"
#include "digest.h"
#include "interrupt.h"
#include "opening.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "salvage.h"
#include "scope.h"
#include "source.h"
#include "verb.h"

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

/* True for what the library says of an output that was handed to it open, without a name. */
static bool is_nameless(const char *message)
{
    static const char *const beginnings[] = {
        "writing ", "zeroing ", "flushing", "reading ", "opening", "locking", "verifying", "is ",
        "the disk is ", "the output",
    };

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(message, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return strstr(message, "bytes that the output has") != NULL;
}

static void report_named(const struct convert_run *run, const struct vhdx_error *err)
{
    if (run->place == CONVERT_TO_STDOUT || !is_nameless(err->message))
        report_error(err);
    else if (err->file_offset == VHDX_OFFSET_NONE)
        report("%s: %s", run->output, err->message);
    else
        report("%s: %s (offset %" PRIu64 ")", run->output, err->message, err->file_offset);
}

static void report_failure(const struct source *from, const struct convert_run *run,
                           const struct vhdx_error *err)
{
    struct stat st;

    report_named(run, err);
    if (err->code == VHDX_E_INVALID && run->place == CONVERT_TO_PATH &&
        !(run->flags & VHDX_CONVERT_REPLACE) && output_is_replaceable(run->output, from->image) &&
        stat(run->output, &st) == 0 && !source_has_file(from, &st))
        report_hint("-y replaces an existing file");
    else
        report_error_hint(err);
    if (from->image)
        report_damage_hint(err);
}

static int convert(struct source *from, const struct convert_run *run,
                   const struct common_options *common)
{
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    struct vhdx_error err;

    if (!convert_write(from, run, common, &result, &err)) {
        if (interrupt_pending()) {
            source_close(from);
            interrupt_die();
        }
        if (err.code != 0)
            report_failure(from, run, &err);
        return EXIT_FAILED;
    }
    if (run->checksum)
        digest_print(run->place == CONVERT_TO_STDOUT ? stderr : stdout, result.digest,
                     run->output);
    return EXIT_FINE;
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
    SCOPED(convert_run_free) struct convert_run run = { .progress_mode = PROGRESS_ON_TERMINAL };
    SCOPED_SOURCE struct source from = { 0 };
    struct source_options options = { .common = &common };
    int exit_code;

    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_convert, &common, &run, &exit_code))
        return exit_code;
    if (!convert_settle(&run, &common))
        return EXIT_FAILED;
    if (run.request.help_wanted) {
        create_print_keys();
        return EXIT_FINE;
    }
    if (run.salvage)
        return salvage(&run, &common);
    options.format = run.input_format;
    options.connections = run.threads;
    if (!source_open(common.operands[0], &options, &from)) {
        report_damage_hint(&from.err);
        return EXIT_FAILED;
    }
    return convert(&from, &run, &common);
}

const struct verb verb_convert = {
    .name = "convert",
    .operands = "FILE OUT",
    .summary = "copy a disk from any format to any other",
    .help =
        "Writes the disk in FILE, with what its parents supply, to OUT. FILE is a VHDX, a raw\n"
        "file, a block device, - (raw from standard input), an NBD URI, or what QEMU knows. OUT\n"
        "is a file, - (standard output), an NBD URI or a block device. A file appears when it is\n"
        "complete; after a failure everything is as it was before.\n"
        "\n"
        "With --salvage the image may be damaged: what cannot be read becomes zeros, is listed,\n"
        "and is marked as bad in a map file of GNU ddrescue's format. The image itself is not\n"
        "changed. Exits with 0 when nothing is lost, 3 when something is, 1 when nothing could\n"
        "be saved.\n"
        "\n"
        "Options:\n"
        "  -O, --target-format raw|vhdx|vhd|qcow2|vmdk|vdi|vpc\n"
        "                           the format of OUT; default: its name's ending, or raw\n"
        "  -f, --format FORMAT      the format of FILE; default: what its content looks like\n"
        "  -o, --options KEY=VALUE[,KEY=VALUE]...  (repeatable; as for 'vhdx create', or QEMU's)\n"
        "  -b, --backing PARENT     write a child of PARENT: only what differs from it\n"
        "      --block-size SIZE    of a VHDX: a power of two from 1M to 256M; default 2M\n"
        "      --preallocation off|metadata|falloc|full\n"
        "      --azure              of a VHD: round the size up to whole MiB, as Azure wants it\n"
        "  -S, --sparse-size SIZE   leave out zeros in pieces of this size; 0: leave out none\n"
        "      --no-sparse          the same as -S 0\n"
        "      --no-clone           share no blocks with FILE\n"
        "      --verify             read OUT back and compare\n"
        "      --checksum NAME      print the disk's digest: sha256, sha1, sha512, md5, blake2b\n"
        "  -m, --threads NUMBER     that copy, 1 to 64\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "      --progress=json      the same as JSON, one object a line\n"
        "  -q, --quiet              show no progress, and no list of what is lost\n"
        "  -y, --replace            replace OUT, and the map file, if they exist\n"
        "      --salvage            save what is left of a damaged image\n"
        "      --map-file PATH      with --salvage: write the map file there, not to OUT.map\n"
        "      --output human|json  with --salvage: text for people (default) or JSON\n"
        "Of the options of all verbs, --no-parent, --any-parent and -U exclude --salvage.\n",
    .shorts = CONVERT_SHORTS,
    .longs = convert_longs,
    .take_option = convert_take_option,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_convert,
};
