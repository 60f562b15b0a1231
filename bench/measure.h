/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What the benchmarks share: a clock, medians, and one way to print a result and judge it. Each
 * benchmark prints one JSON object:
 *
 *     { "benchmark": NAME, "results": [ RESULT, ... ], "targets_met": BOOLEAN }
 *     RESULT: { "name", "unit", "value", "baseline", "baseline_name", "ratio", "target", "met" }
 *
 * Programs that take turns on a noisy machine are compared round by round: ratio is the median of
 * the rounds' ratios, not the ratio of the medians.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define ROUNDS_MAX 2001

enum target {
    TARGET_NONE,
    TARGET_RATIO_MIN,
    TARGET_RATIO_MAX,
    TARGET_VALUE_MAX,
};

struct result {
    const char *name;
    const char *unit;
    double value;              /* ours */
    const char *baseline_name; /* or NULL: then the next two are ignored */
    double baseline;
    double ratio;
    enum target target;
    double limit;              /* ignored without a target */
};

/* Two contenders that take turns; what each of them reached in each round. */
struct duel {
    size_t rounds;
    double ours[ROUNDS_MAX], baseline[ROUNDS_MAX];
};

/* The command line of all benchmarks: BENCH [--quick] [--check] --dir FOLDER. */
struct arguments {
    const char *dir; /* holds the input files, made by bench/run */
    bool quick;      /* fewer rounds */
    bool check;      /* exit status 1 when a target is missed */
};

/* Exits with status 2 when they are wrong. */
struct arguments arguments_take(int argc, char **argv);

/* "DIR/NAME"; ends the program when there is no memory. */
char *path_of(const char *dir, const char *name);

/* Seconds of the monotonic clock. */
double now_seconds(void);

/* The median; sorts the values. */
double median(double *values, size_t count);

/* Adds a round. */
void duel_add(struct duel *d, double ours, double baseline);

/* Sets value, baseline and ratio to the medians. Reorders the rounds: call it once. */
void duel_decide(struct duel *d, struct result *ret);

/* The whole output. Returns the exit status. */
void report_begin(const char *benchmark);
void report_result(const struct result *r);
int report_end(const struct arguments *a);

/* Ends the program unless condition holds: a benchmark that went wrong measured nothing. */
void require(bool condition, const char *what);

/* Ends the program when r is negative. */
void require_vhdx(int r, const struct vhdx_error *err);

#endif
