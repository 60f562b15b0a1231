/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Windows paths on a local file system; see winpath.h. */

#include "core/winpath.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/limits.h"

static bool is_separator(char c)
{
    return c == '\\' || c == '/';
}

const char *winpath_basename(const char *path)
{
    const char *name = path;

    for (const char *p = path; *p; p++)
        if (is_separator(*p))
            name = p + 1;
    return name;
}

static bool has_drive(const char *path)
{
    return ((path[0] | 0x20) >= 'a' && (path[0] | 0x20) <= 'z') && path[1] == ':';
}

/* The next name of *path, which moves past it; its length is 0 at the end. */
static const char *next_name(const char **path, size_t *ret_len)
{
    const char *p = *path;

    while (is_separator(*p))
        p++;
    const char *name = p;
    while (*p && !is_separator(*p))
        p++;
    *ret_len = (size_t)(p - name);
    *path = p;
    return name;
}

/*
 * Joins folder and the names of a Windows path. "." is dropped. ".." is kept for the file system to
 * resolve, but counted: *ret_climbs says whether the names ever leave the folder.
 */
static char *join(const char *folder, const char *path, bool *ret_climbs)
{
    char *result = malloc(strlen(folder) + strlen(path) + 2);
    const char *name;
    size_t len;
    int depth = 0;

    *ret_climbs = false;
    if (!result)
        return NULL;
    char *end = stpcpy(result, folder);
    while ((name = next_name(&path, &len)), len > 0) {
        if (len == 1 && name[0] == '.')
            continue;
        depth += len == 2 && name[0] == '.' && name[1] == '.' ? -1 : 1;
        *ret_climbs |= depth < 0;
        if (end == result || end[-1] != '/')
            *end++ = '/';
        end = mempcpy(end, name, len);
    }
    *end = '\0';
    return result;
}

char *winpath_from_folder(const char *folder, const char *path, const char **ret_why)
{
    bool climbs;

    *ret_why = "it is not a relative path";
    if (has_drive(path) || is_separator(path[0]) || path[0] == '\0')
        return NULL;
    *ret_why = "out of memory";
    return join(folder, path, &climbs);
}

/* Without a leading \\?\ (or the same with slashes). */
static const char *skip_verbatim(const char *path)
{
    if (is_separator(path[0]) && is_separator(path[1]) && path[2] == '?' && is_separator(path[3]))
        return path + 4;
    return path;
}

/* How much of path the prefix covers, whole names only; 0: it does not. */
static size_t covered(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);

    while (len > 0 && is_separator(prefix[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++) {
        bool same = is_separator(prefix[i]) ? is_separator(path[i])
                                            : strncasecmp(&prefix[i], &path[i], 1) == 0;
        if (path[i] == '\0' || !same)
            return 0;
    }
    return path[len] == '\0' || is_separator(path[len]) ? len : 0;
}

char *winpath_map(const char *path, const struct vhdx_path_map *maps, size_t count,
                  const char **ret_why)
{
    const char *rest = skip_verbatim(path);

    for (size_t i = 0; i < count; i++) {
        size_t len = covered(rest, skip_verbatim(maps[i].windows));
        bool climbs;
        if (len == 0)
            continue;
        char *result = join(maps[i].local, rest + len, &climbs);
        *ret_why = climbs ? "it leads out of the mapped folder" : "out of memory";
        if (!climbs)
            return result;
        free(result);
        return NULL;
    }
    *ret_why = "no path map covers it";
    return NULL;
}

/* The name in the folder that equals name without regard to case. To be freed. */
static char *find_in_folder(const char *folder, const char *name)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char *result = NULL;

    for (int i = 0; dir && i < LIMIT_FOLDER_ENTRIES && (entry = readdir(dir)); i++) {
        if (strcasecmp(entry->d_name, name) == 0) {
            result = strdup(entry->d_name);
            break;
        }
    }
    if (dir)
        closedir(dir);
    return result;
}

char *winpath_find(const char *path, size_t keep)
{
    char *result = strdup(path);

    if (!result || access(result, F_OK) == 0)
        return result;
    /* Each name in turn: cut the path behind it, see whether it is there, correct it, restore. */
    for (char *name = result + keep, *end; *name; name = end) {
        while (*name == '/')
            name++;
        end = name + strcspn(name, "/");
        char cut = *end;
        *end = '\0';
        if (access(result, F_OK) != 0) {
            name[-1] = '\0';
            CLEANUP_FREE char *found = find_in_folder(*result ? result : "/", name);
            name[-1] = '/';
            if (!found) {
                free(result);
                return NULL;
            }
            memcpy(name, found, strlen(found)); /* as long as name: ASCII case alone differs */
        }
        *end = cut;
    }
    return result;
}

/* The length of a name without .vhdx or .avhdx. */
static size_t stem_length(const char *name)
{
    static const char *const endings[] = { ".avhdx", ".vhdx" };
    size_t len = strlen(name);

    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t ending = strlen(endings[i]);
        if (len > ending && strcasecmp(name + len - ending, endings[i]) == 0)
            return len - ending;
    }
    return len;
}

bool winpath_same_image_name(const char *a, const char *b)
{
    size_t len = stem_length(a);

    return len == stem_length(b) && strncasecmp(a, b, len) == 0;
}
