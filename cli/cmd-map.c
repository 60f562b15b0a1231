/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx map: where the disk's content lies. Both outputs have qemu-img's layout. Extents are printed
 * as the library finds them: a map of any size takes constant memory.
 */
#include <inttypes.h>
#include <stdio.h>

#include "opening.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "scope.h"
#include "size.h"
#include "verb.h"

enum { OPTION_START = OPTION_OWN, OPTION_LENGTH, OPTION_OUTPUT };

/* The walk's return value when standard output takes no more; none of the library's. */
#define STOPPED 1

struct map_run {
    uint64_t start, length;
    bool json;
    struct vhdx *v;
    uint64_t printed;      /* extents so far */
    struct vhdx_link link; /* with path: the image of the last line */
};

static const char *text_of(bool truth)
{
    return truth ? "true" : "false";
}

/* Numbers, booleans and fixed names need no JSON library. */
static void print_json(struct map_run *run, const struct vhdx_extent *extent)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %" PRIu32,
           run->printed == 0 ? "[" : ",\n", extent->offset, extent->length, extent->depth);
    printf(", \"present\": %s, \"zero\": %s, \"data\": %s",
           text_of(extent->kind != VHDX_EXTENT_HOLE), text_of(extent->kind != VHDX_EXTENT_DATA),
           text_of(extent->kind == VHDX_EXTENT_DATA));
    if (extent->kind == VHDX_EXTENT_DATA)
        printf(", \"offset\": %" PRIu64, extent->file_offset);
    putchar('}');
}

static void print_row(struct map_run *run, const struct vhdx_extent *extent)
{
    if (extent->kind != VHDX_EXTENT_DATA)
        return;
    if (!run->link.path || run->link.depth != extent->depth)
        if (!image_link(run->v, extent->depth, &run->link))
            run->link.path = NULL;
    printf("0x%-14" PRIx64 "0x%-14" PRIx64 "0x%-14" PRIx64, extent->offset, extent->length,
           extent->file_offset);
    print_text(stdout, run->link.path ? run->link.path : "");
    putchar('\n');
}

static int print_extent(const struct vhdx_extent *extent, void *opaque)
{
    struct map_run *run = opaque;

    if (run->json)
        print_json(run, extent);
    else
        print_row(run, extent);
    run->printed++;
    return ferror(stdout) ? STOPPED : 0;
}

/* A length that reaches past the end means up to the end, as it does for qemu-img. */
static int print_map(struct map_run *run)
{
    struct vhdx_error err;
    uint64_t left = vhdx_size(run->v) - run->start;

    if (!run->json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    int r = vhdx_extents(run->v, run->start, run->length < left ? run->length : left, print_extent,
                         run, &err);
    if (r < 0) {
        if (run->json && run->printed > 0)
            putchar('\n'); /* and no "]": what was printed must not pass for the whole */
        report_error(&err);
        report_error_hint(&err);
        return EXIT_FAILED;
    }
    if (r == 0 && run->json)
        printf("%s]\n", run->printed == 0 ? "[" : "");
    return EXIT_FINE; /* standard output is checked at the end of the program */
}

static bool take_option(int option, const char *arg, void *own)
{
    struct map_run *run = own;

    switch (option) {
    case OPTION_START:
        return size_parse_option("--start", arg, &run->start);
    case OPTION_LENGTH:
        return size_parse_option("--length", arg, &run->length);
    default: /* OPTION_OUTPUT */
        return options_parse_output(arg, &run->json);
    }
}

static int run_map(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct map_run run = { .length = UINT64_MAX };
    int exit_code;

    if (!options_parse(argc, argv, &verb_map, &common, &run, &exit_code))
        return exit_code;
    v = image_open(common.operands[0], VHDX_OPEN_RDONLY, &common);
    if (!v)
        return EXIT_FAILED;
    if (run.start > vhdx_size(v)) {
        report("%s: --start %" PRIu64 " is past the end of the disk (%" PRIu64 " bytes)",
               common.operands[0], run.start, vhdx_size(v));
        return EXIT_FAILED;
    }
    run.v = v;
    return print_map(&run);
}

static const struct option longs[] = {
    { "start", required_argument, NULL, OPTION_START },
    { "start-offset", required_argument, NULL, OPTION_START },
    { "length", required_argument, NULL, OPTION_LENGTH },
    { "max-length", required_argument, NULL, OPTION_LENGTH },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_map = {
    .name = "map",
    .operands = "FILE",
    .summary = "show which parts of the disk are stored, and where",
    .help =
        "Lists the extents of the disk: as a table those that are stored in a file of the chain,\n"
        "as JSON all of them, one a line, with qemu-img's keys.\n"
        "\n"
        "Options:\n"
        "      --start SIZE         begin there (also --start-offset)\n"
        "      --length SIZE        at most this much (also --max-length)\n"
        "      --output human|json  a table (default) or JSON\n",
    .shorts = "",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_map,
};
