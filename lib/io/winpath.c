/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Windows paths on a local file system; see winpath.h. */

#include "io/winpath.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/limits.h"

static bool is_separator(char c)
{
    return c == '\\' || c == '/';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* ASCII only: what the locale thinks must not matter. */
static bool same_text(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (lower(a[i]) != lower(b[i]) || a[i] == '\0')
            return false;
    return true;
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
    return lower(path[0]) >= 'a' && lower(path[0]) <= 'z' && path[1] == ':';
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

static bool is_name(const char *name, size_t len, const char *what)
{
    return len == strlen(what) && memcmp(name, what, len) == 0;
}

/*
 * Joins folder and the names of a Windows path. ".." takes the name before it away; where none is
 * left, it climbs out of the folder: *ret_climbs is set and it is kept.
 */
static char *join(const char *folder, const char *path, bool *ret_climbs)
{
    char *result = malloc(strlen(folder) + strlen(path) + 2);
    const char *name;
    size_t len, names = 0; /* names that ".." can take away */

    *ret_climbs = false;
    if (!result)
        return NULL;
    char *end = stpcpy(result, folder);
    while ((name = next_name(&path, &len)), len > 0) {
        if (is_name(name, len, "."))
            continue;
        if (is_name(name, len, "..") && names > 0) {
            while (*--end != '/')
                ;
            names--;
            continue;
        }
        if (is_name(name, len, ".."))
            *ret_climbs = true;
        else
            names++;
        *end++ = '/';
        end = mempcpy(end, name, len);
    }
    *end = '\0';
    return result;
}

char *winpath_from_folder(const char *folder, const char *path, size_t *ret_keep,
                          const char **ret_why)
{
    bool climbs;

    *ret_why = "it is not a relative path";
    if (has_drive(path) || is_separator(path[0]) || path[0] == '\0')
        return NULL;
    *ret_why = "out of memory";
    *ret_keep = strlen(folder);
    return join(folder, path, &climbs);
}

/* Behind the ways in which an absolute path can begin: \\?\UNC\, \\?\, \\. */
static const char *skip_beginning(const char *path)
{
    if (is_separator(path[0]) && is_separator(path[1]) && path[2] == '?' && is_separator(path[3]))
        path += same_text(path + 4, "UNC", 3) && is_separator(path[7]) ? 8 : 4;
    while (is_separator(*path))
        path++;
    return path;
}

/* How much of path the prefix covers, whole names only; 0: it does not. */
static size_t covered(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);

    while (len > 0 && is_separator(prefix[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        if (!same_text(&prefix[i], &path[i], 1) &&
            !(is_separator(prefix[i]) && is_separator(path[i])))
            return 0;
    return path[len] == '\0' || is_separator(path[len]) ? len : 0;
}

char *winpath_map(const char *path, const struct vhdx_path_map *maps, size_t count,
                  size_t *ret_keep, const char **ret_why)
{
    const char *rest = skip_beginning(path);

    for (size_t i = 0; i < count; i++) {
        size_t len = covered(rest, skip_beginning(maps[i].windows));
        bool climbs;
        if (len == 0)
            continue;
        char *result = join(maps[i].local, rest + len, &climbs);
        *ret_why = climbs ? "it leads out of the mapped folder" : "out of memory";
        *ret_keep = strlen(maps[i].local);
        if (!climbs)
            return result;
        free(result);
        return NULL;
    }
    *ret_why = "no path map covers it";
    return NULL;
}

/* The name in the folder that equals name (len bytes) without regard to case. To be freed. */
static char *find_in_folder(const char *folder, const char *name, size_t len)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char *result = NULL;

    for (int i = 0; dir && !result && i < LIMIT_FOLDER_ENTRIES && (entry = readdir(dir)); i++)
        if (strlen(entry->d_name) == len && same_text(entry->d_name, name, len))
            result = strdup(entry->d_name);
    if (dir)
        closedir(dir);
    return result;
}

char *winpath_find(const char *path, size_t keep)
{
    char *result = malloc(strlen(path) + 3);
    const char *rest = path + keep, *name;
    size_t len;

    if (!result)
        return NULL;
    char *end = mempcpy(result, path, keep);
    if (keep == 0)
        end = stpcpy(result, path[0] == '/' ? "" : ".");
    *end = '\0';
    while ((name = next_name(&rest, &len)), len > 0) {
        CLEANUP_FREE char *found = NULL;
        size_t folder_len = (size_t)(end - result);
        *end++ = '/';
        end = mempcpy(end, name, len);
        *end = '\0';
        if (access(result, F_OK) == 0)
            continue;
        result[folder_len] = '\0';
        found = find_in_folder(folder_len > 0 ? result : "/", name, len);
        if (!found) {
            free(result);
            return NULL;
        }
        result[folder_len] = '/';
        memcpy(result + folder_len + 1, found, len);
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
        if (len > ending && same_text(name + len - ending, endings[i], ending))
            return len - ending;
    }
    return len;
}

bool winpath_same_image_name(const char *a, const char *b)
{
    size_t len = stem_length(a);

    return len == stem_length(b) && same_text(a, b, len);
}

static void to_backslashes(char *path)
{
    for (; *path; path++)
        if (*path == '/')
            *path = '\\';
}

char *winpath_relative(const char *folder, const char *file)
{
    size_t common = 0, ups = 0; /* common: ends behind a '/' of file */

    if (strcmp(folder, "/") == 0)
        folder = "";
    for (size_t i = 0;; i++) {
        bool folder_ends = folder[i] == '/' || folder[i] == '\0';
        if (folder_ends && file[i] == '/')
            common = i + 1;
        if (folder[i] == '\0' || folder[i] != file[i])
            break;
    }
    for (const char *p = folder + common - 1; common > 0 && *p; p++)
        ups += *p == '/' && p[1] != '\0';

    char *result = malloc(3 * ups + strlen(file) + 3), *end = result;
    if (!result)
        return NULL;
    if (ups == 0)
        end = stpcpy(end, "./");
    while (ups-- > 0)
        end = stpcpy(end, "../");
    stpcpy(end, file + common);
    to_backslashes(result);
    return result;
}

/* Does the map lead to a volume by its GUID? */
static bool is_volume(const struct vhdx_path_map *map)
{
    return same_text(skip_beginning(map->windows), "Volume{", 7);
}

/* Does the local folder cover file, whole names only? *ret_len: how much of it. */
static bool local_covers(const char *file, const char *folder, size_t *ret_len)
{
    size_t len = strlen(folder);

    while (len > 0 && folder[len - 1] == '/')
        len--;
    *ret_len = len;
    return strncmp(file, folder, len) == 0 && file[len] == '/';
}

char *winpath_unmap(const char *file, const struct vhdx_path_map *maps, size_t count, bool volume)
{
    const char *prefix = volume ? "\\\\?\\Volume{00000000-0000-0000-0000-000000000000}" : "C:";
    size_t skip = 0, prefix_len;
    char *result;

    for (size_t i = 0; i < count; i++) {
        CLEANUP_FREE char *local = realpath(maps[i].local, NULL);
        size_t len;
        if (!local || is_volume(&maps[i]) != volume || !local_covers(file, local, &len))
            continue;
        prefix = maps[i].windows;
        skip = len;
        break;
    }
    prefix_len = strlen(prefix);
    while (prefix_len > 0 && is_separator(prefix[prefix_len - 1]))
        prefix_len--;
    if (asprintf(&result, "%.*s%s", (int)prefix_len, prefix, file + skip) < 0)
        return NULL;
    to_backslashes(result);
    return result;
}
