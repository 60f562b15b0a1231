/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx replay: brings a log that was left behind into the file, for programs that cannot do that
 * themselves. It takes no longer than writing the log once more, and is not interrupted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "options.h"
#include "output.h"
#include "replay.h"
#include "report.h"
#include "verb.h"

enum { OPTION_DRY_RUN = OPTION_OWN, OPTION_OUTPUT, OPTION_QUIET = 'q' };

struct replay_run {
    bool dry_run, json, quiet;
};

static void print_changes(const struct vhdx_replay_result *result, bool is_dry_run)
{
    bool is_one = result->entries == 1;

    printf("%s %" PRIu32 " log entr%s, sequence number%s %" PRIu64,
           is_dry_run ? "would replay" : "replayed", result->entries, is_one ? "y" : "ies",
           is_one ? "" : "s", result->first_sequence_number);
    if (!is_one)
        printf(" to %" PRIu64, result->last_sequence_number);
    printf("\n    written: %" PRIu64 " bytes\n    zeroed: %" PRIu64 " bytes\n",
           result->written_bytes, result->zeroed_bytes);
    if (result->old_file_size == result->new_file_size)
        printf("    file size: %" PRIu64 ", unchanged\n", result->new_file_size);
    else
        printf("    file size: %" PRIu64 ", was %" PRIu64 "\n", result->new_file_size,
               result->old_file_size);
}

static void print_result(const char *path, const struct vhdx_replay_result *result,
                         bool is_dry_run)
{
    print_text(stdout, path);
    printf(": ");
    if (result->log_state == VHDX_LOG_DIRTY)
        print_changes(result, is_dry_run);
    else if (result->log_state == VHDX_LOG_EMPTY)
        printf("the log is marked as in use, but empty: nothing to replay%s\n",
               is_dry_run ? "" : "; it is marked as clean now");
    else
        printf("the log is clean: nothing to replay\n");
}

static bool take_option(int option, const char *arg, void *own)
{
    struct replay_run *run = own;

    switch (option) {
    case OPTION_DRY_RUN:
        run->dry_run = true;
        return true;
    case OPTION_OUTPUT:
        return options_parse_output(arg, &run->json);
    default: /* OPTION_QUIET */
        run->quiet = true;
        return true;
    }
}

static void report_failure(const char *path, const struct vhdx_error *err)
{
    report_error(err);
    if (err->code == VHDX_E_LOCKED)
        report_hint("stop the program that has the image open ('lslocks' shows which)");
    else if (err->code == VHDX_E_CORRUPT || err->code == VHDX_E_CHECKSUM)
        report_hint("'vhdx check' tells what is wrong with %s, and what a repair would do", path);
    else
        report_error_hint(err);
}

static int run_replay(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    struct replay_run run = { 0 };
    struct vhdx_replay_result result = VHDX_REPLAY_RESULT_INIT;
    struct vhdx_error err;
    int exit_code;

    if (!options_parse(argc, argv, &verb_replay, &common, &run, &exit_code))
        return exit_code;
    if (common.open_flags & VHDX_OPEN_NO_LOCK) {
        report("replay: -U does not apply");
        report_hint("an image must not be in use while its log is replayed");
        return EXIT_FAILED;
    }
    const char *path = common.operands[0];
    if (vhdx_replay(path, run.dry_run ? VHDX_REPLAY_DRY_RUN : 0, &result, &err) < 0) {
        report_failure(path, &err);
        return EXIT_FAILED;
    }
    if (run.json) {
        struct json_object *object = replay_to_json(path, run.dry_run, &result);
        json_print(object);
        json_free(object);
    } else if (!run.quiet) {
        print_result(path, &result, run.dry_run);
    }
    return EXIT_FINE;
}

static const struct option longs[] = {
    { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_replay = {
    .name = "replay",
    .operands = "FILE",
    .summary = "bring the log of an image into its file",
    .help =
        "Replays the log that a crash left in an image into the image's file, says what that\n"
        "changed, and marks the log as clean. Programs that ignore logs then read the image\n"
        "right. Nothing else is changed; an image with a clean log is left alone. Of a child no\n"
        "parent is needed.\n"
        "\n"
        "Options:\n"
        "      --dry-run            say what would be done, write nothing\n"
        "      --output human|json  text for people (default) or JSON\n"
        "  -q, --quiet              print nothing but what went wrong\n"
        "Of the options of all verbs, those about parents have no effect, and -U is refused.\n",
    .shorts = "q",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_replay,
};
