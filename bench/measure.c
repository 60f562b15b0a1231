/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What the benchmarks share; see measure.h. */

#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How far the report has got. */
static size_t results_count;
static bool targets_met = true;

struct arguments arguments_take(int argc, char **argv)
{
    struct arguments a = { 0 };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            a.quick = true;
        } else if (strcmp(argv[i], "--check") == 0) {
            a.check = true;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            a.dir = argv[++i];
        } else {
            a.dir = NULL;
            break;
        }
    }
    if (!a.dir) {
        fprintf(stderr, "usage: %s [--quick] [--check] --dir FOLDER\n"
                        "bench/run makes the input files and calls this\n", argv[0]);
        exit(2);
    }
    return a;
}

void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "benchmark: %s\n", what);
    exit(2);
}

void require_vhdx(int r, const struct vhdx_error *err)
{
    require(r >= 0, err->message);
}

char *path_of(const char *dir, const char *name)
{
    char *path;

    require(asprintf(&path, "%s/%s", dir, name) >= 0, "out of memory");
    return path;
}

double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *values, size_t count)
{
    require(count > 0, "nothing was measured");
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void duel_add(struct duel *d, double ours, double baseline)
{
    require(d->rounds < ROUNDS_MAX, "too many rounds");
    d->ours[d->rounds] = ours;
    d->baseline[d->rounds++] = baseline;
}

void duel_decide(struct duel *d, struct result *ret)
{
    static double ratios[ROUNDS_MAX];

    for (size_t i = 0; i < d->rounds; i++)
        ratios[i] = d->ours[i] / d->baseline[i];
    ret->ratio = median(ratios, d->rounds);
    ret->value = median(d->ours, d->rounds);
    ret->baseline = median(d->baseline, d->rounds);
}

void report_begin(const char *benchmark)
{
    printf("{ \"benchmark\": \"%s\", \"results\": [", benchmark);
}

static bool is_met(const struct result *r)
{
    switch (r->target) {
    case TARGET_RATIO_MIN: return r->ratio >= r->limit;
    case TARGET_RATIO_MAX: return r->ratio <= r->limit;
    case TARGET_VALUE_MAX: return r->value <= r->limit;
    default: return true;
    }
}

void report_result(const struct result *r)
{
    static const char *const targets[] = {
        [TARGET_RATIO_MIN] = "ratio >=",
        [TARGET_RATIO_MAX] = "ratio <=",
        [TARGET_VALUE_MAX] = "value <=",
    };
    bool met = is_met(r);

    printf("%s\n  { \"name\": \"%s\", \"unit\": \"%s\", \"value\": %.6g", results_count ? "," : "",
           r->name, r->unit, r->value);
    if (r->baseline_name)
        printf(", \"baseline\": %.6g, \"baseline_name\": \"%s\", \"ratio\": %.4f", r->baseline,
               r->baseline_name, r->ratio);
    else
        printf(", \"baseline\": null, \"baseline_name\": null, \"ratio\": null");
    if (r->target != TARGET_NONE)
        printf(", \"target\": \"%s %g\", \"met\": %s }", targets[r->target], r->limit,
               met ? "true" : "false");
    else
        printf(", \"target\": null, \"met\": null }");
    results_count++;
    targets_met = targets_met && met;
}

int report_end(const struct arguments *a)
{
    printf(" ],\n  \"targets_met\": %s }\n", targets_met ? "true" : "false");
    return a->check && !targets_met ? 1 : 0;
}
