/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file in memory, and the wrappers round struct vhdx_io. */

#include "io/io.h"
#include "io/memory.h"

#include <errno.h>
#include <pthread.h>

#include "expect.h"

static struct vhdx_io open_text(const char *text)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    assert_int_equal(memory_open(text, strlen(text), &io, &err), 0);
    assert_untouched(&err);
    return io;
}

static void assert_holds(const struct vhdx_io *io, const void *data, uint64_t len)
{
    uint8_t *found = malloc(len + 1);
    uint64_t size;

    assert_int_equal(io->size(io->opaque, &size), 0);
    assert_int_equal(size, len);
    assert_int_equal(io->pread(io->opaque, found, len, 0), 0);
    assert_memory_equal(found, data, len);
    free(found);
}

static void every_call_is_there(void **state)
{
    struct vhdx_io io = open_text("abc");

    (void)state;
    assert_int_equal(io.struct_size, sizeof io);
    assert_non_null(io.pread);
    assert_non_null(io.pwrite);
    assert_non_null(io.flush);
    assert_non_null(io.size);
    assert_non_null(io.truncate);
    assert_non_null(io.zero);
    assert_non_null(io.discard);
    assert_non_null(io.close);
    assert_int_equal(io.flush(io.opaque), 0);
    io_close(&io);
}

static void file_begins_as_a_copy(void **state)
{
    char text[] = "abc";
    struct vhdx_io io = open_text(text);

    (void)state;
    memset(text, 'x', sizeof text);
    assert_holds(&io, "abc", 3);
    io_close(&io);
}

static void file_may_begin_empty(void **state)
{
    struct vhdx_io io;
    char c;

    (void)state;
    assert_int_equal(memory_open(NULL, 0, &io, NULL), 0);
    assert_holds(&io, "", 0);
    assert_int_equal(io.pread(io.opaque, &c, 1, 0), -EIO);
    assert_int_equal(io.pwrite(io.opaque, "x", 1, 0), 0);
    assert_holds(&io, "x", 1);
    io_close(&io);
}

static void reads_end_with_the_file(void **state)
{
    struct vhdx_io io = open_text("abcdef");
    char buf[8];

    (void)state;
    assert_int_equal(io.pread(io.opaque, buf, 2, 4), 0);
    assert_memory_equal(buf, "ef", 2);
    assert_int_equal(io.pread(io.opaque, buf, 0, 6), 0);
    assert_int_equal(io.pread(io.opaque, buf, 3, 4), -EIO);
    assert_int_equal(io.pread(io.opaque, buf, 1, 6), -EIO);
    assert_int_equal(io.pread(io.opaque, buf, 8, UINT64_MAX - 3), -EIO);
    io_close(&io);
}

static void writes_replace_and_extend(void **state)
{
    struct vhdx_io io = open_text("abcdef");

    (void)state;
    assert_int_equal(io.pwrite(io.opaque, "XY", 2, 1), 0);
    assert_holds(&io, "aXYdef", 6);
    assert_int_equal(io.pwrite(io.opaque, "Z", 1, 9), 0);
    assert_holds(&io, "aXYdef\0\0\0Z", 10);
    assert_int_equal(io.pwrite(io.opaque, "ab", 2, UINT64_MAX), -EFBIG);
    assert_int_equal(io.pwrite(io.opaque, "ab", 2, UINT64_MAX - 1), -EFBIG);
    assert_holds(&io, "aXYdef\0\0\0Z", 10);
    io_close(&io);
}

static void what_was_cut_off_does_not_come_back(void **state)
{
    struct vhdx_io io = open_text("abcdef");

    (void)state;
    assert_int_equal(io.truncate(io.opaque, 3), 0);
    assert_holds(&io, "abc", 3);
    assert_int_equal(io.truncate(io.opaque, 5), 0);
    assert_holds(&io, "abc\0\0", 5);
    assert_int_equal(io.truncate(io.opaque, 2), 0);
    assert_int_equal(io.pwrite(io.opaque, "z", 1, 7), 0);
    assert_holds(&io, "ab\0\0\0\0\0z", 8);
    assert_int_equal(io.truncate(io.opaque, 0), 0);
    assert_holds(&io, "", 0);
    io_close(&io);
}

static void zero_and_discard_leave_zeros(void **state)
{
    struct vhdx_io io = open_text("abcdef");

    (void)state;
    assert_int_equal(io.zero(io.opaque, 1, 2), 0);
    assert_holds(&io, "a\0\0def", 6);
    assert_int_equal(io.discard(io.opaque, 4, 2), 0);
    assert_holds(&io, "a\0\0d\0\0", 6);
    assert_int_equal(io.zero(io.opaque, 6, 0), 0);
    assert_true(io.zero(io.opaque, 5, 2) < 0);
    assert_true(io.discard(io.opaque, UINT64_MAX, 2) < 0);
    io_close(&io);
}

static void file_grows_to_megabytes(void **state)
{
    uint8_t *model = calloc(1, 3 * M);
    uint64_t random = 5, size = 0;
    struct vhdx_io io;

    (void)state;
    assert_int_equal(memory_open(NULL, 0, &io, NULL), 0);
    for (int i = 0; i < 200; i++) {
        uint8_t piece[1000];
        uint64_t at = next_random(&random) % (3 * M - sizeof piece) * (uint64_t)(i + 1) / 200;
        memset(piece, i + 1, sizeof piece);
        assert_int_equal(io.pwrite(io.opaque, piece, sizeof piece, at), 0);
        memcpy(model + at, piece, sizeof piece);
        size = at + sizeof piece > size ? at + sizeof piece : size;
    }
    assert_holds(&io, model, size);
    io_close(&io);
    free(model);
}

static void *write_and_read(void *opaque)
{
    const struct vhdx_io *io = opaque;
    char buf[64];

    for (uint64_t i = 0; i < 500; i++) {
        uint64_t size;
        memset(buf, 'x', sizeof buf);
        if (io->pwrite(io->opaque, buf, sizeof buf, 64 * i) < 0 ||
            io->pread(io->opaque, buf, sizeof buf, 32 * i) < 0 || io->size(io->opaque, &size) < 0)
            return opaque;
    }
    return NULL;
}

/* What it shows, it shows to a thread sanitizer. */
static void any_thread_may_call(void **state)
{
    pthread_t threads[4];
    struct vhdx_io io;

    (void)state;
    assert_int_equal(memory_open(NULL, 0, &io, NULL), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_read, &io), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    io_close(&io);
}

/* ---- The wrappers --------------------------------------------------------------------------- */

static unsigned closes;

static int fail_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    (void)buf;
    (void)len;
    (void)offset;
    return *(int *)opaque;
}

static int fail_size(void *opaque, uint64_t *ret_size)
{
    (void)ret_size;
    return *(int *)opaque;
}

static void count_close(void *opaque)
{
    (void)opaque;
    closes++;
}

static void errno_of_a_custom_file_is_kept(void **state)
{
    static const struct { int errnum; int code; } cases[] = {
        { EIO, VHDX_E_SYSTEM }, { ENOSPC, VHDX_E_NOSPACE }, { ENOMEM, VHDX_E_NOMEM },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int result = -cases[i].errnum;
        struct vhdx_io io = { .opaque = &result, .pread = fail_pread, .size = fail_size };
        struct vhdx_error err = blank_error();
        uint64_t size = 77;
        char buf[5];
        int r = io_pread(&io, buf, 5, 4096, &err);
        expect_error(r, &err, cases[i].code, 4096, "reading 5 bytes: ");
        assert_int_equal(err.sys_errno, cases[i].errnum);
        r = io_size(&io, &size, &err);
        expect_error(r, &err, cases[i].code, VHDX_OFFSET_NONE, "size: ");
        assert_int_equal(err.sys_errno, cases[i].errnum);
        assert_int_equal(size, 77);
    }
}

static void wrappers_leave_the_error_alone_on_success(void **state)
{
    struct vhdx_io io = open_text("abc");
    struct vhdx_error err = blank_error();
    uint64_t size;
    char buf[3];

    (void)state;
    assert_int_equal(io_pread(&io, buf, 3, 0, &err), 0);
    assert_memory_equal(buf, "abc", 3);
    assert_int_equal(io_size(&io, &size, &err), 0);
    assert_int_equal(size, 3);
    assert_untouched(&err);
    io_close(&io);
}

static void closing_twice_closes_once(void **state)
{
    struct vhdx_io io = { .close = count_close }, none = { 0 };

    (void)state;
    closes = 0;
    io_close(&io);
    io_close(&io);
    io_close(&none);
    assert_int_equal(closes, 1);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, every_call_is_there);
    ADD_TEST(&s, file_begins_as_a_copy);
    ADD_TEST(&s, file_may_begin_empty);
    ADD_TEST(&s, reads_end_with_the_file);
    ADD_TEST(&s, writes_replace_and_extend);
    ADD_TEST(&s, what_was_cut_off_does_not_come_back);
    ADD_TEST(&s, zero_and_discard_leave_zeros);
    ADD_TEST(&s, file_grows_to_megabytes);
    ADD_TEST(&s, any_thread_may_call);
    ADD_TEST(&s, errno_of_a_custom_file_is_kept);
    ADD_TEST(&s, wrappers_leave_the_error_alone_on_success);
    ADD_TEST(&s, closing_twice_closes_once);
    return run_suite("memory", &s, NULL, NULL);
}
