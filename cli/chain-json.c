/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx chain as JSON. The schema is documented in vhdx(1): members are added to it, none is renamed
 * or given another meaning.
 */
#include "chain.h"
#include "json.h"
#include "opening.h"
#include "words.h"

static void add_facts(struct json_object *object, const struct vhdx_link *link)
{
    json_add_text(object, "data-write-guid", link->data_write_guid);
    json_add_text(object, "type", word_of_type(link->type));
    json_add_number(object, "virtual-size", link->virtual_size);
    json_add_number(object, "file-size", link->file_size);
    json_add_number(object, "block-size", link->block_size);
    json_add_number(object, "logical-sector-size", link->logical_sector_size);
    json_add_text(object, "log-state", word_of_log_state(link->log_state));
}

static struct json_object *link_to_json(const struct vhdx_link *link, const char *path)
{
    struct json_object *object = json_new_object();

    json_add_number(object, "depth", link->depth);
    json_add_text(object, "status", word_of_link_status(link->status));
    if (link->depth == 0) {
        json_add_text(object, "filename", link->path ? link->path : path);
    } else {
        json_add_text(object, "filename", link->path);
        json_add_text(object, "found-by", word_of_found_by(link->found_by));
        json_add_text(object, "wanted-guid", link->wanted_guid);
    }
    if (chain_link_is_open(link))
        add_facts(object, link);
    json_add_text(object, "problem", link->problem);

    struct json_object *steps = json_new_array();
    for (size_t i = 0; i < link->steps_count; i++)
        json_append_text(steps, link->steps[i]);
    json_add(object, "steps", steps);
    return object;
}

struct json_object *chain_to_json(struct vhdx *v, const char *path)
{
    struct json_object *object = json_new_object();
    struct json_object *links = json_new_array();
    struct vhdx_link link;

    json_add_text(object, "filename", path);
    json_add_bool(object, "whole", chain_is_whole(v));
    for (uint32_t depth = 0; image_link(v, depth, &link); depth++)
        json_append(links, link_to_json(&link, path));
    json_add(object, "chain", links);
    return object;
}
