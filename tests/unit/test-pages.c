/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Pages that are loaded when they are first needed. */

#include "core/pages.h"

#include <pthread.h>

#include "expect.h"

static struct page *new_page(uint8_t fill)
{
    struct page *page = malloc(sizeof *page);

    assert_non_null(page);
    memset(page->bytes, fill, sizeof page->bytes);
    return page;
}

static void nothing_is_loaded_at_first(void **state)
{
    struct vhdx_error err = blank_error();
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, 1000, &err), 0);
    assert_int_equal(p.count, 1000);
    for (uint64_t i = 0; i < 1000; i++)
        assert_null(pages_get(&p, i));
    pages_end(&p);
    assert_untouched(&err);
}

static void table_without_pages_is_fine(void **state)
{
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, 0, NULL), 0);
    pages_end(&p);
    pages_end(&p); /* harmless when repeated, and when nothing was made */
}

static void installed_page_is_found(void **state)
{
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, 10, NULL), 0);
    for (uint64_t i = 0; i < 10; i += 3) {
        struct page *page = new_page((uint8_t)i);
        assert_ptr_equal(pages_install(&p, i, page), page->bytes);
    }
    for (uint64_t i = 0; i < 10; i++) {
        const uint8_t *bytes = pages_get(&p, i);
        if (i % 3 != 0)
            assert_null(bytes);
        else
            assert_true(bytes[0] == i && bytes[PAGE_SIZE - 1] == i);
    }
    pages_end(&p);
}

static void first_copy_of_a_page_is_kept(void **state)
{
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, 2, NULL), 0);
    const uint8_t *first = pages_install(&p, 1, new_page(1));
    assert_ptr_equal(pages_install(&p, 1, new_page(2)), first);
    assert_int_equal(first[0], 1);
    assert_ptr_equal(pages_get(&p, 1), first);
    pages_end(&p);
}

static void pages_are_aligned_for_wide_loads(void **state)
{
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, 1, NULL), 0);
    assert_int_equal((uintptr_t)pages_install(&p, 0, new_page(1)) % 8, 0);
    pages_end(&p);
}

#define RACE_PAGES 500

struct racer {
    struct pages *pages;
    pthread_barrier_t *start;
    uint8_t id;
    const uint8_t *got[RACE_PAGES];
};

static void *race(void *opaque)
{
    struct racer *r = opaque;

    pthread_barrier_wait(r->start);
    for (uint64_t i = 0; i < RACE_PAGES; i++) {
        r->got[i] = pages_get(r->pages, i);
        if (!r->got[i]) {
            struct page *page = malloc(sizeof *page);
            memset(page->bytes, r->id, sizeof page->bytes);
            r->got[i] = pages_install(r->pages, i, page);
        }
        if (r->got[i][0] != r->got[i][PAGE_SIZE - 1])
            return r; /* of two threads */
    }
    return NULL;
}

/* What it shows, it shows to a thread sanitizer too. */
static void threads_that_miss_together_get_one_copy(void **state)
{
    static struct racer racers[4];
    pthread_t threads[COUNT(racers)];
    pthread_barrier_t start;
    struct pages p = { 0 };

    (void)state;
    assert_int_equal(pages_init(&p, RACE_PAGES, NULL), 0);
    pthread_barrier_init(&start, NULL, COUNT(racers));
    for (size_t i = 0; i < COUNT(racers); i++) {
        racers[i] = (struct racer){ .pages = &p, .start = &start, .id = (uint8_t)(i + 1) };
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < COUNT(racers); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    for (size_t i = 1; i < COUNT(racers); i++)
        assert_memory_equal(racers[i].got, racers[0].got, sizeof racers[0].got);
    pthread_barrier_destroy(&start);
    pages_end(&p);
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, nothing_is_loaded_at_first);
    ADD_TEST(&s, table_without_pages_is_fine);
    ADD_TEST(&s, installed_page_is_found);
    ADD_TEST(&s, first_copy_of_a_page_is_kept);
    ADD_TEST(&s, pages_are_aligned_for_wide_loads);
    ADD_TEST(&s, threads_that_miss_together_get_one_copy);
    return run_suite("pages", &s, NULL, NULL);
}
