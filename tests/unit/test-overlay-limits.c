/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The size of a file after a replay, and what a replay refuses: [MS-VHDX] 2.3.3. */

#include "overlayfile.h"
#include "util/limits.h"

#include <errno.h>

/* ---- The file's size ------------------------------------------------------------------------ */

static void file_grows_to_last_file_offset(void **state)
{
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .last = BODY + 512 * K });
    assert_int_equal(build(f, NULL), 0);
    assert_true(overlay_size(f->overlay) == BODY + 512 * K);
    compare_all(f); /* what is new reads as zeros */
}

static void last_file_offset_of_the_last_entry_counts(void **state)
{
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .last = 100 * M });
    add_entry(f, (struct log_spec){ .last = BODY + 300 * K });
    assert_int_equal(build(f, NULL), 0);
    assert_true(overlay_size(f->overlay) == BODY + 300 * K);
}

static void file_does_not_shrink(void **state)
{
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .last = 1 * M });
    assert_int_equal(build(f, NULL), 0);
    assert_true(overlay_size(f->overlay) == FILE_SIZE);
    compare_all(f);
}

static void file_grows_to_what_is_written(void **state)
{
    EXPECT_REPLAY(*state, { FILE_SIZE + 10 * SECTOR, 0, 3 });
    assert_true(overlay_size(((struct fixture *)*state)->overlay) == FILE_SIZE + 11 * SECTOR);
}

static void file_grows_to_what_is_zeroed(void **state)
{
    EXPECT_REPLAY(*state, { FILE_SIZE - SECTOR, 30 * SECTOR, 0 });
    assert_true(overlay_size(((struct fixture *)*state)->overlay) == FILE_SIZE + 29 * SECTOR);
}

static void file_shorter_than_flushed_is_truncated(void **state)
{
    struct fixture *f = *state;
    struct vhdx_error err = blank_error();

    add_entry(f, (struct log_spec){ .flushed = FILE_SIZE });
    assert_int_equal(build(f, &err), 0);
    reset(f);
    add_entry(f, (struct log_spec){ .flushed = FILE_SIZE + 1 });
    expect_error(build(f, &err), &err, VHDX_E_TRUNCATED, LOG_AT + 48,
                 "log entry at 0|flushed file offset|2359297|2359296|truncated");
    assert_null(f->overlay);
}

static void flushed_of_the_last_entry_counts(void **state)
{
    struct fixture *f = *state;

    add_entry(f, (struct log_spec){ .flushed = 100 * M });
    add_entry(f, (struct log_spec){ .flushed = 1 * M }); /* the file was made shorter */
    assert_int_equal(build(f, NULL), 0);
}

/* ---- Refused -------------------------------------------------------------------------------- */

struct refused_row {
    const char *name;
    struct log_change change;
    uint64_t last;
    size_t at; /* of the offending field in the entry */
    const char *words;
};

static const struct refused_row refused_rows[] = {
    { "refused: data over a header", { 128 * K, 0, 1 }, 0, 80, "192 KiB" },
    { "refused: zeros from the start of the file", { 0, SECTOR, 0 }, 0, 80,
      "192 KiB" },
    { "refused: data over the log", { LOG_AT, 0, 1 }, 0, 80, "outside the log" },
    { "refused: zeros over the end of the log", { LOG_AT + LOG_LENGTH - SECTOR, 2 * SECTOR, 0 },
      0, 80, "outside the log" },
    { "refused: data beyond the largest file", { 256 * T, 0, 1 }, 0, 80, "256 TiB" },
    { "refused: zeros beyond the largest file", { BODY, 256 * T, 0 }, 0, 80,
      "256 TiB" },
    { "refused: growth beyond the largest file", { BODY, 0, 1 }, 256 * T + M, 56,
      "last file offset|256 TiB" },
};

/* Also where a good entry stands before and behind the bad one. */
static void refused_row(void **state)
{
    static const struct log_change good = { BODY, 0, 1 };
    const struct refused_row *row = *state;
    struct vhdx_error err = blank_error();
    void *fixture = NULL;

    assert_int_equal(make_fixture(&fixture), 0);
    struct fixture *f = fixture;
    const struct log_spec around = { .changes = &good, .count = 1 };
    struct log_spec bad = { .last = row->last, .count = 1, .at = 2 * SECTOR, .sequence = 2,
                            .changes = &row->change, .no_crc = true };
    add_entry(f, around);
    f->entries[1] = (struct log_entry){ .offset = bad.at, .at = LOG_AT + bad.at,
                                        .length = spec_length(&bad), .descriptor_count = 1,
                                        .sequence_number = 2, .last_file_offset = row->last };
    f->at = put_log_entry(f->log, LOG_LENGTH, &bad);
    f->sequence.count = 2;
    add_entry(f, around);
    expect_error(build(f, &err), &err, VHDX_E_CORRUPT, LOG_AT + bad.at + row->at, row->words);
    assert_null(f->overlay);
    free_fixture(&fixture);
}

/* A log of 9 MiB and nothing but zero descriptors. */
static int build_many(unsigned count, struct overlay **ret, struct vhdx_error *err)
{
    const uint32_t length = 9 * (uint32_t)M;
    uint8_t *bytes = calloc(1, LOG_AT + length);
    struct log_change *changes = malloc(count * sizeof *changes);
    struct log_entry entry = { .descriptor_count = count, .sequence_number = 1 };
    struct log_sequence sequence = { .entries = &entry, .count = 1 };
    struct log_ring ring;
    struct vhdx_io io;

    for (unsigned i = 0; i < count; i++)
        changes[i] = (struct log_change){ 16 * M + (count - i) * 8ull * SECTOR, 12 * SECTOR, 0 };
    struct log_spec spec = { .sequence = 1, .changes = changes, .count = count, .no_crc = true };
    entry.length = spec_length(&spec);
    put_log_entry(bytes + LOG_AT, length, &spec);
    assert_int_equal(memory_open(bytes, LOG_AT + length, &io, NULL), 0);
    assert_int_equal(log_ring_init(&ring, &io, LOG_AT, length, NULL), 0);
    int r = overlay_build(&ring, &sequence, LOG_AT + length, ret, err);
    log_ring_end(&ring);
    io_close(&io);
    free(changes);
    free(bytes);
    return r;
}

static void descriptors_have_a_limit(void **state)
{
    struct vhdx_error err = blank_error();
    struct overlay *o = NULL;

    (void)state;
    assert_int_equal(build_many(LIMIT_LOG_DESCRIPTORS, &o, &err), 0);
    assert_true(overlay_size(o) == 16 * M + LIMIT_LOG_DESCRIPTORS * 8ull * SECTOR + 12 * SECTOR);
    overlay_free(o);
    int r = build_many(LIMIT_LOG_DESCRIPTORS + 1, &o, &err);
    expect_error(r, &err, VHDX_E_LIMIT, err.file_offset, "log|descriptor|262144");
}

static int no_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    (void)opaque;
    (void)buf;
    (void)len;
    (void)offset;
    return -EIO;
}

static void unreadable_file_is_an_error_where_it_is_read(void **state)
{
    static const struct log_change changes[] = { { BODY, 0, 1 }, { BODY + SECTOR, SECTOR, 0 } };
    const struct vhdx_io broken = { .pread = no_pread };
    struct fixture *f = *state;
    struct vhdx_error err = blank_error();
    uint8_t buf[SECTOR];

    add_entry(f, (struct log_spec){ .changes = changes, .count = 2, .last = 4 * M });
    assert_int_equal(build(f, NULL), 0);
    int r = overlay_pread(f->overlay, &broken, buf, 1, BODY + 5, &err);
    expect_error(r, &err, VHDX_E_SYSTEM, LOG_AT + SECTOR, "reading"); /* its data sector */
    r = overlay_pread(f->overlay, &broken, buf, 1, BODY + 2 * SECTOR, &err);
    expect_error(r, &err, VHDX_E_SYSTEM, BODY + 2 * SECTOR, "reading");
    assert_int_equal(overlay_pread(f->overlay, &broken, buf, SECTOR, BODY + SECTOR, NULL), 0);
    assert_int_equal(overlay_pread(f->overlay, &broken, buf, SECTOR, 3 * M, NULL), 0);
}

static void freeing_nothing_is_fine(void **state)
{
    (void)state;
    overlay_free(NULL);
}

static const struct CMUnitTest fixture_tests[] = {
    WITH_FIXTURE(file_grows_to_last_file_offset),
    WITH_FIXTURE(last_file_offset_of_the_last_entry_counts),
    WITH_FIXTURE(file_does_not_shrink),
    WITH_FIXTURE(file_grows_to_what_is_written),
    WITH_FIXTURE(file_grows_to_what_is_zeroed),
    WITH_FIXTURE(file_shorter_than_flushed_is_truncated),
    WITH_FIXTURE(flushed_of_the_last_entry_counts),
    WITH_FIXTURE(unreadable_file_is_an_error_where_it_is_read),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, fixture_tests, sizeof fixture_tests);
    s.count = COUNT(fixture_tests);
    ADD_ROWS(&s, refused_row, refused_rows);
    ADD_TEST(&s, descriptors_have_a_limit);
    ADD_TEST(&s, freeing_nothing_is_fine);
    return run_suite("overlay-limits", &s, NULL, NULL);
}
