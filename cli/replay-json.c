/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx replay as JSON. The schema is documented in vhdx(1): members are added to it, none is
 * renamed or given another meaning.
 */
#include "json.h"
#include "replay.h"
#include "words.h"

struct json_object *replay_to_json(const char *path, bool is_dry_run,
                                   const struct vhdx_replay_result *result)
{
    struct json_object *object = json_new_object();

    json_add_text(object, "filename", path);
    json_add_text(object, "format", "vhdx");
    json_add_bool(object, "dry-run", is_dry_run);
    json_add_text(object, "log-state", word_of_log_state(result->log_state));
    json_add_number(object, "entries", result->entries);
    if (result->entries > 0) {
        json_add_number(object, "first-sequence-number", result->first_sequence_number);
        json_add_number(object, "last-sequence-number", result->last_sequence_number);
    }
    json_add_number(object, "written-bytes", result->written_bytes);
    json_add_number(object, "zeroed-bytes", result->zeroed_bytes);
    json_add_number(object, "old-file-size", result->old_file_size);
    json_add_number(object, "new-file-size", result->new_file_size);
    return object;
}
