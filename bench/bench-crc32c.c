/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * bench-crc32c [--check]: the speed of crc32c() and of each of its variants, next to ISA-L's
 * crc32_iscsi (built with HAVE_ISAL) and to a table lookup per byte. All of them take turns in
 * every round, the medians over the rounds are compared, and every result is checked. Prints one
 * JSON object; with --check the exit status is 1 when a target is missed.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#endif

#include "util/bits.h"
#include "util/crc32c.h"

#define ROUNDS 101
#define BYTES_PER_ROUND (1 * MIB)
#define BYTEWISE_SHARE 16 /* the slow one gets this part of them; at least the largest size */
#define CONTENDERS_MAX 8
#define MIN_OF_ISAL 0.9
#define MIN_OF_BYTEWISE 20.0

static const struct {
    size_t len;
    bool has_target;
} sizes[] = { { 16, false }, { 64, false }, { 512, false }, { 4 * KIB, true }, { 64 * KIB, true } };

struct contender {
    const char *name;
    crc32c_fn *fn;
    size_t bytes_per_round;
    double mb_per_second[ROUNDS];
};

static uint32_t bytewise_table[256];

static void bytewise_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? 0x82F63B78u : 0);
        bytewise_table[i] = r;
    }
}

static uint32_t bytewise(uint32_t crc, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = crc >> 8 ^ bytewise_table[(crc ^ p[i]) & 0xff];
    return ~crc;
}

#ifdef HAVE_ISAL
/* ISA-L leaves the inversions to the caller, and takes a non-const pointer without writing. */
static uint32_t isal(uint32_t crc, const void *buf, size_t len)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)buf, (int)len, ~crc);
}
#endif

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The result is passed on, so that every call waits for the one before. */
static double measure(const struct contender *c, const uint8_t *buf, size_t len)
{
    size_t calls = c->bytes_per_round / len;
    uint32_t crc = c->fn(0, buf, len); /* not timed: the others have had the caches */
    double start = now_seconds();

    for (size_t i = 0; i < calls; i++)
        crc = c->fn(crc, buf, len);

    double seconds = now_seconds() - start;
    if (crc == 0) /* keeps the calls; one time in 2^32 it costs a round */
        return 0;
    return (double)(calls * len) / seconds / 1e6;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(struct contender *c)
{
    qsort(c->mb_per_second, ROUNDS, sizeof c->mb_per_second[0], compare_doubles);
    return c->mb_per_second[ROUNDS / 2];
}

/* The first is crc32c(), the second bytewise(), the third, with ISA-L, isal(). */
static size_t collect(struct contender *c)
{
    size_t n = 0;

    c[n++] = (struct contender){ .name = "crc32c", .fn = crc32c };
    c[n++] = (struct contender){ .name = "bytewise", .fn = bytewise };
#ifdef HAVE_ISAL
    c[n++] = (struct contender){ .name = "isal", .fn = isal };
#endif
    for (size_t i = 0; i < crc32c_variants_count && n < CONTENDERS_MAX; i++)
        if (crc32c_variants[i].supported())
            c[n++] = (struct contender){ crc32c_variants[i].name, crc32c_variants[i].fn, 0, { 0 } };
    for (size_t i = 0; i < n; i++)
        c[i].bytes_per_round = BYTES_PER_ROUND / (c[i].fn == bytewise ? BYTEWISE_SHARE : 1);
    return n;
}

static bool same_results(const struct contender *c, size_t n, const uint8_t *buf, size_t len)
{
    uint32_t expected = bytewise(1, buf, len);

    for (size_t i = 0; i < n; i++) {
        if (c[i].fn(1, buf, len) != expected) {
            fprintf(stderr, "bench-crc32c: %s is wrong for %zu bytes\n", c[i].name, len);
            return false;
        }
    }
    return true;
}

/* Prints one element of "sizes". Returns whether the targets are met. */
static bool run_size(struct contender *c, size_t n, const uint8_t *buf, size_t len, bool has_target)
{
    double medians[CONTENDERS_MAX];

    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < n; i++)
            c[i].mb_per_second[round] = measure(&c[i], buf, len);
    printf("    { \"bytes\": %zu, \"mb_per_second\": {", len);
    for (size_t i = 0; i < n; i++) {
        medians[i] = median(&c[i]);
        printf("%s \"%s\": %.0f", i ? "," : "", c[i].name, medians[i]);
    }

    double of_bytewise = medians[0] / medians[1];
    bool ok = of_bytewise >= MIN_OF_BYTEWISE;
    printf(" },\n      \"ratio_to_bytewise\": %.2f, ", of_bytewise);
#ifdef HAVE_ISAL
    double of_isal = medians[0] / medians[2];
    ok = ok && of_isal >= MIN_OF_ISAL;
    printf("\"ratio_to_isal\": %.3f, ", of_isal);
#else
    printf("\"ratio_to_isal\": null, ");
#endif
    printf("\"has_target\": %s }", has_target ? "true" : "false");
    return ok || !has_target;
}

int main(int argc, char **argv)
{
    bool check = argc == 2 && strcmp(argv[1], "--check") == 0;
    static struct contender contenders[CONTENDERS_MAX];
    static uint8_t buf[64 * KIB] __attribute__((aligned(4096)));
    bool ok = true;

    if (argc > 1 && !check) {
        fprintf(stderr, "usage: bench-crc32c [--check]\n");
        return 2;
    }
    bytewise_init();
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i * 2654435761u >> 24);

    size_t n = collect(contenders);
    printf("{ \"benchmark\": \"crc32c\", \"rounds\": %d,\n  \"min_ratio_to_isal\": %.2f, "
           "\"min_ratio_to_bytewise\": %.1f,\n  \"sizes\": [\n",
           ROUNDS, MIN_OF_ISAL, MIN_OF_BYTEWISE);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        if (!same_results(contenders, n, buf, sizes[i].len))
            return 1;
        ok = run_size(contenders, n, buf, sizes[i].len, sizes[i].has_target) && ok;
        printf("%s\n", i + 1 < ARRAY_LEN(sizes) ? "," : "");
    }
    printf("  ],\n  \"targets_met\": %s }\n", ok ? "true" : "false");
    return check && !ok ? 1 : 0;
}
