/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing, zeroing and trimming the virtual disk. */
#ifndef CORE_WRITE_H
#define CORE_WRITE_H

#include "core/chain.h"

/*
 * Writes [offset, offset + len), which lies inside the disk, to the chain's first image. buf NULL:
 * zeros, which take no space where that is possible.
 */
int chain_write(const struct chain *c, const void *buf, uint64_t len, uint64_t offset,
                struct vhdx_error *err);

/* Frees the space of [offset, offset + len) as far as it is this image's; what is freed reads as
   zeros, also where the parent holds data. */
int chain_trim(const struct chain *c, uint64_t len, uint64_t offset, struct vhdx_error *err);

#endif
