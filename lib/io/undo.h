/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Undo files: what a change overwrites is saved before it is overwritten, so that the image can be
 * restored bit for bit, at any instant.
 */
#ifndef IO_UNDO_H
#define IO_UNDO_H

#include <stdbool.h>
#include <stdint.h>

#include "util/fail.h"

#define UNDO_NAME_SIZE 4096 /* of an image's name in an undo file, with the NUL: PATH_MAX */

/* What an undo file says of itself. */
struct undo_info {
    char image_name[UNDO_NAME_SIZE]; /* as it was given; not fit to be shown: text_clean() */
    uint8_t identity[16];            /* random: of this undo file */
    uint64_t image_size;             /* of the image before its first change, bytes */
    uint64_t saved_bytes;            /* of the image, zeros included */
    bool is_sealed;                  /* the changes are complete: undo_seal() was called */
    bool is_undoing;                 /* undo_apply() has begun */
};

/*
 * Makes *ret, through which image is changed with everything saved first. Both files are borrowed:
 * they must be writable, and outlive *ret, whose close frees only itself; until then nobody else
 * may change them. An empty undo_file becomes a new one; one that is neither sealed nor being
 * undone is continued: an interrupted series of changes to the same image_name (up to 4095 bytes,
 * compared as text) goes on. VHDX_E_INVALID for anything else there, and if another program has
 * changed the image since then, which its headers tell.
 *
 * A call of *ret that cannot save fails with the -errno of that, the image untouched. After a
 * failure that leaves the undo file in doubt, and after undo_seal(), all changes fail, -EIO or
 * -EROFS. Any thread may call; saving is done by one at a time. zero and discard are NULL where
 * image's are.
 */
int undo_begin(const struct vhdx_io *image, const struct vhdx_io *undo_file,
               const char *image_name, struct vhdx_io *ret, struct vhdx_error *err);

/*
 * Says that the changes are complete: flushes the image, and records what it is now, so that
 * undo_apply() notices later changes. wrapper: from undo_begin(), with no call on its way. If it
 * fails the undo file is as good as before, unsealed.
 */
int undo_seal(const struct vhdx_io *wrapper, struct vhdx_error *err);

/*
 * Restores image to what it was: content and size. The whole undo file is verified before the first
 * write. VHDX_E_INVALID if the image is no longer what was sealed or, of changes that were
 * interrupted, another program has changed it since, unless force is set. Can be run again, also
 * after an interruption. The undo file is written to (it notes that undoing has begun) and stays;
 * an interrupted one may end in a torn record, which is cut off.
 */
int undo_apply(const struct vhdx_io *undo_file, const struct vhdx_io *image, bool force,
               struct vhdx_error *err);

/* VHDX_E_INVALID if undo_apply() or undo_begin() would say that another program has changed image
   since undo_file was interrupted. */
int undo_is_of(const struct vhdx_io *undo_file, const struct vhdx_io *image,
               struct vhdx_error *err);

/*
 * Reads what undo_file is, verifying all of it: as long as reading the file takes. VHDX_E_INVALID
 * if it is none; VHDX_E_CORRUPT, _CHECKSUM, _TRUNCATED, _LIMIT or _UNSUPPORTED if it is unusable.
 */
int undo_read_header(const struct vhdx_io *undo_file, struct undo_info *ret,
                     struct vhdx_error *err);

#endif
