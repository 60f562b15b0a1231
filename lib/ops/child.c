/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a new differencing image takes from its parent; see child.h. */

#include "ops/child.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/winpath.h"
#include "util/cleanup.h"

#define LOCATOR_KEYS 5
#define LOCATOR_SIZE (256 * KIB)

/* The folder of path, which need not exist itself, without symbolic links. To be freed. */
static int real_folder(const char *path, char **ret, struct vhdx_error *err)
{
    CLEANUP_FREE char *copy = strdup(path);

    if (!copy)
        return fail_nomem(err);
    *ret = realpath(dirname(copy), NULL);
    return *ret ? 0 : fail_errno(err, errno, VHDX_OFFSET_NONE, "its folder");
}

/* The paths by which the child knows its parent. All owned. */
struct parent_paths {
    char *relative, *volume, *absolute;
};

static void parent_paths_end(struct parent_paths *p)
{
    free(p->relative);
    free(p->volume);
    free(p->absolute);
}

static int find_paths(const char *child_path, const char *parent_path,
                      const struct vhdx_path_map *maps, size_t maps_count,
                      struct parent_paths *ret, struct vhdx_error *err)
{
    CLEANUP_FREE char *parent = realpath(parent_path, NULL);
    CLEANUP_FREE char *folder = NULL;

    if (!parent)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s", parent_path);
    int r = real_folder(child_path, &folder, err);
    if (r < 0)
        return r;
    if (strchr(parent, '\\'))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "the parent's path %s has a backslash in it: no Windows path can say that",
                    parent);
    ret->relative = winpath_relative(folder, parent);
    ret->absolute = winpath_unmap(parent, maps, maps_count, false);
    ret->volume = winpath_unmap(parent, maps, maps_count, true);
    return ret->relative && ret->absolute && ret->volume ? 0 : fail_nomem(err);
}

static int encode_locator(const struct parent_paths *paths, const struct guid *linkage,
                          struct metadata_encoder *e, struct vhdx_error *err)
{
    char guid[GUID_TEXT_SIZE], braced[GUID_TEXT_SIZE + 2];
    CLEANUP_FREE uint8_t *item = malloc(LOCATOR_SIZE);

    if (!item)
        return fail_nomem(err);
    guid_format(linkage, guid);
    snprintf(braced, sizeof braced, "{%s}", guid);
    const struct vhdx_key_value pairs[LOCATOR_KEYS] = {
        { "parent_linkage", braced },
        { "absolute_win32_path", paths->absolute },
        { "relative_path", paths->relative },
        { "volume_path", paths->volume },
        { "parent_linkage2", "{00000000-0000-0000-0000-000000000000}" },
    };
    uint32_t length = locator_encode(pairs, LOCATOR_KEYS, item, LOCATOR_SIZE);
    if (length == 0)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "the parent's path is too long or not valid UTF-8: Windows could not read it");
    if (!metadata_encode_item(e, metadata_id(METADATA_PARENT_LOCATOR), METADATA_IS_REQUIRED, item,
                              length))
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE, "the metadata region is full");
    return 0;
}

int child_add_locator(struct metadata_encoder *e, const char *child_path,
                      const struct image *parent, const struct vhdx_path_map *maps,
                      size_t maps_count, struct vhdx_error *err)
{
    struct parent_paths paths = { 0 };

    int r = find_paths(child_path, parent->path, maps, maps_count, &paths, err);
    if (r == 0)
        r = encode_locator(&paths, &parent->header.data_write_guid, e, err);
    parent_paths_end(&paths);
    return r;
}

static int copy_item(struct metadata_encoder *e, const struct image *parent,
                     const struct metadata_item *item, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *content = malloc(item->length + 1);

    if (!content)
        return fail_nomem(err);
    int r = item->length == 0 ? 0
                              : image_pread(parent, "metadata item", content, item->length,
                                            image_metadata_region(parent)->offset + item->offset,
                                            err);
    if (r < 0)
        return r;
    if (!metadata_encode_item(e, &item->id, item->flags, content, item->length))
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                    "%s: metadata items of the virtual disk do not fit into a child",
                    image_name(parent));
    return 0;
}

int child_copy_items(struct metadata_encoder *e, const struct image *parent,
                     struct vhdx_error *err)
{
    const struct region *region = image_metadata_region(parent);
    CLEANUP_FREE uint8_t *buf = malloc(METADATA_TABLE_SIZE);
    CLEANUP_FREE struct metadata_table *table = malloc(sizeof *table);

    if (!buf || !table)
        return fail_nomem(err);
    int r = image_pread(parent, "metadata table", buf, METADATA_TABLE_SIZE, region->offset, err);
    if (r == 0)
        r = metadata_table_decode(buf, region->offset, region->length, NULL, table, err);
    for (uint32_t i = 0; r == 0 && i < table->count; i++) {
        bool is_known = false;
        for (int k = 0; k < METADATA_KNOWN_COUNT; k++)
            is_known |= table->known[k] == i;
        if (!is_known && (table->items[i].flags & METADATA_IS_VIRTUAL_DISK))
            r = copy_item(e, parent, &table->items[i], err);
    }
    return r;
}
