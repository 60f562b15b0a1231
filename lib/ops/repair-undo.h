/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Where the undo files of repairs lie (io/undo), and taking a repair back. */
#ifndef OPS_REPAIR_UNDO_H
#define OPS_REPAIR_UNDO_H

#include <stdbool.h>

#include "util/fail.h"

/*
 * Makes the undo file of a repair of image, which is at image_path: undo_path, or next to the
 * image. The file of an interrupted repair is taken up again; one of a repair that ended, or after
 * which another program has changed the image, is left alone, and the next name taken, or
 * VHDX_E_INVALID if a path was given. *ret_path has room for 4096 bytes.
 */
int repair_undo_create(const struct vhdx_io *image, const char *image_path, const char *undo_path,
                       char *ret_path, struct vhdx_io *ret, struct vhdx_error *err);

/*
 * Makes *ret_wrapped, through which the image is changed with everything saved first in an undo
 * file that repair_undo_create() has made for the same paths.
 */
int repair_undo_begin(const struct vhdx_io *image, const char *image_path, const char *undo_path,
                   const struct vhdx_io *undo_file, struct vhdx_io *ret_wrapped,
                   struct vhdx_error *err);

/* vhdx_undo(). */
int repair_undo_take_back(const char *path, bool force, struct vhdx_error *err);

#endif
