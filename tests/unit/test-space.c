/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Which MiBs of the file belong to a structure; and lists of lines. */

#include "util/lines.h"
#include "core/space.h"
#include "util/limits.h"

#include "expect.h"

static struct space new_space(uint64_t file_size)
{
    struct vhdx_error err = blank_error();
    struct space s = { 0 };

    assert_int_equal(space_init(&s, file_size, &err), 0);
    assert_untouched(&err);
    return s;
}

static void two_owners_of_one_mib_are_refused(void **state)
{
    struct space s = new_space(100 * M);

    (void)state;
    assert_true(space_claim(&s, 5 * M, 3 * M));
    assert_false(space_claim(&s, 5 * M, M));
    assert_false(space_claim(&s, 7 * M, M));
    assert_false(space_claim(&s, 4 * M, 2 * M));
    assert_false(space_claim(&s, 0, 100 * M));
    assert_true(space_claim(&s, 8 * M, M));
    assert_true(space_claim(&s, 4 * M, M));
    space_end(&s);
}

static void refused_claim_claims_nothing(void **state)
{
    struct space s = new_space(300 * M);

    (void)state;
    assert_true(space_claim(&s, 200 * M, M));
    assert_false(space_claim(&s, 10 * M, 250 * M));
    assert_true(space_claim(&s, 10 * M, 190 * M));
    assert_true(space_claim(&s, 201 * M, 99 * M));
    space_end(&s);
}

static void part_of_a_mib_counts_as_all_of_it(void **state)
{
    struct space s = new_space(10 * M);

    (void)state;
    assert_true(space_claim(&s, 2 * M, 1));
    assert_false(space_claim(&s, 2 * M, M));
    assert_true(space_claim(&s, 3 * M, M + 1));
    assert_false(space_claim(&s, 4 * M, M));
    space_end(&s);
}

static void nothing_owns_nothing(void **state)
{
    struct space s = new_space(10 * M);

    (void)state;
    assert_true(space_claim(&s, 2 * M, M));
    assert_true(space_claim(&s, 2 * M, 0));
    assert_true(space_claim(&s, 0, 0));
    space_release(&s, 2 * M, 0);
    assert_false(space_claim(&s, 2 * M, M));
    space_end(&s);
}

static void what_is_past_the_end_is_ignored(void **state)
{
    struct space s = new_space(10 * M);

    (void)state;
    assert_true(space_claim(&s, 10 * M, 5 * M));
    assert_true(space_claim(&s, 10 * M, 5 * M));
    assert_true(space_claim(&s, 200 * T, 256 * M));
    assert_true(space_claim(&s, 9 * M, 5 * M));
    assert_false(space_claim(&s, 9 * M, 5 * M));
    space_release(&s, 9 * M, 5 * M);
    assert_true(space_claim(&s, 9 * M, 5 * M));
    space_end(&s);
}

static void last_mib_may_be_cut_short(void **state)
{
    struct space s = new_space(10 * M + 1);

    (void)state;
    assert_true(space_claim(&s, 10 * M, M));
    assert_false(space_claim(&s, 10 * M, M));
    space_end(&s);
}

static void released_space_can_be_claimed(void **state)
{
    struct space s = new_space(200 * M);

    (void)state;
    assert_true(space_claim(&s, 10 * M, 100 * M));
    space_release(&s, 60 * M, 10 * M);
    assert_false(space_claim(&s, 59 * M, M));
    assert_false(space_claim(&s, 70 * M, M));
    assert_true(space_claim(&s, 60 * M, 10 * M));
    space_end(&s);
}

static void empty_file_has_no_space(void **state)
{
    struct space s = new_space(0);

    (void)state;
    assert_true(space_claim(&s, 0, M));
    assert_true(space_claim(&s, 0, M));
    space_end(&s);
    space_end(&s);
}

static void largest_file_has_its_last_mib(void **state)
{
    struct space s = new_space(LIMIT_FILE_SIZE);

    (void)state;
    assert_true(space_claim(&s, LIMIT_FILE_SIZE - M, M));
    assert_false(space_claim(&s, LIMIT_FILE_SIZE - M, M));
    assert_true(space_claim(&s, LIMIT_FILE_SIZE - 256 * M, 255 * M));
    space_end(&s);
}

#define MODEL_MIB 400

static bool model_claim(bool *owned, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count && i < MODEL_MIB; i++)
        if (owned[i])
            return false;
    for (uint64_t i = first; i < first + count && i < MODEL_MIB; i++)
        owned[i] = true;
    return true;
}

/* Every length near the edges of 64-bit words is met many times. */
static void random_claims_do_as_the_model_does(void **state)
{
    struct space s = new_space(MODEL_MIB * M);
    bool owned[MODEL_MIB] = { false };
    uint64_t random = 3;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t first = next_random(&random) % (MODEL_MIB + 10);
        uint64_t count = next_random(&random) % (next_random(&random) % 8 ? 20 : 200);
        if (next_random(&random) % 2) {
            assert_int_equal(space_claim(&s, first * M, count * M),
                             model_claim(owned, first, count));
            continue;
        }
        space_release(&s, first * M, count * M);
        for (uint64_t m = first; m < first + count && m < MODEL_MIB; m++)
            owned[m] = false;
    }
    space_end(&s);
}

/* ---- Lines ---------------------------------------------------------------------------------- */

static void lines_are_kept_in_order(void **state)
{
    struct lines l = { 0 };

    (void)state;
    lines_add(&l, 10, "one");
    lines_add(&l, 10, "%s %d", "two", 2);
    assert_int_equal(l.count, 2);
    assert_string_equal(l.items[0], "one");
    assert_string_equal(l.items[1], "two 2");
    lines_end(&l);
    assert_int_equal(l.count, 0);
    lines_end(&l);
}

static void lines_have_a_limit(void **state)
{
    struct lines l = { 0 };

    (void)state;
    for (int i = 0; i < 10; i++)
        lines_add(&l, 4, "%d", i);
    assert_int_equal(l.count, 4);
    assert_string_equal(l.items[3], "3");
    lines_end(&l);
}

static void lines_are_clean(void **state)
{
    struct lines l = { 0 };

    (void)state;
    lines_add(&l, 4, "%s", "a\nb\x1b[2J\xc2\x9b\xff");
    assert_string_equal(l.items[0], "a?b?[2J??");
    lines_end(&l);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, two_owners_of_one_mib_are_refused);
    ADD_TEST(&s, refused_claim_claims_nothing);
    ADD_TEST(&s, part_of_a_mib_counts_as_all_of_it);
    ADD_TEST(&s, nothing_owns_nothing);
    ADD_TEST(&s, what_is_past_the_end_is_ignored);
    ADD_TEST(&s, last_mib_may_be_cut_short);
    ADD_TEST(&s, released_space_can_be_claimed);
    ADD_TEST(&s, empty_file_has_no_space);
    ADD_TEST(&s, largest_file_has_its_last_mib);
    ADD_TEST(&s, random_claims_do_as_the_model_does);
    ADD_TEST(&s, lines_are_kept_in_order);
    ADD_TEST(&s, lines_have_a_limit);
    ADD_TEST(&s, lines_are_clean);
    return run_suite("space", &s, NULL, NULL);
}
