/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Changes kept in memory over a file that is never written to. */

#include "io/scratch.h"

#include <errno.h>
#include <pthread.h>

#include "expect.h"
#include "io/io.h"

#define SMALL (300 * K + 77) /* size of the file below */
#define LARGEST (700 * K)    /* to which the random test lets it grow */

/* ---- The file below ------------------------------------------------------------------------- */

struct below {
    uint8_t bytes[SMALL];
    int failing; /* the result of every pread, or 0 */
};

static int below_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct below *b = opaque;

    assert_true(offset <= SMALL && len <= SMALL - offset);
    if (b->failing < 0)
        return b->failing;
    memcpy(buf, b->bytes + offset, len);
    return 0;
}

static int below_size(void *opaque, uint64_t *ret_size)
{
    (void)opaque;
    *ret_size = SMALL;
    return 0;
}

static int below_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    (void)opaque;
    (void)buf;
    fail_test("the file below is written: %zu bytes at %" PRIu64 "\n", len, offset);
    return -EIO;
}

static int below_change(void *opaque, uint64_t offset, uint64_t len)
{
    (void)opaque;
    fail_test("the file below is changed: %" PRIu64 " bytes at %" PRIu64 "\n", len, offset);
    return -EIO;
}

static int below_truncate(void *opaque, uint64_t size)
{
    return below_change(opaque, size, 0);
}

static int below_flush(void *opaque)
{
    return below_change(opaque, 0, 0);
}

static void below_close(void *opaque)
{
    below_change(opaque, 0, 0);
}

static struct vhdx_io make_below(struct below *b)
{
    uint64_t random = 11;

    b->failing = 0;
    for (size_t i = 0; i < SMALL; i++)
        b->bytes[i] = (uint8_t)(next_random(&random) | 1);
    return (struct vhdx_io){ .struct_size = sizeof(struct vhdx_io), .opaque = b,
                             .pread = below_pread, .pwrite = below_pwrite,
                             .flush = below_flush, .size = below_size,
                             .truncate = below_truncate, .zero = below_change,
                             .discard = below_change, .close = below_close };
}

/* A scratch file over a file that must not change, and a model of what it holds. */
struct scene {
    struct below below;
    struct vhdx_io io;
    uint8_t bytes[LARGEST];
    uint8_t kind[LARGEST]; /* 0 untouched, 1 zeros, 2 written */
    uint64_t size;
};

static struct scene *begin(uint64_t memory)
{
    struct scene *s = calloc(1, sizeof *s);
    struct vhdx_io below = make_below(&s->below);
    struct vhdx_error err = blank_error();

    assert_int_equal(scratch_open_bounded(&below, memory, &s->io, &err), 0);
    assert_untouched(&err);
    memcpy(s->bytes, s->below.bytes, SMALL);
    s->size = SMALL;
    return s;
}

static void end(struct scene *s)
{
    io_close(&s->io);
    free(s);
}

static int write_at(const struct vhdx_io *io, const void *buf, size_t len, uint64_t offset)
{
    return io->pwrite(io->opaque, buf, len, offset);
}

static uint64_t size_of(const struct vhdx_io *io)
{
    uint64_t size = 0;

    assert_int_equal(io->size(io->opaque, &size), 0);
    return size;
}

/* ---- Against a model ------------------------------------------------------------------------ */

static void set_model_size(struct scene *s, uint64_t size)
{
    uint64_t from = size < s->size ? size : s->size;

    memset(s->bytes + from, 0, LARGEST - from);
    memset(s->kind + from, 0, LARGEST - from);
    if (size > s->size)
        memset(s->kind + s->size, 1, size - s->size);
    s->size = size;
}

static void set_model(struct scene *s, uint64_t offset, uint64_t len, int byte, int kind)
{
    if (offset + len > s->size)
        set_model_size(s, offset + len);
    memset(s->bytes + offset, byte, len);
    memset(s->kind + offset, kind, len);
}

static int verify_change(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    uint8_t *found = opaque; /* like scene.kind */

    assert_true(length > 0 && length <= LARGEST && offset <= LARGEST - length);
    for (uint64_t i = offset; i < offset + length; i++) {
        assert_int_equal(found[i], 0);
        found[i] = zero ? 1 : 2;
    }
    if (offset > 0)
        assert_int_not_equal(found[offset - 1], found[offset]); /* joined */
    return 0;
}

/* Offsets where a stretch begins, and some others. */
static void verify_next_data(const struct scene *s)
{
    uint64_t next = UINT64_MAX;

    for (uint64_t i = s->size; i-- > 0;) {
        if (s->kind[i] != 1)
            next = i;
        if (i % 509 == 0 || i == 0 || s->kind[i - 1] != s->kind[i])
            assert_int_equal(scratch_next_data(&s->io, i), next);
    }
    assert_int_equal(scratch_next_data(&s->io, s->size), UINT64_MAX);
}

static void verify_scene(struct scene *s)
{
    static uint8_t found[LARGEST];
    uint64_t touched = 0;

    assert_int_equal(size_of(&s->io), s->size);
    assert_int_equal(s->io.pread(s->io.opaque, found, s->size, 0), 0);
    assert_memory_equal(found, s->bytes, s->size);
    memset(found, 0, sizeof found);
    assert_int_equal(scratch_changes(&s->io, verify_change, found), 0);
    assert_memory_equal(found, s->kind, LARGEST);
    for (size_t i = 0; i < LARGEST; i++)
        touched += found[i] != 0;
    assert_int_equal(scratch_changed_bytes(&s->io), touched);
    verify_next_data(s);
}

/* Lengths of all magnitudes; ends that like the windows' edges. */
static uint64_t random_point(uint64_t *random, uint64_t limit)
{
    uint64_t at = next_random(random) % (limit + 1);

    if (next_random(random) % 4 == 0)
        at = at / (64 * K) * (64 * K) + next_random(random) % 3;
    return at > limit ? limit : at;
}

static void change_at_random(struct scene *s, uint64_t *random, int round)
{
    static uint8_t buf[LARGEST];
    uint64_t offset = random_point(random, s->size), len;
    uint32_t op = next_random(random) % 16;

    len = next_random(random) % (1u << next_random(random) % 18);
    if (op < 9) {
        offset += next_random(random) % 5 == 0 ? next_random(random) % 3000 : 0;
        len = offset >= LARGEST ? 0 : len > LARGEST - offset ? LARGEST - offset : len;
        memset(buf, round % 255 + 1, len);
        assert_int_equal(write_at(&s->io, buf, len, offset), 0);
        if (len > 0)
            set_model(s, offset, len, round % 255 + 1, 2);
    } else if (op < 15) {
        len = len > s->size - offset ? s->size - offset : len;
        assert_int_equal((op < 12 ? s->io.zero : s->io.discard)(s->io.opaque, offset, len), 0);
        if (len > 0)
            set_model(s, offset, len, 0, 1);
    } else {
        uint64_t size = next_random(random) % 3 ? random_point(random, LARGEST) : s->size;
        assert_int_equal(s->io.truncate(s->io.opaque, size), 0);
        set_model_size(s, size);
    }
}

static void random_changes_match_a_byte_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct scene *s = begin(64 * M);
        uint64_t random = seed;
        for (int round = 0; round < 1500; round++) {
            uint8_t piece[5000];
            change_at_random(s, &random, round);
            uint64_t at = random_point(&random, s->size);
            size_t len = s->size - at < sizeof piece ? s->size - at : sizeof piece;
            assert_int_equal(s->io.pread(s->io.opaque, piece, len, at), 0);
            assert_memory_equal(piece, s->bytes + at, len);
            if (round % 100 == 99)
                verify_scene(s);
        }
        end(s);
    }
}

/* ---- One by one ----------------------------------------------------------------------------- */

static void unchanged_file_is_the_one_below(void **state)
{
    struct scene *s = begin(1 * M);

    (void)state;
    assert_false(scratch_is_changed(&s->io));
    verify_scene(s);
    assert_int_equal(write_at(&s->io, "", 0, 5), 0);
    assert_int_equal(s->io.zero(s->io.opaque, 5, 0), 0);
    assert_int_equal(s->io.truncate(s->io.opaque, SMALL), 0);
    assert_int_equal(s->io.flush(s->io.opaque), 0);
    assert_false(scratch_is_changed(&s->io));
    end(s);
}

static void every_kind_of_change_is_noticed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct scene *s = begin(1 * M);
        int r = i == 0   ? write_at(&s->io, "x", 1, 7)
                : i == 1 ? s->io.zero(s->io.opaque, 7, 1)
                : i == 2 ? s->io.truncate(s->io.opaque, SMALL - 1)
                         : s->io.truncate(s->io.opaque, SMALL + 1);
        assert_int_equal(r, 0);
        assert_true(scratch_is_changed(&s->io));
        assert_int_equal(scratch_changed_bytes(&s->io), i == 2 ? 0 : 1);
        end(s);
    }
}

static void what_was_cut_off_does_not_come_back(void **state)
{
    struct scene *s = begin(1 * M);

    (void)state;
    assert_int_equal(s->io.truncate(s->io.opaque, 1000), 0);
    set_model_size(s, 1000);
    verify_scene(s);
    assert_int_equal(s->io.truncate(s->io.opaque, SMALL), 0);
    set_model_size(s, SMALL);
    verify_scene(s);
    end(s);
}

static void calls_past_the_end_are_refused(void **state)
{
    struct scene *s = begin(1 * M);
    char c;

    (void)state;
    assert_int_equal(s->io.pread(s->io.opaque, &c, 1, SMALL), -EIO);
    assert_int_equal(s->io.pread(s->io.opaque, &c, 1, UINT64_MAX), -EIO);
    assert_int_equal(s->io.zero(s->io.opaque, SMALL - 1, 2), -EINVAL);
    assert_int_equal(s->io.discard(s->io.opaque, UINT64_MAX, 2), -EINVAL);
    assert_int_equal(write_at(&s->io, "ab", 2, UINT64_MAX), -EFBIG);
    assert_int_equal(write_at(&s->io, "ab", 2, 256 * T - 1), -EFBIG);
    assert_int_equal(s->io.truncate(s->io.opaque, 256 * T + 1), -EFBIG);
    assert_false(scratch_is_changed(&s->io));
    end(s);
}

static void failed_read_below_is_passed_on(void **state)
{
    struct scene *s = begin(1 * M);
    char buf[4];

    (void)state;
    assert_int_equal(write_at(&s->io, "abcd", 4, 0), 0);
    s->below.failing = -ENXIO;
    assert_int_equal(s->io.pread(s->io.opaque, buf, 4, 0), 0);
    assert_memory_equal(buf, "abcd", 4);
    assert_int_equal(s->io.pread(s->io.opaque, buf, 4, 1), -ENXIO);
    end(s);
}

static int stop_walk(uint64_t offset, uint64_t length, bool zero, void *opaque)
{
    (void)offset;
    (void)length;
    (void)zero;
    return ++*(int *)opaque == 2 ? 42 : 0;
}

static void walk_ends_when_it_is_told_to(void **state)
{
    struct scene *s = begin(1 * M);
    int calls = 0;

    (void)state;
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(write_at(&s->io, "x", 1, 10 * i), 0);
    assert_int_equal(scratch_changes(&s->io, stop_walk, &calls), 42);
    assert_int_equal(calls, 2);
    end(s);
}

/* ---- Memory --------------------------------------------------------------------------------- */

static void zeros_of_any_length_cost_nothing(void **state)
{
    struct scene *s = begin(256 * K);
    uint64_t random = 3;
    uint8_t buf[64];

    (void)state;
    assert_int_equal(s->io.truncate(s->io.opaque, 256 * T), 0);
    assert_int_equal(s->io.zero(s->io.opaque, 0, 256 * T), 0);
    assert_int_equal(write_at(&s->io, "there", 5, 200 * T + 65534), 0);
    for (int i = 0; i < 100; i++) {
        uint64_t at = (uint64_t)next_random(&random) << 14;
        assert_int_equal(s->io.zero(s->io.opaque, at, 256 * T - at), 0);
        assert_int_equal(s->io.pread(s->io.opaque, buf, sizeof buf, 256 * T - sizeof buf), 0);
        assert_int_equal(write_at(&s->io, "there", 5, 200 * T + 65534), 0);
        assert_int_equal(s->io.pread(s->io.opaque, buf, 7, 200 * T + 65533), 0);
        assert_memory_equal(buf, "\0there\0", 7);
    }
    assert_int_equal(scratch_changed_bytes(&s->io), 256 * T);
    end(s);
}

/* Each apart would cost 16 times the bound. */
static void writes_in_a_row_are_joined(void **state)
{
    (void)state;
    for (int down = 0; down < 2; down++) {
        struct scene *s = begin(256 * K);
        for (uint64_t i = 0; i < 100000; i++) {
            uint64_t at = down ? 99999 - i : i;
            assert_int_equal(write_at(&s->io, "x", 1, at), 0);
            s->bytes[at] = 'x';
            s->kind[at] = 2;
        }
        verify_scene(s);
        end(s);
    }
}

static void memory_is_bounded(void **state)
{
    struct scene *s = begin(200 * K);
    uint8_t buf[1000];
    uint64_t at = 0;
    int r;

    (void)state;
    memset(buf, 'y', sizeof buf);
    while ((r = write_at(&s->io, buf, sizeof buf, at)) == 0) {
        set_model(s, at, sizeof buf, 'y', 2);
        at += 2 * sizeof buf;
    }
    assert_int_equal(r, -ENOMEM);
    assert_true(at > 200 * K && at < 400 * K); /* half is written */
    verify_scene(s);
    assert_int_equal(s->io.truncate(s->io.opaque, 1 * K), 0); /* gives back what it held */
    set_model_size(s, 1 * K);
    assert_int_equal(write_at(&s->io, buf, sizeof buf, at), 0);
    set_model(s, at, sizeof buf, 'y', 2);
    verify_scene(s);
    end(s);
}

static void scattered_zeros_are_bounded_too(void **state)
{
    struct scene *s = begin(200 * K);
    uint64_t at = 0;

    (void)state;
    while (at < SMALL && s->io.zero(s->io.opaque, at, 1) == 0) {
        set_model(s, at, 1, 0, 1);
        at += 2;
    }
    assert_true(at > 1000 && at < SMALL);
    verify_scene(s);
    end(s);
}

/* Also where a change needs memory in the middle of splitting what is there. */
static void failed_changes_leave_a_readable_file(void **state)
{
    struct scene *s = begin(150 * K);
    static uint8_t all[LARGEST];
    uint64_t random = 9, failures = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint8_t buf[3000];
        uint64_t at = random_point(&random, SMALL - sizeof buf);
        size_t len = next_random(&random) % sizeof buf;
        memset(buf, i, sizeof buf);
        int r = i % 3 ? write_at(&s->io, buf, len, at) : s->io.zero(s->io.opaque, at, len);
        assert_true(r == 0 || r == -ENOMEM);
        failures += r < 0;
        assert_int_equal(size_of(&s->io), SMALL);
        assert_int_equal(s->io.pread(s->io.opaque, all, SMALL, 0), 0);
    }
    assert_true(failures > 0 && failures < 3000);
    end(s);
}

/* ---- Threads -------------------------------------------------------------------------------- */

static void *read_much(void *opaque)
{
    const struct vhdx_io *io = opaque;
    uint8_t buf[300];
    uint64_t random = 4;

    for (int i = 0; i < 2000; i++) {
        uint64_t at = next_random(&random) % (SMALL - sizeof buf);
        if (io->pread(io->opaque, buf, sizeof buf, at) < 0)
            return opaque;
    }
    return NULL;
}

/* What it shows, it shows to a thread sanitizer. */
static void any_thread_may_call(void **state)
{
    struct scene *s = begin(1 * M);
    pthread_t threads[3];

    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_much, &s->io), 0);
    for (uint64_t i = 0; i < 500; i++)
        assert_int_equal(write_at(&s->io, "x", 1, 500 * i), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    end(s);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, random_changes_match_a_byte_array);
    ADD_TEST(&s, unchanged_file_is_the_one_below);
    ADD_TEST(&s, every_kind_of_change_is_noticed);
    ADD_TEST(&s, what_was_cut_off_does_not_come_back);
    ADD_TEST(&s, calls_past_the_end_are_refused);
    ADD_TEST(&s, failed_read_below_is_passed_on);
    ADD_TEST(&s, walk_ends_when_it_is_told_to);
    ADD_TEST(&s, zeros_of_any_length_cost_nothing);
    ADD_TEST(&s, writes_in_a_row_are_joined);
    ADD_TEST(&s, memory_is_bounded);
    ADD_TEST(&s, scattered_zeros_are_bounded_too);
    ADD_TEST(&s, failed_changes_leave_a_readable_file);
    ADD_TEST(&s, any_thread_may_call);
    return run_suite("scratch", &s, NULL, NULL);
}
