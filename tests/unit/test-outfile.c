/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Output files: whole or not at all. */

#include "io/outfile.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "expect.h"
#include "tempdir.h"

static int begin(const char *path, uint64_t size, bool replace, struct outfile **ret,
                 struct vhdx_error *err)
{
    return outfile_open(path, size, replace, "the input", NULL, 0, ret, err);
}

static struct outfile *must_begin(const char *path, uint64_t size, bool replace)
{
    struct vhdx_error err = blank_error();
    struct outfile *o = NULL;

    if (begin(path, size, replace, &o, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    return o;
}

static void must_write(struct outfile *o, const char *text, uint64_t offset)
{
    assert_int_equal(outfile_pwrite(o, text, strlen(text), offset, NULL), 0);
}

static struct file_id id_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (struct file_id){ st.st_dev, st.st_ino };
}

/* ---- Made ----------------------------------------------------------------------------------- */

static void output_holds_what_was_written_and_zeros(void **state)
{
    const char *path = in_folder(*state, "out");
    struct vhdx_error err = blank_error();
    struct outfile *o = must_begin(path, 12, false);

    must_write(o, "ef", 8);
    must_write(o, "abc", 1);
    must_write(o, "", 0);
    assert_int_equal(outfile_commit(o, &err), 0);
    assert_untouched(&err);
    assert_file_holds(path, "\0abc\0\0\0\0ef\0\0", 12);
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static void output_of_no_bytes_is_made(void **state)
{
    const char *path = in_folder(*state, "out");

    assert_int_equal(outfile_commit(must_begin(path, 0, false), NULL), 0);
    assert_file_holds(path, "", 0);
}

static void output_appears_when_it_is_whole(void **state)
{
    const char *path = in_folder(*state, "out");
    struct outfile *o = must_begin(path, 3, false);

    must_write(o, "abc", 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(count_names(in_folder(*state, "")), 1); /* in the same folder */
    assert_int_equal(outfile_commit(o, NULL), 0);
    assert_file_holds(path, "abc", 3);
}

static void old_file_stays_until_the_new_one_is_whole(void **state)
{
    const char *path = in_folder(*state, "out");

    write_text(path, "old");
    struct outfile *o = must_begin(path, 3, true);
    must_write(o, "new", 0);
    assert_file_holds(path, "old", 3);
    assert_int_equal(outfile_commit(o, NULL), 0);
    assert_file_holds(path, "new", 3);
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static void shorter_output_leaves_nothing_of_the_old_one(void **state)
{
    const char *path = in_folder(*state, "out");

    write_text(path, "a much longer text");
    struct outfile *o = must_begin(path, 2, true);
    must_write(o, "ab", 0);
    assert_int_equal(outfile_commit(o, NULL), 0);
    assert_file_holds(path, "ab", 2);
}

static void empty_file_may_be_replaced_unasked(void **state)
{
    const char *path = in_folder(*state, "out");

    write_text(path, "");
    struct outfile *o = must_begin(path, 2, false);
    must_write(o, "ab", 0);
    assert_int_equal(outfile_commit(o, NULL), 0);
    assert_file_holds(path, "ab", 2);
}

static void output_in_the_working_folder_is_made(void **state)
{
    struct folder *f = *state;
    int here = open(".", O_RDONLY | O_DIRECTORY);

    assert_int_equal(chdir(f->path), 0);
    struct outfile *o = NULL;
    int r = begin("out", 1, false, &o, NULL);
    if (r == 0)
        r = outfile_commit(o, NULL);
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_int_equal(r, 0);
    assert_file_holds(in_folder(f, "out"), "\0", 1);
}

static void longest_name_is_made(void **state)
{
    char name[256];

    memset(name, 'n', 255);
    name[255] = '\0';
    const char *path = in_folder(*state, name);
    assert_int_equal(outfile_commit(must_begin(path, 1, false), NULL), 0);
    assert_file_holds(path, "\0", 1);
}

static void permissions_are_those_of_the_umask(void **state)
{
    static const struct { mode_t mask, mode; } cases[] = {
        { 0, 0666 }, { 022, 0644 }, { 027, 0640 }, { 077, 0600 },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *path = in_folder(*state, "out");
        struct stat st;
        unlink(path);
        mode_t before = umask(cases[i].mask);
        int r = outfile_commit(must_begin(path, 1, true), NULL);
        umask(before);
        assert_int_equal(r, 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, cases[i].mode);
    }
}

/* What replaces a file is as private as that was, also while it is being written. */
static void replaced_file_keeps_its_mode(void **state)
{
    static const mode_t modes[] = { 0600, 0644, 0640, 0666, 0400 };

    for (size_t i = 0; i < COUNT(modes); i++) {
        const char *path = in_folder(*state, "out");
        struct stat st;
        unlink(path);
        write_text(path, "old");
        assert_int_equal(chmod(path, modes[i]), 0);
        mode_t before = umask(0);
        struct outfile *o = must_begin(path, 3, true);
        umask(before);
        DIR *dir = opendir(in_folder(*state, ""));
        for (struct dirent *e; (e = readdir(dir));)
            if (strstr(e->d_name, ".part")) {
                assert_int_equal(stat(in_folder(*state, e->d_name), &st), 0);
                assert_int_equal(st.st_mode & 07777 & ~0600u & ~modes[i], 0);
            }
        closedir(dir);
        assert_int_equal(outfile_commit(o, NULL), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i]);
    }
}

static void link_is_followed(void **state)
{
    const char *path = in_folder(*state, "link"), *target = in_folder(*state, "sub/target");
    struct stat st;

    assert_int_equal(mkdir(in_folder(*state, "sub"), 0700), 0);
    write_text(target, "old");
    assert_int_equal(symlink("sub/target", path), 0);
    struct outfile *o = must_begin(path, 3, true);
    must_write(o, "new", 0);
    assert_int_equal(count_names(in_folder(*state, "sub")), 2); /* the temporary file too */
    assert_int_equal(outfile_commit(o, NULL), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_file_holds(target, "new", 3);
}

/* A link is followed, also where there is nothing yet at its end; or it is refused. */
static void link_to_nothing_is_not_replaced(void **state)
{
    const char *path = in_folder(*state, "link");
    struct outfile *o = NULL;
    struct stat st;

    assert_int_equal(symlink("target", path), 0);
    if (begin(path, 3, true, &o, NULL) == 0)
        assert_int_equal(outfile_commit(o, NULL), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

/* ---- Not made ------------------------------------------------------------------------------- */

static void discarded_output_leaves_nothing(void **state)
{
    struct outfile *o = must_begin(in_folder(*state, "out"), 3, false);

    must_write(o, "abc", 0);
    outfile_discard(o);
    assert_int_equal(count_names(in_folder(*state, "")), 0);
    outfile_discard(NULL);
}

static void discarded_output_leaves_the_old_file(void **state)
{
    const char *path = in_folder(*state, "out");

    write_text(path, "old");
    struct outfile *o = must_begin(path, 3, true);
    must_write(o, "new", 0);
    outfile_discard(o);
    assert_file_holds(path, "old", 3);
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static void expect_refused(struct folder *f, const char *path, bool replace,
                           const struct file_id *forbidden, size_t count, const char *words)
{
    struct vhdx_error err = blank_error();
    unsigned names = count_names(in_folder(f, ""));
    struct outfile *o = NULL;

    expect_error(outfile_open(path, 3, replace, "the input", forbidden, count, &o, &err), &err,
                 VHDX_E_INVALID,
                 VHDX_OFFSET_NONE, words);
    assert_true(strstr(err.message, path) == err.message);
    assert_null(o);
    assert_int_equal(count_names(in_folder(f, "")), names);
}

static void file_that_is_not_empty_is_kept(void **state)
{
    const char *path = in_folder(*state, "out");

    write_text(path, "old");
    expect_refused(*state, path, false, NULL, 0, "output exists|not empty");
    assert_file_holds(path, "old", 3);
}

static void what_is_no_file_is_kept(void **state)
{
    const char *fifo = in_folder(*state, "fifo"), *dir = in_folder(*state, "dir");

    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    expect_refused(*state, fifo, true, NULL, 0, "output exists|not a regular file");
    expect_refused(*state, dir, true, NULL, 0, "output exists|not a regular file");
}

static void files_being_read_are_kept(void **state)
{
    const char *input = in_folder(*state, "input"), *parent = in_folder(*state, "parent");
    const char *hard = in_folder(*state, "hard"), *soft = in_folder(*state, "soft");
    struct file_id ids[2];

    write_text(input, "input");
    write_text(parent, "");
    assert_int_equal(link(input, hard), 0);
    assert_int_equal(symlink("parent", soft), 0);
    ids[0] = id_of(input);
    ids[1] = id_of(parent);
    expect_refused(*state, input, true, ids, 2, "output is the input itself");
    expect_refused(*state, hard, true, ids, 2, "output is the input itself");
    expect_refused(*state, parent, true, ids, 2, "output is a parent of the input");
    expect_refused(*state, soft, false, ids, 2, "output is a parent of the input");
    assert_file_holds(input, "input", 5);
}

static void missing_folder_is_a_system_error(void **state)
{
    const char *path = in_folder(*state, "no/out");
    struct vhdx_error err = blank_error();
    struct outfile *o = NULL;

    expect_error(begin(path, 3, false, &o, &err), &err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "no/out");
    assert_int_equal(err.sys_errno, ENOENT);
    assert_null(o);
}

static void size_that_no_file_can_have_is_an_error(void **state)
{
    const char *path = in_folder(*state, "out");
    struct vhdx_error err = blank_error();
    struct outfile *o = NULL;

    write_text(path, "old");
    expect_error(begin(path, UINT64_MAX, true, &o, &err), &err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE,
                 "out|size|18446744073709551615");
    assert_file_holds(path, "old", 3);
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static void failed_write_is_an_error(void **state)
{
    const char *path = in_folder(*state, "out");
    struct vhdx_error err = blank_error();
    struct outfile *o = must_begin(path, 10, false);
    struct rlimit before, small = { .rlim_cur = 6, .rlim_max = 6 };

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int r = outfile_pwrite(o, "abcd", 4, 7, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    expect_error(r, &err, VHDX_E_SYSTEM, 7, "out|writing 4 bytes");
    assert_int_equal(err.sys_errno, EFBIG);
    outfile_discard(o);
    assert_int_equal(count_names(in_folder(*state, "")), 0);
}

static void output_that_gets_no_name_leaves_nothing(void **state)
{
    const char *path = in_folder(*state, "out");
    struct vhdx_error err = blank_error();
    struct outfile *o = must_begin(path, 3, false);

    assert_int_equal(mkdir(path, 0700), 0); /* something came in between */
    expect_error(outfile_commit(o, &err), &err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "out|name");
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static void file_that_appeared_meanwhile_is_kept(void **state)
{
    const char *path = in_folder(*state, "out");
    struct vhdx_error err = blank_error();
    struct outfile *o = must_begin(path, 3, false);

    write_text(path, "mine");
    expect_error(outfile_commit(o, &err), &err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "out|name");
    assert_int_equal(err.sys_errno, EEXIST);
    assert_file_holds(path, "mine", 4);
    assert_int_equal(count_names(in_folder(*state, "")), 1);
}

static const struct CMUnitTest tests[] = {
    WITH_FOLDER(output_holds_what_was_written_and_zeros),
    WITH_FOLDER(output_of_no_bytes_is_made),
    WITH_FOLDER(output_appears_when_it_is_whole),
    WITH_FOLDER(old_file_stays_until_the_new_one_is_whole),
    WITH_FOLDER(shorter_output_leaves_nothing_of_the_old_one),
    WITH_FOLDER(empty_file_may_be_replaced_unasked),
    WITH_FOLDER(output_in_the_working_folder_is_made),
    WITH_FOLDER(longest_name_is_made),
    WITH_FOLDER(permissions_are_those_of_the_umask),
    WITH_FOLDER(replaced_file_keeps_its_mode),
    WITH_FOLDER(link_is_followed),
    WITH_FOLDER(link_to_nothing_is_not_replaced),
    WITH_FOLDER(discarded_output_leaves_nothing),
    WITH_FOLDER(discarded_output_leaves_the_old_file),
    WITH_FOLDER(file_that_is_not_empty_is_kept),
    WITH_FOLDER(what_is_no_file_is_kept),
    WITH_FOLDER(files_being_read_are_kept),
    WITH_FOLDER(missing_folder_is_a_system_error),
    WITH_FOLDER(size_that_no_file_can_have_is_an_error),
    WITH_FOLDER(failed_write_is_an_error),
    WITH_FOLDER(output_that_gets_no_name_leaves_nothing),
    WITH_FOLDER(file_that_appeared_meanwhile_is_kept),
};

int main(void)
{
    return cmocka_run_group_tests_name("outfile", tests, NULL, NULL);
}
