/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Disks behind a program's own calls, and conversions to streams and to custom files. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "expect.h"

#define SIZE (9 * M + 512)
#define DATA_AT (5 * M + 4096)
#define DATA_LEN (2 * M)

/* Zeros but for one stretch. */
struct model {
    uint64_t data_at;
    unsigned walks;       /* extents() calls */
    unsigned moves_after; /* the data moves to the beginning after so many; 0: never */
    int read_error, extents_error;
    unsigned closed;
};

static uint8_t byte_at(const struct model *m, uint64_t at)
{
    return at >= m->data_at && at < m->data_at + DATA_LEN ? (uint8_t)(1 + at % 251) : 0;
}

static int model_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct model *m = opaque;

    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = byte_at(m, offset + i);
    return m->read_error;
}

static int model_size(void *opaque, uint64_t *ret)
{
    (void)opaque;
    *ret = SIZE;
    return 0;
}

static void model_close(void *opaque)
{
    ((struct model *)opaque)->closed++;
}

static int model_extents(void *opaque, uint64_t offset, uint64_t len,
                         int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                         void *fn_opaque)
{
    struct model *m = opaque;

    if (m->extents_error)
        return m->extents_error;
    if (offset == 0 && m->moves_after && m->walks++ == m->moves_after)
        m->data_at = 0;
    uint64_t data_end = m->data_at + DATA_LEN;
    bool is_data = offset >= m->data_at && offset < data_end;
    uint64_t end = is_data ? data_end : offset < m->data_at ? m->data_at : SIZE;
    if (end > offset + len)
        end = offset + len;
    struct vhdx_extent e = { .offset = offset, .length = end - offset,
                             .kind = is_data ? VHDX_EXTENT_DATA : VHDX_EXTENT_HOLE };
    return fn(&e, fn_opaque);
}

static struct vhdx_disk *open_model(struct model *m)
{
    const struct vhdx_io io = { .struct_size = sizeof io, .opaque = m, .pread = model_pread,
                                .size = model_size, .close = model_close };
    struct vhdx_disk *d;

    assert_int_equal(vhdx_disk_custom(&io, model_extents, "the model", &d, NULL), 0);
    assert_true(vhdx_disk_size(d) == SIZE);
    return d;
}

static int new_file(int flags)
{
    char name[] = "/tmp/test-disks.XXXXXX";
    int fd = mkostemp(name, flags);

    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void expect_disk(const struct model *m, int fd)
{
    uint8_t *buf = malloc(SIZE);

    assert_true(pread(fd, buf, SIZE, 0) == (ssize_t)SIZE);
    for (uint64_t i = 0; i < SIZE; i++)
        if (buf[i] != byte_at(m, i))
            fail_test("byte %" PRIu64 " is %u\n", i, buf[i]);
    free(buf);
}

static uint64_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_size;
}

/* ---- Streams -------------------------------------------------------------------------------- */

static void raw_stream_is_the_disk(void **state)
{
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m);
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    int sparse = new_file(0), dense = new_file(O_APPEND);

    (void)state;
    assert_int_equal(vhdx_convert_to_stream(d, sparse, NULL, NULL, NULL), 0);
    assert_int_equal(vhdx_convert_to_stream(d, dense, NULL, &result, NULL), 0);
    expect_disk(&m, sparse);
    expect_disk(&m, dense);
    assert_true(size_of(sparse) == SIZE && size_of(dense) == SIZE);
    assert_true(result.disk_size == SIZE && result.file_size == SIZE);
    assert_true(result.read_bytes == DATA_LEN);
    vhdx_disk_close(d);
    assert_int_equal(m.closed, 1);
    close(sparse);
    close(dense);
}

static void vhd_stream_has_a_footer(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m);
    struct vhdx_error err = blank_error();
    char cookie[8];
    int fd = new_file(0);

    (void)state;
    o.format = VHDX_FORMAT_VHD;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, NULL), 0);
    expect_disk(&m, fd);
    assert_true(size_of(fd) == SIZE + 512);
    assert_int_equal(pread(fd, cookie, 8, SIZE), 8);
    assert_memory_equal(cookie, "conectix", 8);
    close(fd);
    fd = new_file(0);
    o.flags = VHDX_CONVERT_AZURE;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, &err), 0);
    assert_true(size_of(fd) == (SIZE + M - 1) / M * M + 512);
    vhdx_disk_close(d);
    close(fd);
}

/* As an image, through the descriptor. */
static void expect_vhdx(const struct model *m, int fd)
{
    uint8_t *buf = malloc(SIZE);
    char path[64];
    struct vhdx *v;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_int_equal(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, NULL), 0);
    assert_true(vhdx_size(v) == SIZE);
    assert_int_equal(vhdx_pread(v, buf, SIZE, 0, NULL), 0);
    for (uint64_t i = 0; i < SIZE; i++)
        if (buf[i] != byte_at(m, i))
            fail_test("byte %" PRIu64 " is %u\n", i, buf[i]);
    vhdx_close(v);
    free(buf);
}

static void vhdx_stream_is_an_image(void **state)
{
    static const uint32_t types[] = { VHDX_TYPE_DYNAMIC, VHDX_TYPE_FIXED };
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options c = VHDX_CREATE_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m);

    (void)state;
    o.format = VHDX_FORMAT_VHDX;
    o.create = &c;
    for (size_t i = 0; i < COUNT(types); i++) {
        struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
        int fd = new_file(0);
        c.type = types[i];
        assert_int_equal(vhdx_convert_to_stream(d, fd, &o, &result, NULL), 0);
        assert_true(size_of(fd) == result.file_size);
        expect_vhdx(&m, fd);
        close(fd);
    }
    vhdx_disk_close(d);
}

static void data_that_appears_between_the_passes_is_an_error(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT, .moves_after = 1 };
    struct vhdx_disk *d = open_model(&m);
    struct vhdx_error err = blank_error();
    int fd = new_file(0);

    (void)state;
    o.format = VHDX_FORMAT_VHDX;
    expect_error(vhdx_convert_to_stream(d, fd, &o, NULL, &err), &err, VHDX_E_TRUNCATED,
                 VHDX_OFFSET_NONE, "the model|data at 0 now|changes the input");
    vhdx_disk_close(d);
    close(fd);
}

/* The size is not known before the end. */
static void stream_of_unknown_size_becomes_every_format(void **state)
{
    struct model m = { .data_at = DATA_AT };

    (void)state;
    for (uint32_t format = VHDX_FORMAT_RAW; format <= VHDX_FORMAT_VHD; format++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        int in = new_file(0), out = new_file(0);
        struct vhdx_disk *d = open_model(&m), *stream;
        assert_int_equal(pwrite(in, "ab", 2, 0), 2);
        assert_int_equal(lseek(in, 2, SEEK_SET), 2);
        assert_int_equal(vhdx_convert_to_stream(d, in, NULL, NULL, NULL), 0);
        vhdx_disk_close(d);
        assert_int_equal(lseek(in, 2, SEEK_SET), 2);
        assert_int_equal(vhdx_disk_stream(in, &stream, NULL), 0);
        assert_true(vhdx_disk_size(stream) == VHDX_SIZE_UNKNOWN);
        o.format = format;
        assert_int_equal(vhdx_convert_to_stream(stream, out, &o, NULL, NULL), 0);
        if (format == VHDX_FORMAT_VHDX)
            expect_vhdx(&m, out);
        else
            expect_disk(&m, out);
        vhdx_disk_close(stream);
        close(in);
        close(out);
    }
}

static int count_calls(uint64_t done, uint64_t total, void *opaque)
{
    assert_true(total == VHDX_SIZE_UNKNOWN && done <= SIZE);
    ++*(unsigned *)opaque;
    return 0;
}

/* It then has a size, any order, and what was not read when it was a stream is still there. */
static void spooled_stream_is_a_disk(void **state)
{
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m), *stream, *spooled;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;
    unsigned calls = 0;
    const struct vhdx_progress progress = { count_calls, &calls };
    int in = new_file(0);

    (void)state;
    assert_int_equal(pwrite(in, "ab", 2, 0), 2);
    assert_int_equal(lseek(in, 2, SEEK_SET), 2);
    assert_int_equal(vhdx_convert_to_stream(d, in, NULL, NULL, NULL), 0);
    assert_int_equal(lseek(in, 2, SEEK_SET), 2);
    assert_int_equal(vhdx_disk_stream(in, &stream, NULL), 0);
    assert_int_equal(vhdx_disk_spool(stream, &progress, &spooled, NULL), 0);
    vhdx_disk_close(stream);
    close(in);
    assert_true(calls > 0);
    assert_true(vhdx_disk_size(spooled) == vhdx_disk_size(d));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vhdx_compare(spooled, d, NULL, &result, NULL), 0);
        assert_int_equal(result.outcome, VHDX_COMPARE_SAME);
    }
    assert_int_equal(vhdx_disk_spool(spooled, NULL, &stream, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_disk_spool(NULL, NULL, &stream, NULL), -VHDX_E_INVALID);
    vhdx_disk_close(spooled);
    vhdx_disk_close(d);
}

/* SIGPIPE would end this program. */
static void reader_that_has_gone_is_an_error(void **state)
{
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m);
    struct vhdx_error err = blank_error();
    int ends[2];

    (void)state;
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    expect_error(vhdx_convert_to_stream(d, ends[1], NULL, NULL, &err), &err, VHDX_E_SYSTEM, 0,
                 "the output stream's reader has gone");
    assert_int_equal(err.sys_errno, EPIPE);
    vhdx_disk_close(d);
    close(ends[1]);
}

/* ---- Failures ------------------------------------------------------------------------------- */

static int cancel(uint64_t done, uint64_t total, void *opaque)
{
    (void)done, (void)total, (void)opaque;
    return 1;
}

static void failures_of_the_disk_are_told(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT, .read_error = -EIO };
    struct vhdx_disk *d = open_model(&m);
    struct vhdx_error err = blank_error();
    int fd = new_file(0);

    (void)state;
    assert_int_equal(vhdx_convert_to_stream(d, fd, NULL, NULL, &err), -VHDX_E_SYSTEM);
    assert_int_equal(err.sys_errno, EIO);
    m.read_error = 0;
    m.extents_error = -ENODEV;
    err = blank_error();
    assert_int_equal(vhdx_convert_to_stream(d, fd, NULL, NULL, &err), -VHDX_E_SYSTEM);
    assert_int_equal(err.sys_errno, ENODEV);
    m.extents_error = 0;
    o.progress.fn = cancel;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, NULL), -VHDX_E_CANCELLED);
    vhdx_disk_close(d);
    close(fd);
}

static void wrong_arguments_are_refused(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m), *unset = NULL;
    int fd = new_file(0), reader = open("/dev/null", O_RDONLY);

    (void)state;
    assert_int_equal(vhdx_disk_custom(NULL, NULL, "x", &unset, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_disk_of(NULL, &unset, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_disk_raw(NULL, 0, &unset, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_disk_stream(-1, &unset, NULL), -VHDX_E_INVALID);
    assert_null(unset);
    assert_int_equal(vhdx_convert_to_stream(NULL, fd, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert_to_stream(d, -1, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert_to_stream(d, reader, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert_disk(d, NULL, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert_to_io(d, NULL, NULL, NULL, NULL), -VHDX_E_INVALID);
    o.flags = VHDX_CONVERT_VERIFY;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, NULL), -VHDX_E_INVALID);
    o.flags = 0;
    o.threads = 65;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, NULL), -VHDX_E_INVALID);
    assert_true(size_of(fd) == 0);
    vhdx_disk_close(d);
    close(fd);
    close(reader);
}

/* A program that was built against an older header knows fewer members. */
static void shorter_options_are_accepted(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct model m = { .data_at = DATA_AT };
    struct vhdx_disk *d = open_model(&m);
    int fd = new_file(0);

    (void)state;
    o.struct_size = offsetof(struct vhdx_convert_options, threads);
    o.threads = 1000;
    assert_int_equal(vhdx_convert_to_stream(d, fd, &o, NULL, NULL), 0);
    expect_disk(&m, fd);
    vhdx_disk_close(d);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_stream_is_the_disk),
        cmocka_unit_test(vhd_stream_has_a_footer),
        cmocka_unit_test(vhdx_stream_is_an_image),
        cmocka_unit_test(data_that_appears_between_the_passes_is_an_error),
        cmocka_unit_test(stream_of_unknown_size_becomes_every_format),
        cmocka_unit_test(spooled_stream_is_a_disk),
        cmocka_unit_test(reader_that_has_gone_is_an_error),
        cmocka_unit_test(failures_of_the_disk_are_told),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(shorter_options_are_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
