/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Damaged, crafted and unreadable logs, and the descriptors of an entry: [MS-VHDX] 2.3. */

#include "scanfile.h"

#include <errno.h>

/* ---- Damaged entries ------------------------------------------------------------------------ */

static const struct log_change four_changes[] = {
    { .offset = 3 * M, .seed = 1 }, { .offset = 4 * M, .length = M },
    { .offset = 5 * M, .seed = 2 }, { .offset = 6 * M, .seed = 3 },
};

/* Power was lost while the last entry was written: some of its sectors are still the old ones. */
static void torn_entry_does_not_count(void **state)
{
    const uint32_t length = 4 * SECTOR;

    (void)state;
    for (unsigned torn = 1; torn < 15; torn++) { /* every choice of sectors but none and all */
        struct file f = new_file(M);
        uint8_t old[4 * SECTOR];
        uint32_t at = put_chain(&f, 0, 40, 2, 0);
        put(&f, &(struct log_spec){ .at = at, .tail = at, .sequence = 11, .count = 4,
                                    .changes = four_changes });
        memcpy(old, f.log + at, length);
        put(&f, &(struct log_spec){ .at = at, .tail = 0, .sequence = 42, .count = 4,
                                    .changes = four_changes });
        for (unsigned i = 0; i < 4; i++)
            if (torn >> i & 1)
                memcpy(f.log + at + i * SECTOR, old + i * SECTOR, SECTOR);
        expect_sequence(&f, 40, 41);
    }
}

static void entry_whose_end_was_not_written_does_not_count(void **state)
{
    (void)state;
    for (unsigned kept = 0; kept < 4; kept++) {
        struct file f = new_file(M);
        uint32_t at = put_chain(&f, 0, 40, 2, 0);
        put(&f, &(struct log_spec){ .at = at, .tail = 0, .sequence = 42, .count = 4,
                                    .changes = four_changes });
        memset(f.log + at + kept * SECTOR, 0, (4 - kept) * SECTOR);
        expect_sequence(&f, 40, 41);
    }
}

static void entry_with_a_bit_changed_does_not_count(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4 * SECTOR; i += i < 256 ? 7 : 1021) {
        struct file f = new_file(M);
        uint32_t at = put_chain(&f, 0, 40, 2, 0);
        put(&f, &(struct log_spec){ .at = at, .tail = 0, .sequence = 42, .count = 4,
                                    .changes = four_changes });
        f.log[at + i] ^= (uint8_t)(1u << i % 8);
        expect_sequence(&f, 40, 41);
    }
}

/* Rules that a correct checksum does not help against. */
struct rule {
    const char *name;
    uint32_t at; /* in an entry of 4 sectors */
    unsigned width;
    uint64_t value;
};

static const struct rule rules[] = {
    { "entry with a descriptor of another number", 64 + 24, 8, 41 },
    { "entry with a zero descriptor of another number", 96 + 24, 8, 41 },
    { "entry with a descriptor of no known kind", 64, 4, 0x61746164 },
    { "entry with a descriptor not on a sector", 64 + 16, 8, 3 * M + 512 },
    { "entry with a zero length of part of a sector", 96 + 8, 8, 512 },
    { "entry with a data sector of no signature", SECTOR, 4, 0 },
    { "entry with a data sector of another number, high", 2 * SECTOR + 4, 4, 1 },
    { "entry with a data sector of another number, low", 4 * SECTOR - 4, 4, 41 },
    { "entry with more data descriptors than sectors", 96, 4, 0x63736564 },
    { "entry with a length that leaves a data sector out", 8, 4, 3 * SECTOR },
    { "entry with sequence number 0", 16, 8, 0 },
    { "entry with a tail outside the log", 12, 4, M },
    { "entry with more descriptors than it has room for", 24, 4, 127 + 3 * 128 },
};

static void broken_entry_does_not_count(void **state)
{
    const struct rule *rule = *state;
    struct file f = new_file(M);
    uint32_t at = put_chain(&f, 0, 40, 2, 0);

    put(&f, &(struct log_spec){ .at = at, .tail = 0, .sequence = 42, .count = 4,
                                .changes = four_changes });
    put_int(f.log + at + rule->at, rule->value, rule->width);
    put_crc(f.log + at, rule->at == 8 ? rule->value : 4 * SECTOR);
    expect_sequence(&f, 40, 41);
}

/* ---- Limits and failures -------------------------------------------------------------------- */

/* Headers alone, each of which says that its entry reaches once round the log. */
static void put_greedy_headers(struct file *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct log_spec e = { .at = i * SECTOR, .tail = 0, .sequence = i + 1 };
        put_log_header(f->log + i * SECTOR, &e, f->length);
    }
}

static void overlapping_entries_reach_the_limit(void **state)
{
    struct vhdx_error err = blank_error();
    struct file f = new_file(M);
    struct log_sequence s;

    (void)state;
    put_greedy_headers(&f, 256);
    int r = scan(&f, &s, &err);
    expect_error(r, &err, VHDX_E_LIMIT, err.file_offset, "log|overlap");
    free(f.bytes);
}

/* They are read through a window of 1 MiB, which each of them moves there and back. */
static void entries_across_two_mibs_reach_the_limit_sooner(void **state)
{
    struct vhdx_error err = blank_error();
    struct file f = new_file(2 * M);
    struct log_sequence s;

    (void)state;
    for (uint32_t i = 1; i <= 100; i++) { /* 100 * 404 KiB alone would be below it */
        struct log_spec e = { .at = (uint32_t)M - i * SECTOR, .tail = 0, .sequence = i };
        put_log_header(f.log + e.at, &e, 101 * SECTOR);
    }
    int r = scan(&f, &s, &err);
    expect_error(r, &err, VHDX_E_LIMIT, err.file_offset, "log|overlap");
    free(f.bytes);
}

/* Old headers whose bodies have been overwritten do stand in the logs of programs. */
static void some_overlapping_entries_are_below_the_limit(void **state)
{
    struct file f = new_file(M);

    (void)state;
    put_greedy_headers(&f, 8);
    expect_none(&f);
}

/* Nested entries that all end where one long chain begins: each would be followed to its end. */
static void too_many_chains_reach_the_limit(void **state)
{
    struct vhdx_error err = blank_error();
    struct file f = new_file(2 * M);
    struct log_sequence s;

    (void)state;
    for (uint32_t i = 0; i < 400; i++)
        put(&f, &(struct log_spec){ .at = (100 + i) * SECTOR, .tail = 0, .sequence = 2 + i });
    for (uint32_t k = 1; k <= 100; k++) { /* from the inside out */
        struct log_spec e = { .at = (100 - k) * SECTOR, .tail = 0, .sequence = 1 };
        put_log_header(f.log + e.at, &e, k * SECTOR);
        put_crc(f.log + e.at, k * SECTOR);
    }
    int r = scan(&f, &s, &err);
    expect_error(r, &err, VHDX_E_LIMIT, err.file_offset, "log|overlap|chains");
    free(f.bytes);
}

struct failing {
    struct vhdx_io inner;
    unsigned reads_left;
};

static int failing_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct failing *f = opaque;

    if (f->reads_left-- == 0)
        return -EIO;
    return f->inner.pread(f->inner.opaque, buf, len, offset);
}

static void unreadable_log_is_an_error(void **state)
{
    struct file f = new_file(3 * M);

    (void)state;
    put_chain(&f, (uint32_t)M - 3 * SECTOR, 40, 4, 0);
    for (unsigned n = 0;; n++) {
        struct vhdx_error err = blank_error();
        struct failing failing = { .reads_left = n };
        struct log_sequence s = { .count = 77 };
        assert_int_equal(memory_open(f.bytes, LOG_AT + f.length, &failing.inner, NULL), 0);
        struct vhdx_io io = { .opaque = &failing, .pread = failing_pread };
        int r = scan_io(&io, f.length, &s, &err);
        io_close(&failing.inner);
        if (r == 0) {
            assert_true(n >= 3);
            log_sequence_end(&s);
            break;
        }
        expect_error(r, &err, VHDX_E_SYSTEM, err.file_offset, "reading");
        assert_int_equal(err.sys_errno, EIO);
        assert_true(err.file_offset >= LOG_AT && err.file_offset < LOG_AT + f.length);
        assert_int_equal(s.count, 77);
    }
    free(f.bytes);
}

/* ---- Descriptors of an entry ---------------------------------------------------------------- */

struct visit {
    unsigned count, stop_at;
    uint64_t offsets[8];
    uint32_t data_offsets[8];
};

static int note_descriptor(const struct log_descriptor *d, uint32_t data_offset, void *opaque,
                           struct vhdx_error *err)
{
    struct visit *v = opaque;

    if (v->count == v->stop_at) {
        memset(err, 0, sizeof *err);
        return -VHDX_E_LIMIT;
    }
    v->offsets[v->count] = d->file_offset;
    v->data_offsets[v->count++] = d->is_zero ? UINT32_MAX : data_offset;
    return 0;
}

static int visit_four(uint32_t at, struct visit *v)
{
    struct file f = new_file(M);
    struct vhdx_error err = blank_error();
    struct log_sequence s;
    struct log_ring ring;
    struct vhdx_io io;

    put(&f, &(struct log_spec){ .at = at, .tail = at, .sequence = 42, .count = 4,
                                .changes = four_changes });
    assert_int_equal(scan(&f, &s, NULL), 0);
    assert_int_equal(s.count, 1);
    assert_int_equal(memory_open(f.bytes, LOG_AT + f.length, &io, NULL), 0);
    assert_int_equal(log_ring_init(&ring, &io, LOG_AT, f.length, NULL), 0);
    int r = log_entry_descriptors(&ring, &s.entries[0], note_descriptor, v, &err);
    log_ring_end(&ring);
    io_close(&io);
    log_sequence_end(&s);
    free(f.bytes);
    return r;
}

static void data_sectors_go_to_data_descriptors_in_order(void **state)
{
    (void)state;
    for (uint32_t before = 1; before < 6; before++) { /* sectors before the end of the ring */
        uint32_t at = (uint32_t)M - before * SECTOR;
        struct visit v = { .stop_at = 8 };
        assert_int_equal(visit_four(at, &v), 0);
        assert_int_equal(v.count, 4);
        for (unsigned i = 0; i < 4; i++)
            assert_true(v.offsets[i] == four_changes[i].offset);
        assert_int_equal(v.data_offsets[0], (at + SECTOR) % M);
        assert_int_equal(v.data_offsets[1], UINT32_MAX);
        assert_int_equal(v.data_offsets[2], (at + 2 * SECTOR) % M);
        assert_int_equal(v.data_offsets[3], (at + 3 * SECTOR) % M);
    }
}

static void visitor_may_stop(void **state)
{
    struct visit v = { .stop_at = 2 };

    (void)state;
    assert_int_equal(visit_four(0, &v), -VHDX_E_LIMIT);
    assert_int_equal(v.count, 2);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, torn_entry_does_not_count);
    ADD_TEST(&s, entry_whose_end_was_not_written_does_not_count);
    ADD_TEST(&s, entry_with_a_bit_changed_does_not_count);
    ADD_ROWS(&s, broken_entry_does_not_count, rules);
    ADD_TEST(&s, overlapping_entries_reach_the_limit);
    ADD_TEST(&s, entries_across_two_mibs_reach_the_limit_sooner);
    ADD_TEST(&s, some_overlapping_entries_are_below_the_limit);
    ADD_TEST(&s, too_many_chains_reach_the_limit);
    ADD_TEST(&s, unreadable_log_is_an_error);
    ADD_TEST(&s, data_sectors_go_to_data_descriptors_in_order);
    ADD_TEST(&s, visitor_may_stop);
    return run_suite("scan-damage", &s, NULL, NULL);
}
