/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What vhdx_get_link() tells of a parent that was found, is missing, or is the wrong one. */

#include "build.h"

#include "expect.h"
#include "tempdir.h"

#define CHILD_GUID "c1c1c1c1-1111-2222-3333-444444444444"
#define BASE_GUID "b0b0b0b0-1111-2222-3333-444444444444"
#define NOWHERE VHDX_OFFSET_NONE

static void write_image(const char *path, const char *guid, const char *parent_guid)
{
    struct build b;

    build_begin(&b, &(struct build_spec){
        .size = 3 * M, .guid = guid, .parent_guid = parent_guid, .layer = parent_guid ? 2 : 1,
        .type = parent_guid ? VHDX_TYPE_DIFFERENCING : VHDX_TYPE_DYNAMIC });
    build_block(&b, 0, FULL);
    build_finish(&b);
    build_write(&b, path);
    build_end(&b);
}

/* Opens the folder's child.vhdx and gives the link of its parent. */
static struct vhdx *open_child(struct folder *f, uint32_t flags, struct vhdx_link *ret_link)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    if (vhdx_open(in_folder(f, "child.vhdx"), flags, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    assert_int_equal(vhdx_get_link(v, 1, ret_link, &err), 0);
    assert_string_equal(ret_link->wanted_guid, BASE_GUID);
    assert_int_equal(ret_link->depth, 1);
    return v;
}

static void link_of_a_parent_that_was_found(void **state)
{
    struct vhdx_link link = VHDX_LINK_INIT;

    write_image(in_folder(*state, "child.vhdx"), CHILD_GUID, BASE_GUID);
    write_image(in_folder(*state, "parent.vhdx"), BASE_GUID, NULL);
    struct vhdx *v = open_child(*state, 0, &link);
    assert_int_equal(link.status, VHDX_LINK_OK);
    assert_int_equal(link.found_by, VHDX_FOUND_RELATIVE_PATH);
    assert_null(link.problem);
    assert_string_equal(link.data_write_guid, BASE_GUID);
    assert_int_equal(link.virtual_size, 3 * M);
    assert_true(link.steps_count >= 1);
    vhdx_close(v);
}

static void link_of_a_missing_parent_has_a_problem(void **state)
{
    struct vhdx_link link = VHDX_LINK_INIT;
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    write_image(in_folder(*state, "child.vhdx"), CHILD_GUID, BASE_GUID);
    int r = vhdx_open(in_folder(*state, "child.vhdx"), 0, NULL, &v, &err);
    expect_error(r, &err, VHDX_E_PARENT_MISSING, NOWHERE, "child.vhdx: |{" BASE_GUID "}|missing");
    assert_null(v);
    v = open_child(*state, VHDX_OPEN_PARTIAL_CHAIN, &link);
    assert_int_equal(link.status, VHDX_LINK_MISSING);
    assert_int_equal(link.found_by, VHDX_FOUND_NOT);
    assert_true(is_clean_line(link.problem, strlen(link.problem) + 1));
    assert_int_equal(vhdx_get_link(v, 2, &link, NULL), -VHDX_E_RANGE);
    vhdx_close(v);
}

static void link_of_another_image_in_its_place_has_a_problem(void **state)
{
    struct vhdx_link link = VHDX_LINK_INIT;
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    write_image(in_folder(*state, "child.vhdx"), CHILD_GUID, BASE_GUID);
    write_image(in_folder(*state, "parent.vhdx"), CHILD_GUID, NULL);
    int r = vhdx_open(in_folder(*state, "child.vhdx"), 0, NULL, &v, &err);
    expect_error(r, &err, VHDX_E_PARENT_MISMATCH, NOWHERE, "child.vhdx: |{" BASE_GUID "}");
    v = open_child(*state, VHDX_OPEN_PARTIAL_CHAIN, &link);
    assert_int_equal(link.status, VHDX_LINK_MISMATCH);
    assert_non_null(link.problem);
    vhdx_close(v);
}

/* "problem: one line when status is not OK". */
static void link_of_a_wrong_parent_taken_all_the_same_has_a_problem(void **state)
{
    struct vhdx_link link = VHDX_LINK_INIT;

    write_image(in_folder(*state, "child.vhdx"), CHILD_GUID, BASE_GUID);
    write_image(in_folder(*state, "parent.vhdx"), CHILD_GUID, NULL);
    struct vhdx *v = open_child(*state, VHDX_OPEN_ANY_PARENT, &link);
    assert_int_equal(link.status, VHDX_LINK_MISMATCH);
    assert_non_null(link.problem);
    assert_true(is_clean_line(link.problem, strlen(link.problem) + 1));
    assert_string_equal(link.data_write_guid, CHILD_GUID);
    vhdx_close(v);
}

/* Windows writes the zero GUID where there is no second linkage: it matches nothing. */
static void zero_linkage_matches_no_parent(void **state)
{
    const char *zero = "00000000-0000-0000-0000-000000000000";
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    write_image(in_folder(*state, "child.vhdx"), CHILD_GUID, zero);
    write_image(in_folder(*state, "parent.vhdx"), zero, NULL);
    int r = vhdx_open(in_folder(*state, "child.vhdx"), 0, NULL, &v, &err);
    expect_error(r, &err, VHDX_E_PARENT_MISMATCH, NOWHERE, "child.vhdx: ");
    assert_null(v);
}

/* Its own ancestor: a cycle is an error, not an endless chain. */
static void image_that_is_its_own_parent_is_refused(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    write_image(in_folder(*state, "parent.vhdx"), BASE_GUID, BASE_GUID);
    int r = vhdx_open(in_folder(*state, "parent.vhdx"), 0, NULL, &v, &err);
    expect_error(r, &err, VHDX_E_CORRUPT, NOWHERE, "chain|own ancestor|cycle");
    assert_null(v);
}

static const struct CMUnitTest tests[] = {
    WITH_FOLDER(link_of_a_parent_that_was_found),
    WITH_FOLDER(link_of_a_missing_parent_has_a_problem),
    WITH_FOLDER(link_of_another_image_in_its_place_has_a_problem),
    WITH_FOLDER(link_of_a_wrong_parent_taken_all_the_same_has_a_problem),
    WITH_FOLDER(zero_linkage_matches_no_parent),
    WITH_FOLDER(image_that_is_its_own_parent_is_refused),
};

int main(void)
{
    return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}
