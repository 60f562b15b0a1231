/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file on a failing disk: what cannot be read is zeros, and remembered. */
#ifndef IO_TOLERANT_H
#define IO_TOLERANT_H

#include "io/ranges.h"
#include "util/fail.h"

/*
 * Reads of *ret fail only for want of memory: sectors of 512 bytes that cannot be read read as
 * zeros. It takes no changes. below is borrowed; tolerant_adopt() closes it with *ret, and also
 * when it fails. Any thread may call.
 */
int tolerant_open(const struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err);
int tolerant_adopt(struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err);

/* Whether a file was made by one of these. */
bool tolerant_is(const struct vhdx_io *io);

/* The first part of [start, end) that could not be read so far; false if all of it could. */
bool tolerant_next_bad(const struct vhdx_io *tolerant, uint64_t start, uint64_t end,
                       struct range *ret);

#endif
