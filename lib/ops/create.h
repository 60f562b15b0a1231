/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Creating images. */
#ifndef OPS_CREATE_H
#define OPS_CREATE_H

#include "core/handle.h"
#include "io/outfile.h"

struct create_plan;

int create_path(const char *path, const struct vhdx_create_options *opts, struct vhdx_error *err);

int create_io(const struct vhdx_io *io, const struct vhdx_create_options *opts,
              struct vhdx_error *err);

/* Opens the parent that the options name, to make a child of it. */
int create_open_parent(const struct vhdx_create_options *opts, struct vhdx **ret,
                       struct vhdx_error *err);

/* Writes a whole new image into an empty output that is to become path. parent: as opened by
   create_open_parent(), or NULL. */
int create_in_outfile(struct outfile *out, const char *path,
                      const struct vhdx_create_options *opts, const struct vhdx *parent,
                      struct vhdx_error *err);

/*
 * Space for the log, and for a BAT of the size that serves most disks, is set aside always: a disk
 * that fills up later must not keep what is in memory from being committed.
 */
int create_set_aside_tables(struct outfile *out, const struct create_plan *p,
                            struct vhdx_error *err);

/* What was written goes through the verifiers of what is read. io stays open. */
int create_verify(const struct vhdx_io *io, struct vhdx_error *err);

#endif
