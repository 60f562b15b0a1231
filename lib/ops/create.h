/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Creating images. */
#ifndef OPS_CREATE_H
#define OPS_CREATE_H

#include "core/handle.h"

int create_path(const char *path, const struct vhdx_create_options *opts, struct vhdx_error *err);

int create_io(const struct vhdx_io *io, const struct vhdx_create_options *opts,
              struct vhdx_error *err);

#endif
