/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx check for people: what was found, the worst first; what a repair did about it; and the sum
 * of it all, with the totals of qemu-img check.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "output.h"
#include "words.h"

#define SHOWN_MAX 10 /* of one kind, unless all are wanted */
#define COUNTS_TEXT 128

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_message(const char *message, uint64_t file_offset)
{
    print_text(stdout, message);
    if (file_offset != VHDX_OFFSET_NONE)
        printf(" (file offset %" PRIu64 ")", file_offset);
    putchar('\n');
}

static void print_range(const char *label, uint64_t offset, uint64_t length)
{
    char size[HUMAN_SIZE_TEXT];

    printf("    %s: offset %" PRIu64 ", length %" PRIu64 " (%s)\n", label, offset, length,
           human_size(length, size));
}

/* ---- Findings -----------------------------------------------------------------------------------
 *
 * A kind is a problem and a severity. The findings of one stand together, and their common effect
 * and remedy below the last of them.
 */

static bool is_same_kind(const struct vhdx_finding *a, const struct vhdx_finding *b)
{
    return a->problem == b->problem && a->severity == b->severity;
}

static bool has_same_remarks(const struct vhdx_finding *a, const struct vhdx_finding *b)
{
    return strcmp(a->effect, b->effect) == 0 && strcmp(a->remedy, b->remedy) == 0 &&
           a->repair == b->repair;
}

/* The number of findings from first on that are of its kind. */
static size_t kind_length(const struct check_list *list, size_t first)
{
    size_t end = first + 1;

    while (end < list->findings_count &&
           is_same_kind(&list->findings[first].facts, &list->findings[end].facts))
        end++;
    return end - first;
}

/* What to do next, where that is an option of this tool. */
static const char *hint_for(uint32_t problem)
{
    switch (problem) {
    case VHDX_P_PARENT_MISSING:
    case VHDX_P_PARENT_OTHER:
        return "name the parent with --parent FILE, or say where to look with --search-dir DIR or "
               "--map-path 'C:\\VMs=/mnt/vms'; --no-parent checks this image alone";
    case VHDX_P_LOG_DIRTY:
        return "'vhdx replay' does this and nothing else";
    default:
        return NULL;
    }
}

static void print_repair_of(const struct vhdx_finding *finding)
{
    if (finding->repair == VHDX_REPAIR_NONE) {
        if (finding->severity != VHDX_SEVERITY_NOTE)
            printf("    repair: not possible\n");
        return;
    }
    printf("    repair: ");
    print_text(stdout, finding->remedy);
    printf(" (--repair=%s)\n", word_of_repair(finding->repair));
}

static void print_remarks(const struct vhdx_finding *finding)
{
    const char *hint = hint_for(finding->problem);

    if (finding->effect[0] != '\0') {
        printf("    effect: ");
        print_text(stdout, finding->effect);
        putchar('\n');
    }
    print_repair_of(finding);
    if (hint)
        printf("    hint: %s\n", hint);
}

static void print_finding(const struct vhdx_finding *finding, bool is_brief)
{
    printf("%s %s: ", word_of_severity(finding->severity), finding->name);
    print_message(finding->message, finding->file_offset);
    if (finding->virtual_length > 0 && !is_brief)
        print_range("disk", finding->virtual_offset, finding->virtual_length);
}

static uint64_t count_of(const struct vhdx_check_result *result, uint32_t severity)
{
    switch (severity) {
    case VHDX_SEVERITY_NOTE:
        return result->notes;
    case VHDX_SEVERITY_LEAK:
        return result->leaks;
    case VHDX_SEVERITY_ERROR:
        return result->errors;
    default:
        return result->fatals;
    }
}

/*
 * How many findings of this kind there are beyond the reported ones. The library counts them by
 * severity only: the difference belongs to the one kind of which it reported as many as it does at
 * most. Where several kinds come into question *ret_is_least is set, and the result is 0.
 */
static uint64_t count_unreported(const struct check_list *list,
                                 const struct vhdx_check_result *found, size_t first,
                                 bool *ret_is_least)
{
    uint32_t severity = list->findings[first].facts.severity;
    uint64_t reported = 0, full_kinds = 0, length;

    *ret_is_least = false;
    if (kind_length(list, first) < CHECK_KEPT_MAX)
        return 0;
    for (size_t i = 0; i < list->findings_count; i += length) {
        length = kind_length(list, i);
        if (list->findings[i].facts.severity != severity)
            continue;
        reported += length;
        full_kinds += length >= CHECK_KEPT_MAX;
    }
    uint64_t counted = count_of(found, severity);
    if (counted <= reported)
        return 0;
    *ret_is_least = full_kinds > 1;
    return *ret_is_least ? 0 : counted - reported;
}

static void print_kind(const struct check_report *report, size_t first, size_t length)
{
    const struct check_finding *findings = report->list.findings + first;
    const struct vhdx_check_result *found =
        report->is_repair ? &report->repair.before : &report->result;
    bool is_brief = findings[0].facts.severity == VHDX_SEVERITY_NOTE && !report->is_verbose;
    bool is_least;
    size_t shown = length > SHOWN_MAX && !report->is_verbose ? SHOWN_MAX : length;

    for (size_t i = 0; i < shown; i++) {
        const struct vhdx_finding *finding = &findings[i].facts;
        print_finding(finding, is_brief);
        if (i + 1 < shown && has_same_remarks(finding, &findings[i + 1].facts))
            continue;
        if (i + 1 == shown) {
            uint64_t more = length - shown + count_unreported(&report->list, found, first,
                                                              &is_least);
            if (more > 0 || is_least)
                printf("    ... and %s%" PRIu64 " more %s\n", is_least ? "more than " : "", more,
                       finding->name);
        }
        if (!is_brief)
            print_remarks(finding);
    }
    if (!is_brief)
        putchar('\n');
}

static void print_findings(const struct check_report *report)
{
    const struct check_list *list = &report->list;
    bool any_notes = false;

    for (size_t i = 0, length; i < list->findings_count; i += length) {
        length = kind_length(list, i);
        any_notes |= list->findings[i].facts.severity == VHDX_SEVERITY_NOTE;
        print_kind(report, i, length);
    }
    if (any_notes && !report->is_verbose)
        putchar('\n');
}

/* ---- Repair ---------------------------------------------------------------------------------- */

/* In the order in which they were done; of each problem the first ones. */
static void print_actions(const struct check_report *report)
{
    const struct check_list *list = &report->list;
    uint64_t shown[CHECK_KINDS_MAX] = { 0 };

    if (list->actions_count > 0)
        printf("%s:\n", report->is_dry_run ? "a repair would do this" : "done");
    for (size_t i = 0; i < list->actions_count; i++) {
        const struct vhdx_action *action = &list->actions[i].facts;
        size_t kind = check_list_kind(list, action->problem);
        if (shown[kind] == SHOWN_MAX && !report->is_verbose)
            continue;
        shown[kind]++;
        printf("    ");
        print_message(action->message, action->file_offset);
    }
    for (size_t k = 0; k < list->kinds_count; k++) {
        const char *name = vhdx_problem_name(list->kinds[k].problem);
        if (list->kinds[k].count > shown[k])
            printf("    ... and %" PRIu64 " more against %s\n", list->kinds[k].count - shown[k],
                   name ? name : "?");
    }
}

static void print_losses(const struct check_report *report)
{
    const struct check_list *list = &report->list;
    char size[HUMAN_SIZE_TEXT];

    if (report->repair.lost_bytes == 0 && list->losses_count == 0)
        return;
    printf("%s: %" PRIu64 " bytes of the disk (%s)\n",
           report->is_dry_run ? "this would give up" : "given up", report->repair.lost_bytes,
           human_size(report->repair.lost_bytes, size));
    for (size_t i = 0; i < list->losses_count; i++)
        print_range("disk", list->losses[i].offset, list->losses[i].length);
}

/* A word as a POSIX shell reads it. */
static void print_shell_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+:,@%=";

    if (word[0] == '-')
        printf("-- ");
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        printf("%s", word);
        return;
    }
    putchar('\'');
    while (*word != '\0') {
        char letter[5] = { 0 };
        uint32_t code_point;
        size_t len = utf8_next(word, &code_point);

        len = len > 0 ? len : 1;
        memcpy(letter, word, len);
        print_text(stdout, letter[0] == '\'' ? "'\\''" : letter);
        word += len;
    }
    putchar('\'');
}

/* The undo file at its default place is found by the image's name. */
static bool is_default_undo(const char *path, const char *undo_path)
{
    size_t len = strlen(path);

    return strncmp(path, undo_path, len) == 0 && strcmp(undo_path + len, ".undo") == 0;
}

static void print_undo(const struct check_report *report)
{
    const char *undo_path = report->repair.undo_path;

    if (undo_path[0] == '\0')
        return;
    printf("undo file: ");
    print_text(stdout, undo_path);
    printf("\n    takes the repair back: vhdx check --undo ");
    print_shell_word(is_default_undo(report->path, undo_path) ? report->path : undo_path);
    putchar('\n');
}

static void print_repair(const struct check_report *report)
{
    print_actions(report);
    print_losses(report);
    print_undo(report);
    if (report->list.actions_count > 0 || report->repair.undo_path[0] != '\0')
        putchar('\n');
}

/* ---- The sum --------------------------------------------------------------------------------- */

/* Appends "3 leaks" to a list in text, which has room for all four of them. */
static void append_count(char text[COUNTS_TEXT], uint64_t count, const char *what)
{
    size_t used = strlen(text);

    if (count > 0)
        snprintf(text + used, COUNTS_TEXT - used, "%s%" PRIu64 " %s%s", used > 0 ? ", " : "",
                 count, what, plural(count));
}

/* "2 errors, 1 note", "clean, 1 note", "clean". */
static const char *format_counts(const struct vhdx_check_result *result, char text[COUNTS_TEXT])
{
    snprintf(text, COUNTS_TEXT, "%s",
             result->fatals + result->errors + result->leaks > 0 ? "" :
             result->complete ? "clean" : "nothing found");
    append_count(text, result->fatals, "fatal error");
    append_count(text, result->errors, "error");
    append_count(text, result->leaks, "leak");
    append_count(text, result->notes, "note");
    return text;
}

/* "; --repair=safe mends 2 of them, --repair=all 1 more" */
static void print_prospects(const struct vhdx_check_result *result)
{
    uint64_t all = result->fatals + result->errors + result->leaks + result->notes;
    bool is_one = all == 1, is_bad = all > result->notes;

    if (result->repairable_safe > 0) {
        printf("; --repair=safe mends %" PRIu64 "%s", result->repairable_safe,
               is_one ? "" : " of them");
        if (result->repairable_all > 0)
            printf(", --repair=all %" PRIu64 " more", result->repairable_all);
    } else if (result->repairable_all > 0) {
        printf("; --repair=all mends %" PRIu64 "%s", result->repairable_all,
               is_one ? "" : " of them");
    } else if (is_bad) {
        printf("; no repair mends %s", is_one ? "it" : "them");
    }
}

/* "clean after the repair" */
static void print_outcome(const struct check_report *report)
{
    char before[COUNTS_TEXT], after[COUNTS_TEXT];

    format_counts(&report->repair.before, before);
    format_counts(&report->result, after);
    if (!report->repair.is_changed)
        printf("%s; nothing %s", before, report->is_dry_run ? "would be changed" : "was changed");
    else if (report->is_dry_run)
        printf("%s; after a repair: %s", before, after);
    else
        printf("%s; after the repair: %s", before, after);
}

static void print_totals(const struct vhdx_check_result *result)
{
    char size[HUMAN_SIZE_TEXT];
    uint64_t total = result->total_blocks, allocated = result->allocated_blocks;

    if (result->lost_bytes > 0)
        printf("lost: %" PRIu64 " bytes of the disk (%s) cannot be read\n", result->lost_bytes,
               human_size(result->lost_bytes, size));
    if (result->leaked_bytes > 0)
        printf("leaked: %" PRIu64 " bytes of the file (%s)\n", result->leaked_bytes,
               human_size(result->leaked_bytes, size));
    if (total > 0)
        printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented\n", allocated, total,
               (double)allocated * 100 / (double)total,
               allocated > 0 ? (double)result->fragmented_blocks * 100 / (double)allocated : 0.0);
    if (result->image_end_offset > 0)
        printf("Image end offset: %" PRIu64 "\n", result->image_end_offset);
}

void check_print_text(const struct check_report *report)
{
    char counts[COUNTS_TEXT];

    print_findings(report);
    if (report->is_repair)
        print_repair(report);
    print_text(stdout, report->path);
    printf(": ");
    if (report->is_repair)
        print_outcome(report);
    else
        printf("%s", format_counts(&report->result, counts));
    print_prospects(&report->result);
    putchar('\n');
    if (!report->result.complete)
        printf("not everything could be looked at: more may be wrong\n");
    print_totals(&report->result);
}
