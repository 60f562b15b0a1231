/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Locks against QEMU's, byte by byte and against the real programs. QEMU's permissions: 0
 * consistent read, 1 write, 2 write unchanged, 3 resize; byte 100 + p: held, 200 + p: not shared.
 */

#include "io/file.h"
#include "io/io.h"
#include "io/lock.h"

#include "expect.h"
#include "tempdir.h"

static int open_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

/* As another program does: a read lock on one byte through an open file of its own. */
static int hold_byte(const char *path, int byte)
{
    struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    int fd = open_file(path);

    assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
    return fd;
}

static bool byte_is_held(int fd, int byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    assert_int_equal(fcntl(fd, F_OFD_GETLK, &l), 0);
    return l.l_type != F_UNLCK;
}

static void expect_lock(int fd)
{
    struct vhdx_error err = blank_error();
    bool supported = false;

    if (lock_reader(fd, &supported, &err) < 0)
        fail_test("%s\n", err.message);
    assert_true(supported);
    assert_untouched(&err);
}

static void expect_locked(int fd)
{
    struct vhdx_error err = blank_error();
    bool supported;

    expect_error(lock_reader(fd, &supported, &err), &err, VHDX_E_LOCKED, VHDX_OFFSET_NONE,
                 "another process|open");
}

static void reader_locks_the_bytes_that_qemu_looks_at(void **state)
{
    const char *path = in_folder(*state, "a");
    int fd = open_file(path), other = open_file(path);

    expect_lock(fd);
    for (int byte = 0; byte < 400; byte++) /* consistent read held; write, resize not shared */
        assert_int_equal(byte_is_held(other, byte), byte == 100 || byte == 201 || byte == 203);
    close(fd);
    close(other);
}

static void readers_share(void **state)
{
    const char *path = in_folder(*state, "a");
    int fds[5];

    for (int i = 0; i < 5; i++) {
        fds[i] = open_file(path);
        expect_lock(fds[i]);
    }
    for (int i = 0; i < 5; i++)
        close(fds[i]);
}

struct byte_row {
    const char *name;
    int byte;
    bool excludes;
};

static const struct byte_row byte_rows[] = {
    { "another holds consistent read", 100, false },
    { "another holds write", 101, true },
    { "another holds write unchanged", 102, false },
    { "another holds resize", 103, true },
    { "another does not share consistent read", 200, true },
    { "another does not share write", 201, false },
    { "another does not share write unchanged", 202, false },
    { "another does not share resize", 203, false },
    { "another holds a byte that means nothing", 0, false },
    { "another holds a permission that is not defined", 110, false },
};

static void byte_row(void **state)
{
    const struct byte_row *row = *state;
    void *folder = NULL;

    assert_int_equal(make_folder(&folder), 0);
    const char *path = in_folder(folder, "a");
    int other = hold_byte(path, row->byte), fd = open_file(path);
    if (row->excludes)
        expect_locked(fd);
    else
        expect_lock(fd);
    close(other);
    close(fd);
    remove_folder(&folder);
}

static void writer_may_come_when_the_reader_is_gone(void **state)
{
    const char *path = in_folder(*state, "a");
    int fd = open_file(path), other = open_file(path);

    expect_lock(fd);
    assert_true(byte_is_held(other, 201));
    close(fd);
    assert_false(byte_is_held(other, 100));
    assert_false(byte_is_held(other, 201));
    close(other);
}

static void reader_may_come_when_the_writer_is_gone(void **state)
{
    const char *path = in_folder(*state, "a");
    int other = hold_byte(path, 101), fd = open_file(path);

    expect_locked(fd);
    close(other);
    expect_lock(fd);
    close(fd);
}

/* Locks of the process would end with the first descriptor that is closed. */
static void lock_survives_another_descriptor_of_the_same_file(void **state)
{
    const char *path = in_folder(*state, "a");
    int fd = open_file(path), other = open_file(path);

    expect_lock(fd);
    close(open_file(path));
    assert_true(byte_is_held(other, 100));
    close(fd);
    close(other);
}

static void file_opened_read_only_can_be_locked(void **state)
{
    const char *path = in_folder(*state, "a");
    struct vhdx_error err = blank_error();
    bool supported = false;
    struct vhdx_io io;

    write_text(path, "x");
    int other = open_file(path);
    assert_int_equal(file_open(path, false, &io, &err), 0);
    assert_false(byte_is_held(other, 100)); /* opening alone takes no lock */
    assert_int_equal(file_lock(&io, &supported, &err), 0);
    assert_true(supported);
    assert_true(byte_is_held(other, 100));
    io_close(&io);
    assert_false(byte_is_held(other, 100));
    assert_untouched(&err);
    close(other);
}

/* ---- The real programs ---------------------------------------------------------------------- */

struct qemu_io {
    pid_t pid;
    int to, from; /* its standard input and output */
};

static struct qemu_io start_qemu_io(const char *path, bool read_only)
{
    struct qemu_io q;
    int to[2], from[2];

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    q.pid = fork();
    assert_true(q.pid >= 0);
    if (q.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        dup2(from[1], 2);
        execlp("qemu-io", "qemu-io", "-f", "vhdx", read_only ? "-r" : path,
               read_only ? path : NULL, NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    q.to = to[1];
    q.from = from[0];
    return q;
}

/* Sends a command and waits until the output holds word. */
static void ask_qemu_io(struct qemu_io *q, const char *command, const char *word)
{
    char text[4096];
    size_t len = 0;

    assert_int_equal(write(q->to, command, strlen(command)), strlen(command));
    for (;;) {
        ssize_t n = read(q->from, text + len, sizeof text - 1 - len);
        if (n <= 0)
            fail_test("qemu-io: %.*s\n", (int)len, text);
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, word))
            return;
        assert_true(len < sizeof text - 1);
    }
}

static void end_qemu_io(struct qemu_io *q)
{
    close(q->to);
    close(q->from);
    waitpid(q->pid, NULL, 0);
}

static void create_image(const char *path)
{
    const char *const argv[] = { "qemu-img", "create", "-q", "-f", "vhdx", path, "8M", NULL };

    need_program("qemu-img");
    need_program("qemu-io");
    assert_int_equal(run_program(argv), 0);
}

static void image_that_qemu_writes_is_locked(void **state)
{
    const char *path = in_folder(*state, "a.vhdx");

    create_image(path);
    int fd = open_file(path);
    struct qemu_io q = start_qemu_io(path, false);
    ask_qemu_io(&q, "write 0 512\n", "wrote 512");
    expect_locked(fd);
    end_qemu_io(&q);
    expect_lock(fd);
    close(fd);
}

static void image_that_qemu_reads_is_shared(void **state)
{
    const char *path = in_folder(*state, "a.vhdx");

    create_image(path);
    int fd = open_file(path);
    struct qemu_io q = start_qemu_io(path, true);
    ask_qemu_io(&q, "read 0 512\n", "read 512");
    expect_lock(fd);
    end_qemu_io(&q);
    close(fd);
}

static void image_that_we_read_is_not_written_by_qemu(void **state)
{
    const char *path = in_folder(*state, "a.vhdx"), *raw = in_folder(*state, "raw");
    const char *const write_it[] = { "qemu-io", "-f", "vhdx", "-c", "write 0 512", path, NULL };
    const char *const convert[] = { "qemu-img", "convert", "-n", "-f", "raw", "-O", "vhdx", raw,
                                    path, NULL };
    const char *const info[] = { "qemu-img", "info", path, NULL };

    create_image(path);
    write_text(raw, "");
    assert_int_equal(truncate(raw, 8 << 20), 0);
    int fd = open_file(path);
    expect_lock(fd);
    assert_int_not_equal(run_program(write_it), 0);
    assert_int_not_equal(run_program(convert), 0);
    assert_int_equal(run_program(info), 0); /* reading is fine */
    close(fd);
    assert_int_equal(run_program(write_it), 0);
    assert_int_equal(run_program(convert), 0);
}

static const struct CMUnitTest folder_tests[] = {
    WITH_FOLDER(reader_locks_the_bytes_that_qemu_looks_at),
    WITH_FOLDER(readers_share),
    WITH_FOLDER(writer_may_come_when_the_reader_is_gone),
    WITH_FOLDER(reader_may_come_when_the_writer_is_gone),
    WITH_FOLDER(lock_survives_another_descriptor_of_the_same_file),
    WITH_FOLDER(file_opened_read_only_can_be_locked),
    WITH_FOLDER(image_that_qemu_writes_is_locked),
    WITH_FOLDER(image_that_qemu_reads_is_shared),
    WITH_FOLDER(image_that_we_read_is_not_written_by_qemu),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, folder_tests, sizeof folder_tests);
    s.count = COUNT(folder_tests);
    ADD_ROWS(&s, byte_row, byte_rows);
    return run_suite("lock", &s, NULL, NULL);
}
