/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The chain of images; see chain.h. */

#include "core/chain.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/locate.h"
#include "core/table.h"
#include "core/writer.h"

static int load(struct image *img, struct vhdx_error *err)
{
    int r = image_load(img, err);

    if (r == 0)
        r = table_verify_small(img, err);
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    return r;
}

static int lock(struct image *img, uint32_t flags, struct vhdx_error *err)
{
    int r = flags & VHDX_OPEN_NO_LOCK ? 0 : image_lock(img, err);

    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    return r;
}

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

/* Locks, loads and judges a parent that was found; it is the chain's already. */
static int take_parent(struct chain *c, uint32_t flags, struct chain_link *link,
                       struct vhdx_error *err)
{
    const struct image *child = c->images[c->count - 1];
    struct image *parent = c->images[c->count];

    link->path = copy_text(parent->path);
    int r = lock(parent, flags, err);
    if (r < 0)
        return r;
    /* Locked, it cannot change any more; until then it could. */
    if (link->status == VHDX_LINK_OK && !locate_matches(child, parent))
        return fail(err, VHDX_E_PARENT_MISMATCH, VHDX_OFFSET_NONE,
                    "%s: data write GUID changed while the image was opened", image_name(parent));
    r = load(parent, err);
    if (r < 0)
        return r;
    if (parent->metadata.logical_sector_size != child->metadata.logical_sector_size) {
        link->finding = VHDX_P_PARENT_SECTOR_SIZE;
        return fail(err, VHDX_E_PARENT_MISMATCH, VHDX_OFFSET_NONE,
                    "%s: logical sector size is %" PRIu32 ", must be %" PRIu32 " as in the "
                    "child %s",
                    image_name(parent), parent->metadata.logical_sector_size,
                    child->metadata.logical_sector_size, image_name(child));
    }
    return 0;
}

/* Adds the parent of the last image. */
static int add_parent(struct chain *c, uint32_t flags, const struct vhdx_open_options *opts,
                      struct vhdx_error *err)
{
    struct chain_link *link = &c->links[c->count];
    struct image *parent = NULL;

    c->link_count = c->count + 1;
    link->wanted = c->images[c->count - 1]->linkage[0];
    if (c->count == LIMIT_CHAIN_LENGTH)
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                    "chain: more than %d images", LIMIT_CHAIN_LENGTH);
    int r = locate_parent(c, flags, opts, link, &parent, err);
    if (r < 0)
        return r;

    c->images[c->count] = parent;
    r = take_parent(c, flags, link, err);
    if (r < 0) {
        c->images[c->count] = NULL;
        image_close(parent);
        return r;
    }
    c->count++;
    return 0;
}

/* Keeps an error as the state of the chain's last link. */
static void set_problem(struct chain_link *link, const struct vhdx_error *problem)
{
    if (!link->problem)
        link->problem = strdup(problem->message);
    link->code = problem->code;
    if (problem->code == VHDX_E_PARENT_MISSING)
        link->status = VHDX_LINK_MISSING;
    else if (problem->code == VHDX_E_PARENT_MISMATCH)
        link->status = VHDX_LINK_MISMATCH;
    else
        link->status = VHDX_LINK_BROKEN;
}

int chain_add_parents(struct chain *c, uint32_t flags, const struct vhdx_open_options *opts,
                      struct vhdx_error *err)
{
    int r = 0;

    while (r == 0 && !(flags & VHDX_OPEN_NO_PARENT) &&
           c->images[c->count - 1]->metadata.has_parent) {
        struct vhdx_error problem;
        r = add_parent(c, flags, opts, &problem);
        if (r < 0 && r != -VHDX_E_NOMEM && (flags & VHDX_OPEN_PARTIAL_CHAIN)) {
            set_problem(&c->links[c->link_count - 1], &problem);
            return 0;
        }
        if (r < 0 && err)
            *err = problem;
    }
    return r;
}

/* Last, so that an image is changed (a dirty log is replayed) only if all else is well. */
static int make_writable(struct chain *c, struct vhdx_error *err)
{
    struct image *first = c->images[0];
    int r;

    /* Without all of its parents it cannot be told what the rest of a sector holds. */
    if (c->images[c->count - 1]->metadata.has_parent)
        r = fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                 "a differencing image is not written to without its parent");
    else
        r = writer_open(first, err);
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(first));
    return r;
}

int chain_open(struct chain *c, struct image *first, uint32_t flags,
               const struct vhdx_open_options *opts, struct vhdx_error *err)
{
    c->images[0] = first;
    c->count = c->link_count = 1;
    c->links[0].path = copy_text(first->path);
    int r = lock(first, flags, err);
    if (r == 0)
        r = load(first, err);
    if (r == 0)
        r = chain_add_parents(c, flags, opts, err);
    if (r == 0 && (flags & VHDX_OPEN_RDWR))
        r = make_writable(c, err);
    return r;
}

void chain_close(struct chain *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        image_close(c->images[i]);
    for (uint32_t i = 0; i < c->link_count; i++) {
        free(c->links[i].path);
        free(c->links[i].problem);
        lines_end(&c->links[i].steps);
    }
    *c = (struct chain){ 0 };
}

size_t chain_file_ids(const struct chain *c, struct file_id ret_ids[LIMIT_CHAIN_LENGTH])
{
    size_t count = 0;

    for (uint32_t i = 0; i < c->count; i++)
        if (c->images[i]->has_id)
            ret_ids[count++] = c->images[i]->id;
    return count;
}
