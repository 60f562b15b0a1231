/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file with a log in it, for the tests of log/scan. */
#ifndef TEST_SCANFILE_H
#define TEST_SCANFILE_H

#include "io/memory.h"
#include "log/scan.h"

#include "expect.h"
#include "logbuild.h"

#define LOG_AT (1 * M) /* of the log in the file */

/* A file that holds nothing but a log behind 1 MiB of other things. */
struct file {
    uint32_t length; /* of the log */
    uint8_t *bytes;
    uint8_t *log;
};

static inline struct file new_file(uint32_t length)
{
    struct file f = { .length = length, .bytes = calloc(1, LOG_AT + length) };

    assert_non_null(f.bytes);
    memset(f.bytes, 0x55, LOG_AT);
    f.log = f.bytes + LOG_AT;
    return f;
}

static inline int scan_io(const struct vhdx_io *io, uint32_t length, struct log_sequence *ret,
                   struct vhdx_error *err)
{
    struct guid guid;
    struct log_ring ring;

    put_guid_text_order(guid.bytes, LOG_GUID);
    assert_int_equal(log_ring_init(&ring, io, LOG_AT, length, err), 0);
    int r = log_scan(&ring, &guid, ret, err);
    log_ring_end(&ring);
    return r;
}

static inline int scan(const struct file *f, struct log_sequence *ret, struct vhdx_error *err)
{
    struct vhdx_io io;

    assert_int_equal(memory_open(f->bytes, LOG_AT + f->length, &io, NULL), 0);
    int r = scan_io(&io, f->length, ret, err);
    io_close(&io);
    return r;
}

/* Scans, expects the entries with these numbers, and forgets the file. */
static inline void expect_sequence(struct file *f, uint64_t first, uint64_t last)
{
    struct vhdx_error err = blank_error();
    struct log_sequence s;

    int r = scan(f, &s, &err);
    if (r < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    assert_int_equal(s.count, last == 0 ? 0 : last - first + 1);
    for (uint32_t i = 0; i < s.count; i++)
        assert_true(s.entries[i].sequence_number == first + i);
    log_sequence_end(&s);
    free(f->bytes);
}

static inline void expect_none(struct file *f)
{
    expect_sequence(f, 0, 0);
}

static inline uint32_t put(struct file *f, const struct log_spec *e)
{
    return put_log_entry(f->log, f->length, e);
}

/* Entries with one data descriptor, two sectors each, numbered from first, all with this Tail. */
static inline uint32_t put_chain(struct file *f, uint32_t at, uint64_t first, unsigned count,
                          uint32_t tail)
{
    static const struct log_change change = { .offset = 8 * M, .seed = 1 };

    for (unsigned i = 0; i < count; i++)
        at = put(f, &(struct log_spec){ .at = at, .tail = tail, .sequence = first + i,
                                        .changes = &change, .count = 1 });
    return at;
}

#endif
