/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The operations of a mounted image, as the kernel asks for them. No other header knows libfuse.
 */
#ifndef VHDX_FUSE_OPERATIONS_H
#define VHDX_FUSE_OPERATIONS_H

#define FUSE_USE_VERSION 35

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <fuse_lowlevel.h>

#include <vhdx.h>

#include "tree.h"

/* What all operations work on: the user data of the session. */
struct mount {
    struct vhdx *v;
    struct tree tree;
    bool throw_away;          /* fsync and O_SYNC promise nothing */
    bool has_parents;
    pthread_key_t buffer;     /* each thread's own, for reading: struct read_buffer */
    atomic_bool in_background; /* problems go to the system's log */
    _Atomic(int64_t) reported_seconds; /* when the last problem was reported */
};

extern const struct fuse_lowlevel_ops mount_operations;

/* Makes and ends mount->buffer. False: out of memory. */
bool mount_buffers_init(struct mount *mount);
void mount_buffers_destroy(struct mount *mount);

/* Reports a problem on standard error or in the system's log, one line; of a flood, one line a
   second. */
void mount_report(struct mount *mount, const struct vhdx_error *err);

/* The errno value that tells a client best what the library could not do. */
int mount_errno(const struct vhdx_error *err);

#endif /* VHDX_FUSE_OPERATIONS_H */
