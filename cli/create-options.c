/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The options of `vhdx create`. Whatever the spelling, they end in create_set(), which checks each
 * value by itself; what must fit together is the library's to check.
 */
#include "create-options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "report.h"
#include "scope.h"
#include "size.h"
#include "suggest.h"

#define MIB ((uint64_t)1 << 20)
#define BLOCK_SIZE_MAX (256 * MIB)
#define LOG_SIZE_MAX (1024 * MIB)

/* ---- One key -------------------------------------------------------------------------------- */

/* A word out of a list; its value is its place, counted from first. */
static bool take_word(const char *label, const char *value, const char *const *words,
                      uint32_t first, uint32_t *ret)
{
    char allowed[64] = "";
    size_t used = 0;

    for (uint32_t i = 0; words[i]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *ret = first + i;
            return true;
        }
        used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
                                 i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    report("%s: '%s' is not supported, must be %s", label, value, allowed);
    return false;
}

static bool take_subformat(struct create_request *r, const char *label, const char *value)
{
    static const char *const words[] = { "fixed", "dynamic", NULL };

    return take_word(label, value, words, VHDX_TYPE_FIXED, &r->create.type);
}

static bool take_preallocation(struct create_request *r, const char *label, const char *value)
{
    static const char *const words[] = { "off", "metadata", "falloc", "full", NULL };

    return take_word(label, value, words, VHDX_PREALLOCATION_OFF, &r->create.preallocation);
}

static bool take_size(struct create_request *r, const char *label, const char *value)
{
    if (!size_parse_option(label, value, &r->create.size))
        return false;
    r->size_given = true;
    return true;
}

static bool take_block_size(struct create_request *r, const char *label, const char *value)
{
    uint64_t size;

    if (!size_parse_option(label, value, &size))
        return false;
    if (size != 0 && (size < MIB || size > BLOCK_SIZE_MAX || (size & (size - 1)))) {
        report("%s: %s is out of range, must be a power of two from 1M to 256M", label, value);
        return false;
    }
    r->create.block_size = (uint32_t)size;
    return true;
}

static bool take_log_size(struct create_request *r, const char *label, const char *value)
{
    uint64_t size;

    if (!size_parse_option(label, value, &size))
        return false;
    if (size > LOG_SIZE_MAX || size % MIB != 0) {
        report("%s: %s is out of range, must be a multiple of 1M up to 1G", label, value);
        return false;
    }
    r->create.log_size = (uint32_t)size;
    return true;
}

static bool take_sector_size(const char *label, const char *value, uint32_t *ret)
{
    uint64_t size;

    if (!size_parse_option(label, value, &size))
        return false;
    if (size != 512 && size != 4096) {
        report("%s: %s is out of range, must be 512 or 4096", label, value);
        return false;
    }
    *ret = (uint32_t)size;
    return true;
}

static bool take_logical(struct create_request *r, const char *label, const char *value)
{
    return take_sector_size(label, value, &r->create.logical_sector_size);
}

static bool take_physical(struct create_request *r, const char *label, const char *value)
{
    return take_sector_size(label, value, &r->create.physical_sector_size);
}

static bool take_backing_file(struct create_request *r, const char *label, const char *value)
{
    if (*value == '\0') {
        report("%s: the parent's name is empty", label);
        return false;
    }
    free(r->parent);
    r->create.parent_path = r->parent = strdup(value);
    if (!r->parent)
        report("out of memory");
    return r->parent != NULL;
}

static bool take_backing_format(struct create_request *r, const char *label, const char *value)
{
    (void)r;
    if (strcmp(value, "vhdx") == 0)
        return true;
    report("%s: '%s' is not supported: the parent of a vhdx image is a vhdx image", label, value);
    return false;
}

static bool take_nothing(struct create_request *r, const char *label, const char *value)
{
    (void)r;
    (void)value;
    report_note("%s has no effect here", label);
    return true;
}

struct key {
    const char *name;
    const char *help;
    bool (*take)(struct create_request *r, const char *label, const char *value);
};

static const struct key keys[] = {
    { "block_size", "a power of two from 1M to 256M; default 2M", take_block_size },
    { "log_size", "a multiple of 1M up to 1G; default 1M", take_log_size },
    { "subformat", "dynamic (default) or fixed", take_subformat },
    { "logical_sector_size", "512 (default) or 4096; a child has its parent's", take_logical },
    { "physical_sector_size", "512 or 4096 (default); default of a child: its parent's",
      take_physical },
    { "preallocation", "off (default), metadata; fixed only: falloc, full", take_preallocation },
    { "size", "the same as SIZE", take_size },
    { "backing_file", "the same as -b", take_backing_file },
    { "backing_fmt", "the same as -F", take_backing_format },
    { "block_state_zero", "accepted, without effect", take_nothing },
    { "extent_size_hint", "accepted, without effect", take_nothing },
    { "nocow", "accepted, without effect", take_nothing },
};

#define KEYS_COUNT (sizeof(keys) / sizeof(keys[0]))

static bool unknown_key(const char *name)
{
    const char *nearest = NULL;
    size_t least = SUGGEST_WORD_MAX;

    for (size_t i = 0; i < KEYS_COUNT; i++) {
        size_t distance = suggest_distance(name, keys[i].name);
        if (suggest_is_near(name, keys[i].name) && (!nearest || distance < least)) {
            nearest = keys[i].name;
            least = distance;
        }
    }
    if (nearest)
        report("-o: there is no option '%s'; did you mean '%s'?", name, nearest);
    else
        report("-o: there is no option '%s'", name);
    report_hint("'vhdx create -o help' lists the options");
    return false;
}

bool create_set(struct create_request *request, const char *key, const char *label,
                const char *value)
{
    for (size_t i = 0; i < KEYS_COUNT; i++)
        if (strcmp(key, keys[i].name) == 0)
            return keys[i].take(request, label, value);
    return unknown_key(key);
}

bool create_set_size(struct create_request *request, const char *key, const char *label,
                     const char *value)
{
    char text[64];
    size_t len = strlen(value);

    if (len < 3 || len >= sizeof(text) || (value[len - 1] != 'B' && value[len - 1] != 'b') ||
        !strchr("kKmMgGtTpP", value[len - 2]))
        return create_set(request, key, label, value);
    memcpy(text, value, len - 1);
    text[len - 1] = '\0';
    return create_set(request, key, label, text);
}

void create_print_keys(void)
{
    printf("-o KEY=VALUE[,KEY=VALUE]... takes:\n");
    for (size_t i = 0; i < KEYS_COUNT; i++)
        printf("  %-21s %s\n", keys[i].name, keys[i].help);
}

/* ---- Lists of keys -------------------------------------------------------------------------- */

/* Ends the list's first item, in which ",," stands for a comma, and returns what is behind it;
   NULL if it is the last. */
static char *end_item(char *list)
{
    char *to = list;

    for (char *from = list;; from++) {
        if (*from == ',' && from[1] != ',') {
            *to = '\0';
            return from + 1;
        }
        if (*from == ',')
            from++;
        *to = *from;
        if (*to++ == '\0')
            return NULL;
    }
}

static bool take_item(struct create_request *request, char *item)
{
    char *value = strchr(item, '=');
    char label[64];

    if (strcmp(item, "help") == 0 || strcmp(item, "?") == 0) {
        request->help_wanted = true;
        return true;
    }
    if (value)
        *value++ = '\0';
    snprintf(label, sizeof(label), "-o %.48s", item);
    if (value)
        return create_set(request, item, label, value);
    for (size_t i = 0; i < KEYS_COUNT; i++) {
        if (strcmp(item, keys[i].name) != 0)
            continue;
        report("%s: a value is missing", label);
        report_hint("write %s=VALUE: %s", label, keys[i].help);
        return false;
    }
    return unknown_key(item);
}

bool create_take_list(struct create_request *request, const char *list)
{
    SCOPED_FREE char *copy = strdup(list);
    char *item = copy;

    if (!copy) {
        report("out of memory");
        return false;
    }
    while (item) {
        char *rest = end_item(item);
        if (!take_item(request, item))
            return false;
        item = rest;
    }
    return true;
}

void create_request_free(struct create_request *request)
{
    free(request->parent);
}

/* ---- PowerShell's words --------------------------------------------------------------------- */

struct word {
    const char *name;   /* without the dash */
    const char *option; /* the long option it stands for */
    bool has_value;
};

static const struct word words_of_powershell[] = {
    { "Path", "--path", true },
    { "SizeBytes", "--size-bytes", true },
    { "ParentPath", "--parent-path", true },
    { "BlockSizeBytes", "--block-size-bytes", true },
    { "LogicalSectorSizeBytes", "--logical-sector-size-bytes", true },
    { "PhysicalSectorSizeBytes", "--physical-sector-size-bytes", true },
    { "Dynamic", "--dynamic", false },
    { "Fixed", "--fixed", false },
    { "Differencing", "--differencing", false },
};

#define WORDS_COUNT (sizeof(words_of_powershell) / sizeof(words_of_powershell[0]))

/* The word that arg is, with or without ":value"; NULL if none. */
static const struct word *find_word(const char *arg)
{
    size_t len = strcspn(arg, ":");

    for (size_t i = 0; arg[0] == '-' && i < WORDS_COUNT; i++) {
        const struct word *w = &words_of_powershell[i];
        if (len == strlen(w->name) + 1 && strncasecmp(arg + 1, w->name, len - 1) == 0)
            return w;
    }
    return NULL;
}

/* Is arg meant to be one? Options of one letter with others behind it must not look like it. */
static bool is_mistyped_word(const char *arg)
{
    if (arg[0] != '-' || strlen(arg) < 5 || arg[1] < 'A' || arg[1] > 'Z')
        return false;
    for (size_t i = 0; i < WORDS_COUNT; i++) {
        if (!suggest_is_near(arg + 1, words_of_powershell[i].name))
            continue;
        report("'%s' is not an option; did you mean '-%s'?", arg, words_of_powershell[i].name);
        report_hint("'vhdx create --help' lists the options");
        return true;
    }
    return false;
}

/* The long option for arg, which is the word w, as a string of its own. */
static char *long_option(const struct word *w, const char *arg)
{
    const char *value = strchr(arg, ':');
    char *result;

    if (asprintf(&result, "%s%s%s", w->option, value ? "=" : "", value ? value + 1 : "") < 0)
        return NULL;
    return result;
}

bool create_words_init(struct create_words *words, int argc, char **argv)
{
    size_t owned = 0;
    bool options_end = false;

    words->argc = argc;
    words->argv = calloc((size_t)argc + 1, sizeof(*words->argv));
    words->owned = calloc((size_t)argc + 1, sizeof(*words->owned));
    if (!words->argv || !words->owned) {
        report("out of memory");
        return false;
    }
    for (int i = 0; i < argc; i++) {
        const struct word *w = i == 0 || options_end ? NULL : find_word(argv[i]);
        options_end |= strcmp(argv[i], "--") == 0;
        words->argv[i] = argv[i];
        if (!w && !options_end && i > 0 && is_mistyped_word(argv[i]))
            return false;
        if (!w)
            continue;
        words->argv[i] = words->owned[owned++] = long_option(w, argv[i]);
        if (!words->argv[i]) {
            report("out of memory");
            return false;
        }
        if (w->has_value && !strchr(argv[i], ':') && i + 1 < argc) {
            i++; /* whatever it looks like */
            words->argv[i] = argv[i];
        }
    }
    return true;
}

void create_words_free(struct create_words *words)
{
    for (size_t i = 0; words->owned && words->owned[i]; i++)
        free(words->owned[i]);
    free(words->owned);
    free(words->argv);
}
