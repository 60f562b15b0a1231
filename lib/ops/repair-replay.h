/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Replaying a dirty log into the file. */
#ifndef OPS_REPAIR_REPLAY_H
#define OPS_REPAIR_REPLAY_H

#include <vhdx.h>

/* vhdx_replay(). */
int repair_replay(const char *path, uint32_t flags, struct vhdx_replay_result *ret,
                struct vhdx_error *err);

/* The same for the file io, which the caller has locked. */
int repair_replay_io(const struct vhdx_io *io, uint32_t flags, struct vhdx_replay_result *ret,
                     struct vhdx_error *err);

#endif
