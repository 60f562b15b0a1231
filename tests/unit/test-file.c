/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Files of the operating system: opened read-only, and left as they are. */

#include "io/file.h"
#include "io/io.h"

#include <errno.h>

#include "expect.h"
#include "tempdir.h"

static void file_reads_its_bytes(void **state)
{
    const char *path = in_folder(*state, "a");
    struct vhdx_error err = blank_error();
    struct vhdx_io io;
    uint64_t size;
    char buf[3];

    write_text(path, "abcdef");
    assert_int_equal(file_open(path, false, &io, &err), 0);
    assert_int_equal(io_size(&io, &size, &err), 0);
    assert_int_equal(size, 6);
    assert_int_equal(io_pread(&io, buf, 3, 3, &err), 0);
    assert_memory_equal(buf, "def", 3);
    assert_untouched(&err);
    io_close(&io);
}

static void file_is_read_only(void **state)
{
    const char *path = in_folder(*state, "a");
    struct vhdx_io io;

    write_text(path, "abcdef");
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(file_open(path, false, &io, NULL), 0);
    assert_int_equal(io.struct_size, sizeof io);
    assert_null(io.pwrite);
    io_close(&io);
}

static void file_that_shrank_is_an_error(void **state)
{
    const char *path = in_folder(*state, "a");
    struct vhdx_error err = blank_error();
    struct vhdx_io io;
    char buf[6];

    write_text(path, "abcdef");
    assert_int_equal(file_open(path, false, &io, NULL), 0);
    assert_int_equal(truncate(path, 3), 0);
    expect_error(io_pread(&io, buf, 6, 0, &err), &err, VHDX_E_SYSTEM, 0, "reading 6 bytes");
    assert_int_equal(err.sys_errno, EIO);
    io_close(&io);
}

static void missing_file_is_a_system_error(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    memset(&io, 0x5a, sizeof io);
    struct vhdx_io before = io;
    expect_error(file_open(in_folder(*state, "a"), false, &io, &err), &err, VHDX_E_SYSTEM,
                 VHDX_OFFSET_NONE, "opening: ");
    assert_int_equal(err.sys_errno, ENOENT);
    assert_memory_equal(&io, &before, sizeof io);
}

static void folder_is_no_file(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    expect_error(file_open(in_folder(*state, "."), false, &io, &err), &err, VHDX_E_INVALID,
                 VHDX_OFFSET_NONE, "directory|must be a file");
}

static void pipe_is_refused_without_waiting(void **state)
{
    const char *path = in_folder(*state, "fifo");
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    assert_int_equal(mkfifo(path, 0600), 0);
    expect_error(file_open(path, false, &io, &err), &err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                 "neither a regular file nor a block device");
}

static void character_device_is_refused(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    (void)state;
    expect_error(file_open("/dev/zero", false, &io, &err), &err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                 "neither a regular file nor a block device");
}

static void two_paths_of_one_file_have_one_id(void **state)
{
    const char *a = in_folder(*state, "a"), *b = in_folder(*state, "b");
    const char *link_path = in_folder(*state, "link"), *other = in_folder(*state, "other");
    struct file_id ids[4];
    const char *const paths[] = { a, b, link_path, other };

    write_text(a, "x");
    write_text(other, "x");
    assert_int_equal(link(a, b), 0);
    assert_int_equal(symlink("a", link_path), 0);
    for (int i = 0; i < 4; i++) {
        struct vhdx_io io;
        assert_int_equal(file_open(paths[i], false, &io, NULL), 0);
        assert_true(file_get_id(&io, &ids[i]));
        io_close(&io);
    }
    assert_true(file_id_equal(&ids[0], &ids[1]));
    assert_true(file_id_equal(&ids[0], &ids[2]));
    assert_false(file_id_equal(&ids[0], &ids[3]));
}

static int some_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    (void)opaque;
    (void)buf;
    (void)len;
    (void)offset;
    return 0;
}

static void custom_file_has_no_id(void **state)
{
    struct vhdx_io io = { .pread = some_pread };
    struct file_id id;

    (void)state;
    assert_false(file_get_id(&io, &id));
}

static void reading_leaves_the_times_alone(void **state)
{
    const char *path = in_folder(*state, "a");
    const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
    struct vhdx_io io;
    struct stat st;
    char buf[6];

    write_text(path, "abcdef");
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(file_open(path, false, &io, NULL), 0);
    assert_int_equal(io_pread(&io, buf, 6, 0, NULL), 0);
    io_close(&io);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_atim.tv_sec, 1000); /* the file is ours: permitted */
    assert_int_equal(st.st_mtim.tv_sec, 2000);
}

static void descriptor_does_not_leak_into_programs(void **state)
{
    const char *path = in_folder(*state, "a");
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;
    struct vhdx_io io;

    write_text(path, "abcdef");
    close(before); /* the lowest number free: the one that the file gets */
    assert_int_equal(file_open(path, false, &io, NULL), 0);
    assert_true(fcntl(before, F_GETFD) & FD_CLOEXEC);
    io_close(&io);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(before, after); /* closed */
    close(after);
}

static const struct CMUnitTest tests[] = {
    WITH_FOLDER(file_reads_its_bytes),
    WITH_FOLDER(file_is_read_only),
    WITH_FOLDER(file_that_shrank_is_an_error),
    WITH_FOLDER(missing_file_is_a_system_error),
    WITH_FOLDER(folder_is_no_file),
    WITH_FOLDER(pipe_is_refused_without_waiting),
    WITH_FOLDER(character_device_is_refused),
    WITH_FOLDER(two_paths_of_one_file_have_one_id),
    WITH_FOLDER(custom_file_has_no_id),
    WITH_FOLDER(reading_leaves_the_times_alone),
    WITH_FOLDER(descriptor_does_not_leak_into_programs),
};

int main(void)
{
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
