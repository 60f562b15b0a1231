/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx diff: the parts of the disk that a child itself holds, without a look at its parent, or in
 * which two disks differ: a list of changed blocks, as a backup wants it. Printed as it is found.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "interrupt.h"
#include "opening.h"
#include "pair.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

/* A callback's return value when standard output takes no more; none of the library's. */
#define STOPPED 1

struct diff_run {
    struct pair_options pair;
    uint64_t printed;       /* stretches so far */
    uint64_t start, length; /* of the one that may go on; length 0: none */
    bool zero;
};

static void print_stretch(struct diff_run *run)
{
    if (run->length == 0)
        return;
    if (run->pair.json)
        printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"data\": %s, \"zero\": %s}",
               run->printed == 0 ? "[" : ",\n", run->start, run->length,
               run->zero ? "false" : "true", run->zero ? "true" : "false");
    else
        printf("0x%-14" PRIx64 "0x%-14" PRIx64 "%s\n", run->start, run->length,
               run->zero ? "zero" : "data");
    run->printed++;
    run->length = 0;
}

static int add_stretch(struct diff_run *run, uint64_t start, uint64_t length, bool zero)
{
    if (run->length > 0 && run->start + run->length == start && run->zero == zero) {
        run->length += length;
        return 0;
    }
    print_stretch(run);
    run->start = start;
    run->length = length;
    run->zero = zero;
    return ferror(stdout) ? STOPPED : 0;
}

static int add_extent(const struct vhdx_extent *extent, void *opaque)
{
    if (extent->kind == VHDX_EXTENT_HOLE)
        return 0; /* the parent's */
    return add_stretch(opaque, extent->offset, extent->length, extent->kind == VHDX_EXTENT_ZERO);
}

static int add_difference(const struct vhdx_difference *difference, void *opaque)
{
    return add_stretch(opaque, difference->offset, difference->length, difference->is_zero);
}

static void print_head(const struct diff_run *run)
{
    if (!run->pair.json)
        printf("%-16s%-16s%s\n", "Offset", "Length", "Content");
}

/* r: what the walk or the comparison returned. */
static int print_end(struct diff_run *run, int r)
{
    if (r >= 0)
        print_stretch(run);
    if (r < 0 && run->pair.json && run->printed > 0)
        putchar('\n'); /* and no "]": what was printed must not pass for the whole */
    if (r == 0 && run->pair.json)
        printf("%s]\n", run->printed == 0 ? "[" : "");
    return r < 0 ? EXIT_FAILED : EXIT_FINE; /* standard output is checked at the end */
}

static int diff_child(struct diff_run *run, const struct common_options *common)
{
    SCOPED_IMAGE struct vhdx *v = image_open(common->operands[0], VHDX_OPEN_NO_PARENT, common);
    struct vhdx_error err;

    if (!v)
        return EXIT_FAILED;
    print_head(run);
    int r = vhdx_extents(v, 0, vhdx_size(v), add_extent, run, &err);
    int exit_code = print_end(run, r);
    if (r < 0) {
        report_error(&err);
        report_error_hint(&err);
    }
    return exit_code;
}

static int diff_pair(struct diff_run *run, const struct common_options *common)
{
    SCOPED_PAIR struct pair pair = { 0 };
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;

    if (!pair_open(common, &run->pair, &pair))
        return EXIT_FAILED;
    print_head(run);
    options.differs = add_difference;
    options.opaque = run;
    return print_end(run, pair_compare(&pair, &run->pair, &options, &result));
}

static bool take_option(int option, const char *arg, void *own)
{
    struct diff_run *run = own;

    return pair_take_option(option, arg, &run->pair);
}

static bool check_options(const struct diff_run *run, const struct common_options *common)
{
    const char *format = run->pair.formats[0];

    if (common->operands_count == 2)
        return true;
    if (!run->pair.formats[1] && (!format || strcmp(format, "vhdx") == 0))
        return true;
    report("diff: the formats are those of two disks that are compared");
    report_hint("with one file, 'vhdx diff CHILD' shows what the VHDX itself holds");
    return false;
}

static int run_diff(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    struct diff_run run = { 0 };
    int exit_code;

    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_diff, &common, &run, &exit_code))
        return exit_code;
    if (!check_options(&run, &common))
        return EXIT_FAILED;
    return common.operands_count == 1 ? diff_child(&run, &common) : diff_pair(&run, &common);
}

static const struct option longs[] = {
    PAIR_LONGS,
    { NULL, 0, NULL, 0 },
};

const struct verb verb_diff = {
    .name = "diff",
    .operands = "CHILD | A B",
    .summary = "list what a child holds, or where two disks differ",
    .help =
        "Lists the parts of the disk that the image CHILD itself holds; no parent is needed. With\n"
        "two disks of any formats: the parts in which B differs from A. Each part is data, or\n"
        "zero: then it need not be read from CHILD or B. Exits with 0 also when there are parts.\n"
        "\n"
        "Options:\n"
        PAIR_HELP
        "  -q, --quiet              show no progress\n"
        "      --output human|json  a table (default) or JSON, one part a line\n",
    .shorts = PAIR_SHORTS,
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 2,
    .run = run_diff,
};
