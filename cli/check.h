/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What `vhdx check` knows of one file: gathered by cmd-check.c and check-list.c, written by
 * check-text.c or check-json.c.
 */
#ifndef VHDX_CLI_CHECK_H
#define VHDX_CLI_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

struct json_object;

/* Of one problem this many actions are kept; the library reports as many findings. */
#define CHECK_KEPT_MAX 1000

#define CHECK_KINDS_MAX 128 /* more than there are problems */

/* Copies: texts points to one block of memory that holds the strings of facts. */
struct check_finding {
    struct vhdx_finding facts;
    char *texts;
    size_t order; /* as the library reported it */
};

struct check_action {
    struct vhdx_action facts;
    char *texts;
};

/* How many actions there were against one problem, those included that were not kept. */
struct check_kind {
    uint32_t problem;
    uint64_t count;
};

/* A range of the disk that a repair gave up; bytes. */
struct check_range {
    uint64_t offset, length;
};

/* Everything that the library reported. Zeroed before, released with check_list_free() after. */
struct check_list {
    struct check_finding *findings;
    size_t findings_count, findings_capacity;
    struct check_action *actions;
    size_t actions_count, actions_capacity;
    struct check_kind kinds[CHECK_KINDS_MAX];
    size_t kinds_count;
    struct check_range *losses; /* neighbours are joined */
    size_t losses_count, losses_capacity;
    bool is_short; /* memory ran out: something is not in the lists */
};

struct check_report {
    const char *path;
    bool is_verbose;
    bool is_repair;     /* --repair: the next three are set */
    bool is_dry_run;
    uint32_t level;     /* VHDX_REPAIR_... */
    struct vhdx_repair_result repair;
    struct vhdx_check_result result; /* after the repair, if there was one */
    struct check_list list;
};

/* For vhdx_check_options and vhdx_repair_options; opaque is the struct check_list. */
void check_list_add_finding(const struct vhdx_finding *finding, void *opaque);
void check_list_add_action(const struct vhdx_action *action, void *opaque);

/* The worst first, then by number, then as found. */
void check_list_sort(struct check_list *list);

/* Where in kinds[] a problem is that an action in the list was against. */
size_t check_list_kind(const struct check_list *list, uint32_t problem);

void check_list_free(struct check_list *list);

/* One report for people; check_list_sort() was called. */
void check_print_text(const struct check_report *report);

struct json_object *check_to_json(const struct check_report *report);

/* A repair of path was taken back. */
struct json_object *check_undo_to_json(const char *path);

#endif /* VHDX_CLI_CHECK_H */
