/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Undo files: saved before it changes, restored bit for bit, whatever was interrupted. */

#include "io/undo.h"

#include "undoworld.h"
#include "util/crc32c.h"

#define NAME "disk.vhdx"

static struct vhdx_io must_begin(struct world *w)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    if (undo_begin(&w->image.io, &w->file.io, NAME, &io, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    return io;
}

static void must_apply(struct world *w, bool force)
{
    struct vhdx_error err = blank_error();

    if (undo_apply(&w->file.io, &w->image.io, force, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    assert_false(w->image_is_dirty);
}

static void must_seal(const struct vhdx_io *io)
{
    struct vhdx_error err = blank_error();

    assert_int_equal(undo_seal(io, &err), 0);
    assert_untouched(&err);
}

static void must_write(const struct vhdx_io *io, const char *text, uint64_t offset)
{
    assert_int_equal(io->pwrite(io->opaque, text, strlen(text), offset), 0);
}

static int change_at_random(const struct vhdx_io *io, uint64_t *random)
{
    static uint8_t buf[3 * GRANULE];
    uint64_t size = 0, offset = next_random(random) % IMAGE_MAX;
    uint64_t len = next_random(random) % (1u << next_random(random) % 18);
    uint32_t op = next_random(random) % 16;

    int r = io->size(io->opaque, &size);
    if (r < 0)
        return r;
    if (op < 10) {
        memset(buf, (int)(op + 1), sizeof buf);
        len = len > IMAGE_MAX - offset ? IMAGE_MAX - offset : len;
        return io->pwrite(io->opaque, buf, len, offset);
    }
    if (op < 15) {
        offset = offset > size ? size : offset;
        len = len > size - offset ? size - offset : len;
        return (op < 13 ? io->zero : io->discard)(io->opaque, offset, len);
    }
    return io->truncate(io->opaque, next_random(random) % 2 ? size + len : size - size / 8);
}

/* ---- Restoring ------------------------------------------------------------------------------ */

static void random_changes_are_taken_back(void **state)
{
    uint64_t changes = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *w = world_begin();
        uint64_t random = seed, rounds = 1 + seed % 30;
        w->checks_order = true;
        struct vhdx_io io = must_begin(w);
        for (uint64_t i = 0; i < rounds; i++)
            assert_int_equal(change_at_random(&io, &random), 0);
        changes += w->changes;
        if (seed % 2)
            must_seal(&io);
        io_close(&io);
        w->checks_order = false;
        must_apply(w, false);
        assert_true(world_is_restored(w));
        must_apply(w, false);
        assert_true(world_is_restored(w));
        world_end(w);
    }
    assert_true(changes > 500);
}

/* Changes large enough for several pieces, and zeros that go on from one piece to the next. */
static void whole_image_is_taken_back(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct world *w = world_begin();
        w->checks_order = true;
        struct vhdx_io io = must_begin(w);
        int r = i == 0   ? io.zero(io.opaque, 0, IMAGE_SIZE)
                : i == 1 ? io.discard(io.opaque, 1, IMAGE_SIZE - 2)
                         : io.truncate(io.opaque, 0);
        assert_int_equal(r, 0);
        io_close(&io);
        w->checks_order = false;
        must_apply(w, false);
        assert_true(world_is_restored(w));
        world_end(w);
    }
}

static void nothing_is_saved_twice_or_needlessly(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);

    (void)state;
    assert_int_equal(world_size(&w->file.memory), HEADER);
    must_write(&io, "past the end", IMAGE_SIZE);
    must_write(&io, "", 5);
    assert_int_equal(io.truncate(io.opaque, IMAGE_SIZE), 0);
    uint64_t before = world_size(&w->file.memory);
    assert_int_equal(before, HEADER);
    must_write(&io, "here", 5);
    uint64_t once = world_size(&w->file.memory);
    assert_int_equal(once, before + RECORD + GRANULE);
    must_write(&io, "again", GRANULE - 5);
    io_close(&io);
    io = must_begin(w);
    must_write(&io, "and again", 0);
    assert_int_equal(world_size(&w->file.memory), once);
    assert_int_equal(io.zero(io.opaque, 5 * GRANULE, GRANULE), 0); /* zeros as it is */
    assert_int_equal(world_size(&w->file.memory), once + RECORD);
    io_close(&io);
    world_end(w);
}

static void image_is_read_through_the_wrapper(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);
    char buf[4];

    (void)state;
    must_write(&io, "text", GRANULE - 2);
    assert_int_equal(io.pread(io.opaque, buf, 4, GRANULE - 2), 0);
    assert_memory_equal(buf, "text", 4);
    assert_int_equal(world_size(&io), IMAGE_SIZE);
    assert_int_equal(io.flush(io.opaque), 0);
    io_close(&io);
    world_end(w);
}

static void info_tells_what_the_file_is(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);
    struct undo_info info;

    (void)state;
    must_write(&io, "x", 0);
    assert_int_equal(undo_read_header(&w->file.io, &info, NULL), 0);
    assert_string_equal(info.image_name, NAME);
    assert_int_equal(info.image_size, IMAGE_SIZE);
    assert_int_equal(info.saved_bytes, GRANULE);
    assert_false(info.is_sealed || info.is_undoing);
    must_seal(&io);
    assert_int_equal(undo_read_header(&w->file.io, &info, NULL), 0);
    assert_true(info.is_sealed && !info.is_undoing);
    io_close(&io);
    must_apply(w, false);
    assert_int_equal(undo_read_header(&w->file.io, &info, NULL), 0);
    assert_true(info.is_sealed && info.is_undoing);
    world_end(w);
}

/* ---- Interrupted ---------------------------------------------------------------------------- */

/* A repair, up to its first failure, or in spite of it. */
static int repair(struct world *w, bool goes_on)
{
    struct vhdx_io io;
    uint64_t random = 5;

    int r = undo_begin(&w->image.io, &w->file.io, NAME, &io, NULL);
    if (r < 0)
        return r;
    for (int i = 0; i < 12 && (r == 0 || goes_on); i++) {
        int code = change_at_random(&io, &random);
        r = r < 0 ? r : code;
    }
    if (r == 0 || goes_on)
        r = undo_seal(&io, NULL);
    io_close(&io);
    return r;
}

/* After a failure: either undone at once, or repaired to the end and then undone. */
static void verify_can_be_undone(struct world *w, bool continues)
{
    struct undo_info info;

    world_revive(w);
    bool is_there = undo_read_header(&w->file.io, &info, NULL) == 0;
    if (!is_there && !continues) {
        assert_true(world_is_restored(w));
        return;
    }
    if (continues && !(is_there && info.is_sealed))
        assert_int_equal(repair(w, false), 0);
    w->checks_order = false;
    must_apply(w, false);
    assert_true(world_is_restored(w));
}

/* variant: 1 loss of power, 2 repaired to the end, 4 only one call fails, and the repair goes on */
static uint64_t interrupt_repair(unsigned variant)
{
    for (uint64_t n = 1;; n++) {
        struct world *w = world_begin();
        w->checks_order = true;
        w->fail_at = n;
        w->stays_dead = !(variant & 4);
        int r = repair(w, variant & 4);
        bool complete = w->calls < n;
        if (complete)
            assert_int_equal(r, 0);
        if (variant & 1 && !complete)
            world_tear(w);
        verify_can_be_undone(w, variant & 2);
        world_end(w);
        if (complete)
            return n;
    }
}

static void repair_may_be_interrupted_at_every_call(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++)
        assert_true(interrupt_repair(variant) > 50);
}

static void undoing_may_be_interrupted_at_every_call(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 4; variant++)
        for (uint64_t n = 1;; n++) {
            struct world *w = world_begin();
            assert_int_equal(repair(w, false), 0);
            w->fail_at = n + w->calls;
            w->stays_dead = variant & 1;
            int r = undo_apply(&w->file.io, &w->image.io, false, NULL);
            bool complete = w->calls < w->fail_at;
            assert_int_equal(r == 0, complete);
            world_revive(w);
            if (variant & 2)
                world_tear(w);
            must_apply(w, false);
            assert_true(world_is_restored(w));
            world_end(w);
            if (complete)
                break;
        }
}

/* The undo file shortened to every length behind its last flush, and the image as it was then. */
static void torn_last_record_is_cut_off(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);
    static uint8_t whole[FILE_MAX];

    (void)state;
    must_write(&io, "one", 0);
    uint64_t one = world_size(&w->file.memory);
    must_write(&io, "two", GRANULE);
    uint64_t two = world_size(&w->file.memory);
    io_close(&io);
    assert_int_equal(w->file.memory.pread(w->file.memory.opaque, whole, two, 0), 0);
    for (uint64_t len = one; len < two; len += len < one + 100 || len > two - 100 ? 1 : 997) {
        world_set_file(w, whole, len);
        w->image.memory.pwrite(w->image.memory.opaque, w->original + GRANULE, 3, GRANULE);
        if (len % 3) {
            io = must_begin(w);
            assert_int_equal(world_size(&w->file.memory), one);
            must_write(&io, "three", GRANULE);
            io_close(&io);
        }
        must_apply(w, false);
        assert_true(world_is_restored(w));
        assert_int_equal(w->image.memory.pwrite(w->image.memory.opaque, "one", 3, 0), 0);
    }
    world_end(w);
}

/* A wrong byte in front of a later batch is not what a crash leaves. */
static void damage_is_not_taken_for_a_torn_record(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);
    const struct vhdx_io *m = &w->file.memory;

    (void)state;
    must_write(&io, "one", 0);
    must_write(&io, "two", GRANULE);
    io_close(&io);
    static const uint64_t places[] = { HEADER, HEADER + 9, HEADER + 55, HEADER + RECORD + 9 };
    for (size_t i = 0; i < COUNT(places); i++) {
        struct vhdx_error err = blank_error();
        uint8_t byte;
        assert_int_equal(m->pread(m->opaque, &byte, 1, places[i]), 0);
        byte ^= 0x10;
        assert_int_equal(m->pwrite(m->opaque, &byte, 1, places[i]), 0);
        int r = undo_apply(&w->file.io, &w->image.io, true, &err);
        expect_error(r, &err, VHDX_E_CHECKSUM, i == 3 ? HEADER + RECORD : HEADER,
                     "undo file: record: checksum|must be");
        byte ^= 0x10;
        assert_int_equal(m->pwrite(m->opaque, &byte, 1, places[i]), 0);
    }
    must_apply(w, false);
    assert_true(world_is_restored(w));
    world_end(w);
}

static void failed_save_leaves_the_image_alone(void **state)
{
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);

    (void)state;
    for (uint64_t n = 1; n <= 3; n++) { /* reading the granule, the record, its data */
        w->fail_at = n;
        w->calls = 0;
        assert_int_equal(io.pwrite(io.opaque, "x", 1, 0), -EIO);
        assert_true(world_is_restored(w));
        assert_int_equal(world_size(&w->file.memory), HEADER);
    }
    world_revive(w);
    must_write(&io, "x", 0); /* it was no more than that call */
    w->fail_at = 4;          /* the flush: what is stable now? */
    w->calls = 0;
    assert_int_equal(io.pwrite(io.opaque, "x", 1, GRANULE), -EIO);
    world_revive(w);
    assert_int_equal(io.pwrite(io.opaque, "x", 1, 0), -EIO);
    assert_true(undo_seal(&io, NULL) < 0);
    io_close(&io);
    io = must_begin(w);
    must_write(&io, "x", GRANULE);
    io_close(&io);
    must_apply(w, false);
    assert_true(world_is_restored(w));
    world_end(w);
}

/* ---- Refused -------------------------------------------------------------------------------- */

static void changed_image_is_not_restored_unless_forced(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vhdx_error err = blank_error();
        struct world *w = world_begin();
        struct vhdx_io io = must_begin(w);
        must_write(&io, "x", 9);
        must_seal(&io);
        io_close(&io);
        if (i == 0)
            must_write(&w->image.io, "y", 9);
        else
            must_write(&w->image.io, "y", IMAGE_SIZE);
        int r = undo_apply(&w->file.io, &w->image.io, false, &err);
        if (i == 0)
            expect_error(r, &err, VHDX_E_INVALID, 0,
                         "undo: checksum of the image's first 1048576 bytes is|must be|changed");
        else
            expect_error(r, &err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                         "undo: image size is 1311498|must be 1311497|changed after");
        assert_false(world_is_restored(w));
        must_apply(w, true);
        assert_true(world_is_restored(w));
        world_end(w);
    }
}

/* A header that readers take. [MS-VHDX] 2.2.2 */
static void write_header(const struct vhdx_io *io, int number, uint8_t seed, bool is_whole)
{
    uint8_t d[4 * K] = "head";

    d[8] = seed;
    put_int(d + 4, crc32c(0, d, sizeof d), 4);
    d[100] = !is_whole;
    assert_int_equal(io->pwrite(io->opaque, d, sizeof d, 64 * K * (uint64_t)(number + 1)), 0);
}

/* A repair is interrupted; whoever then changes the image writes a header first. */
static void changes_of_others_are_not_taken_back(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct vhdx_error err = blank_error();
        struct world *w = world_begin();
        bool is_changed = i == 2 || i == 3;
        write_header(&w->image.io, 0, 1, true);
        assert_int_equal(w->image.io.pread(w->image.io.opaque, w->original, IMAGE_SIZE, 0), 0);
        struct vhdx_io io = must_begin(w);
        must_write(&io, "x", 5 * GRANULE);
        if (i > 0)
            write_header(&io, 1, 2, true);
        if (i > 1)
            write_header(&io, 0, 3, true);
        io_close(&io);
        if (i == 2 || i == 4) /* of which the last one is torn */
            write_header(&w->image.io, 1, 4, i == 2);
        if (i == 3)
            write_header(&w->image.io, 0, 4, true);
        int r = undo_begin(&w->image.io, &w->file.io, NAME, &io, &err);
        if (is_changed)
            expect_error(r, &err, VHDX_E_INVALID, i == 2 ? 128 * K : 64 * K,
                         i == 2 ? "undo: header 2 is not the repair's|changed after the repair"
                                : "undo: header 1 is not the repair's|changed after the repair");
        assert_int_equal(r < 0, is_changed);
        if (r == 0)
            io_close(&io);
        if (is_changed) {
            r = undo_apply(&w->file.io, &w->image.io, false, &err);
            expect_error(r, &err, VHDX_E_INVALID, i == 2 ? 128 * K : 64 * K, "undo: header");
            assert_false(world_is_restored(w));
        }
        must_apply(w, is_changed);
        assert_true(world_is_restored(w));
        world_end(w);
    }
}

static void sealed_file_ends_the_changes(void **state)
{
    struct vhdx_error err = blank_error();
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w);

    (void)state;
    must_seal(&io);
    assert_int_equal(io.pwrite(io.opaque, "x", 1, 0), -EROFS);
    assert_int_equal(io.truncate(io.opaque, 0), -EROFS);
    io_close(&io);
    int r = undo_begin(&w->image.io, &w->file.io, NAME, &io, &err);
    expect_error(r, &err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "undo file: is sealed, must be");
    must_apply(w, false);
    r = undo_begin(&w->image.io, &w->file.io, NAME, &io, &err);
    expect_error(r, &err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "undo file: is being applied");
    world_end(w);
}

static void begin_refuses_what_it_cannot_use(void **state)
{
    struct vhdx_error err = blank_error();
    struct world *w = world_begin();
    struct vhdx_io io = must_begin(w), read_only = w->image.io;
    static char name[UNDO_NAME_SIZE + 1];

    (void)state;
    io_close(&io);
    int r = undo_begin(&w->image.io, &w->file.io, "other.vhdx", &io, &err);
    expect_error(r, &err, VHDX_E_INVALID, 48,
                 "undo file: image name is \"disk.vhdx\", must be \"other.vhdx\"");
    memset(name, 'n', UNDO_NAME_SIZE);
    r = undo_begin(&w->image.io, &w->file.io, name, &io, &err);
    expect_error(r, &err, VHDX_E_INVALID, VHDX_OFFSET_NONE, "name has 4096 bytes|at most 4095");
    read_only.pwrite = NULL;
    r = undo_begin(&read_only, &w->file.io, NAME, &io, &err);
    expect_error(r, &err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE, "undo: the image is read-only");
    r = undo_apply(&read_only, &w->image.io, false, &err);
    expect_error(r, &err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE, "the undo file is read-only");
    world_set_file(w, "somebody's text", 15);
    r = undo_begin(&w->image.io, &w->file.io, NAME, &io, &err);
    expect_error(r, &err, VHDX_E_INVALID, 0, "undo file: header: signature|not an undo file");
    w->fail_at = w->calls + 1;
    r = undo_apply(&w->file.io, &w->image.io, false, &err);
    expect_error(r, &err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "undo file: reading the file's size");
    world_end(w);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, random_changes_are_taken_back);
    ADD_TEST(&s, whole_image_is_taken_back);
    ADD_TEST(&s, nothing_is_saved_twice_or_needlessly);
    ADD_TEST(&s, image_is_read_through_the_wrapper);
    ADD_TEST(&s, info_tells_what_the_file_is);
    ADD_TEST(&s, repair_may_be_interrupted_at_every_call);
    ADD_TEST(&s, undoing_may_be_interrupted_at_every_call);
    ADD_TEST(&s, torn_last_record_is_cut_off);
    ADD_TEST(&s, damage_is_not_taken_for_a_torn_record);
    ADD_TEST(&s, failed_save_leaves_the_image_alone);
    ADD_TEST(&s, changed_image_is_not_restored_unless_forced);
    ADD_TEST(&s, changes_of_others_are_not_taken_back);
    ADD_TEST(&s, sealed_file_ends_the_changes);
    ADD_TEST(&s, begin_refuses_what_it_cannot_use);
    return run_suite("undo", &s, NULL, NULL);
}
