/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What image.c and image-load.c share: structures that the file holds two copies of. */
#ifndef CORE_IMAGE_PARTS_H
#define CORE_IMAGE_PARTS_H

#include "core/image.h"

#define NOTE(img, ...) lines_add(&(img)->notes, LIMIT_NOTES, __VA_ARGS__)

/* The last rule that a copy was found to break: the one that ended its verification if that failed.
   problem is 0 if there is none. */
struct copy_problem {
    enum vhdx_problem problem;
    struct vhdx_error what;
};

/* A sink (util/problem.h) that keeps the last problem in a struct copy_problem. */
void image_keep_problem(enum vhdx_problem problem, const struct vhdx_error *what, void *opaque);

/* Notes whether a copy could be used: r is the verifier's result. */
void image_set_copy(struct copy_state *c, int r, const struct vhdx_error *problem);

/*
 * Both copies are unusable: fails with both texts, and with the code that tells most. That of the
 * first, unless only the second says more than that its bytes are wrong.
 */
int image_fail_both(const struct image *img, enum vhdx_problem lost,
                    const struct copy_problem problems[2], struct vhdx_error *err);

/* Fails with what a callee has failed with; where problems are reported, this one is too. */
int image_report(const struct image *img, enum vhdx_problem id, int r,
                 const struct vhdx_error *what, struct vhdx_error *err);

/* A remark of the check; nothing where problems are not reported. */
#define FOUND(img, id, offset, ...)                                                                \
    do {                                                                                           \
        if ((img)->sink)                                                                           \
            problem((img)->sink, id, NULL, VHDX_E_CORRUPT, offset, __VA_ARGS__);                   \
    } while (0)

#endif
