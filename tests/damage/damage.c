/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Random damage: small images with random changes of their structures. Of each
 *
 *   - a check writes nothing, ends, and calls clean only what opens and can be read in full;
 *   - a repair never leaves it worse, its verdict is that of a check afterwards, a second repair
 *     does nothing, and a repair that fails has changed nothing;
 *   - what could be read before is the same after a safe repair; after a bolder one, too, but for
 *     the ranges that it says it has given up.
 *
 *     damage [--count N] [--seed S] [--jobs N] [--stats 1]
 *     damage --image SEED [--dump FILE]
 *
 * N images, numbered from S; VHDX_DAMAGE_COUNT overrides it.
 */

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "content.h"
#include "hurt.h"

#define SECONDS_MAX 20 /* for one image; a thousandth of that is usual */
#define FILE_MAX (UINT64_C(8) << 30) /* a log or a region table may ask for any length */
#define LOST_MAX 256
#define FAILURES_SHOWN 10
#define JOBS_MAX 64

struct lost {
    uint64_t offset, length;
};

struct world {
    struct base bases[BASES];
    const struct base *base;
    uint64_t seed;
    const char *doing;
    uint64_t writes; /* calls that change the file */
    bool is_full;    /* the file was to grow beyond FILE_MAX */
    struct lost lost[LOST_MAX];
    size_t lost_count;
    bool failed;
    uint64_t failures;
    /* For the curious. */
    uint64_t clean, opened, unopened, no_image, repaired[3], refused[3], unmended[3];
    bool stats;
};

static uint64_t current_seed; /* for the alarm */

static void fail(struct world *w, const char *what, const char *detail)
{
    if (w->failures < FAILURES_SHOWN && !w->failed)
        fprintf(stderr, "FAILED: image %" PRIu64 " (base %d): %s: %s: %s\n", w->seed,
                (int)(w->base - w->bases), w->doing, what, detail ? detail : "");
    w->failures += !w->failed;
    w->failed = true;
}

static void on_alarm(int signal)
{
    (void)signal;
    fprintf(stderr, "FAILED: image %" PRIu64 " takes more than %d seconds\n", current_seed,
            SECONDS_MAX);
    _exit(1);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static int count_writes(void *opaque, enum op_kind kind, uint64_t offset, uint64_t len)
{
    struct world *w = opaque;

    (void)len;
    w->writes += kind != OP_READ && kind != OP_SIZE && kind != OP_FLUSH;
    if (kind != OP_TRUNCATE || offset <= FILE_MAX)
        return 0;
    w->is_full = true;
    return -EFBIG;
}

/* The table is good for as long as r is. */
static void open_file(struct world *w, struct recorder *r, struct vhdx_io *io)
{
    *r = (struct recorder){ .file = w->base->file, .before = count_writes, .before_opaque = w };
    w->writes = 0;
    w->is_full = false;
    recorder_io(r, io);
}

static int check(struct world *w, struct vhdx_check_result *ret, struct vhdx_error *err)
{
    struct vhdx_check_options o = VHDX_CHECK_OPTIONS_INIT;
    struct recorder r;
    struct vhdx_io io;

    open_file(w, &r, &io);
    o.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    *ret = (struct vhdx_check_result)VHDX_CHECK_RESULT_INIT;
    int c = vhdx_check_io(&io, &o, ret, err);
    if (w->writes > 0)
        fail(w, "a check writes", NULL);
    return c;
}

static void read_content(struct world *w, struct content *ret)
{
    struct recorder r;
    struct vhdx_io io;

    open_file(w, &r, &io);
    content_read(&io, VHDX_OPEN_RDONLY, ret);
    if (w->writes > 0)
        fail(w, "reading writes", NULL);
}

static void on_action(const struct vhdx_action *action, void *opaque)
{
    struct world *w = opaque;

    if (action->lost_length > 0 && w->lost_count < LOST_MAX)
        w->lost[w->lost_count++] = (struct lost){ action->lost_offset, action->lost_length };
}

static int repair(struct world *w, uint32_t level, struct vhdx_repair_result *ret,
                  struct vhdx_error *err)
{
    struct vhdx_repair_options o = VHDX_REPAIR_OPTIONS_INIT;
    struct vhdx_check_options check_options = VHDX_CHECK_OPTIONS_INIT;
    struct recorder r;
    struct vhdx_io io;

    open_file(w, &r, &io);
    check_options.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    o.check = &check_options;
    o.level = level;
    o.flags = VHDX_REPAIR_NO_UNDO;
    o.action = on_action;
    o.opaque = w;
    w->lost_count = 0;
    *ret = (struct vhdx_repair_result)VHDX_REPAIR_RESULT_INIT;
    return vhdx_repair_io(&io, &o, ret, err);
}

/* ---- What must be so ------------------------------------------------------------------------ */

static bool is_clean(const struct vhdx_check_result *c)
{
    return c->complete && c->errors == 0 && c->fatals == 0;
}

static bool same_verdict(const struct vhdx_check_result *a, const struct vhdx_check_result *b)
{
    return a->fatals == b->fatals && a->errors == b->errors && a->leaks == b->leaks &&
           a->notes == b->notes && a->complete == b->complete && a->lost_bytes == b->lost_bytes &&
           a->leaked_bytes == b->leaked_bytes;
}

static void describe(const struct vhdx_check_result *c, char *ret, size_t size)
{
    snprintf(ret, size, "%d fatal, %d errors, %d leaks, %d notes, complete %d, lost %" PRIu64,
             (int)c->fatals, (int)c->errors, (int)c->leaks, (int)c->notes, (int)c->complete,
             c->lost_bytes);
}

static void demand_same(struct world *w, const char *what, const struct vhdx_check_result *a,
                        const struct vhdx_check_result *b)
{
    char x[100], y[100], text[256];

    if (same_verdict(a, b))
        return;
    describe(a, x, sizeof x);
    describe(b, y, sizeof y);
    snprintf(text, sizeof text, "%s; %s", x, y);
    fail(w, what, text);
}

/* What a check calls clean can be read to the last byte. */
static void demand_readable(struct world *w, const struct content *c)
{
    struct recorder r;
    struct vhdx_error err;
    struct vhdx_io io;
    struct vhdx *v;
    char hash[VHDX_HASH_TEXT];
    static uint8_t buf[1 << 20];

    if (!c->is_open || c->unreadable > 0) {
        fail(w, "called clean, but cannot be read", c->err.message);
        return;
    }
    if (c->size > 64 << 20 || w->seed % 64 != 0)
        return;
    open_file(w, &r, &io);
    if (vhdx_open_io(&io, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v, &err) < 0) {
        fail(w, "called clean, but cannot be opened", err.message);
        return;
    }
    for (uint64_t at = 0; at < c->size; at += sizeof buf) {
        size_t n = (size_t)(c->size - at < sizeof buf ? c->size - at : sizeof buf);
        if (vhdx_pread(v, buf, n, at, &err) < 0)
            fail(w, "called clean, but cannot be read", err.message);
    }
    int h = vhdx_hash(v, NULL, hash, &err);
    if (h < 0 && h != -VHDX_E_UNSUPPORTED)
        fail(w, "called clean, but cannot be hashed", err.message);
    vhdx_close(v);
}

static bool was_given_up(const struct world *w, const struct content *c, size_t piece)
{
    uint64_t start = piece * c->piece, end = start + c->piece;

    for (size_t i = 0; i < w->lost_count; i++)
        if (w->lost[i].offset < end && start < w->lost[i].offset + w->lost[i].length)
            return true;
    return w->lost_count == LOST_MAX;
}

static void demand_kept(struct world *w, const struct content *before, const struct content *after)
{
    struct vhdx_error text;
    size_t i = 0;

    if (!before->is_open || content_keeps(before, after, &i))
        return;
    if (!after->is_open || after->size != before->size) {
        fail(w, "it can no longer be opened, or is another disk", after->err.message);
        return;
    }
    for (; i < before->count; i++) {
        uint64_t was = before->digests[i], is = after->digests[i];
        if (was == is || was == CONTENT_UNREADABLE || was_given_up(w, before, i))
            continue;
        snprintf(text.message, sizeof text.message, "at %#" PRIx64 "%s", i * before->piece,
                 is == CONTENT_UNREADABLE ? ", cannot be read any more" : "");
        fail(w, "what could be read has changed", text.message);
        return;
    }
}

/* As repair.c defines it. */
static bool is_better(const struct vhdx_check_result *before, const struct vhdx_check_result *after)
{
    if (!before->complete)
        return after->complete || after->fatals <= before->fatals;
    return after->complete && after->errors + after->fatals <= before->errors + before->fatals;
}

static void demand_end(struct world *w, uint32_t level)
{
    struct vhdx_repair_result again;
    struct vhdx_error err;

    if (repair(w, level, &again, &err) < 0)
        fail(w, "a second repair fails", err.message);
    else if (w->writes > 0 || again.is_changed || again.actions > 0)
        fail(w, "a second repair changes something", NULL);
}

static void try_repair(struct world *w, uint32_t level, const struct vhdx_check_result *checked,
                       int check_code, const struct content *before)
{
    struct vhdx_repair_result result;
    struct vhdx_check_result after;
    struct content content;
    struct vhdx_error err;

    w->doing = level == VHDX_REPAIR_SAFE ? "repair=safe" : "repair=all";
    int c = repair(w, level, &result, &err);
    if (c < 0) {
        w->refused[level]++;
        if (w->writes > 0 && !w->is_full)
            fail(w, "fails, but has written", err.message);
        if (check_code == 0 && w->stats)
            fprintf(stderr, "%s: image %" PRIu64 ": %s\n", w->doing, w->seed, err.message);
        return;
    }
    if (check_code < 0)
        fail(w, "repairs what cannot be checked", NULL);
    w->repaired[level] += result.is_changed;
    demand_same(w, "before it is not what the check found", &result.before, checked);
    if (!result.is_changed != (w->writes == 0))
        fail(w, "is_changed is wrong", NULL);
    if (check(w, &after, &err) < 0)
        fail(w, "cannot be checked any more", err.message);
    demand_same(w, "after it is not what a check finds", &result.after, &after);
    if (!is_better(checked, &after))
        fail(w, "it is worse than before", NULL);
    w->unmended[level] += !is_clean(&after);
    if (result.is_changed) {
        read_content(w, &content);
        demand_kept(w, before, &content);
        if (before->is_open && strcmp(before->data_write_guid, content.data_write_guid) != 0)
            fail(w, "DataWriteGuid has changed", NULL);
        if (is_clean(&after))
            demand_readable(w, &content);
        content_end(&content);
        demand_end(w, level);
    }
}

/* ---- The images ----------------------------------------------------------------------------- */

static void write_dump(const struct memfile *file, const char *path)
{
    FILE *f = fopen(path, "wb");
    uint8_t page[4096];

    for (uint64_t at = 0, size = memfile_size(file); f && at < size; at += sizeof page) {
        size_t n = (size_t)(size - at < sizeof page ? size - at : sizeof page);
        memfile_read(file, page, n, at);
        fwrite(page, 1, n, f);
    }
    if (!f || fclose(f) != 0)
        fprintf(stderr, "cannot write %s\n", path);
}

static void try_image(struct world *w, uint64_t seed, const char *dump)
{
    struct vhdx_check_result found;
    struct content content;
    struct vhdx_error err;
    struct random random;

    w->seed = current_seed = seed;
    w->failed = false;
    w->doing = "check";
    random_begin(&random, seed);
    w->base = &w->bases[random_below(&random, BASES)];
    memfile_mark(w->base->file);
    hurt(w->base, &random);
    if (dump)
        write_dump(w->base->file, dump);
    alarm(SECONDS_MAX);
    int c = check(w, &found, &err);
    if (c < 0 && c != -VHDX_E_NOT_VHDX)
        fail(w, "fails", err.message);
    read_content(w, &content);
    if (c == 0 && is_clean(&found))
        demand_readable(w, &content);
    w->clean += c == 0 && is_clean(&found);
    w->no_image += c < 0;
    w->opened += content.is_open;
    w->unopened += !content.is_open;
    for (uint32_t level = VHDX_REPAIR_SAFE; level <= VHDX_REPAIR_ALL; level++) {
        /* What needs no repair is left alone: that is seen often enough. */
        bool is_needed = c < 0 || found.repairable_safe + found.repairable_all > 0;
        if (!is_needed && seed % 8 != 0)
            continue;
        memfile_mark(w->base->file);
        try_repair(w, level, &found, c, &content);
        memfile_back(w->base->file);
    }
    content_end(&content);
    memfile_back(w->base->file);
}

struct arguments {
    uint64_t count, seed;
    uint32_t jobs;
    bool is_one, stats;
    const char *dump;
};

static int run_job(const struct arguments *a, uint32_t job)
{
    struct world *w = calloc(1, sizeof *w);

    if (!w)
        abort();
    signal(SIGALRM, on_alarm);
    /* Buffers of 1 MiB are wanted again and again: keep them. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    for (uint32_t i = 0; i < BASES; i++)
        base_make(&w->bases[i], i);
    w->stats = a->stats;
    for (uint64_t i = job; i < a->count; i += a->jobs)
        try_image(w, a->seed + i, a->dump);
    fprintf(stderr, "job %u: %" PRIu64 " no images, %" PRIu64 " clean, %" PRIu64 " opened, %" PRIu64
            " not; repairs safe/all: %" PRIu64 "/%" PRIu64 ", errors left %" PRIu64 "/%" PRIu64
            ", refused %" PRIu64 "/%" PRIu64 "; %" PRIu64 " failures\n", job, w->no_image,
            w->clean, w->opened, w->unopened, w->repaired[1], w->repaired[2], w->unmended[1],
            w->unmended[2], w->refused[1], w->refused[2], w->failures);
    for (uint32_t i = 0; i < BASES; i++)
        base_end(&w->bases[i]);
    int failed = w->failures > 0;
    free(w);
    return failed;
}

static int run_jobs(const struct arguments *a)
{
    int failed = 0, status;

    for (uint32_t job = 0; job < a->jobs; job++) {
        pid_t pid = fork();
        if (pid < 0)
            return 1;
        if (pid == 0)
            exit(run_job(a, job));
    }
    while (wait(&status) > 0)
        failed |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return failed;
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;

    return sscanf(text, "%" SCNu64, &n) == 1 ? n : 0;
}

int main(int argc, char **argv)
{
    struct arguments a = { .count = 100000, .seed = 1 };
    const char *count = getenv("VHDX_DAMAGE_COUNT");
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    a.jobs = cpus < 1 ? 1 : cpus > 4 ? 4 : (uint32_t)cpus;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--count") == 0)
            a.count = number(value);
        else if (strcmp(argv[i], "--jobs") == 0)
            a.jobs = (uint32_t)number(value);
        else if (strcmp(argv[i], "--seed") == 0)
            a.seed = number(value);
        else if (strcmp(argv[i], "--stats") == 0)
            a.stats = strcmp(value, "0") != 0;
        else if (strcmp(argv[i], "--image") == 0)
            a.seed = number(value), a.is_one = true;
        else if (strcmp(argv[i], "--dump") == 0)
            a.dump = value;
        else
            return 2;
    }
    if (count)
        a.count = number(count);
    if (a.is_one)
        a.count = a.jobs = 1;
    if (a.jobs == 0 || a.jobs > JOBS_MAX)
        return 2;
    return run_jobs(&a);
}
