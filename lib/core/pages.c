/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Pages loaded on demand; see pages.h. */

#include "core/pages.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Below this malloc() is cheaper than a mapping of its own. */
#define MAPPING_MIN (64 * KIB)

void *zeros_reserve(uint64_t bytes)
{
    void *zeros;

    if (bytes > SIZE_MAX)
        return NULL;
    if (bytes < MAPPING_MIN)
        return calloc(1, (size_t)bytes);
    zeros = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return zeros == MAP_FAILED ? NULL : zeros;
}

void zeros_release(void *zeros, uint64_t bytes)
{
    if (bytes < MAPPING_MIN)
        free(zeros);
    else if (zeros)
        munmap(zeros, (size_t)bytes);
}

static uint64_t directory_bytes(uint64_t count)
{
    return (count ? count : 1) * sizeof(struct page *);
}

int pages_init(struct pages *p, uint64_t count, struct vhdx_error *err)
{
    p->directory = zeros_reserve(directory_bytes(count));
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
    zeros_release(p->directory, directory_bytes(p->count));
    *p = (struct pages){ 0 };
}

const uint8_t *pages_install(struct pages *p, uint64_t index, struct page *page)
{
    struct page *expected = NULL;

    page->is_dirty = false;
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
