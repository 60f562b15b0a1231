/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Sets of byte ranges, against an array of bits. */

#include "io/ranges.h"

#include "expect.h"

#define SPACE 700u

static void add(struct ranges *set, uint8_t *model, uint64_t start, uint64_t end)
{
    assert_int_equal(ranges_reserve(set), 0);
    ranges_add(set, start, end);
    memset(model + start, 1, end - start);
}

/* The first run of bytes in [start, end) that are wanted. */
static bool model_run(const uint8_t *model, uint64_t start, uint64_t end, uint8_t wanted,
                      struct range *ret)
{
    while (start < end && model[start] != wanted)
        start++;
    uint64_t stop = start;
    while (stop < end && model[stop] == wanted)
        stop++;
    *ret = (struct range){ start, stop };
    return start < stop;
}

static void verify_query(const struct ranges *set, const uint8_t *model, uint64_t start,
                         uint64_t end)
{
    struct range found = { 1, 1 }, wanted;

    bool is = model_run(model, start, end, 1, &wanted);
    assert_int_equal(ranges_next(set, start, end, &found), is);
    if (is)
        assert_memory_equal(&found, &wanted, sizeof found);
    is = model_run(model, start, end, 0, &wanted);
    assert_int_equal(ranges_gap(set, start, end, &found), is);
    if (is)
        assert_memory_equal(&found, &wanted, sizeof found);
}

static void verify_order(const struct ranges *set)
{
    for (size_t i = 0; i < set->count; i++) {
        assert_true(set->items[i].start < set->items[i].end);
        if (i > 0)
            assert_true(set->items[i - 1].end < set->items[i].start);
    }
}

static void random_ranges_match_an_array(void **state)
{
    uint64_t random = 5;

    (void)state;
    for (int set_number = 0; set_number < 60; set_number++) {
        struct ranges set = { 0 };
        uint8_t model[SPACE] = { 0 };
        for (int i = 0; i < 60; i++) {
            uint64_t start = next_random(&random) % (SPACE - 1);
            uint64_t longest = SPACE - start < 20 ? SPACE - start : 20;
            add(&set, model, start, start + 1 + next_random(&random) % longest);
            verify_order(&set);
            for (int q = 0; q < 40; q++) {
                uint64_t from = next_random(&random) % (SPACE + 1);
                verify_query(&set, model, from, from + next_random(&random) % (SPACE + 1 - from));
            }
        }
        ranges_free(&set);
        ranges_free(&set);
    }
}

/* Also where a range of the set reaches over both ends: a walk must come to its end. */
static void empty_queries_find_nothing(void **state)
{
    struct ranges set = { 0 };
    uint8_t model[SPACE] = { 0 };
    struct range found;

    (void)state;
    add(&set, model, 10, 20);
    for (uint64_t at = 0; at < 30; at++) {
        assert_false(ranges_next(&set, at, at, &found));
        assert_false(ranges_gap(&set, at, at, &found));
    }
    ranges_free(&set);
}

static void ranges_at_the_limit_of_numbers(void **state)
{
    struct ranges set = { 0 };
    struct range found;

    (void)state;
    assert_int_equal(ranges_reserve(&set), 0);
    ranges_add(&set, UINT64_MAX - 10, UINT64_MAX);
    assert_true(ranges_next(&set, 0, UINT64_MAX, &found));
    assert_true(found.start == UINT64_MAX - 10 && found.end == UINT64_MAX);
    assert_true(ranges_gap(&set, 0, UINT64_MAX, &found));
    assert_true(found.start == 0 && found.end == UINT64_MAX - 10);
    ranges_free(&set);
}

static void number_of_ranges_is_limited(void **state)
{
    struct ranges set = { 0 };

    (void)state;
    for (uint64_t i = 0; i < RANGES_COUNT_MAX; i++) {
        assert_int_equal(ranges_reserve(&set), 0);
        ranges_add(&set, 2 * i, 2 * i + 1);
    }
    assert_int_equal(set.count, RANGES_COUNT_MAX);
    assert_true(ranges_reserve(&set) < 0);
    ranges_free(&set);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, random_ranges_match_an_array);
    ADD_TEST(&s, empty_queries_find_nothing);
    ADD_TEST(&s, ranges_at_the_limit_of_numbers);
    ADD_TEST(&s, number_of_ranges_is_limited);
    return run_suite("ranges", &s, NULL, NULL);
}
