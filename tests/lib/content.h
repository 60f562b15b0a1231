/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What can be read of an image, in a form that is cheap to keep and to compare: the virtual disk in
 * pieces, a digest of each.
 */
#ifndef TESTS_CONTENT_H
#define TESTS_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhdx.h"

#define CONTENT_UNREADABLE UINT64_MAX

struct content {
    bool is_open;          /* the image could be opened */
    struct vhdx_error err; /* why it could not, or why a piece cannot be read */
    char data_write_guid[VHDX_GUID_TEXT];
    bool is_child;
    uint32_t log_state;    /* VHDX_LOG_... */
    uint64_t size, piece;  /* of the disk, of a piece, bytes */
    size_t count;          /* of pieces */
    size_t unreadable;     /* of these */
    uint64_t *digests;     /* owned; 0: zeros; CONTENT_UNREADABLE */
};

/*
 * Opens the image in io, read-only or as flags say, without a parent, and reads what it holds. A
 * digest depends on what is read and where, and in a child on where the parent would be asked.
 */
void content_read(const struct vhdx_io *io, uint32_t flags, struct content *ret);

/* The same of an open image. ret was zeroed. */
void content_read_open(struct vhdx *v, struct content *ret);

void content_end(struct content *c);

/* Does the disk hold the same in both, in the pieces that can be read in a? The first that differs
   is stored to *ret_piece. */
bool content_keeps(const struct content *a, const struct content *b, size_t *ret_piece);

/* Is everything the same, down to what cannot be read? */
bool content_equal(const struct content *a, const struct content *b);

#endif
