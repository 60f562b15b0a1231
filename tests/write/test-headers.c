/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What a session leaves in the headers and when: FileWriteGuid, DataWriteGuid, LogGuid and the
 * sequence number, as [MS-VHDX] 2.2.2 asks for; and who may change an image at all.
 */
#include "expect.h"
#include "tempdir.h"

#define NO_GUID "00000000-0000-0000-0000-000000000000"
#define HEADER_1 (64 * K)
#define HEADER_2 (128 * K)
#define HEADER_SIZE 4096
#define SEQUENCE 8 /* where in a header */

/* Everything but open() and close() that a test does to an image. */
struct state {
    char file_write[VHDX_GUID_TEXT], data_write[VHDX_GUID_TEXT], log[VHDX_GUID_TEXT];
    uint32_t log_state;
    uint64_t sequence;
};

static void create(const char *path, const char *parent)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_error err = blank_error();

    o.size = parent ? 0 : 8 * M;
    o.block_size = M;
    o.parent_path = parent;
    if (vhdx_create(path, &o, &err) < 0)
        fail_test("%s\n", err.message);
}

static struct vhdx *open_image(const char *path, uint32_t flags)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    if (vhdx_open(path, flags, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    return v;
}

static struct state state_of(struct vhdx *v)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct state s = { .log_state = 0 };

    assert_int_equal(vhdx_get_info(v, &info, NULL), 0);
    memcpy(s.file_write, info.file_write_guid, sizeof s.file_write);
    memcpy(s.data_write, info.data_write_guid, sizeof s.data_write);
    memcpy(s.log, info.log_guid, sizeof s.log);
    s.log_state = info.log_state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(info.headers[i].valid, 1);
        if (info.headers[i].in_use)
            s.sequence = info.headers[i].sequence_number;
    }
    return s;
}

/* As it is on disk, seen by another reader. */
static struct state state_on_disk(const char *path)
{
    struct vhdx *v = open_image(path, VHDX_OPEN_RDONLY | VHDX_OPEN_NO_LOCK);
    struct state s = state_of(v);

    vhdx_close(v);
    return s;
}

static void change_byte(struct vhdx *v, uint64_t at)
{
    struct vhdx_error err = blank_error();

    if (vhdx_pwrite(v, "x", 1, at, 0, &err) < 0)
        fail_test("%s\n", err.message);
}

static char *slurp(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    struct stat st;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    char *data = malloc((size_t)st.st_size + 1);
    *ret_len = (size_t)st.st_size;
    assert_int_equal(fread(data, 1, *ret_len, file), *ret_len);
    fclose(file);
    return data;
}

/* An image with a block and nothing to replay. */
static const char *finished_image(struct folder *f)
{
    const char *path = in_folder(f, "disk.vhdx");

    create(path, NULL);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
    change_byte(v, 5);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    return path;
}

/* The same, but its log is to be replayed. */
static const char *dirty_image(struct folder *f)
{
    const char *path = finished_image(f);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);

    change_byte(v, 3 * M);
    assert_int_equal(vhdx_flush(v, NULL), 0);
    vhdx_close(v);
    return path;
}

/* ---- GUIDs ---------------------------------------------------------------------------------- */

static void session_without_a_change_leaves_the_file_as_it_is(void **state)
{
    const char *path = finished_image(*state);
    size_t len;
    char buf[512], *before = slurp(path, &len);

    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
    assert_int_equal(vhdx_pread(v, buf, sizeof buf, 0, NULL), 0);
    assert_int_equal(vhdx_flush(v, NULL), 0);
    vhdx_close(v);
    assert_file_holds(path, before, len);

    v = open_image(path, VHDX_OPEN_RDWR);
    assert_int_equal(vhdx_flush(v, NULL), 0);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    assert_file_holds(path, before, len);
    free(before);
}

static void first_change_of_each_session_changes_both_guids(void **state)
{
    const char *path = finished_image(*state);
    struct state before = state_on_disk(path);

    for (int session = 0; session < 2; session++) {
        struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
        change_byte(v, 7);
        struct state after = state_on_disk(path);
        assert_string_not_equal(before.file_write, after.file_write);
        assert_string_not_equal(before.data_write, after.data_write);
        assert_true(after.sequence > before.sequence);

        /* What follows in the session changes neither. */
        change_byte(v, (uint64_t)(5 + session) * M);
        assert_int_equal(vhdx_zero(v, 3000, M, VHDX_FUA, NULL), 0);
        assert_int_equal(vhdx_trim(v, M, 0, 0, NULL), 0);
        assert_int_equal(vhdx_flush(v, NULL), 0);
        assert_int_equal(vhdx_finish(v, NULL), 0);
        vhdx_close(v);
        struct state end = state_on_disk(path);
        assert_string_equal(end.file_write, after.file_write);
        assert_string_equal(end.data_write, after.data_write);
        before = end;
    }
}

static void handle_shows_the_guids_that_are_on_disk(void **state)
{
    const char *path = finished_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);

    change_byte(v, 7 * M);
    assert_int_equal(vhdx_flush(v, NULL), 0);
    struct state ours = state_of(v), disk = state_on_disk(path);
    assert_string_equal(ours.file_write, disk.file_write);
    assert_string_equal(ours.data_write, disk.data_write);
    assert_string_equal(ours.log, disk.log);
    assert_int_equal(ours.sequence, disk.sequence);
    vhdx_close(v);
}

static void finish_sets_the_log_guid_to_zero(void **state)
{
    const char *path = finished_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);

    for (uint64_t i = 0; i < 2; i++) { /* the handle stays usable */
        change_byte(v, (4 + i) * M);
        assert_int_equal(vhdx_flush(v, NULL), 0);
        struct state dirty = state_on_disk(path);
        assert_string_not_equal(dirty.log, NO_GUID);
        assert_int_equal(dirty.log_state, VHDX_LOG_DIRTY);
        assert_int_equal(vhdx_finish(v, NULL), 0);
        struct state clean = state_on_disk(path);
        assert_string_equal(clean.log, NO_GUID);
        assert_int_equal(clean.log_state, VHDX_LOG_CLEAN);
    }
    vhdx_close(v);
}

static void both_headers_are_alike_but_for_the_sequence_number(void **state)
{
    const char *path = dirty_image(*state);
    size_t len;
    char *data = slurp(path, &len);
    uint8_t *one = (uint8_t *)data + HEADER_1, *two = (uint8_t *)data + HEADER_2;
    uint64_t a = get_int(one + SEQUENCE, 8), b = get_int(two + SEQUENCE, 8);

    assert_true(a == b + 1 || b == a + 1);
    assert_memory_equal(one + 16, two + 16, HEADER_SIZE - 16);
    free(data);
}

static void replay_changes_the_file_write_guid_alone(void **state)
{
    const char *path = dirty_image(*state);
    struct state before = state_on_disk(path);

    assert_int_equal(before.log_state, VHDX_LOG_DIRTY);
    vhdx_close(open_image(path, VHDX_OPEN_RDWR));
    struct state after = state_on_disk(path);
    assert_string_not_equal(before.file_write, after.file_write);
    assert_string_equal(before.data_write, after.data_write);
    assert_string_equal(after.log, NO_GUID);
    assert_int_equal(after.log_state, VHDX_LOG_CLEAN);
}

static void reader_leaves_a_dirty_log_as_it_is(void **state)
{
    const char *path = dirty_image(*state);
    size_t len;
    char c, *before = slurp(path, &len);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDONLY);

    assert_int_equal(vhdx_pread(v, &c, 1, 3 * M, NULL), 0);
    assert_int_equal(c, 'x');
    vhdx_close(v);
    assert_file_holds(path, before, len);
    free(before);
}

/* ---- Slack ---------------------------------------------------------------------------------- */

static uint64_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* The file is as large as its structures: blocks 0, 3 and 5, without a gap or anything behind. */
static void assert_no_slack(const char *path, uint64_t blocks)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx *v = open_image(path, VHDX_OPEN_RDONLY);

    assert_int_equal(vhdx_get_info(v, &info, NULL), 0);
    uint64_t log_end = info.log_offset + info.log_length, end = info.bat_offset + info.bat_length;
    end = end > log_end ? end : log_end;
    if (info.metadata_offset + info.metadata_length > end)
        end = info.metadata_offset + info.metadata_length;
    vhdx_close(v);
    assert_int_equal(size_of(path), end + blocks * M);
}

static void finish_cuts_what_a_crash_left(void **state)
{
    const char *path = dirty_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);

    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    assert_no_slack(path, 2);
}

static void finish_cuts_after_changes_in_place(void **state)
{
    const char *path = dirty_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);

    change_byte(v, 1);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    assert_no_slack(path, 2);
}

static void finish_cuts_what_an_earlier_session_left(void **state)
{
    const char *path = dirty_image(*state);

    vhdx_close(open_image(path, VHDX_OPEN_RDWR)); /* replays */
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
    change_byte(v, 5 * M);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    assert_no_slack(path, 3);
}

/* ---- Sequence numbers ----------------------------------------------------------------------- */

static void set_sequence(const char *path, uint64_t at, uint64_t sequence)
{
    size_t len;
    char *data = slurp(path, &len);
    uint8_t *h = (uint8_t *)data + at;

    put64(h + SEQUENCE, sequence);
    put32(h + 4, 0);
    put32(h + 4, vhdx_crc32c(0, h, HEADER_SIZE));
    write_file(path, data, len);
    free(data);
}

static void sequence_number_that_cannot_grow_is_refused(void **state)
{
    static const uint64_t last[] = { UINT64_MAX, UINT64_MAX - 1 };

    for (size_t i = 0; i < COUNT(last); i++) {
        const char *path = finished_image(*state);
        struct vhdx_error err = blank_error();
        size_t len;
        char buf[16];
        set_sequence(path, HEADER_1, last[i]);
        char *before = slurp(path, &len);

        struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
        int r = vhdx_pwrite(v, "y", 1, 0, 0, &err);
        expect_error(r, &err, VHDX_E_LIMIT, HEADER_1 + SEQUENCE, "header 1|sequence number");
        assert_int_equal(vhdx_pread(v, buf, sizeof buf, 0, NULL), 0);
        vhdx_close(v);
        assert_file_holds(path, before, len);
        free(before);
        assert_int_equal(unlink(path), 0);
    }
}

/* A session takes several header updates: it must not begin what it cannot end. */
static void sequence_number_near_its_end_never_breaks_a_session(void **state)
{
    for (uint64_t left = 2; left < 14; left++) {
        const char *path = finished_image(*state);
        set_sequence(path, HEADER_1, UINT64_MAX - left);
        struct vhdx *v = open_image(path, VHDX_OPEN_RDWR);
        char c = 0;

        int r = vhdx_pwrite(v, "y", 1, 2 * M, VHDX_FUA, NULL);
        int ended = vhdx_finish(v, NULL);
        vhdx_close(v);
        v = open_image(path, VHDX_OPEN_RDONLY);
        assert_int_equal(vhdx_pread(v, &c, 1, 2 * M, NULL), 0);
        vhdx_close(v);
        if (r == 0 && c != 'y')
            fail_test("%" PRIu64 " numbers left: what was written is gone\n", left);
        if (r == 0 && ended < 0)
            fail_test("%" PRIu64 " numbers left: the session did not end\n", left);
        assert_int_equal(unlink(path), 0);
    }
}

/* ---- Who may change an image ---------------------------------------------------------------- */

static void read_only_handle_refuses_every_change(void **state)
{
    const char *path = finished_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDONLY);
    struct vhdx_error err = blank_error();
    size_t len;
    char *before = slurp(path, &len);

    expect_error(vhdx_pwrite(v, "y", 1, 0, 0, &err), &err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE,
                 "disk.vhdx: |read-only");
    expect_error(vhdx_zero(v, 1, 0, 0, &err), &err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE,
                 "disk.vhdx: |read-only");
    expect_error(vhdx_trim(v, 1, 0, 0, &err), &err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE,
                 "disk.vhdx: |read-only");
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    assert_file_holds(path, before, len);
    free(before);
}

static void writer_excludes_others(void **state)
{
    const char *path = finished_image(*state);
    struct vhdx *v = open_image(path, VHDX_OPEN_RDWR), *other = NULL;
    struct vhdx_error err = blank_error();

    expect_error(vhdx_open(path, VHDX_OPEN_RDWR, NULL, &other, &err), &err, VHDX_E_LOCKED,
                 VHDX_OFFSET_NONE, "disk.vhdx: ");
    expect_error(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &other, &err), &err, VHDX_E_LOCKED,
                 VHDX_OFFSET_NONE, "disk.vhdx: ");
    assert_null(other);
    vhdx_close(v);
    vhdx_close(open_image(path, VHDX_OPEN_RDWR));
}

static void readers_share_and_exclude_a_writer(void **state)
{
    const char *path = finished_image(*state);
    struct vhdx *one = open_image(path, VHDX_OPEN_RDONLY), *v = NULL;
    struct vhdx *two = open_image(path, VHDX_OPEN_RDONLY);
    struct vhdx_error err = blank_error();

    expect_error(vhdx_open(path, VHDX_OPEN_RDWR, NULL, &v, &err), &err, VHDX_E_LOCKED,
                 VHDX_OFFSET_NONE, "disk.vhdx: ");
    vhdx_close(one);
    vhdx_close(two);
    vhdx_close(open_image(path, VHDX_OPEN_RDWR));
}

static void expect_not_writable(const char *path, uint32_t flags)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    expect_error(vhdx_open(path, VHDX_OPEN_RDWR | flags, NULL, &v, &err), &err, VHDX_E_INVALID,
                 VHDX_OFFSET_NONE, "parent");
    assert_null(v);
}

static void child_is_not_changed_without_its_parent(void **state)
{
    const char *parent = finished_image(*state), *path = in_folder(*state, "child.vhdx");
    const char *away = in_folder(*state, "away");

    create(path, parent);
    expect_not_writable(path, VHDX_OPEN_NO_PARENT);
    assert_int_equal(rename(parent, away), 0);
    expect_not_writable(path, VHDX_OPEN_PARTIAL_CHAIN);
    assert_int_equal(rename(away, parent), 0);
    vhdx_close(open_image(path, VHDX_OPEN_RDWR | VHDX_OPEN_PARTIAL_CHAIN)); /* it is there */
    vhdx_close(open_image(parent, VHDX_OPEN_RDWR | VHDX_OPEN_NO_PARENT)); /* has none */
}

static void child_notices_that_its_parent_was_changed(void **state)
{
    const char *parent = finished_image(*state), *path = in_folder(*state, "child.vhdx");
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    create(path, parent);
    vhdx_close(open_image(path, VHDX_OPEN_RDWR));
    v = open_image(parent, VHDX_OPEN_RDWR);
    change_byte(v, 0);
    assert_int_equal(vhdx_finish(v, NULL), 0);
    vhdx_close(v);
    v = NULL;
    expect_error(vhdx_open(path, VHDX_OPEN_RDONLY, NULL, &v, &err), &err,
                 VHDX_E_PARENT_MISMATCH, VHDX_OFFSET_NONE, "data write GUID");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(session_without_a_change_leaves_the_file_as_it_is),
        WITH_FOLDER(first_change_of_each_session_changes_both_guids),
        WITH_FOLDER(handle_shows_the_guids_that_are_on_disk),
        WITH_FOLDER(finish_sets_the_log_guid_to_zero),
        WITH_FOLDER(both_headers_are_alike_but_for_the_sequence_number),
        WITH_FOLDER(replay_changes_the_file_write_guid_alone),
        WITH_FOLDER(reader_leaves_a_dirty_log_as_it_is),
        WITH_FOLDER(finish_cuts_what_a_crash_left),
        WITH_FOLDER(finish_cuts_after_changes_in_place),
        WITH_FOLDER(finish_cuts_what_an_earlier_session_left),
        WITH_FOLDER(sequence_number_that_cannot_grow_is_refused),
        WITH_FOLDER(sequence_number_near_its_end_never_breaks_a_session),
        WITH_FOLDER(read_only_handle_refuses_every_change),
        WITH_FOLDER(writer_excludes_others),
        WITH_FOLDER(readers_share_and_exclude_a_writer),
        WITH_FOLDER(child_is_not_changed_without_its_parent),
        WITH_FOLDER(child_notices_that_its_parent_was_changed),
    };

    return cmocka_run_group_tests_name("headers", tests, NULL, NULL);
}
