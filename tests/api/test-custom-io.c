/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Images in custom files: what the library asks of them, and every place where one can fail. "Fail
 * the 1st, 2nd, ... Nth read until the call completes": an error each time, no leak (a sanitizer
 * tells), and the file closed exactly once.
 */

#include "build.h"

#include <errno.h>

#include "expect.h"
#include "tempdir.h"

#define PARENT_GUID "c2c2c2c2-1111-2222-3333-444444444444"

/* A file that counts calls, and fails some. */
struct counted {
    struct vhdx_io inner;
    unsigned preads, sizes, closes, others;
    unsigned fail_pread;  /* the number of the pread that fails; 0: none */
    bool fail_on;         /* all behind it fail too */
    bool fail_size;
    bool past_end;        /* it was asked for what it must not be asked for */
};

static int counted_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct counted *c = opaque;
    uint64_t size;

    c->preads++;
    c->inner.size(c->inner.opaque, &size);
    if (offset > size || len > size - offset)
        c->past_end = true;
    if (c->fail_pread && (c->preads == c->fail_pread || (c->fail_on && c->preads > c->fail_pread)))
        return -EIO;
    return c->inner.pread(c->inner.opaque, buf, len, offset);
}

static int counted_size(void *opaque, uint64_t *ret_size)
{
    struct counted *c = opaque;

    c->sizes++;
    return c->fail_size ? -ENXIO : c->inner.size(c->inner.opaque, ret_size);
}

static void counted_close(void *opaque)
{
    struct counted *c = opaque;

    if (c->closes++ == 0)
        c->inner.close(c->inner.opaque);
}

static int other_call(void *opaque)
{
    ((struct counted *)opaque)->others++;
    return 0;
}

static int other_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    (void)buf;
    (void)len;
    (void)offset;
    return other_call(opaque);
}

static int other_truncate(void *opaque, uint64_t size)
{
    (void)size;
    return other_call(opaque);
}

static int other_range(void *opaque, uint64_t offset, uint64_t len)
{
    (void)offset;
    (void)len;
    return other_call(opaque);
}

/* A child of 12 MiB: every state, a bitmap, a log that is not replayed. */
static void build_child(struct build *b)
{
    build_begin(b, &(struct build_spec){ .size = 12 * M, .type = VHDX_TYPE_DIFFERENCING,
                                         .parent_guid = PARENT_GUID, .layer = 5 });
    build_block(b, 0, FULL);
    build_block(b, 1, PARTIAL);
    build_present(b, M + 512, 5 * 512);
    build_block(b, 3, ZERO);
    build_block(b, 4, FULL);
    build_block(b, 5, FULL);
    build_block(b, 9, PARTIAL);
    build_present(b, 9 * M, 512);
    build_through_log(b, build_bat_sector(b, 0));
    build_through_log(b, BUILD_METADATA);
    build_finish(b);
}

static struct vhdx_io counted_io(struct counted *c, const struct build *b)
{
    *c = (struct counted){ .inner = build_io(b) };
    return (struct vhdx_io){ .struct_size = sizeof(struct vhdx_io), .opaque = c,
                             .pread = counted_pread, .size = counted_size,
                             .close = counted_close };
}

static struct vhdx *must_open(struct vhdx_io *io)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    if (vhdx_open_io(io, VHDX_OPEN_NO_PARENT, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    return v;
}

/* ---- What is asked of a file ---------------------------------------------------------------- */

static void file_needs_only_pread_and_size(void **state)
{
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    io.close = NULL;
    io.struct_size = offsetof(struct vhdx_io, truncate); /* an older caller's */
    vhdx_close(must_open(&io));
    assert_int_equal(c.closes, 0);
    counted_close(&c);
    build_end(&b);
}

static void file_is_copied(void **state)
{
    struct counted c;
    struct build b;
    char buf[10];

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    struct vhdx *v = must_open(&io);
    memset(&io, 0xee, sizeof io);
    assert_int_equal(vhdx_pread(v, buf, sizeof buf, 0, NULL), 0);
    vhdx_close(v);
    assert_int_equal(c.closes, 1);
    build_end(&b);
}

static void nothing_but_reads_is_called(void **state)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;
    char *buf = malloc(12 * M);
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    io.pwrite = other_pwrite;
    io.flush = other_call;
    io.truncate = other_truncate;
    io.zero = io.discard = other_range;
    struct vhdx *v = must_open(&io);
    assert_int_equal(vhdx_pread(v, buf, 12 * M, 0, NULL), 0);
    assert_int_equal(vhdx_get_stats(v, &stats, NULL), 0);
    vhdx_close(v);
    assert_int_equal(c.others, 0);
    assert_int_equal(c.closes, 1);
    assert_false(c.past_end);
    build_end(&b);
    free(buf);
}

static void present_data_is_read_at_once(void **state)
{
    char *buf = malloc(2 * M);
    struct counted c;
    struct build b;

    (void)state;
    build_begin(&b, &(struct build_spec){ .size = 8 * M });
    for (unsigned i = 0; i < 8; i++)
        build_block(&b, i, FULL);
    build_finish(&b);
    struct vhdx_io io = counted_io(&c, &b);
    struct vhdx *v = must_open(&io);
    assert_int_equal(vhdx_pread(v, buf, 100, 4 * M, NULL), 0);
    unsigned before = c.preads;
    assert_int_equal(vhdx_pread(v, buf, 4096, 5 * M, NULL), 0);
    assert_int_equal(c.preads, before + 1); /* one block */
    assert_int_equal(vhdx_pread(v, buf, 2 * M, 3 * M + 512, NULL), 0);
    assert_int_equal(c.preads, before + 2); /* neighbours that lie together */
    assert_int_equal(vhdx_pread(v, buf, 0, 3 * M, NULL), 0);
    assert_int_equal(c.preads, before + 2); /* nothing */
    vhdx_close(v);
    build_end(&b);
    free(buf);
}

static void zeros_and_holes_are_not_read(void **state)
{
    struct counted c;
    struct build b;
    char buf[4096];

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    struct vhdx *v = must_open(&io);
    unsigned before = c.preads;
    for (unsigned block = 2; block < 12; block++)
        if (block < 4 || (block > 5 && block != 9))
            assert_int_equal(vhdx_pread(v, buf, sizeof buf, block * M, NULL), 0);
    assert_int_equal(c.preads, before);
    vhdx_close(v);
    build_end(&b);
}

/* ---- Opening fails -------------------------------------------------------------------------- */

static void expect_open_fails(struct vhdx_io *io, struct counted *c, uint32_t flags,
                              const struct vhdx_open_options *opts, int code, const char *words)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = (void *)c;

    int r = vhdx_open_io(io, flags, opts, &v, &err);
    expect_error(r, &err, code, err.file_offset, words);
    assert_ptr_equal(v, c);
    assert_int_equal(c->closes, 1);
}

static void file_is_closed_when_arguments_are_wrong(void **state)
{
    static const struct vhdx_open_options bad_options = { .struct_size = 1 };
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    expect_open_fails(&io, &c, 1u << 30, NULL, VHDX_E_INVALID, "flag");
    io = counted_io(&c, &b);
    expect_open_fails(&io, &c, 0, &bad_options, VHDX_E_INVALID, "struct_size");
    io = counted_io(&c, &b);
    io.pread = NULL;
    expect_open_fails(&io, &c, 0, NULL, VHDX_E_INVALID, "pread");
    io = counted_io(&c, &b);
    io.size = NULL;
    expect_open_fails(&io, &c, 0, NULL, VHDX_E_INVALID, "size");
    io = counted_io(&c, &b);
    assert_int_equal(vhdx_open_io(&io, 0, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(c.closes, 1);
    build_end(&b);
}

static void struct_too_small_for_its_calls_is_refused(void **state)
{
    struct vhdx *v = NULL;
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    for (size_t size = 0; size < offsetof(struct vhdx_io, truncate); size += 8) {
        struct vhdx_error err = blank_error();
        io.struct_size = size;
        expect_error(vhdx_open_io(&io, 0, NULL, &v, &err), &err, VHDX_E_INVALID,
                     VHDX_OFFSET_NONE, "argument");
        assert_null(v);
    }
    assert_int_equal(vhdx_open_io(NULL, 0, NULL, &v, NULL), -VHDX_E_INVALID);
    assert_int_equal(c.preads, 0);
    counted_close(&c);
    build_end(&b);
}

static void file_is_closed_when_its_size_is_unknown(void **state)
{
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    c.fail_size = true;
    expect_open_fails(&io, &c, 0, NULL, VHDX_E_SYSTEM, "(custom file): |size");
    build_end(&b);
}

/* Cut anywhere, with a log to replay and without: never read past its end. */
static void file_is_closed_when_it_is_cut_short(void **state)
{
    (void)state;
    for (int dirty = 0; dirty < 2; dirty++) {
        for (uint64_t length = 0; length <= 3 * M; length += length < 16 ? 1 : 49999) {
            struct counted c;
            struct build b;
            build_begin(&b, &(struct build_spec){ .size = 12 * M });
            if (dirty)
                build_through_log(&b, BUILD_METADATA);
            build_finish(&b);
            b.length = length;
            struct vhdx_io io = counted_io(&c, &b);
            expect_open_fails(&io, &c, 0, NULL, length < 8 ? VHDX_E_NOT_VHDX : VHDX_E_TRUNCATED,
                              "(custom file): ");
            assert_false(c.past_end);
            build_end(&b);
        }
    }
}

static void parent_of_a_custom_file_has_no_folder_to_lie_in(void **state)
{
    struct counted c;
    struct build b;

    (void)state;
    build_child(&b);
    struct vhdx_io io = counted_io(&c, &b);
    expect_open_fails(&io, &c, 0, NULL, VHDX_E_PARENT_MISSING,
                      "(custom file): |{" PARENT_GUID "}|missing|relative_path|no folder");
    build_end(&b);
}

/* ---- Reads fail ----------------------------------------------------------------------------- */

/* Opens with a file whose pread n fails. Returns 0 with *ret open, or the error. */
static int open_failing(struct counted *c, const struct build *b, unsigned n, bool fail_on,
                        struct vhdx **ret)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io = counted_io(c, b);

    c->fail_pread = n;
    c->fail_on = fail_on;
    *ret = NULL;
    int r = vhdx_open_io(&io, VHDX_OPEN_NO_PARENT, NULL, ret, &err);
    if (r == 0)
        return 0;
    expect_error(r, &err, VHDX_E_SYSTEM, err.file_offset, "(custom file): |reading");
    assert_int_equal(err.sys_errno, EIO);
    assert_true(err.file_offset < b->length);
    assert_null(*ret);
    assert_int_equal(c->closes, 1);
    return r;
}

static void opening_fails_at_every_read(void **state)
{
    struct build b;

    (void)state;
    build_child(&b);
    for (int fail_on = 0; fail_on < 2; fail_on++) {
        unsigned n = 1;
        struct counted c;
        struct vhdx *v;
        while (open_failing(&c, &b, n, fail_on, &v) < 0)
            n++;
        assert_true(c.preads < n); /* none failed */
        assert_true(n > 10);
        vhdx_close(v);
        assert_int_equal(c.closes, 1);
    }
    build_end(&b);
}

/* What is tried on an open image: returns as the library does. */
typedef int action_fn(struct vhdx *v, struct vhdx_error *err);

static int no_stop(const struct vhdx_extent *e, void *opaque)
{
    *(uint64_t *)opaque += e->length;
    return 0;
}

/* What build_child()'s disk holds. */
static uint8_t *expected_child;

static int make_expected(void **state)
{
    const struct build *model[1];
    struct build b;

    (void)state;
    build_child(&b);
    model[0] = &b;
    expected_child = malloc(12 * M);
    build_expect(model, 1, 0, expected_child, 12 * M);
    build_end(&b);
    return 0;
}

static int free_expected(void **state)
{
    (void)state;
    free(expected_child);
    return 0;
}

static int read_all(struct vhdx *v, struct vhdx_error *err)
{
    uint8_t *found = malloc(12 * M);

    int r = vhdx_pread(v, found, 12 * M, 0, err);
    if (r == 0)
        assert_memory_equal(found, expected_child, 12 * M);
    free(found);
    return r;
}

static int walk_all(struct vhdx *v, struct vhdx_error *err)
{
    uint64_t seen = 0;

    int r = vhdx_extents(v, 0, 12 * M, no_stop, &seen, err);
    if (r == 0)
        assert_int_equal(seen, 12 * M);
    return r;
}

static int count_all(struct vhdx *v, struct vhdx_error *err)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;

    int r = vhdx_get_stats(v, &stats, err);
    if (r == 0)
        assert_int_equal(stats.fully_present, 3);
    return r;
}

static int hash_all(struct vhdx *v, struct vhdx_error *err)
{
    char hex[VHDX_HASH_TEXT];
    struct vhdx_error own;

    int r = vhdx_hash(v, NULL, hex, &own);
    if (r == -VHDX_E_UNSUPPORTED) /* built without libcrypto: there is nothing to fail */
        return 0;
    if (r < 0)
        *err = own;
    return r;
}

struct action {
    const char *name;
    action_fn *fn;
};

static const struct action actions[] = {
    { "reading fails at every read", read_all },
    { "a walk over extents fails at every read", walk_all },
    { "counting fails at every read", count_all },
    { "hashing fails at every read", hash_all },
};

static void action_fails_at_every_read(void **state)
{
    const struct action *action = *state;
    unsigned opened;
    struct build b;

    build_child(&b);
    for (int fail_on = 1; fail_on >= 0; fail_on--) {
        for (unsigned n = 1;; n++) {
            struct vhdx_error err = blank_error();
            struct counted c;
            struct vhdx *v;
            assert_int_equal(open_failing(&c, &b, 0, false, &v), 0);
            opened = c.preads;
            c.fail_pread = opened + n;
            c.fail_on = fail_on;
            int r = action->fn(v, &err);
            bool failed = c.preads >= c.fail_pread;
            if (r < 0) {
                expect_error(r, &err, VHDX_E_SYSTEM, err.file_offset, "(custom file): |reading");
                assert_true(failed);
            } else {
                assert_untouched(&err);
                assert_false(failed && fail_on); /* failing once may be made good by a retry */
            }
            c.fail_pread = 0;
            assert_int_equal(action->fn(v, &err), 0); /* nothing wrong was kept */
            assert_false(c.past_end);
            vhdx_close(v);
            assert_int_equal(c.closes, 1);
            if (!failed)
                break;
        }
    }
    build_end(&b);
}

static void parent_is_found_for_a_custom_file(void **state)
{
    const char *path = in_folder(*state, "somewhere.vhdx");
    const struct vhdx_open_options options = { .struct_size = sizeof options, .parents = &path,
                                               .parents_count = 1 };
    const struct build *model[2];
    struct vhdx *v = NULL;
    uint8_t *found = malloc(12 * M), *expected = malloc(12 * M);
    struct build child, parent;
    struct counted c;

    build_child(&child);
    build_begin(&parent, &(struct build_spec){ .size = 12 * M, .guid = PARENT_GUID, .layer = 6 });
    build_block(&parent, 1, FULL);
    build_block(&parent, 7, FULL);
    build_finish(&parent);
    build_write(&parent, path);
    for (unsigned n = 1; !v; n++) { /* the child fails, the parent does not stay open */
        struct vhdx_io io = counted_io(&c, &child);
        c.fail_pread = n;
        if (vhdx_open_io(&io, 0, &options, &v, NULL) < 0)
            assert_int_equal(c.closes, 1);
        assert_true(n < 1000);
    }
    c.fail_pread = 0;
    model[0] = &child;
    model[1] = &parent;
    assert_int_equal(vhdx_pread(v, found, 12 * M, 0, NULL), 0);
    build_expect(model, 2, 0, expected, 12 * M);
    assert_memory_equal(found, expected, 12 * M);
    vhdx_close(v);
    build_end(&child);
    build_end(&parent);
    free(found);
    free(expected);
}

static const struct CMUnitTest folder_tests[] = {
    WITH_FOLDER(parent_is_found_for_a_custom_file),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, folder_tests, sizeof folder_tests);
    s.count = COUNT(folder_tests);
    ADD_TEST(&s, file_needs_only_pread_and_size);
    ADD_TEST(&s, file_is_copied);
    ADD_TEST(&s, nothing_but_reads_is_called);
    ADD_TEST(&s, present_data_is_read_at_once);
    ADD_TEST(&s, zeros_and_holes_are_not_read);
    ADD_TEST(&s, file_is_closed_when_arguments_are_wrong);
    ADD_TEST(&s, struct_too_small_for_its_calls_is_refused);
    ADD_TEST(&s, file_is_closed_when_its_size_is_unknown);
    ADD_TEST(&s, file_is_closed_when_it_is_cut_short);
    ADD_TEST(&s, parent_of_a_custom_file_has_no_folder_to_lie_in);
    ADD_TEST(&s, opening_fails_at_every_read);
    ADD_ROWS(&s, action_fails_at_every_read, actions);
    return run_suite("custom-io", &s, make_expected, free_expected);
}
