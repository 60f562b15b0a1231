/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The parameters of the plugin; see parameters.h. */
#include "parameters.h"

#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* Room for one more item of item_size bytes in an array of count. NULL: reported. */
static void *grow(void *items, size_t count, size_t item_size)
{
    void *more = reallocarray(items, count + 1, item_size);

    if (!more)
        nbdkit_error("out of memory");
    return more;
}

static int take_path(struct strings *list, const char *value)
{
    char **items = grow(list->items, list->count, sizeof(*items));

    if (!items)
        return -1;
    list->items = items;
    items[list->count] = nbdkit_absolute_path(value);
    if (!items[list->count])
        return -1;
    list->count++;
    return 0;
}

/* WINDOWS=LOCAL, separated by the first '='. */
static int take_path_map(struct parameters *p, const char *value)
{
    const char *separator = strchr(value, '=');
    struct vhdx_path_map *maps;

    if (!separator || separator == value || separator[1] == '\0') {
        nbdkit_error("map-path: '%s' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER", value);
        return -1;
    }
    maps = grow(p->path_maps, p->path_maps_count, sizeof(*maps));
    if (!maps)
        return -1;
    p->path_maps = maps;
    char *local = nbdkit_absolute_path(separator + 1);
    char *windows = strndup(value, (size_t)(separator - value));
    if (!local || !windows) {
        free(local);
        free(windows);
        return -1;
    }
    maps[p->path_maps_count++] = (struct vhdx_path_map){ .windows = windows, .local = local };
    return 0;
}

static int take_file(struct parameters *p, const char *value)
{
    if (p->file) {
        nbdkit_error("file: given twice, as '%s' and as '%s'", p->file, value);
        return -1;
    }
    p->file = nbdkit_absolute_path(value);
    return p->file ? 0 : -1;
}

static int take_flag(struct parameters *p, uint32_t flag, const char *value)
{
    int truth = nbdkit_parse_bool(value);

    if (truth < 0)
        return -1;
    p->open_flags = truth ? p->open_flags | flag : p->open_flags & ~flag;
    return 0;
}

int parameters_take(struct parameters *p, const char *key, const char *value)
{
    if (strcmp(key, "file") == 0)
        return take_file(p, value);
    if (strcmp(key, "parent") == 0)
        return take_path(&p->parents, value);
    if (strcmp(key, "search-dir") == 0)
        return take_path(&p->search_dirs, value);
    if (strcmp(key, "map-path") == 0)
        return take_path_map(p, value);
    if (strcmp(key, "no-parent") == 0)
        return take_flag(p, VHDX_OPEN_NO_PARENT, value);
    if (strcmp(key, "any-parent") == 0)
        return take_flag(p, VHDX_OPEN_ANY_PARENT, value);
    if (strcmp(key, "force-share") == 0)
        return take_flag(p, VHDX_OPEN_NO_LOCK, value);
    nbdkit_error("'%s' is not a parameter of this plugin; 'nbdkit vhdx --help' lists them", key);
    return -1;
}

int parameters_complete(const struct parameters *p)
{
    if (p->file)
        return 0;
    nbdkit_error("the image is missing: nbdkit vhdx FILE");
    return -1;
}

void parameters_open_options(const struct parameters *p, struct vhdx_open_options *ret)
{
    *ret = (struct vhdx_open_options)VHDX_OPEN_OPTIONS_INIT;
    ret->parents = (const char *const *)p->parents.items;
    ret->parents_count = p->parents.count;
    ret->search_dirs = (const char *const *)p->search_dirs.items;
    ret->search_dirs_count = p->search_dirs.count;
    ret->path_maps = p->path_maps;
    ret->path_maps_count = p->path_maps_count;
}

static void strings_free(struct strings *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
}

void parameters_free(struct parameters *p)
{
    for (size_t i = 0; i < p->path_maps_count; i++) {
        free((void *)(uintptr_t)p->path_maps[i].windows);
        free((void *)(uintptr_t)p->path_maps[i].local);
    }
    free(p->path_maps);
    strings_free(&p->parents);
    strings_free(&p->search_dirs);
    free(p->file);
    *p = (struct parameters){ 0 };
}
