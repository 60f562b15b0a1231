/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The child is made in a new folder that nobody else can look into, and removed from it as soon as
 * it is open.
 */
#include "overlay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "background.h"
#include "opening.h"
#include "report.h"
#include "scope.h"

/* Where large temporary files belong: not in a memory file system. */
static const char *folder_for_overlays(void)
{
    const char *folder = secure_getenv("TMPDIR");

    return folder && folder[0] != '\0' ? folder : "/var/tmp";
}

static struct vhdx *fail_with(const struct vhdx_error *err)
{
    report_error(err);
    report_error_hint(err);
    return NULL;
}

/* Creates the child at overlay and opens it. */
static struct vhdx *create_and_open(const char *path, const char *overlay,
                                    const struct common_options *common)
{
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_open_options open_options;
    SCOPED_FREE const char **parents = calloc(common->parents_count + 1, sizeof(*parents));
    struct vhdx_error err;
    struct vhdx *v;

    if (!parents) {
        report("out of memory");
        return NULL;
    }
    common_open_options(common, &open_options);
    create.type = VHDX_TYPE_DIFFERENCING;
    create.parent_path = path;
    create.parent_options = &open_options;
    if (vhdx_create(overlay, &create, &err) < 0)
        return fail_with(&err);
    parents[0] = path;
    if (common->parents_count > 0)
        memcpy(parents + 1, common->parents, common->parents_count * sizeof(*parents));
    open_options.parents = parents;
    open_options.parents_count = common->parents_count + 1;
    if (vhdx_open(overlay, VHDX_OPEN_RDWR, &open_options, &v, &err) < 0)
        return fail_with(&err);
    return v;
}

static struct vhdx *open_without_name(const char *path, const struct common_options *common)
{
    SCOPED_FREE char *folder = NULL, *overlay = NULL;
    struct vhdx *v;

    if (asprintf(&folder, "%s/vhdx-overlay-XXXXXX", folder_for_overlays()) < 0) {
        folder = NULL;
        report("out of memory");
        return NULL;
    }
    if (!mkdtemp(folder)) {
        report("%s: %s", folder_for_overlays(), strerror(errno));
        report_hint("TMPDIR names another folder for the overlay");
        return NULL;
    }
    if (asprintf(&overlay, "%s/overlay.avhdx", folder) < 0) {
        overlay = NULL;
        rmdir(folder);
        report("out of memory");
        return NULL;
    }
    v = create_and_open(path, overlay, common);
    unlink(overlay);
    rmdir(folder);
    return v;
}

struct vhdx *overlay_open(const char *path, const struct common_options *common)
{
    sigset_t mask;

    background_hold_signals(&mask); /* until there is nothing that would stay behind */
    struct vhdx *v = open_without_name(path, common);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return v;
}
