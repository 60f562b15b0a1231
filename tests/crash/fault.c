/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Fault test: every call to the file that an operation makes fails, once, from then on for ever, or
 * for want of space. The operation reports it; whatever happened, the file opens afterwards, is
 * whole, and holds in each sector what was flushed or what was written since. A failed flush
 * poisons the handle; no space for growth does not.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scene.h"
#include "verify.h"

enum fault_kind {
    FAIL_ONCE,
    FAIL_ALWAYS,
    NO_SPACE,  /* for whatever takes space, from then on */
    NO_GROWTH, /* for what makes the file longer, from then on */
    FAULT_KINDS
};

struct fault {
    const struct memfile *file;
    enum fault_kind kind;
    int countdown;    /* calls until the fault */
    bool happened;
    enum op_kind first; /* the call that failed first */
};

/* What the script of one run has come to. */
struct run {
    struct scene *s;
    struct fault fault;
    struct vhdx *v;
    int failures;
    uint64_t base; /* values count from here */
};

static int inject(void *opaque, enum op_kind kind, uint64_t offset, uint64_t len)
{
    struct fault *f = opaque;
    bool takes_space = kind == OP_WRITE || kind == OP_TRUNCATE || kind == OP_ZERO;

    (void)len;
    if (f->kind == NO_SPACE && !takes_space)
        return 0;
    if (f->kind == NO_GROWTH && (kind != OP_TRUNCATE || offset <= memfile_size(f->file)))
        return 0;
    if (f->countdown > 0 && --f->countdown > 0)
        return 0;
    if (f->happened && f->kind == FAIL_ONCE)
        return 0;
    if (!f->happened)
        f->first = kind;
    f->happened = true;
    return f->kind >= NO_SPACE ? -ENOSPC : -EIO;
}

/* ---- The operations ------------------------------------------------------------------------- */

static struct span window(const struct scene *s, uint32_t slot, uint32_t from, uint32_t count)
{
    return (struct span){ slot * (s->model.block_size / SECTOR) + from, count };
}

static void failed(struct run *run, const char *what, int r, const struct vhdx_error *err)
{
    if (!run->fault.happened || err->code != -r || err->message[0] == 0)
        scene_die(run->s, what, err);
    run->failures++;
}

/* What a trim leaves is zeros, or what was there. */
static void accept_trimmed(struct run *run, struct span span)
{
    struct scene *s = run->s;
    struct vhdx_error err;
    uint64_t value;

    if (vhdx_pread(run->v, s->buf, (size_t)span.count * SECTOR,
                   model_offset(&s->model, span.first), &err) < 0) {
        run->failures++;
        return;
    }
    for (uint32_t i = 0; i < span.count; i++) {
        if (!model_value(&s->model, span.first + i, s->buf + (size_t)i * SECTOR, &value) ||
            !model_allows(&s->model, span.first + i, value))
            scene_die(s, "a trimmed sector is neither zero nor as it was", NULL);
        if (value != 0)
            model_change(&s->model, (struct span){ span.first + i, 1 }, value);
    }
}

/* A change that fails may have happened in part. */
static void change(struct run *run, struct span span, uint64_t value, char how)
{
    struct scene *s = run->s;
    struct vhdx_error err = { 0 };
    uint64_t offset = model_offset(&s->model, span.first), len = (uint64_t)span.count * SECTOR;
    int r;

    value += value ? run->base : 0;
    model_change(&s->model, span, value);
    if (how == 'w') {
        for (uint32_t i = 0; i < span.count; i++)
            model_fill(&s->model, span.first + i, value, s->buf + (size_t)i * SECTOR);
        r = vhdx_pwrite(run->v, s->buf, (size_t)len, offset, 0, &err);
    } else {
        r = how == 'z' ? vhdx_zero(run->v, len, offset, 0, &err)
                       : vhdx_trim(run->v, len, offset, 0, &err);
    }
    if (r < 0)
        failed(run, "changing", r, &err);
    else if (how == 't')
        accept_trimmed(run, span);
    if (r < 0 && run->fault.kind == NO_GROWTH && r != -VHDX_E_NOSPACE)
        scene_die(s, "no space for growth is reported as something else", &err);
}

/* After a failed flush every later change must be refused. */
static void expect_poisoned(struct run *run)
{
    struct vhdx_error err;

    if (vhdx_pwrite(run->v, run->s->buf, SECTOR, 0, 0, &err) != -VHDX_E_POISONED ||
        vhdx_trim(run->v, SECTOR, 0, 0, &err) != -VHDX_E_POISONED ||
        vhdx_zero(run->v, SECTOR, 0, 0, &err) != -VHDX_E_POISONED)
        scene_die(run->s, "a handle whose flush failed takes changes", NULL);
}

static void flush(struct run *run, bool finish)
{
    struct vhdx_error err = { 0 };
    int r = finish ? vhdx_finish(run->v, &err) : vhdx_flush(run->v, &err);

    if (r == 0) {
        if (run->failures == 0)
            model_flush(&run->s->model);
        return;
    }
    failed(run, "flushing", r, &err);
    if (run->fault.kind == NO_GROWTH)
        scene_die(run->s, "no space for growth made a flush fail", &err);
    if (r != -VHDX_E_NOSPACE) /* which may come before anything was written */
        expect_poisoned(run);
}

/* Everything once, for each kind of block; values rise with the script. */
static void script(struct run *run)
{
    struct scene *s = run->s;
    uint32_t all = s->model.block_size / SECTOR;

    change(run, window(s, 0, 3, 5), 1001, 'w');   /* allocates, or fills in part */
    change(run, window(s, 1, 0, all), 1002, 'w'); /* a whole block */
    flush(run, false);
    change(run, window(s, 0, 4, 9), 1003, 'w');   /* partly mapped */
    change(run, window(s, 1, 8, 8), 1004, 'w');   /* in place */
    change(run, window(s, 2, 1, 6), 0, 'z');
    change(run, window(s, 3, 0, all), 0, 'z');
    flush(run, false);
    change(run, window(s, 1, 0, all), 0, 't');
    change(run, window(s, 0, 0, 32), 0, 't');
    flush(run, false);
    change(run, window(s, 1, 16, 3), 1005, 'w');  /* into the kept place */
    change(run, window(s, 4, 0, 2), 1006, 'w');
    flush(run, true);
    change(run, window(s, 4, 1, 2), 1007, 'w');
    flush(run, false);
}

/* ---- One run -------------------------------------------------------------------------------- */

/* A handle that can still flush takes changes, when there is space again. */
static void expect_usable(struct run *run)
{
    struct span span = window(run->s, 3, 0, 1);
    struct vhdx_error err;

    if (vhdx_flush(run->v, &err) < 0)
        return;
    model_change(&run->s->model, span, 0);
    if (vhdx_zero(run->v, SECTOR, model_offset(&run->s->model, span.first), 0, &err) < 0)
        scene_die(run->s, "a healthy handle refuses a change", &err);
}

/* Keeps the model's stable values, or goes back to them. */
static void keep_values(struct scene *s, bool back)
{
    if (back)
        model_flush(&s->model);
    for (uint32_t i = 0; i < s->model.sector_count; i++) {
        if (back)
            s->model.sectors[i].stable = s->live[i];
        else
            s->live[i] = s->model.sectors[i].stable;
    }
}

/* False when the fault did not happen: every call has had its turn. */
static bool run_once(struct scene *s, enum fault_kind kind, int countdown, uint64_t base)
{
    struct run run = { .s = s, .base = base,
                       .fault = { .kind = kind, .countdown = countdown, .file = s->file } };
    struct recorder r = s->recorder;
    struct vhdx_error err = { 0 };
    struct vhdx_io io;

    memfile_mark(s->file);
    keep_values(s, false);
    r.before = inject;
    r.before_opaque = &run.fault;
    recorder_io(&r, &io);
    order_wrap(&s->order, &io);
    int opened = vhdx_open_io(&io, VHDX_OPEN_RDWR | VHDX_OPEN_NO_LOCK, &s->options, &run.v, &err);
    if (opened < 0) {
        failed(&run, "opening", opened, &err);
    } else {
        script(&run);
        run.fault.kind = FAIL_ONCE; /* it has happened: no more */
        if (run.fault.happened)
            expect_usable(&run);
        vhdx_close(run.v);
    }
    verify_state(s, VHDX_OPEN_RDONLY, false, NULL, NULL);
    verify_state(s, VHDX_OPEN_RDWR, true, NULL, NULL);
    memfile_back(s->file);
    keep_values(s, true);
    return run.fault.happened;
}

/* Leaves the image with blocks of every kind and a dirty log. */
static void make_dirty(struct scene *s)
{
    struct run run = { .s = s };
    struct vhdx_error err;

    if (scene_open(s, &s->recorder, VHDX_OPEN_RDWR, &run.v, &err) < 0)
        scene_die(s, "opening", &err);
    script(&run);
    vhdx_close(run.v);
}

static unsigned fail_all(struct scene *s, uint64_t seed, bool dirty)
{
    static const char *const names[] = { "once", "for ever", "no space", "no growth" };
    unsigned count = 0;
    char what[96];

    s->doing = what;
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        bool more = true;
        for (int n = 1; more; n++, count++) {
            snprintf(what, sizeof what, "seed %llu, %s log, call %d fails %s",
                     (unsigned long long)seed, dirty ? "dirty" : "clean", n, names[kind]);
            more = run_once(s, (enum fault_kind)kind, n, dirty ? 1000 : 0);
        }
    }
    s->doing = "";
    return count;
}

/* Creating: what fails is reported, and no image is left. */
static unsigned fail_create(struct scene *s)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    unsigned count = 0;
    bool more = true;

    s->doing = "creating";
    o.size = 3 << 20;
    for (int n = 1; more; n++, count++) {
        struct memfile *file = memfile_new();
        struct run run = { .s = s, .fault = { .countdown = n, .file = file } };
        struct recorder r = { .file = file, .before = inject, .before_opaque = &run.fault };
        struct vhdx_error err = { 0 };
        struct vhdx_io io;
        recorder_io(&r, &io);
        o.type = n % 2 ? VHDX_TYPE_FIXED : VHDX_TYPE_DYNAMIC;
        int res = vhdx_create_io(&io, &o, &err);
        more = run.fault.happened;
        if (res < 0)
            failed(&run, "creating", res, &err);
        else if (more)
            scene_die(s, "creating hid a failure", NULL);
        memfile_free(file);
    }
    return count;
}

int main(int argc, char **argv)
{
    static const enum scene_kind kinds[] = { SCENE_FIXED, SCENE_DYNAMIC, SCENE_CHILD };
    unsigned seeds = 3;
    struct scene *s = calloc(1, sizeof *s);
    unsigned count = 0;

    if (!s || (argc > 1 && sscanf(argv[1], "%u", &seeds) != 1))
        return 1;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            scene_begin(s, kinds[i], seed);
            count += fail_all(s, seed, false);
            make_dirty(s);
            count += fail_all(s, seed, true);
            count += fail_create(s);
            order_end(&s->order);
            scene_end(s);
        }
    }
    free(s);
    fprintf(stderr, "%u faults\n", count);
    return 0;
}
