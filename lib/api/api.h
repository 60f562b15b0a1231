/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What the files of the public entry points share: taking arguments of other versions. */
#ifndef API_H
#define API_H

#include <stdbool.h>

#include "util/fail.h"

/* VHDX_E_INVALID: the caller's mistake. */
int api_fail(struct vhdx_error *err, const char *what);

/*
 * Copies the caller's options, which may be of an older or a newer version or NULL, over ours, the
 * defaults. What a newer caller has that we do not know must not be asked for.
 */
int api_take_options(void *ours, size_t our_size, const void *theirs, struct vhdx_error *err);

/* The same for the options of opening, which are verified too. */
int api_take_open_options(struct vhdx_open_options *ours, const struct vhdx_open_options *theirs,
                          struct vhdx_error *err);

/* VHDX_E_INVALID if struct_size of the caller's result was not set: before anything is done. */
int api_verify_result(const void *theirs, struct vhdx_error *err);

/* Copies our result to the caller's struct as far as that goes. */
int api_give_result(void *theirs, const void *ours, size_t our_size, struct vhdx_error *err);

/* Copies the caller's file, which must have the calls that reading, or writing, needs. */
int api_take_io(const struct vhdx_io *io, bool writable, struct vhdx_io *ret,
                struct vhdx_error *err);

#endif
