/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Keeping what a check or a repair reports until it is over: only then is it known what of it is
 * worst. A repair must not be left half done for want of memory here: what does not fit is left
 * out, and the report says so.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for one more item of the given size. The array stays as it is on failure. */
static bool grow(void **items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity > 0 ? *capacity : 16;

    if (count < *capacity)
        return true;
    if (__builtin_mul_overflow(wanted, (size_t)2, &wanted))
        return false;
    void *bigger = reallocarray(*items, wanted, size);
    if (!bigger)
        return false;
    *items = bigger;
    *capacity = wanted;
    return true;
}

/* Copies the text at *text to *end, which it moves behind the copy, and lets *text point there. */
static void copy_text(const char **text, char **end)
{
    size_t size = strlen(*text) + 1;

    memcpy(*end, *text, size);
    *text = *end;
    *end += size;
}

void check_list_add_finding(const struct vhdx_finding *finding, void *opaque)
{
    struct check_list *list = opaque;
    void *items = list->findings;
    struct check_finding copy = { .facts = *finding, .order = list->findings_count };
    char *end = malloc(strlen(finding->name) + strlen(finding->message) +
                       strlen(finding->effect) + strlen(finding->remedy) + 4);

    if (!end ||
        !grow(&items, list->findings_count, &list->findings_capacity, sizeof(*list->findings))) {
        free(end);
        list->is_short = true;
        return;
    }
    copy.texts = end;
    copy_text(&copy.facts.name, &end);
    copy_text(&copy.facts.message, &end);
    copy_text(&copy.facts.effect, &end);
    copy_text(&copy.facts.remedy, &end);
    list->findings = items;
    list->findings[list->findings_count++] = copy;
}

/* Losses come in the order of the disk, block by block, so that most of them join the last one. */
static void add_loss(struct check_list *list, uint64_t offset, uint64_t length)
{
    void *items = list->losses;

    if (list->losses_count > 0) {
        struct check_range *last = &list->losses[list->losses_count - 1];
        if (last->offset + last->length == offset) {
            last->length += length;
            return;
        }
    }
    if (!grow(&items, list->losses_count, &list->losses_capacity, sizeof(*list->losses))) {
        list->is_short = true;
        return;
    }
    list->losses = items;
    list->losses[list->losses_count++] = (struct check_range){ offset, length };
}

size_t check_list_kind(const struct check_list *list, uint32_t problem)
{
    size_t kind = 0;

    while (kind < list->kinds_count && list->kinds[kind].problem != problem)
        kind++;
    return kind;
}

/* The count of a problem's actions; NULL when there are more problems than the table holds. */
static struct check_kind *find_kind(struct check_list *list, uint32_t problem)
{
    size_t kind = check_list_kind(list, problem);

    if (kind == CHECK_KINDS_MAX)
        return NULL;
    if (kind == list->kinds_count)
        list->kinds[list->kinds_count++] = (struct check_kind){ .problem = problem };
    return &list->kinds[kind];
}

void check_list_add_action(const struct vhdx_action *action, void *opaque)
{
    struct check_list *list = opaque;
    struct check_kind *kind = find_kind(list, action->problem);
    void *items = list->actions;

    if (action->lost_length > 0)
        add_loss(list, action->lost_offset, action->lost_length);
    if (kind && ++kind->count > CHECK_KEPT_MAX)
        return;
    struct check_action copy = { .facts = *action, .texts = strdup(action->message) };
    if (!kind || !copy.texts ||
        !grow(&items, list->actions_count, &list->actions_capacity, sizeof(*list->actions))) {
        free(copy.texts);
        list->is_short = true;
        return;
    }
    copy.facts.message = copy.texts;
    list->actions = items;
    list->actions[list->actions_count++] = copy;
}

static int compare_findings(const void *a, const void *b)
{
    const struct check_finding *one = a, *other = b;

    if (one->facts.severity != other->facts.severity)
        return one->facts.severity > other->facts.severity ? -1 : 1;
    if (one->facts.problem != other->facts.problem)
        return one->facts.problem < other->facts.problem ? -1 : 1;
    return one->order < other->order ? -1 : one->order > other->order;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct check_range *one = a, *other = b;

    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Joins sorted ranges that touch or, by several problems, overlap. */
static void join_losses(struct check_list *list)
{
    size_t count = 0;

    for (size_t i = 0; i < list->losses_count; i++) {
        struct check_range next = list->losses[i];
        struct check_range *last = count > 0 ? &list->losses[count - 1] : NULL;
        if (last && next.offset - last->offset <= last->length) {
            uint64_t length = next.offset - last->offset + next.length;
            last->length = length > last->length ? length : last->length;
        } else {
            list->losses[count++] = next;
        }
    }
    list->losses_count = count;
}

void check_list_sort(struct check_list *list)
{
    if (list->findings_count > 0)
        qsort(list->findings, list->findings_count, sizeof(*list->findings), compare_findings);
    if (list->losses_count > 0)
        qsort(list->losses, list->losses_count, sizeof(*list->losses), compare_ranges);
    join_losses(list);
}

void check_list_free(struct check_list *list)
{
    for (size_t i = 0; i < list->findings_count; i++)
        free(list->findings[i].texts);
    for (size_t i = 0; i < list->actions_count; i++)
        free(list->actions[i].texts);
    free(list->findings);
    free(list->actions);
    free(list->losses);
}
