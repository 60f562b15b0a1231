/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The handle behind the public API; see handle.h. */

#include "core/handle.h"

#include <stdlib.h>

#include "core/commit.h"

int handle_open(struct image *first, uint32_t flags, const struct vhdx_open_options *opts,
                struct vhdx **ret, struct vhdx_error *err)
{
    return handle_open_layered(first, NULL, flags, opts, ret, err);
}

int handle_open_layered(struct image *first, const struct image_layer *layer, uint32_t flags,
                        const struct vhdx_open_options *opts, struct vhdx **ret,
                        struct vhdx_error *err)
{
    struct vhdx *v = calloc(1, sizeof *v);

    if (!v) {
        image_close(first);
        return fail_nomem(err);
    }
    v->chain.layer = layer;
    int r = chain_open(&v->chain, first, flags, opts, err);
    if (r < 0) {
        handle_close(v);
        return r;
    }
    *ret = v;
    return 0;
}

static int run(struct vhdx *v, int (*fn)(struct image *img, struct vhdx_error *err),
               struct vhdx_error *err)
{
    struct image *img = v->chain.images[0];

    int r = img->writer ? fn(img, err) : 0;
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    return r;
}

int handle_flush(struct vhdx *v, struct vhdx_error *err)
{
    return run(v, commit, err);
}

int handle_finish(struct vhdx *v, struct vhdx_error *err)
{
    return run(v, commit_finish, err);
}

void handle_close(struct vhdx *v)
{
    if (!v)
        return;
    chain_close(&v->chain);
    free(v);
}
