/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The I/O seam: everything above reads and writes files through struct vhdx_io, so that a test
 * harness or another container is just another implementation. These wrappers turn -errno into a
 * struct vhdx_error.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stddef.h>
#include <stdint.h>

#include "util/fail.h"

/* Reads len bytes at offset; the caller knows that they lie inside the file. */
int io_pread(const struct vhdx_io *io, void *buf, size_t len, uint64_t offset,
             struct vhdx_error *err);

/* The current size of the file in bytes. */
int io_size(const struct vhdx_io *io, uint64_t *ret_size, struct vhdx_error *err);

/* Calls close, if there is one, and forgets the file. Harmless when repeated. */
void io_close(struct vhdx_io *io);

#endif
