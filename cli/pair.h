/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Two disks that are compared, for the verbs compare and diff: the options that both have, opening,
 * and the comparison with its progress.
 */
#ifndef VHDX_CLI_PAIR_H
#define VHDX_CLI_PAIR_H

#include <stdbool.h>

#include "options.h"
#include "progress.h"
#include "source.h"

enum {
    PAIR_FORMAT = 'f',
    PAIR_SECOND_FORMAT = 'F',
    PAIR_THREADS = 'm',
    PAIR_PROGRESS = 'p',
    PAIR_QUIET = 'q',
    PAIR_OUTPUT = OPTION_OWN,
    PAIR_OPTION_END, /* the verb's own begin here */
};

#define PAIR_SHORTS "f:F:m:pq"

/* Rows of a struct option table. */
#define PAIR_LONGS                                                                                 \
    { "format", required_argument, NULL, PAIR_FORMAT },                                            \
    { "second-format", required_argument, NULL, PAIR_SECOND_FORMAT },                              \
    { "threads", required_argument, NULL, PAIR_THREADS },                                          \
    { "progress", no_argument, NULL, PAIR_PROGRESS },                                              \
    { "quiet", no_argument, NULL, PAIR_QUIET },                                                    \
    { "output", required_argument, NULL, PAIR_OUTPUT }

#define PAIR_HELP                                                                                  \
    "  -f, --format FMT         the format of A: raw, vhdx, or one that QEMU knows; default:\n"    \
    "                           what it looks like\n"                                             \
    "  -F, --second-format FMT  the same of B\n"                                                  \
    "  -m, --threads N          1 to 64; default: one for each processor, at most 8\n"            \
    "  -p, --progress           show progress even if standard error is no terminal\n"

struct pair_options {
    const char *formats[2];
    uint32_t threads;
    enum progress_mode progress_mode;
    bool quiet, json;
};

struct pair {
    struct source sources[2];
};

#define SCOPED_PAIR __attribute__((cleanup(pair_close)))

/* Takes one of the options above. False: the mistake was reported. */
bool pair_take_option(int option, const char *arg, struct pair_options *options);

/* Opens the two operands. False: the reason was reported. */
bool pair_open(const struct common_options *common, const struct pair_options *options,
               struct pair *ret);

/* Zeroed is fine. */
void pair_close(struct pair *pair);

/*
 * vhdx_compare() with more in options than threads and progress perhaps. Returns what that
 * returns; a failure was reported. After a signal it does not return: the program ends by it.
 */
int pair_compare(struct pair *pair, const struct pair_options *own,
                 struct vhdx_compare_options *options, struct vhdx_compare_result *ret);

#endif /* VHDX_CLI_PAIR_H */
