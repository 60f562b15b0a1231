/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Command lines. getopt_long does the work, so that --opt=value, unambiguous prefixes, options
 * after operands and "--" behave as everywhere else.
 */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "report.h"
#include "scope.h"

enum {
    OPTION_PARENT = OPTION_COMMON,
    OPTION_SEARCH_DIR,
    OPTION_MAP_PATH,
    OPTION_NO_PARENT,
    OPTION_ANY_PARENT,
    OPTION_FORMAT,
};

static const char common_shorts[] = "hUf:";

static const struct option common_longs[] = {
    { "parent", required_argument, NULL, OPTION_PARENT },
    { "search-dir", required_argument, NULL, OPTION_SEARCH_DIR },
    { "map-path", required_argument, NULL, OPTION_MAP_PATH },
    { "no-parent", no_argument, NULL, OPTION_NO_PARENT },
    { "any-parent", no_argument, NULL, OPTION_ANY_PARENT },
    { "force-share", no_argument, NULL, 'U' },
    { "format", required_argument, NULL, OPTION_FORMAT },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static const char common_help[] =
    "Options of all verbs:\n"
    "      --parent FILE        take FILE as a parent if its GUID is right (repeatable)\n"
    "      --search-dir DIR     look for parents in DIR too, by name and by GUID (repeatable)\n"
    "      --map-path WIN=DIR   the Windows folder WIN is here DIR, as in 'C:\\VMs=/mnt/vms'\n"
    "                           (repeatable; the first '=' separates)\n"
    "      --no-parent          read a differencing image alone: what its parent would supply\n"
    "                           reads as zeros\n"
    "      --any-parent         accept a parent whose GUID does not match\n"
    "  -U, --force-share        take no lock: the image may be in use, and change while read\n";

static const char format_help[] =
    "  %s --format vhdx        accepted for qemu-img's sake\n";

static const char help_help[] =
    "  -h, --help               this text\n";

#define OPTIONS_MAX 64 /* long options of a verb, the common ones included */
#define SHORTS_MAX 64

/* What getopt_long gets: the verb's own options and the common ones. */
struct grammar {
    struct option longs[OPTIONS_MAX];
    char shorts[SHORTS_MAX];
};

static void grammar_init(struct grammar *grammar, const struct verb *verb)
{
    size_t count = 0;

    memset(grammar, 0, sizeof(*grammar));
    for (const struct option *o = verb->longs; o->name && count + 1 < OPTIONS_MAX; o++)
        grammar->longs[count++] = *o;
    for (const struct option *o = common_longs; o->name && count + 1 < OPTIONS_MAX; o++)
        grammar->longs[count++] = *o;
    snprintf(grammar->shorts, sizeof(grammar->shorts), "%s%s", verb->shorts, common_shorts);
}

/* Splits arg, which lies in argv and is ours to change, at its first '='. */
static bool take_path_map(struct common_options *common, char *arg)
{
    char *separator = strchr(arg, '=');

    if (!separator || separator == arg || separator[1] == '\0') {
        report("--map-path: '%s' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER", arg);
        report_hint("for example --map-path 'C:\\VMs=/mnt/vms'");
        return false;
    }
    *separator = '\0';
    common->path_maps[common->path_maps_count++] =
        (struct vhdx_path_map){ .windows = arg, .local = separator + 1 };
    return true;
}

static bool take_format(const char *arg)
{
    if (strcmp(arg, "vhdx") == 0)
        return true;
    report("--format: '%s' is not supported: there is vhdx only", arg);
    return false;
}

/* Takes one of common_longs, 'h' excepted. */
static bool take_common_option(struct common_options *common, int option, char *arg)
{
    switch (option) {
    case OPTION_PARENT:
        common->parents[common->parents_count++] = arg;
        return true;
    case OPTION_SEARCH_DIR:
        common->search_dirs[common->search_dirs_count++] = arg;
        return true;
    case OPTION_MAP_PATH:
        return take_path_map(common, arg);
    case OPTION_NO_PARENT:
        common->open_flags |= VHDX_OPEN_NO_PARENT;
        return true;
    case OPTION_ANY_PARENT:
        common->open_flags |= VHDX_OPEN_ANY_PARENT;
        return true;
    case 'U':
        common->open_flags |= VHDX_OPEN_NO_LOCK;
        return true;
    case 'f':
    case OPTION_FORMAT:
        return take_format(arg);
    default:
        return false;
    }
}

/* A verb may take a common letter for itself: its letters come first in the grammar. */
static bool is_own_letter(const struct verb *verb, int letter)
{
    return strchr(verb->shorts, letter) != NULL;
}

static bool has_own_format(const struct verb *verb)
{
    for (const struct option *o = verb->longs; o->name; o++)
        if (strcmp(o->name, "format") == 0)
            return true;
    return false;
}

static bool is_common_option(const struct verb *verb, int option)
{
    if (option == 'U' || option == 'f')
        return !is_own_letter(verb, option);
    return option >= OPTION_COMMON && option < OPTION_OWN;
}

/* argc bounds how often any option can be given: no list ever has to grow. */
static bool allocate_lists(struct common_options *common, int argc)
{
    common->parents = calloc((size_t)argc, sizeof(*common->parents));
    common->search_dirs = calloc((size_t)argc, sizeof(*common->search_dirs));
    common->path_maps = calloc((size_t)argc, sizeof(*common->path_maps));
    if (common->parents && common->search_dirs && common->path_maps)
        return true;
    report("out of memory");
    return false;
}

void options_free(struct common_options *common)
{
    free(common->parents);
    free(common->search_dirs);
    free(common->path_maps);
}

static bool check_operands(const struct verb *verb, size_t count)
{
    if (count >= verb->operands_min && (verb->operands_max == 0 || count <= verb->operands_max))
        return true;
    report("%s: %s", verb->name,
           count < verb->operands_min ? "a file name is missing" : "too many file names");
    report_hint("usage: vhdx %s [OPTION]... %s", verb->name, verb->operands);
    return false;
}

bool options_parse(int argc, char **argv, const struct verb *verb, struct common_options *common,
                   void *own, int *ret_exit)
{
    struct grammar grammar;
    int option;

    grammar_init(&grammar, verb);
    *ret_exit = verb_exit_error(verb);
    if (!allocate_lists(common, argc))
        return false;
    while ((option = getopt_long(argc, argv, grammar.shorts, grammar.longs, NULL)) != -1) {
        if (option == 'h') {
            options_print_help(verb);
            *ret_exit = EXIT_FINE;
            return false;
        }
        if (option == '?') { /* getopt_long has said why */
            report_hint("'vhdx %s --help' lists the options", verb->name);
            return false;
        }
        if (!(is_common_option(verb, option) ? take_common_option(common, option, optarg)
                                       : verb->take_option(option, optarg, own)))
            return false;
    }
    common->operands = argv + optind;
    common->operands_count = (size_t)(argc - optind);
    return check_operands(verb, common->operands_count);
}

bool options_parse_output(const char *arg, bool *ret_json)
{
    bool json = strcmp(arg, "json") == 0;

    if (!json && strcmp(arg, "human") != 0) {
        report("--output: '%s' is neither human nor json", arg);
        return false;
    }
    if (json && !json_supported()) {
        report("--output=json: this vhdx was built without JSON support (json-c)");
        return false;
    }
    *ret_json = json;
    return true;
}

void options_print_help(const struct verb *verb)
{
    printf("Usage: vhdx %s [OPTION]... %s\n", verb->name, verb->operands);
    if (verb->alias)
        printf("       vhdx %s is the same\n", verb->alias);
    printf("\n%s\n", verb->help);
    fputs(common_help, stdout);
    if (!has_own_format(verb))
        printf(format_help, is_own_letter(verb, 'f') ? "   " : "-f,");
    fputs(help_help, stdout);
}
