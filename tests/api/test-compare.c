/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Comparing disks: random ones against a byte-by-byte comparison, what is read and what is not,
 * which of several events counts, the callbacks, and wrong arguments.
 */

#include <errno.h>
#include <stdio.h>

#include "expect.h"
#include "tempdir.h"

#define SECTOR 512u
#define PARTS_MAX 64u
#define TIB_ (UINT64_C(1) << 40)

/* A disk in memory that tells its extents, and may fail. */
struct model {
    uint8_t *bytes;            /* NULL: all zeros, and reading it is a mistake */
    uint64_t size;
    uint64_t ends[PARTS_MAX];  /* of its extents */
    uint32_t kinds[PARTS_MAX];
    unsigned parts;
    uint64_t fail_at;          /* reading this byte fails; UINT64_MAX: none */
    uint64_t read;             /* atomic: bytes */
};

static int model_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct model *m = opaque;

    assert_true(len > 0 && offset <= m->size && len <= m->size - offset);
    assert_non_null(m->bytes);
    __atomic_fetch_add(&m->read, len, __ATOMIC_RELAXED);
    if (m->fail_at >= offset && m->fail_at - offset < len)
        return -EIO;
    memcpy(buf, m->bytes + offset, len);
    return 0;
}

static int model_size(void *opaque, uint64_t *ret_size)
{
    *ret_size = ((struct model *)opaque)->size;
    return 0;
}

static int model_extents(void *opaque, uint64_t offset, uint64_t len,
                         int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                         void *fn_opaque)
{
    const struct model *m = opaque;
    uint64_t end = offset + len, start = 0;
    int r = 0;

    for (unsigned i = 0; i < m->parts && r == 0; start = m->ends[i++]) {
        uint64_t from = start > offset ? start : offset, to = m->ends[i] < end ? m->ends[i] : end;
        if (from >= to)
            continue;
        struct vhdx_extent e = { .offset = from, .length = to - from, .kind = m->kinds[i] };
        r = fn(&e, fn_opaque);
    }
    return r;
}

static void model_close(void *opaque)
{
    (void)opaque;
}

static struct vhdx_disk *open_model(struct model *m)
{
    struct vhdx_io io = { .struct_size = sizeof io, .opaque = m, .pread = model_pread,
                          .size = model_size, .close = model_close };
    struct vhdx_disk *d = NULL;
    struct vhdx_error err = blank_error();

    if (vhdx_disk_custom(&io, m->parts > 0 ? model_extents : NULL, "model", &d, &err) < 0)
        fail_test("%s\n", err.message);
    return d;
}

/* ---- Random disks --------------------------------------------------------------------------- */

/* Cuts the disk into extents, whose ends have no alignment now and then; kinds as found in it,
   where zeros may be told or not. */
static void cut_model(struct model *m, uint64_t *seed)
{
    uint64_t at = 0;

    for (m->parts = 0; at < m->size; m->parts++) {
        uint64_t len = next_random(seed) % (m->size / 8 + 2) + 1;
        if (next_random(seed) % 4 != 0)
            len = (len + SECTOR - 1) / SECTOR * SECTOR;
        if (len > m->size - at || m->parts == PARTS_MAX - 1)
            len = m->size - at;
        bool zero = true;
        for (uint64_t i = at; i < at + len && zero; i++)
            zero = m->bytes[i] == 0;
        m->kinds[m->parts] = VHDX_EXTENT_DATA;
        if (zero && next_random(seed) % 4 != 0)
            m->kinds[m->parts] = next_random(seed) % 2 ? VHDX_EXTENT_ZERO : VHDX_EXTENT_HOLE;
        at += len;
        m->ends[m->parts] = at;
    }
}

static void fill_model(struct model *m, uint64_t size, uint64_t *seed)
{
    *m = (struct model){ .size = size, .bytes = calloc(1, size + 1), .fail_at = UINT64_MAX };
    assert_non_null(m->bytes);
    for (uint64_t at = 0; at < size;) {
        uint64_t len = next_random(seed) % (size / 4 + 2) + 1;
        if (len > size - at)
            len = size - at;
        if (next_random(seed) % 2)
            memset(m->bytes + at, (int)(next_random(seed) % 255 + 1), len);
        at += len;
    }
}

static void change_model(struct model *m, unsigned changes, uint64_t *seed)
{
    for (unsigned i = 0; i < changes && m->size > 0; i++) {
        uint64_t at = next_random(seed) % m->size, len = next_random(seed) % 5000 + 1;
        if (len > m->size - at)
            len = m->size - at;
        memset(m->bytes + at, (int)(next_random(seed) % 3), len);
    }
}

/* What the callback is to be told, sector by sector: 0 the same, 1 differs, 2 and is zero. */
struct listing {
    uint8_t *states;
    uint64_t sectors, size;
    uint64_t total, last_end;
};

static int list_difference(const struct vhdx_difference *d, void *opaque)
{
    struct listing *l = opaque;

    assert_true(d->length > 0 && d->offset % SECTOR == 0 && d->offset >= l->last_end);
    l->last_end = d->offset + d->length;
    assert_true(l->last_end <= l->size && (l->last_end % SECTOR == 0 || l->last_end == l->size));
    l->total += d->length;
    for (uint64_t at = d->offset; at < l->last_end; at += SECTOR)
        l->states[at / SECTOR] = d->is_zero ? 2 : 1;
    return 0;
}

static uint8_t byte_of(const struct model *m, uint64_t offset)
{
    return offset < m->size ? m->bytes[offset] : 0;
}

/* Verifies a listing byte by byte; returns the first sector that differs, or UINT64_MAX. */
static uint64_t verify_listing(const struct listing *l, const struct model *a,
                               const struct model *b)
{
    uint64_t first = UINT64_MAX;

    for (uint64_t s = 0; s < l->sectors; s++) {
        bool differs = false, zero = true;
        for (uint64_t at = s * SECTOR; at < (s + 1) * SECTOR; at++) {
            differs |= byte_of(a, at) != byte_of(b, at);
            zero &= byte_of(b, at) == 0;
        }
        assert_int_equal(l->states[s] != 0, differs);
        if (l->states[s] == 2)
            assert_true(zero);
        if (differs && first == UINT64_MAX)
            first = s * SECTOR;
    }
    return first;
}

static void compare_both_ways(struct model *a, struct model *b, unsigned threads)
{
    struct listing l = { .size = a->size > b->size ? a->size : b->size };
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;
    struct vhdx_disk *da = open_model(a), *db = open_model(b);
    struct vhdx_error err = blank_error();

    l.sectors = (l.size + SECTOR - 1) / SECTOR;
    l.states = calloc(1, l.sectors + 1);
    assert_non_null(l.states);
    options.threads = threads;
    options.differs = list_difference;
    options.opaque = &l;
    assert_int_equal(vhdx_compare(da, db, &options, &result, &err), 0);
    uint64_t first = verify_listing(&l, a, b);
    assert_int_equal(result.differing_bytes, l.total);
    assert_int_equal(result.outcome,
                     first == UINT64_MAX ? VHDX_COMPARE_SAME : VHDX_COMPARE_CONTENT);
    if (first != UINT64_MAX)
        assert_int_equal(result.offset, first);
    assert_int_equal(result.size_differs, a->size != b->size);
    assert_int_equal(result.read_bytes, a->read + b->read);

    options.differs = NULL;
    struct vhdx_compare_result short_one = VHDX_COMPARE_RESULT_INIT;
    assert_int_equal(vhdx_compare(da, db, &options, &short_one, &err), 0);
    assert_int_equal(short_one.outcome, result.outcome);
    assert_int_equal(short_one.offset, result.offset);
    assert_untouched(&err);
    free(l.states);
    vhdx_disk_close(da);
    vhdx_disk_close(db);
}

static void random_disks(void **state)
{
    uint64_t seed = 20261122;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        uint64_t size = next_random(&seed) % (round % 3 == 0 ? 9 * M : 100000);
        struct model a, b;

        uint64_t content = seed;
        fill_model(&a, size, &seed);
        fill_model(&b, size, &content); /* the same */
        if (round % 5 == 0)
            b.size = size - size / (2 + round % 7);
        change_model(&b, next_random(&seed) % 4, &seed);
        cut_model(&a, &seed);
        cut_model(&b, &seed);
        compare_both_ways(&a, &b, round % 5);
        free(a.bytes);
        free(b.bytes);
    }
}

/* ---- What is not looked at ------------------------------------------------------------------ */

static void terabytes_of_nothing(void **state)
{
    struct model a = { .size = 60 * TIB_, .ends = { 5 * TIB_, 60 * TIB_ }, .parts = 2,
                       .kinds = { VHDX_EXTENT_ZERO, VHDX_EXTENT_HOLE }, .fail_at = UINT64_MAX };
    struct model b = { .size = 64 * TIB_, .ends = { 64 * TIB_ }, .parts = 1,
                       .kinds = { VHDX_EXTENT_HOLE }, .fail_at = UINT64_MAX };
    struct vhdx_disk *da = open_model(&a), *db = open_model(&b);
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;

    (void)state;
    assert_int_equal(vhdx_compare(da, db, NULL, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_SAME);
    assert_int_equal(result.size_differs, 1);
    assert_int_equal(result.read_bytes, 0);
    vhdx_disk_close(da);
    vhdx_disk_close(db);
}

static void write_pattern(const char *path, uint64_t size, uint64_t from, uint64_t len)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fseek(file, (long)from, SEEK_SET), 0);
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(fputc((int)(i % 251 + 1), file), (int)(i % 251 + 1));
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), (off_t)size), 0);
    fclose(file);
}

static struct vhdx_disk *open_raw(const char *path)
{
    struct vhdx_disk *d = NULL;
    struct vhdx_error err = blank_error();

    if (vhdx_disk_raw(path, 0, &d, &err) < 0)
        fail_test("%s\n", err.message);
    return d;
}

static void one_file_is_not_read(void **state)
{
    const char *path = in_folder(*state, "disk.raw");
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;

    write_pattern(path, 5 * M + 100, 0, 3 * M);
    struct vhdx_disk *a = open_raw(path), *b = open_raw(path);
    assert_int_equal(vhdx_compare(a, b, NULL, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_SAME);
    assert_int_equal(result.read_bytes, 0);
    assert_int_equal(vhdx_compare(a, a, NULL, &result, NULL), 0);
    assert_int_equal(result.read_bytes, 0);
    vhdx_disk_close(a);
    vhdx_disk_close(b);
}

/* ---- What counts ---------------------------------------------------------------------------- */

/* 8 MiB of one byte, all data unless kinds are given for its two halves. */
static void make_plain(struct model *m, int byte, uint32_t first, uint32_t second)
{
    *m = (struct model){ .size = 8 * M, .bytes = malloc(8 * M), .ends = { 4 * M, 8 * M },
                         .parts = 2, .kinds = { first, second }, .fail_at = UINT64_MAX };
    assert_non_null(m->bytes);
    memset(m->bytes, byte, 8 * M);
}

static int compare_models(struct model *a, struct model *b, uint32_t flags,
                          struct vhdx_compare_result *ret, struct vhdx_error *err)
{
    struct vhdx_disk *da = open_model(a), *db = open_model(b);
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;

    options.flags = flags;
    options.threads = 4;
    *ret = (struct vhdx_compare_result)VHDX_COMPARE_RESULT_INIT;
    int r = vhdx_compare(da, db, &options, ret, err);
    vhdx_disk_close(da);
    vhdx_disk_close(db);
    return r;
}

static void the_first_event_counts(void **state)
{
    struct model a, b;
    struct vhdx_compare_result result;
    struct vhdx_error err = blank_error();

    (void)state;
    make_plain(&a, 7, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    make_plain(&b, 7, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    for (unsigned round = 0; round < 50; round++) {
        /* A difference before an unreadable place, and behind one. */
        b.bytes[100000] = 8;
        b.fail_at = 2 * M;
        assert_int_equal(compare_models(&a, &b, 0, &result, &err), 0);
        assert_int_equal(result.outcome, VHDX_COMPARE_CONTENT);
        assert_int_equal(result.offset, 100000 / SECTOR * SECTOR);
        b.bytes[100000] = 7;
        b.bytes[5 * M] = 8;
        assert_int_equal(compare_models(&a, &b, 0, &result, &err), -VHDX_E_SYSTEM);
        assert_int_equal(err.sys_errno, EIO);
        b.bytes[5 * M] = 7;
        b.fail_at = UINT64_MAX;
        err = blank_error();
    }
    free(a.bytes);
    free(b.bytes);
}

static void strict(void **state)
{
    struct model a, b;
    struct vhdx_compare_result result;

    (void)state;
    make_plain(&a, 0, VHDX_EXTENT_DATA, VHDX_EXTENT_HOLE);
    make_plain(&b, 0, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    assert_int_equal(compare_models(&a, &b, 0, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_SAME);
    assert_int_equal(compare_models(&a, &b, VHDX_COMPARE_STRICT, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_ALLOCATION);
    assert_int_equal(result.offset, 4 * M);
    b.bytes[3 * M] = 1; /* before it */
    assert_int_equal(compare_models(&a, &b, VHDX_COMPARE_STRICT, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_CONTENT);
    assert_int_equal(result.offset, 3 * M);
    b.kinds[1] = VHDX_EXTENT_ZERO; /* which of the two kinds of nothing does not matter */
    b.bytes[3 * M] = 0;
    assert_int_equal(compare_models(&a, &b, VHDX_COMPARE_STRICT, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_SAME);
    b.size = b.ends[1] = 7 * M;
    a.read = b.read = 0;
    assert_int_equal(compare_models(&a, &b, VHDX_COMPARE_STRICT, &result, NULL), 0);
    assert_int_equal(result.outcome, VHDX_COMPARE_SIZE);
    assert_int_equal(a.read + b.read, 0);
    free(a.bytes);
    free(b.bytes);
}

/* ---- Callbacks ------------------------------------------------------------------------------ */

struct stretch {
    uint64_t offset, length;
    uint32_t is_zero;
};

struct told {
    struct stretch list[8];
    unsigned count, stop_after;
};

static int note_difference(const struct vhdx_difference *d, void *opaque)
{
    struct told *t = opaque;

    assert_true(t->count < 8);
    t->list[t->count++] = (struct stretch){ d->offset, d->length, d->is_zero };
    return t->count == t->stop_after ? 42 : 0;
}

static int compare_told(struct model *a, struct model *b, struct told *t)
{
    struct vhdx_disk *da = open_model(a), *db = open_model(b);
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;

    options.differs = note_difference;
    options.opaque = t;
    int r = vhdx_compare(da, db, &options, &result, NULL);
    vhdx_disk_close(da);
    vhdx_disk_close(db);
    return r;
}

/* Joined over what is compared at once; apart where the second disk begins to know of zeros. */
static void stretches_are_whole(void **state)
{
    struct model a, b;
    struct told t = { .count = 0 };

    (void)state;
    make_plain(&a, 1, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    make_plain(&b, 2, VHDX_EXTENT_DATA, VHDX_EXTENT_HOLE);
    memset(b.bytes + 4 * M, 0, 4 * M);
    memset(b.bytes, 1, M);
    assert_int_equal(compare_told(&a, &b, &t), 0);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.list[0].offset, M);
    assert_int_equal(t.list[0].length, 3 * M);
    assert_int_equal(t.list[0].is_zero, 0);
    assert_int_equal(t.list[1].offset, 4 * M);
    assert_int_equal(t.list[1].length, 4 * M);
    assert_int_equal(t.list[1].is_zero, 1);
    t = (struct told){ .stop_after = 1 };
    assert_int_equal(compare_told(&a, &b, &t), 42);
    assert_int_equal(t.count, 1);
    t = (struct told){ .stop_after = 2 }; /* the last one, which is told at the end */
    assert_int_equal(compare_told(&a, &b, &t), 42);
    free(a.bytes);
    free(b.bytes);
}

struct calls {
    unsigned count, cancel_at;
    uint64_t done, total;
};

static int count_calls(uint64_t done, uint64_t total, void *opaque)
{
    struct calls *c = opaque;

    assert_true(done >= c->done && done <= total);
    c->done = done;
    c->total = total;
    return ++c->count == c->cancel_at;
}

static void progress_and_cancelling(void **state)
{
    struct model a, b;
    struct calls calls = { .count = 0 };
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT;
    struct vhdx_error err = blank_error();

    (void)state;
    make_plain(&a, 1, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    make_plain(&b, 1, VHDX_EXTENT_DATA, VHDX_EXTENT_DATA);
    b.size = b.ends[0] = 4 * M;
    b.parts = 1;
    memset(a.bytes + 4 * M, 0, 4 * M);
    struct vhdx_disk *da = open_model(&a), *db = open_model(&b);
    options.progress.fn = count_calls;
    options.progress.opaque = &calls;
    assert_int_equal(vhdx_compare(da, db, &options, &result, &err), 0);
    assert_int_equal(calls.done, 8 * M);
    assert_int_equal(calls.total, 8 * M);
    calls = (struct calls){ .cancel_at = 1 };
    assert_untouched(&err);
    assert_int_equal(vhdx_compare(da, db, &options, &result, &err), -VHDX_E_CANCELLED);
    vhdx_disk_close(da);
    vhdx_disk_close(db);
    free(a.bytes);
    free(b.bytes);
}

/* ---- Arguments ------------------------------------------------------------------------------ */

static void wrong_arguments(void **state)
{
    struct model m = { .size = M, .ends = { M }, .parts = 1, .kinds = { VHDX_EXTENT_HOLE } };
    struct vhdx_disk *d = open_model(&m), *stream = NULL;
    struct vhdx_compare_options options = VHDX_COMPARE_OPTIONS_INIT;
    struct vhdx_compare_result result = VHDX_COMPARE_RESULT_INIT, unset = { 0 };
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(vhdx_disk_stream(ends[0], &stream, NULL), 0);
    assert_int_equal(vhdx_compare(NULL, d, NULL, &result, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_compare(d, NULL, NULL, &result, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_compare(d, d, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_compare(d, d, NULL, &unset, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_compare(d, stream, NULL, &result, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_compare(stream, d, NULL, &result, NULL), -VHDX_E_INVALID);
    options.flags = 2;
    assert_int_equal(vhdx_compare(d, d, &options, &result, NULL), -VHDX_E_INVALID);
    options.flags = 0;
    options.threads = 65;
    assert_int_equal(vhdx_compare(d, d, &options, &result, NULL), -VHDX_E_INVALID);
    options.threads = 64;
    assert_int_equal(vhdx_compare(d, d, &options, &result, NULL), 0);
    vhdx_disk_close(d);
    vhdx_disk_close(stream);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_disks),
        cmocka_unit_test(terabytes_of_nothing),
        cmocka_unit_test_setup_teardown(one_file_is_not_read, make_folder, remove_folder),
        cmocka_unit_test(the_first_event_counts),
        cmocka_unit_test(strict),
        cmocka_unit_test(stretches_are_whole),
        cmocka_unit_test(progress_and_cancelling),
        cmocka_unit_test(wrong_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
