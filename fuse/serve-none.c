/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Stands for serve.c and operations.c in a build without libfuse3.
 */
#include "serve.h"

#include <assert.h>

#include "verb.h"

bool mount_supported(void)
{
    return false;
}

int mount_serve(struct vhdx *v, const struct mount_plan *plan)
{
    (void)v;
    (void)plan;
    assert(!"built without FUSE");
    return EXIT_FAILED;
}
