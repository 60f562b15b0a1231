/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The I/O seam: everything above reads and writes files through struct vhdx_io, so that a test
 * harness or another container is just another implementation. These wrappers turn -errno into a
 * struct vhdx_error.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/fail.h"

/* Reads len bytes at offset; the caller knows that they lie inside the file. */
int io_pread(const struct vhdx_io *io, void *buf, size_t len, uint64_t offset,
             struct vhdx_error *err);

/* The current size of the file in bytes. */
int io_size(const struct vhdx_io *io, uint64_t *ret_size, struct vhdx_error *err);

/* Writes len bytes at offset; the file grows if it must. */
int io_pwrite(const struct vhdx_io *io, const void *buf, size_t len, uint64_t offset,
              struct vhdx_error *err);

/* Makes all completed calls stable. */
int io_flush(const struct vhdx_io *io, struct vhdx_error *err);

/* Sets the file's size; growth reads as zeros. */
int io_truncate(const struct vhdx_io *io, uint64_t size, struct vhdx_error *err);

/* Frees the space of a range inside the file, which then reads as zeros; what cannot be freed is
   written with zeros if must_zero is set, else left as it is. */
int io_discard(const struct vhdx_io *io, uint64_t offset, uint64_t len, bool must_zero,
               struct vhdx_error *err);

/* Makes a range inside the file zero without freeing its space. */
int io_zero(const struct vhdx_io *io, uint64_t offset, uint64_t len, struct vhdx_error *err);

/* Writes zeros. */
int io_write_zeros(const struct vhdx_io *io, uint64_t offset, uint64_t len,
                   struct vhdx_error *err);

/* Calls close, if there is one, and forgets the file. Harmless when repeated. */
void io_close(struct vhdx_io *io);

#endif
