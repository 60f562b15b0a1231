/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx create: new images, also as children of others. The library lays the image out and gives it
 * its name when it is complete; here are the ways to ask for it, and the care for what is replaced.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "children.h"
#include "create-options.h"
#include "interrupt.h"
#include "opening.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "scope.h"
#include "size.h"
#include "verb.h"

#define VIRTUAL_SIZE_MAX ((uint64_t)64 << 40)
#define DEFAULT_BLOCK_SIZE (2u << 20)
#define DEFAULT_LOG_SIZE (1u << 20)

enum {
    OPTION_FORCE = OPTION_OWN,
    OPTION_DRY_RUN,
    OPTION_PATH,
    OPTION_SIZE,
    OPTION_PARENT_PATH,
    OPTION_BLOCK_SIZE,
    OPTION_LOGICAL,
    OPTION_PHYSICAL,
    OPTION_DYNAMIC,
    OPTION_FIXED,
    OPTION_DIFFERENCING,
    OPTION_BACKING = 'b',
    OPTION_BACKING_FORMAT = 'F',
    OPTION_LIST = 'o',
    OPTION_QUIET = 'q',
    OPTION_REPLACE = 'y',
};

struct create_run {
    struct create_request request;
    bool quiet;
    bool force;
    bool dry_run;
};

#define SCOPED_WORDS SCOPED(create_words_free)

/* ---- What is asked for ---------------------------------------------------------------------- */

static bool take_option(int option, const char *arg, void *own)
{
    struct create_run *run = own;
    struct create_request *r = &run->request;

    switch (option) {
    case OPTION_LIST:
        return create_take_list(r, arg);
    case OPTION_BACKING:
        return create_set(r, "backing_file", "-b", arg);
    case OPTION_BACKING_FORMAT:
        return create_set(r, "backing_fmt", "-F", arg);
    case OPTION_PARENT_PATH:
        return create_set(r, "backing_file", "-ParentPath", arg);
    case OPTION_SIZE:
        return create_set_size(r, "size", "-SizeBytes", arg);
    case OPTION_BLOCK_SIZE:
        return create_set_size(r, "block_size", "-BlockSizeBytes", arg);
    case OPTION_LOGICAL:
        return create_set_size(r, "logical_sector_size", "-LogicalSectorSizeBytes", arg);
    case OPTION_PHYSICAL:
        return create_set_size(r, "physical_sector_size", "-PhysicalSectorSizeBytes", arg);
    case OPTION_DYNAMIC:
        return create_set(r, "subformat", "-Dynamic", "dynamic");
    case OPTION_FIXED:
        return create_set(r, "subformat", "-Fixed", "fixed");
    case OPTION_DIFFERENCING:
        r->create.type = VHDX_TYPE_DIFFERENCING;
        return true;
    case OPTION_PATH:
        r->path = arg;
        return true;
    case OPTION_QUIET:
        run->quiet = true;
        return true;
    case OPTION_FORCE:
        run->force = true;
        return true;
    case OPTION_DRY_RUN:
        run->dry_run = true;
        return true;
    default: /* OPTION_REPLACE */
        r->create.flags |= VHDX_CREATE_REPLACE;
        return true;
    }
}

static bool usage_mistake(const char *what)
{
    report("create: %s", what);
    report_hint("usage: vhdx create [OPTION]... %s", verb_create.operands);
    return false;
}

/* FILE and SIZE, as far as no option gave them. */
static bool take_operands(struct create_request *r, const struct common_options *common)
{
    size_t next = 0;

    if (!r->path && next < common->operands_count)
        r->path = common->operands[next++];
    if (!r->path || *r->path == '\0')
        return usage_mistake("a file name is missing");
    if (!r->size_given && next < common->operands_count &&
        !create_set(r, "size", "SIZE", common->operands[next++]))
        return false;
    if (next < common->operands_count)
        return usage_mistake("too many file names");
    if (!r->size_given && !r->create.parent_path)
        return usage_mistake("the size is missing");
    if (strcmp(r->path, "-") == 0) {
        report("create cannot write to standard output");
        report_hint("a file named '-' is './-'");
        return false;
    }
    return true;
}

static bool check_request(struct create_request *r, const struct common_options *common)
{
    bool has_parent = r->create.parent_path != NULL;

    if (common->open_flags) {
        report("create: --no-parent, --any-parent and -U are for reading");
        report_hint("a child needs the parent that it is made of, whole and at rest");
        return false;
    }
    if (r->create.type == VHDX_TYPE_FIXED && has_parent) {
        report("create: a fixed image has no parent");
        report_hint("leave out -b to create a fixed image, or subformat=fixed to create a child");
        return false;
    }
    if (r->create.type == VHDX_TYPE_DIFFERENCING && !has_parent) {
        report("create: a differencing image needs a parent");
        report_hint("name it with -b PARENT (-ParentPath PARENT)");
        return false;
    }
    if (r->create.preallocation >= VHDX_PREALLOCATION_FALLOC &&
        r->create.type != VHDX_TYPE_FIXED) {
        report("create: preallocation=falloc and preallocation=full are for fixed images");
        report_hint("add -o subformat=fixed, or leave out the preallocation");
        return false;
    }
    r->create.type = has_parent ? VHDX_TYPE_DIFFERENCING
                     : r->create.type ? r->create.type : VHDX_TYPE_DYNAMIC;
    return true;
}

/* Sets every size that is still open, and rounds that of the disk up to whole sectors. */
static bool complete_sizes(struct vhdx_create_options *o, bool size_given, struct vhdx *parent)
{
    if (o->logical_sector_size == 0)
        o->logical_sector_size = parent ? vhdx_logical_sector_size(parent) : 512;
    if (o->physical_sector_size == 0)
        o->physical_sector_size = parent ? vhdx_physical_sector_size(parent) : 4096;
    if (o->block_size == 0)
        o->block_size = DEFAULT_BLOCK_SIZE;
    if (o->log_size == 0)
        o->log_size = DEFAULT_LOG_SIZE;
    if (!size_given)
        o->size = vhdx_size(parent);
    if (o->size == 0 || o->size > VIRTUAL_SIZE_MAX) {
        report("the size, %" PRIu64 " bytes, is out of range, must be above 0 and at most 64T",
               o->size);
        return false;
    }
    uint64_t over = o->size % o->logical_sector_size;
    if (over != 0) {
        o->size += o->logical_sector_size - over;
        report_note("the size is rounded up to %" PRIu64 " bytes, a multiple of the logical sector "
                    "size %" PRIu32, o->size, o->logical_sector_size);
    }
    if (parent && o->size < vhdx_size(parent))
        report_note("the child is smaller than its parent, and does not show the end of it");
    return true;
}

/* ---- What is replaced ----------------------------------------------------------------------- */

/* False when what stands at path is needed, which was reported. */
static bool may_replace(const char *path, const struct create_run *run, struct vhdx *parent)
{
    if (!(run->request.create.flags & VHDX_CREATE_REPLACE) || !output_is_replaceable(path, parent))
        return true; /* there is nothing, or the library refuses to replace it */
    if (!image_is_needed(path, run->force))
        return true;
    report_hint("--force replaces it all the same");
    return false;
}

/* ---- Creating ------------------------------------------------------------------------------- */

static void print_plan(const struct create_request *r)
{
    static const char *const preallocations[] = { NULL, "metadata", "falloc", "full" };
    const struct vhdx_create_options *o = &r->create;

    fputs("Formatting '", stdout);
    print_text(stdout, r->path);
    printf("', fmt=vhdx size=%" PRIu64, o->size);
    if (o->parent_path) {
        fputs(" backing_file=", stdout);
        print_text(stdout, o->parent_path);
        fputs(" backing_fmt=vhdx", stdout);
    }
    printf(" log_size=%" PRIu32 " block_size=%" PRIu32, o->log_size, o->block_size);
    if (!o->parent_path)
        printf(" subformat=%s", o->type == VHDX_TYPE_FIXED ? "fixed" : "dynamic");
    printf(" logical_sector_size=%" PRIu32 " physical_sector_size=%" PRIu32,
           o->logical_sector_size, o->physical_sector_size);
    if (preallocations[o->preallocation])
        printf(" preallocation=%s", preallocations[o->preallocation]);
    putchar('\n');
    fflush(stdout);
}

static void report_failure(const struct create_request *r, struct vhdx *parent,
                           const struct vhdx_error *err)
{
    report_error(err);
    if (err->code == VHDX_E_INVALID && !(r->create.flags & VHDX_CREATE_REPLACE) &&
        output_is_replaceable(r->path, parent))
        report_hint("-y replaces an existing file");
    else if (err->sys_errno == ENOENT)
        report_hint("the folder must exist: 'mkdir -p' makes it");
    else
        report_error_hint(err);
}

/* What creating would say, as far as it is known without trying. */
static int rehearse(const struct create_request *r, struct vhdx *parent)
{
    struct stat st;

    if (stat(r->path, &st) < 0 || (S_ISREG(st.st_mode) && st.st_size == 0))
        return EXIT_FINE;
    if ((r->create.flags & VHDX_CREATE_REPLACE) && output_is_replaceable(r->path, parent))
        return EXIT_FINE;
    report("%s: exists and would not be replaced", r->path);
    if (output_is_replaceable(r->path, parent))
        report_hint("-y replaces an existing file");
    return EXIT_FAILED;
}

/* No bar: what takes long is one pass of the disk over zeros. But it can be interrupted. */
static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    (void)done;
    (void)total;
    (void)opaque;
    return interrupt_pending();
}

static int create(struct create_run *run, const struct common_options *common,
                  struct vhdx *parent)
{
    struct create_request *r = &run->request;
    struct vhdx_open_options parent_options;
    struct vhdx_error err;

    common_open_options(common, &parent_options);
    r->create.parent_options = parent ? &parent_options : NULL;
    if (!complete_sizes(&r->create, r->size_given, parent) ||
        !may_replace(r->path, run, parent))
        return EXIT_FAILED;
    if (!run->quiet)
        print_plan(r);
    if (run->dry_run)
        return rehearse(r, parent);
    r->create.progress.fn = on_progress;
    interrupt_catch();
    if (vhdx_create(r->path, &r->create, &err) == 0)
        return EXIT_FINE;
    if (err.code == VHDX_E_CANCELLED)
        interrupt_die();
    report_failure(r, parent, &err);
    return EXIT_FAILED;
}

static void end_run(struct create_run *run)
{
    create_request_free(&run->request);
}

static int run_create(int argc, char **argv)
{
    SCOPED_WORDS struct create_words words = { 0 };
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED_IMAGE struct vhdx *parent = NULL;
    SCOPED(end_run) struct create_run run = { .request.create = VHDX_CREATE_OPTIONS_INIT };
    int exit_code;

    if (!create_words_init(&words, argc, argv))
        return EXIT_FAILED;
    if (!options_parse(words.argc, words.argv, &verb_create, &common, &run, &exit_code))
        return exit_code;
    if (run.request.help_wanted) {
        create_print_keys();
        return EXIT_FINE;
    }
    if (!take_operands(&run.request, &common) || !check_request(&run.request, &common))
        return EXIT_FAILED;
    if (run.request.create.parent_path) {
        parent = image_open(run.request.create.parent_path, VHDX_OPEN_RDONLY, &common);
        if (!parent)
            return EXIT_FAILED;
    }
    return create(&run, &common, parent);
}

static const struct option longs[] = {
    { "backing", required_argument, NULL, OPTION_BACKING },
    { "backing-format", required_argument, NULL, OPTION_BACKING_FORMAT },
    { "options", required_argument, NULL, OPTION_LIST },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { "replace", no_argument, NULL, OPTION_REPLACE },
    { "force", no_argument, NULL, OPTION_FORCE },
    { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
    { "path", required_argument, NULL, OPTION_PATH },
    { "size-bytes", required_argument, NULL, OPTION_SIZE },
    { "parent-path", required_argument, NULL, OPTION_PARENT_PATH },
    { "block-size-bytes", required_argument, NULL, OPTION_BLOCK_SIZE },
    { "logical-sector-size-bytes", required_argument, NULL, OPTION_LOGICAL },
    { "physical-sector-size-bytes", required_argument, NULL, OPTION_PHYSICAL },
    { "dynamic", no_argument, NULL, OPTION_DYNAMIC },
    { "fixed", no_argument, NULL, OPTION_FIXED },
    { "differencing", no_argument, NULL, OPTION_DIFFERENCING },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_create = {
    .name = "create",
    .alias = "new-vhd",
    .operands = "FILE SIZE | -b PARENT FILE [SIZE]",
    .summary = "create an image, or a child of an image",
    .help =
        "Creates FILE, an empty image of SIZE bytes, or a differencing image (child) of PARENT.\n"
        "FILE appears when it is complete. SIZE is rounded up to whole sectors. A parent must\n"
        "not be written to any more.\n"
        "\n"
        "Options:\n"
        "  -b, --backing PARENT     create a child of PARENT; SIZE may be left out\n"
        "  -F, --backing-format vhdx\n"
        "                           accepted for qemu-img's sake\n"
        "  -o, --options KEY=VALUE[,KEY=VALUE]...  (repeatable; '-o help' tells more)\n"
        "                           block_size, log_size, subformat, logical_sector_size,\n"
        "                           physical_sector_size, preallocation\n"
        "  -q, --quiet              do not print what is created\n"
        "  -y, --replace            replace FILE if it exists\n"
        "      --force              with -y: also if FILE is in use or has children in its\n"
        "                           folder\n"
        "      --dry-run            check the options and print the line, but create nothing\n"
        "PowerShell's words, in any case, with a space or a ':' before the value:\n"
        "  -Path FILE  -SizeBytes SIZE  -Dynamic  -Fixed  -Differencing  -ParentPath PARENT\n"
        "  -BlockSizeBytes SIZE  -LogicalSectorSizeBytes SIZE  -PhysicalSectorSizeBytes SIZE\n"
        "Of the options of all verbs, --no-parent, --any-parent and -U do not apply; --map-path\n"
        "also gives the Windows paths by which the child names its parent.\n",
    .shorts = "b:F:o:qy",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 0,
    .operands_max = 2,
    .run = run_create,
};
