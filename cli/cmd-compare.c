/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx compare: whether two disks are the same, in qemu-img's words and with its exit codes: 0 the
 * same, 1 different, 2 any error.
 */
#include <inttypes.h>
#include <stdio.h>

#include "interrupt.h"
#include "pair.h"
#include "verb.h"

#define EXIT_DIFFERENT 1
#define EXIT_TROUBLE 2

enum { OPTION_STRICT = 's' };

struct compare_run {
    struct pair_options pair;
    bool strict;
};

static void print_json(const struct vhdx_compare_result *result, const struct pair *pair)
{
    static const char *const words[] = { "none", "content", "size", "allocation" };
    bool has_offset = result->outcome == VHDX_COMPARE_CONTENT ||
                      result->outcome == VHDX_COMPARE_ALLOCATION;

    printf("{\n    \"identical\": %s,\n    \"difference\": \"%s\",\n",
           result->outcome == VHDX_COMPARE_SAME ? "true" : "false", words[result->outcome]);
    if (has_offset)
        printf("    \"offset\": %" PRIu64 ",\n", result->offset);
    printf("    \"sizes\": [%" PRIu64 ", %" PRIu64 "]\n}\n",
           vhdx_disk_size(pair->sources[0].disk), vhdx_disk_size(pair->sources[1].disk));
}

/* The sizes matter only when the common part is the same; qemu-img sees it so, too. */
static void warn_of_size(const struct vhdx_compare_result *result, const struct pair *pair)
{
    uint64_t a = vhdx_disk_size(pair->sources[0].disk), b = vhdx_disk_size(pair->sources[1].disk);

    if (a == b || result->outcome == VHDX_COMPARE_SIZE)
        return;
    if (result->outcome == VHDX_COMPARE_SAME || result->offset >= (a < b ? a : b))
        puts("Warning: Image size mismatch!");
}

static void print_text_result(const struct vhdx_compare_result *result, const struct pair *pair)
{
    warn_of_size(result, pair);
    switch (result->outcome) {
    case VHDX_COMPARE_SAME:
        puts("Images are identical.");
        break;
    case VHDX_COMPARE_CONTENT:
        printf("Content mismatch at offset %" PRIu64 "!\n", result->offset);
        break;
    case VHDX_COMPARE_SIZE:
        puts("Strict mode: Image size mismatch!");
        break;
    default: /* VHDX_COMPARE_ALLOCATION */
        printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", result->offset);
    }
}

static bool take_option(int option, const char *arg, void *own)
{
    struct compare_run *run = own;

    if (option != OPTION_STRICT)
        return pair_take_option(option, arg, &run->pair);
    run->strict = true;
    return true;
}

static int run_compare(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_PAIR struct pair pair = { 0 };
    struct compare_run run = { 0 };
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;
    int exit_code;

    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_compare, &common, &run, &exit_code))
        return exit_code;
    if (!pair_open(&common, &run.pair, &pair))
        return EXIT_TROUBLE;
    options.flags = run.strict ? VHDX_COMPARE_STRICT : 0;
    if (pair_compare(&pair, &run.pair, &options, &result) < 0)
        return EXIT_TROUBLE;
    if (run.pair.json)
        print_json(&result, &pair);
    else if (!run.pair.quiet)
        print_text_result(&result, &pair);
    return result.outcome == VHDX_COMPARE_SAME ? EXIT_FINE : EXIT_DIFFERENT;
}

static const struct option longs[] = {
    PAIR_LONGS,
    { "strict", no_argument, NULL, OPTION_STRICT },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_compare = {
    .name = "compare",
    .operands = "A B",
    .summary = "tell whether two disks are the same",
    .help =
        "Compares the disks in A and B, of any two formats. What both know to be zero, or share,\n"
        "is not read. If one is larger, the rest of it must be zeros. Exits with 0 when they are\n"
        "the same, 1 when they differ, 2 or more after any error.\n"
        "\n"
        "Options:\n"
        "  -s, --strict             differing sizes, and data on one side where the other has\n"
        "                           none, count as a difference too\n"
        PAIR_HELP
        "  -q, --quiet              print nothing but errors\n"
        "      --output human|json  text for people (default) or JSON\n",
    .shorts = PAIR_SHORTS "s",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 2,
    .operands_max = 2,
    .exit_error = EXIT_TROUBLE,
    .run = run_compare,
};
