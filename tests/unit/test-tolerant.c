/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file some of whose sectors cannot be read. */

#include "io/tolerant.h"

#include <errno.h>
#include <pthread.h>

#include "expect.h"
#include "io/io.h"

#define SIZE (300 * K + 77)
#define SECTORS ((SIZE + 511) / 512)

struct below {
    uint8_t bytes[SIZE];
    bool bad[SECTORS];
    int result; /* of a read that meets a bad sector */
};

static int below_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct below *b = opaque;

    assert_true(offset <= SIZE && len <= SIZE - offset);
    memset(buf, 0xee, len); /* what a failed read leaves must not be believed */
    for (uint64_t at = offset / 512; len > 0 && at <= (offset + len - 1) / 512; at++)
        if (b->bad[at])
            return b->result;
    memcpy(buf, b->bytes + offset, len);
    return 0;
}

static int below_size(void *opaque, uint64_t *ret_size)
{
    (void)opaque;
    *ret_size = SIZE;
    return 0;
}

struct scene {
    struct below below;
    struct vhdx_io below_io, io;
};

/* With seed 0 nothing is bad. */
static struct scene *begin(uint64_t seed)
{
    uint64_t random = seed;
    struct scene *s = calloc(1, sizeof *s);
    struct vhdx_error err = blank_error();

    assert_non_null(s);
    s->below.result = -EIO;
    for (size_t i = 0; i < SIZE; i++)
        s->below.bytes[i] = (uint8_t)(next_random(&random) | 1);
    for (size_t i = 0; i < SECTORS; i++)
        s->below.bad[i] = seed != 0 && next_random(&random) % 16 == 0;
    s->below_io = (struct vhdx_io){ .struct_size = sizeof s->below_io, .opaque = &s->below,
                                    .pread = below_pread, .size = below_size };
    assert_int_equal(tolerant_open(&s->below_io, &s->io, &err), 0);
    assert_untouched(&err);
    return s;
}

static void end(struct scene *s)
{
    io_close(&s->io);
    free(s);
}

/* True if a read gives zeros for what is in bad sectors and the right bytes elsewhere. */
static bool reads_right(const struct scene *s, uint64_t offset, size_t len)
{
    uint8_t *buf = malloc(len + 1);
    bool is_right = buf && s->io.pread(s->io.opaque, buf, len, offset) == 0;

    for (size_t i = 0; i < len && is_right; i++)
        is_right = buf[i] ==
                   (s->below.bad[(offset + i) / 512] ? 0 : s->below.bytes[offset + i]);
    free(buf);
    return is_right;
}

static void verify_bad(const struct scene *s)
{
    struct range found;
    uint64_t at = 0;

    for (uint64_t i = 0; i < SECTORS; i++) {
        uint64_t start = i * 512, stop = start + 512 < SIZE ? start + 512 : SIZE;
        bool is = tolerant_next_bad(&s->io, start, stop, &found);
        assert_int_equal(is, s->below.bad[i]);
        if (is)
            assert_true(found.start == start && found.end == stop);
    }
    for (int i = 0; tolerant_next_bad(&s->io, at, SIZE, &found); i++) {
        assert_true(i <= (int)SECTORS && found.start >= at && found.end > found.start);
        at = found.end;
    }
}

static void what_can_be_read_is_right(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene *s = begin(seed);
        uint64_t random = seed;
        for (int i = 0; i < 300; i++) {
            uint64_t offset = next_random(&random) % SIZE;
            assert_true(reads_right(s, offset, next_random(&random) % (SIZE - offset + 1)));
        }
        assert_true(reads_right(s, 0, SIZE));
        verify_bad(s);
        end(s);
    }
}

static void whole_files_have_nothing_bad(void **state)
{
    struct scene *s = begin(0);
    struct range found;
    uint64_t size;

    (void)state;
    assert_true(reads_right(s, 0, SIZE));
    assert_true(reads_right(s, SIZE, 0));
    assert_false(tolerant_next_bad(&s->io, 0, UINT64_MAX, &found));
    assert_int_equal(s->io.size(s->io.opaque, &size), 0);
    assert_int_equal(size, SIZE);
    assert_null(s->io.pwrite);
    end(s);
}

/* That says nothing about the disk. */
static void want_of_memory_is_passed_on(void **state)
{
    struct scene *s = begin(0);
    struct range found;
    char c;

    (void)state;
    s->below.bad[3] = true;
    s->below.result = -ENOMEM;
    assert_int_equal(s->io.pread(s->io.opaque, &c, 1, 3 * 512), -ENOMEM);
    assert_false(tolerant_next_bad(&s->io, 0, UINT64_MAX, &found));
    end(s);
}

static void *read_much(void *opaque)
{
    struct scene *s = opaque;
    uint64_t random = 4;

    for (int i = 0; i < 200; i++) {
        uint64_t offset = next_random(&random) % (SIZE - 5000);
        if (!reads_right(s, offset, 5000))
            return s;
    }
    return NULL;
}

static void any_thread_may_call(void **state)
{
    struct scene *s = begin(9);
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_much, s), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_true(reads_right(s, 0, SIZE));
    verify_bad(s);
    end(s);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, what_can_be_read_is_right);
    ADD_TEST(&s, whole_files_have_nothing_bad);
    ADD_TEST(&s, want_of_memory_is_passed_on);
    ADD_TEST(&s, any_thread_may_call);
    return run_suite("tolerant", &s, NULL, NULL);
}
