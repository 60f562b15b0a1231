/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx check: what is wrong with images, and with --repair mending it. Without --repair and --undo
 * nothing is ever written. A signal ends the check, or the repair before its first change; what has
 * begun to be written is completed.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "interrupt.h"
#include "json.h"
#include "opening.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

#define EXIT_ERRORS 2 /* as qemu-img check */
#define EXIT_LEAKS 3

enum {
    OPTION_REPAIR = 'r',
    OPTION_PROGRESS = 'p',
    OPTION_QUIET = 'q',
    OPTION_VERBOSE = 'v',
    OPTION_REPAIR_LONG = OPTION_OWN,
    OPTION_DRY_RUN,
    OPTION_UNDO,
    OPTION_FORCE,
    OPTION_UNDO_FILE,
    OPTION_NO_UNDO,
    OPTION_PROFILE,
    OPTION_OUTPUT,
};

struct check_run {
    uint32_t level; /* VHDX_REPAIR_...; NONE: only look */
    bool level_is_implied; /* --repair without a word */
    bool dry_run, undo, force, no_undo, json, quiet, verbose;
    const char *undo_path;
    uint32_t profile;
    enum progress_mode progress_mode;

    const struct common_options *common;
    struct vhdx_open_options open;
    bool printed_any;
    struct json_object *list; /* with json: all files so far */
};

static void free_report(struct check_report *report)
{
    check_list_free(&report->list);
}

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

/* ---- One file -------------------------------------------------------------------------------- */

static void fill_options(const struct check_run *run, struct check_report *report,
                         struct progress *progress, struct vhdx_check_options *ret)
{
    *ret = (struct vhdx_check_options)VHDX_CHECK_OPTIONS_INIT;
    if (run->common->open_flags & VHDX_OPEN_NO_PARENT)
        ret->flags |= VHDX_CHECK_NO_PARENT;
    if (run->common->open_flags & VHDX_OPEN_NO_LOCK)
        ret->flags |= VHDX_CHECK_NO_LOCK;
    ret->profile = run->profile;
    ret->open_options = &run->open;
    if (!run->quiet || run->json)
        ret->finding = check_list_add_finding;
    ret->opaque = &report->list;
    ret->progress.fn = on_progress;
    ret->progress.opaque = progress;
}

static int repair(const struct check_run *run, struct check_report *report,
                  const struct vhdx_check_options *check, struct vhdx_error *err)
{
    struct vhdx_repair_options options = VHDX_REPAIR_OPTIONS_INIT;

    report->is_repair = true;
    report->is_dry_run = run->dry_run;
    report->level = run->level;
    report->repair = (struct vhdx_repair_result)VHDX_REPAIR_RESULT_INIT;
    report->repair.before = report->repair.after =
        (struct vhdx_check_result)VHDX_CHECK_RESULT_INIT;
    options.level = run->level;
    options.flags = (run->dry_run ? VHDX_REPAIR_DRY_RUN : 0) |
                    (run->no_undo ? VHDX_REPAIR_NO_UNDO : 0);
    options.undo_path = run->undo_path;
    options.check = check;
    options.action = !run->quiet || run->json ? check_list_add_action : NULL;
    options.opaque = &report->list;
    int r = vhdx_repair(report->path, &options, &report->repair, err);
    report->result = report->repair.after;
    return r;
}

/* had_undo_file: there was something at the place of --undo-file. */
static void report_failure(const struct check_run *run, bool had_undo_file,
                           const struct vhdx_error *err)
{
    report_error(err);
    if (run->level != VHDX_REPAIR_NONE && err->code == VHDX_E_LOCKED)
        report_hint("stop the program that has the image open ('lslocks' shows which)");
    else if (run->level != VHDX_REPAIR_NONE && err->code == VHDX_E_INVALID && had_undo_file)
        report_hint("an undo file is never overwritten: name another one, or take that repair back "
                    "with 'vhdx check --undo'");
    else if (run->level != VHDX_REPAIR_NONE && err->code == VHDX_E_NOSPACE)
        report_hint("make room, or put the undo file elsewhere with --undo-file PATH");
    else
        report_error_hint(err);
}

static void show(struct check_run *run, struct check_report *report)
{
    check_list_sort(&report->list);
    if (report->list.is_short)
        report_warning("%s: out of memory: not everything that was found is listed", report->path);
    if (run->json) {
        json_append(run->list, check_to_json(report));
        return;
    }
    if (run->quiet)
        return;
    if (run->printed_any)
        putchar('\n');
    run->printed_any = true;
    check_print_text(report);
}

static int exit_code_of(const struct vhdx_check_result *result)
{
    if (result->fatals + result->errors > 0)
        return EXIT_ERRORS;
    if (!result->complete)
        return EXIT_FAILED;
    return result->leaks > 0 ? EXIT_LEAKS : EXIT_FINE;
}

static int check_file(struct check_run *run, const char *path)
{
    SCOPED(free_report) struct check_report report = { .path = path, .is_verbose = run->verbose };
    struct vhdx_check_options options;
    struct progress progress;
    struct vhdx_error err;
    int r;

    report.result = (struct vhdx_check_result)VHDX_CHECK_RESULT_INIT;
    bool had_undo_file = run->undo_path && access(run->undo_path, F_OK) == 0;
    progress_init(&progress, run->progress_mode);
    fill_options(run, &report, &progress, &options);
    if (run->level == VHDX_REPAIR_NONE)
        r = vhdx_check(path, &options, &report.result, &err);
    else
        r = repair(run, &report, &options, &err);
    progress_finish(&progress);
    if (r < 0 && err.code == VHDX_E_CANCELLED && interrupt_pending() != 0)
        return EXIT_FAILED;
    if (r < 0) {
        report_failure(run, had_undo_file, &err);
        return EXIT_FAILED;
    }
    show(run, &report);
    return exit_code_of(&report.result);
}

/* The library has one code for both: there is no undo file, and it does not fit any more. */
static void report_undo_failure(const struct vhdx_error *err)
{
    report_error(err);
    if (err->code == VHDX_E_LOCKED)
        report_hint("stop the program that has the image open ('lslocks' shows which)");
    else if (err->code == VHDX_E_INVALID && strstr(err->message, "changed after the repair"))
        report_hint("--force takes the repair back all the same: what was written since is mixed "
                    "with what was there before");
    else if (err->code == VHDX_E_INVALID)
        report_hint("an undo file is named like the image, with '.undo' at its end; one with "
                    "another name is given as FILE itself");
    else
        report_error_hint(err);
}

static int undo_file(struct check_run *run, const char *path)
{
    struct vhdx_error err;

    if (vhdx_undo(path, run->force ? VHDX_UNDO_FORCE : 0, &err) < 0) {
        report_undo_failure(&err);
        return EXIT_FAILED;
    }
    if (run->json) {
        json_append(run->list, check_undo_to_json(path));
    } else if (!run->quiet) {
        print_text(stdout, path);
        printf(": the repair was taken back\n");
    }
    return EXIT_FINE;
}

/* ---- The command line ------------------------------------------------------------------------ */

static bool take_level(struct check_run *run, const char *arg)
{
    run->level = VHDX_REPAIR_SAFE;
    run->level_is_implied = arg == NULL;
    if (!arg || strcmp(arg, "safe") == 0 || strcmp(arg, "leaks") == 0)
        return true;
    run->level = VHDX_REPAIR_ALL;
    if (strcmp(arg, "all") == 0)
        return true;
    report("--repair: '%s' is neither safe nor all", arg);
    report_hint("safe loses nothing that can be read; all also gives up what is lost already, or "
                "rests on evidence; --dry-run shows what either would do");
    return false;
}

static bool take_profile(const char *arg, uint32_t *ret)
{
    static const char *const names[] = {
        [VHDX_PROFILE_HYPERV] = "hyperv",
        [VHDX_PROFILE_AZURE] = "azure",
        [VHDX_PROFILE_WSL] = "wsl",
    };

    for (uint32_t i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(arg, names[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    report("--profile: '%s' is not known", arg);
    report_hint("known are hyperv, azure and wsl");
    return false;
}

static bool take_option(int option, const char *arg, void *own)
{
    struct check_run *run = own;

    switch (option) {
    case OPTION_REPAIR:
    case OPTION_REPAIR_LONG:
        return take_level(run, arg);
    case OPTION_DRY_RUN:
        run->dry_run = true;
        return true;
    case OPTION_UNDO:
        run->undo = true;
        return true;
    case OPTION_FORCE:
        run->force = true;
        return true;
    case OPTION_UNDO_FILE:
        run->undo_path = arg;
        return true;
    case OPTION_NO_UNDO:
        run->no_undo = true;
        return true;
    case OPTION_PROFILE:
        return take_profile(arg, &run->profile);
    case OPTION_OUTPUT:
        return options_parse_output(arg, &run->json);
    case OPTION_VERBOSE:
        run->verbose = true;
        return true;
    case OPTION_PROGRESS:
        run->progress_mode = PROGRESS_ALWAYS;
        return true;
    default: /* OPTION_QUIET */
        run->quiet = true;
        run->progress_mode = PROGRESS_NEVER;
        return true;
    }
}

/* A row: when it is true, the command line makes no sense, and why. */
struct mistake {
    bool made;
    const char *what, *hint;
};

static bool report_mistake(const struct mistake *mistakes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!mistakes[i].made)
            continue;
        report("check: %s", mistakes[i].what);
        report_hint("%s", mistakes[i].hint);
        return true;
    }
    return false;
}

/* "--repair all disk.vhdx" would repair less than was meant, and then a file called all. */
static bool is_stray_level(const struct check_run *run, const char *operand)
{
    return run->level_is_implied && (strcmp(operand, "safe") == 0 || strcmp(operand, "all") == 0 ||
                                     strcmp(operand, "leaks") == 0);
}

static bool check_options(const struct check_run *run, const struct common_options *common)
{
    bool repair = run->level != VHDX_REPAIR_NONE, writes = repair || run->undo;
    const struct mistake mistakes[] = {
        { run->undo && repair, "--undo and --repair exclude each other",
          "take the last repair back first, then repair anew" },
        { run->undo && run->dry_run, "--undo has no --dry-run",
          "it checks everything before it changes anything" },
        { run->undo && run->undo_path, "--undo-file belongs to --repair",
          "name the undo file itself: vhdx check --undo UNDO-FILE" },
        { run->dry_run && !repair, "--dry-run needs --repair",
          "without --repair nothing is ever written; --repair=safe --dry-run shows what a repair "
          "would do" },
        { run->force && !run->undo, "--force needs --undo",
          "it is for taking a repair back of an image that was changed since" },
        { run->undo_path && !repair, "--undo-file needs --repair",
          "say how far the repair may go: --repair=safe or --repair=all" },
        { run->no_undo && !repair, "--no-undo needs --repair",
          "say how far the repair may go: --repair=safe or --repair=all" },
        { run->undo_path && run->no_undo, "--undo-file and --no-undo exclude each other",
          "leave one of them out" },
        { run->undo_path && common->operands_count > 1, "--undo-file is for one FILE",
          "repair the files one by one, or let each have its own FILE.undo" },
        { writes && (common->open_flags & VHDX_OPEN_NO_LOCK), "-U is for looking only",
          "an image must not be in use while it is changed" },
        { (common->open_flags & VHDX_OPEN_ANY_PARENT) != 0, "--any-parent does not apply",
          "a parent that does not match is one of the things that check reports" },
    };

    return !report_mistake(mistakes, sizeof(mistakes) / sizeof(mistakes[0]));
}

static bool check_stray_level(const struct check_run *run, const struct common_options *common)
{
    for (size_t i = 0; i < common->operands_count; i++) {
        if (is_stray_level(run, common->operands[i])) {
            report("check: '%s' stands where a file is expected", common->operands[i]);
            report_hint("write --repair=%s or -r %s; a file of that name is './%s'",
                        common->operands[i], common->operands[i], common->operands[i]);
            return false;
        }
    }
    return true;
}

/*
 * What the exit code of several files is: the one that tells most. Errors that were found outweigh
 * a file that could not be checked, and that outweighs leaks: 3 promises that nothing is worse.
 */
static int worse(int one, int other)
{
    static const int order[] = { EXIT_ERRORS, EXIT_FAILED, EXIT_LEAKS };

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (one == order[i] || other == order[i])
            return order[i];
    return EXIT_FINE;
}

static void print_json(const struct check_run *run)
{
    struct json_object *printed =
        run->common->operands_count == 1 ? json_first(run->list) : run->list;

    if (printed)
        json_print(printed);
    json_free(run->list);
}

static int run_check(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    struct check_run run = { .common = &common };
    int exit_code;

    interrupt_catch_query();
    if (!options_parse(argc, argv, &verb_check, &common, &run, &exit_code))
        return exit_code;
    if (!check_stray_level(&run, &common) || !check_options(&run, &common))
        return EXIT_FAILED;
    common_open_options(&common, &run.open);
    if (run.json)
        run.list = json_new_array();
    interrupt_catch();
    exit_code = EXIT_FINE;
    for (size_t i = 0; i < common.operands_count && interrupt_pending() == 0; i++) {
        const char *path = common.operands[i];
        exit_code = worse(exit_code, run.undo ? undo_file(&run, path) : check_file(&run, path));
    }
    if (run.json)
        print_json(&run);
    if (interrupt_pending() != 0) {
        fflush(stdout); /* what is done is told */
        interrupt_die();
    }
    return exit_code;
}

static const struct option longs[] = {
    { "repair", optional_argument, NULL, OPTION_REPAIR_LONG },
    { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
    { "undo-file", required_argument, NULL, OPTION_UNDO_FILE },
    { "no-undo", no_argument, NULL, OPTION_NO_UNDO },
    { "undo", no_argument, NULL, OPTION_UNDO },
    { "force", no_argument, NULL, OPTION_FORCE },
    { "profile", required_argument, NULL, OPTION_PROFILE },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "verbose", no_argument, NULL, OPTION_VERBOSE },
    { "progress", no_argument, NULL, OPTION_PROGRESS },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_check = {
    .name = "check",
    .alias = "test",
    .operands = "FILE...",
    .summary = "find what is wrong with images, and repair it",
    .help =
        "Looks at every structure of images and says what is wrong, what comes of it and what\n"
        "would mend it. Writes nothing without --repair or --undo. Exits with 0 when nothing is\n"
        "wrong, 1 when an image could not be checked, 2 after errors, 3 when only space is\n"
        "wasted; after a repair, by what is left.\n"
        "\n"
        "Options:\n"
        "  -r, --repair[=LEVEL]     mend what is wrong: safe (default) loses nothing that can be\n"
        "                           read, all also gives up what is lost already; -r needs the\n"
        "                           word (leaks, qemu-img's word, is safe)\n"
        "      --dry-run            with --repair: say what would be done, write nothing\n"
        "      --undo-file PATH     save what a repair changes there, not in FILE.undo\n"
        "      --no-undo            save nothing: the repair cannot be taken back\n"
        "      --undo               take a repair back; FILE is the image or its undo file\n"
        "      --force              with --undo: also if the image was changed since\n"
        "      --profile NAME       find also what keeps an image from being used with hyperv,\n"
        "                           azure or wsl\n"
        "      --output human|json  text for people (default) or JSON with qemu-img's keys\n"
        "  -v, --verbose            list everything, and what comes of notes too\n"
        "  -p, --progress           show progress even if standard error is no terminal\n"
        "  -q, --quiet              print nothing but what kept an image from being checked\n"
        "Of the options of all verbs, --any-parent does not apply, and -U not to repairs.\n",
    .shorts = "r:vpq",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .run = run_check,
};
