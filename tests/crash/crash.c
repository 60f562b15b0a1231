/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Crash test: random work on small images, and at every instant of it everything that a disk may
 * hold after a loss of power: each must open, be whole, and hold in each sector what the last flush
 * left there or what was written after it. See rule 9 of log/journal.c.
 *
 *     crash [--states N] [--seed S] [--jobs N] [--workload SEED] [--unwatched 1] [--break RULE]
 *     crash --list-rules
 *
 * A failure names the seed of its workload: crash --workload SEED repeats it alone.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "explore.h"
#include "util/rules.h"

#define ROUNDS 5

#ifdef VHDX_TEST_RULES
static enum rule broken_rule;

int vhdx_rule_is_broken(enum rule rule)
{
    return rule == broken_rule;
}
#endif

static const char *const rules[][2] = {
    { "NONE", "" },
#define X(name, text) { #name, text },
    RULES(X)
#undef X
};

struct arguments {
    uint64_t states, seed;
    uint32_t jobs;
    bool one_workload;
    bool is_unwatched; /* without the layer that watches the order of writes */
};

/* What checks have seen, of all workloads. */
struct totals {
    uint64_t checked, torn, trailing;
};

static uint64_t run_workload(const struct arguments *a, uint64_t seed, uint64_t limit,
                             struct totals *totals)
{
    struct scene *s = calloc(1, sizeof *s);
    struct explorer *x = calloc(1, sizeof *x);
    uint64_t states;

    if (!s || !x)
        abort();
    scene_begin(s, (enum scene_kind)(seed % SCENE_KINDS), seed);
    s->is_unwatched = a->is_unwatched;
    *x = (struct explorer){ .scene = s, .seed = seed, .limit = limit };
    for (x->round = 0; x->round < ROUNDS && x->states < limit; x->round++) {
        char what[64];
        snprintf(what, sizeof what, "seed %llu, kind %d, round %u", (unsigned long long)seed,
                 (int)s->kind, x->round);
        s->doing = what;
        s->event_count = 0;
        record_clear(&s->record);
        s->recorder.record = &s->record;
        memfile_mark(s->file);
        scene_work(s, what);
        memfile_back(s->file);
        s->recorder.record = NULL;
        explore(x, x->round + 1 < ROUNDS);
    }
    states = x->states;
    totals->checked += s->checked;
    totals->torn += s->torn;
    totals->trailing += s->trailing;
    order_end(&s->order);
    scene_end(s);
    free(s);
    free(x);
    return states;
}

static int run_job(const struct arguments *a, uint32_t job)
{
    uint64_t wanted = a->states / a->jobs, done = 0;
    struct totals t = { 0 };

    if (a->one_workload)
        done = run_workload(a, a->seed, UINT64_MAX, &t), wanted = 0;
    for (uint64_t seed = a->seed + job; done < wanted; seed += a->jobs)
        done += run_workload(a, seed, wanted - done, &t);
    fprintf(stderr, "job %u: %llu states; %llu checked, %llu with a torn header before the replay, "
            "%llu with a loose end\n", job, (unsigned long long)done,
            (unsigned long long)t.checked, (unsigned long long)t.torn,
            (unsigned long long)t.trailing);
    return 0;
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

static int break_rule(const char *name)
{
#ifdef VHDX_TEST_RULES
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i][0], name) == 0) {
            broken_rule = (enum rule)i;
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
    struct arguments a = { .states = 200000, .seed = (uint64_t)time(NULL) };
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    a.jobs = cpus < 1 ? 1 : cpus > 4 ? 4 : (uint32_t)cpus;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--list-rules") == 0) {
            for (size_t k = 1; k < sizeof rules / sizeof *rules; k++)
                printf("%s\n", rules[k][0]);
            return 0;
        }
        if (strcmp(argv[i], "--states") == 0)
            a.states = number(value);
        else if (strcmp(argv[i], "--jobs") == 0)
            a.jobs = (uint32_t)number(value);
        else if (strcmp(argv[i], "--seed") == 0)
            a.seed = number(value);
        else if (strcmp(argv[i], "--workload") == 0)
            a.seed = number(value), a.one_workload = true;
        else if (strcmp(argv[i], "--unwatched") == 0)
            a.is_unwatched = strcmp(value, "0") != 0;
        else if (strcmp(argv[i], "--break") != 0 || break_rule(value) != 0)
            return 2;
    }
    if (a.jobs == 0 || a.one_workload)
        a.jobs = 1;
    fprintf(stderr, "seed %llu, %llu states\n", (unsigned long long)a.seed,
            (unsigned long long)a.states);
    return run_jobs(&a);
}
