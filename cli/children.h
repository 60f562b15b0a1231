/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Children of an image that is about to be written to. A child holds only what differs from its
 * parent as that was: after a change to the parent it would show a mixture of both. A file does not
 * know its children, but those in its own folder can be found.
 */
#ifndef VHDX_CLI_CHILDREN_H
#define VHDX_CLI_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Warns of each differencing image in the folder of the image at path, symbolic links resolved,
 * whose parent is the one with this DataWriteGuid (vhdx_info.data_write_guid). To be called before
 * the first change, which gives the image another one. Returns how many there are. What cannot be
 * opened is no child; nothing is locked and nothing else is reported.
 */
size_t children_warn(const char *path, const char *data_write_guid);

/* Whether another process has the file at path open, or it is an image that has children, which was
   reported: then it must not be replaced. forced: it will be, and children are only warned of. */
bool image_is_needed(const char *path, bool forced);

#endif /* VHDX_CLI_CHILDREN_H */
