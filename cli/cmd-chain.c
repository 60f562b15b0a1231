/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx chain: an image and its parents, drawn as a tree that grows from the image towards the base:
 *
 *     0: child.avhdx
 *        ...facts...
 *        `- 1: parent.avhdx (found by its relative path)
 *              ...facts...
 *              `- 2: base.vhdx (given with --parent)
 *                    ...facts...
 */
#include <inttypes.h>
#include <stdio.h>

#include "chain.h"
#include "json.h"
#include "opening.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "scope.h"
#include "verb.h"
#include "words.h"

#define INDENT_FIRST 3      /* below "0: " */
#define INDENT_PER_LINK 6   /* below "`- 1: " */
#define INDENT_LINKS_MAX 10 /* deeper links no longer move to the right */

enum { OPTION_OUTPUT = OPTION_OWN };

bool chain_link_is_open(const struct vhdx_link *link)
{
    return link->data_write_guid[0] != '\0';
}

bool chain_is_whole(struct vhdx *v)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_link last;

    return vhdx_get_info(v, &info, NULL) == 0 && image_link(v, info.chain_length - 1, &last) &&
           last.type != VHDX_TYPE_DIFFERENCING;
}

/* Begins a line below the link. */
static void begin_line(unsigned indent, const char *name)
{
    printf("%*s%s", (int)indent, "", name);
}

static void print_line(unsigned indent, const char *name, const char *text)
{
    begin_line(indent, name);
    print_text(stdout, text);
    putchar('\n');
}

static void print_facts(unsigned indent, const struct vhdx_link *link)
{
    char virtual_size[HUMAN_SIZE_TEXT], file_size[HUMAN_SIZE_TEXT], block_size[HUMAN_SIZE_TEXT];

    begin_line(indent, "");
    printf("%s, virtual size %s, file size %s, block size %s, sector size %" PRIu32 ", log %s\n",
           word_of_type(link->type), human_size(link->virtual_size, virtual_size),
           human_size(link->file_size, file_size), human_size(link->block_size, block_size),
           link->logical_sector_size, word_of_log_state(link->log_state));
    print_line(indent, "data write guid: ", link->data_write_guid);
}

static void print_link(const char *path, const struct vhdx_link *link)
{
    unsigned links = link->depth < INDENT_LINKS_MAX ? link->depth : INDENT_LINKS_MAX;
    unsigned indent = INDENT_FIRST + links * INDENT_PER_LINK;

    if (link->depth == 0) {
        printf("0: ");
        print_text(stdout, link->path ? link->path : path);
        putchar('\n');
    } else {
        begin_line(indent - INDENT_PER_LINK, "`- ");
        printf("%" PRIu32 ": ", link->depth);
        print_text(stdout, link->path ? link->path : "no file");
        printf(" (%s)\n", phrase_of_found_by(link->found_by));
    }
    print_line(indent, "status: ", word_of_link_status(link->status));
    if (link->problem)
        print_line(indent, "problem: ", link->problem);
    if (link->depth > 0 && link->wanted_guid[0] != '\0')
        print_line(indent, "wanted guid: ", link->wanted_guid);
    if (chain_link_is_open(link))
        print_facts(indent, link);
    if (link->status != VHDX_LINK_OK)
        for (size_t i = 0; i < link->steps_count; i++)
            print_line(indent, "tried: ", link->steps[i]);
}

static void print_chain(struct vhdx *v, const char *path)
{
    struct vhdx_link link;

    for (uint32_t depth = 0; image_link(v, depth, &link); depth++)
        print_link(path, &link);
}

static void report_not_whole(struct vhdx *v, const char *path, uint32_t open_flags)
{
    struct vhdx_link link;
    struct vhdx_error err = { .code = VHDX_OK };

    if (open_flags & VHDX_OPEN_NO_PARENT) {
        report("%s: the chain is not whole: no parent was looked for (--no-parent)", path);
        return;
    }
    report("%s: the chain is not whole", path);
    for (uint32_t depth = 1; image_link(v, depth, &link); depth++) {
        if (link.status == VHDX_LINK_MISSING)
            err.code = VHDX_E_PARENT_MISSING;
        else if (link.status == VHDX_LINK_MISMATCH)
            err.code = VHDX_E_PARENT_MISMATCH;
    }
    report_error_hint(&err);
}

static bool take_option(int option, const char *arg, void *own)
{
    (void)option; /* there is one */
    return options_parse_output(arg, own);
}

static int run_chain(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *v = NULL;
    bool json = false;
    int exit_code;

    if (!options_parse(argc, argv, &verb_chain, &common, &json, &exit_code))
        return exit_code;
    const char *path = common.operands[0];
    v = image_open(path, VHDX_OPEN_PARTIAL_CHAIN, &common);
    if (!v)
        return EXIT_FAILED;
    if (json) {
        struct json_object *object = chain_to_json(v, path);
        json_print(object);
        json_free(object);
    } else {
        print_chain(v, path);
    }
    if (chain_is_whole(v))
        return EXIT_FINE;
    report_not_whole(v, path, common.open_flags);
    return EXIT_FAILED;
}

static const struct option longs[] = {
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_chain = {
    .name = "chain",
    .operands = "FILE",
    .summary = "show an image's chain of parents and what is wrong with it",
    .help =
        "Shows the image and its parents, how each was found, and for one that is missing or does\n"
        "not match, everything that was tried. Exits with 1 when the chain is not whole.\n"
        "\n"
        "Options:\n"
        "      --output human|json  a tree for people (default) or JSON\n",
    .shorts = "",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_chain,
};
