/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Measuring what a conversion will write, and converting to a differencing image: the child shows
 * the disk it was made of, holds no more than what differs, and appears whole or not at all.
 */

#include <stdio.h>

#include "expect.h"
#include "tempdir.h"

#define SIZE (24 * M)

/* A raw disk in memory and in a file. */
struct disk {
    uint8_t *bytes;
    uint64_t size;
    const char *path;
};

static void make_disk(struct disk *d, void **state, const char *name, uint64_t size)
{
    *d = (struct disk){ .bytes = calloc(1, size), .size = size, .path = in_folder(*state, name) };
    assert_non_null(d->bytes);
}

static void fill(struct disk *d, uint64_t offset, uint64_t len, uint64_t seed)
{
    for (uint64_t i = 0; i < len; i++)
        d->bytes[offset + i] = (uint8_t)(next_random(&seed) % 255 + 1);
}

/* Zeros become holes of the file, page by page. */
static void save(const struct disk *d)
{
    static const uint8_t zeros[4096];
    FILE *file = fopen(d->path, "wb");

    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)d->size), 0);
    for (uint64_t at = 0, n; at < d->size; at += n) {
        n = d->size - at < sizeof zeros ? d->size - at : sizeof zeros;
        if (memcmp(d->bytes + at, zeros, n) == 0)
            continue;
        assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
        assert_int_equal(fwrite(d->bytes + at, 1, n, file), n);
    }
    assert_int_equal(fclose(file), 0);
}

static struct vhdx_disk *open_raw(const char *path)
{
    struct vhdx_disk *d = NULL;
    struct vhdx_error err;

    if (vhdx_disk_raw(path, 0, &d, &err) < 0)
        fail_test("%s\n", err.message);
    return d;
}

static int convert(const char *from, const char *to, uint32_t flags,
                   const struct vhdx_create_options *create, struct vhdx_convert_result *ret,
                   struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_disk *d = open_raw(from);

    *ret = (struct vhdx_convert_result)VHDX_CONVERT_RESULT_INIT;
    options.format = VHDX_FORMAT_VHDX;
    options.flags = flags;
    options.create = create;
    int r = vhdx_convert_disk(d, to, &options, ret, err);
    vhdx_disk_close(d);
    return r;
}

static void must_convert(const char *from, const char *to, uint32_t block_size,
                         const char *parent, struct vhdx_convert_result *ret)
{
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_error err = blank_error();

    create.block_size = block_size;
    create.parent_path = parent;
    if (convert(from, to, VHDX_CONVERT_VERIFY, &create, ret, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
}

/* The image shows the disk, and zeros up to its own end. */
static void assert_shows(const char *image, const struct disk *d)
{
    struct vhdx *v = NULL;
    struct vhdx_error err;

    if (vhdx_open(image, VHDX_OPEN_RDONLY, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    uint64_t size = vhdx_size(v);
    uint8_t *found = malloc(size);
    assert_non_null(found);
    assert_true(size >= d->size && size < d->size + 4096);
    assert_int_equal(vhdx_pread(v, found, size, 0, &err), 0);
    assert_memory_equal(found, d->bytes, d->size);
    for (uint64_t i = d->size; i < size; i++)
        assert_int_equal(found[i], 0);
    free(found);
    vhdx_close(v);
}

struct held {
    uint64_t data, zero;
};

static int add_held(const struct vhdx_extent *e, void *opaque)
{
    struct held *h = opaque;

    if (e->kind == VHDX_EXTENT_DATA)
        h->data += e->length;
    if (e->kind == VHDX_EXTENT_ZERO)
        h->zero += e->length;
    return 0;
}

/* What the image itself holds. */
static struct held held_by(const char *image)
{
    struct held h = { 0, 0 };
    struct vhdx *v = NULL;

    assert_int_equal(vhdx_open(image, VHDX_OPEN_NO_PARENT, NULL, &v, NULL), 0);
    assert_int_equal(vhdx_extents(v, 0, vhdx_size(v), add_held, &h, NULL), 0);
    vhdx_close(v);
    return h;
}

/* ---- Children ------------------------------------------------------------------------------- */

static void what_differs(void **state)
{
    struct disk old, new;
    struct vhdx_convert_result result;
    const char *parent = in_folder(*state, "parent.vhdx"), *child = in_folder(*state, "c.vhdx");

    make_disk(&old, state, "old.raw", SIZE);
    make_disk(&new, state, "new.raw", SIZE);
    fill(&old, 0, 10 * M, 1);
    memcpy(new.bytes, old.bytes, SIZE);
    fill(&new, M + 700, 100, 2);             /* within one sector */
    fill(&new, 15 * M - 512, 1024, 3);       /* across blocks, where the parent has none */
    memset(new.bytes + 4 * M, 0, 3 * M);     /* whole blocks */
    save(&old);
    save(&new);
    must_convert(old.path, parent, M, NULL, &result);
    must_convert(new.path, child, M, parent, &result);
    assert_shows(child, &new);
    struct held h = held_by(child);
    assert_int_equal(h.data, 512 + 1024);
    assert_int_equal(h.zero, 3 * M);
    assert_int_equal(result.copied_bytes, 512 + 1024);
    assert_int_equal(result.disk_size, SIZE);
    assert_int_equal(result.cloned_bytes, 0);
    struct stat st;
    assert_int_equal(stat(child, &st), 0);
    assert_int_equal(result.file_size, (uint64_t)st.st_size);
    free(old.bytes);
    free(new.bytes);
}

/* Part of a block is zeroed, and the rest of it is zeros anyway: the block takes no space. */
static void zeros_are_made_whole(void **state)
{
    struct disk old, new;
    struct vhdx_convert_result result;
    const char *parent = in_folder(*state, "parent.vhdx"), *child = in_folder(*state, "c.vhdx");

    make_disk(&old, state, "old.raw", SIZE);
    make_disk(&new, state, "new.raw", SIZE);
    fill(&old, 9 * M, 8192, 1);
    fill(&old, 10 * M, 8192, 1);
    fill(&old, 23 * M, 8192, 1);
    save(&old);
    save(&new);
    must_convert(old.path, parent, M, NULL, &result);
    must_convert(new.path, child, 8 * M, parent, &result);
    assert_shows(child, &new);
    struct held h = held_by(child);
    assert_int_equal(h.data, 0);
    assert_int_equal(h.zero, 16 * M);
    assert_int_equal(result.copied_bytes, 0);
    free(old.bytes);
    free(new.bytes);
}

/* Disks of random content and any size, smaller and larger than the parent's. */
static void random_children(void **state)
{
    static const uint32_t blocks[] = { M, 2 * M, 32 * M };
    struct disk old;
    struct vhdx_convert_result result;
    const char *parent = in_folder(*state, "parent.vhdx"), *child = in_folder(*state, "c.vhdx");
    uint64_t seed = 7;

    make_disk(&old, state, "old.raw", SIZE);
    fill(&old, 2 * M, 9 * M, 1);
    save(&old);
    must_convert(old.path, parent, M, NULL, &result);
    for (unsigned round = 0; round < 9; round++) {
        struct disk new;
        make_disk(&new, state, "new.raw", SIZE / 2 + next_random(&seed) % SIZE + 1);
        memcpy(new.bytes, old.bytes, new.size < SIZE ? new.size : SIZE);
        for (unsigned i = 0; i < 12; i++) {
            uint64_t at = next_random(&seed) % new.size, len = next_random(&seed) % M + 1;
            len = len < new.size - at ? len : new.size - at;
            if (i % 3 == 0)
                memset(new.bytes + at, 0, len);
            else
                fill(&new, at, len, seed);
        }
        save(&new);
        must_convert(new.path, child, blocks[round % 3], parent, &result);
        assert_shows(child, &new);
        assert_int_equal(remove(child), 0);
        free(new.bytes);
    }
    free(old.bytes);
}

static int cancel(uint64_t done, uint64_t total, void *opaque)
{
    (void)opaque;
    return done > total / 4;
}

/* Whatever goes wrong: the output's name is what it was, and nothing else is left. */
static void nothing_is_left(void **state)
{
    struct disk old;
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_convert_result result = VHDX_CONVERT_RESULT_INIT;
    struct vhdx_error err;
    const char *parent = in_folder(*state, "parent.vhdx"), *child = in_folder(*state, "c.vhdx");

    make_disk(&old, state, "old.raw", SIZE);
    fill(&old, 0, SIZE, 1);
    save(&old);
    must_convert(old.path, parent, M, NULL, &result);
    fill(&old, 0, SIZE, 2);
    save(&old);
    unsigned names = count_names(((struct folder *)*state)->path);

    create.parent_path = parent;
    assert_int_equal(convert(old.path, parent, VHDX_CONVERT_REPLACE, &create, &result, &err),
                     -VHDX_E_INVALID);
    assert_non_null(strstr(err.message, "output is the parent itself"));
    assert_int_equal(convert(old.path, old.path, VHDX_CONVERT_REPLACE, &create, &result, &err),
                     -VHDX_E_INVALID);
    assert_non_null(strstr(err.message, "output is the input itself"));
    assert_int_equal(truncate(old.path, 0), 0);
    assert_int_equal(convert(old.path, child, 0, &create, &result, &err), -VHDX_E_INVALID);
    assert_non_null(strstr(err.message, "size is 0, must be above 0"));
    save(&old);
    create.parent_path = in_folder(*state, "none.vhdx");
    assert_int_equal(convert(old.path, child, 0, &create, &result, &err), -VHDX_E_SYSTEM);
    create.parent_path = parent;
    create.logical_sector_size = 4096;
    assert_int_equal(convert(old.path, child, 0, &create, &result, &err), -VHDX_E_INVALID);
    create.logical_sector_size = 0;

    struct vhdx_disk *d = open_raw(old.path);
    options.format = VHDX_FORMAT_VHDX;
    options.create = &create;
    options.progress.fn = cancel;
    assert_int_equal(vhdx_convert_disk(d, child, &options, &result, &err), -VHDX_E_CANCELLED);
    vhdx_disk_close(d);
    assert_int_equal(count_names(((struct folder *)*state)->path), names);
    free(old.bytes);
}

/* ---- Measuring ------------------------------------------------------------------------------ */

static void measured_is_what_is_written(void **state)
{
    static const struct vhdx_create_options rows[] = {
        { .struct_size = sizeof rows[0] },
        { .struct_size = sizeof rows[0], .block_size = M },
        { .struct_size = sizeof rows[0], .block_size = 32 * M, .log_size = 3 * M },
        { .struct_size = sizeof rows[0], .logical_sector_size = 4096 },
        { .struct_size = sizeof rows[0], .type = VHDX_TYPE_FIXED },
    };
    struct disk raw;

    make_disk(&raw, state, "a.raw", SIZE + 100);
    fill(&raw, 3 * M - 100, 200, 1);
    fill(&raw, SIZE, 100, 1);
    save(&raw);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_measure_result measured = VHDX_MEASURE_RESULT_INIT;
        struct vhdx_convert_result result;
        struct vhdx_error err = blank_error();
        const char *path = in_folder(*state, "a.vhdx");
        struct vhdx_disk *d = open_raw(raw.path);
        struct stat st;

        options.format = VHDX_FORMAT_VHDX;
        options.create = &rows[i];
        assert_int_equal(vhdx_measure(d, &options, &measured, &err), 0);
        vhdx_disk_close(d);
        assert_int_equal(convert(raw.path, path, VHDX_CONVERT_REPLACE, &rows[i], &result, &err), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(measured.required, (uint64_t)st.st_size);
        assert_true(measured.fully_allocated >= measured.required);
    }
    free(raw.bytes);
}

static void measuring_refuses(void **state)
{
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_measure_result result = VHDX_MEASURE_RESULT_INIT, unset = { 0 };
    struct vhdx_disk *stream = NULL;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(vhdx_disk_stream(ends[0], &stream, NULL), 0);
    options.format = VHDX_FORMAT_VHDX;
    options.create = &create;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), -VHDX_E_INVALID); /* no size */
    create.size = M;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), 0);
    assert_int_equal(result.required, 4 * M);
    assert_int_equal(vhdx_measure(NULL, &options, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_measure(NULL, &options, &unset, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_measure(stream, &options, &result, NULL), -VHDX_E_INVALID);
    create.type = VHDX_TYPE_DIFFERENCING;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), -VHDX_E_INVALID);
    create.type = 0;
    create.parent_path = "parent.vhdx";
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), -VHDX_E_INVALID);
    create.parent_path = NULL;
    options.format = VHDX_FORMAT_RAW;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), 0);
    assert_int_equal(result.required, M);
    create.block_size = M;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), -VHDX_E_INVALID);
    create.block_size = 0;
    options.format = 99;
    assert_int_equal(vhdx_measure(NULL, &options, &result, NULL), -VHDX_E_INVALID);
    vhdx_disk_close(stream);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_differs, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(zeros_are_made_whole, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(random_children, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(nothing_is_left, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(measured_is_what_is_written, make_folder, remove_folder),
        cmocka_unit_test(measuring_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
