/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running QEMU's programs: qemu-nbd as a child of ours, on a socket that nobody else can reach,
 * with NBD in between; and others to their end.
 */
#ifndef VHDX_CLI_QEMU_H
#define VHDX_CLI_QEMU_H

#include <stdbool.h>
#include <sys/stat.h>

#include <vhdx.h>

/* How to run qemu-nbd on an image. */
struct qemu_image {
    const char *path;
    const char *name;     /* for messages */
    const char *format;
    bool writable;
    bool force_share;     /* take no lock */
    unsigned connections; /* 0: a few */
};

struct qemu_server;

/*
 * Starts qemu-nbd and connects, for reading to *ret_disk or, if that is NULL, for writing to
 * *ret_io. False: the reason was reported.
 */
bool qemu_start(const struct qemu_image *image, struct qemu_server **ret,
                struct vhdx_disk **ret_disk, struct vhdx_io *ret_io);

/* Ends qemu-nbd, all connections being closed. False if it did not end well; which is reported
   unless name is NULL. NULL is fine. */
bool qemu_end(struct qemu_server *server, const char *name);

/* True when the process had that file open when it began to serve. */
bool qemu_has_file(const struct qemu_server *server, const struct stat *st);

/* Runs a program of QEMU's to its end. False: the reason, or what it said, was reported. */
bool qemu_run(char **argv, const char *name);

#endif /* VHDX_CLI_QEMU_H */
