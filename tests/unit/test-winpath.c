/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Windows paths on a local file system. */

#include "io/winpath.h"

#include "expect.h"
#include "tempdir.h"

#define VOLUME "Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}"

/* ---- Names ---------------------------------------------------------------------------------- */

static void basename_is_the_last_name(void **state)
{
    (void)state;
    assert_string_equal(winpath_basename("C:\\VMs\\base.vhdx"), "base.vhdx");
    assert_string_equal(winpath_basename("..\\base.vhdx"), "base.vhdx");
    assert_string_equal(winpath_basename("a/b/base.vhdx"), "base.vhdx");
    assert_string_equal(winpath_basename("base.vhdx"), "base.vhdx");
    assert_string_equal(winpath_basename("C:\\VMs\\"), "");
    assert_string_equal(winpath_basename(""), "");
}

struct name_row {
    const char *name;
    const char *a, *b;
    bool same;
};

static const struct name_row name_rows[] = {
    { "name: equal", "base.vhdx", "base.vhdx", true },
    { "name: case is ignored", "Base.VHDX", "bASE.vhdx", true },
    { "name: .avhdx for .vhdx", "base.avhdx", "base.vhdx", true },
    { "name: .AVHDX for .vhdx", "base.AVHDX", "BASE.vhdx", true },
    { "name: another stem", "base2.vhdx", "base.vhdx", false },
    { "name: stem that begins alike", "base.vhdx", "bas.vhdx", false },
    { "name: no ending", "base", "base.vhdx", true },
    { "name: another ending", "base.vhd", "base.vhdx", false },
    { "name: ending in the middle", "base.vhdx.old", "base.vhdx", false },
    { "name: nothing but an ending", ".vhdx", ".avhdx", false },
    { "name: checkpoint of Hyper-V", "vm_1A2B.avhdx", "VM_1a2b.vhdx", true },
};

static void name_row(void **state)
{
    const struct name_row *row = *state;

    assert_int_equal(winpath_same_image_name(row->a, row->b), row->same);
    assert_int_equal(winpath_same_image_name(row->b, row->a), row->same);
}

/* ---- Relative paths ------------------------------------------------------------------------- */

struct relative_row {
    const char *name;
    const char *folder, *path;
    const char *local; /* NULL: refused */
};

static const struct relative_row relative_rows[] = {
    { "relative: in the folder", "/vms", ".\\base.vhdx", "/vms/base.vhdx" },
    { "relative: without a dot", "/vms", "base.vhdx", "/vms/base.vhdx" },
    { "relative: below the folder", "/vms", "a\\b\\base.vhdx", "/vms/a/b/base.vhdx" },
    { "relative: beside the folder", "/vms", "..\\base.vhdx", "/vms/../base.vhdx" },
    { "relative: far above", "/a/b", "..\\..\\c\\base.vhdx", "/a/b/../../c/base.vhdx" },
    { "relative: down and up again", "/vms", "a\\..\\base.vhdx", "/vms/base.vhdx" },
    { "relative: slashes", "/vms", "./a/base.vhdx", "/vms/a/base.vhdx" },
    { "relative: doubled separators", "/vms", "a\\\\.\\\\base.vhdx", "/vms/a/base.vhdx" },
    { "relative: names that begin with dots", "/vms", "..a\\...\\.b", "/vms/..a/.../.b" },
    { "relative: folder is relative", "vms", ".\\base.vhdx", "vms/base.vhdx" },
    { "relative: folder is the working one", ".", ".\\base.vhdx", "./base.vhdx" },
    { "relative: drive", "/vms", "C:\\base.vhdx", NULL },
    { "relative: drive without a root", "/vms", "c:base.vhdx", NULL },
    { "relative: rooted", "/vms", "\\base.vhdx", NULL },
    { "relative: rooted by a slash", "/vms", "/etc/passwd", NULL },
    { "relative: share", "/vms", "\\\\server\\share\\base.vhdx", NULL },
    { "relative: verbatim", "/vms", "\\\\?\\C:\\base.vhdx", NULL },
    { "relative: nothing", "/vms", "", NULL },
};

static void relative_row(void **state)
{
    const struct relative_row *row = *state;
    const char *why = NULL;
    size_t keep = 0;

    char *local = winpath_from_folder(row->folder, row->path, &keep, &why);
    if (!row->local) {
        assert_null(local);
        assert_true(has_words(why, "not|relative"));
        return;
    }
    assert_string_equal(local, row->local);
    assert_int_equal(keep, strlen(row->folder));
    free(local);
}

/* ---- Mapped paths --------------------------------------------------------------------------- */

struct map_row {
    const char *name;
    const char *windows; /* mapped to /mnt */
    const char *path;
    const char *local; /* NULL: refused */
    const char *why;
};

#define NOT_COVERED NULL, "no path map"
#define CLIMBS NULL, "out of the mapped folder"

static const struct map_row map_rows[] = {
    { "map: folder of a drive", "C:\\VMs", "C:\\VMs\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: drive", "C:", "C:\\VMs\\base.vhdx", "/mnt/VMs/base.vhdx", NULL },
    { "map: root of a drive", "C:\\", "C:\\VMs\\base.vhdx", "/mnt/VMs/base.vhdx", NULL },
    { "map: trailing separators", "C:\\VMs\\\\", "C:\\VMs\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: case is ignored, that of the rest kept", "c:\\vms", "C:\\VMS\\Sub\\Base.vhdx",
      "/mnt/Sub/Base.vhdx", NULL },
    { "map: slashes", "C:/VMs", "C:\\VMs/Sub/base.vhdx", "/mnt/Sub/base.vhdx", NULL },
    { "map: path is verbatim", "C:\\VMs", "\\\\?\\C:\\VMs\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: prefix is verbatim", "\\\\?\\C:\\VMs", "C:\\VMs\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: both are verbatim", "\\\\?\\C:\\", "\\\\?\\c:\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: volume", "\\\\?\\" VOLUME, "\\\\?\\" VOLUME "\\VMs\\base.vhdx", "/mnt/VMs/base.vhdx",
      NULL },
    { "map: volume without its beginning", VOLUME "\\", "\\\\?\\" VOLUME "\\base.vhdx",
      "/mnt/base.vhdx", NULL },
    { "map: volume in lower case", "\\\\?\\volume{26a21bda-a627-11d7-9931-806e6f6e6963}",
      "\\\\?\\" VOLUME "\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: share", "\\\\server\\share", "\\\\SERVER\\Share\\a\\base.vhdx", "/mnt/a/base.vhdx",
      NULL },
    { "map: verbatim share", "\\\\server\\share", "\\\\?\\UNC\\server\\share\\base.vhdx",
      "/mnt/base.vhdx", NULL },
    { "map: share by a verbatim prefix", "\\\\?\\unc\\server\\share",
      "\\\\server\\share\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: folder of a share", "\\\\server\\share\\a", "\\\\server\\share\\a\\base.vhdx",
      "/mnt/base.vhdx", NULL },
    { "map: dots are dropped", "C:\\VMs", "C:\\VMs\\.\\a\\.\\base.vhdx", "/mnt/a/base.vhdx",
      NULL },
    { "map: down and up again", "C:\\VMs", "C:\\VMs\\a\\..\\base.vhdx", "/mnt/base.vhdx", NULL },
    { "map: whole names only", "C:\\VMs", "C:\\VMs2\\base.vhdx", NOT_COVERED },
    { "map: whole names only, of a drive", "C", "C:\\base.vhdx", NOT_COVERED },
    { "map: whole names only, of a share", "\\\\server\\share", "\\\\server\\share2\\x",
      NOT_COVERED },
    { "map: another drive", "D:\\VMs", "C:\\VMs\\base.vhdx", NOT_COVERED },
    { "map: path shorter than the prefix", "C:\\VMs\\a", "C:\\VMs", NOT_COVERED },
    { "map: prefix that is nothing", "", "C:\\VMs\\base.vhdx", NOT_COVERED },
    { "map: prefix of separators", "\\\\", "\\\\server\\share\\x", NOT_COVERED },
    { "map: prefix that is only verbatim", "\\\\?\\", "\\\\?\\C:\\x", NOT_COVERED },
    { "map: letters beyond ASCII keep their case", "C:\\\xc3\x84", "C:\\\xc3\xa4\\x",
      NOT_COVERED },
    { "map: out of the folder", "C:\\VMs", "C:\\VMs\\..\\secret", CLIMBS },
    { "map: out of the folder by slashes", "C:\\VMs", "C:\\VMs/../secret", CLIMBS },
    { "map: down, then out", "C:\\VMs", "C:\\VMs\\a\\..\\..\\secret", CLIMBS },
    { "map: out, then in again", "C:\\VMs", "C:\\VMs\\..\\VMs\\base.vhdx", CLIMBS },
    { "map: out of a share", "\\\\server\\share", "\\\\server\\share\\..\\other\\x", CLIMBS },
    { "map: out by many steps", "C:\\", "C:\\..\\..\\..\\etc\\passwd", CLIMBS },
};

static void map_row(void **state)
{
    const struct map_row *row = *state;
    const struct vhdx_path_map map = { row->windows, "/mnt" };
    const char *why = NULL;
    size_t keep = 0;

    char *local = winpath_map(row->path, &map, 1, &keep, &why);
    if (row->local) {
        assert_non_null(local);
        assert_string_equal(local, row->local);
        assert_int_equal(keep, strlen("/mnt"));
    } else {
        assert_null(local);
        assert_true(has_words(why, row->why));
    }
    free(local);
}

static void first_map_that_covers_counts(void **state)
{
    static const struct vhdx_path_map maps[] = { { "D:\\", "/d" }, { "C:\\VMs", "/first" },
                                                 { "C:\\", "/second" } };
    const char *why;
    size_t keep;

    (void)state;
    char *local = winpath_map("C:\\VMs\\x", maps, 3, &keep, &why);
    assert_string_equal(local, "/first/x");
    free(local);
    local = winpath_map("C:\\x", maps, 3, &keep, &why);
    assert_string_equal(local, "/second/x");
    assert_int_equal(keep, strlen("/second"));
    free(local);
}

static void no_maps_cover_nothing(void **state)
{
    const char *why = NULL;
    size_t keep;

    (void)state;
    assert_null(winpath_map("C:\\x", NULL, 0, &keep, &why));
    assert_true(has_words(why, "no path map"));
}

/* ---- Finding in another case ---------------------------------------------------------------- */

static void make_tree(struct folder *f)
{
    assert_int_equal(mkdir(in_folder(f, "VMs"), 0700), 0);
    assert_int_equal(mkdir(in_folder(f, "VMs/Sub Folder"), 0700), 0);
    write_text(in_folder(f, "VMs/Sub Folder/Base.VHDX"), "x");
    write_text(in_folder(f, "VMs/one"), "1");
    write_text(in_folder(f, "VMs/ONE"), "2");
}

static void expect_found(struct folder *f, const char *path, const char *found)
{
    char *result = winpath_find(in_folder(f, path), strlen(f->path));

    if (!found) {
        assert_null(result);
        return;
    }
    assert_non_null(result);
    struct stat a, b;
    assert_int_equal(stat(result, &a), 0);
    assert_int_equal(stat(in_folder(f, found), &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    free(result);
}

static void file_is_found_as_it_is(void **state)
{
    make_tree(*state);
    expect_found(*state, "VMs/Sub Folder/Base.VHDX", "VMs/Sub Folder/Base.VHDX");
    expect_found(*state, "VMs/one", "VMs/one");
    expect_found(*state, "VMs/ONE", "VMs/ONE");
}

static void file_is_found_in_another_case(void **state)
{
    make_tree(*state);
    expect_found(*state, "VMs/Sub Folder/base.vhdx", "VMs/Sub Folder/Base.VHDX");
    expect_found(*state, "vms/SUB folder/BASE.vhdx", "VMs/Sub Folder/Base.VHDX");
    expect_found(*state, "vMS/sub folder/../one", "VMs/one");
}

static void missing_file_is_not_found(void **state)
{
    make_tree(*state);
    expect_found(*state, "VMs/Sub Folder/base.vhd", NULL);
    expect_found(*state, "VMs/nothing/base.vhdx", NULL);
    expect_found(*state, "vms/one/base.vhdx", NULL); /* a file is no folder */
    expect_found(*state, "vms/sub folde/base.vhdx", NULL);
    expect_found(*state, "vms/sub folders/base.vhdx", NULL);
}

/* What the caller gave is not guessed at. */
static void kept_names_keep_their_case(void **state)
{
    struct folder *f = *state;

    make_tree(f);
    const char *path = in_folder(f, "vms/one");
    assert_null(winpath_find(path, strlen(path) - strlen("/one")));
}

/* Where a relative path begins there is no byte before the name. */
static void relative_path_is_found(void **state)
{
    struct folder *f = *state;
    int here = open(".", O_RDONLY | O_DIRECTORY);

    make_tree(f);
    assert_int_equal(chdir(f->path), 0);
    char *found = winpath_find("vms/SUB folder/base.vhdx", 0);
    char *missing = winpath_find("nothing/base.vhdx", 0);
    char *kept = winpath_find("VMs/sub folder/base.vhdx", 3);
    char *last = winpath_find("vms", 0);
    struct stat st;
    int r = found && kept && last ? stat(found, &st) | stat(kept, &st) | stat(last, &st) : -1;
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_int_equal(r, 0);
    assert_null(missing);
    free(found);
    free(kept);
    free(last);
}

static void path_from_the_root_is_found(void **state)
{
    (void)state;
    char *found = winpath_find("/LIB", 0);
    assert_non_null(found);
    assert_int_equal(access(found, F_OK), 0);
    free(found);
    found = winpath_find("/dev/NULL", 1);
    assert_non_null(found);
    assert_int_equal(access(found, F_OK), 0);
    free(found);
}

static const struct CMUnitTest folder_tests[] = {
    WITH_FOLDER(file_is_found_as_it_is),
    WITH_FOLDER(file_is_found_in_another_case),
    WITH_FOLDER(missing_file_is_not_found),
    WITH_FOLDER(kept_names_keep_their_case),
    WITH_FOLDER(relative_path_is_found),
    WITH_FOLDER(path_from_the_root_is_found),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, folder_tests, sizeof folder_tests);
    s.count = COUNT(folder_tests);
    ADD_TEST(&s, basename_is_the_last_name);
    ADD_ROWS(&s, name_row, name_rows);
    ADD_ROWS(&s, relative_row, relative_rows);
    ADD_ROWS(&s, map_row, map_rows);
    ADD_TEST(&s, first_map_that_covers_counts);
    ADD_TEST(&s, no_maps_cover_nothing);
    return run_suite("winpath", &s, NULL, NULL);
}
