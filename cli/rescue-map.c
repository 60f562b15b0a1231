/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A map file as GNU ddrescue writes it. Programs that know the format then tell which files of the
 * disk are hurt (ddrutility, ddrescueview), or try to fill the gaps from another copy:
 *
 *     0x00000000     +               1              where it stopped, how, in which pass
 *     0x00000000  0x00200000  +                     finished
 *     0x00200000  0x00100000  -                     bad
 *
 * It appears whole or not at all, under its own name at the very end. That there is a place for it
 * is made sure before the long work begins.
 */
#include "rescue-map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "opening.h"
#include "output.h"
#include "report.h"
#include "scope.h"

#define NAME_TRIES 100

/* ---- Its place ------------------------------------------------------------------------------- */

static bool is_same_file(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* True when both are, or would become, the same file. */
static bool is_same_place(const char *one, const char *other)
{
    SCOPED_FREE char *one_dir = strdup(one), *other_dir = strdup(other);
    SCOPED_FREE char *one_base = strdup(one), *other_base = strdup(other);
    struct stat one_st, other_st;
    bool one_is = stat(one, &one_st) == 0, other_is = stat(other, &other_st) == 0;

    if (one_is || other_is)
        return one_is && other_is && is_same_file(&one_st, &other_st);
    if (!one_dir || !other_dir || !one_base || !other_base)
        return true;
    return strcmp(basename(one_base), basename(other_base)) == 0 &&
           stat(dirname(one_dir), &one_st) == 0 && stat(dirname(other_dir), &other_st) == 0 &&
           is_same_file(&one_st, &other_st);
}

static bool check_others(const char *path, const struct rescue_map_others *others)
{
    const char *image, *what = NULL;
    struct stat st;

    if (is_same_place(path, others->output))
        what = "the output";
    else if (is_same_place(path, others->image))
        what = "the image";
    else if (others->v && stat(path, &st) == 0 && image_is_in_chain(others->v, &st, &image))
        what = "a parent of the image";
    if (!what)
        return true;
    report("%s: the map file is %s itself", path, what);
    report_hint("name another place with --map-file");
    return false;
}

/* Judges what stands at path already, and finds the final name. */
static bool check_place(struct rescue_map *map, const char *path, bool replace)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        if (errno != ENOENT) {
            report("%s: %s", path, strerror(errno));
            return false;
        }
        map->path = strdup(path);
    } else if (!S_ISREG(st.st_mode)) {
        report("%s: the map file exists and is not a regular file", path);
        return false;
    } else if (st.st_size > 0 && !replace) {
        report("%s: the map file exists and is not empty", path);
        report_hint("-y replaces existing files; --map-file names another place");
        return false;
    } else {
        map->replaces = true;
        map->mode = st.st_mode & 07777;
        map->path = realpath(path, NULL);
    }
    if (!map->path)
        report("%s: %s", path, strerror(errno));
    return map->path != NULL;
}

/* "DIR/.BASE.PID-N.part"; the base is cut so that the name stays within NAME_MAX. */
static char *temporary_name(const char *path, unsigned try)
{
    SCOPED_FREE char *for_dir = strdup(path), *for_base = strdup(path);
    char *name = NULL;

    if (!for_dir || !for_base ||
        asprintf(&name, "%s/.%.200s.%ld-%u.part", dirname(for_dir), basename(for_base),
                 (long)getpid(), try) < 0)
        return NULL;
    return name;
}

static bool create_temporary(struct rescue_map *map)
{
    int fd = -1;

    errno = EEXIST;
    for (unsigned i = 0; i < NAME_TRIES && fd < 0 && errno == EEXIST; i++) {
        free(map->temporary);
        map->temporary = temporary_name(map->path, i);
        if (!map->temporary)
            break;
        fd = open(map->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    map->file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (map->file && (!map->replaces || fchmod(fd, map->mode) == 0))
        return true;
    report("%s: creating the map file: %s", map->path, strerror(errno));
    if (fd < 0) { /* nothing of ours is there */
        free(map->temporary);
        map->temporary = NULL;
    } else if (!map->file) {
        close(fd);
    }
    return false;
}

bool rescue_map_open(struct rescue_map *map, const char *path, bool replace,
                     const struct rescue_map_others *others)
{
    return check_others(path, others) && check_place(map, path, replace) && create_temporary(map);
}

/* ---- Its content ----------------------------------------------------------------------------- */

static void write_range(FILE *file, uint64_t start, uint64_t end, char status)
{
    if (end > start)
        fprintf(file, "0x%08" PRIX64 "  0x%08" PRIX64 "  %c\n", start, end - start, status);
}

static void write_content(FILE *file, const char *output, uint64_t virtual_size,
                          const struct lost_list *lost)
{
    uint64_t position = 0;

    fprintf(file, "# Mapfile. Created by vhdx convert --salvage %s\n# Of the copy: ",
            vhdx_version());
    print_text(file, output);
    fputs("\n# current_pos  current_status  current_pass\n"
          "0x00000000     +               1\n"
          "#      pos        size  status\n", file);
    for (size_t i = 0; i < lost->count; i++) {
        const struct lost_range *range = &lost->ranges[i];
        write_range(file, position, range->offset, '+');
        position = range->offset + range->length;
        write_range(file, range->offset, position, '-');
    }
    write_range(file, position, virtual_size, '+');
}

/* A file that has appeared at the final name meanwhile is not overwritten, where the file system
   can tell. */
static int give_name(const struct rescue_map *map)
{
    if (!map->replaces) {
        int r = renameat2(AT_FDCWD, map->temporary, AT_FDCWD, map->path, RENAME_NOREPLACE);
        if (r == 0 || (errno != EINVAL && errno != ENOSYS))
            return r;
    }
    return rename(map->temporary, map->path);
}

bool rescue_map_write(struct rescue_map *map, const char *output, uint64_t virtual_size,
                      const struct lost_list *lost)
{
    write_content(map->file, output, virtual_size, lost);
    bool is_written = fflush(map->file) == 0 && !ferror(map->file) &&
                      fsync(fileno(map->file)) == 0;
    if (!is_written || give_name(map) < 0) {
        report("%s: writing the map file: %s", map->path, strerror(errno));
        return false;
    }
    free(map->temporary);
    map->temporary = NULL;
    return true;
}

void rescue_map_close(struct rescue_map *map)
{
    if (map->file)
        fclose(map->file);
    if (map->temporary)
        unlink(map->temporary);
    free(map->temporary);
    free(map->path);
    *map = (struct rescue_map){ 0 };
}
