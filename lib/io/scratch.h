/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A rehearsal: a file whose changes stay in memory, over another one that is never written to. What
 * a repair would do can be done on it, looked at, and forgotten.
 */
#ifndef IO_SCRATCH_H
#define IO_SCRATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "util/fail.h"

/*
 * Begins as what below holds now. below is borrowed, read only, and must neither change nor be
 * closed before the scratch file is; it may be read-only. All calls are there: flush does nothing,
 * zero and discard are alike and never -EOPNOTSUPP. Bytes written cost about their size in memory,
 * zeros of any length next to nothing; -ENOMEM beyond 1 GiB, -EFBIG for growth beyond 256 TiB. A
 * failed pwrite may have written a part, any other call that fails has done nothing. Any thread may
 * call; readers do not wait for one another.
 */
int scratch_open(const struct vhdx_io *below, struct vhdx_io *ret, struct vhdx_error *err);

/* The same with a bound of its own on the memory, in bytes. */
int scratch_open_bounded(const struct vhdx_io *below, uint64_t memory, struct vhdx_io *ret,
                         struct vhdx_error *err);

/* Has anything been changed, even if to what it was before? scratch, here and below: a file made
   by scratch_open(). */
bool scratch_is_changed(const struct vhdx_io *scratch);

/* Bytes of the file, as long as it is now, that a change has touched. What was only cut off does
   not count. */
uint64_t scratch_changed_bytes(const struct vhdx_io *scratch);

/* As file_next_data(), for any file: a rehearsal knows where it was zeroed and where it has grown,
   however far; of the rest, and of other files, nothing is known, which gives offset. */
uint64_t scratch_next_data(const struct vhdx_io *io, uint64_t offset);

/*
 * Calls fn for each changed range in order: length bytes at offset of the file as it is now, not
 * overlapping, neighbours of one kind joined. zero: it was zeroed or is new space; else it was
 * written. A return other than 0 ends the walk and becomes the return value. fn may read the
 * scratch file but not change it. A cut shows in the file's size only.
 */
int scratch_changes(const struct vhdx_io *scratch,
                    int (*fn)(uint64_t offset, uint64_t length, bool zero, void *opaque),
                    void *opaque);

#endif
