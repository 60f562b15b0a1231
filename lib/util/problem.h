/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * One verifier for two uses. Opening an image needs the first broken rule, as a failure; checking
 * it needs all of them. So a verifier takes a sink for problems: without one (NULL) a broken rule
 * is the failure, with one it is reported and the verifier goes on as far as sense can be made of
 * the rest.
 */
#ifndef UTIL_PROBLEM_H
#define UTIL_PROBLEM_H

#include "util/fail.h"

struct problem_sink {
    /* what: code, file offset and text of the broken rule; lives during the call only. */
    void (*fn)(enum vhdx_problem problem, const struct vhdx_error *what, void *opaque);
    void *opaque;
};

/*
 * A broken rule that can be lived with: without a sink like fail(), with one reports it and returns
 * 0.
 */
int problem(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
            int code, uint64_t offset, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* One that ends the verification: like fail(), but reported too if there is a sink. */
int problem_end(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
                int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

#endif
