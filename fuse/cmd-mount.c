/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx mount: an image as a folder of raw files. Everything that can fail fails before the program
 * goes into the background, in the process that goes there: it opens the image itself, since locks
 * and threads do not survive a fork.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "advice.h"
#include "background.h"
#include "children.h"
#include "info.h"
#include "json.h"
#include "mountpoint.h"
#include "opening.h"
#include "options.h"
#include "overlay.h"
#include "report.h"
#include "scope.h"
#include "serve.h"
#include "verb.h"

enum { OPTION_FOREGROUND = 'f', OPTION_QUIET = 'q', OPTION_RW = OPTION_OWN, OPTION_OVERLAY,
       OPTION_ALLOW_OTHER };

struct mount_run {
    struct common_options common;
    bool writable, overlay, foreground, quiet, allow_other;
    const char *path;
    char *dir;          /* absolute */
    uint64_t disk_size;
};

/* The same as `vhdx info --output=json` prints, as text; NULL in a build without JSON, or if the
   image does not tell. */
static char *info_text(struct vhdx *v, const char *path, const struct common_options *common,
                       size_t *ret_len)
{
    struct info_facts facts;
    struct vhdx_error err;
    struct json_object *json;
    char *text = NULL;

    memset(&facts, 0, sizeof(facts));
    facts.path = path;
    facts.parent_ignored = (common->open_flags & VHDX_OPEN_NO_PARENT) != 0;
    if (!json_supported() || !info_gather(v, &facts, &err))
        return NULL;
    FILE *stream = open_memstream(&text, ret_len);
    if (!stream)
        return NULL;
    json = info_to_json(&facts);
    json_write(stream, json);
    json_free(json);
    if (fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}

static void print_advice(const struct partition_table *table, void *opaque)
{
    const struct mount_run *run = opaque;

    if (!partitions_supported())
        report_note("%s: no partitions are shown: this vhdx was built without libblkid",
                    run->path);
    if (!run->quiet)
        advice_print(run->dir, run->disk_size, table, run->writable || run->overlay,
                     run->allow_other || getuid() == 0);
    fflush(stdout);
}

/* The image, and what is known of it before anything is written. */
static struct vhdx *open_image(const struct mount_run *run, char **ret_info, size_t *ret_info_len)
{
    SCOPED_IMAGE struct vhdx *image = NULL;
    struct vhdx *v;
    struct vhdx_info info;

    image = run->writable ? image_open(run->path, VHDX_OPEN_RDWR, &run->common)
                          : image_open_content(run->path, &run->common);
    if (!image)
        return NULL;
    *ret_info = info_text(image, run->path, &run->common, ret_info_len);
    if (run->writable && image_info(image, &info))
        children_warn(run->path, info.data_write_guid);
    v = image;
    image = NULL;
    if (!run->overlay)
        return v;
    vhdx_close(v);
    return overlay_open(run->path, &run->common);
}

static int mount_image(struct mount_run *run, struct background *background)
{
    SCOPED_IMAGE struct vhdx *v = NULL;
    SCOPED_FREE char *info = NULL;
    size_t info_len = 0;
    struct stat st = { 0 };

    v = open_image(run, &info, &info_len);
    if (!v)
        return EXIT_FAILED;
    if (stat(run->path, &st) < 0)
        st.st_mtim = (struct timespec){ 0 };
    run->disk_size = vhdx_size(v);
    struct mount_plan plan = {
        .path = run->path,
        .dir = run->dir,
        .writable = run->writable || run->overlay,
        .throw_away = run->overlay,
        .allow_other = run->allow_other,
        .info = info,
        .info_len = info_len,
        .born = st.st_mtim,
        .background = background,
        .on_ready = print_advice,
        .opaque = run,
    };
    return mount_serve(v, &plan);
}

static bool check(const struct mount_run *run)
{
    uint32_t odd = VHDX_OPEN_NO_LOCK | VHDX_OPEN_NO_PARENT | VHDX_OPEN_ANY_PARENT;

    if (run->writable && run->overlay) {
        report("mount: --rw and --overlay exclude each other: writes go to the image, or they do "
               "not");
        return false;
    }
    if ((run->writable || run->overlay) && (run->common.open_flags & odd)) {
        report("mount: %s does not go with --force-share, --no-parent and --any-parent",
               run->writable ? "--rw" : "--overlay");
        return false;
    }
    if (!mount_supported()) {
        report("mount: this vhdx was built without FUSE support (libfuse3)");
        return false;
    }
    return true;
}

static int run_with(struct mount_run *run)
{
    struct background background = { .ready_fd = -1 };
    int exit_code;

    if (!check(run) || !mountpoint_check(run->common.operands[1]))
        return EXIT_FAILED;
    run->dir = mountpoint_resolve(run->common.operands[1]);
    if (!run->dir) {
        report("out of memory");
        return EXIT_FAILED;
    }
    if (!run->foreground && !background_start(&background, &exit_code))
        return exit_code;
    return mount_image(run, &background);
}

static bool take_option(int option, const char *arg, void *own)
{
    struct mount_run *run = own;

    (void)arg;
    switch (option) {
    case OPTION_RW:
        run->writable = true;
        return true;
    case OPTION_OVERLAY:
        run->overlay = true;
        return true;
    case OPTION_ALLOW_OTHER:
        run->allow_other = true;
        return true;
    case OPTION_FOREGROUND:
        run->foreground = true;
        return true;
    default: /* OPTION_QUIET */
        run->quiet = true;
        return true;
    }
}

static int run_mount(int argc, char **argv)
{
    struct mount_run run = { 0 };
    int exit_code;

    if (options_parse(argc, argv, &verb_mount, &run.common, &run, &exit_code)) {
        run.path = run.common.operands[0];
        exit_code = run_with(&run);
    }
    free(run.dir);
    options_free(&run.common);
    return exit_code;
}

static const struct option longs[] = {
    { "rw", no_argument, NULL, OPTION_RW },
    { "overlay", no_argument, NULL, OPTION_OVERLAY },
    { "foreground", no_argument, NULL, OPTION_FOREGROUND },
    { "allow-other", no_argument, NULL, OPTION_ALLOW_OTHER },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_mount = {
    .name = "mount",
    .alias = "mount-vhd",
    .operands = "FILE DIR",
    .summary = "show an image as a folder of raw files, without root",
    .help =
        "Mounts the image on the empty folder DIR, where disk is the whole virtual disk, p1, p2,\n"
        "... are its partitions, and info.json is what 'vhdx info' knows. Goes into the\n"
        "background, and prints which command gets at the files in each partition.\n"
        "\n"
        "Options:\n"
        "      --rw                 write to the image (default: read only)\n"
        "      --overlay            allow writes, but throw them away in the end: the image stays\n"
        "                           as it is\n"
        "  -f, --foreground         stay in the foreground until unmounted or interrupted\n"
        "      --allow-other        let other users look inside, root among them\n"
        "  -q, --quiet              print no advice\n",
    .shorts = "fq",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_mount,
};
