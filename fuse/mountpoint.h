/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The folder that an image is mounted on: its absolute name, whether it can be used, what is
 * mounted there.
 */
#ifndef VHDX_FUSE_MOUNTPOINT_H
#define VHDX_FUSE_MOUNTPOINT_H

#include <stdbool.h>

#define MOUNTPOINT_TYPE "fuse.vhdx" /* of our mounts, in /proc/self/mountinfo */

enum mountpoint_state {
    MOUNTPOINT_FREE,  /* nothing is mounted there, as far as is known */
    MOUNTPOINT_OTHER, /* something that is not ours */
    MOUNTPOINT_OURS,
};

/* The absolute name of dir, without symbolic links, also if what is mounted there is dead. To be
   freed. NULL: errno tells why. */
char *mountpoint_resolve(const char *dir);

/* What is mounted at an absolute name. */
enum mountpoint_state mountpoint_look_up(const char *path);

/* Can something be mounted on dir: is it an empty folder? False: the reason was reported. */
bool mountpoint_check(const char *dir);

/* Unmounts path, which is absolute. False: the reason was reported, about name. */
bool mountpoint_unmount(const char *path, const char *name);

#endif /* VHDX_FUSE_MOUNTPOINT_H */
