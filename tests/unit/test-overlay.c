/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A replayed log that is not written: [MS-VHDX] 2.3.3. What reads through the overlay give is
 * compared with a model.
 */

#include "overlayfile.h"

#include <stdio.h>
#include <time.h>

/* ---- What hides what ------------------------------------------------------------------------ */

static void data_replaces_a_sector(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 8 * SECTOR, 0, 1 });
}

static void leading_and_trailing_bytes_come_from_the_descriptor(void **state)
{
    struct fixture *f = *state;
    uint8_t content[SECTOR], *log;

    EXPECT_REPLAY(f, { BODY, 0, 77 });
    sector_content(content, 77);
    log = f->log + SECTOR; /* the data sector: it holds other bytes in their place */
    assert_memory_not_equal(log, content, 8);
    assert_memory_not_equal(log + 4092, content + 4092, 4);
    assert_memory_equal(log + 8, content + 8, 4084);
    assert_memory_equal(f->model, content, SECTOR);
}

static void zeros_replace_a_range(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 8 * SECTOR, 9 * SECTOR, 0 });
}

static void zeros_of_no_length_change_nothing(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 8 * SECTOR, 0, 0 });
}

static void no_descriptors_change_nothing(void **state)
{
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .count = 0 });
    assert_int_equal(build(f, NULL), 0);
    compare_all(f);
}

static void later_data_hides_earlier_data(void **state)
{
    EXPECT_REPLAY(*state, { BODY + SECTOR, 0, 1 }, { BODY + SECTOR, 0, 2 },
                  { BODY + SECTOR, 0, 3 });
}

static void later_data_hides_earlier_zeros(void **state)
{
    EXPECT_REPLAY(*state, { BODY + SECTOR, SECTOR, 0 }, { BODY + SECTOR, 0, 2 });
}

static void later_zeros_hide_earlier_data(void **state)
{
    EXPECT_REPLAY(*state, { BODY + SECTOR, 0, 2 }, { BODY + SECTOR, SECTOR, 0 });
}

static void data_splits_zeros(void **state)
{
    EXPECT_REPLAY(*state, { BODY, 20 * SECTOR, 0 }, { BODY + 5 * SECTOR, 0, 5 },
                  { BODY + 6 * SECTOR, 0, 6 }, { BODY + 10 * SECTOR, 0, 7 });
}

static void zeros_over_the_ends_of_zeros(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 4 * SECTOR, 4 * SECTOR, 0 }, { BODY, 5 * SECTOR, 0 },
                  { BODY + 7 * SECTOR, 5 * SECTOR, 0 });
}

static void zeros_hide_much_data(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 9 * SECTOR, 0, 1 }, { BODY + 3 * SECTOR, 0, 2 },
                  { BODY + 5 * SECTOR, 0, 3 }, { BODY + 2 * SECTOR, 6 * SECTOR, 0 });
}

static void data_over_both_ends_of_zeros(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 4 * SECTOR, 4 * SECTOR, 0 }, { BODY + 4 * SECTOR, 0, 9 },
                  { BODY + 7 * SECTOR, 0, 10 });
}

static void neighbours_stay_apart(void **state)
{
    EXPECT_REPLAY(*state, { BODY + 3 * SECTOR, 0, 1 }, { BODY + 2 * SECTOR, 0, 2 },
                  { BODY + 4 * SECTOR, 3 * SECTOR, 0 }, { BODY + 7 * SECTOR, 0, 3 },
                  { BODY + 1 * SECTOR, SECTOR, 0 });
}

static void nested_ranges_come_back_to_the_outer_one(void **state)
{
    /* The outer zeros, seen again between and behind what hides them. */
    EXPECT_REPLAY(*state, { BODY + 30 * SECTOR, 0, 1 }, { BODY, 40 * SECTOR, 0 },
                  { BODY + 10 * SECTOR, 0, 2 }, { BODY + 12 * SECTOR, 0, 3 },
                  { BODY + 38 * SECTOR, 0, 4 });
}

static void later_entry_hides_an_earlier_one(void **state)
{
    static const struct log_change first[] = { { BODY, 0, 1 }, { BODY + SECTOR, SECTOR, 0 } };
    static const struct log_change second[] = { { BODY + SECTOR, 0, 2 }, { BODY, 0, 3 } };
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .changes = first, .count = 2 });
    add_entry(f, (struct log_spec){ .changes = second, .count = 2 });
    assert_int_equal(build(f, NULL), 0);
    compare_all(f);
}

static void entries_wrapped_round_the_ring_replay(void **state)
{
    static const struct log_change changes[] = { { BODY, 0, 1 }, { BODY + SECTOR, 0, 2 },
                                                 { BODY + 2 * SECTOR, 0, 3 } };
    struct fixture *f = *state;

    for (uint32_t before = 1; before <= 4; before++) {
        reset(f);
        f->at = (uint32_t)LOG_LENGTH - before * SECTOR;
        add_entry(f, (struct log_spec){ .changes = changes, .count = 3 });
        add_entry(f, (struct log_spec){ .changes = changes + 1, .count = 1 });
        assert_int_equal(build(f, NULL), 0);
        compare_all(f);
    }
}

static void region_tables_may_be_replaced(void **state)
{
    static const struct log_change change = { 192 * K, 0, 5 };
    struct fixture *f = *state;
    uint8_t content[SECTOR], found[SECTOR];

    add_entry(f, (struct log_spec){ .changes = &change, .count = 1 });
    assert_int_equal(build(f, NULL), 0);
    assert_int_equal(overlay_pread(f->overlay, &f->io, found, SECTOR, 192 * K, NULL), 0);
    sector_content(content, 5);
    assert_memory_equal(found, content, SECTOR);
}

static void file_itself_stays_as_it_is(void **state)
{
    struct fixture *f = *state;
    uint8_t *before = malloc(FILE_SIZE), *after = malloc(FILE_SIZE);
    uint64_t size;

    add_entry(f, (struct log_spec){ .last = 3 * M });
    assert_int_equal(f->io.pwrite(f->io.opaque, f->log, LOG_LENGTH, LOG_AT), 0);
    assert_int_equal(f->io.pread(f->io.opaque, before, FILE_SIZE, 0), 0);
    f->io.pwrite = NULL; /* would crash */
    f->io.truncate = NULL;
    struct log_ring ring;
    assert_int_equal(log_ring_init(&ring, &f->io, LOG_AT, LOG_LENGTH, NULL), 0);
    assert_int_equal(overlay_build(&ring, &f->sequence, FILE_SIZE, &f->overlay, NULL), 0);
    log_ring_end(&ring);
    assert_int_equal(f->io.pread(f->io.opaque, after, FILE_SIZE, 0), 0);
    assert_memory_equal(before, after, FILE_SIZE);
    assert_int_equal(f->io.size(f->io.opaque, &size), 0);
    assert_int_equal(size, FILE_SIZE);
    free(before);
    free(after);
}

/* ---- Random descriptors --------------------------------------------------------------------- */

/* Every byte offset and length near the edges of segments. */
static void reads_at_every_alignment(void **state)
{
    struct fixture *f = *state;

    EXPECT_REPLAY(f, { BODY + SECTOR, 0, 1 }, { BODY + 2 * SECTOR, SECTOR, 0 },
                  { BODY + 4 * SECTOR, 0, 2 });
    for (uint64_t edge = 0; edge <= 6; edge++) {
        for (int from = -9; from <= 9; from++) {
            for (size_t len = 0; len <= 20; len++)
                if (edge > 0 || from >= 0)
                    read_and_compare(f, BODY + edge * SECTOR + (uint64_t)(int64_t)from, len);
            if (edge > 0)
                read_and_compare(f, BODY + edge * SECTOR + (uint64_t)(int64_t)from, 2 * SECTOR);
        }
    }
}

static uint64_t choose_seed(void)
{
    const char *given = getenv("VHDX_TEST_SEED");
    unsigned long long seed = (unsigned long long)time(NULL);

    if (given && sscanf(given, "%llu", &seed) != 1)
        seed = 1;
    print_message("VHDX_TEST_SEED=%llu\n", seed);
    return seed;
}

static struct log_change random_change(uint64_t *random)
{
    unsigned place = next_random(random) % 100; /* sectors; the file ends at 64 */
    struct log_change c = { .offset = BODY + place * SECTOR };

    if (next_random(random) % 3)
        c.seed = 1 + next_random(random) % 1000000;
    else
        c.length = next_random(random) % (next_random(random) % 4 ? 6 : 80) * SECTOR;
    return c;
}

static void one_random_case(struct fixture *f, uint64_t *random)
{
    unsigned entries = 1 + next_random(random) % 4;
    struct log_change changes[32];

    reset(f);
    f->at = next_random(random) % 256 * SECTOR;
    for (unsigned i = 0; i < entries; i++) {
        unsigned count = next_random(random) % COUNT(changes);
        for (unsigned c = 0; c < count; c++)
            changes[c] = random_change(random);
        uint64_t last = next_random(random) % 4 ? 0 : BODY + next_random(random) % 150 * SECTOR;
        add_entry(f, (struct log_spec){ .changes = changes, .count = count });
        if (i + 1 == entries) {
            f->entries[i].last_file_offset = last;
            f->size = largest(f->size, last);
        }
    }
    assert_int_equal(build(f, NULL), 0);
    assert_true(overlay_size(f->overlay) == f->size);
    if (next_random(random) % 8 == 0)
        compare_all(f);
    for (int i = 0; i < 20; i++) {
        uint64_t offset = next_random(random) % (f->size - BODY);
        size_t len = next_random(random) % (next_random(random) % 2 ? 64 : 9 * SECTOR);
        if (len > f->size - BODY - offset)
            len = f->size - BODY - offset;
        read_and_compare(f, BODY + offset, len);
    }
}

static void random_descriptors_read_as_the_model_says(void **state)
{
    uint64_t random = choose_seed();

    for (int i = 0; i < 2000; i++)
        one_random_case(*state, &random);
}

static const struct CMUnitTest fixture_tests[] = {
    WITH_FIXTURE(data_replaces_a_sector),
    WITH_FIXTURE(leading_and_trailing_bytes_come_from_the_descriptor),
    WITH_FIXTURE(zeros_replace_a_range),
    WITH_FIXTURE(zeros_of_no_length_change_nothing),
    WITH_FIXTURE(no_descriptors_change_nothing),
    WITH_FIXTURE(later_data_hides_earlier_data),
    WITH_FIXTURE(later_data_hides_earlier_zeros),
    WITH_FIXTURE(later_zeros_hide_earlier_data),
    WITH_FIXTURE(data_splits_zeros),
    WITH_FIXTURE(zeros_over_the_ends_of_zeros),
    WITH_FIXTURE(zeros_hide_much_data),
    WITH_FIXTURE(data_over_both_ends_of_zeros),
    WITH_FIXTURE(neighbours_stay_apart),
    WITH_FIXTURE(nested_ranges_come_back_to_the_outer_one),
    WITH_FIXTURE(later_entry_hides_an_earlier_one),
    WITH_FIXTURE(entries_wrapped_round_the_ring_replay),
    WITH_FIXTURE(region_tables_may_be_replaced),
    WITH_FIXTURE(file_itself_stays_as_it_is),
    WITH_FIXTURE(reads_at_every_alignment),
    WITH_FIXTURE(random_descriptors_read_as_the_model_says),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, fixture_tests, sizeof fixture_tests);
    s.count = COUNT(fixture_tests);
    return run_suite("overlay", &s, NULL, NULL);
}
