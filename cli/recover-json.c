/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx recover as JSON. The schema is documented in vhdx(1): members are added to it, none is
 * renamed or given another meaning.
 */
#include "json.h"
#include "recover.h"
#include "words.h"

static struct json_object *facts_to_json(const struct recover_report *report)
{
    struct json_object *array = json_new_array();

    for (size_t i = 0; i < report->facts_count; i++) {
        const struct recover_fact *fact = &report->facts[i];
        struct json_object *object = json_new_object();
        json_add_text(object, "what", fact->name);
        json_add_text(object, "source", fact->source);
        json_add_number(object, "confidence", fact->confidence);
        if (fact->file_offset != VHDX_OFFSET_NONE)
            json_add_number(object, "file-offset", fact->file_offset);
        if (fact->value != 0)
            json_add_number(object, "value", fact->value);
        json_add_text(object, "evidence", fact->evidence);
        json_append(array, object);
    }
    return array;
}

struct json_object *recover_to_json(const struct recover_report *report)
{
    const struct vhdx_recover_result *r = &report->result;
    struct json_object *object = json_new_object();

    json_add_text(object, "filename", report->path);
    json_add_text(object, "format", "vhdx");
    json_add_text(object, "output", report->output);
    json_add_number(object, "confidence", r->confidence);
    json_add_text(object, "type", word_of_type(r->type));
    json_add_number(object, "virtual-size", r->virtual_size);
    json_add_number(object, "block-size", r->block_size);
    json_add_number(object, "logical-sector-size", r->logical_sector_size);
    if (r->metadata_offset != VHDX_OFFSET_NONE)
        json_add_number(object, "metadata-offset", r->metadata_offset);
    if (r->bat_offset != VHDX_OFFSET_NONE)
        json_add_number(object, "bat-offset", r->bat_offset);
    json_add_number(object, "lost-bytes", r->lost_bytes);
    json_add(object, "lost", lost_list_to_json(&report->lost));
    json_add_number(object, "mended", r->findings);
    json_add(object, "facts", facts_to_json(report));
    return object;
}
