/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Finding the active sequence of a log: [MS-VHDX] 2.3.2, 2.3.3. */

#include "scanfile.h"

/* ---- Nothing to find ------------------------------------------------------------------------ */

static void log_of_zeros_is_told_from_others(void **state)
{
    struct file f = new_file(M);
    struct log_sequence s;

    (void)state;
    assert_int_equal(scan(&f, &s, NULL), 0);
    assert_int_equal(s.count, 0);
    assert_true(s.log_is_zero);
    log_sequence_end(&s);
    f.log[M - 1] = 1;
    assert_int_equal(scan(&f, &s, NULL), 0);
    assert_int_equal(s.count, 0);
    assert_false(s.log_is_zero);
    log_sequence_end(&s);
    free(f.bytes);
}

static void log_of_noise_holds_nothing(void **state)
{
    struct file f = new_file(M);
    uint64_t random = 99;

    (void)state;
    for (size_t i = 0; i < M; i += 4)
        put32(f.log + i, next_random(&random));
    expect_none(&f);
}

static void entries_of_another_log_do_not_count(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put(&f, &(struct log_spec){ .at = 0, .tail = 0, .sequence = 5, .guid = OTHER_GUID });
    expect_none(&f);
}

/* ---- One sequence --------------------------------------------------------------------------- */

static void one_entry_is_a_sequence(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 0, 1, 1, 0);
    expect_sequence(&f, 1, 1);
}

static void one_entry_anywhere_is_a_sequence(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < M; at += 51 * SECTOR) {
        struct file f = new_file(M);
        put_chain(&f, at, 7, 1, at);
        expect_sequence(&f, 7, 7);
    }
}

static void entry_without_descriptors_counts(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put(&f, &(struct log_spec){ .at = 4 * SECTOR, .tail = 4 * SECTOR, .sequence = 12 });
    expect_sequence(&f, 12, 12);
}

static void entry_is_given_with_its_values(void **state)
{
    static const struct log_change changes[] = { { .offset = 3 * M, .length = 5 * M },
                                                 { .offset = 9 * M, .seed = 4 } };
    struct file f = new_file(M);
    struct log_sequence s;

    (void)state;
    put(&f, &(struct log_spec){ .at = SECTOR, .tail = SECTOR, .sequence = 3, .flushed = 4 * M,
                                .last = 6 * M, .changes = changes, .count = 2 });
    assert_int_equal(scan(&f, &s, NULL), 0);
    assert_int_equal(s.count, 1);
    assert_false(s.log_is_zero);
    assert_int_equal(s.entries[0].offset, SECTOR);
    assert_int_equal(s.entries[0].length, 2 * SECTOR);
    assert_int_equal(s.entries[0].tail, SECTOR);
    assert_int_equal(s.entries[0].descriptor_count, 2);
    assert_true(s.entries[0].flushed_file_offset == 4 * M);
    assert_true(s.entries[0].last_file_offset == 6 * M);
    log_sequence_end(&s);
    free(f.bytes);
}

static void chain_counts_from_tail_to_head(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 0, 10, 5, 0);
    expect_sequence(&f, 10, 14);
}

/* Those before Tail have reached their place and would bring back old data. */
static void entries_before_tail_are_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct file f = new_file(M);
        put_chain(&f, 0, 10, 5, i * 2 * SECTOR);
        expect_sequence(&f, 10 + i, 14);
    }
}

static void tail_of_the_last_entry_decides(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 1, 3, 0);

    (void)state;
    at = put_chain(&f, at, 4, 1, 6 * SECTOR); /* itself */
    put_chain(&f, at, 5, 1, 4 * SECTOR);      /* the third */
    expect_sequence(&f, 3, 5);
}

static void entry_may_wrap_round_the_end(void **state)
{
    static const struct log_change changes[] = { { .offset = 3 * M, .seed = 1 },
                                                 { .offset = 4 * M, .seed = 2 },
                                                 { .offset = 5 * M, .seed = 3 } };

    (void)state;
    for (uint32_t before = 1; before < 4; before++) {
        struct file f = new_file(M);
        uint32_t at = (uint32_t)M - before * SECTOR;
        put(&f, &(struct log_spec){ .at = at, .tail = at, .sequence = 8, .changes = changes,
                                    .count = 3 });
        expect_sequence(&f, 8, 8);
    }
}

static void sequence_may_wrap_round_the_end(void **state)
{
    (void)state;
    for (uint32_t before = 1; before < 12; before++) {
        struct file f = new_file(M);
        uint32_t at = (uint32_t)M - before * SECTOR;
        put_chain(&f, at, 20, 6, at);
        expect_sequence(&f, 20, 25);
    }
}

static void tail_may_lie_behind_the_end_that_was_wrapped(void **state)
{
    struct file f = new_file(M);
    uint32_t at = (uint32_t)M - 4 * SECTOR;

    (void)state;
    put_chain(&f, at, 20, 6, 2 * SECTOR);
    expect_sequence(&f, 23, 25);
}

static void entry_may_fill_the_log(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put(&f, &(struct log_spec){ .at = 9 * SECTOR, .tail = 9 * SECTOR, .sequence = 2,
                                .extra = 255 });
    expect_sequence(&f, 2, 2);
}

static void sequence_may_fill_the_log(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 3 * SECTOR, 100, 128, 3 * SECTOR);
    expect_sequence(&f, 100, 227);
}

/* Each chain is followed once, not once from each of its entries. */
static void sequence_of_an_entry_in_each_sector_is_below_the_limit(void **state)
{
    struct file f = new_file(2 * M);

    (void)state;
    for (uint32_t i = 0; i < 512; i++)
        put(&f, &(struct log_spec){ .at = i * SECTOR, .tail = 0, .sequence = 1 + i });
    expect_sequence(&f, 1, 512);
}

static void entry_may_have_many_descriptors(void **state)
{
    struct log_change changes[400];
    struct file f = new_file(2 * M);
    uint32_t at = (uint32_t)(2 * M) - 2 * SECTOR;

    (void)state;
    for (unsigned i = 0; i < COUNT(changes); i++)
        changes[i] = (struct log_change){ .offset = 8 * M + i * SECTOR, .length = SECTOR,
                                          .seed = i % 3 };
    put(&f, &(struct log_spec){ .at = at, .tail = at, .sequence = 4, .changes = changes,
                                .count = COUNT(changes) });
    expect_sequence(&f, 4, 4);
}

static void entry_may_cross_every_mib_of_a_long_log(void **state)
{
    (void)state;
    for (uint32_t mib = 1; mib <= 3; mib++) {
        struct file f = new_file(3 * M);
        uint32_t at = mib * (uint32_t)M - 3 * SECTOR;
        put_chain(&f, at, 6, 4, at);
        expect_sequence(&f, 6, 9);
    }
}

static void numbers_are_64_bits_wide(void **state)
{
    static const uint64_t firsts[] = { UINT32_MAX - 1, UINT32_MAX, UINT64_C(1) << 32,
                                       (UINT64_C(1) << 63) - 1, UINT64_MAX - 2 };

    (void)state;
    for (size_t i = 0; i < COUNT(firsts); i++) {
        struct file f = new_file(M);
        put_chain(&f, 0, firsts[i], 3, 0);
        expect_sequence(&f, firsts[i], firsts[i] + 2);
    }
}

static void number_does_not_wrap_to_zero(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, UINT64_MAX, 1, 0);

    (void)state;
    put_chain(&f, at, 0, 1, 0);
    expect_sequence(&f, UINT64_MAX, UINT64_MAX);
}

/* ---- Several sequences ---------------------------------------------------------------------- */

static void highest_of_two_sequences_wins(void **state)
{
    (void)state;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct file f = new_file(M);
        uint32_t low = swapped ? 100 * SECTOR : 0, high = swapped ? 0 : 100 * SECTOR;
        put_chain(&f, low, 1, 6, low);
        put_chain(&f, high, 20, 2, high);
        expect_sequence(&f, 20, 21);
    }
}

/* Ordered by the number of the last entry, not of the first, nor by length. */
static void last_entry_orders_sequences(void **state)
{
    (void)state;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct file f = new_file(M);
        uint32_t a = swapped ? 100 * SECTOR : 0, b = swapped ? 0 : 100 * SECTOR;
        put_chain(&f, a, 5, 1, a);
        put_chain(&f, b, 2, 5, b); /* 2 .. 6 */
        expect_sequence(&f, 2, 6);
    }
}

static void sequence_of_another_log_does_not_win(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 0, 1, 2, 0);
    put(&f, &(struct log_spec){ .at = 80 * SECTOR, .tail = 80 * SECTOR, .sequence = 99,
                                .guid = OTHER_GUID });
    expect_sequence(&f, 1, 2);
}

static void entry_of_another_log_does_not_continue_a_chain(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 1, 2, 0);

    (void)state;
    put(&f, &(struct log_spec){ .at = at, .tail = 0, .sequence = 3, .guid = OTHER_GUID });
    expect_sequence(&f, 1, 2);
}

static void old_entries_behind_the_head_do_not_continue_it(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 50, 3, 0);

    (void)state;
    put_chain(&f, at, 20, 3, at); /* from the last time round */
    expect_sequence(&f, 50, 52);
}

static void newer_but_incomplete_sequence_loses(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 0, 5, 3, 0);
    put_chain(&f, 100 * SECTOR, 30, 3, 90 * SECTOR); /* its Tail was overwritten */
    expect_sequence(&f, 5, 7);
}

/* ---- Incomplete ----------------------------------------------------------------------------- */

static void tail_outside_the_run_is_incomplete(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 10 * SECTOR, 5, 3, 2 * SECTOR);
    expect_none(&f);
}

static void tail_between_entries_is_incomplete(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_chain(&f, 0, 5, 3, SECTOR); /* a data sector */
    expect_none(&f);
}

static void tail_on_an_entry_of_another_run_is_incomplete(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put(&f, &(struct log_spec){ .at = 0, .tail = 7 * SECTOR, .sequence = 1 });
    put_chain(&f, 10 * SECTOR, 5, 3, 0);
    expect_none(&f);
}

static void gap_in_the_numbers_ends_the_run(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 5, 2, 0);

    (void)state;
    put_chain(&f, at, 8, 2, 0);
    expect_sequence(&f, 5, 6);
}

static void repeated_number_ends_the_run(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 5, 2, 0);

    (void)state;
    put_chain(&f, at, 6, 1, 0);
    expect_sequence(&f, 5, 6);
}

static void gap_between_entries_ends_the_run(void **state)
{
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 5, 2, 0);

    (void)state;
    put_chain(&f, at + SECTOR, 7, 1, 0);
    expect_sequence(&f, 5, 6);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, log_of_zeros_is_told_from_others);
    ADD_TEST(&s, log_of_noise_holds_nothing);
    ADD_TEST(&s, entries_of_another_log_do_not_count);
    ADD_TEST(&s, one_entry_is_a_sequence);
    ADD_TEST(&s, one_entry_anywhere_is_a_sequence);
    ADD_TEST(&s, entry_without_descriptors_counts);
    ADD_TEST(&s, entry_is_given_with_its_values);
    ADD_TEST(&s, chain_counts_from_tail_to_head);
    ADD_TEST(&s, entries_before_tail_are_left_out);
    ADD_TEST(&s, tail_of_the_last_entry_decides);
    ADD_TEST(&s, entry_may_wrap_round_the_end);
    ADD_TEST(&s, sequence_may_wrap_round_the_end);
    ADD_TEST(&s, tail_may_lie_behind_the_end_that_was_wrapped);
    ADD_TEST(&s, entry_may_fill_the_log);
    ADD_TEST(&s, sequence_may_fill_the_log);
    ADD_TEST(&s, sequence_of_an_entry_in_each_sector_is_below_the_limit);
    ADD_TEST(&s, entry_may_have_many_descriptors);
    ADD_TEST(&s, entry_may_cross_every_mib_of_a_long_log);
    ADD_TEST(&s, numbers_are_64_bits_wide);
    ADD_TEST(&s, number_does_not_wrap_to_zero);
    ADD_TEST(&s, highest_of_two_sequences_wins);
    ADD_TEST(&s, last_entry_orders_sequences);
    ADD_TEST(&s, sequence_of_another_log_does_not_win);
    ADD_TEST(&s, entry_of_another_log_does_not_continue_a_chain);
    ADD_TEST(&s, old_entries_behind_the_head_do_not_continue_it);
    ADD_TEST(&s, newer_but_incomplete_sequence_loses);
    ADD_TEST(&s, tail_outside_the_run_is_incomplete);
    ADD_TEST(&s, tail_between_entries_is_incomplete);
    ADD_TEST(&s, tail_on_an_entry_of_another_run_is_incomplete);
    ADD_TEST(&s, gap_in_the_numbers_ends_the_run);
    ADD_TEST(&s, repeated_number_ends_the_run);
    ADD_TEST(&s, gap_between_entries_ends_the_run);
    return run_suite("scan", &s, NULL, NULL);
}
