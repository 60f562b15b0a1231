/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Reading the virtual disk. */
#ifndef CORE_READ_H
#define CORE_READ_H

#include "core/chain.h"

/*
 * Reads [offset, offset + len), which lies inside the disk. A block that the end of its file cuts
 * short reads as zeros from there; one that begins past it is VHDX_E_TRUNCATED.
 */
int chain_read(const struct chain *c, void *buf, size_t len, uint64_t offset,
               struct vhdx_error *err);

/* Reads one extent of kind DATA, as core/map gives it, or a part of one. */
int chain_read_extent(const struct chain *c, const struct vhdx_extent *extent, void *buf,
                      struct vhdx_error *err);

#endif
