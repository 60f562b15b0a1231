/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Paths as Windows writes them, on a system that has no drive letters: names separated by
 * backslashes, compared without regard to (ASCII) case.
 */
#ifndef CORE_WINPATH_H
#define CORE_WINPATH_H

#include <stdbool.h>
#include <stddef.h>

#include "util/fail.h"

/* The last name of a path, without the folders. Points into path. */
const char *winpath_basename(const char *path);

/*
 * The local path of a relative Windows path, seen from a local folder. NULL with *ret_why set if it
 * is not relative (a drive, a share, a rooted path) or memory is short. To be freed.
 */
char *winpath_from_folder(const char *folder, const char *path, const char **ret_why);

/*
 * The local path of an absolute Windows path, by the first map whose windows prefix it lies under.
 * A leading \\?\ is ignored on both sides. NULL with *ret_why set if none covers it, if its names
 * climb out of the mapped folder, or memory is short. To be freed.
 */
char *winpath_map(const char *path, const struct vhdx_path_map *maps, size_t count,
                  const char **ret_why);

/*
 * Corrects the case of the names of a local path: those behind the first keep bytes are looked for
 * without regard to case where they are not found as they are. Returns a path to be freed, NULL if
 * there is no such file.
 */
char *winpath_find(const char *path, size_t keep);

/* Are two file names the same without regard to case and to an ending of .vhdx or .avhdx? */
bool winpath_same_image_name(const char *a, const char *b);

#endif
