/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx-probe: reads an image to its end through the public API, for the corpus tests.
 *
 *     vhdx-probe [--no-parent] [--any-parent] [--parent FILE]... [--search-dir DIR]...
 *                [--map WIN=LOCAL]... [--dump OUT] FILE
 *
 * Prints one line: "ok", or "CODE_NAME OFFSET MESSAGE" with "-" for no offset. Exit code 0 or 1; 2
 * for a wrong command line. DATA extents are read in whole, ZERO and HOLE extents at both of their
 * ends. What the library must never do (a gap between extents, data in a zero extent) is reported
 * with the code name PROBE. --dump writes every 4 KiB page that is not all zeros to OUT, each as a
 * line "OFFSET LENGTH" and then its bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vhdx.h>

#define PAGE_BYTES 4096u
#define BUFFER_BYTES (256u * 1024)
#define WAYS_MAX 16u

/* What the command line says. */
struct settings {
    uint32_t flags;
    const char *file;
    const char *dump;
    const char *parents[WAYS_MAX];
    const char *search_dirs[WAYS_MAX];
    struct vhdx_path_map maps[WAYS_MAX];
    struct vhdx_open_options options;
};

/* A walk over the extents of an open image. */
struct walk {
    struct vhdx *v;
    FILE *dump;            /* NULL: nothing to write */
    uint64_t next_offset;  /* where the next extent must begin */
    const char *violation; /* what the library must never do, or NULL */
    struct vhdx_error err; /* of a failed read */
    unsigned char buffer[BUFFER_BYTES];
};

/* Whether a piece of the buffer is all zeros. */
static int is_zero(const unsigned char *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Writes those pages of a piece of the disk that hold something. */
static int dump_pages(struct walk *w, uint64_t offset, size_t len)
{
    const unsigned char *data = w->buffer;
    size_t step;

    for (; len > 0; data += step, offset += step, len -= step) {
        step = PAGE_BYTES - (size_t)(offset % PAGE_BYTES);
        if (step > len) {
            step = len;
        }
        if (is_zero(data, step)) {
            continue;
        }
        fprintf(w->dump, "%" PRIu64 " %zu\n", offset, step);
        if (fwrite(data, 1, step, w->dump) != step) {
            w->violation = "the dump cannot be written";
            return 1;
        }
    }
    return 0;
}

/* Reads a range; zero: it must hold nothing but zeros. */
static int read_range(struct walk *w, uint64_t offset, uint64_t len, int zero)
{
    while (len > 0) {
        size_t step = len < BUFFER_BYTES ? (size_t)len : BUFFER_BYTES;

        if (vhdx_pread(w->v, w->buffer, step, offset, &w->err) < 0) {
            return 1;
        }
        if (zero && !is_zero(w->buffer, step)) {
            w->violation = "an extent that reads as zeros holds data";
            return 1;
        }
        if (w->dump != NULL && dump_pages(w, offset, step) != 0) {
            return 1;
        }
        offset += step;
        len -= step;
    }
    return 0;
}

/* Called for each extent. */
static int on_extent(const struct vhdx_extent *extent, void *opaque)
{
    struct walk *w = opaque;
    uint64_t edge = extent->length < PAGE_BYTES ? extent->length : PAGE_BYTES;

    if (extent->offset != w->next_offset || extent->length == 0) {
        w->violation = "extents leave a gap or overlap";
        return 1;
    }
    w->next_offset += extent->length;
    if (extent->kind == VHDX_EXTENT_DATA) {
        return read_range(w, extent->offset, extent->length, 0);
    }
    if (extent->kind != VHDX_EXTENT_ZERO && extent->kind != VHDX_EXTENT_HOLE) {
        w->violation = "an extent is of no known kind";
        return 1;
    }
    if (extent->file_offset != VHDX_OFFSET_NONE) {
        w->violation = "an extent without data has a file offset";
        return 1;
    }
    return read_range(w, extent->offset, edge, 1) != 0 ||
           read_range(w, extent->offset + extent->length - edge, edge, 1) != 0;
}

/* Reads the disk to its end; 0 or 1 with w->err or w->violation set. */
static int read_disk(struct walk *w)
{
    int result = vhdx_extents(w->v, 0, vhdx_size(w->v), on_extent, w, &w->err);

    if (result == 0 && w->next_offset != vhdx_size(w->v)) {
        w->violation = "the extents end before the disk";
    }
    return result != 0 || w->violation != NULL;
}

/* The one line for a failure. */
static void print_error(const struct vhdx_error *err)
{
    printf("%s ", vhdx_code_name(err->code));
    if (err->file_offset == VHDX_OFFSET_NONE) {
        printf("- ");
    } else {
        printf("%" PRIu64 " ", err->file_offset);
    }
    printf("%s\n", err->message);
}

/* Opens, reads, prints. */
static int probe(const struct settings *s)
{
    struct walk *w = calloc(1, sizeof(*w));
    int failed = 1;

    if (w == NULL) {
        return 2;
    }
    if (vhdx_open(s->file, s->flags, &s->options, &w->v, &w->err) < 0) {
        print_error(&w->err);
        goto out;
    }
    if (s->dump != NULL) {
        w->dump = fopen(s->dump, "wb");
        if (w->dump == NULL) {
            perror(s->dump);
            goto out;
        }
    }
    failed = read_disk(w);
    if (w->dump != NULL && fclose(w->dump) != 0) {
        w->violation = "the dump cannot be written";
        failed = 1;
    }
    if (w->violation != NULL) {
        printf("PROBE %" PRIu64 " %s\n", w->next_offset, w->violation);
    } else if (failed) {
        print_error(&w->err);
    } else {
        puts("ok");
    }
out:
    vhdx_close(w->v);
    free(w);
    return failed;
}

/* Adds a path map from "WIN=LOCAL", which is cut in two; 0 or -1. */
static int add_map(struct settings *s, char *text)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || s->options.path_maps_count == WAYS_MAX) {
        return -1;
    }
    *equals = '\0';
    s->maps[s->options.path_maps_count].windows = text;
    s->maps[s->options.path_maps_count].local = equals + 1;
    s->options.path_maps_count++;
    return 0;
}

/* Takes an option with its argument; 0 or -1. */
static int take_option(struct settings *s, const char *name, char *argument)
{
    if (strcmp(name, "--parent") == 0 && s->options.parents_count < WAYS_MAX) {
        s->parents[s->options.parents_count++] = argument;
        return 0;
    }
    if (strcmp(name, "--search-dir") == 0 && s->options.search_dirs_count < WAYS_MAX) {
        s->search_dirs[s->options.search_dirs_count++] = argument;
        return 0;
    }
    if (strcmp(name, "--map") == 0) {
        return add_map(s, argument);
    }
    if (strcmp(name, "--dump") == 0) {
        s->dump = argument;
        return 0;
    }
    return -1;
}

/* Reads the command line; 0 or -1. */
static int parse(struct settings *s, int argc, char **argv)
{
    const struct vhdx_open_options init = VHDX_OPEN_OPTIONS_INIT;
    int i;

    s->options = init;
    s->options.parents = s->parents;
    s->options.search_dirs = s->search_dirs;
    s->options.path_maps = s->maps;
    for (i = 1; i < argc - 1; i++) {
        if (strcmp(argv[i], "--no-parent") == 0) {
            s->flags |= VHDX_OPEN_NO_PARENT;
        } else if (strcmp(argv[i], "--any-parent") == 0) {
            s->flags |= VHDX_OPEN_ANY_PARENT;
        } else if (i + 1 == argc - 1 || take_option(s, argv[i], argv[i + 1]) < 0) {
            return -1;
        } else {
            i++;
        }
    }
    if (i != argc - 1) {
        return -1;
    }
    s->file = argv[i];
    return 0;
}

int main(int argc, char **argv)
{
    struct settings s = { 0 };

    if (parse(&s, argc, argv) < 0) {
        fprintf(stderr, "usage: vhdx-probe [--no-parent] [--any-parent] [--parent FILE] "
                        "[--search-dir DIR] [--map WIN=LOCAL] [--dump OUT] FILE\n");
        return 2;
    }
    return probe(&s);
}
