/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What a verb is: one constant table per cmd-*.c, which main.c lists and options.c parses by. A new
 * verb is a new file, one line here, one line in main.c and one in meson.build.
 */
#ifndef VHDX_CLI_VERB_H
#define VHDX_CLI_VERB_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#define EXIT_FINE 0
#define EXIT_FAILED 1

/* Values of long options without a letter begin here; below are the letters themselves. The common
   options (options.c) count from OPTION_COMMON, each verb's own from OPTION_OWN. */
#define OPTION_COMMON 256
#define OPTION_OWN 512

struct verb {
    const char *name;
    const char *alias;    /* another program's word for it, in any case, or NULL */
    const char *operands; /* "FILE OUT": for the usage line */
    const char *summary;  /* one line, for `vhdx --help` */
    const char *help;     /* description and own options, for `vhdx VERB --help` */

    const char *shorts;          /* own short options, as getopt wants them; they win over common
                                    ones */
    const struct option *longs;  /* own long options, up to an entry without a name */
    /* Takes one own option. False: it has reported what is wrong with arg. */
    bool (*take_option)(int option, const char *arg, void *own);

    size_t operands_min;
    size_t operands_max; /* 0: any number */

    int exit_error; /* the exit code of errors; 0: EXIT_FAILED */

    /* argv[0] is the program's name; returns the exit code. */
    int (*run)(int argc, char **argv);
};

/* The exit code when something goes wrong with a verb, or with none (NULL). */
static inline int verb_exit_error(const struct verb *verb)
{
    return verb && verb->exit_error ? verb->exit_error : EXIT_FAILED;
}

extern const struct verb verb_cat;
extern const struct verb verb_chain;
extern const struct verb verb_check;
extern const struct verb verb_compare;
extern const struct verb verb_convert;
extern const struct verb verb_create;
extern const struct verb verb_diff;
extern const struct verb verb_hash;
extern const struct verb verb_info;
extern const struct verb verb_map;
extern const struct verb verb_measure;
extern const struct verb verb_recover;
extern const struct verb verb_replay;
extern const struct verb verb_serve;
extern const struct verb verb_mount;
extern const struct verb verb_umount;

#endif /* VHDX_CLI_VERB_H */
