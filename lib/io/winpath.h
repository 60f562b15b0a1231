/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Paths as Windows writes them, on a system that has no drive letters: names separated by
 * backslashes, compared without regard to ASCII case, ".." resolved by the text alone.
 */
#ifndef IO_WINPATH_H
#define IO_WINPATH_H

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

/*
 * The Windows path, relative to a local folder, of a local file; both absolute and without symbolic
 * links: "..\\x\\base.vhdx", ".\\base.vhdx". NULL if memory is short. To be freed.
 */
char *winpath_relative(const char *folder, const char *file);

/*
 * The absolute Windows path of an absolute local file: a map used backwards, one to a volume if
 * volume is set, else one to a drive or share. Without a map, the local path on drive C: or on a
 * volume of zeros. NULL if memory is short. To be freed.
 */
char *winpath_unmap(const char *file, const struct vhdx_path_map *maps, size_t count, bool volume);

/* Are two file names the same without regard to case and to an ending of .vhdx or .avhdx? */
bool winpath_same_image_name(const char *a, const char *b);

#endif
