/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What is common to all kinds of disks; see disk.h. */

#include "disk/disk.h"

#include <stdlib.h>

void disk_close(struct vhdx_disk *d)
{
    char *name;

    if (!d)
        return;
    name = d->name;
    d->kind->close(d);
    free(name);
}

bool disk_is_stream(const struct vhdx_disk *d)
{
    return d->kind->read_next != NULL;
}

int disk_read(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset, struct vhdx_error *err)
{
    return d->kind->read(d, buf, len, offset, err);
}

int disk_read_next(struct vhdx_disk *d, void *buf, size_t len, const struct disk_wait *wait,
                   size_t *ret_len, struct vhdx_error *err)
{
    return d->kind->read_next(d, buf, len, wait, ret_len, err);
}

int disk_walk_begin(struct vhdx_disk *d, uint64_t offset, uint64_t len, struct disk_walk *ret,
                    struct vhdx_error *err)
{
    *ret = (struct disk_walk){ .disk = d, .position = offset, .end = offset + len };

    int r = d->kind->walk_begin ? d->kind->walk_begin(d, ret, err) : 0;
    if (r < 0)
        ret->disk = NULL;
    return r;
}

int disk_walk_next(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err)
{
    if (w->position >= w->end)
        return 0;
    int r = w->disk->kind->walk_next(w, ret, err);
    if (r > 0)
        w->position = ret->offset + ret->length;
    return r;
}

void disk_walk_end(struct disk_walk *w)
{
    if (w->disk && w->disk->kind->walk_end)
        w->disk->kind->walk_end(w);
    w->disk = NULL;
}

size_t disk_file_ids(const struct vhdx_disk *d, struct file_id ret_ids[LIMIT_CHAIN_LENGTH])
{
    return d->kind->file_ids ? d->kind->file_ids(d, ret_ids) : 0;
}

int disk_verify_end(struct vhdx_disk *d, struct vhdx_error *err)
{
    return d->kind->verify_end ? d->kind->verify_end(d, err) : 0;
}
