/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Paths as Windows writes them, on a system that has no drive letters: names separated by
 * backslashes, compared without regard to ASCII case, ".." resolved by the text alone.
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
 * is not relative (a drive, a share, a rooted path) or memory is short. To be freed. *ret_keep: the
 * length of what was the caller's, for winpath_find().
 */
char *winpath_from_folder(const char *folder, const char *path, size_t *ret_keep,
                          const char **ret_why);

/*
 * The local path of an absolute Windows path, by the first map whose windows prefix it lies under.
 * The ways to write a prefix (with \\?\, \\?\UNC\ or \\ in front) are equal. NULL with *ret_why set
 * if none covers it, if its names climb out of the mapped folder, or memory is short. To be freed.
 */
char *winpath_map(const char *path, const struct vhdx_path_map *maps, size_t count,
                  size_t *ret_keep, const char **ret_why);

/*
 * Corrects the case of a local path: names behind its first keep bytes are looked for without
 * regard to case where they are not found as they are. NULL if there is no such file. To be freed.
 */
char *winpath_find(const char *path, size_t keep);

/* Are two file names the same without regard to case and to an ending of .vhdx or .avhdx? */
bool winpath_same_image_name(const char *a, const char *b);

#endif
