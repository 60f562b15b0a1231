/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Finding the children of an image in its own folder: every .vhdx and .avhdx there is asked which
 * parent it names. Their parents are not opened for that.
 */
#include "children.h"

#include <dirent.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "opening.h"
#include "report.h"
#include "scope.h"

#define IMAGES_MAX 4096 /* images of a folder that are asked */

static void close_folder(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

static bool is_image_name(const char *name)
{
    const char *ending = strrchr(name, '.');

    return ending && (strcasecmp(ending, ".vhdx") == 0 || strcasecmp(ending, ".avhdx") == 0);
}

/* Is the locator's "{GUID}", braces optional, this GUID? Either case. */
static bool is_guid(const char *value, const char *guid)
{
    size_t len = strlen(guid);

    if (*value == '{')
        value++;
    return strncasecmp(value, guid, len) == 0 && (value[len] == '\0' || value[len] == '}');
}

/* Does the image at path name the one with this GUID as its parent? */
static bool is_child(const char *path, const char *guid)
{
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct vhdx_info info = VHDX_INFO_INIT;

    if (vhdx_open(path, VHDX_OPEN_RDONLY | VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v,
                  NULL) < 0 ||
        vhdx_get_info(v, &info, NULL) < 0)
        return false;
    for (size_t i = 0; i < info.locator_count; i++)
        if ((strcmp(info.locator[i].key, "parent_linkage") == 0 ||
             strcmp(info.locator[i].key, "parent_linkage2") == 0) &&
            is_guid(info.locator[i].value, guid))
            return true;
    return false;
}

/* The same for a file of the folder, which must be another one than own. Warns. */
static bool warn_if_child(const char *folder, const char *name, const struct stat *own,
                          const char *path, const char *guid)
{
    SCOPED_FREE char *other = NULL;
    struct stat st;

    if (asprintf(&other, "%s/%s", folder, name) < 0) {
        other = NULL;
        return false;
    }
    if (stat(other, &st) < 0 || !S_ISREG(st.st_mode) ||
        (st.st_dev == own->st_dev && st.st_ino == own->st_ino) || !is_child(other, guid))
        return false;
    report_warning("%s: is the parent of %s, which is of no use once its parent has changed", path,
                   other);
    return true;
}

size_t children_warn(const char *path, const char *data_write_guid)
{
    SCOPED_FREE char *real = realpath(path, NULL);
    SCOPED(close_folder) DIR *folder = NULL;
    struct dirent *entry;
    struct stat own;
    size_t asked = 0, found = 0;

    if (!real || stat(real, &own) < 0)
        return 0;
    const char *folder_name = dirname(real);
    folder = opendir(folder_name);
    while (folder && asked < IMAGES_MAX && (entry = readdir(folder))) {
        if (!is_image_name(entry->d_name))
            continue;
        asked++;
        found += warn_if_child(folder_name, entry->d_name, &own, path, data_write_guid);
    }
    return found;
}

static bool is_in_use(const char *path)
{
    struct vhdx_io io = VHDX_IO_INIT;
    struct vhdx_error err;

    /* Opening takes a lock and changes nothing. */
    if (vhdx_io_file(path, VHDX_OPEN_RDWR, &io, &err) == 0) {
        io.close(io.opaque);
        return false;
    }
    if (err.code != VHDX_E_LOCKED)
        return false;
    report_error(&err);
    report_hint("stop the program that has it open ('lslocks' shows which)");
    return true;
}

static bool has_children(const char *path, bool forced)
{
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct vhdx_info info = VHDX_INFO_INIT;

    if (vhdx_open(path, VHDX_OPEN_RDONLY | VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v,
                  NULL) < 0 ||
        vhdx_get_info(v, &info, NULL) < 0 || children_warn(path, info.data_write_guid) == 0 ||
        forced)
        return false;
    report("%s: not replaced, because it has children", path);
    report_hint("take another name");
    return true;
}

bool image_is_needed(const char *path, bool forced)
{
    return (!forced && is_in_use(path)) || has_children(path, forced);
}
