/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A folder for one test, files in it, and programs to run on them. Include after expect.h. */
#ifndef TEST_TEMPDIR_H
#define TEST_TEMPDIR_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

/* The state of a test that has a folder. */
struct folder {
    char path[256];
    char scratch[32][512]; /* what in_folder() gave, in turn */
    unsigned next;
};

static inline int make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    struct folder *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    snprintf(f->path, sizeof f->path, "%s/vhdx-test-XXXXXX", base && *base ? base : "/tmp");
    *state = f;
    return mkdtemp(f->path) ? 0 : -1;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int remove_folder(void **state)
{
    struct folder *f = *state;

    nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

/* The path of a name in the folder; valid until 31 more have been asked for. */
static inline const char *in_folder(struct folder *f, const char *name)
{
    char *path = f->scratch[f->next++ % COUNT(f->scratch)], *end;

    assert_true(strlen(f->path) + strlen(name) + 2 <= sizeof f->scratch[0]);
    end = mempcpy(path, f->path, strlen(f->path));
    *end++ = '/';
    memcpy(end, name, strlen(name) + 1);
    return path;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

static inline void assert_file_holds(const char *path, const void *data, size_t len)
{
    char *found = malloc(len + 1);
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    assert_int_equal(fread(found, 1, len + 1, file), len);
    assert_memory_equal(found, data, len);
    fclose(file);
    free(found);
}

/* Names in the folder, without . and .. */
static inline unsigned count_names(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

/* Runs a program, found through PATH, in silence. Returns its exit code; 127: it is not there. */
static inline int run_program(const char *const argv[])
{
    union { const char *const *in; char *const *out; } cast = { argv };
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], cast.out);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Skips the test where the program is missing, but not where nothing may be left out. */
static inline void need_program(const char *name)
{
    const char *const argv[] = { name, "--version", NULL };
    const char *ci = getenv("CI");

    if (run_program(argv) == 0)
        return;
    if (ci && strcmp(ci, "true") == 0)
        fail_test("%s is missing\n", name);
    skip();
}

#endif
