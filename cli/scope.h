/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Cleanup at the end of a scope. A variable marked SCOPED(fn) is handed to fn, by its address, on
 * every way out of the block that declares it, so that early returns need no goto. The functions
 * here accept variables that are still NULL.
 */
#ifndef VHDX_CLI_SCOPE_H
#define VHDX_CLI_SCOPE_H

#include <stdlib.h>

#include <vhdx.h>

#define SCOPED(fn) __attribute__((cleanup(fn)))

static inline void scope_free(void *variable)
{
    free(*(void **)variable);
}

static inline void scope_close_image(struct vhdx **v)
{
    vhdx_close(*v);
}

#define SCOPED_FREE SCOPED(scope_free)
#define SCOPED_IMAGE SCOPED(scope_close_image)

#endif /* VHDX_CLI_SCOPE_H */
