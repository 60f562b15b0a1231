/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What `vhdx create` is told: qemu-img's -o KEY=VALUE,..., and the words of PowerShell's New-VHD.
 */
#ifndef VHDX_CLI_CREATE_OPTIONS_H
#define VHDX_CLI_CREATE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

/* Zeroed before, released with create_request_free() after. In create, 0 means that nothing was
   said. */
struct create_request {
    struct vhdx_create_options create;
    const char *path; /* -Path, or NULL */
    char *parent;     /* what create.parent_path points to; owned */
    bool size_given;
    bool help_wanted; /* -o help */
};

/* Sets one key. label is what the user wrote, for messages: "-o block_size", "-BlockSizeBytes".
   False: the mistake was reported. */
bool create_set(struct create_request *request, const char *key, const char *label,
                const char *value);

/* The same for a size in PowerShell's words, where 32M may be written 32MB. */
bool create_set_size(struct create_request *request, const char *key, const char *label,
                     const char *value);

/* Takes the argument of one -o. False: the mistake was reported. */
bool create_take_list(struct create_request *request, const char *list);

void create_request_free(struct create_request *request);

/* Prints what -o takes. */
void create_print_keys(void);

/* A command line in which PowerShell's words have become long options. */
struct create_words {
    char **argv; /* argc of them and a NULL */
    int argc;
    char **owned; /* those that were made anew, up to a NULL */
};

/* Zeroed before, released with create_words_free() after. False: the mistake was reported. */
bool create_words_init(struct create_words *words, int argc, char **argv);

void create_words_free(struct create_words *words);

#endif /* VHDX_CLI_CREATE_OPTIONS_H */
