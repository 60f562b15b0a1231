/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Crash test of repair, replay and undo: damaged images are repaired, with a loss of power at every
 * instant, after which any part of what no flush has covered may be missing or torn, in the image
 * and in the undo file. Whatever is left: what could be read before can be read and is the same, a
 * second repair ends where an uninterrupted one does, and the undo file restores every bit.
 *
 *     repair-crash [--states N] [--seed S] [--jobs N] [--break RULE] FILE...
 *     repair-crash --list-rules
 *
 * N states of each image and level. tests/crash/make-damaged.py writes the files.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "patient.h"
#include "util/rules.h"

enum fate { LOST, DONE, TORN };

#define PENDING_MAX 8192
#define JOBS_MAX 64

struct explorer {
    struct patient *p;
    uint64_t states, limit;
    uint32_t pending[PENDING_MAX]; /* operations since the last flush of their file */
    uint32_t pending_count;
    uint8_t fates[PENDING_MAX];
    size_t prefix;
    uint64_t skip; /* of so many prefixes one is looked at */
};

#ifdef VHDX_TEST_RULES
static enum rule broken_rule;

int vhdx_rule_is_broken(enum rule rule)
{
    return rule == broken_rule;
}
#endif

static const struct {
    const char *name;
    enum rule rule;
} rules[] = {
#define X(name, text) { #name, RULE_##name },
    REPAIR_RULES(X)
#undef X
};

/* ---- One state ------------------------------------------------------------------------------ */

static void check_state(struct explorer *x, const char *what)
{
    struct patient *p = x->p;
    uint64_t number = x->states++;

    memfile_mark(p->image);
    memfile_mark(p->undo);
    for (uint32_t i = 0; i < x->pending_count; i++) {
        const struct op *op = &p->record.ops[x->pending[i]];
        if (x->fates[i] == DONE)
            op_apply(op, op->file);
        else if (x->fates[i] == TORN)
            patient_tear(p, op);
    }
    snprintf(p->doing, sizeof p->doing, "state %" PRIu64 ": after %zu of %zu operations, %u not "
             "flushed, %s", number, x->prefix, p->record.count, x->pending_count, what);
    patient_verify_content(p);
    patient_verify_undo(p, number % 8 == 1);
    if (number % 4 == 0)
        patient_verify_finish(p);
    if (number % 4 == 2)
        patient_verify_resume(p);
    memfile_back(p->undo);
    memfile_back(p->image);
}

/* ---- All states of a prefix ----------------------------------------------------------------- */

static void set_fates(struct explorer *x, enum fate fate)
{
    memset(x->fates, (int)fate, x->pending_count);
}

static void random_fates(struct explorer *x)
{
    uint64_t done = 1 + patient_random(x->p, 15);

    for (uint32_t i = 0; i < x->pending_count; i++)
        x->fates[i] = patient_random(x->p, 16) < done ? DONE
                      : patient_random(x->p, 3) == 0  ? TORN : LOST;
}

/* Each operation missing, torn, alone; of many, some. */
static void check_singles(struct explorer *x)
{
    uint32_t n = x->pending_count, step = n / 8 + 1;

    for (uint32_t i = (uint32_t)patient_random(x->p, step); i < n; i += step) {
        set_fates(x, DONE);
        x->fates[i] = LOST;
        check_state(x, "all but one");
        x->fates[i] = TORN;
        check_state(x, "one torn");
        set_fates(x, LOST);
        x->fates[i] = DONE;
        check_state(x, "one only");
    }
}

static void check_prefix(struct explorer *x, bool is_last_before_flush)
{
    uint32_t n = x->pending_count;

    set_fates(x, DONE);
    check_state(x, "all done");
    if (n == 0)
        return;
    x->fates[n - 1] = TORN;
    check_state(x, "the last torn");
    set_fates(x, LOST);
    x->fates[n - 1] = DONE;
    check_state(x, "only the last done");
    for (int i = 0; i < (is_last_before_flush ? 6 : 1) && n > 1; i++) {
        random_fates(x);
        check_state(x, "random ones done");
    }
    if (!is_last_before_flush)
        return;
    set_fates(x, LOST);
    check_state(x, "all lost");
    set_fates(x, TORN);
    check_state(x, "all torn");
    check_singles(x);
}

/* A flush makes stable what was done to its file. */
static void settle(struct explorer *x, const struct memfile *file)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < x->pending_count; i++) {
        const struct op *op = &x->p->record.ops[x->pending[i]];
        if (op->file == file)
            op_apply(op, op->file);
        else
            x->pending[kept++] = x->pending[i];
    }
    x->pending_count = kept;
}

static void explore(struct explorer *x)
{
    struct patient *p = x->p;

    memfile_mark(p->image);
    memfile_mark(p->undo);
    for (x->prefix = 0; x->prefix < p->record.count && x->states < x->limit;) {
        const struct op *op = &p->record.ops[x->prefix++];
        if (op->kind == OP_FLUSH)
            settle(x, op->file);
        else
            x->pending[x->pending_count++] = (uint32_t)(x->prefix - 1);
        if (x->pending_count == PENDING_MAX)
            patient_die(p, "too many operations without a flush", NULL);
        bool ends = x->prefix == p->record.count || p->record.ops[x->prefix].kind == OP_FLUSH;
        if (ends || patient_random(p, x->skip) == 0)
            check_prefix(x, ends);
    }
    memfile_back(p->undo);
    memfile_back(p->image);
}

/* ---- The images ----------------------------------------------------------------------------- */

struct arguments {
    uint64_t states, seed;
    uint32_t jobs;
    char **files;
    int file_count;
};

static uint64_t run_one(const struct arguments *a, const char *path, enum treatment treatment)
{
    struct patient *p = calloc(1, sizeof *p);
    struct explorer *x = calloc(1, sizeof *x);
    uint64_t states = 0;

    if (!p || !x)
        abort();
    if (patient_begin(p, path, treatment, a->seed)) {
        *x = (struct explorer){ .p = p, .limit = a->states, .skip = p->record.count / 16 + 1 };
        explore(x);
        states = x->states;
    }
    patient_end(p);
    free(x);
    free(p);
    return states;
}

static int run_job(const struct arguments *a, uint32_t job)
{
    uint64_t states = 0, repairs = 0;

    for (int i = 0; i < a->file_count * TREATMENTS; i++) {
        if ((uint32_t)i % a->jobs != job)
            continue;
        uint64_t n = run_one(a, a->files[i / TREATMENTS], (enum treatment)(i % TREATMENTS));
        states += n;
        repairs += n > 0;
    }
    fprintf(stderr, "job %u: %" PRIu64 " repairs, %" PRIu64 " states\n", job, repairs, states);
    return 0;
}

/* One that fails ends them all. */
static int run_jobs(const struct arguments *a)
{
    int failed = 0, status;
    pid_t pids[JOBS_MAX];

    for (uint32_t job = 0; job < a->jobs; job++) {
        pids[job] = fork();
        if (pids[job] < 0)
            return 1;
        if (pids[job] == 0)
            exit(run_job(a, job));
    }
    while (wait(&status) > 0) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        for (uint32_t job = 0; job < a->jobs && !failed; job++)
            kill(pids[job], SIGTERM);
        failed = 1;
    }
    return failed;
}

static int break_rule(const char *name)
{
#ifdef VHDX_TEST_RULES
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, name) == 0) {
            broken_rule = rules[i].rule;
            return 0;
        }
#endif
    fprintf(stderr, "no rule %s to break in this build\n", name);
    return 1;
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;

    return sscanf(text, "%" SCNu64, &n) == 1 ? n : 0;
}

int main(int argc, char **argv)
{
    struct arguments a = { .states = 100, .seed = 1 };
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int i = 1;

    a.jobs = cpus < 1 ? 1 : cpus > 4 ? 4 : (uint32_t)cpus;
    for (; i < argc && argv[i][0] == '-'; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--list-rules") == 0) {
            for (size_t k = 0; k < sizeof rules / sizeof *rules; k++)
                printf("%s\n", rules[k].name);
            return 0;
        }
        if (strcmp(argv[i], "--states") == 0)
            a.states = number(value);
        else if (strcmp(argv[i], "--jobs") == 0)
            a.jobs = (uint32_t)number(value);
        else if (strcmp(argv[i], "--seed") == 0)
            a.seed = number(value);
        else if (strcmp(argv[i], "--break") != 0 || break_rule(value) != 0)
            return 2;
    }
    a.files = argv + i;
    a.file_count = argc - i;
    if (a.file_count <= 0 || a.jobs == 0 || a.jobs > JOBS_MAX)
        return 2;
    return run_jobs(&a);
}
