/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The one question that `vhdx umount` has for the program behind a mount: who are you? By the
 * answer it can wait for that program's end, after which the image is closed and unlocked.
 */
#ifndef VHDX_FUSE_ASK_H
#define VHDX_FUSE_ASK_H

#include <stdint.h>
#include <sys/ioctl.h>

/* ioctl() on the folder of the mount: stores the process number. */
#define MOUNT_ASK_PID _IOR('V', 1, int32_t)

#endif /* VHDX_FUSE_ASK_H */
