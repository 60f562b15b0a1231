/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The chain of images that makes one virtual disk: the image that was opened, its parent, and so on
 * to the base. An array; nothing here recurses.
 */
#ifndef CORE_CHAIN_H
#define CORE_CHAIN_H

#include <stdint.h>

#include "core/image.h"
#include "util/lines.h"
#include "util/limits.h"

/* How an image of the chain was found. */
struct chain_link {
    uint32_t status;     /* VHDX_LINK_... */
    uint32_t found_by;   /* VHDX_FOUND_... */
    char *path;          /* owned; NULL for a custom file and when missing */
    char *problem;       /* owned; NULL when status is OK */
    int code;            /* the vhdx_code of that */
    struct lines steps;
    struct guid wanted;  /* the child's parent_linkage; zero for the first */
    enum vhdx_problem finding; /* what the check says of it, where the status does not; or 0 */
};

struct chain {
    const struct image_layer *layer; /* borrowed; for the files of the parents, or NULL */
    uint32_t count;      /* images that are open */
    uint32_t link_count; /* count, or one more: the parent that could not be opened */
    struct image *images[LIMIT_CHAIN_LENGTH];
    struct chain_link links[LIMIT_CHAIN_LENGTH + 1];
};

/*
 * Makes the chain of first, which belongs to it from now on, also after a failure. flags are those
 * of vhdx_open(). End it with chain_close(), also after a failure.
 */
int chain_open(struct chain *c, struct image *first, uint32_t flags,
               const struct vhdx_open_options *opts, struct vhdx_error *err);

/* The same from the second image on: the first is loaded already. */
int chain_add_parents(struct chain *c, uint32_t flags, const struct vhdx_open_options *opts,
                      struct vhdx_error *err);

void chain_close(struct chain *c);

/* The files of the chain, which must not be written over; returns how many. */
size_t chain_file_ids(const struct chain *c, struct file_id ret_ids[LIMIT_CHAIN_LENGTH]);

#endif
