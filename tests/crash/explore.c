/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The states that a crash may leave; see explore.h. The file always holds what is stable: what was
 * done up to the last flush before the prefix being looked at. The operations since then are
 * pending, and any of them may be lost, or torn: payload at sectors of 512 bytes; what a checksum
 * or the log protects anywhere.
 */

#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify.h"

enum fate { LOST, DONE, TORN };

static bool is_enough(const struct explorer *x)
{
    return x->states >= x->limit;
}

/* ---- One state ------------------------------------------------------------------------------ */

/* Part of an operation: its beginning, its end, or some of its sectors. */
static void apply_torn(struct explorer *x, const struct op *op)
{
    struct scene *s = x->scene;
    bool anywhere = op->kind == OP_WRITE && op->offset + op->len <= s->metadata_end;
    uint64_t unit = anywhere && scene_random(s, 2) ? 1 : scene_random(s, 2) ? 512 : 4096;
    uint64_t units = (op->len + unit - 1) / unit, how = scene_random(s, 3);

    if (op->kind == OP_TRUNCATE || op->kind == OP_FLUSH || units < 2)
        return;
    uint64_t cut = (1 + scene_random(s, units - 1)) * unit;
    if (unit == 1 && scene_random(s, 2))
        cut = 1 + scene_random(s, op->len < 96 ? op->len - 1 : 96); /* in a header's fields */
    if (how == 0) {
        op_apply_part(op, s->file, 0, cut);
    } else if (how == 1) {
        op_apply_part(op, s->file, cut, op->len - cut);
    } else {
        unit = unit == 1 ? 512 : unit;
        for (uint64_t at = 0; at < op->len; at += unit)
            if (scene_random(s, 2))
                op_apply_part(op, s->file, at, op->len - at < unit ? op->len - at : unit);
    }
}

static void apply_pending(struct explorer *x, const uint8_t *fates)
{
    for (uint32_t i = 0; i < x->pending_count; i++) {
        const struct op *op = &x->scene->record.ops[x->pending[i]];
        if (fates[i] == DONE)
            op_apply(op, x->scene->file);
        else if (fates[i] == TORN)
            apply_torn(x, op);
    }
}

/* Goes on with a replay that has been recorded, and crashes that. */
static void crash_replay(struct explorer *x, struct record *replay)
{
    struct scene *s = x->scene;
    size_t flush = 0;

    for (int n = 0; n < 12 && replay->count > 0 && !is_enough(x); n++) {
        size_t prefix = 1 + scene_random(s, replay->count);
        memfile_mark(s->file);
        for (size_t i = flush = 0; i < prefix; i++)
            if (replay->ops[i].kind == OP_FLUSH)
                flush = i;
        for (size_t i = 0; i < prefix; i++) {
            if (i < flush || scene_random(s, 2))
                op_apply(&replay->ops[i], s->file);
            else if (scene_random(s, 2))
                apply_torn(x, &replay->ops[i]);
        }
        s->doing = x->what;
        verify_state(s, VHDX_OPEN_RDONLY, false, NULL, NULL);
        x->states++;
        memfile_back(s->file);
    }
}

static void check_state(struct explorer *x, const uint8_t *fates, const char *what)
{
    struct scene *s = x->scene;
    struct record replay = { 0 };
    uint64_t number = x->states++;
    bool all = s->kind != SCENE_WIDE ? number % 64 == 0 : number % 1024 == 0;

    snprintf(x->what, sizeof x->what, "seed %llu, kind %d, round %u, state %llu: after %zu of %zu "
             "operations, %u not flushed, %s", (unsigned long long)x->seed, (int)s->kind, x->round,
             (unsigned long long)number, x->prefix, s->record.count, x->pending_count, what);
    s->doing = x->what;
    memfile_mark(s->file);
    apply_pending(x, fates);
    verify_state(s, VHDX_OPEN_RDONLY, all, NULL, NULL);
    if (number % 4 == 0) {
        bool again = number % 128 == 0;
        memfile_mark(s->file);
        verify_state(s, VHDX_OPEN_RDWR, false, NULL, again ? &replay : NULL);
        memfile_back(s->file);
        if (again)
            crash_replay(x, &replay);
        record_clear(&replay);
    }
    memfile_back(s->file);
}

/* ---- All states of a prefix ----------------------------------------------------------------- */

static void random_fates(struct explorer *x, uint8_t *fates)
{
    uint64_t done = 1 + scene_random(x->scene, 15);

    for (uint32_t i = 0; i < x->pending_count; i++)
        fates[i] = scene_random(x->scene, 16) < done ? DONE
                   : scene_random(x->scene, 4) == 0  ? TORN : LOST;
}

/* Each operation missing, and each one torn; of many, some. */
static void check_singles(struct explorer *x, uint8_t *fates)
{
    uint32_t n = x->pending_count, step = n / 24 + 1;

    for (uint32_t i = (uint32_t)scene_random(x->scene, step); i < n && !is_enough(x); i += step) {
        memset(fates, DONE, n);
        fates[i] = LOST;
        check_state(x, fates, "all but one");
        fates[i] = TORN;
        check_state(x, fates, "one torn");
        memset(fates, LOST, n);
        fates[i] = DONE;
        check_state(x, fates, "one only");
    }
}

static void check_prefix(struct explorer *x, bool is_last_before_flush)
{
    uint8_t *fates = malloc(x->pending_count + 1);
    uint32_t n = x->pending_count;

    if (!fates)
        abort();
    memset(fates, DONE, n);
    check_state(x, fates, "all done");
    if (n > 0) {
        fates[n - 1] = TORN;
        check_state(x, fates, "the last torn");
        memset(fates, LOST, n);
        fates[n - 1] = DONE;
        check_state(x, fates, "only the last done");
    }
    for (int i = 0; i < (is_last_before_flush ? 10 : 2) && n > 1; i++) {
        random_fates(x, fates);
        check_state(x, fates, "random ones done");
    }
    if (is_last_before_flush) {
        memset(fates, LOST, n);
        check_state(x, fates, "all lost");
        memset(fates, TORN, n);
        check_state(x, fates, "all torn");
        check_state(x, fates, "all torn again");
        check_singles(x, fates);
    }
    free(fates);
}

/* ---- The record ----------------------------------------------------------------------------- */

static void settle_events(struct explorer *x)
{
    struct scene *s = x->scene;

    for (; x->next_event < s->event_count; x->next_event++) {
        const struct event *e = &s->events[x->next_event];
        if (e->is_flush ? e->at > x->prefix : e->at >= x->prefix)
            break;
        if (e->is_flush)
            model_flush(&s->model);
        else
            model_change(&s->model, e->span, e->value);
    }
}

/* Takes in the next operation. */
static void advance(struct explorer *x)
{
    struct scene *s = x->scene;
    const struct op *op = &s->record.ops[x->prefix++];

    if (op->kind == OP_FLUSH) {
        for (uint32_t i = 0; i < x->pending_count; i++)
            op_apply(&s->record.ops[x->pending[i]], s->file);
        x->pending_count = 0;
    } else {
        x->pending[x->pending_count++] = (uint32_t)(x->prefix - 1);
        if (x->pending_count == sizeof x->pending / sizeof *x->pending)
            scene_die(s, "too many operations without a flush", NULL);
    }
    settle_events(x);
}

/* Goes up to a random prefix and leaves a random state of it as what the next round begins with. */
static void choose_state(struct explorer *x, size_t prefix)
{
    struct scene *s = x->scene;
    uint8_t *fates;

    while (x->prefix < prefix)
        advance(x);
    fates = malloc(x->pending_count + 1);
    if (!fates)
        abort();
    random_fates(x, fates);
    if (scene_random(s, 4) == 0)
        memset(fates, DONE, x->pending_count);
    apply_pending(x, fates);
    free(fates);
    x->pending_count = 0;
    snprintf(x->what, sizeof x->what, "seed %llu, kind %d, round %u: the state to go on with, "
             "after %zu operations", (unsigned long long)x->seed, (int)s->kind, x->round,
             x->prefix);
    s->doing = x->what;
    verify_state(s, VHDX_OPEN_RDONLY, true, s->live, NULL);
    x->states++;
    while (x->next_event < s->event_count) /* the rest never happened */
        x->next_event++;
    model_flush(&s->model);
    for (uint32_t i = 0; i < s->model.sector_count; i++)
        s->model.sectors[i].stable = s->live[i];
}

void explore(struct explorer *x, bool go_on)
{
    struct scene *s = x->scene;
    size_t count = s->record.count;
    size_t chosen = go_on ? scene_random(s, count + 1) : count;
    size_t window = 150, from = count > window ? scene_random(s, count - window) : 0;
    uint64_t *stable = malloc(s->model.sector_count * sizeof *stable);

    if (!stable)
        abort();
    for (uint32_t i = 0; i < s->model.sector_count; i++)
        stable[i] = s->model.sectors[i].stable;
    memfile_mark(s->file);
    x->prefix = x->next_event = x->pending_count = 0;
    while (x->prefix < count && !is_enough(x)) {
        advance(x);
        bool ends = x->prefix == count || s->record.ops[x->prefix].kind == OP_FLUSH;
        if ((x->prefix >= from && x->prefix < from + window) ||
            (ends && (x->prefix % 8 == 0 || s->kind == SCENE_WIDE)))
            check_prefix(x, ends);
    }
    memfile_back(s->file);
    model_flush(&s->model);
    for (uint32_t i = 0; i < s->model.sector_count; i++)
        s->model.sectors[i].stable = stable[i];
    free(stable);
    x->prefix = x->next_event = x->pending_count = 0;
    if (go_on)
        choose_state(x, chosen);
}
