/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The image that all connections share; the states are drawn in served.h. */
#include "served.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define PROBE_LEN (64 * 1024) /* of the file that tells what the file system can do */

void served_report(const struct vhdx_error *err)
{
    if (err->file_offset == VHDX_OFFSET_NONE)
        nbdkit_error("%s", err->message);
    else
        nbdkit_error("%s (file offset %" PRIu64 ")", err->message, err->file_offset);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static bool fallocate_works(int fd, bool keeps_space)
{
    int mode = keeps_space ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;

    return ftruncate(fd, PROBE_LEN) == 0 &&
           fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, 0, PROBE_LEN) == 0;
}

/*
 * Whether the file system of the image zeroes without writing zeros, as the library does where it
 * can. Tried on an unnamed file beside the image, since trying it on the image would change that;
 * where such a file cannot be made, the answer is no.
 */
static bool zeroing_is_fast(const char *path, bool keeps_space)
{
    struct stat st;
    char *folder = strdup(path);

    if (!folder || stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
        free(folder);
        return false;
    }
    int fd = open(dirname(folder), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    free(folder);
    if (fd < 0)
        return false;
    bool works = fallocate_works(fd, keeps_space);
    close(fd);
    return works;
}

static int open_image(struct served *s, bool for_writing, struct vhdx_error *err)
{
    struct vhdx_open_options options;
    struct vhdx_info info = VHDX_INFO_INIT;
    uint32_t flags = s->parameters.open_flags | (for_writing ? VHDX_OPEN_RDWR : VHDX_OPEN_RDONLY);

    parameters_open_options(&s->parameters, &options);
    int r = vhdx_open(s->parameters.file, flags, &options, &s->v, err);
    if (r < 0)
        return r;
    s->is_writable = for_writing;
    s->is_fixed = vhdx_get_info(s->v, &info, NULL) == 0 && info.type == VHDX_TYPE_FIXED;
    s->zeroing_is_fast = for_writing && zeroing_is_fast(s->parameters.file, s->is_fixed);
    return 0;
}

static void close_image(struct served *s)
{
    vhdx_close(s->v);
    s->v = NULL;
    s->is_writable = false;
}

/* An image that is not ours to write to is served read-only, as nbdkit's file plugin does. */
static bool forbids_writing(const struct vhdx_error *err)
{
    return err->code == VHDX_E_SYSTEM && (err->sys_errno == EACCES || err->sys_errno == EPERM ||
                                          err->sys_errno == EROFS || err->sys_errno == ETXTBSY);
}

static int open_for_client(struct served *s, bool read_only)
{
    struct vhdx_error err;

    int r = open_image(s, !read_only, &err);
    if (r < 0 && !read_only && forbids_writing(&err)) {
        nbdkit_debug("served read-only: %s", err.message);
        r = open_image(s, false, &err);
    }
    if (r < 0)
        served_report(&err);
    return r < 0 ? -1 : 0;
}

int served_check(struct served *s)
{
    int r = open_for_client(s, true);

    close_image(s);
    return r;
}

int served_begin(struct served *s)
{
    return open_for_client(s, true);
}

/* ---- Clients -------------------------------------------------------------------------------- */

int served_acquire(struct served *s, bool read_only)
{
    int r = 0;

    if (s->parameters.open_flags & VHDX_OPEN_NO_PARENT)
        read_only = true;
    pthread_mutex_lock(&s->mutex);
    /* With clients the handle stays what it is: a writable one then sees a read-only export. */
    if (s->clients == 0 && s->v && !s->is_writable && !read_only)
        close_image(s);
    if (!s->v)
        r = open_for_client(s, read_only);
    if (r == 0)
        s->clients++;
    pthread_mutex_unlock(&s->mutex);
    return r;
}

static void finish(struct served *s)
{
    struct vhdx_error err;

    if (!s->v || !s->is_writable || vhdx_finish(s->v, &err) == 0)
        return;
    served_report(&err);
    close_image(s);
}

void served_release(struct served *s)
{
    pthread_mutex_lock(&s->mutex);
    if (--s->clients == 0)
        finish(s);
    pthread_mutex_unlock(&s->mutex);
}

void served_end(struct served *s)
{
    pthread_mutex_lock(&s->mutex);
    finish(s);
    close_image(s);
    pthread_mutex_unlock(&s->mutex);
}
