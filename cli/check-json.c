/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx check as JSON. The schema is documented in vhdx(1): members are added to it, none is renamed
 * or given another meaning. What qemu-img check prints too has its name.
 */
#include "check.h"
#include "json.h"
#include "words.h"

static void add_place(struct json_object *object, uint64_t file_offset)
{
    if (file_offset != VHDX_OFFSET_NONE)
        json_add_number(object, "file-offset", file_offset);
}

static struct json_object *finding_to_json(const struct vhdx_finding *finding)
{
    struct json_object *object = json_new_object();

    json_add_number(object, "id", finding->problem);
    json_add_text(object, "name", finding->name);
    json_add_text(object, "severity", word_of_severity(finding->severity));
    json_add_text(object, "repair", word_of_repair(finding->repair));
    json_add_text(object, "message", finding->message);
    json_add_text(object, "effect", finding->effect);
    json_add_text(object, "remedy", finding->remedy);
    add_place(object, finding->file_offset);
    if (finding->virtual_length > 0) {
        json_add_number(object, "virtual-offset", finding->virtual_offset);
        json_add_number(object, "virtual-length", finding->virtual_length);
    }
    return object;
}

static struct json_object *action_to_json(const struct vhdx_action *action)
{
    struct json_object *object = json_new_object();

    json_add_number(object, "id", action->problem);
    json_add_text(object, "name", vhdx_problem_name(action->problem));
    json_add_text(object, "message", action->message);
    add_place(object, action->file_offset);
    if (action->lost_length > 0) {
        json_add_number(object, "lost-offset", action->lost_offset);
        json_add_number(object, "lost-length", action->lost_length);
    }
    return object;
}

static struct json_object *losses_to_json(const struct check_list *list)
{
    struct json_object *array = json_new_array();

    for (size_t i = 0; i < list->losses_count; i++) {
        struct json_object *range = json_new_object();
        json_add_number(range, "offset", list->losses[i].offset);
        json_add_number(range, "length", list->losses[i].length);
        json_append(array, range);
    }
    return array;
}

static struct json_object *repair_to_json(const struct check_report *report)
{
    struct json_object *object = json_new_object();
    struct json_object *actions = json_new_array();
    const char *undo_path = report->repair.undo_path;

    json_add_text(object, "level", word_of_repair(report->level));
    json_add_bool(object, "dry-run", report->is_dry_run);
    json_add_bool(object, "changed", report->repair.is_changed);
    json_add_text(object, "undo-file", undo_path[0] != '\0' ? undo_path : NULL);
    json_add_number(object, "lost-bytes", report->repair.lost_bytes);
    json_add(object, "lost-ranges", losses_to_json(&report->list));
    json_add_number(object, "actions-total", report->repair.actions);
    for (size_t i = 0; i < report->list.actions_count; i++)
        json_append(actions, action_to_json(&report->list.actions[i].facts));
    json_add(object, "actions", actions);
    return object;
}

static void add_severities(struct json_object *object, const struct vhdx_check_result *result)
{
    json_add_number(object, "leaks", result->leaks);
    json_add_number(object, "notes", result->notes);
    json_add_number(object, "errors", result->errors);
    json_add_number(object, "fatals", result->fatals);
}

static void add_result(struct json_object *object, const struct vhdx_check_result *result)
{
    json_add_number(object, "check-errors", result->complete ? 0 : 1);
    json_add_number(object, "corruptions", result->errors + result->fatals);
    add_severities(object, result);
    json_add_number(object, "repairable-safe", result->repairable_safe);
    json_add_number(object, "repairable-all", result->repairable_all);
    json_add_bool(object, "complete", result->complete);
    json_add_number(object, "total-clusters", result->total_blocks);
    json_add_number(object, "allocated-clusters", result->allocated_blocks);
    json_add_number(object, "fragmented-clusters", result->fragmented_blocks);
    json_add_number(object, "image-end-offset", result->image_end_offset);
    json_add_number(object, "file-size", result->file_size);
    json_add_number(object, "lost-bytes", result->lost_bytes);
    json_add_number(object, "leaked-bytes", result->leaked_bytes);
}

struct json_object *check_to_json(const struct check_report *report)
{
    struct json_object *object = json_new_object();
    struct json_object *findings = json_new_array();

    json_add_text(object, "filename", report->path);
    json_add_text(object, "format", "vhdx");
    add_result(object, &report->result);
    for (size_t i = 0; i < report->list.findings_count; i++)
        json_append(findings, finding_to_json(&report->list.findings[i].facts));
    json_add(object, "findings", findings);
    if (report->is_repair) {
        struct json_object *before = json_new_object();
        add_severities(before, &report->repair.before);
        json_add(object, "before", before);
        json_add(object, "repair", repair_to_json(report));
    }
    return object;
}

struct json_object *check_undo_to_json(const char *path)
{
    struct json_object *object = json_new_object();

    json_add_text(object, "filename", path);
    json_add_text(object, "format", "vhdx");
    json_add_bool(object, "undone", true);
    return object;
}
