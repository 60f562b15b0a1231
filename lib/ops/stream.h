/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Streaming the whole virtual disk of a damaged image, in order. */
#ifndef OPS_STREAM_H
#define OPS_STREAM_H

#include "core/chain.h"

/*
 * Calls fn for each piece of the disk, from the start to the end. buf holds the piece's bytes, or
 * is NULL for a piece that is known to be zero, which was not read and may be of any length. Pieces
 * with bytes are at most 1 MiB, parts of an extent of kind DATA; read() supplies them. A negative
 * return of either, and a progress callback that says so, end the walk.
 */
int stream_disk(const struct chain *c, const struct vhdx_progress *progress,
                int (*read)(const struct chain *c, const struct vhdx_extent *piece, void *buf,
                            void *opaque, struct vhdx_error *err),
                int (*fn)(const uint8_t *buf, uint64_t len, uint64_t offset, void *opaque,
                          struct vhdx_error *err),
                void *opaque, struct vhdx_error *err);

#endif
