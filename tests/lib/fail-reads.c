/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A failing disk, to be preloaded: reads of parts of some files fail as those of bad sectors do.
 * FAIL_READS is a list of what cannot be read, each PATH@START+LENGTH, separated by colons. A read
 * that begins at a good byte gives what there is before the first bad one, as the kernel may; with
 * FAIL_READS_WHOLE set it fails instead, as the kernel may too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BAD_MAX 64

struct bad {
    dev_t device;
    ino_t inode;
    uint64_t start, end;
};

struct failures {
    struct bad bad[BAD_MAX];
    size_t count;
    bool whole;
    ssize_t (*pread)(int, void *, size_t, off64_t); /* the real one */
};

static struct failures failures;

__attribute__((noreturn)) static void refuse(const char *what)
{
    fprintf(stderr, "FAIL_READS: %s\n", what);
    abort();
}

static void add_failure(char *text)
{
    char *at = strrchr(text, '@');
    unsigned long long start, len;
    struct stat st;

    if (!at || sscanf(at, "@%llu+%llu", &start, &len) != 2 || failures.count == BAD_MAX)
        refuse(text);
    *at = '\0';
    if (stat(text, &st) < 0)
        refuse(text);
    failures.bad[failures.count++] = (struct bad){ st.st_dev, st.st_ino, start, start + len };
}

__attribute__((constructor)) static void begin(void)
{
    const char *list = getenv("FAIL_READS");
    char *copy = strdup(list ? list : ""), *rest = copy, *item;
    void *symbol = dlsym(RTLD_NEXT, "pread64");

    if (!copy || !symbol)
        refuse("cannot begin");
    memcpy(&failures.pread, &symbol, sizeof(symbol));
    failures.whole = getenv("FAIL_READS_WHOLE") != NULL;
    while ((item = strsep(&rest, ":")) != NULL)
        if (*item != '\0')
            add_failure(item);
    free(copy);
}

/* How much of a read there is before the first byte that is bad. */
static uint64_t good_length(int fd, uint64_t len, uint64_t offset)
{
    struct stat st;

    if (failures.count == 0 || fstat(fd, &st) < 0)
        return len;
    for (size_t i = 0; i < failures.count; i++) {
        const struct bad *b = &failures.bad[i];
        if (b->device == st.st_dev && b->inode == st.st_ino && offset < b->end &&
            offset + len > b->start)
            len = b->start > offset && !failures.whole ? b->start - offset : 0;
    }
    return len;
}

/* What pread() is to a program that was built for large files. */
ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
    uint64_t good = good_length(fd, len, (uint64_t)offset);

    if (good > 0 || len == 0)
        return failures.pread(fd, buf, good, offset);
    errno = EIO;
    return -1;
}

