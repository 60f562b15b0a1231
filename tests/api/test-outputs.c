/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Conversions to files: what fails, lies or is cancelled leaves nothing; progress; threads. */

#include "model.h"
#include "tempdir.h"

#define SIZE MODEL_SIZE
#define OLD_TEXT "what was there before"
#define CALLS_MAX 100000 /* of a progress callback: far more than there can be */

/* ---- Outputs -------------------------------------------------------------------------------- */

struct output_row {
    const char *name;
    uint32_t format, flags, type;
    bool is_child;
};

static const struct output_row output_rows[] = {
    { "raw", VHDX_FORMAT_RAW, 0, 0, false },
    { "VHD", VHDX_FORMAT_VHD, 0, 0, false },
    { "VHD for Azure", VHDX_FORMAT_VHD, VHDX_CONVERT_AZURE, 0, false },
    { "dynamic VHDX", VHDX_FORMAT_VHDX, 0, VHDX_TYPE_DYNAMIC, false },
    { "fixed VHDX", VHDX_FORMAT_VHDX, 0, VHDX_TYPE_FIXED, false },
    { "child", VHDX_FORMAT_VHDX, 0, 0, true },
};

/* One conversion to "out", with its options. */
struct job {
    struct folder *folder;
    struct vhdx_create_options create;
    struct vhdx_convert_options options;
    const char *out;
    unsigned others; /* files beside the output */
};

static void begin_job(struct job *j, struct folder *f, const struct output_row *row)
{
    struct vhdx_create_options parent = VHDX_CREATE_OPTIONS_INIT;

    *j = (struct job){ .folder = f, .create = VHDX_CREATE_OPTIONS_INIT,
                       .options = VHDX_CONVERT_OPTIONS_INIT, .out = in_folder(f, "out") };
    j->options.format = row->format;
    j->options.flags = row->flags;
    j->options.create = &j->create;
    j->create.type = row->type;
    if (row->format == VHDX_FORMAT_VHDX && !row->is_child)
        j->create.block_size = M;
    if (!row->is_child)
        return;
    parent.size = SIZE;
    parent.block_size = M;
    j->create.parent_path = in_folder(f, "parent");
    assert_int_equal(vhdx_create(j->create.parent_path, &parent, NULL), 0);
    j->others = 1;
}

/* The file as it is, owned by the caller. */
static uint8_t *read_whole(const char *path, size_t *ret_len)
{
    struct stat st;
    FILE *file = fopen(path, "rb");
    uint8_t *buf;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    *ret_len = (size_t)st.st_size;
    buf = malloc(*ret_len);
    assert_int_equal(fread(buf, 1, *ret_len, file), *ret_len);
    fclose(file);
    return buf;
}

static void expect_output(const struct job *j)
{
    uint8_t *buf;
    size_t len;

    if (j->options.format != VHDX_FORMAT_VHDX) {
        buf = read_whole(j->out, &len);
        assert_true(len >= SIZE);
    } else {
        struct vhdx *v;
        buf = malloc(SIZE);
        assert_int_equal(vhdx_open(j->out, 0, NULL, &v, NULL), 0);
        assert_true(vhdx_size(v) == SIZE);
        assert_int_equal(vhdx_pread(v, buf, SIZE, 0, NULL), 0);
        vhdx_close(v);
    }
    model_expect(buf);
    free(buf);
    assert_int_equal(count_names(j->folder->path), j->others + 1);
}

/* Before a conversion that fails: something that must stay, or nothing. */
static void put_old(struct job *j, bool is_there)
{
    remove(j->out);
    j->options.flags &= ~VHDX_CONVERT_REPLACE;
    if (!is_there)
        return;
    write_text(j->out, OLD_TEXT);
    j->options.flags |= VHDX_CONVERT_REPLACE;
}

static void expect_old(const struct job *j)
{
    bool is_there = (j->options.flags & VHDX_CONVERT_REPLACE) != 0;

    assert_int_equal(count_names(j->folder->path), j->others + is_there);
    if (is_there)
        assert_file_holds(j->out, OLD_TEXT, strlen(OLD_TEXT));
}

/* Without libcrypto there are no checksums. */
static const char *checksum_to_be_had(struct vhdx_disk *d)
{
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    int fd = open("/dev/null", O_WRONLY);

    o.checksum = "sha256";
    int r = vhdx_convert_to_stream(d, fd, &o, NULL, NULL);
    close(fd);
    assert_true(r == 0 || r == -VHDX_E_UNSUPPORTED);
    return r == 0 ? o.checksum : NULL;
}

/* ---- A disk that fails ---------------------------------------------------------------------- */

static void unreadable_disk_leaves_no_output(void **state)
{
    static const uint64_t places[] = { 1, 3 * M + 100 * K, 4 * M + 700 * K, SIZE - 1 };
    struct folder *f = *state;

    for (unsigned i = 0; i < 4 * COUNT(places) * COUNT(output_rows); i++) {
        struct model m = { .fails_at = places[i / 4 % COUNT(places)] };
        struct vhdx_disk *d = model_open(&m, i % 2 ? model_extents : NULL);
        struct vhdx_error err = blank_error();
        struct job j;
        begin_job(&j, f, &output_rows[i / 4 / COUNT(places)]);
        put_old(&j, i % 4 == 3);
        j.options.threads = i % 4 < 2 ? 1 : 7;
        int r = vhdx_convert_disk(d, j.out, &j.options, NULL, &err);
        expect_error(r, &err, VHDX_E_SYSTEM, m.failed_at, "the model: |reading");
        assert_int_equal(err.sys_errno, EIO);
        expect_old(&j);
        vhdx_disk_close(d);
        remove(j.out);
        if (j.others)
            remove(j.create.parent_path);
    }
}

struct lie_row {
    const char *name;
    enum model_lie lie;
    int code, sys_errno;
};

static const struct lie_row lie_rows[] = {
    { "extents beyond the end", TOO_LONG, 0, 0 },
    { "extents that do not stop", DEAF, 0, 0 },
    { "extents that begin late", BEGINS_LATE, VHDX_E_INVALID, 0 },
    { "extents with a gap", LEAVES_A_GAP, VHDX_E_INVALID, 0 },
    { "extents out of order", REPEATS, VHDX_E_INVALID, 0 },
    { "an extent of no length", ZERO_LENGTH, VHDX_E_INVALID, 0 },
    { "an extent that wraps around", WRAPS, VHDX_E_INVALID, 0 },
    { "no extents", NO_EXTENTS, VHDX_E_INVALID, 0 },
    { "an extent of no known kind", UNKNOWN_KIND, VHDX_E_INVALID, 0 },
    { "extents fail", ERRNO, VHDX_E_SYSTEM, ENODEV },
    { "extents fail after two", LATE_ERRNO, VHDX_E_SYSTEM, ENODEV },
};

static void expect_lie_told(const struct lie_row *row, int r, const struct vhdx_error *err)
{
    if (row->code == 0) {
        assert_int_equal(r, 0);
        return;
    }
    expect_error(r, err, row->code, err->file_offset, "the model");
    assert_int_equal(err->sys_errno, row->sys_errno);
}

static void lies_are_errors(void **state)
{
    const struct lie_row *row = *state;
    struct model m = { .lie = row->lie };
    struct vhdx_disk *d = model_open(&m, model_extents);
    void *folder = NULL;

    for (unsigned i = 0; i < 2 * COUNT(output_rows); i++) {
        struct vhdx_error err = blank_error();
        struct job j;
        assert_int_equal(make_folder(&folder), 0);
        begin_job(&j, folder, &output_rows[i / 2]);
        j.options.threads = i % 2 ? 1 : 7;
        int r = vhdx_convert_disk(d, j.out, &j.options, NULL, &err);
        expect_lie_told(row, r, &err);
        if (row->code == 0)
            expect_output(&j);
        else
            expect_old(&j);
        remove_folder(&folder);
    }
    vhdx_disk_close(d);
}

static void lies_are_errors_elsewhere(void **state)
{
    const struct lie_row *row = *state;
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_compare_result compared = VHDX_COMPARE_RESULT_INIT;
    struct vhdx_measure_result measured = VHDX_MEASURE_RESULT_INIT;
    struct model lying = { .lie = row->lie }, honest = { 0 };
    struct vhdx_disk *d = model_open(&lying, model_extents);
    struct vhdx_disk *other = model_open(&honest, model_extents);
    struct vhdx_error err = blank_error();
    int fd = open("/dev/null", O_WRONLY);

    expect_lie_told(row, vhdx_compare(d, other, NULL, &compared, &err), &err);
    expect_lie_told(row, vhdx_compare(other, d, NULL, &compared, &err), &err);
    o.format = VHDX_FORMAT_VHDX;
    expect_lie_told(row, vhdx_measure(d, &o, &measured, &err), &err);
    expect_lie_told(row, vhdx_convert_to_stream(d, fd, &o, NULL, &err), &err);
    o.format = VHDX_FORMAT_RAW;
    expect_lie_told(row, vhdx_convert_to_stream(d, fd, &o, NULL, &err), &err);
    vhdx_disk_close(d);
    vhdx_disk_close(other);
    close(fd);
}

/* ---- Progress ------------------------------------------------------------------------------- */

struct meter {
    uint64_t first, last, total;
    unsigned calls, stop_at; /* 0: never */
    bool is_wrong;           /* back, beyond, or another total */
};

static int note_progress(uint64_t done, uint64_t total, void *opaque)
{
    struct meter *m = opaque;

    if (m->calls++ == 0) {
        m->first = done;
        m->total = total;
    }
    m->is_wrong |= done < m->last || done > total || total != m->total;
    m->last = done;
    return m->calls == m->stop_at;
}

/* With and without reading back, a checksum, and threads. */
static void progress_goes_from_nothing_to_all(void **state)
{
    const struct output_row *row = *state;
    struct model m = { .is_slow = true };
    struct vhdx_disk *d = model_open(&m, model_extents);
    const char *checksum = checksum_to_be_had(d);

    for (unsigned i = 0; i < 8; i++) {
        struct meter meter = { 0 };
        struct job j;
        void *folder = NULL;
        assert_int_equal(make_folder(&folder), 0);
        begin_job(&j, folder, row);
        j.options.flags |= i & 1 ? VHDX_CONVERT_VERIFY : 0;
        j.options.checksum = i & 2 ? checksum : NULL;
        j.options.threads = i & 4 ? 3 : 1;
        j.options.progress = (struct vhdx_progress){ note_progress, &meter };
        assert_int_equal(vhdx_convert_disk(d, j.out, &j.options, NULL, NULL), 0);
        expect_output(&j);
        if (meter.is_wrong || meter.first != 0 || meter.last != SIZE || meter.total != SIZE)
            fail_test("case %u: from %" PRIu64 " to %" PRIu64 " of %" PRIu64 ", %s\n", i,
                      meter.first, meter.last, meter.total, meter.is_wrong ? "back" : "on");
        assert_true(meter.calls > (i & 4 ? 1 : 4)); /* one thread reports, in its own time */
        remove_folder(&folder);
    }
    vhdx_disk_close(d);
}

/* At every call of the callback, until it is not asked to any more. */
static void cancelled_leaves_no_output(void **state)
{
    const struct output_row *row = *state;
    struct model m = { 0 };
    struct vhdx_disk *d = model_open(&m, model_extents);
    const char *checksum = checksum_to_be_had(d);
    void *folder = NULL;

    for (unsigned full = 0; full < 2; full++) {
        struct job j;
        unsigned k;
        int r = -1;
        assert_int_equal(make_folder(&folder), 0);
        begin_job(&j, folder, row);
        j.options.flags |= full ? VHDX_CONVERT_VERIFY : 0;
        j.options.checksum = full ? checksum : NULL;
        j.options.threads = 1;
        for (k = 1; r < 0 && k < CALLS_MAX; k++) {
            struct meter meter = { .stop_at = k };
            struct vhdx_error err = blank_error();
            j.options.progress = (struct vhdx_progress){ note_progress, &meter };
            put_old(&j, k % 2);
            r = vhdx_convert_disk(d, j.out, &j.options, NULL, &err);
            if (r == 0)
                break;
            expect_error(r, &err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
            assert_int_equal(meter.calls, k);
            expect_old(&j);
        }
        assert_true(r == 0 && k > 4);
        expect_output(&j);
        remove_folder(&folder);
    }
    vhdx_disk_close(d);
}

/* ---- Threads -------------------------------------------------------------------------------- */

struct region {
    uint64_t offset, length;
};

/* What a VHDX file has from run to run: its BAT, and all behind the regions. */
static void find_constant_parts(const uint8_t *file, size_t len, struct region ret[2])
{
    const uint8_t *table = file + 192 * K;
    uint64_t end = 0;
    uint8_t bat[16];

    put_guid(bat, "2DC27766-F623-4200-9D64-115E9BFD4A08");
    assert_memory_equal(table, "regi", 4);
    ret[0].length = 0;
    for (uint64_t i = 0; i < get_int(table + 8, 4); i++) {
        const uint8_t *entry = table + 16 + 32 * i;
        struct region r = { get_int(entry + 16, 8), get_int(entry + 24, 4) };
        if (memcmp(entry, bat, sizeof bat) == 0)
            ret[0] = r;
        end = r.offset + r.length > end ? r.offset + r.length : end;
    }
    assert_true(ret[0].length > 0 && end < len);
    ret[1] = (struct region){ end, len - end };
}

static void threads_do_not_change_the_output(void **state)
{
    static const uint32_t threads[] = { 1, 2, 7, 64, 64 };
    const struct output_row *row = *state;
    struct model m = { .is_slow = true };

    for (unsigned known = 0; known < 2; known++) {
        struct vhdx_disk *d = model_open(&m, known ? model_extents : NULL);
        struct region parts[2] = { { 0, SIZE }, { 0, 0 } };
        uint8_t *first = NULL;
        size_t first_len = 0, len;
        struct job j;
        void *folder = NULL;
        assert_int_equal(make_folder(&folder), 0);
        begin_job(&j, folder, row);
        for (size_t i = 0; i < COUNT(threads); i++) {
            j.options.threads = threads[i];
            assert_int_equal(vhdx_convert_disk(d, j.out, &j.options, NULL, NULL), 0);
            expect_output(&j);
            uint8_t *found = read_whole(j.out, &len);
            if (!first && row->format == VHDX_FORMAT_VHDX)
                find_constant_parts(found, len, parts);
            if (!first)
                first = memcpy(malloc(len), found, first_len = len);
            assert_int_equal(len, first_len);
            for (unsigned p = 0; p < 2; p++)
                assert_memory_equal(found + parts[p].offset, first + parts[p].offset,
                                    parts[p].length);
            free(found);
            remove(j.out);
        }
        free(first);
        remove_folder(&folder);
        vhdx_disk_close(d);
    }
}

/* ---- Measuring a VHD ------------------------------------------------------------------------ */

static void measuring_knows_the_limits_of_a_vhd(void **state)
{
    static const struct {
        uint64_t size;
        uint32_t flags;
        uint64_t file; /* 0: there is no such VHD */
    } rows[] = {
        { 1, 0, 1024 },
        { M, 0, M + 512 },
        { M + 1, 0, M + 1024 },
        { M + 1, VHDX_CONVERT_AZURE, 2 * M + 512 },
        { 2040 * G, 0, 2040 * G + 512 },
        { 2040 * G, VHDX_CONVERT_AZURE, 2040 * G + 512 },
        { 0, 0, 0 },
        { 2040 * G + 1, 0, 0 },
        { 2040 * G + 1, VHDX_CONVERT_AZURE, 0 },
        { UINT64_MAX, 0, 0 },
    };
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;

    (void)state;
    o.format = VHDX_FORMAT_VHD;
    o.create = &create;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct vhdx_measure_result result = VHDX_MEASURE_RESULT_INIT;
        create.size = rows[i].size;
        o.flags = rows[i].flags;
        int r = vhdx_measure(NULL, &o, &result, NULL);
        assert_int_equal(r, rows[i].file ? 0 : -VHDX_E_INVALID);
        assert_true(result.required == rows[i].file && result.fully_allocated == rows[i].file);
    }
}

/* A partition table counts in them: a copy has those of its image, unless others are asked for. */
static void sector_sizes_are_those_of_the_image(void **state)
{
    static const uint32_t asked[] = { 0, 512 };
    struct vhdx_create_options create = VHDX_CREATE_OPTIONS_INIT;
    const char *from = in_folder(*state, "from"), *to = in_folder(*state, "to");
    struct vhdx *image;
    struct vhdx_disk *d;

    create.size = 3 * M;
    create.logical_sector_size = create.physical_sector_size = 4096;
    assert_int_equal(vhdx_create(from, &create, NULL), 0);
    assert_int_equal(vhdx_open(from, 0, NULL, &image, NULL), 0);
    assert_int_equal(vhdx_disk_of(image, &d, NULL), 0);
    for (size_t i = 0; i < COUNT(asked); i++) {
        struct vhdx_convert_options o = VHDX_CONVERT_OPTIONS_INIT;
        struct vhdx_create_options copied = VHDX_CREATE_OPTIONS_INIT;
        struct vhdx *copy;
        copied.logical_sector_size = asked[i];
        o.format = VHDX_FORMAT_VHDX;
        o.flags = VHDX_CONVERT_REPLACE;
        o.create = &copied;
        assert_int_equal(vhdx_convert_disk(d, to, &o, NULL, NULL), 0);
        assert_int_equal(vhdx_open(to, 0, NULL, &copy, NULL), 0);
        assert_int_equal(vhdx_logical_sector_size(copy), asked[i] ? asked[i] : 4096);
        assert_int_equal(vhdx_physical_sector_size(copy), 4096);
        vhdx_close(copy);
    }
    vhdx_disk_close(d);
    vhdx_close(image);
}

/* Rows of one kind may be of several tests. */
static void add_named(struct suite *s, const char *test, CMUnitTestFunction fn, const void *rows,
                      size_t size, size_t count)
{
    static char names[128][80];
    static size_t used;

    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + i * size, *name;
        memcpy(&name, row, sizeof name);
        assert_true(used < COUNT(names));
        snprintf(names[used], sizeof names[0], "%s: %s", test, name);
        add_test(s, names[used++], fn, row);
    }
}

#define ADD(s, fn, rows) add_named((s), #fn, (fn), (rows), sizeof(rows)[0], COUNT(rows))

int main(void)
{
    static struct suite s;

    s.tests[s.count++] = (struct CMUnitTest)WITH_FOLDER(unreadable_disk_leaves_no_output);
    s.tests[s.count++] = (struct CMUnitTest)WITH_FOLDER(sector_sizes_are_those_of_the_image);
    ADD(&s, lies_are_errors, lie_rows);
    ADD(&s, lies_are_errors_elsewhere, lie_rows);
    ADD(&s, progress_goes_from_nothing_to_all, output_rows);
    ADD(&s, cancelled_leaves_no_output, output_rows);
    ADD(&s, threads_do_not_change_the_output, output_rows);
    ADD_TEST(&s, measuring_knows_the_limits_of_a_vhd);
    return run_suite("outputs", &s, NULL, NULL);
}
