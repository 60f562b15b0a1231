/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* vhdx measure: how large the file of a conversion will be. Both outputs are qemu-img's. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "create-options.h"
#include "options.h"
#include "report.h"
#include "scope.h"
#include "size.h"
#include "source.h"
#include "verb.h"

enum {
    OPTION_FORMAT = 'f',
    OPTION_TARGET_FORMAT = 'O',
    OPTION_LIST = 'o',
    OPTION_SIZE = OPTION_OWN,
    OPTION_AZURE,
    OPTION_OUTPUT,
};

struct measure_run {
    struct create_request request;
    const char *format;
    uint32_t target, flags; /* VHDX_FORMAT_..., VHDX_CONVERT_... */
    bool json;
};

static bool take_target(const char *arg, uint32_t *ret)
{
    static const struct {
        const char *name;
        uint32_t format;
    } formats[] = {
        { "raw", VHDX_FORMAT_RAW }, { "vhdx", VHDX_FORMAT_VHDX }, { "vhd", VHDX_FORMAT_VHD },
        { "vpc", VHDX_FORMAT_VHD },
    };

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(arg, formats[i].name) != 0)
            continue;
        *ret = formats[i].format;
        return true;
    }
    report("-O: '%s' is not supported, must be vhdx, raw or vhd", arg);
    report_hint("'qemu-img measure' knows other formats");
    return false;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct measure_run *run = own;

    switch (option) {
    case OPTION_FORMAT:
        run->format = arg;
        return true;
    case OPTION_TARGET_FORMAT:
        return take_target(arg, &run->target);
    case OPTION_LIST:
        return create_take_list(&run->request, arg);
    case OPTION_SIZE:
        return create_set(&run->request, "size", "--size", arg);
    case OPTION_AZURE:
        run->flags |= VHDX_CONVERT_AZURE;
        return true;
    default: /* OPTION_OUTPUT */
        return options_parse_output(arg, &run->json);
    }
}

static bool check_request(const struct measure_run *run, const struct common_options *common)
{
    if (run->request.size_given == (common->operands_count == 1)) {
        report("measure: either a file or --size is needed%s",
               run->request.size_given ? ", not both" : "");
        report_hint("usage: vhdx measure [OPTION]... %s", verb_measure.operands);
        return false;
    }
    if (!run->request.create.parent_path)
        return true;
    report("measure: the size of a child is known only when it has been made");
    return false;
}

static void print_result(const struct vhdx_measure_result *result, bool json)
{
    if (json)
        printf("{\n    \"required\": %" PRIu64 ",\n    \"fully-allocated\": %" PRIu64 "\n}\n",
               result->required, result->fully_allocated);
    else
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n",
               result->required, result->fully_allocated);
}

static int measure(const struct measure_run *run, struct vhdx_disk *from)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_measure_result result = VHDX_MEASURE_RESULT_INIT;
    struct vhdx_error err;

    options.format = run->target;
    options.flags = run->flags;
    options.create = &run->request.create;
    if (vhdx_measure(from, &options, &result, &err) < 0) {
        report_error(&err);
        report_error_hint(&err);
        return EXIT_FAILED;
    }
    print_result(&result, run->json);
    return EXIT_FINE;
}

static void end_run(struct measure_run *run)
{
    create_request_free(&run->request);
}

static int run_measure(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_SOURCE struct source source = { 0 };
    SCOPED(end_run) struct measure_run run = { .request.create = VHDX_CREATE_OPTIONS_INIT,
                                               .target = VHDX_FORMAT_VHDX };
    int exit_code;

    if (!options_parse(argc, argv, &verb_measure, &common, &run, &exit_code))
        return exit_code;
    if (run.request.help_wanted) {
        create_print_keys();
        return EXIT_FINE;
    }
    if (!check_request(&run, &common))
        return EXIT_FAILED;
    if (run.request.size_given)
        return measure(&run, NULL);
    const struct source_options options = { .format = run.format, .common = &common };
    if (!source_open(common.operands[0], &options, &source) ||
        !source_spool(&source, PROGRESS_NEVER))
        return EXIT_FAILED;
    return measure(&run, source.disk);
}

static const struct option longs[] = {
    { "format", required_argument, NULL, OPTION_FORMAT },
    { "target-format", required_argument, NULL, OPTION_TARGET_FORMAT },
    { "options", required_argument, NULL, OPTION_LIST },
    { "size", required_argument, NULL, OPTION_SIZE },
    { "azure", no_argument, NULL, OPTION_AZURE },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_measure = {
    .name = "measure",
    .operands = "FILE | --size SIZE",
    .summary = "tell how large an image of a disk will be",
    .help =
        "Prints how many bytes 'vhdx convert' would write at most, given the disk in FILE (zeros\n"
        "that only reading finds count as data) or an empty one, and how many once every block\n"
        "is in use.\n"
        "\n"
        "Options:\n"
        "      --size SIZE          of an empty disk of this size\n"
        "  -f, --format FMT         the format of FILE: raw, vhdx, or one that QEMU knows;\n"
        "                           default: what it looks like\n"
        "  -O, --target-format FMT  vhdx (default), raw or vhd\n"
        "  -o, --options KEY=VALUE[,KEY=VALUE]...  (repeatable; '-o help' tells more)\n"
        "                           what 'vhdx convert -o' would be given\n"
        "      --azure              with -O vhd: round up to whole MiB, as Azure wants it\n"
        "      --output human|json  text for people (default) or JSON\n",
    .shorts = "f:O:o:",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 0,
    .operands_max = 1,
    .run = run_measure,
};
