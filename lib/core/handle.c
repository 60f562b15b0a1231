/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The handle behind the public API; see handle.h. */

#include "core/handle.h"

#include <stdlib.h>

int handle_open(struct image *first, uint32_t flags, const struct vhdx_open_options *opts,
                struct vhdx **ret, struct vhdx_error *err)
{
    struct vhdx *v = calloc(1, sizeof *v);

    if (!v) {
        image_close(first);
        return fail_nomem(err);
    }
    int r = chain_open(&v->chain, first, flags, opts, err);
    if (r < 0) {
        handle_close(v);
        return r;
    }
    *ret = v;
    return 0;
}

void handle_close(struct vhdx *v)
{
    if (!v)
        return;
    chain_close(&v->chain);
    free(v);
}
