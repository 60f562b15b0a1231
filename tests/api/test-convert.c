/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Conversions whose inputs and outputs fail, lie, or forget; progress and cancelling. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"

#define SIZE (9 * M + 512)
#define TARGET_SIZE (SIZE + 4 * M)
#define OLD 0xee /* what a target has before */

/* ---- An input -------------------------------------------------------------------------------- */

enum lie { HONEST, GAP, BACKWARDS, BEYOND, EMPTY, NONE, UNKNOWN_KIND, ENDLESS, FAILING };

/* Data in every odd MiB; the sixth is all zeros nevertheless, and the others have some within. */
struct input {
    uint64_t fails_at; /* reads that touch this byte fail; 0: none */
    enum lie lie;
};

static uint8_t input_byte(uint64_t at)
{
    bool is_zero = at / M % 2 == 0 || at / M == 5 || (at % M >= 200000 && at % M < 270000);

    return is_zero ? 0 : (uint8_t)(1 + at % 251);
}

static int input_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct input *in = opaque;

    if (in->fails_at && in->fails_at >= offset && in->fails_at < offset + len)
        return -EIO;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = input_byte(offset + i);
    return 0;
}

static int input_size(void *opaque, uint64_t *ret)
{
    (void)opaque;
    *ret = SIZE;
    return 0;
}

static int lie(enum lie kind, struct vhdx_extent e,
               int (*fn)(const struct vhdx_extent *extent, void *fn_opaque), void *fn_opaque)
{
    int r = 0;

    if (kind == FAILING)
        return -EIO;
    if (kind == NONE)
        return 0;
    if (kind == GAP)
        e.offset += 512;
    if (kind == BEYOND)
        e.length = UINT64_MAX;
    if (kind == EMPTY)
        e.length = 0;
    if (kind == UNKNOWN_KIND)
        e.kind = 7;
    if (kind == ENDLESS)
        e.length = 512;
    for (int i = 0; i < (kind == ENDLESS ? 5000 : 1); i++, e.offset += e.length)
        r = fn(&e, fn_opaque);
    if (kind != BACKWARDS || r != 0)
        return kind == ENDLESS ? 0 : r;
    e.offset = 0;
    return fn(&e, fn_opaque);
}

static int input_extents(void *opaque, uint64_t offset, uint64_t len,
                         int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                         void *fn_opaque)
{
    const struct input *in = opaque;
    int r = 0;

    for (uint64_t at = offset, n; at < offset + len && r == 0; at += n) {
        n = M - at % M < offset + len - at ? M - at % M : offset + len - at;
        struct vhdx_extent e = { .offset = at, .length = n,
                                 .kind = at / M % 2 ? VHDX_EXTENT_DATA : VHDX_EXTENT_HOLE };
        if (in->lie != HONEST && at / M >= 3)
            return lie(in->lie, e, fn, fn_opaque);
        r = fn(&e, fn_opaque);
    }
    return r;
}

static struct vhdx_disk *open_input(struct input *in)
{
    const struct vhdx_io io = { .struct_size = sizeof io, .opaque = in, .pread = input_pread,
                                .size = input_size };
    struct vhdx_disk *d;

    assert_int_equal(vhdx_disk_custom(&io, input_extents, "the input", &d, NULL), 0);
    return d;
}

/* ---- An output ------------------------------------------------------------------------------- */

struct output {
    uint8_t *bytes;
    uint64_t size;
    int write_error, zero_error, flush_error;
    uint64_t forgets_at, changes_at; /* a write of this byte is lost, or changed; 0: none */
    unsigned flushes;
};

static int output_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct output *o = opaque;

    memcpy(buf, o->bytes + offset, len);
    return 0;
}

static bool holds(uint64_t at, uint64_t offset, uint64_t len)
{
    return at && at >= offset && at - offset < len;
}

static int output_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct output *o = opaque;

    if (o->write_error && offset >= 2 * M)
        return -o->write_error;
    if (offset > o->size || len > o->size - offset)
        return -EFBIG;
    if (!holds(o->forgets_at, offset, len))
        memcpy(o->bytes + offset, buf, len);
    if (holds(o->changes_at, offset, len))
        o->bytes[o->changes_at] ^= 1;
    return 0;
}

static int output_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct output *o = opaque;

    if (o->zero_error)
        return -o->zero_error;
    if (offset > o->size || len > o->size - offset)
        return -EFBIG;
    memset(o->bytes + offset, 0, len);
    return 0;
}

static int output_flush(void *opaque)
{
    struct output *o = opaque;

    o->flushes++;
    return -o->flush_error;
}

static int output_size(void *opaque, uint64_t *ret)
{
    *ret = ((const struct output *)opaque)->size;
    return 0;
}

static struct vhdx_io begin_output(struct output *o)
{
    if (!o->size)
        o->size = TARGET_SIZE;
    o->bytes = malloc(o->size);
    assert_non_null(o->bytes);
    memset(o->bytes, OLD, o->size);
    return (struct vhdx_io){ .struct_size = sizeof(struct vhdx_io), .opaque = o,
                             .pread = output_pread, .pwrite = output_pwrite,
                             .zero = output_zero, .flush = output_flush, .size = output_size };
}

static void expect_output(const struct output *o)
{
    for (uint64_t i = 0; i < o->size; i++)
        if (o->bytes[i] != (i < SIZE ? input_byte(i) : OLD))
            fail_test("byte %" PRIu64 " is %u\n", i, o->bytes[i]);
}

/* Converts onto o; without zero() if has_zero is false. */
static int convert_onto(struct output *o, bool has_zero, uint32_t flags, struct vhdx_error *err)
{
    struct vhdx_convert_options opts = VHDX_CONVERT_OPTIONS_INIT;
    struct input in = { 0 };
    struct vhdx_disk *d = open_input(&in);
    struct vhdx_io io = begin_output(o);

    if (!has_zero)
        io.zero = NULL;
    opts.flags = flags;
    opts.threads = 3;
    int r = vhdx_convert_to_io(d, &io, &opts, NULL, err);
    vhdx_disk_close(d);
    return r;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static char folder[] = "/tmp/test-convert.XXXXXX";
static char path[64], other[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/out", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(other);
    return rmdir(folder); /* fails if anything is left */
}

static void expect_file(const char *name)
{
    uint8_t *buf = malloc(SIZE + 1);
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && read(fd, buf, SIZE + 1) == (ssize_t)SIZE);
    for (uint64_t i = 0; i < SIZE; i++)
        if (buf[i] != input_byte(i))
            fail_test("byte %" PRIu64 " is %u\n", i, buf[i]);
    close(fd);
    free(buf);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void failing_read_leaves_no_output(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct input in = { .fails_at = 3 * M + 77777 };

    (void)state;
    for (o.format = VHDX_FORMAT_RAW; o.format <= VHDX_FORMAT_VHD; o.format++) {
        struct vhdx_disk *d = open_input(&in);
        struct vhdx_error err = blank_error();
        assert_int_equal(vhdx_convert_disk(d, path, &o, NULL, &err), -VHDX_E_SYSTEM);
        assert_int_equal(err.sys_errno, EIO);
        assert_non_null(strstr(err.message, "the input"));
        assert_true(holds(in.fails_at, err.file_offset, M));
        assert_int_equal(access(path, F_OK), -1);
        vhdx_disk_close(d);
    }
}

static void lies_about_extents_are_errors(void **state)
{
    static const struct { enum lie lie; int code; } rows[] = {
        { GAP, VHDX_E_INVALID },       { BACKWARDS, VHDX_E_INVALID }, { EMPTY, VHDX_E_INVALID },
        { BEYOND, VHDX_E_INVALID },    { UNKNOWN_KIND, VHDX_E_INVALID },
        { FAILING, VHDX_E_SYSTEM },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct input in = { .lie = rows[i].lie };
        struct vhdx_disk *d = open_input(&in);
        struct vhdx_error err = blank_error();
        if (vhdx_convert_disk(d, path, NULL, NULL, &err) != -rows[i].code)
            fail_test("lie %u: %s\n", rows[i].lie, err.message);
        assert_non_null(strstr(err.message, "the input"));
        assert_int_equal(access(path, F_OK), -1);
        vhdx_disk_close(d);
    }
}

/* It is told to end and goes on: what it says then is not taken. */
static void endless_answer_is_cut_off(void **state)
{
    struct input in = { .lie = ENDLESS };
    struct vhdx_disk *d = open_input(&in);
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;

    (void)state;
    o.flags = VHDX_CONVERT_REPLACE;
    int r = vhdx_convert_disk(d, path, &o, NULL, NULL);
    assert_true(r == 0 || r == -VHDX_E_INVALID);
    vhdx_disk_close(d);
    unlink(path);
}

static void target_is_overwritten_and_zeroed(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct output o = { .zero_error = i == 1 ? EOPNOTSUPP : 0 };
        assert_int_equal(convert_onto(&o, i != 2, VHDX_CONVERT_VERIFY, NULL), 0);
        expect_output(&o);
        assert_true(o.flushes > 0);
        free(o.bytes);
    }
}

static void failing_targets_are_errors(void **state)
{
    static const struct { struct output o; int code, errnum; } rows[] = {
        { { .write_error = ENOSPC }, VHDX_E_NOSPACE, ENOSPC },
        { { .write_error = EIO }, VHDX_E_SYSTEM, EIO },
        { { .zero_error = ENOSPC }, VHDX_E_NOSPACE, ENOSPC },
        { { .zero_error = EIO }, VHDX_E_SYSTEM, EIO },
        { { .flush_error = EIO }, VHDX_E_SYSTEM, EIO },
        { { .flush_error = ENOSPC }, VHDX_E_NOSPACE, ENOSPC },
        { { .size = SIZE - 1 }, VHDX_E_NOSPACE, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct output o = rows[i].o;
        struct vhdx_error err = blank_error();
        int r = convert_onto(&o, true, 0, &err);
        if (r != -rows[i].code || err.sys_errno != rows[i].errnum)
            fail_test("row %zu: %d, %s\n", i, r, err.message);
        free(o.bytes);
    }
}

static void target_of_just_the_size_is_enough(void **state)
{
    struct output o = { .size = SIZE };

    (void)state;
    assert_int_equal(convert_onto(&o, true, VHDX_CONVERT_VERIFY, NULL), 0);
    expect_output(&o);
    free(o.bytes);
}

static void verify_finds_what_a_target_forgets(void **state)
{
    static const uint64_t places[] = { M, 3 * M + 12345, SIZE - 513 };

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int forgets = 0; forgets < 2; forgets++) {
            struct output o = { .forgets_at = forgets ? places[i] / M % 2 ? places[i] : 7 * M : 0,
                                .changes_at = forgets ? 0 : places[i] / M % 2 ? places[i] : 7 * M };
            struct output same = o;
            struct vhdx_error err = blank_error();
            assert_int_equal(convert_onto(&o, true, VHDX_CONVERT_VERIFY, &err), -VHDX_E_CORRUPT);
            if (!strstr(err.message, "verif"))
                fail_test("%s\n", err.message);
            assert_int_equal(convert_onto(&same, true, 0, NULL), 0);
            free(o.bytes);
            free(same.bytes);
        }
}

/* ---- Threads, progress ----------------------------------------------------------------------- */

struct meter {
    uint64_t last;
    unsigned calls, cancels_at; /* the call that says to stop, from 1; 0: none */
    bool went_back, began, ended;
};

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    struct meter *m = opaque;

    m->went_back |= done < m->last || done > total;
    m->began |= done == 0;
    m->ended = done == total;
    m->last = done;
    return ++m->calls == m->cancels_at;
}

static int run(const char *name, struct vhdx_convert_options o, struct meter *m)
{
    struct input in = { 0 };
    struct vhdx_disk *d = open_input(&in);

    o.progress = (struct vhdx_progress){ on_progress, m };
    o.flags |= VHDX_CONVERT_REPLACE;
    int r = vhdx_convert_disk(d, name, &o, NULL, NULL);
    vhdx_disk_close(d);
    return r;
}

static void progress_goes_once_from_0_to_the_end(void **state)
{
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options parent = VHDX_CREATE_OPTIONS_INIT;

    (void)state;
    parent.size = SIZE;
    assert_int_equal(vhdx_create(other, &parent, NULL), 0);
    for (unsigned i = 0; i < 16; i++) {
        struct meter m = { 0 };
        bool is_child = i / 4 == 3;
        o.format = is_child ? VHDX_FORMAT_VHDX : 1 + i / 4;
        o.flags = i & 1 ? VHDX_CONVERT_VERIFY : 0;
        o.checksum = i & 2 ? "sha256" : NULL;
        create.parent_path = is_child ? other : NULL;
        o.create = is_child ? &create : NULL;
        int r = run(path, o, &m);
        if (r == -VHDX_E_UNSUPPORTED && o.checksum)
            continue; /* built without libcrypto */
        if (r < 0 || m.went_back || !m.began || !m.ended)
            fail_test("row %u: %d, back %d, from 0 %d, to the end %d\n", i, r, m.went_back,
                      m.began, m.ended);
    }
    unlink(path);
    unlink(other);
}

static void cancelling_at_any_call_leaves_nothing(void **state)
{
    (void)state;
    for (uint32_t format = VHDX_FORMAT_RAW; format <= VHDX_FORMAT_VHD; format++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        int r = -1;
        o.format = format;
        o.flags = VHDX_CONVERT_VERIFY;
        o.threads = 1;
        for (unsigned at = 1; r != 0; at++) {
            struct meter m = { .cancels_at = at };
            r = run(path, o, &m);
            assert_true(m.calls <= at);
            if (m.calls == at)
                assert_int_equal(r, -VHDX_E_CANCELLED);
            assert_int_equal(access(path, F_OK), r == 0 ? 0 : -1);
        }
        unlink(path);
    }
}

static void outputs_do_not_depend_on_threads(void **state)
{
    static const unsigned threads[] = { 1, 2, 3, 8, 64 };
    uint8_t *first = malloc(32 * M), *now = malloc(32 * M);
    ssize_t length = 0;

    (void)state;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct meter m = { 0 };
        o.format = VHDX_FORMAT_VHDX;
        o.threads = threads[i];
        assert_int_equal(run(path, o, &m), 0);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, i == 0 ? first : now, 32 * M);
        close(fd);
        assert_true(i == 0 || n == length);
        length = n;
        /* Headers and metadata have GUIDs; behind them stand BAT and payload. */
        if (i > 0)
            assert_memory_equal(first + 3 * M, now + 3 * M, (size_t)n - 3 * M);
    }
    unlink(path);
    free(first);
    free(now);
}

static void file_is_replaced_only_when_asked(void **state)
{
    struct input in = { 0 };
    struct vhdx_disk *d = open_input(&in);
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;

    (void)state;
    assert_int_equal(vhdx_convert_disk(d, path, &o, NULL, NULL), 0);
    expect_file(path);
    assert_int_equal(vhdx_convert_disk(d, path, &o, NULL, NULL), -VHDX_E_INVALID);
    o.flags = VHDX_CONVERT_REPLACE;
    assert_int_equal(vhdx_convert_disk(d, path, &o, NULL, NULL), 0);
    vhdx_disk_close(d);

    /* The input under another name. */
    assert_int_equal(link(path, other), 0);
    assert_int_equal(vhdx_disk_raw(path, 0, &d, NULL), 0);
    assert_int_equal(vhdx_convert_disk(d, other, &o, NULL, NULL), -VHDX_E_INVALID);
    vhdx_disk_close(d);
    expect_file(path);
    unlink(path);
    unlink(other);
}

static void options_from_the_future_are_refused(void **state)
{
    struct { struct vhdx_convert_options o; uint64_t more; } later = { .more = 0 };
    struct input in = { 0 };
    struct vhdx_disk *d = open_input(&in);

    (void)state;
    later.o.struct_size = sizeof later;
    assert_int_equal(vhdx_convert_disk(d, path, &later.o, NULL, NULL), 0);
    unlink(path);
    later.more = 1;
    assert_int_equal(vhdx_convert_disk(d, path, &later.o, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(access(path, F_OK), -1);
    vhdx_disk_close(d);
}

static int stop_after_a_while(uint64_t done, uint64_t total, void *opaque)
{
    const time_t *begun = opaque;

    (void)done;
    (void)total;
    return time(NULL) > *begun;
}

/* Nobody reads the other end. */
static void stalled_reader_does_not_keep_from_cancelling(void **state)
{
    struct input in = { 0 };

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_disk *d = open_input(&in);
        time_t begun = time(NULL);
        int ends[2];
        assert_int_equal(i % 2 ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
        o.format = 1 + (uint32_t)i / 2;
        o.threads = 3;
        o.progress = (struct vhdx_progress){ stop_after_a_while, &begun };
        alarm(20);
        assert_int_equal(vhdx_convert_to_stream(d, ends[1], &o, NULL, NULL), -VHDX_E_CANCELLED);
        alarm(0);
        assert_true(time(NULL) - begun <= 3);
        assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
        close(ends[0]);
        close(ends[1]);
        vhdx_disk_close(d);
    }
}

static void measuring_a_vhd_has_its_limits(void **state)
{
    static const struct { uint64_t size; uint32_t flags; int code; uint64_t required; } rows[] = {
        { 0, 0, VHDX_E_INVALID, 0 },
        { 1, 0, 0, 1024 },
        { 513, 0, 0, 1024 + 512 },
        { 3 * M + 1, VHDX_CONVERT_AZURE, 0, 4 * M + 512 },
        { (2040ull << 30) + 1, 0, VHDX_E_INVALID, 0 },
        { UINT64_MAX, 0, VHDX_E_INVALID, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_measure_result result = VHDX_MEASURE_RESULT_INIT;
        create.size = rows[i].size;
        o.format = VHDX_FORMAT_VHD;
        o.flags = rows[i].flags;
        o.create = &create;
        int r = vhdx_measure(NULL, &o, &result, NULL);
        if (r != -rows[i].code || (r == 0 && result.required != rows[i].required))
            fail_test("row %zu: %d, %" PRIu64 "\n", i, r, result.required);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_read_leaves_no_output),
        cmocka_unit_test(lies_about_extents_are_errors),
        cmocka_unit_test(endless_answer_is_cut_off),
        cmocka_unit_test(target_is_overwritten_and_zeroed),
        cmocka_unit_test(failing_targets_are_errors),
        cmocka_unit_test(target_of_just_the_size_is_enough),
        cmocka_unit_test(verify_finds_what_a_target_forgets),
        cmocka_unit_test(progress_goes_once_from_0_to_the_end),
        cmocka_unit_test(cancelling_at_any_call_leaves_nothing),
        cmocka_unit_test(outputs_do_not_depend_on_threads),
        cmocka_unit_test(file_is_replaced_only_when_asked),
        cmocka_unit_test(options_from_the_future_are_refused),
        cmocka_unit_test(stalled_reader_does_not_keep_from_cancelling),
        cmocka_unit_test(measuring_a_vhd_has_its_limits),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
