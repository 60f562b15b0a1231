/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The stretches of a disk that could not be saved.
 */
#ifndef VHDX_CLI_LOST_H
#define VHDX_CLI_LOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

struct json_object;

/* Bytes of the virtual disk. */
struct lost_range {
    uint64_t offset, length;
};

/* In ascending order, apart from one another. Zeroed before, lost_list_free() after. */
struct lost_list {
    struct lost_range *ranges;
    size_t count, capacity;
    bool is_short; /* memory ran out: something is not in the list */
};

/* For vhdx_salvage_options; opaque is the struct lost_list. */
void lost_list_add(const struct vhdx_lost_range *range, void *opaque);

/* One line each; of many only the first ones, and how many more there are. */
void lost_list_print(const struct lost_list *list);

/* An array of objects with offset and length. */
struct json_object *lost_list_to_json(const struct lost_list *list);

void lost_list_free(struct lost_list *list);

#endif /* VHDX_CLI_LOST_H */
