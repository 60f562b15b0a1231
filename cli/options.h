/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The options that all verbs share, the parsing of any verb's command line, and the help made of
 * both.
 */
#ifndef VHDX_CLI_OPTIONS_H
#define VHDX_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#include "verb.h"

/* How to open images, and the operands. Zeroed before, released with options_free() after. */
struct common_options {
    uint32_t open_flags; /* VHDX_OPEN_... */
    const char **parents;
    size_t parents_count;
    const char **search_dirs;
    size_t search_dirs_count;
    struct vhdx_path_map *path_maps;
    size_t path_maps_count;
    char **operands; /* within argv */
    size_t operands_count;
};

#define SCOPED_OPTIONS __attribute__((cleanup(options_free)))

/*
 * Parses a verb's command line into *common and, through verb->take_option, into own. True: go on.
 * False: the command ends here with *ret_exit, because help was asked for and printed or because of
 * a mistake, which was reported.
 */
bool options_parse(int argc, char **argv, const struct verb *verb, struct common_options *common,
                   void *own, int *ret_exit);

void options_free(struct common_options *common);

/* The argument of --output: human or json. Reports the mistake. */
bool options_parse_output(const char *arg, bool *ret_json);

/* Prints what `vhdx VERB --help` says. */
void options_print_help(const struct verb *verb);

#endif /* VHDX_CLI_OPTIONS_H */
