/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Undo files of repairs; see repair-undo.h. */

#include "ops/repair-undo.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/io.h"
#include "io/undo.h"
#include "io/undo-file.h"
#include "util/cleanup.h"

#define PATH_SIZE 4096  /* of ret_path */
#define NUMBER_MAX 99   /* undo files kept beside one image */

/* DISK.undo, DISK.undo.1, ... DISK.undo.99 */
static int path_of(const char *image_path, int number, char *ret, struct vhdx_error *err)
{
    int len = number == 0 ? snprintf(ret, PATH_SIZE, "%s.undo", image_path)
                          : snprintf(ret, PATH_SIZE, "%s.undo.%d", image_path, number);

    if (len < 0 || len >= PATH_SIZE)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "undo file: its path is too long");
    return 0;
}

/* Makes a new file's name stable. */
static void sync_folder(const char *path)
{
    CLEANUP_FREE char *copy = strdup(path);
    CLEANUP_CLOSE int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0)
        fsync(fd); /* where folders cannot be synced, names need not be */
}

/* A new, empty file; -VHDX_E_SYSTEM with EEXIST if something is there. */
static int create_file(const char *path, struct vhdx_io *ret, struct vhdx_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "undo file %s: creating", path);
    int r = file_adopt(fd, true, ret, err);
    if (r == 0)
        sync_folder(path);
    return r;
}

/* Opens an undo file that is there if its repair was interrupted. *ret_ended: it is of one that
   ended, or that image is no longer, or never was, what that repair has left. */
static int take_up(const char *path, const struct vhdx_io *image, bool *ret_ended,
                   struct vhdx_io *ret, struct vhdx_error *err)
{
    CLEANUP_FREE struct undo_info *info = malloc(sizeof *info);
    struct vhdx_io io;
    bool is_blank = false;

    if (!info)
        return fail_nomem(err);
    *ret_ended = false;
    int r = file_open(path, true, &io, err);
    if (r < 0)
        return r;
    r = undo_is_blank(&io, &is_blank, err);
    if (r == 0 && !is_blank)
        r = undo_read_header(&io, info, err);
    if (r == 0 && !is_blank)
        *ret_ended = info->is_sealed || info->is_undoing;
    if (r == 0 && !is_blank && !*ret_ended) {
        r = undo_is_of(&io, image, err);
        *ret_ended = r == -VHDX_E_INVALID;
        r = *ret_ended ? 0 : r;
    }
    if (r == 0 && !*ret_ended) {
        *ret = io;
        return 0;
    }
    io_close(&io);
    if (r < 0)
        fail_prefix(err, "undo file %s: ", path);
    return r;
}

static int create_given(const char *path, const struct vhdx_io *image, struct vhdx_io *ret,
                        struct vhdx_error *err)
{
    struct vhdx_error what;
    bool ended;

    int r = create_file(path, ret, &what);
    if (r == 0 || what.sys_errno != EEXIST) {
        if (r < 0 && err)
            *err = what;
        return r;
    }
    r = take_up(path, image, &ended, ret, err);
    if (r == 0 && ended)
        r = fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                 "undo file %s: is there already, of a repair that ended, or of another image",
                 path);
    return r;
}

int repair_undo_create(const struct vhdx_io *image, const char *image_path, const char *undo_path,
                       char *ret_path, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct vhdx_error what;

    if (undo_path) {
        if (snprintf(ret_path, PATH_SIZE, "%s", undo_path) >= PATH_SIZE)
            return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "undo file: its path is too long");
        return create_given(undo_path, image, ret, err);
    }
    for (int i = 0; i <= NUMBER_MAX; i++) {
        bool ended = false;
        int r = path_of(image_path, i, ret_path, err);
        if (r < 0)
            return r;
        r = create_file(ret_path, ret, &what);
        if (r < 0 && what.sys_errno == EEXIST)
            r = take_up(ret_path, image, &ended, ret, &what);
        if (r < 0 && err)
            *err = what;
        if (r < 0 || !ended)
            return r;
    }
    return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                "undo file: %s and all names before it are taken", ret_path);
}

/* An undo file beside its image names it without a folder, so that both can be moved; one that lies
   elsewhere must say where the image is. */
int repair_undo_begin(const struct vhdx_io *image, const char *image_path, const char *undo_path,
                   const struct vhdx_io *undo_file, struct vhdx_io *ret_wrapped,
                   struct vhdx_error *err)
{
    CLEANUP_FREE char *real = image_path ? realpath(image_path, NULL) : strdup("");
    CLEANUP_FREE char *copy = image_path ? strdup(image_path) : strdup("");

    if (!copy || !real)
        return fail_nomem(err);
    return undo_begin(image, undo_file, undo_path ? real : basename(copy), ret_wrapped, err);
}

/* ---- Taking back ---------------------------------------------------------------------------- */

static bool is_undo_file(const char *path, struct undo_info *info)
{
    struct vhdx_io io;

    if (file_open(path, false, &io, NULL) < 0)
        return false;
    int r = undo_read_header(&io, info, NULL);
    io_close(&io);
    return r == 0;
}

/* The newest undo file beside an image. */
static int find_undo_file(const char *image_path, char *ret, struct vhdx_error *err)
{
    for (int i = NUMBER_MAX; i >= 0; i--) {
        int r = path_of(image_path, i, ret, err);
        if (r < 0)
            return r;
        if (access(ret, F_OK) == 0)
            return 0;
    }
    return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                "no undo file: there is no %s.undo", image_path);
}

/* The image that an undo file belongs to: of that path, or of that name in the undo file's
   folder. */
static char *image_beside(const char *undo_path, const char *image_name)
{
    CLEANUP_FREE char *folder = strdup(undo_path);
    char *path = NULL;

    if (image_name[0] == '/')
        return strdup(image_name);
    if (!folder || asprintf(&path, "%s/%s", dirname(folder), image_name) < 0)
        return NULL;
    return path;
}

static int apply(const char *undo_path, const char *image_path, bool force, struct vhdx_error *err)
{
    struct vhdx_io undo_file, image;
    bool supported;

    int r = file_open(undo_path, true, &undo_file, err);
    if (r < 0) {
        fail_prefix(err, "%s: ", undo_path);
        return r;
    }
    r = file_open(image_path, true, &image, err);
    if (r == 0) {
        r = file_lock(&image, &supported, err);
        if (r == 0)
            r = undo_apply(&undo_file, &image, force, err);
        io_close(&image);
    }
    if (r < 0)
        fail_prefix(err, "%s: ", image_path);
    io_close(&undo_file);
    return r;
}

int repair_undo_take_back(const char *path, bool force, struct vhdx_error *err)
{
    CLEANUP_FREE struct undo_info *info = malloc(sizeof *info);
    CLEANUP_FREE char *image = NULL;
    char undo_path[PATH_SIZE];
    int r = 0;

    if (!info)
        return fail_nomem(err);
    if (is_undo_file(path, info)) {
        if (snprintf(undo_path, sizeof undo_path, "%s", path) >= PATH_SIZE)
            r = fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "undo file: its path is too long");
        image = image_beside(path, info->image_name);
    } else {
        r = find_undo_file(path, undo_path, err);
        image = strdup(path);
    }
    if (r == 0 && !image)
        r = fail_nomem(err);
    if (r == 0)
        r = apply(undo_path, image, force, err);
    if (r < 0)
        return r;
    if (unlink(undo_path) < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: removing", undo_path);
    sync_folder(undo_path);
    return 0;
}
