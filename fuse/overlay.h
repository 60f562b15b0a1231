/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A throw-away child: takes the writes in the image's place, and is gone with its handle.
 */
#ifndef VHDX_FUSE_OVERLAY_H
#define VHDX_FUSE_OVERLAY_H

#include <vhdx.h>

#include "options.h"

/*
 * Creates a child of the image at path in $TMPDIR, or in /var/tmp, and opens it for writing. Its
 * file has no name any more when this returns: however the program ends, nothing is left of it.
 * NULL: the reason was reported.
 */
struct vhdx *overlay_open(const char *path, const struct common_options *common);

#endif /* VHDX_FUSE_OVERLAY_H */
