/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx convert --salvage as JSON. The schema is documented in vhdx(1): members are added to it,
 * none is renamed or given another meaning.
 */
#include "json.h"
#include "lost.h"
#include "salvage.h"

struct json_object *lost_list_to_json(const struct lost_list *list)
{
    struct json_object *array = json_new_array();

    for (size_t i = 0; i < list->count; i++) {
        struct json_object *range = json_new_object();
        json_add_number(range, "offset", list->ranges[i].offset);
        json_add_number(range, "length", list->ranges[i].length);
        json_append(array, range);
    }
    return array;
}

struct json_object *salvage_to_json(const struct salvage_report *report)
{
    struct json_object *object = json_new_object();

    json_add_text(object, "filename", report->path);
    json_add_text(object, "format", "vhdx");
    json_add_text(object, "output", report->output);
    json_add_number(object, "virtual-size", report->result.virtual_size);
    json_add_number(object, "lost-bytes", report->result.lost_bytes);
    json_add(object, "lost", lost_list_to_json(&report->lost));
    json_add_number(object, "mended", report->result.findings);
    json_add_text(object, "map-file", report->map_path);
    return object;
}
