/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert --salvage: what is left of a damaged image's disk becomes a raw file, and what is
 * not becomes zeros, a list for people or JSON, and a map file. The library does the saving.
 */
#include "salvage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "interrupt.h"
#include "json.h"
#include "opening.h"
#include "output.h"
#include "report.h"
#include "rescue-map.h"
#include "scope.h"
#include "verb.h"

#define EXIT_LOST 3 /* saved, but not all of the disk */

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

static void free_report(struct salvage_report *report)
{
    lost_list_free(&report->lost);
}

/* The image as far as it can be opened, to know its parents; NULL if it cannot. */
static struct vhdx *open_to_look(const struct salvage_run *run)
{
    struct vhdx_open_options options;
    struct vhdx *v = NULL;

    common_open_options(run->common, &options);
    if (vhdx_open(run->path, VHDX_OPEN_PARTIAL_CHAIN | VHDX_OPEN_NO_LOCK, &options, &v, NULL) < 0)
        return NULL;
    return v;
}

/* Before hours are spent on a copy without the parent's data. */
static void warn_of_parent(const struct vhdx_link *link, void *opaque)
{
    const struct salvage_report *saved = opaque;

    report_warning("%s: what a parent should supply is lost: %s", saved->path,
                   link->problem ? link->problem : "it cannot be opened");
    for (size_t i = 0; i < link->steps_count; i++)
        report("tried: %s", link->steps[i]);
    report_hint("name the parent with --parent FILE, or say where to look with --search-dir "
                "DIR or --map-path 'C:\\VMs=/mnt/vms'");
}

static void on_lost(const struct vhdx_lost_range *range, void *opaque)
{
    struct salvage_report *saved = opaque;

    lost_list_add(range, &saved->lost);
}

static void report_failure(const struct salvage_run *run, struct vhdx *v,
                           const struct vhdx_error *err)
{
    report_error(err);
    switch (err->code) {
    case VHDX_E_INVALID:
        if (!(run->flags & VHDX_CONVERT_REPLACE) && output_is_replaceable(run->output, v))
            report_hint("-y replaces an existing file");
        break;
    case VHDX_E_LOCKED:
        report_hint("stop the program that has the image open ('lslocks' shows which)");
        break;
    case VHDX_E_CORRUPT:
    case VHDX_E_CHECKSUM:
    case VHDX_E_TRUNCATED:
        report_hint("'vhdx check' tells what is wrong; where headers, region tables or metadata "
                    "are gone, 'vhdx recover' searches the file for what is left");
        break;
    case VHDX_E_NOT_VHDX:
        report_error_hint(err);
        report_hint("if it was a VHDX image once, 'vhdx recover' searches it for what is left");
        break;
    default:
        report_error_hint(err);
    }
}

static void print_report(const struct salvage_report *report)
{
    uint64_t bytes = report->result.lost_bytes, mended = report->result.findings;
    char size[HUMAN_SIZE_TEXT];

    print_text(stdout, report->path);
    if (bytes == 0)
        printf(": nothing is lost");
    else
        printf(": lost: %" PRIu64 " bytes of the disk (%s), which are zeros in ", bytes,
               human_size(bytes, size));
    if (bytes > 0)
        print_text(stdout, report->output);
    putchar('\n');
    lost_list_print(&report->lost);
    if (mended > 0)
        printf("mended in memory: %" PRIu64 " error%s of the image ('vhdx check' lists them)\n",
               mended, mended == 1 ? "" : "s");
    printf("map file: ");
    print_text(stdout, report->map_path);
    putchar('\n');
}

static void show(const struct salvage_run *run, const struct salvage_report *report)
{
    if (run->json) {
        struct json_object *object = salvage_to_json(report);
        json_print(object);
        json_free(object);
    } else if (!run->quiet) {
        print_report(report);
    }
}

static int save(const struct salvage_run *run, struct salvage_report *report,
                struct vhdx_error *err)
{
    struct vhdx_salvage_options options = VHDX_SALVAGE_OPTIONS_INIT;
    struct vhdx_open_options open;
    struct progress progress;

    common_open_options(run->common, &open);
    progress_init(&progress, run->progress_mode);
    options.flags = run->flags;
    options.open_options = &open;
    options.lost = on_lost;
    options.parent_lost = warn_of_parent;
    options.opaque = report;
    options.progress.fn = on_progress;
    options.progress.opaque = &progress;
    report->result = (struct vhdx_salvage_result)VHDX_SALVAGE_RESULT_INIT;
    interrupt_catch();
    int r = vhdx_salvage(run->path, run->output, &options, &report->result, err);
    progress_finish(&progress);
    return r;
}

/* With a place for the map. */
static int save_and_tell(const struct salvage_run *run, struct vhdx *v,
                         struct salvage_report *saved, struct rescue_map *map)
{
    struct vhdx_error err;

    if (save(run, saved, &err) < 0) {
        if (err.code != VHDX_E_CANCELLED)
            report_failure(run, v, &err);
        return EXIT_FAILED;
    }
    bool is_known = !saved->lost.is_short;
    if (!is_known)
        report("out of memory: not all that is lost can be listed");
    if (!is_known ||
        !rescue_map_write(map, run->output, saved->result.virtual_size, &saved->lost)) {
        report_note("%s is complete; %" PRIu64 " bytes of it are lost, and zeros", run->output,
                    saved->result.lost_bytes);
        return EXIT_FAILED;
    }
    if (saved->result.is_log_lost)
        report_warning("%s: its log could not be replayed: what was saved may be older than the "
                       "disk was", run->path);
    show(run, saved);
    return saved->result.lost_bytes > 0 || saved->result.is_log_lost ? EXIT_LOST : EXIT_FINE;
}

int salvage_image(const struct salvage_run *run)
{
    SCOPED(free_report) struct salvage_report saved = { .path = run->path,
                                                        .output = run->output };
    SCOPED_IMAGE struct vhdx *v = open_to_look(run);
    SCOPED_FREE char *default_map = NULL;
    const struct rescue_map_others others = { run->path, v, run->output };
    struct rescue_map map = { 0 };
    int exit_code = EXIT_FAILED;

    if (asprintf(&default_map, "%s.map", run->output) < 0) {
        default_map = NULL;
        report("out of memory");
        return EXIT_FAILED;
    }
    saved.map_path = run->map_path ? run->map_path : default_map;
    if (rescue_map_open(&map, saved.map_path, run->flags & VHDX_CONVERT_REPLACE, &others)) {
        exit_code = save_and_tell(run, v, &saved, &map);
    }
    rescue_map_close(&map);
    if (exit_code == EXIT_FAILED)
        interrupt_die(); /* if that is why */
    return exit_code;
}
