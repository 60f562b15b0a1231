/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A fuzz target without libFuzzer: takes the files that are named, and those in named folders. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static int take_file(const char *path)
{
    static uint8_t buf[16 << 20];
    FILE *f = fopen(path, "rb");

    if (!f) {
        fprintf(stderr, "cannot open %s\n", path);
        return 1;
    }
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees its end */
    if (!exact)
        return 1;
    for (size_t i = 0; i < n; i++)
        exact[i] = buf[i];
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 0;
}

static int take(const char *path, unsigned *count)
{
    DIR *folder = opendir(path);
    struct dirent *e;
    int failed = 0;

    if (!folder) {
        ++*count;
        return take_file(path);
    }
    while ((e = readdir(folder))) {
        char name[4096];
        if (e->d_name[0] == '.' ||
            snprintf(name, sizeof name, "%s/%s", path, e->d_name) >= (int)sizeof name)
            continue;
        failed |= take_file(name);
        ++*count;
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = 0;

    for (int i = 1; i < argc; i++)
        failed |= take(argv[i], &count);
    printf("%u inputs\n", count);
    return failed || count == 0;
}
