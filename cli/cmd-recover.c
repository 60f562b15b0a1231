/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx recover: saves the disk of an image whose headers, region tables or metadata are gone. The
 * library finds out what it can and how sure that is; here is what people know better, and the
 * telling.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "interrupt.h"
#include "json.h"
#include "opening.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "recover.h"
#include "report.h"
#include "scope.h"
#include "size.h"
#include "verb.h"

#define EXIT_LOSSES 3

enum {
    OPTION_BLOCK_SIZE = OPTION_OWN,
    OPTION_VIRTUAL_SIZE,
    OPTION_BAT_OFFSET,
    OPTION_SECTOR_SIZE,
    OPTION_FIXED,
    OPTION_PAYLOAD_OFFSET,
    OPTION_OUTPUT,
    OPTION_TARGET_FORMAT = 'O',
    OPTION_DRY_RUN = 'n',
    OPTION_PROGRESS = 'p',
    OPTION_QUIET = 'q',
    OPTION_REPLACE = 'y',
};

struct recover_run {
    struct vhdx_recover_options options;
    struct recover_report report;
    struct progress progress;
    enum progress_mode progress_mode;
    bool dry_run, json, quiet;
};

/* ---- What the library tells ----------------------------------------------------------------- */

static const char *word_of_source(uint32_t source)
{
    static const char *const words[] = { "unknown", "intact", "given", "found", "guessed", "lost" };

    return source < sizeof(words) / sizeof(words[0]) ? words[source] : words[0];
}

static void on_found(const struct vhdx_recovered_fact *fact, void *opaque)
{
    struct recover_run *run = opaque;
    struct recover_report *report = &run->report;

    if (report->facts_count == RECOVER_FACTS_MAX)
        return;
    struct recover_fact *copy = &report->facts[report->facts_count++];
    copy->name = fact->name;
    copy->source = word_of_source(fact->source);
    copy->confidence = fact->confidence;
    copy->file_offset = fact->file_offset;
    copy->value = fact->value;
    snprintf(copy->evidence, sizeof(copy->evidence), "%s", fact->evidence);
}

static void on_lost(const struct vhdx_lost_range *range, void *opaque)
{
    struct recover_run *run = opaque;

    lost_list_add(range, &run->report.lost);
}

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    struct recover_run *run = opaque;

    progress_update(&run->progress, done, total);
    return interrupt_pending();
}

/* ---- Telling -------------------------------------------------------------------------------- */

static void print_facts(const struct recover_report *report)
{
    for (size_t i = 0; i < report->facts_count; i++) {
        const struct recover_fact *fact = &report->facts[i];
        printf("    %s: %s", fact->name, fact->source);
        if (strcmp(fact->source, "lost") != 0)
            printf(", %" PRIu32 " %% sure", fact->confidence);
        if (fact->value != 0)
            printf(", %" PRIu64 " bytes", fact->value);
        if (fact->file_offset != VHDX_OFFSET_NONE)
            printf(", at %#" PRIx64, fact->file_offset);
        printf(": ");
        print_text(stdout, fact->evidence);
        putchar('\n');
    }
}

static void print_report(const struct recover_report *report)
{
    const struct vhdx_recover_result *r = &report->result;
    char size[HUMAN_SIZE_TEXT];

    print_text(stdout, report->path);
    printf(": what was found:\n");
    print_facts(report);
    if (r->lost_ranges > 0) {
        printf("lost, and zeros in the output: %" PRIu64 " bytes (%s)\n", r->lost_bytes,
               human_size(r->lost_bytes, size));
        lost_list_print(&report->lost);
    }
    printf("%s %s of disk, %" PRIu32 " %% sure%s\n",
           report->output ? "recovered" : "would recover", human_size(r->virtual_size, size),
           r->confidence, r->lost_ranges ? "" : "; nothing is known to be lost");
}

/* What to give when two readings are equally likely, or nothing suffices. */
static void report_recover_hint(const struct vhdx_error *err)
{
    static const struct {
        const char *word, *option;
    } options[] = {
        { "bat_offset must be given", "--bat-offset" },
        { "block_size must be given", "--block-size" },
        { "logical_sector_size must be given", "--sector-size" },
        { "payload_offset must be given", "--fixed --payload-offset" },
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strstr(err->message, options[i].word)) {
            report_hint("'%s' decides%s; 'vhdx recover -n' with it shows what comes of it",
                        options[i].option, i == 0 ? ", or '--fixed' for a fixed image" : "");
            return;
        }
    if (err->code != VHDX_E_CORRUPT && err->code != VHDX_E_NOT_VHDX)
        report_error_hint(err);
}

static void report_failure(const struct recover_run *run, const struct vhdx_error *err)
{
    if (!run->quiet && !run->json && run->report.facts_count > 0) {
        print_text(stdout, run->report.path);
        printf(": what was found:\n");
        print_facts(&run->report);
    }
    report_error(err);
    if (err->code == VHDX_E_INVALID && run->report.output &&
        !(run->options.flags & VHDX_RECOVER_REPLACE) &&
        output_is_replaceable(run->report.output, NULL))
        report_hint("-y replaces an existing file");
    else
        report_recover_hint(err);
}

/* ---- The command line ----------------------------------------------------------------------- */

static bool take_size32(const char *option, const char *arg, uint32_t *ret)
{
    uint64_t size;

    if (!size_parse_option(option, arg, &size))
        return false;
    if (size > UINT32_MAX) {
        report("%s: %s is too large", option, arg);
        return false;
    }
    *ret = (uint32_t)size;
    return true;
}

static bool take_format(const char *arg, struct recover_run *run)
{
    if (strcmp(arg, "raw") != 0 && strcmp(arg, "vhdx") != 0) {
        report("-O: '%s' is not supported", arg);
        report_hint("'raw' and 'vhdx' are");
        return false;
    }
    run->options.format = strcmp(arg, "raw") == 0 ? VHDX_FORMAT_RAW : VHDX_FORMAT_VHDX;
    return true;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct recover_run *run = own;
    struct vhdx_recover_options *o = &run->options;

    switch (option) {
    case OPTION_BLOCK_SIZE:
        return take_size32("--block-size", arg, &o->block_size);
    case OPTION_SECTOR_SIZE:
        return take_size32("--sector-size", arg, &o->logical_sector_size);
    case OPTION_VIRTUAL_SIZE:
        return size_parse_option("--virtual-size", arg, &o->virtual_size);
    case OPTION_BAT_OFFSET:
        return size_parse_option("--bat-offset", arg, &o->bat_offset);
    case OPTION_PAYLOAD_OFFSET:
        return size_parse_option("--payload-offset", arg, &o->payload_offset);
    case OPTION_FIXED:
        o->flags |= VHDX_RECOVER_FIXED;
        return true;
    case OPTION_TARGET_FORMAT:
        return take_format(arg, run);
    case OPTION_OUTPUT:
        return options_parse_output(arg, &run->json);
    case OPTION_DRY_RUN:
        run->dry_run = true;
        return true;
    case OPTION_PROGRESS:
        run->progress_mode = PROGRESS_ALWAYS;
        return true;
    case OPTION_QUIET:
        run->progress_mode = PROGRESS_NEVER;
        run->quiet = true;
        return true;
    default: /* OPTION_REPLACE */
        o->flags |= VHDX_RECOVER_REPLACE;
        return true;
    }
}

static bool check_request(const struct recover_run *run, const struct common_options *common)
{
    if (common->open_flags & (VHDX_OPEN_NO_LOCK | VHDX_OPEN_NO_PARENT)) {
        report("recover: -U and --no-parent do not apply");
        report_hint("an image must not be in use; what a parent should supply is lost if none is "
                    "found");
        return false;
    }
    if (!run->dry_run && common->operands_count < 2) {
        report("recover: OUT is missing");
        report_hint("-n (--dry-run) only says what is found");
        return false;
    }
    if (common->operands_count > 1 && strcmp(common->operands[1], "-") == 0) {
        report("recover cannot write to standard output");
        report_hint("a file named '-' is './-'");
        return false;
    }
    return true;
}

static int recover(struct recover_run *run)
{
    struct vhdx_recover_result result = VHDX_RECOVER_RESULT_INIT;
    struct vhdx_error err;

    progress_init(&run->progress, run->progress_mode);
    interrupt_catch();
    int r = vhdx_recover(run->report.path, run->report.output, &run->options, &result, &err);
    progress_finish(&run->progress);
    if (r < 0 && err.code == VHDX_E_CANCELLED)
        interrupt_die();
    if (r < 0) {
        report_failure(run, &err);
        return EXIT_FAILED;
    }
    run->report.result = result;
    if (run->json) {
        struct json_object *object = recover_to_json(&run->report);
        json_print(object);
        json_free(object);
    } else if (!run->quiet) {
        print_report(&run->report);
    }
    return result.lost_ranges > 0 ? EXIT_LOSSES : EXIT_FINE;
}

static int run_recover(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_FREE struct recover_run *run = calloc(1, sizeof(*run));
    struct vhdx_open_options open;
    int exit_code;

    if (!run) {
        report("out of memory");
        return EXIT_FAILED;
    }
    run->options = (struct vhdx_recover_options)VHDX_RECOVER_OPTIONS_INIT;
    run->progress_mode = PROGRESS_ON_TERMINAL;
    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_recover, &common, run, &exit_code))
        return exit_code;
    if (!check_request(run, &common))
        return EXIT_FAILED;
    common_open_options(&common, &open);
    run->options.open_options = &open;
    if (common.open_flags & VHDX_OPEN_ANY_PARENT)
        run->options.flags |= VHDX_RECOVER_ANY_PARENT;
    run->options.found = on_found;
    run->options.lost = on_lost;
    run->options.opaque = run;
    run->options.progress.fn = on_progress;
    run->options.progress.opaque = run;
    run->report.path = common.operands[0];
    run->report.output = run->dry_run ? NULL : common.operands[1];
    exit_code = recover(run);
    lost_list_free(&run->report.lost);
    return exit_code;
}

static const struct option longs[] = {
    { "target-format", required_argument, NULL, OPTION_TARGET_FORMAT },
    { "block-size", required_argument, NULL, OPTION_BLOCK_SIZE },
    { "virtual-size", required_argument, NULL, OPTION_VIRTUAL_SIZE },
    { "bat-offset", required_argument, NULL, OPTION_BAT_OFFSET },
    { "sector-size", required_argument, NULL, OPTION_SECTOR_SIZE },
    { "fixed", no_argument, NULL, OPTION_FIXED },
    { "payload-offset", required_argument, NULL, OPTION_PAYLOAD_OFFSET },
    { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "progress", no_argument, NULL, OPTION_PROGRESS },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { "replace", no_argument, NULL, OPTION_REPLACE },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_recover = {
    .name = "recover",
    .operands = "FILE OUT",
    .summary = "save the disk of an image that has lost its headers",
    .help =
        "Saves the disk of an image whose headers, region tables or metadata are gone. What is\n"
        "still valid is used; the rest is searched for, and what is found nowhere is concluded\n"
        "from the block table and from the partitions on the disk. Says what was found and how\n"
        "sure that is. Between readings that are equally likely it does not choose: an option\n"
        "below decides. FILE is not changed. Exits with 0 when nothing is known to be lost, 3\n"
        "when something is, 1 when nothing could be recovered.\n"
        "\n"
        "Options:\n"
        "  -O, --target-format raw|vhdx\n"
        "                           the format of OUT; raw is the default\n"
        "      --block-size SIZE    of the image, 1M to 256M\n"
        "      --virtual-size SIZE  of the disk\n"
        "      --bat-offset OFFSET  where in FILE the block allocation table is\n"
        "      --sector-size SIZE   the logical one, 512 or 4096\n"
        "      --fixed              the image is fixed: if its block table is gone, its payload\n"
        "                           is taken as contiguous\n"
        "      --payload-offset OFFSET\n"
        "                           with --fixed: where in FILE the payload begins\n"
        "  -n, --dry-run            only say what is found; OUT may be left out\n"
        "      --output human|json  text for people (default) or JSON\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "  -q, --quiet              print nothing but what went wrong\n"
        "  -y, --replace            replace OUT if it exists\n",
    .shorts = "O:npqy",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 2,
    .run = run_recover,
};
