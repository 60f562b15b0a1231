/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Random work on an image through the public API, told to the model as events; see scene.h. */

#include <stdlib.h>
#include <string.h>

#include "scene.h"

static void add_event(struct scene *s, struct event e)
{
    if (s->event_count == s->event_capacity) {
        s->event_capacity = s->event_capacity ? s->event_capacity * 2 : 256;
        s->events = realloc(s->events, s->event_capacity * sizeof *s->events);
        if (!s->events)
            abort();
    }
    s->events[s->event_count++] = e;
}

static void open_live(struct scene *s)
{
    struct vhdx_error err;
    struct vhdx_io io;

    recorder_io(&s->recorder, &io);
    if (!s->is_unwatched)
        order_wrap(&s->order, &io);
    if (vhdx_open_io(&io, VHDX_OPEN_RDWR | VHDX_OPEN_NO_LOCK, &s->options, &s->v, &err) < 0)
        scene_die(s, "opening to write", &err);
}

/* A random range inside a window, or a whole block, or one that reaches into the next block. */
static struct span choose_span(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;
    uint32_t slot = (uint32_t)scene_random(s, s->model.slot_count);
    struct span w = s->model.watched[scene_random(s, s->model.watched_count)];
    uint64_t kind = scene_random(s, 16);

    if (kind == 0)
        return (struct span){ slot * sectors, sectors };
    if (kind == 1 && slot + 1 < s->model.slot_count &&
        s->model.blocks[slot] + 1 == s->model.blocks[slot + 1])
        return (struct span){ (slot + 1) * sectors - (uint32_t)scene_random(s, 8) - 1,
                              (uint32_t)scene_random(s, 8) + 9 };
    uint32_t from = (uint32_t)scene_random(s, w.count);
    uint32_t count = 1 + (uint32_t)scene_random(s, w.count - from);
    if (scene_random(s, 2) == 0) { /* whole sectors of 4096 bytes */
        from -= from % 8;
        count = (count + 7) / 8 * 8;
    }
    return (struct span){ slot * sectors + w.first + from, count };
}

static void set_live(struct scene *s, struct span span, uint64_t value, size_t at)
{
    for (uint32_t i = 0; i < span.count; i++)
        s->live[span.first + i] = value;
    add_event(s, (struct event){ .at = at, .span = span, .value = value });
}

/* A handle answers for its own calls: what an earlier one left unflushed is stable only after a
   flush of the file. */
static void flushed(struct scene *s)
{
    for (size_t i = s->reopened_at; s->was_reopened && i < s->record.count; i++)
        s->was_reopened = s->record.ops[i].kind != OP_FLUSH;
    if (s->was_reopened)
        return;
    add_event(s, (struct event){ .is_flush = true, .at = s->record.count });
}

static void write_span(struct scene *s, struct span span, uint32_t flags)
{
    size_t at = s->record.count;
    uint64_t value = ++s->last_value;
    struct vhdx_error err;

    for (uint32_t i = 0; i < span.count; i++)
        model_fill(&s->model, span.first + i, value, s->buf + (size_t)i * SECTOR);
    if (vhdx_pwrite(s->v, s->buf, (size_t)span.count * SECTOR,
                    model_offset(&s->model, span.first), flags, &err) < 0)
        scene_die(s, "writing", &err);
    set_live(s, span, value, at);
}

static void read_span(struct scene *s, struct span span)
{
    struct vhdx_error err;

    if (vhdx_pread(s->v, s->buf, (size_t)span.count * SECTOR, model_offset(&s->model, span.first),
                   &err) < 0)
        scene_die(s, "reading", &err);
}

/* After a trim each sector is zero or as it was; what it is now it stays. */
static void trim_span(struct scene *s, struct span span, uint32_t flags)
{
    size_t at = s->record.count;
    struct vhdx_error err;
    uint64_t value;

    if (vhdx_trim(s->v, (uint64_t)span.count * SECTOR, model_offset(&s->model, span.first), flags,
                  &err) < 0)
        scene_die(s, "trimming", &err);
    read_span(s, span);
    for (uint32_t i = 0, from = 0; i < span.count; i++) {
        uint32_t sector = span.first + i;
        if (!model_value(&s->model, sector, s->buf + (size_t)i * SECTOR, &value) ||
            (value != 0 && value != s->live[sector]))
            scene_die(s, "a trimmed sector is neither zero nor as it was", NULL);
        bool ends = value == s->live[sector];
        if (ends || i + 1 == span.count) {
            uint32_t count = i - from + !ends;
            if (count > 0)
                set_live(s, (struct span){ span.first + from, count }, 0, at);
            from = i + 1;
        }
    }
}

static void zero_span(struct scene *s, struct span span, uint32_t flags)
{
    size_t at = s->record.count;
    struct vhdx_error err;

    if (vhdx_zero(s->v, (uint64_t)span.count * SECTOR, model_offset(&s->model, span.first), flags,
                  &err) < 0)
        scene_die(s, "zeroing", &err);
    set_live(s, span, 0, at);
}

static void check_live(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;
    uint64_t value;

    for (uint32_t slot = 0; slot < s->model.slot_count; slot++) {
        read_span(s, (struct span){ slot * sectors, sectors });
        for (uint32_t i = slot * sectors; i < (slot + 1) * sectors; i++)
            if (!model_value(&s->model, i, s->buf + (size_t)(i % sectors) * SECTOR, &value) ||
                value != s->live[i])
                scene_die(s, "a sector does not read as it was written", NULL);
    }
}

static void flush_live(struct scene *s)
{
    struct vhdx_error err;

    if (vhdx_flush(s->v, &err) < 0)
        scene_die(s, "flushing", &err);
    flushed(s);
}

static void finish_live(struct scene *s)
{
    struct vhdx_error err;

    if (vhdx_finish(s->v, &err) < 0)
        scene_die(s, "finishing", &err);
    flushed(s);
}

/* Closing loses what was not flushed, or not: from now on each sector is what it reads as. That
   this is allowed is shown by the states that are checked at this instant. */
static void reopen_live(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;
    uint64_t value;

    vhdx_close(s->v);
    s->was_reopened = true;
    s->reopened_at = s->record.count;
    open_live(s);
    for (uint32_t slot = 0; slot < s->model.slot_count; slot++) {
        read_span(s, (struct span){ slot * sectors, sectors });
        for (uint32_t i = slot * sectors; i < (slot + 1) * sectors; i++) {
            if (!model_value(&s->model, i, s->buf + (size_t)(i % sectors) * SECTOR, &value))
                scene_die(s, "a sector is a mixture after closing and opening", NULL);
            if (value != s->live[i])
                set_live(s, (struct span){ i, 1 }, value, s->record.count);
        }
    }
}

static void one_call(struct scene *s)
{
    uint64_t kind = scene_random(s, 100);
    uint32_t flags = scene_random(s, 8) == 0 ? VHDX_FUA : 0;
    struct span span = choose_span(s);

    if (kind < 50)
        write_span(s, span, flags);
    else if (kind < 60)
        zero_span(s, span, flags);
    else if (kind < 70)
        trim_span(s, span, flags);
    else if (kind < 95)
        flush_live(s);
    else if (kind < 97)
        finish_live(s);
    else if (kind < 98)
        check_live(s);
    else
        reopen_live(s);
    if (kind < 70 && flags)
        flushed(s);
}

/* Changes an entry in every page of the BAT, again and again, so that the log fills up. */
static void fill_log(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;

    for (int pass = 0; pass < 5; pass++) {
        for (uint32_t slot = 0; slot < s->model.slot_count; slot++) {
            struct span window = { slot * sectors, 1 + (uint32_t)scene_random(s, 8) };
            if (pass % 2 == 0)
                write_span(s, window, 0);
            else
                trim_span(s, (struct span){ slot * sectors, sectors }, 0);
            if (pass == 0 && slot == 20) /* the file grows again after the log has begun */
                flush_live(s);
        }
        flush_live(s);
    }
}

/* Many small commits, so that the log wraps round. */
static void wrap_log(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;

    for (int pass = 0; pass < 60; pass++) {
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t slot = (uint32_t)scene_random(s, s->model.slot_count);
            struct span window = { slot * sectors + (uint32_t)scene_random(s, 8), 2 };
            if (scene_random(s, 3) == 0)
                trim_span(s, (struct span){ slot * sectors, sectors }, 0);
            else
                write_span(s, window, 0);
        }
        flush_live(s);
    }
}

void scene_work(struct scene *s, const char *what)
{
    uint64_t calls = s->kind == SCENE_WIDE ? 20 : 10 + scene_random(s, 70);

    s->doing = what;
    s->was_reopened = false;
    s->reopened_at = 0;
    open_live(s);
    if (s->kind == SCENE_WIDE)
        fill_log(s);
    else if (s->kind != SCENE_FIXED && scene_random(s, 12) == 0)
        wrap_log(s);
    for (uint64_t i = 0; i < calls; i++)
        one_call(s);
    if (scene_random(s, 2) == 0)
        check_live(s);
    if (scene_random(s, 3) == 0)
        finish_live(s);
    vhdx_close(s->v);
    s->v = NULL;
}
