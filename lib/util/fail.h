/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Failing: the one way to fill a struct vhdx_error. The text says object, field, found, required;
 * a lower layer's text is never replaced, only prefixed with what it could not know.
 */
#ifndef UTIL_FAIL_H
#define UTIL_FAIL_H

#include <stdarg.h>
#include <stdint.h>
#include <vhdx.h>

/*
 * Fills *err (unless NULL) and returns -code. offset: where in the file the offending bytes stand,
 * or VHDX_OFFSET_NONE. Control characters in the text become '?' (text_clean()), so that it stays
 * one line whatever a file put into it.
 */
int fail(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

int fail_va(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

/* The same for a failed system call: VHDX_E_NOSPACE or VHDX_E_NOMEM where errnum (positive) says
   so, else VHDX_E_SYSTEM; ": " and the system's text are appended. */
int fail_errno(struct vhdx_error *err, int errnum, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* VHDX_E_NOMEM. */
int fail_nomem(struct vhdx_error *err);

/*
 * One verifier for two uses. Opening an image needs the first broken rule, as a failure; checking
 * it needs all of them. So a verifier takes a sink for problems: without one (NULL) a broken rule
 * is the failure, with one it is reported and the verifier goes on as far as sense can be made of
 * the rest.
 */
struct problem_sink {
    /* what: code, file offset and text of the broken rule; lives during the call only. */
    void (*fn)(enum vhdx_problem problem, const struct vhdx_error *what, void *opaque);
    void *opaque;
};

/* A broken rule that can be lived with: without a sink like fail(), with one reports it and returns
   0. */
int problem(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
            int code, uint64_t offset, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* One that ends the verification: like fail(), but reported too if there is a sink. */
int problem_end(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
                int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* Puts text in front of the message of an error that a callee has filled. */
void fail_prefix(struct vhdx_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
