/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Mounting an open image and serving it until it is unmounted.
 */
#ifndef VHDX_FUSE_SERVE_H
#define VHDX_FUSE_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <vhdx.h>

#include "background.h"
#include "partitions.h"

struct mount_plan {
    const char *path;       /* of the image, as the user gave it */
    const char *dir;        /* absolute */
    bool writable;          /* v is open for writing */
    bool throw_away;        /* what is written need not outlive the mount */
    bool allow_other;       /* other users may look inside */
    const char *info;       /* content of info.json, or NULL for no such file */
    size_t info_len;
    struct timespec born;   /* when the image was changed last */
    struct background *background; /* ready_fd negative: stay in the foreground */
    /* Called when all files are there, from another thread but not at once with anything else that
       prints. What is printed later goes to the system's log if this runs in the background. */
    void (*on_ready)(const struct partition_table *table, void *opaque);
    void *opaque;
};

/* True in a build with libfuse3. */
bool mount_supported(void);

/*
 * Mounts v and serves it until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes, which unmount
 * it. What was written is stable then, and the image's log clean. Returns the exit code; problems
 * were reported.
 */
int mount_serve(struct vhdx *v, const struct mount_plan *plan);

#endif /* VHDX_FUSE_SERVE_H */
