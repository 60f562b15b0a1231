/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The stretches of a disk that could not be saved. The library tells of them at the end, already in
 * order and joined.
 */
#include "lost.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "output.h"

#define SHOWN_MAX 100 /* a failing disk can have millions; the map file has them all */

void lost_list_add(const struct vhdx_lost_range *range, void *opaque)
{
    struct lost_list *list = opaque;

    if (list->count == list->capacity) {
        size_t wanted = list->capacity > 0 ? list->capacity : 16;
        struct lost_range *bigger = NULL;
        if (!__builtin_mul_overflow(wanted, (size_t)2, &wanted))
            bigger = reallocarray(list->ranges, wanted, sizeof(*list->ranges));
        if (!bigger) {
            list->is_short = true;
            return;
        }
        list->ranges = bigger;
        list->capacity = wanted;
    }
    list->ranges[list->count++] = (struct lost_range){ range->offset, range->length };
}

void lost_list_print(const struct lost_list *list)
{
    char size[HUMAN_SIZE_TEXT];

    for (size_t i = 0; i < list->count && i < SHOWN_MAX; i++)
        printf("    disk: offset %" PRIu64 ", length %" PRIu64 " (%s)\n", list->ranges[i].offset,
               list->ranges[i].length, human_size(list->ranges[i].length, size));
    if (list->count > SHOWN_MAX)
        printf("    ... and %zu more\n", list->count - SHOWN_MAX);
}

void lost_list_free(struct lost_list *list)
{
    free(list->ranges);
    *list = (struct lost_list){ 0 };
}
