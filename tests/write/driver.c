/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Does to images what a script on standard input says, through the public API, a line at a time:
 *
 *     create FILE TYPE SIZE BLOCK_SIZE SECTOR_SIZE [PARENT]
 *     open FILE                  for writing
 *     write OFFSET LENGTH SEED   the pattern below
 *     copy OFFSET LENGTH FILE    the same bytes of a raw file
 *     zero OFFSET LENGTH
 *     trim OFFSET LENGTH
 *     flush | finish | close
 *     ready                      says "ready" on standard output, for whoever wants to kill us
 *
 * TYPE is fixed, dynamic or differencing; 0 and "-" leave a choice to the library. The pattern:
 * the byte at OFFSET of the disk is byte OFFSET % 8 of the little-endian SEED << 32 | OFFSET / 512.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vhdx.h>

#define PIECE (1u << 20)

struct driver {
    struct vhdx *v;
    unsigned char *buf; /* PIECE bytes */
    struct vhdx_error err;
};

static int create(struct driver *d, const char *args)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    char file[512], type[32], parent[512] = "-";

    if (sscanf(args, "%511s %31s %" SCNu64 " %" SCNu32 " %" SCNu32 " %511s", file, type, &o.size,
               &o.block_size, &o.logical_sector_size, parent) < 5)
        return -VHDX_E_INVALID;
    o.type = type[0] == 'f' ? VHDX_TYPE_FIXED
                            : type[1] == 'y' ? VHDX_TYPE_DYNAMIC : VHDX_TYPE_DIFFERENCING;
    o.parent_path = strcmp(parent, "-") != 0 ? parent : NULL;
    return vhdx_create(file, &o, &d->err);
}

static void fill(unsigned char *buf, size_t len, uint64_t offset, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t x = seed << 32 | (offset + i) / 512;
        buf[i] = (unsigned char)(x >> 8 * ((offset + i) % 8));
    }
}

static int write_pattern(struct driver *d, uint64_t offset, uint64_t len, uint64_t seed)
{
    int r = 0;

    for (uint64_t done = 0, n; done < len && r == 0; done += n) {
        n = len - done < PIECE ? len - done : PIECE;
        fill(d->buf, (size_t)n, offset + done, seed);
        r = vhdx_pwrite(d->v, d->buf, (size_t)n, offset + done, 0, &d->err);
    }
    return r;
}

static int copy(struct driver *d, uint64_t offset, uint64_t len, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC), r = -VHDX_E_INVALID;

    if (fd >= 0 && len <= PIECE && pread(fd, d->buf, (size_t)len, (off_t)offset) == (ssize_t)len)
        r = vhdx_pwrite(d->v, d->buf, (size_t)len, offset, 0, &d->err);
    if (fd >= 0)
        close(fd);
    return r;
}

static int do_session(struct driver *d, const char *verb, const char *args)
{
    char file[512];

    if (strcmp(verb, "create") == 0)
        return create(d, args);
    if (strcmp(verb, "open") == 0 && sscanf(args, "%511s", file) == 1)
        return vhdx_open(file, VHDX_OPEN_RDWR, NULL, &d->v, &d->err);
    if (strcmp(verb, "flush") == 0)
        return vhdx_flush(d->v, &d->err);
    if (strcmp(verb, "finish") == 0)
        return vhdx_finish(d->v, &d->err);
    if (strcmp(verb, "close") == 0) {
        vhdx_close(d->v);
        d->v = NULL;
        return 0;
    }
    if (strcmp(verb, "ready") != 0)
        return -VHDX_E_INVALID;
    puts("ready");
    return fflush(stdout) == 0 ? 0 : -VHDX_E_INVALID;
}

static int do_line(struct driver *d, const char *line)
{
    char verb[16], file[512];
    uint64_t offset = 0, len = 0, seed = 0;
    int skip = 0;

    if (sscanf(line, "%15s%n", verb, &skip) != 1)
        return -VHDX_E_INVALID;
    line += skip;
    int n = sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64, &offset, &len, &seed);
    if (strcmp(verb, "write") == 0 && n == 3)
        return write_pattern(d, offset, len, seed);
    if (strcmp(verb, "zero") == 0 && n == 2)
        return vhdx_zero(d->v, len, offset, 0, &d->err);
    if (strcmp(verb, "trim") == 0 && n == 2)
        return vhdx_trim(d->v, len, offset, 0, &d->err);
    if (strcmp(verb, "copy") == 0 &&
        sscanf(line, "%" SCNu64 " %" SCNu64 " %511s", &offset, &len, file) == 3)
        return copy(d, offset, len, file);
    return do_session(d, verb, line);
}

int main(void)
{
    struct driver d = { .buf = malloc(PIECE) };
    char line[2048];

    if (!d.buf)
        return 2;
    snprintf(d.err.message, sizeof d.err.message, "the line means nothing");
    while (fgets(line, sizeof line, stdin)) {
        int r = do_line(&d, line);
        if (r < 0) {
            fprintf(stderr, "%s%s: %s\n", line, vhdx_code_name(r), d.err.message);
            return 1;
        }
    }
    vhdx_close(d.v);
    free(d.buf);
    return 0;
}
