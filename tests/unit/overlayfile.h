/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A file with a log in memory, the entries put into it, and a byte array to which the same
 * descriptors were applied one after the other: for the tests of log/overlay.
 */
#ifndef TEST_OVERLAYFILE_H
#define TEST_OVERLAYFILE_H

#include "io/memory.h"
#include "log/overlay.h"

#include "expect.h"
#include "logbuild.h"

#define LOG_AT (1 * M)
#define LOG_LENGTH (1 * M)
#define BODY (2 * M)         /* where the tests change things: to the end of the file, and beyond */
#define BODY_SIZE (256 * K)  /* of the file as it is */
#define MODEL_SIZE (768 * K) /* as far as the model reaches from BODY */
#define FILE_SIZE (BODY + BODY_SIZE)

/* A file with a log, the entries put into it, and what its body must read as after the replay. */
struct fixture {
    struct vhdx_io io;
    uint8_t log[LOG_LENGTH];
    uint8_t model[MODEL_SIZE];
    uint8_t found[MODEL_SIZE];
    uint64_t size; /* of the file after the replay */
    uint32_t at;   /* where the next entry goes */
    struct log_sequence sequence;
    struct log_entry entries[64];
    struct overlay *overlay;
};

static inline void fill_base(uint8_t *p)
{
    for (size_t i = 0; i < BODY_SIZE; i++)
        p[i] = (uint8_t)(0x80 | (i ^ i >> 7));
}

static inline int make_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    uint8_t *bytes = calloc(1, FILE_SIZE);

    if (!f || !bytes)
        return -1;
    fill_base(f->model);
    memcpy(bytes + BODY, f->model, BODY_SIZE);
    int r = memory_open(bytes, FILE_SIZE, &f->io, NULL);
    free(bytes);
    f->size = FILE_SIZE;
    f->sequence.entries = f->entries;
    *state = f;
    return r;
}

static inline int free_fixture(void **state)
{
    struct fixture *f = *state;

    overlay_free(f->overlay);
    io_close(&f->io);
    free(f);
    return 0;
}

/* Back to an empty log and an unchanged file. */
static inline void reset(struct fixture *f)
{
    overlay_free(f->overlay);
    f->overlay = NULL;
    fill_base(f->model);
    memset(f->model + BODY_SIZE, 0, MODEL_SIZE - BODY_SIZE);
    f->size = FILE_SIZE;
    f->at = 0;
    f->sequence.count = 0;
}

static inline uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline void apply(struct fixture *f, const struct log_change *c)
{
    uint64_t length = c->seed ? SECTOR : c->length;

    if (length > 0)
        f->size = largest(f->size, c->offset + length);
    if (c->offset < BODY)
        return;
    if (c->seed)
        sector_content(f->model + (c->offset - BODY), c->seed);
    else
        memset(f->model + (c->offset - BODY), 0, length);
}

/* Adds an entry to the log, to the sequence, and to the model. */
static inline void add_entry(struct fixture *f, struct log_spec spec)
{
    struct log_entry *e = &f->entries[f->sequence.count];

    spec.at = f->at;
    spec.sequence = ++f->sequence.count;
    spec.no_crc = true; /* that entries are sound is for the scan to find out */
    *e = (struct log_entry){ .offset = spec.at, .at = LOG_AT + spec.at,
                             .length = spec_length(&spec),
                             .descriptor_count = spec.count, .sequence_number = spec.sequence,
                             .flushed_file_offset = spec.flushed, .last_file_offset = spec.last };
    f->at = put_log_entry(f->log, LOG_LENGTH, &spec);
    for (unsigned i = 0; i < spec.count; i++)
        apply(f, &spec.changes[i]);
    f->size = largest(f->size, spec.last);
}

static inline int build(struct fixture *f, struct vhdx_error *err)
{
    struct log_ring ring;

    assert_int_equal(f->io.pwrite(f->io.opaque, f->log, LOG_LENGTH, LOG_AT), 0);
    assert_int_equal(log_ring_init(&ring, &f->io, LOG_AT, LOG_LENGTH, NULL), 0);
    int r = overlay_build(&ring, &f->sequence, FILE_SIZE, &f->overlay, err);
    log_ring_end(&ring);
    return r;
}

static inline void read_and_compare(struct fixture *f, uint64_t offset, size_t len)
{
    struct vhdx_error err = blank_error();
    uint8_t *found = malloc(len ? len : 1); /* of just that length, for a sanitizer */

    if (overlay_pread(f->overlay, &f->io, found, len, offset, &err) < 0)
        fail_test("%zu bytes at %#" PRIx64 ": %s\n", len, offset, err.message);
    if (memcmp(found, f->model + (offset - BODY), len) != 0)
        fail_test("%zu bytes at %#" PRIx64 " differ\n", len, offset);
    free(found);
}

static inline void compare_all(struct fixture *f)
{
    assert_true(overlay_size(f->overlay) == f->size);
    read_and_compare(f, BODY, f->size - BODY);
}

/* One entry of these changes; all of the file is compared. */
#define EXPECT_REPLAY(f, ...)                                                                      \
    do {                                                                                           \
        static const struct log_change changes_[] = { __VA_ARGS__ };                               \
        struct vhdx_error err_ = blank_error();                                                    \
        add_entry(f, (struct log_spec){ .changes = changes_, .count = COUNT(changes_) });          \
        assert_int_equal(build(f, &err_), 0);                                                      \
        assert_untouched(&err_);                                                                   \
        compare_all(f);                                                                            \
    } while (0)

#define WITH_FIXTURE(f) cmocka_unit_test_setup_teardown(f, make_fixture, free_fixture)

#endif
