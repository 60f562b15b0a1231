/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Pages loaded on demand; see pages.h. */

#include "core/pages.h"

#include <stdlib.h>

int pages_init(struct pages *p, uint64_t count, struct vhdx_error *err)
{
    p->directory = calloc(count ? count : 1, sizeof *p->directory);
    if (!p->directory)
        return fail_nomem(err);
    p->count = count;
    return 0;
}

void pages_end(struct pages *p)
{
    for (struct page *page = p->loaded, *next; page; page = next) {
        next = page->next;
        free(page);
    }
    free(p->directory);
    *p = (struct pages){ 0 };
}

const uint8_t *pages_install(struct pages *p, uint64_t index, struct page *page)
{
    struct page *expected = NULL;

    if (!__atomic_compare_exchange_n(&p->directory[index], &expected, page, false,
                                     __ATOMIC_RELEASE, __ATOMIC_ACQUIRE)) {
        free(page);
        return expected->bytes;
    }
    page->next = __atomic_load_n(&p->loaded, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&p->loaded, &page->next, page, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    return page->bytes;
}
