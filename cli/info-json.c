/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx info as JSON. The schema is documented in vhdx(1): members are added to it, none is renamed
 * or given another meaning.
 */
#include "info.h"
#include "json.h"
#include "words.h"

static struct json_object *copies_to_json(const struct vhdx_copy_info copies[2], bool numbered)
{
    struct json_object *array = json_new_array();

    for (int i = 0; i < 2; i++) {
        struct json_object *copy = json_new_object();
        json_add_bool(copy, "valid", copies[i].valid);
        json_add_bool(copy, "in-use", copies[i].in_use);
        if (numbered)
            json_add_number(copy, "sequence-number", copies[i].sequence_number);
        json_add_text(copy, "problem", copies[i].problem);
        json_append(array, copy);
    }
    return array;
}

static struct json_object *log_to_json(const struct vhdx_info *info)
{
    struct json_object *log = json_new_object();

    json_add_text(log, "state", word_of_log_state(info->log_state));
    json_add_number(log, "offset", info->log_offset);
    json_add_number(log, "length", info->log_length);
    json_add_number(log, "entries", info->log_entries);
    if (info->log_entries > 0) {
        json_add_number(log, "first-sequence-number", info->log_first_sequence_number);
        json_add_number(log, "last-sequence-number", info->log_last_sequence_number);
    }
    return log;
}

static void add_regions(struct json_object *data, const struct vhdx_info *info)
{
    struct json_object *metadata = json_new_object();
    struct json_object *bat = json_new_object();

    json_add_number(metadata, "offset", info->metadata_offset);
    json_add_number(metadata, "length", info->metadata_length);
    json_add(data, "metadata", metadata);
    json_add_number(bat, "offset", info->bat_offset);
    json_add_number(bat, "length", info->bat_length);
    json_add_number(bat, "entries", info->bat_entries);
    json_add(data, "bat", bat);
}

static struct json_object *strings_to_json(const char *const *strings, size_t count)
{
    struct json_object *array = json_new_array();

    for (size_t i = 0; i < count; i++)
        json_append_text(array, strings[i]);
    return array;
}

static struct json_object *link_to_json(const struct vhdx_link *link)
{
    struct json_object *object = json_new_object();

    json_add_number(object, "depth", link->depth);
    json_add_text(object, "status", word_of_link_status(link->status));
    json_add_text(object, "found-by", word_of_found_by(link->found_by));
    json_add_text(object, "filename", link->path);
    json_add_text(object, "wanted-guid", link->wanted_guid);
    json_add_text(object, "problem", link->problem);
    json_add(object, "steps", strings_to_json(link->steps, link->steps_count));
    return object;
}

static void add_parent(struct json_object *data, const struct info_facts *facts)
{
    if (facts->info.type != VHDX_TYPE_DIFFERENCING)
        return;

    struct json_object *locator = json_new_object();
    for (size_t i = 0; i < facts->info.locator_count; i++)
        json_add_text(locator, facts->info.locator[i].key, facts->info.locator[i].value);
    json_add(data, "parent-locator", locator);
    if (facts->has_parent)
        json_add(data, "parent", link_to_json(&facts->parent));
    if (facts->chain_ends_early)
        json_add(data, "chain-end", link_to_json(&facts->end));
}

static struct json_object *stats_to_json(const struct vhdx_stats *stats)
{
    struct json_object *object = json_new_object();

    json_add_number(object, "payload-blocks", stats->payload_blocks);
    json_add_number(object, "not-present", stats->not_present);
    json_add_number(object, "undefined", stats->undefined);
    json_add_number(object, "zero", stats->zero);
    json_add_number(object, "unmapped", stats->unmapped);
    json_add_number(object, "fully-present", stats->fully_present);
    json_add_number(object, "partially-present", stats->partially_present);
    json_add_number(object, "bitmap-blocks", stats->bitmap_blocks);
    json_add_number(object, "anchored-blocks", stats->anchored_blocks);
    json_add_number(object, "lost-blocks", stats->lost_blocks);
    json_add_number(object, "cut-blocks", stats->cut_blocks);
    json_add_number(object, "required-file-size", stats->required_file_size);
    return object;
}

static void add_stats(struct json_object *data, const struct info_facts *facts)
{
    if (facts->stats_wanted && facts->stats_known)
        json_add(data, "stats", stats_to_json(&facts->stats));
    json_add_text(data, "stats-problem", facts->stats_problem);
    if (!info_is_truncated(facts))
        return;

    struct json_object *truncated = json_new_object();
    json_add_number(truncated, "file-size", facts->info.file_size);
    json_add_number(truncated, "required-file-size", facts->stats.required_file_size);
    json_add_number(truncated, "lost-blocks", facts->stats.lost_blocks);
    json_add_number(truncated, "cut-blocks", facts->stats.cut_blocks);
    json_add(data, "truncated", truncated);
}

static struct json_object *data_to_json(const struct info_facts *facts)
{
    const struct vhdx_info *info = &facts->info;
    struct json_object *data = json_new_object();

    json_add_text(data, "type", word_of_type(info->type));
    json_add_number(data, "file-size", info->file_size);
    json_add_number(data, "block-size", info->block_size);
    json_add_number(data, "logical-sector-size", info->logical_sector_size);
    json_add_number(data, "physical-sector-size", info->physical_sector_size);
    json_add_text(data, "creator", info->creator);
    json_add_text(data, "virtual-disk-id", info->virtual_disk_id);
    json_add_text(data, "file-write-guid", info->file_write_guid);
    json_add_text(data, "data-write-guid", info->data_write_guid);
    json_add_text(data, "log-guid", info->log_guid);
    json_add(data, "headers", copies_to_json(info->headers, true));
    json_add(data, "region-tables", copies_to_json(info->region_tables, false));
    json_add(data, "log", log_to_json(info));
    add_regions(data, info);
    json_add_number(data, "chain-length", info->chain_length);
    add_parent(data, facts);
    add_stats(data, facts);
    json_add(data, "notes", strings_to_json(info->notes, info->notes_count));
    return data;
}

struct json_object *info_to_json(const struct info_facts *facts)
{
    struct json_object *image = json_new_object();
    struct json_object *specific = json_new_object();
    const char *backing = info_backing_name(facts);

    json_add_text(image, "filename", facts->path);
    json_add_text(image, "format", "vhdx");
    json_add_number(image, "virtual-size", facts->info.virtual_size);
    json_add_number(image, "actual-size", facts->disk_usage);
    json_add_number(image, "cluster-size", facts->info.block_size);
    json_add_bool(image, "dirty-flag", facts->info.log_state == VHDX_LOG_DIRTY);
    json_add_text(image, "backing-filename", backing);
    if (info_parent_is_open(facts))
        json_add_text(image, "full-backing-filename", facts->parent.path);
    json_add_text(image, "backing-filename-format", backing ? "vhdx" : NULL);
    json_add_text(specific, "type", "vhdx");
    json_add(specific, "data", data_to_json(facts));
    json_add(image, "format-specific", specific);
    return image;
}
