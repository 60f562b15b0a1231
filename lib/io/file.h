/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Files of the operating system as struct vhdx_io. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "util/fail.h"

/* What makes two paths the same file. */
struct file_id {
    dev_t device;
    ino_t inode;
};

/*
 * Opens path, read-only or for writing too: a regular file or a block device, VHDX_E_INVALID for
 * anything else (without waiting for the other end of a pipe). Takes no lock: see file_lock().
 */
int file_open(const char *path, bool writable, struct vhdx_io *ret, struct vhdx_error *err);

/* The same over an open descriptor, which belongs to the file from now on, also after a failure. */
int file_adopt(int fd, bool writable, struct vhdx_io *ret, struct vhdx_error *err);

/*
 * Takes the lock of a reader, or of a writer if it was opened so (lock.h), on a file opened by
 * file_open(), held until it is closed. *ret_supported is false where the file system has no such
 * locks, which is no error.
 */
int file_lock(const struct vhdx_io *io, bool *ret_supported, struct vhdx_error *err);

/* Whether io was made by file_open(), and then which file it is. */
bool file_get_id(const struct vhdx_io *io, struct file_id *ret);

/* The descriptor of a file opened by file_open(), which keeps it; -1 for another. */
int file_descriptor(const struct vhdx_io *io);

/* Is it a block device, which keeps its size? For a file opened by file_open(). */
bool file_is_device(const struct vhdx_io *io);

/* Where the next byte at or after offset is that may be other than zero, for a file opened by
   file_open(): what lies before it is a hole. UINT64_MAX if only a hole is left; offset where
   the file system does not tell. */
uint64_t file_next_data(const struct vhdx_io *io, uint64_t offset);

/* The same for the next hole: the size of the file if there is none. */
uint64_t file_next_hole(const struct vhdx_io *io, uint64_t offset);

static inline bool file_id_equal(const struct file_id *a, const struct file_id *b)
{
    return a->device == b->device && a->inode == b->inode;
}

#endif
