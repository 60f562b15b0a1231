/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Conversions: what stands at the output's place, options, and readers that do not read. */

#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "tempdir.h"

static void expect_file(const char *path)
{
    static uint8_t buf[MODEL_SIZE + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && read(fd, buf, sizeof buf) == MODEL_SIZE);
    model_expect(buf);
    close(fd);
}

static void file_is_replaced_only_when_asked(void **state)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    const char *path = in_folder(*state, "out"), *other = in_folder(*state, "other");
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);

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
}

static void options_from_the_future_are_refused(void **state)
{
    struct { struct vhdx_convert_options o; uint64_t more; } later = { .more = 0 };
    const char *path = in_folder(*state, "out");
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);

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
    struct model m = { 0 };

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_disk *d = model_open(&m, model_extents);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(file_is_replaced_only_when_asked),
        WITH_FOLDER(options_from_the_future_are_refused),
        cmocka_unit_test(stalled_reader_does_not_keep_from_cancelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
