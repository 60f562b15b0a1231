/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Conversions onto something that exists, and that may fail, or forget what was written to it. */

#include <stdio.h>
#include <unistd.h>

#include "model.h"

#define SIZE MODEL_SIZE
#define BEHIND (64 * K) /* bytes of a target behind the disk */
#define OLD 0xaa        /* what was there before */
#define NEVER UINT64_MAX

/* ---- The target ----------------------------------------------------------------------------- */

enum call { PREAD, PWRITE, ZERO, FLUSH, GET_SIZE, CALLS };
enum zeroing { WITHOUT_ZERO, ZERO_UNSUPPORTED, WITH_ZERO };

/* Calls come from any thread: what is counted is atomic. */
struct target {
    uint8_t *bytes;
    uint64_t size;
    enum zeroing zeroing;
    uint64_t counts[CALLS];
    uint64_t written, zeroed; /* bytes */
    bool is_dirty;            /* changed after the last flush */

    enum call bad_call;       /* the one that fails or forgets, */
    uint64_t bad_at;          /* when it comes for this time, from 0 on; NEVER */
    int error;                /* with this; or 0: */
    bool flips;               /* one bit is wrong, or nothing is done */
    uint64_t bad_offset;      /* of the first byte that is wrong then */
};

static struct target make_target(uint64_t size, enum zeroing zeroing)
{
    struct target t = { .size = size, .zeroing = zeroing, .bad_at = NEVER };

    t.bytes = malloc(SIZE + BEHIND);
    memset(t.bytes, OLD, SIZE + BEHIND);
    return t;
}

static bool is_bad(struct target *t, enum call call)
{
    uint64_t n = __atomic_fetch_add(&t->counts[call], 1, __ATOMIC_RELAXED);

    return t->bad_call == call && t->bad_at == n;
}

static int target_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct target *t = opaque;

    if (is_bad(t, PREAD))
        return t->error;
    if (offset > t->size || len > t->size - offset)
        return -EIO;
    memcpy(buf, t->bytes + offset, len);
    return 0;
}

/* Both changing calls; buf NULL: zeros. */
static int change(struct target *t, enum call call, const void *buf, uint64_t len, uint64_t offset)
{
    bool bad = is_bad(t, call);

    if (bad && t->error)
        return t->error;
    if (offset > t->size || len > t->size - offset)
        return -EIO;
    __atomic_store_n(&t->is_dirty, true, __ATOMIC_RELAXED);
    __atomic_fetch_add(buf ? &t->written : &t->zeroed, len, __ATOMIC_RELAXED);
    if (bad)
        t->bad_offset = offset + (t->flips ? len / 2 : 0);
    if (bad && !t->flips)
        return 0;
    if (buf)
        memcpy(t->bytes + offset, buf, len);
    else
        memset(t->bytes + offset, 0, len);
    if (bad)
        t->bytes[t->bad_offset] ^= 4;
    return 0;
}

static int target_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    return change(opaque, PWRITE, buf, len, offset);
}

static int target_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct target *t = opaque;

    if (t->zeroing != WITH_ZERO) {
        __atomic_fetch_add(&t->counts[ZERO], 1, __ATOMIC_RELAXED);
        return -EOPNOTSUPP;
    }
    return change(t, ZERO, NULL, len, offset);
}

static int target_flush(void *opaque)
{
    struct target *t = opaque;

    if (is_bad(t, FLUSH) && t->error)
        return t->error;
    t->is_dirty = false;
    return 0;
}

static int target_size(void *opaque, uint64_t *ret)
{
    struct target *t = opaque;

    if (is_bad(t, GET_SIZE))
        return t->error;
    *ret = t->size;
    return 0;
}

static int convert_onto(struct target *t, struct vhdx_disk *d,
                        const struct vhdx_convert_options *o, struct vhdx_convert_result *result,
                        struct vhdx_error *err)
{
    const struct vhdx_io io = { .struct_size = sizeof io, .opaque = t, .pread = target_pread,
                                .pwrite = target_pwrite, .flush = target_flush,
                                .size = target_size,
                                .zero = t->zeroing == WITHOUT_ZERO ? NULL : target_zero };

    memset(t->counts, 0, sizeof t->counts);
    return vhdx_convert_to_io(d, &io, o, result, err);
}

static void expect_converted(const struct target *t)
{
    model_expect(t->bytes);
    for (uint64_t i = SIZE; i < SIZE + BEHIND; i++)
        if (t->bytes[i] != OLD)
            fail_test("byte %" PRIu64 ", behind the disk, is %#x\n", i, t->bytes[i]);
    assert_false(t->is_dirty);
}

/* ---- Onto what exists ----------------------------------------------------------------------- */

static void all_of_the_disk_is_written_or_zeroed(void **state)
{
    static const uint32_t threads[] = { 1, 7 };
    vhdx_io_extents *const extents[] = { NULL, model_extents };

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
        struct target t = make_target(SIZE + BEHIND, i % 3);
        struct model m = { 0 };
        struct vhdx_disk *d = model_open(&m, extents[i / 3 % 2]);
        o.threads = threads[i / 6];
        assert_int_equal(convert_onto(&t, d, &o, &result, NULL), 0);
        expect_converted(&t);
        assert_true(t.written + t.zeroed == SIZE);
        assert_true(result.disk_size == SIZE);
        assert_true((t.zeroed > 0) == (t.zeroing == WITH_ZERO));
        assert_true((t.counts[ZERO] > 0) == (t.zeroing != WITHOUT_ZERO));
        assert_true(t.counts[PREAD] == 0);
        if (extents[i / 3 % 2])
            assert_true(result.read_bytes < 3 * M);
        vhdx_disk_close(d);
        free(t.bytes);
    }
}

static void target_of_just_the_size_is_enough(void **state)
{
    struct target t = make_target(SIZE, WITH_ZERO);
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);

    (void)state;
    assert_int_equal(convert_onto(&t, d, NULL, NULL, NULL), 0);
    expect_converted(&t);
    vhdx_disk_close(d);
    free(t.bytes);
}

static void too_small_a_target_is_left_alone(void **state)
{
    struct target t = make_target(SIZE - 1, WITH_ZERO);
    struct vhdx_error err = blank_error();
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);

    (void)state;
    expect_error(convert_onto(&t, d, NULL, NULL, &err), &err, VHDX_E_NOSPACE, VHDX_OFFSET_NONE,
                 "9437696|9437695");
    assert_true(t.counts[PWRITE] == 0 && t.counts[ZERO] == 0 && t.counts[FLUSH] == 0);
    vhdx_disk_close(d);
    free(t.bytes);
}

/* Its size is not known before: what there is room for may be written, but not more. */
static void stream_that_is_larger_than_the_target(void **state)
{
    struct target t = make_target(20 * K - 1, WITH_ZERO);
    struct vhdx_error err = blank_error();
    static const uint8_t bytes[20 * K];
    struct vhdx_disk *d;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    close(ends[1]);
    assert_int_equal(vhdx_disk_stream(ends[0], &d, NULL), 0);
    expect_error(convert_onto(&t, d, NULL, NULL, &err), &err, VHDX_E_NOSPACE, VHDX_OFFSET_NONE,
                 "20479");
    assert_int_equal(t.bytes[t.size], OLD);
    vhdx_disk_close(d);
    close(ends[0]);
    free(t.bytes);
}

struct failure_row {
    const char *name;
    enum call call;
    int error, code;
    const char *words;
};

static const struct failure_row failure_rows[] = {
    { "no space to write", PWRITE, -ENOSPC, VHDX_E_NOSPACE, "writing" },
    { "no quota to write", PWRITE, -EDQUOT, VHDX_E_NOSPACE, "writing" },
    { "a write fails", PWRITE, -EIO, VHDX_E_SYSTEM, "writing" },
    { "no space to zero", ZERO, -ENOSPC, VHDX_E_NOSPACE, "zeroing" },
    { "zeroing fails", ZERO, -EIO, VHDX_E_SYSTEM, "zeroing" },
    { "no space at a flush", FLUSH, -ENOSPC, VHDX_E_NOSPACE, "flushing" },
    { "a flush fails", FLUSH, -EIO, VHDX_E_SYSTEM, "flushing" },
    { "no size", GET_SIZE, -EIO, VHDX_E_SYSTEM, "size" },
    { "reading back fails", PREAD, -EIO, VHDX_E_SYSTEM, "the output|reading" },
};

/* The first, the second, ... until all goes well. */
static void every_failure_is_told(void **state)
{
    const struct failure_row *row = *state;
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct target t = make_target(SIZE + BEHIND, WITH_ZERO);
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);
    int r = -1;

    o.flags = VHDX_CONVERT_VERIFY;
    o.threads = 2;
    t.bad_call = row->call;
    t.error = row->error;
    for (t.bad_at = 0; r < 0; t.bad_at++) {
        struct vhdx_error err = blank_error();
        r = convert_onto(&t, d, &o, NULL, &err);
        assert_true(r < 0 || t.counts[row->call] == t.bad_at);
        if (r == 0)
            break;
        expect_error(r, &err, row->code, err.file_offset, row->words);
        assert_int_equal(err.sys_errno, -row->error);
    }
    assert_true(t.bad_at > 0);
    expect_converted(&t);
    vhdx_disk_close(d);
    free(t.bytes);
}

struct forgetting_row {
    const char *name;
    enum call call;
    bool flips;
};

static const struct forgetting_row forgetting_rows[] = {
    { "a write that is dropped", PWRITE, false },
    { "a write that is changed", PWRITE, true },
    { "zeros that are dropped", ZERO, false },
    { "zeros that are changed", ZERO, true },
};

/* Each write in turn; without VERIFY nobody could know. */
static void verify_finds_what_the_target_forgot(void **state)
{
    const struct forgetting_row *row = *state;
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct target t = make_target(SIZE + BEHIND, WITH_ZERO);
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);
    bool has_happened = true;

    t.bad_call = row->call;
    t.flips = row->flips;
    for (t.bad_at = 0; has_happened; t.bad_at++) {
        struct vhdx_error err = blank_error();
        char words[64];
        memset(t.bytes, OLD, SIZE);
        o.flags = 0;
        assert_int_equal(convert_onto(&t, d, &o, NULL, NULL), 0);
        assert_true(t.counts[PREAD] == 0);
        memset(t.bytes, OLD, SIZE);
        o.flags = VHDX_CONVERT_VERIFY;
        int r = convert_onto(&t, d, &o, NULL, &err);
        has_happened = t.counts[row->call] > t.bad_at;
        snprintf(words, sizeof words, "verifying|offset %" PRIu64 " ", t.bad_offset / 512 * 512);
        if (has_happened)
            expect_error(r, &err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE, words);
        else
            assert_int_equal(r, 0);
    }
    assert_true(t.bad_at > 2);
    expect_converted(&t);
    vhdx_disk_close(d);
    free(t.bytes);
}

/* A stream is gone when it is verified: by its digest. */
static void verify_of_a_stream(void **state)
{
    static const uint8_t bytes[20 * K] = { 1, 2, 3 };
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;

    (void)state;
    o.flags = VHDX_CONVERT_VERIFY;
    for (unsigned bad = 0; bad < 2; bad++) {
        struct target t = make_target(SIZE, WITH_ZERO);
        struct vhdx_error err = blank_error();
        struct vhdx_disk *d;
        int ends[2];
        t.bad_call = PWRITE;
        t.flips = true;
        t.bad_at = bad ? 0 : NEVER;
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
        close(ends[1]);
        assert_int_equal(vhdx_disk_stream(ends[0], &d, NULL), 0);
        int r = convert_onto(&t, d, &o, NULL, &err);
        vhdx_disk_close(d);
        close(ends[0]);
        free(t.bytes);
        if (r == -VHDX_E_UNSUPPORTED) /* no libcrypto */
            skip();
        if (bad)
            expect_error(r, &err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE, "verifying|read back");
        else
            assert_int_equal(r, 0);
    }
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, all_of_the_disk_is_written_or_zeroed);
    ADD_TEST(&s, target_of_just_the_size_is_enough);
    ADD_TEST(&s, too_small_a_target_is_left_alone);
    ADD_TEST(&s, stream_that_is_larger_than_the_target);
    ADD_ROWS(&s, every_failure_is_told, failure_rows);
    ADD_ROWS(&s, verify_finds_what_the_target_forgot, forgetting_rows);
    ADD_TEST(&s, verify_of_a_stream);
    return run_suite("target", &s, NULL, NULL);
}
