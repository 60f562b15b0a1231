/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx info: all that is known of images. An image whose parent is not there, or that is cut off,
 * is still described: this is the verb that people turn to when another one has failed.
 */
#include <stdio.h>
#include <string.h>

#include "info.h"
#include "json.h"
#include "opening.h"
#include "options.h"
#include "scope.h"
#include "verb.h"

enum { OPTION_OUTPUT = OPTION_OWN, OPTION_STATS, OPTION_BACKING_CHAIN };

struct info_run {
    const struct common_options *common;
    bool json, stats, backing_chain;
    bool failed;
    bool printed_any;
    struct json_object *list; /* with json: all images so far */
};

static void show(struct info_run *run, struct vhdx *v, const char *path)
{
    struct vhdx_error err;
    struct info_facts facts;

    memset(&facts, 0, sizeof(facts));
    facts.path = path;
    facts.stats_wanted = run->stats;
    facts.parent_ignored = (run->common->open_flags & VHDX_OPEN_NO_PARENT) != 0;
    if (!info_gather(v, &facts, &err)) {
        run->failed = true;
        return;
    }
    if (run->stats && facts.stats_problem)
        run->failed = true;
    if (run->json) {
        json_append(run->list, info_to_json(&facts));
        return;
    }
    if (run->printed_any)
        putchar('\n');
    run->printed_any = true;
    info_print_text(&facts);
}

/* Each parent is opened by itself: it then is the image in question, not a link of a chain. */
static void show_parents(struct info_run *run, struct vhdx *v)
{
    struct vhdx_link link;

    for (uint32_t depth = 1; image_link(v, depth, &link); depth++) {
        SCOPED_IMAGE struct vhdx *parent = NULL;

        if (!link.path || link.data_write_guid[0] == '\0') /* not open */
            return;
        parent = image_open(link.path, VHDX_OPEN_PARTIAL_CHAIN, run->common);
        if (!parent) {
            run->failed = true;
            return;
        }
        show(run, parent, link.path);
    }
}

static void show_file(struct info_run *run, const char *path)
{
    SCOPED_IMAGE struct vhdx *v = image_open(path, VHDX_OPEN_PARTIAL_CHAIN, run->common);

    if (!v) {
        run->failed = true;
        return;
    }
    show(run, v, path);
    if (run->backing_chain)
        show_parents(run, v);
}

static bool take_option(int option, const char *arg, void *own)
{
    struct info_run *run = own;

    switch (option) {
    case OPTION_OUTPUT:
        return options_parse_output(arg, &run->json);
    case OPTION_STATS:
        run->stats = true;
        return true;
    default: /* OPTION_BACKING_CHAIN */
        run->backing_chain = true;
        return true;
    }
}

static int run_info(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    struct info_run run = { .common = &common };
    int exit_code;

    if (!options_parse(argc, argv, &verb_info, &common, &run, &exit_code))
        return exit_code;
    if (run.json)
        run.list = json_new_array();
    for (size_t i = 0; i < common.operands_count; i++)
        show_file(&run, common.operands[i]);
    if (run.json) {
        bool one = common.operands_count == 1 && !run.backing_chain;
        struct json_object *printed = one ? json_first(run.list) : run.list;
        if (printed)
            json_print(printed);
        json_free(run.list);
    }
    return run.failed ? EXIT_FAILED : EXIT_FINE;
}

static const struct option longs[] = {
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "stats", no_argument, NULL, OPTION_STATS },
    { "backing-chain", no_argument, NULL, OPTION_BACKING_CHAIN },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_info = {
    .name = "info",
    .alias = "get",
    .operands = "FILE...",
    .summary = "show everything that is known of images",
    .help =
        "Shows the type, sizes, identifiers, headers, log, regions and parent of images. An image\n"
        "whose parent is missing is described all the same.\n"
        "\n"
        "Options:\n"
        "      --output human|json  text for people (default) or JSON with qemu-img's keys\n"
        "      --stats              count the image's own blocks by state (reads the whole BAT)\n"
        "      --backing-chain      show the parents too, each as an image of its own\n",
    .shorts = "",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .run = run_info,
};
