/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Filling struct vhdx_error: one clean line of UTF-8, whatever a file puts into it. */

#include "util/fail.h"

#include <errno.h>
#include <stdio.h>

#include "expect.h"

#define SIZE sizeof(((struct vhdx_error *)0)->message)

static void fail_fills_every_field(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    int r = fail(&err, VHDX_E_CORRUPT, 196608, "region table %d: %s", 1, "text");
    assert_int_equal(r, -VHDX_E_CORRUPT);
    assert_int_equal(err.code, VHDX_E_CORRUPT);
    assert_int_equal(err.sys_errno, 0);
    assert_true(err.file_offset == 196608);
    assert_string_equal(err.message, "region table 1: text");
}

static void fail_without_a_place_to_write(void **state)
{
    (void)state;
    assert_int_equal(fail(NULL, VHDX_E_RANGE, 0, "x"), -VHDX_E_RANGE);
    assert_int_equal(fail_errno(NULL, EIO, 0, "x"), -VHDX_E_SYSTEM);
    assert_int_equal(fail_nomem(NULL), -VHDX_E_NOMEM);
    fail_prefix(NULL, "x");
}

static void nomem_concerns_no_place_in_a_file(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    expect_error(fail_nomem(&err), &err, VHDX_E_NOMEM, VHDX_OFFSET_NONE, "memory");
}

struct errno_row {
    const char *name;
    int errnum;
    int code;
};

static const struct errno_row errno_rows[] = {
    { "errno: EIO is a system error", EIO, VHDX_E_SYSTEM },
    { "errno: ENOENT is a system error", ENOENT, VHDX_E_SYSTEM },
    { "errno: EACCES is a system error", EACCES, VHDX_E_SYSTEM },
    { "errno: ENOMEM is no memory", ENOMEM, VHDX_E_NOMEM },
    { "errno: ENOSPC is no space", ENOSPC, VHDX_E_NOSPACE },
    { "errno: EDQUOT is no space", EDQUOT, VHDX_E_NOSPACE },
    { "errno: an unknown number is a system error", 12345, VHDX_E_SYSTEM },
};

static void errno_row(void **state)
{
    const struct errno_row *row = *state;
    struct vhdx_error err = blank_error();

    int r = fail_errno(&err, row->errnum, 77, "reading %d bytes", 5);
    expect_error(r, &err, row->code, 77, "reading 5 bytes: ");
    assert_int_equal(err.sys_errno, row->errnum);
    assert_true(strlen(err.message) > strlen("reading 5 bytes: "));
}

static void errno_of_a_long_text_stays_inside(void **state)
{
    struct vhdx_error err = blank_error();
    char path[2 * SIZE];

    (void)state;
    for (size_t len = SIZE - 40; len < SIZE + 40; len++) {
        memset(path, 'p', len);
        path[len] = '\0';
        expect_error(fail_errno(&err, ENOENT, 1, "%s", path), &err, VHDX_E_SYSTEM, 1, "pppp");
        assert_true(strlen(err.message) < SIZE);
    }
}

static void control_characters_become_question_marks(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    for (int c = 1; c < 0x20; c++) {
        fail(&err, VHDX_E_CORRUPT, 0, "a%cb", c);
        assert_string_equal(err.message, "a?b");
    }
    fail(&err, VHDX_E_CORRUPT, 0, "a\x7f" "b\r\n\x1b[2Jc");
    assert_string_equal(err.message, "a?b???[2Jc");
}

/* U+0080 .. U+009F: U+009B begins a terminal's escape sequence, U+0085 a new line. */
static void upper_control_characters_do_not_pass(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    for (int c = 0x80; c < 0xa0; c++) {
        fail(&err, VHDX_E_CORRUPT, 0, "a\xc2%cb", c);
        assert_true(is_clean_line(err.message, SIZE));
        assert_true(has_words(err.message, "a|b"));
    }
    fail(&err, VHDX_E_CORRUPT, 0, "\xc2\xa0\xc3\x9b"); /* no control characters */
    assert_string_equal(err.message, "\xc2\xa0\xc3\x9b");
}

/* A path is bytes; the message is UTF-8. */
static void bytes_that_are_no_utf8_do_not_pass(void **state)
{
    static const char *const texts[] = { "\xff", "\x80", "\xc3", "a\xe2\x82" "b", "\xc0\xaf",
                                         "\xed\xa0\x80", "\xf4\x90\x80\x80", "gr\xfc\xdf" "e" };
    struct vhdx_error err = blank_error();

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        fail(&err, VHDX_E_SYSTEM, 0, "%s: opening", texts[i]);
        assert_true(is_clean_line(err.message, SIZE));
        assert_true(has_words(err.message, ": opening"));
        fail(&err, VHDX_E_SYSTEM, 0, "opening");
        fail_prefix(&err, "%s: ", texts[i]);
        assert_true(is_clean_line(err.message, SIZE));
        assert_true(has_words(err.message, ": opening"));
    }
}

static void utf8_passes_unchanged(void **state)
{
    const char *text = "gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbd";
    struct vhdx_error err = blank_error();

    (void)state;
    fail(&err, VHDX_E_CORRUPT, 0, "%s", text);
    assert_string_equal(err.message, text);
}

/* n characters of the given bytes behind pad bytes of 'x'. */
static void fill_text(char *text, size_t pad, const char *character, size_t n)
{
    memset(text, 'x', pad);
    text += pad;
    for (size_t i = 0; i < n; i++)
        text = stpcpy(text, character);
    *text = '\0';
}

static const char *const characters[] = { "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };

static void truncation_keeps_whole_characters(void **state)
{
    struct vhdx_error err = blank_error();
    char text[4 * SIZE];

    (void)state;
    for (size_t c = 0; c < COUNT(characters); c++) {
        for (size_t pad = 0; pad < 8; pad++) {
            fill_text(text, pad, characters[c], 600 / strlen(characters[c]));
            fail(&err, VHDX_E_CORRUPT, 0, "%s", text);
            assert_true(is_clean_line(err.message, SIZE));
            assert_memory_equal(err.message, text, strlen(err.message));
            assert_true(strlen(err.message) + strlen(characters[c]) + 4 >= SIZE);
        }
    }
}

static void prefixed_message_is_cut_at_whole_characters(void **state)
{
    struct vhdx_error err = blank_error();
    char prefix[300], text[4 * SIZE];

    (void)state;
    for (size_t c = 0; c < COUNT(characters); c++) {
        for (size_t pad = 0; pad < 8; pad++) {
            fill_text(prefix, 150 + pad, "", 0);
            fill_text(text, pad, characters[c], 480 / strlen(characters[c]));
            fail(&err, VHDX_E_CORRUPT, 0, "%s", text);
            fail_prefix(&err, "%s", prefix);
            assert_true(is_clean_line(err.message, SIZE));
            assert_memory_equal(err.message, prefix, strlen(prefix));
            assert_memory_equal(err.message + strlen(prefix), text,
                                strlen(err.message) - strlen(prefix));
            assert_true(strlen(err.message) + strlen(characters[c]) + 4 >= SIZE);
        }
    }
}

/* A long path must not push the cause out: its end is kept, and all of the rest. */
static void long_prefix_loses_its_beginning(void **state)
{
    char text[4 * SIZE];

    (void)state;
    for (size_t c = 0; c < COUNT(characters); c++) {
        for (size_t n = 0; n < 400; n++) {
            struct vhdx_error err = blank_error();
            fill_text(text, 0, characters[c], n);
            fail(&err, VHDX_E_CORRUPT, 5, "the cause");
            fail_prefix(&err, "%s/name: ", text);
            assert_true(is_clean_line(err.message, SIZE));
            assert_true(has_words(err.message, "/name: the cause"));
            if (strlen(text) > 300)
                assert_memory_equal(err.message, "...", 3);
            else if (strlen(text) < 190)
                assert_memory_equal(err.message, text, strlen(text));
        }
    }
}

static void prefix_longer_than_any_buffer(void **state)
{
    struct vhdx_error err = blank_error();
    char *text = malloc(20001);

    (void)state;
    fill_text(text, 20000, "", 0);
    fail(&err, VHDX_E_CORRUPT, 5, "the cause");
    fail_prefix(&err, "%s", text);
    assert_true(is_clean_line(err.message, SIZE));
    assert_true(has_words(err.message, "xxx|the cause"));
    free(text);
}

static void prefix_leaves_the_rest_alone(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    fail_errno(&err, EIO, 4096, "reading");
    char before[SIZE];
    snprintf(before, sizeof before, "%s", err.message);
    fail_prefix(&err, "%s: ", "disk.vhdx");
    assert_int_equal(err.code, VHDX_E_SYSTEM);
    assert_int_equal(err.sys_errno, EIO);
    assert_true(err.file_offset == 4096);
    assert_memory_equal(err.message, "disk.vhdx: ", 11);
    assert_string_equal(err.message + 11, before);
}

static void prefix_is_cleaned_too(void **state)
{
    struct vhdx_error err = blank_error();

    (void)state;
    fail(&err, VHDX_E_CORRUPT, 0, "rest");
    fail_prefix(&err, "%s: ", "a\nb");
    assert_string_equal(err.message, "a?b: rest");
}

static void longest_message_is_not_cut(void **state)
{
    struct vhdx_error err = blank_error();
    char text[SIZE];

    (void)state;
    fill_text(text, SIZE - 1, "", 0);
    fail(&err, VHDX_E_CORRUPT, 0, "%s", text);
    assert_string_equal(err.message, text);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, fail_fills_every_field);
    ADD_TEST(&s, fail_without_a_place_to_write);
    ADD_TEST(&s, nomem_concerns_no_place_in_a_file);
    ADD_ROWS(&s, errno_row, errno_rows);
    ADD_TEST(&s, errno_of_a_long_text_stays_inside);
    ADD_TEST(&s, control_characters_become_question_marks);
    ADD_TEST(&s, upper_control_characters_do_not_pass);
    ADD_TEST(&s, bytes_that_are_no_utf8_do_not_pass);
    ADD_TEST(&s, utf8_passes_unchanged);
    ADD_TEST(&s, truncation_keeps_whole_characters);
    ADD_TEST(&s, prefixed_message_is_cut_at_whole_characters);
    ADD_TEST(&s, long_prefix_loses_its_beginning);
    ADD_TEST(&s, prefix_longer_than_any_buffer);
    ADD_TEST(&s, prefix_leaves_the_rest_alone);
    ADD_TEST(&s, prefix_is_cleaned_too);
    ADD_TEST(&s, longest_message_is_not_cut);
    return run_suite("fail", &s, NULL, NULL);
}
