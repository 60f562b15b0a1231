/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Opening what is converted, compared or measured, whatever it is: a VHDX, a raw file or block
 * device, a pipe or standard input, an NBD server's disk, or an image of a format that QEMU knows.
 */
#ifndef VHDX_CLI_SOURCE_H
#define VHDX_CLI_SOURCE_H

#include <stdbool.h>
#include <sys/stat.h>

#include <vhdx.h>

#include "options.h"
#include "progress.h"

struct qemu_server;

struct source_options {
    const char *format;   /* -f: raw, vhdx or a name of QEMU's; NULL: what the content looks like */
    unsigned connections; /* of NBD; 0: a few */
    const struct common_options *common;
};

struct source {
    struct vhdx_disk *disk;
    struct vhdx *image; /* or NULL: it is no VHDX */
    const char *name;   /* as given */
    struct vhdx_error err; /* of an image that could not be opened: for further hints */
    struct qemu_server *server; /* that is behind the disk, or NULL */
    int fd;             /* of a pipe, or 0 */
};

/* "-" is standard input. False: the reason was reported; *ret then holds nothing but err, whose
   code is 0 unless the operand was taken for a VHDX. */
bool source_open(const char *operand, const struct source_options *options, struct source *ret);

/* Zeroed is fine. */
void source_close(struct source *source);

#define SCOPED_SOURCE __attribute__((cleanup(source_close)))

/* Makes st, of what stands at path, describe the file behind a loop device instead. */
void source_stat_backing(const char *path, struct stat *st);

/* True when the file that st describes is one of those that the source is read from: its own, its
   parents', what a qcow2 is based on. It must not be written to then. */
bool source_has_file(const struct source *source, const struct stat *st);

/* Whether what stands at path, which st describes, may be replaced by what the source becomes.
   False: the reason was reported. source may be NULL. */
bool source_may_become(const struct source *source, const char *path, const struct stat *st,
                       bool replace);

/*
 * What comes through a pipe can be read once, and in order: reads it into a file without a name, as
 * which it has a size and any order. Nothing to do for other sources. False: reported; does not
 * return after a signal.
 */
bool source_spool(struct source *source, enum progress_mode mode);

#endif /* VHDX_CLI_SOURCE_H */
