/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A replayed log that is not written: what the active sequence would have changed in the file, held
 * in memory as a sorted list of segments and laid over every read. The file stays bit-identical.
 *
 * A data segment keeps the place of its sector in the log instead of the bytes: memory grows with
 * the number of descriptors, not with their data. Later descriptors hide earlier ones, so the
 * segments do not overlap. Immutable once built: any thread may read.
 */
#ifndef LOG_OVERLAY_H
#define LOG_OVERLAY_H

#include "io/io.h"
#include "log/scan.h"

struct overlay;

/*
 * Builds the overlay of a sequence that is not empty, after verifying every descriptor.
 * file_size: the file's real size; VHDX_E_TRUNCATED if the last entry says that it was larger.
 */
int overlay_build(struct log_ring *ring, const struct log_sequence *sequence, uint64_t file_size,
                  struct overlay **ret, struct vhdx_error *err);

/* NULL is fine. */
void overlay_free(struct overlay *o);

/* Size of the file after the replay: it grows to LastFileOffset and to what is written. */
uint64_t overlay_size(const struct overlay *o);

/* Reads from the file as it would be after the replay; the range lies inside overlay_size(). */
int overlay_pread(const struct overlay *o, const struct vhdx_io *io, void *buf, size_t len,
                  uint64_t offset, struct vhdx_error *err);

/* How many bytes of the file a replay writes, and how many it makes zero. */
void overlay_totals(const struct overlay *o, uint64_t *ret_written, uint64_t *ret_zeroed);

/*
 * Replays into the file: writes every segment, extends the file to overlay_size() and makes it
 * stable. The log stays as it is: interrupted, the replay is simply done again. Afterwards LogGuid
 * may be cleared.
 */
int overlay_apply(const struct overlay *o, const struct vhdx_io *io, struct vhdx_error *err);

#endif
