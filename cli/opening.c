/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Opening images and reporting failures to do so. What was tried to find a missing parent is not
 * in the error, which is one line: the image is opened once more, without demanding its parents,
 * and asked.
 */
#include "opening.h"

#include <string.h>

#include "report.h"
#include "scope.h"

void common_open_options(const struct common_options *common, struct vhdx_open_options *ret)
{
    *ret = (struct vhdx_open_options)VHDX_OPEN_OPTIONS_INIT;
    ret->parents = common->parents;
    ret->parents_count = common->parents_count;
    ret->search_dirs = common->search_dirs;
    ret->search_dirs_count = common->search_dirs_count;
    ret->path_maps = common->path_maps;
    ret->path_maps_count = common->path_maps_count;
}

static int open_with(const char *path, uint32_t flags, const struct common_options *common,
                     struct vhdx **ret, struct vhdx_error *err)
{
    struct vhdx_open_options options;

    common_open_options(common, &options);
    return vhdx_open(path, common->open_flags | flags, &options, ret, err);
}

bool image_link(struct vhdx *v, uint32_t depth, struct vhdx_link *ret)
{
    struct vhdx_link link = VHDX_LINK_INIT;

    if (vhdx_get_link(v, depth, &link, NULL) < 0)
        return false;
    *ret = link;
    return true;
}

/* Lists what was tried for the parent that ends the chain, unless the message had room for all. */
static void report_steps(const char *path, const struct common_options *common,
                         const char *message)
{
    SCOPED_IMAGE struct vhdx *v = NULL;
    struct vhdx_link link;

    if (open_with(path, VHDX_OPEN_PARTIAL_CHAIN, common, &v, NULL) < 0)
        return;
    for (uint32_t depth = 1; image_link(v, depth, &link); depth++) {
        if (link.status == VHDX_LINK_OK || link.steps_count == 0 ||
            strstr(message, link.steps[link.steps_count - 1]))
            continue;
        for (size_t i = 0; i < link.steps_count; i++)
            report("tried: %s", link.steps[i]);
    }
}

static struct vhdx *open_or_report(const char *path, uint32_t flags,
                                   const struct common_options *common, struct vhdx_error *err)
{
    struct vhdx *v = NULL;

    if (open_with(path, flags, common, &v, err) == 0)
        return v;
    report_error(err);
    if (err->code == VHDX_E_PARENT_MISSING || err->code == VHDX_E_PARENT_MISMATCH)
        report_steps(path, common, err->message);
    report_error_hint(err);
    return NULL;
}

struct vhdx *image_open(const char *path, uint32_t flags, const struct common_options *common)
{
    struct vhdx_error err;

    return open_or_report(path, flags, common, &err);
}

/* Warns of zeros in place of a parent's data, and of a wrong parent's data. */
static void warn_of_content(struct vhdx *v, const char *path, uint32_t open_flags)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_link link;

    if ((open_flags & VHDX_OPEN_NO_PARENT) && vhdx_get_info(v, &info, NULL) == 0 &&
        info.type == VHDX_TYPE_DIFFERENCING)
        report_warning("%s: what the parent would supply reads as zeros (--no-parent)", path);
    for (uint32_t depth = 1; image_link(v, depth, &link); depth++)
        if (link.status == VHDX_LINK_MISMATCH)
            report_warning("%s: the data may be wrong: the GUID of the parent %s does not match "
                           "(--any-parent)", path, link.path ? link.path : "");
}

struct vhdx *image_open_content_or(const char *path, const struct common_options *common,
                                   struct vhdx_error *ret_err)
{
    struct vhdx *v = open_or_report(path, VHDX_OPEN_RDONLY, common, ret_err);

    if (v)
        warn_of_content(v, path, common->open_flags);
    return v;
}

struct vhdx *image_open_content(const char *path, const struct common_options *common)
{
    struct vhdx_error err;

    return image_open_content_or(path, common, &err);
}

bool image_info(struct vhdx *v, struct vhdx_info *ret)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;

    if (vhdx_get_info(v, &info, &err) < 0) {
        report_error(&err);
        return false;
    }
    *ret = info;
    return true;
}

bool image_is_in_chain(struct vhdx *v, const struct stat *st, const char **ret_path)
{
    struct vhdx_link link;
    struct stat other;

    for (uint32_t depth = 0; image_link(v, depth, &link); depth++) {
        if (link.path && stat(link.path, &other) == 0 && other.st_dev == st->st_dev &&
            other.st_ino == st->st_ino) {
            *ret_path = link.path;
            return true;
        }
    }
    return false;
}

bool output_is_replaceable(const char *path, struct vhdx *v)
{
    struct stat st;
    const char *image;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
           !(v && image_is_in_chain(v, &st, &image));
}
