/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert: what the command line asks for (convert-options.c), and writing it to each kind of
 * output (convert-target.c).
 */
#ifndef VHDX_CLI_CONVERT_RUN_H
#define VHDX_CLI_CONVERT_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include <vhdx.h>

#include "create-options.h"
#include "options.h"
#include "progress.h"
#include "source.h"

enum convert_place {
    CONVERT_TO_PATH,
    CONVERT_TO_STDOUT,
    CONVERT_TO_NBD,
    CONVERT_TO_DEVICE,  /* a block device */
    CONVERT_TO_FOREIGN, /* a file of a format of QEMU's */
};

/* Zeroed before, released with convert_run_free() after. */
struct convert_run {
    enum progress_mode progress_mode;
    uint32_t flags; /* VHDX_CONVERT_... */
    bool salvage, quiet;
    bool must_exist; /* -n: devices and servers are never created, files always */
    bool json, has_output; /* --output was given */
    const char *map_path;
    const char *input_format, *format_name; /* -f and -O, or NULL */
    char *list;                 /* all -o, joined; owned */
    const char *block_size, *preallocation; /* as given, or NULL */
    const char *checksum;
    uint32_t threads, sparse_size;
    struct create_request request; /* of a VHDX */
    const char *output;
    enum convert_place place;
    uint32_t format;            /* VHDX_FORMAT_..., or 0: foreign */
    const char *foreign;        /* QEMU's name of the format, or NULL */
};

void convert_run_free(struct convert_run *run);

/* Takes one of convert's options; the letters are in convert-options.c. */
bool convert_take_option(int option, const char *arg, void *own);

/* Settles place and format of the output, and finds what does not go together. False: the mistake
   was reported. */
bool convert_settle(struct convert_run *run, const struct common_options *common);

extern const struct option convert_longs[];

#define CONVERT_SHORTS "O:f:o:b:F:m:S:cnpqt:T:Wy"

/* Converts to the output. False with err->code 0: the reason was reported; else it is in *err. */
bool convert_write(struct source *from, const struct convert_run *run,
                   const struct common_options *common, struct vhdx_convert_result *ret,
                   struct vhdx_error *err);

#endif /* VHDX_CLI_CONVERT_RUN_H */
