/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Stands for json.c and the *-json.c files in a build without json-c. Only the first function is
 * ever called: options.c refuses --output=json.
 */
#include <assert.h>
#include <stddef.h>

#include "chain.h"
#include "check.h"
#include "info.h"
#include "json.h"
#include "recover.h"
#include "replay.h"
#include "salvage.h"

bool json_supported(void)
{
    return false;
}

struct json_object *json_new_array(void)
{
    assert(!"built without JSON");
    return NULL;
}

void json_append(struct json_object *array, struct json_object *value)
{
    (void)array;
    (void)value;
    assert(!"built without JSON");
}

struct json_object *json_first(struct json_object *array)
{
    return array;
}

void json_write(FILE *stream, struct json_object *value)
{
    (void)stream;
    (void)value;
    assert(!"built without JSON");
}

void json_print(struct json_object *value)
{
    (void)value;
    assert(!"built without JSON");
}

void json_free(struct json_object *value)
{
    (void)value;
}

struct json_object *info_to_json(const struct info_facts *facts)
{
    (void)facts;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *chain_to_json(struct vhdx *v, const char *path)
{
    (void)v;
    (void)path;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *check_to_json(const struct check_report *report)
{
    (void)report;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *check_undo_to_json(const char *path)
{
    (void)path;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *replay_to_json(const char *path, bool is_dry_run,
                                   const struct vhdx_replay_result *result)
{
    (void)path;
    (void)is_dry_run;
    (void)result;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *lost_list_to_json(const struct lost_list *list)
{
    (void)list;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *salvage_to_json(const struct salvage_report *report)
{
    (void)report;
    assert(!"built without JSON");
    return NULL;
}

struct json_object *recover_to_json(const struct recover_report *report)
{
    (void)report;
    assert(!"built without JSON");
    return NULL;
}
