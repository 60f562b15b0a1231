/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The handle behind the public API. */
#ifndef CORE_HANDLE_H
#define CORE_HANDLE_H

#include "core/chain.h"

struct vhdx {
    struct chain chain;
};

/* first belongs to the handle from now on, also after a failure. */
int handle_open(struct image *first, uint32_t flags, const struct vhdx_open_options *opts,
                struct vhdx **ret, struct vhdx_error *err);

/* The same with a layer over the files of the parents. */
int handle_open_layered(struct image *first, const struct image_layer *layer, uint32_t flags,
                        const struct vhdx_open_options *opts, struct vhdx **ret,
                        struct vhdx_error *err);

/* Makes changes stable; nothing to do for a read-only handle. */
int handle_flush(struct vhdx *v, struct vhdx_error *err);

/* Ends the session of changes. */
int handle_finish(struct vhdx *v, struct vhdx_error *err);

/* NULL is fine. */
void handle_close(struct vhdx *v);

#endif
