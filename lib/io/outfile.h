/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * An output file that appears whole or not at all: written under a temporary name in the folder of
 * its final name, made stable, renamed.
 */
#ifndef IO_OUTFILE_H
#define IO_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/file.h"
#include "util/fail.h"

struct file_clone_range;
struct outfile;

/*
 * Begins an output of size bytes of zeros that is to become path. What stands at path, if anything,
 * must be a regular file, empty unless replace is set, and none of the forbidden ones: source (for
 * messages) and its parents. A symbolic link is followed: its target is replaced. Ends with
 * outfile_commit() or outfile_discard().
 */
int outfile_open(const char *path, uint64_t size, bool replace, const char *source,
                 const struct file_id *forbidden, size_t forbidden_count, struct outfile **ret,
                 struct vhdx_error *err);

/* Begins an output that never gets a name and is gone when it is discarded: in $TMPDIR, or in
   /var/tmp. */
int outfile_open_unnamed(struct outfile **ret, struct vhdx_error *err);

/* The output as a writable file. Close it before the output is committed or discarded. */
int outfile_io(struct outfile *o, struct vhdx_io *ret, struct vhdx_error *err);

/* Sets aside disk space for a range, so that writing there cannot fail for want of it. */
int outfile_allocate(struct outfile *o, uint64_t offset, uint64_t len, struct vhdx_error *err);

/* Whole or failed. Any thread may call. */
int outfile_pwrite(struct outfile *o, const void *buf, size_t len, uint64_t offset,
                   struct vhdx_error *err);

/* Shares a range of another file: a FICLONERANGE. -1 with errno set on failure. */
int outfile_clone(struct outfile *o, const struct file_clone_range *range);

/* The kernel copies a range of another file, which must not be the output: 0 with *ret_len, which
   may be less, 0 where it cannot; negative on failure. */
int outfile_copy_range(struct outfile *o, int fd, uint64_t from, size_t len, uint64_t offset,
                       size_t *ret_len, struct vhdx_error *err);

/* Of the file system, bytes, a power of two: what can be shared is made of blocks. */
uint64_t outfile_block_size(const struct outfile *o);

/* Whether it lies with a server that may copy by itself: NFS, SMB, Ceph. */
bool outfile_is_remote(const struct outfile *o);

/* Cuts the file off, or lets it grow by zeros. */
int outfile_truncate(struct outfile *o, uint64_t size, struct vhdx_error *err);

/* Writes zeros where the file has holes. */
int outfile_fill_holes(struct outfile *o, struct vhdx_error *err);

/* The descriptor, to read back what was written: the output's, until it is committed or
   discarded. */
int outfile_descriptor(const struct outfile *o);

/* Makes the content stable and gives the file its name. Ends o, also on failure. */
int outfile_commit(struct outfile *o, struct vhdx_error *err);

/* Removes what was written. NULL is fine. */
void outfile_discard(struct outfile *o);

#endif
